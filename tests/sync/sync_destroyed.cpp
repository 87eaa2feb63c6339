// SPDX-License-Identifier: MIT
// Synchronisation primitives that are destroyed with waiters, also by one of them; waiters that
// wait again or cancel each other when they wake up.
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

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "probe.hpp"
#include "sync.hpp"

namespace sync_destroyed_test {

using support::contains;
using support::end_of;
using support::some_turns;
using weft::Coro;

namespace {

/// `start(primitive)` gives the awaiter; three tasks await it, the second is being cancelled, and
/// the primitive goes. Returns how the first one ended.
template <class Primitive, class Start>
Coro<std::string> destroyed_with_waiters(std::unique_ptr<Primitive> primitive, Start& start,
                                         const char* name) {
    weft::EventLoop& loop = weft::get_running_loop();
    const probe::Reports reports = probe::collect_reports(loop);
    loop.set_debug(true);
    auto body = [&]() -> Coro<void> { co_await start(*primitive); };
    auto first = weft::create_task(body);
    auto second = weft::create_task(body);
    auto third = weft::create_task(body);
    co_await weft::yield();
    second.cancel();
    primitive.reset();
    loop.set_debug(false);
    co_await first.wait();
    co_await second.wait();
    co_await third.wait();
    const std::string named = (*name == 'e' ? "an " : "a ") + std::string(name);
    const bool reported = probe::count_with(reports, named + " was destroyed while 2 tasks") == 1;
    if (!reported) co_return "not reported as " + named;
    if (end_of(second) != "cancelled") co_return "the cancelled one: " + end_of(second);
    if (end_of(third) != end_of(first)) co_return "the third: " + end_of(third);
    co_return end_of(first);
}

std::string destroyed(const char* name) {
    return std::string("weft: the ") + name + " was destroyed while a task waited for it";
}

}  // namespace

WEFT_TEST_CASE("70: destroyed with waiters: each is told, and debug mode names it", "[destroy]") {
    auto lock = std::make_unique<weft::Lock>();
    co_await lock->acquire();
    auto acquire = [](weft::Lock& of) { return of.acquire(); };
    std::string end = co_await destroyed_with_waiters(std::move(lock), acquire, "lock");
    CHECK(end == destroyed("lock"));

    auto permit = [](weft::Semaphore& of) { return of.acquire(); };
    end =
        co_await destroyed_with_waiters(std::make_unique<weft::Semaphore>(0), permit, "semaphore");
    CHECK(end == destroyed("semaphore"));

    auto event = [](weft::Event& of) { return of.wait(); };
    end = co_await destroyed_with_waiters(std::make_unique<weft::Event>(), event, "event");
    CHECK(end == destroyed("event"));

    auto notified = [](weft::Notify& of) { return of.notified(); };
    end = co_await destroyed_with_waiters(std::make_unique<weft::Notify>(), notified, "notify");
    CHECK(end == destroyed("notify"));

    auto latched = [](weft::Latch& of) { return of.wait(); };
    end = co_await destroyed_with_waiters(std::make_unique<weft::Latch>(1), latched, "latch");
    CHECK(end == destroyed("latch"));

    auto met = [](weft::Barrier& of) { return of.wait(); };
    end = co_await destroyed_with_waiters(std::make_unique<weft::Barrier>(9), met, "barrier");
    CHECK(end == destroyed("barrier"));

    auto written = std::make_unique<weft::RwLock>();
    co_await written->acquire_write();
    auto read = [](weft::RwLock& of) { return of.acquire_read(); };
    end = co_await destroyed_with_waiters(std::move(written), read, "lock for reading");
    CHECK(end == destroyed("lock for reading"));

    auto token = [](weft::CapacityLimiter& of) { return of.acquire(); };
    end = co_await destroyed_with_waiters(std::make_unique<weft::CapacityLimiter>(0), token,
                                          "token of a capacity limiter");
    CHECK(end == destroyed("token of a capacity limiter"));
}

WEFT_TEST_CASE("70: what was granted and not taken is told when its primitive goes", "[destroy]") {
    auto permits = std::make_unique<weft::Semaphore>(0);
    int got = 0;
    auto acquires = [&]() -> Coro<void> {
        co_await permits->acquire();
        ++got;
        permits.reset();
    };
    auto scoped = [&]() -> Coro<void> {
        auto permit = co_await permits->scoped();
        ++got;
    };
    auto first = weft::create_task(acquires);
    auto second = weft::create_task(scoped);
    auto third = weft::create_task(scoped);
    co_await weft::yield();
    permits->release();
    permits->release();
    co_await first.wait();
    co_await second.wait();
    co_await third.wait();
    REQUIRE(end_of(first) == "ok");
    REQUIRE(end_of(second) == destroyed("semaphore"));
    REQUIRE(end_of(third) == destroyed("semaphore"));
    REQUIRE(got == 1);
}

WEFT_TEST_CASE("70: whom an event, a latch, a notify or a barrier has released needs it no more",
               "[destroy]") {
    auto event = std::make_unique<weft::Event>();
    auto latch = std::make_unique<weft::Latch>(1);
    auto notify = std::make_unique<weft::Notify>();
    auto barrier = std::make_unique<weft::Barrier>(3);
    int done = 0;
    // Each first one to run destroys.
    auto on_event = [&]() -> Coro<void> {
        co_await event->wait();
        event.reset();
        ++done;
    };
    auto on_latch = [&]() -> Coro<void> {
        co_await latch->wait();
        latch.reset();
        ++done;
    };
    auto on_notify = [&]() -> Coro<void> {
        co_await notify->notified();
        notify.reset();
        ++done;
    };
    auto on_barrier = [&]() -> Coro<void> {
        co_await barrier->wait();
        barrier.reset();
        ++done;
    };
    std::vector<weft::Task<void>> tasks;
    for (int i = 0; i < 2; ++i) {
        tasks.push_back(weft::create_task(on_event));
        tasks.push_back(weft::create_task(on_latch));
        tasks.push_back(weft::create_task(on_notify));
        tasks.push_back(weft::create_task(on_barrier));
    }
    co_await weft::yield();
    event->set();
    latch->count_down();
    notify->notify_one();
    notify->notify_one();
    const std::size_t place = co_await barrier->wait();
    REQUIRE(place == 2);
    for (auto& task : tasks) co_await task;
    REQUIRE(done == 8);
}

WEFT_TEST_CASE("70: a condition over a given lock that goes wakes its waiters with the lock",
               "[destroy]") {
    const probe::Reports reports = probe::collect_reports(weft::get_running_loop());
    weft::Lock lock;
    auto condition = std::make_unique<weft::Condition>(lock);
    int held = 0;
    auto body = [&]() -> Coro<void> {
        auto guard = co_await lock.scoped();
        try {
            co_await condition->wait();
        } catch (const weft::RuntimeError&) {
            held += lock.locked();
            throw;
        }
    };
    std::vector<weft::Task<void>> tasks;
    for (int i = 0; i < 4; ++i) tasks.push_back(weft::create_task(body));
    co_await weft::yield();
    auto guard = co_await lock.scoped();
    condition->notify();
    tasks[1].cancel();
    weft::get_running_loop().set_debug(true);
    condition.reset();
    weft::get_running_loop().set_debug(false);
    tasks[0].cancel();  // has its notification, and nobody to pass it on to
    guard.release();
    for (auto& task : tasks) co_await task.wait();
    CHECK(end_of(tasks[0]) == "cancelled");
    CHECK(end_of(tasks[1]) == "cancelled");
    CHECK(end_of(tasks[2]) == "weft: the condition was destroyed while a task waited for it");
    CHECK(end_of(tasks[3]) == end_of(tasks[2]));
    REQUIRE(held == 2);
    REQUIRE_FALSE(lock.locked());
    REQUIRE(probe::count_with(reports, "a condition was destroyed while 2 tasks") == 1);
}

WEFT_TEST_CASE("70: a condition that goes with its own lock is named, and leaves guards harmless",
               "[destroy]") {
    const probe::Reports reports = probe::collect_reports(weft::get_running_loop());
    auto condition = std::make_unique<weft::Condition>();
    auto waits = [&]() -> Coro<void> {
        auto guard = co_await condition->scoped();
        co_await condition->wait();
    };
    auto retries = [&]() -> Coro<void> {
        auto guard = co_await condition->scoped();
        std::string error;
        try {
            co_await condition->wait();
        } catch (const weft::RuntimeError& thrown) {
            error = thrown.what();
        }
        co_await weft::yield();
        guard.release();
        throw weft::RuntimeError(error);
    };
    auto locks = [&]() -> Coro<void> { auto guard = co_await condition->scoped(); };
    std::vector<weft::Task<void>> tasks;
    for (int i = 0; i < 4; ++i) tasks.push_back(weft::create_task(waits));
    tasks.push_back(weft::create_task(retries));
    co_await weft::yield();
    auto guard = co_await condition->scoped();
    condition->notify(2);  // they wait for the lock now
    tasks[1].cancel();
    tasks[2].cancel();
    tasks.push_back(weft::create_task(locks));
    co_await weft::yield();
    weft::get_running_loop().set_debug(true);
    condition.reset();
    weft::get_running_loop().set_debug(false);
    for (auto& task : tasks) co_await task.wait();
    const std::string told = "weft: the condition was destroyed with its lock while a task waited";
    CHECK(contains(end_of(tasks[0]), told));
    CHECK(end_of(tasks[1]) == "cancelled");
    CHECK(end_of(tasks[2]) == "cancelled");
    CHECK(contains(end_of(tasks[3]), told));
    CHECK(contains(end_of(tasks[4]), told));
    CHECK(end_of(tasks[5]) == destroyed("lock"));
    guard.release();
    REQUIRE(probe::count_with(reports, "a condition with its lock was destroyed while 3 tasks") ==
            1);
    REQUIRE(probe::count_with(reports, "could not release") == 0);
}

WEFT_TEST_CASE("70: a waiter that waits again when it wakes up waits for the next time",
               "[destroy]") {
    weft::Event event;
    weft::Notify notify;
    int events = 0;
    int notes = 0;
    auto on_event = [&]() -> Coro<void> {
        for (;;) {
            co_await event.wait();
            ++events;
        }
    };
    auto on_notify = [&]() -> Coro<void> {
        for (;;) {
            co_await notify.notified();
            ++notes;
        }
    };
    auto one = weft::create_task(on_event);
    auto two = weft::create_task(on_notify);
    auto three = weft::create_task(on_notify);
    co_await weft::yield();
    for (int round = 1; round <= 3; ++round) {
        event.set();
        event.clear();
        notify.notify_waiters();
        co_await some_turns(2);
        REQUIRE(events == round);
        REQUIRE(notes == 2 * round);
    }
    one.cancel();
    two.cancel();
    three.cancel();
    co_await one.wait();
    co_await two.wait();
    co_await three.wait();
}

WEFT_TEST_CASE("70: a waiter that cancels its siblings when it wakes up takes nothing from them",
               "[destroy]") {
    weft::Event event;
    weft::Semaphore permits(0);
    std::vector<weft::Task<void>> on_event;
    std::vector<weft::Task<void>> on_permit;
    int woken = 0;
    auto waits = [&]() -> Coro<void> {
        co_await event.wait();
        ++woken;
        for (auto& task : on_event) task.cancel();
    };
    auto acquires = [&]() -> Coro<void> {
        auto permit = co_await permits.scoped();
        ++woken;
        for (auto& task : on_permit) task.cancel();
        co_await weft::yield();
    };
    for (int i = 0; i < 3; ++i) {
        on_event.push_back(weft::create_task(waits));
        on_permit.push_back(weft::create_task(acquires));
    }
    co_await weft::yield();
    event.set();
    permits.release();
    permits.release();
    for (auto& task : on_event) co_await task.wait();
    for (auto& task : on_permit) co_await task.wait();
    // All were woken by the event; two had a permit, and the third one's wait was cancelled.
    REQUIRE(woken == 5);
    REQUIRE(permits.statistics().available == 2);
    REQUIRE(permits.statistics().waiters == 0);
    on_event.clear();
    on_permit.clear();
}

}  // namespace sync_destroyed_test
