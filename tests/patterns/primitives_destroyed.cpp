// SPDX-License-Identifier: MIT
// Whatever tasks wait for may be destroyed while they do: one rule, and a table of all that it
// holds for.
#include <weft/patterns/pool.hpp>
#include <weft/patterns/rate_limiter.hpp>
#include <weft/patterns/singleflight.hpp>
#include <weft/patterns/worker_pool.hpp>
#include <weft/queue/lifo_queue.hpp>
#include <weft/queue/priority_queue.hpp>
#include <weft/queue/queue.hpp>
#include <weft/sync/barrier.hpp>
#include <weft/sync/capacity_limiter.hpp>
#include <weft/sync/condition.hpp>
#include <weft/sync/event.hpp>
#include <weft/sync/latch.hpp>
#include <weft/sync/lock.hpp>
#include <weft/sync/notify.hpp>
#include <weft/sync/once_cell.hpp>
#include <weft/sync/rw_lock.hpp>
#include <weft/sync/semaphore.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <string>
#include <vector>

#include "sync.hpp"

namespace primitives_destroyed_test {

using namespace std::chrono_literals;
using support::contains;
using support::end_of;
using support::some_turns;
using weft::Coro;

namespace {

Coro<int> makes_slowly() {
    co_await weft::sleep(1h);
    co_return 1;
}

/// Three tasks `wait(primitive)`, the second is being cancelled, and the primitive goes: in a step
/// of its own, or in that of a task which it has woken. Empty if each wait ends as it should.
template <class Primitive, class Wait>
Coro<std::string> destroyed(std::unique_ptr<Primitive> primitive, Wait wait) {
    std::string failure;
    auto body = [&]() -> Coro<void> {
        try {
            co_await wait(*primitive);
        } catch (const weft::RuntimeError& error) {
            if (!contains(error.what(), "destroyed") && !contains(error.what(), "closed"))
                failure += std::string("says: ") + error.what() + "; ";
            throw;
        }
    };
    std::vector<weft::Task<void>> tasks;
    for (int i = 0; i < 3; ++i) tasks.push_back(weft::create_task(body));
    co_await some_turns(2);
    for (auto& task : tasks) {
        if (task.done()) failure += "does not wait: " + end_of(task) + "; ";
    }
    tasks[1].cancel();
    primitive.reset();
    co_await some_turns(4);
    for (auto& task : tasks) {
        if (&task == &tasks[1] && end_of(task) != "cancelled")
            failure += "the cancelled one: " + end_of(task) + "; ";
        bool told = false;
        try {
            if (task.done()) task.result();
        } catch (const weft::RuntimeError&) {
            told = true;
        } catch (const weft::CancelledError&) {
        }
        if (&task != &tasks[1] && !told) failure += "ends with: " + end_of(task) + "; ";
        task.cancel();
        co_await task.wait();
    }
    co_return failure;
}

template <class Primitive, class... Args>
std::unique_ptr<Primitive> fresh(Args... args) {
    return std::make_unique<Primitive>(args...);
}

Coro<void> in_condition(weft::Condition& condition) {
    auto guard = co_await condition.scoped();
    co_await condition.wait();
}
Coro<void> puts(weft::Queue<int>& queue) {
    if (queue.empty()) queue.put_nowait(1);
    co_await queue.put(2);
}
Coro<void> joins(weft::Queue<int>& queue) {
    if (queue.empty()) queue.put_nowait(1);
    co_await queue.join();
}
Coro<void> flies(weft::Singleflight<int, int>& flights) {
    (void)co_await flights.run(1, &makes_slowly);
}
Coro<void> flies_apart(weft::Singleflight<int, int>& flights) {
    static int key = 0;
    ++key;
    (void)co_await flights.run(int(key), &makes_slowly);
}
Coro<void> borrows(weft::Pool<int>& pool) { (void)co_await pool.acquire(); }

}  // namespace

WEFT_TEST_CASE("98: destroying what tasks wait for ends every wait with a RuntimeError",
               "[destroy]") {
    std::string failures;
    auto note = [&](const char* name, const std::string& failure) {
        if (!failure.empty()) failures += std::string(name) + ": " + failure + "\n";
    };
    // A new primitive joins by a line.
    auto lock = fresh<weft::Lock>();
    co_await lock->acquire();
    auto acquire = [](auto& of) { return of.acquire(); };
    auto wait = [](auto& of) { return of.wait(); };
    auto get = [](auto& of) { return of.get(); };
    note("lock", co_await destroyed(std::move(lock), acquire));
    note("semaphore", co_await destroyed(fresh<weft::Semaphore>(0), acquire));
    note("bounded semaphore", co_await destroyed(fresh<weft::BoundedSemaphore>(0), acquire));
    note("limiter", co_await destroyed(fresh<weft::CapacityLimiter>(0U), acquire));
    note("event", co_await destroyed(fresh<weft::Event>(), wait));
    note("latch", co_await destroyed(fresh<weft::Latch>(1), wait));
    note("barrier", co_await destroyed(fresh<weft::Barrier>(9), wait));
    auto notified = [](weft::Notify& of) { return of.notified(); };
    note("notify", co_await destroyed(fresh<weft::Notify>(), notified));
    note("condition", co_await destroyed(fresh<weft::Condition>(), &in_condition));
    auto written = fresh<weft::RwLock>();
    co_await written->acquire_write();
    auto read = [](weft::RwLock& of) { return of.acquire_read(); };
    note("rw lock, read", co_await destroyed(std::move(written), read));
    auto being_read = fresh<weft::RwLock>();
    co_await being_read->acquire_read();
    auto write = [](weft::RwLock& of) { return of.acquire_write(); };
    note("rw lock, write", co_await destroyed(std::move(being_read), write));
    auto limiter = fresh<weft::RateLimiter>(0.001);
    (void)limiter->try_acquire();
    note("rate limiter", co_await destroyed(std::move(limiter), acquire));
    note("queue, get", co_await destroyed(fresh<weft::Queue<int>>(), get));
    note("lifo queue, get", co_await destroyed(fresh<weft::LifoQueue<int>>(), get));
    note("priority queue, get", co_await destroyed(fresh<weft::PriorityQueue<int>>(), get));
    note("queue, put", co_await destroyed(fresh<weft::Queue<int>>(1U), &puts));
    note("queue, join", co_await destroyed(fresh<weft::Queue<int>>(), &joins));
    note("singleflight", co_await destroyed(fresh<weft::Singleflight<int, int>>(), &flies));
    note("singleflight, own calls",
         co_await destroyed(fresh<weft::Singleflight<int, int>>(), &flies_apart));
    auto pool = std::make_unique<weft::Pool<int>>(&makes_slowly, weft::PoolOptions(1));
    auto lends = weft::create_task(borrows, std::ref(*pool));
    co_await weft::yield();
    note("pool", co_await destroyed(std::move(pool), &borrows));
    lends.cancel();
    co_await lends.wait();
    REQUIRE(failures == "");
}

WEFT_TEST_CASE(
    "98: a once-cell that goes tells those who wait for its value and the one who makes it",
    "[destroy]") {
    auto cell = std::make_unique<weft::OnceCell<std::string>>();
    bool go_on = false;
    auto make = [&]() -> Coro<std::string> {
        while (!go_on) co_await weft::yield();
        co_return std::string("a value that is too long for a short string");
    };
    auto asks = [&]() -> Coro<void> { (void)co_await cell->get_or_init(make); };
    std::vector<weft::Task<void>> tasks;
    for (int i = 0; i < 3; ++i) tasks.push_back(weft::create_task(asks));
    co_await some_turns(2);
    cell.reset();
    co_await some_turns(2);
    REQUIRE(contains(end_of(tasks[1]), "destroyed"));
    REQUIRE(contains(end_of(tasks[2]), "destroyed"));
    REQUIRE_FALSE(tasks[0].done());
    go_on = true;
    co_await some_turns(2);
    REQUIRE(contains(end_of(tasks[0]), "destroyed"));
}

WEFT_TEST_CASE("98: whom a rate limiter has served needs it no more", "[destroy]") {
    auto limiter = std::make_unique<weft::RateLimiter>(1, 2);
    REQUIRE(limiter->try_acquire(2));
    int served = 0;
    auto acquires = [&]() -> Coro<void> {
        co_await limiter->acquire();
        limiter.reset();
        ++served;
    };
    auto acquires_two = [&]() -> Coro<void> {
        co_await limiter->acquire(2);
        ++served;
    };
    auto first = weft::create_task(acquires);
    auto second = weft::create_task(acquires_two);
    co_await weft::sleep(2s);
    REQUIRE(served == 1);
    REQUIRE(end_of(first) == "ok");
    REQUIRE(end_of(second) == "weft: the rate limiter was destroyed while a task waited for it");
    REQUIRE(weft::get_running_loop().armed_timers() == 0);
}

WEFT_TEST_CASE("98: a worker pool that ends tells those who wait to submit", "[destroy]") {
    weft::Task<void> outsider;
    auto handler = [](int) -> Coro<void> { co_await weft::sleep(1h); };
    auto submits = [](weft::WorkerPool<int>& pool) -> Coro<void> {
        for (int job = 0; job < 5; ++job) co_await pool.submit(job);
    };
    auto body = [&](weft::WorkerPool<int>& pool) -> Coro<void> {
        outsider = weft::create_task(submits, std::ref(pool));
        co_await some_turns(3);
        REQUIRE_FALSE(outsider.done());
        pool.cancel();
    };
    co_await weft::worker_pool<int>(1, handler, body);
    co_await outsider.wait();
    bool told = false;
    try {
        outsider.result();
    } catch (const weft::RuntimeError&) {
        told = true;
    }
    REQUIRE(told);
}

}  // namespace primitives_destroyed_test
