// SPDX-License-Identifier: MIT
// What must not allocate, once warm: neither from the heap nor fresh frames from upstream.
// program: counting header-only
// sanitizers: no, frames are not recycled under them
#include <weft/runtime/loop.hpp>
#include <weft/task/coro.hpp>
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

#include "counted_new.hpp"

namespace allocation_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::EventLoop;
using weft::Future;

namespace {

Coro<int> ready(int value) { co_return value; }

Coro<int> suspends(int value) {
    co_await weft::yield();
    co_return value;
}

Coro<void> waits_for(Future<int>& future) { co_await future; }

Coro<void> sleeps_long() { co_await weft::sleep(24h); }

}  // namespace

WEFT_TEST_CASE("awaiting a child that is ready at once allocates nothing", "[allocation]") {
    auto round = []() -> Coro<void> {
        for (int i = 0; i < 10; ++i) co_await ready(i);
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("awaiting a child that suspends allocates nothing", "[allocation]") {
    auto round = []() -> Coro<void> {
        for (int i = 0; i < 10; ++i) co_await suspends(i);
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("yielding and sleeping allocate nothing", "[allocation]") {
    auto round = []() -> Coro<void> {
        co_await weft::yield();
        co_await weft::sleep(0s);
        co_await weft::sleep(1h);
        co_await weft::sleep_until(weft::get_running_loop().time() + 1s);
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("making, awaiting and setting a future allocate nothing", "[allocation]") {
    auto round = []() -> Coro<void> {
        auto future = weft::get_running_loop().create_future<int>();
        weft::get_running_loop().call_soon([&future] { future.set_result(1); });
        co_await future;
        co_await future.wait();
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("waking many waiters of one future allocates nothing", "[allocation]") {
    auto future = weft::get_running_loop().create_future<int>();
    auto round = [&]() -> Coro<void> {
        future = weft::get_running_loop().create_future<int>();
        weft::Task<void> tasks[10];
        for (auto& task : tasks) task = weft::create_task(waits_for(future));
        co_await weft::yield();
        future.set_result(1);
        for (auto& task : tasks) co_await task;
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("spawning and joining a task allocates nothing", "[allocation]") {
    auto round = []() -> Coro<void> {
        co_await weft::create_task(ready(1));
        co_await weft::create_task(suspends(1));
        co_await weft::create_task(ready, 1);
        co_await weft::create_task(ready(1), weft::TaskOptions("", true));
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("callbacks, timers and done-callbacks allocate nothing", "[allocation]") {
    int ran = 0;
    auto round = [&]() -> Coro<void> {
        EventLoop& loop = weft::get_running_loop();
        loop.call_soon([&ran] { ++ran; });
        auto handle = loop.call_later(1h, [&ran] { ++ran; });
        loop.call_later(1s, [&ran] { ++ran; });
        auto future = loop.create_future<int>();
        auto done = future.add_done_callback([&ran](Future<int>) { ++ran; });
        future.set_result(1);
        co_await weft::sleep(2s);
        handle.cancel();
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
    REQUIRE(ran == 90);
}

WEFT_TEST_CASE("asking a task to end allocates nothing", "[allocation]") {
    // Only the request: the CancelledError that follows is an exception, and the C++ runtime
    // allocates every exception object.
    for (int i = 0; i < 20; ++i) {
        auto sleeper = weft::create_task(sleeps_long());
        auto future = weft::get_running_loop().create_future<int>();
        auto waiter = weft::create_task(waits_for(future));
        co_await weft::yield();
        const std::size_t before = allocations;
        sleeper.cancel();
        waiter.cancel();
        const std::size_t count = allocations - before;
        co_await sleeper.wait();
        co_await waiter.wait();
        if (i > 10) REQUIRE(count == 0);
    }
}

WEFT_TEST_CASE("cancelling a task before its first step allocates nothing at all", "[allocation]") {
    auto round = []() -> Coro<void> {
        auto task = weft::create_task(sleeps_long());
        task.cancel();
        co_await task.wait();
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("posting allocates nothing once nodes circulate", "[allocation]") {
    int ran = 0;
    auto round = [&]() -> Coro<void> {
        for (int i = 0; i < 5; ++i) {
            weft::get_running_loop().call_soon_threadsafe([&ran] { ++ran; });
        }
        co_await weft::sleep(1s);
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
    REQUIRE(ran == 150);
}

}  // namespace allocation_test
