// SPDX-License-Identifier: MIT
// Work on threads: where it runs, what comes back, and what a cancel, a close and an end of the
// loop do to it (SEMANTICS 82, 83, 84, 98, 106, 121).
// labels: threads
// rungs: all
#include <weft/task/context_var.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/thread/thread_pool.hpp>

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../support/awaiting.hpp"

namespace thread_pool_test {

using support::turns;
using weft::Coro;
using weft::create_task;
using weft::StopToken;
using weft::ThreadPool;
using weft::ThreadPoolOptions;
using weft::to_thread;

namespace {

/// A door that a job waits at, on its thread.
class Door {
public:
    void open() noexcept {
        open_.store(true);
        open_.notify_all();
    }
    void pass() noexcept {
        entered.store(true);
        open_.wait(false);
    }
    std::atomic<bool> entered{false};

private:
    std::atomic<bool> open_{false};
};

/// Of the loop's thread: until `flag` is set by another one.
Coro<void> seen(const std::atomic<bool>& flag) {
    while (!flag.load()) co_await weft::sleep(std::chrono::milliseconds(1));
}

ThreadPoolOptions small_pool(std::size_t threads) {
    ThreadPoolOptions options;
    options.threads = threads;
    options.name = "small";
    return options;
}

template <class Awaiter>
Coro<std::string> words_of(Awaiter start) {
    try {
        co_await start();
    } catch (const weft::CancelledError&) {
        co_return "cancelled";
    } catch (const std::exception& error) {
        co_return error.what();
    }
    co_return "";
}

const weft::ContextVar<std::string> user("user", "nobody");

struct MoveOnly {
    explicit MoveOnly(int of) : number(std::make_unique<int>(of)) {}
    std::unique_ptr<int> number;
};
const weft::ContextVar<int> number("number", 1);

}  // namespace

WEFT_TEST_CASE("a call runs on another thread, and its result comes back", "[thread_pool]") {
    const pthread_t here = ::pthread_self();
    auto work = [here](int a, std::unique_ptr<int> b) {
        return std::make_pair(::pthread_equal(here, ::pthread_self()) == 0, a + *b);
    };
    std::unique_ptr<int> forty = std::make_unique<int>(40);
    const auto result = co_await to_thread(work, 2, std::move(forty));
    CHECK(result.first);
    CHECK(result.second == 42);
    auto make = [] { return MoveOnly(7); };
    const MoveOnly moved = co_await to_thread(make);
    CHECK(*moved.number == 7);
    std::atomic<bool> ran{false};
    co_await to_thread([&ran] { ran = true; });
    CHECK(ran);
}

WEFT_TEST_CASE("run_in_executor is the same by asyncio's name", "[thread_pool]") {
    ThreadPool pool(small_pool(1));
    auto name = [](int more) {
        char text[32] = "";
        ::pthread_getname_np(::pthread_self(), text, sizeof text);
        return text + std::to_string(more);
    };
    const std::string own = co_await weft::run_in_executor(pool, name, 1);
    CHECK(own == "small1");
    const std::string usual = co_await weft::run_in_executor(nullptr, name, 2);
    CHECK(usual == "weft-pool2");
}

WEFT_TEST_CASE("an exception of the call is thrown by the await", "[thread_pool]") {
    auto work = [] { throw std::runtime_error("broken on a thread"); };
    auto start = [&] { return to_thread(work); };
    const std::string what = co_await words_of(start);
    CHECK(what == "broken on a thread");
}

WEFT_TEST_CASE("the loop goes on while a call blocks", "[thread_pool]") {
    Door door;
    auto work = [&door] { door.pass(); };
    auto body = [&]() -> Coro<void> { co_await to_thread(work); };
    weft::Task<void> task = create_task(body);
    co_await seen(door.entered);
    CHECK_FALSE(task.done());
    door.open();
    co_await task;
}

WEFT_TEST_CASE("context variables have the awaiter's values on the thread, and keep them here",
               "[thread_pool]") {
    user.set("ada");
    auto work = [] {
        const std::string before = user.get();
        user.set("somebody else");
        number.set(5);
        return before + ", then " + user.get();
    };
    const std::string there = co_await to_thread(work);
    CHECK(there == "ada, then somebody else");
    CHECK(user.get() == "ada");
    CHECK(number.get() == 1);
    auto again = [] { return number.get(); };
    const int untouched = co_await to_thread(again);
    CHECK(untouched == 1);
}

WEFT_TEST_CASE("a call that runs is asked to stop by a cancel, and its result is returned",
               "[thread_pool]") {
    std::atomic<bool> began{false};
    auto work = [&began](StopToken stop) {
        began = true;
        while (!stop.stop_requested()) ::sched_yield();
        return 42;
    };
    int result = 0;
    bool struck_afterwards = false;
    auto body = [&]() -> Coro<void> {
        result = co_await to_thread(work);
        try {
            co_await weft::yield();
        } catch (const weft::CancelledError&) {
            struck_afterwards = true;
            throw;
        }
    };
    weft::Task<void> task = create_task(body);
    co_await seen(began);
    task.cancel();
    co_await task.wait();
    CHECK(result == 42);
    CHECK(struck_afterwards);
    CHECK(task.cancelled());
}

WEFT_TEST_CASE("functions deep below the call can ask too", "[thread_pool]") {
    std::atomic<bool> began{false};
    auto work = [&began] {
        began = true;
        while (!weft::thread_stop_token().stop_requested()) ::sched_yield();
    };
    auto body = [&]() -> Coro<void> { co_await to_thread(work); };
    weft::Task<void> task = create_task(body);
    co_await seen(began);
    CHECK_FALSE(weft::thread_stop_token().stop_requested());
    task.cancel();
    co_await task.wait();
    CHECK_FALSE(task.cancelled());
}

WEFT_TEST_CASE("a call that has not begun does not happen after a cancel", "[thread_pool]") {
    ThreadPool pool(small_pool(1));
    Door door;
    std::atomic<bool> ran{false};
    auto block = [&door] { door.pass(); };
    auto never = [&ran] { ran = true; };
    auto first = [&]() -> Coro<void> { co_await pool.run(block); };
    auto second = [&]() -> Coro<void> { co_await pool.run(never); };
    weft::Task<void> running = create_task(first);
    co_await seen(door.entered);
    weft::Task<void> waiting = create_task(second);
    co_await turns(2);
    CHECK(pool.queued() == 1);
    waiting.cancel();
    co_await waiting.wait();
    CHECK(waiting.cancelled());
    CHECK(pool.queued() == 0);
    door.open();
    co_await running;
    CHECK_FALSE(ran);
}

WEFT_TEST_CASE("a call that may be abandoned is not waited for", "[thread_pool]") {
    auto shared = std::make_shared<Door>();
    auto work = [shared] { shared->pass(); };
    auto body = [&]() -> Coro<void> { co_await to_thread(weft::abandon_on_cancel, work); };
    weft::Task<void> task = create_task(body);
    co_await seen(shared->entered);
    task.cancel();
    co_await task.wait();
    CHECK(task.cancelled());
    shared->open();
}

WEFT_TEST_CASE("a pool has no more threads than it may, and starts none before it needs one",
               "[thread_pool]") {
    ThreadPool pool(small_pool(2));
    CHECK(pool.threads() == 0);
    std::atomic<int> at_once{0};
    std::atomic<int> most{0};
    auto work = [&] {
        const int now = ++at_once;
        int seen_so_far = most.load();
        while (now > seen_so_far && !most.compare_exchange_weak(seen_so_far, now)) {
        }
        ::sched_yield();
        --at_once;
    };
    auto body = [&]() -> Coro<void> { co_await pool.run(work); };
    std::vector<weft::Task<void>> tasks;
    for (int index = 0; index < 200; ++index) tasks.push_back(create_task(body));
    for (weft::Task<void>& task : tasks) co_await task;
    CHECK(most.load() <= 2);
    CHECK(pool.threads() <= 2);
    const bool ended = pool.join(std::chrono::seconds(10));
    CHECK(ended);
    CHECK(pool.threads() == 0);
}

WEFT_TEST_CASE("one job more than the queue may hold is refused, and the others run",
               "[thread_pool]") {
    ThreadPoolOptions options = small_pool(1);
    options.queue_limit = 1;
    ThreadPool pool(options);
    Door door;
    auto block = [&door] { door.pass(); };
    auto body = [&]() -> Coro<void> { co_await pool.run(block); };
    weft::Task<void> running = create_task(body);
    co_await seen(door.entered);
    weft::Task<void> waiting = create_task(body);
    co_await turns(2);
    bool full = false;
    try {
        co_await pool.run(block);
    } catch (const weft::QueueFull&) {
        full = true;
    }
    CHECK(full);
    door.open();
    co_await running;
    co_await waiting;
}

WEFT_TEST_CASE("a job for which a thread is on its way does not wait in the queue",
               "[thread_pool]") {
    ThreadPoolOptions options = small_pool(2);
    options.queue_limit = 1;
    ThreadPool pool(options);
    Door door;
    int full = 0;
    auto block = [&door] { door.pass(); };
    auto body = [&]() -> Coro<void> {
        try {
            co_await pool.run(block);
        } catch (const weft::QueueFull&) {
            ++full;
        }
    };
    std::vector<weft::Task<void>> tasks;
    for (int index = 0; index < 5; ++index) tasks.push_back(create_task(body));
    co_await turns(2);
    CHECK(full == 2);
    door.open();
    for (weft::Task<void>& task : tasks) co_await task;
    CHECK(full == 2);
}

WEFT_TEST_CASE("a pool that goes drops what has not begun, and lets what runs come to its end",
               "[thread_pool]") {
    std::optional<ThreadPool> pool(std::in_place, small_pool(1));
    Door door;
    auto block = [&door] {
        door.pass();
        return 1;
    };
    auto first = [&]() -> Coro<int> { co_return co_await pool->run(block); };
    auto second = [&] { return pool->run(block); };
    weft::Task<int> running = create_task(first);
    co_await seen(door.entered);
    weft::Task<std::string> waiting = create_task(words_of(second));
    co_await turns(2);
    pool.reset();
    const std::string what = co_await waiting;
    CHECK(what == "ThreadPool 'small': closed before the call began");
    door.open();
    const int result = co_await running;
    CHECK(result == 1);
}

WEFT_TEST_CASE("a closed pool refuses by name", "[thread_pool]") {
    ThreadPool pool(small_pool(1));
    pool.close();
    auto work = [] {};
    auto start = [&] { return pool.run(work); };
    const std::string what = co_await words_of(start);
    CHECK(what == "ThreadPool 'small': it is closed");
}

WEFT_TEST_CASE("threads have their pool's name, and no signal is for them", "[thread_pool]") {
    ThreadPool pool(small_pool(1));
    auto work = [] {
        char name[32] = "";
        ::pthread_getname_np(::pthread_self(), name, sizeof name);
        sigset_t blocked;
        ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
        return std::make_pair(std::string(name), sigismember(&blocked, SIGTERM) == 1);
    };
    const auto result = co_await pool.run(work);
    CHECK(result.first == "small");
    CHECK(result.second);
}

WEFT_TEST_CASE("a thread that is idle for long goes, and another one starts when there is work",
               "[thread_pool]") {
    ThreadPoolOptions options = small_pool(1);
    options.idle_time = std::chrono::microseconds(1);
    ThreadPool pool(options);
    auto work = [] { return 1; };
    int sum = 0;
    for (int round = 0; round < 50; ++round) sum += co_await pool.run(work);
    CHECK(sum == 50);
    while (pool.threads() > 0) ::sched_yield();
    sum += co_await pool.run(work);
    CHECK(sum == 51);
}

TEST_CASE("a result that comes after the loop has closed is dropped, and nothing is freed before",
          "[thread_pool]") {
    auto door = std::make_shared<Door>();
    std::atomic<bool> ended{false};
    ThreadPool pool(small_pool(1));
    {
        weft::RunOptions options;
        options.shutdown_timeout = std::chrono::milliseconds(1);
        weft::Runner runner(options);
        runner.get_loop().set_exception_handler([](const weft::ExceptionContext&) {});
        auto text = std::make_shared<std::string>("still here");
        auto work = [door, text, &ended] {
            door->pass();
            if (*text == "still here") ended = true;
        };
        auto main = [&]() -> Coro<void> {
            auto body = [&]() -> Coro<void> { co_await pool.run(work); };
            const weft::Task<void> task = create_task(body);
            co_await seen(door->entered);
        };
        runner.run(main);
    }
    door->open();
    const bool joined = pool.join(std::chrono::seconds(30));
    CHECK(joined);
    CHECK(ended);
}

}  // namespace thread_pool_test
