// SPDX-License-Identifier: MIT
// wait_for around coroutines, tasks, futures and single operations.
#include <weft/deadline/wait_for.hpp>
#include <weft/net/io.hpp>
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "awaiting.hpp"
#include "deadlines.hpp"
#include "descriptors.hpp"
#include "probe.hpp"

namespace wait_for_test {

using namespace std::chrono_literals;
using support::ending;
using support::takes;
using weft::CancelledError;
using weft::Coro;
using weft::EventLoop;
using weft::TimeoutError;
using weft::wait_for;

namespace {

struct ByTimer : weft::detail::Timer {
    explicit ByTimer(weft::Duration delay, OnDue due) : Timer(due) {
        EventLoop& loop = weft::get_running_loop();
        loop.arm(*this, loop.read_clock() + delay.count());
    }
};
struct SetByTimer : ByTimer {
    SetByTimer(weft::Duration delay, weft::Future<int> of)
        : ByTimer(delay, &set), future(std::move(of)) {}
    static void set(Timer& timer) noexcept { static_cast<SetByTimer&>(timer).future.set_result(6); }
    weft::Future<int> future;
};

/// Takes the cancel, and then as long as it wants.
Coro<int> cleans_up(weft::Duration time) {
    try {
        co_await weft::sleep(1h);
    } catch (const CancelledError&) {
    }
    co_await weft::sleep(time);
    throw CancelledError();
    co_return 0;
}

}  // namespace

// --- a limit that has passed already ---

WEFT_TEST_CASE("a limit <= 0 returns the result of a future that is done", "[wait_for]") {
    auto future = weft::get_running_loop().create_future<int>();
    future.set_result(3);
    const int zero = co_await wait_for(future, 0s);
    const int negative = co_await wait_for(std::move(future), -1h);
    REQUIRE(zero + negative == 6);
}

WEFT_TEST_CASE("a limit <= 0 does not start a coroutine and destroys its arguments", "[wait_for]") {
    for (const weft::Duration limit : {weft::Duration(0s), weft::Duration(-1s)}) {
        int alive = 0;
        bool started = false;
        auto body = [&](probe::Alive) -> Coro<void> {
            started = true;
            co_return;
        };
        auto start = [&] { return wait_for(body(probe::Alive(alive)), limit); };
        const std::string end = co_await ending(start);
        REQUIRE(end == "timeout");
        REQUIRE_FALSE(started);
        REQUIRE(alive == 0);
    }
}

WEFT_TEST_CASE("a limit <= 0 cancels a task and waits for its clean-up", "[wait_for]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint began = loop.time();
    auto task = weft::create_task(cleans_up(2s));
    co_await weft::yield();
    auto start = [&] { return wait_for(task, 0s); };
    const std::string end = co_await ending(start);
    REQUIRE(end == "timeout");
    REQUIRE(task.cancelled());
    REQUIRE(loop.time() - began == 2s);
    REQUIRE(weft::current_task().cancelling() == 0);
}

WEFT_TEST_CASE("a limit <= 0 begins no operation and lets others run", "[wait_for]") {
    support::Pair ends = support::pipe_pair();
    support::put(ends.b.get(), "x");
    char byte = 0;
    int others = 0;
    weft::get_running_loop().call_soon([&] { ++others; });
    auto reading = [&] { return weft::io::read(ends.a.get(), {&byte, 1}); };
    auto read = [&] { return wait_for(reading, 0s); };
    const std::string end = co_await ending(read);
    REQUIRE(end == "timeout");
    REQUIRE(byte == 0);
    REQUIRE(others == 1);
    REQUIRE(support::drain(ends.a.get()) == "x");
    auto sleeping = [] { return weft::sleep(0s); };
    auto sleep = [&] { return wait_for(sleeping, 0s); };
    const std::string slept = co_await ending(sleep);
    REQUIRE(slept == "timeout");
    co_await weft::sleep(1s);  // nothing strikes later
}

// --- the deadline ---

WEFT_TEST_CASE("in time the result is returned, and no timer is left behind", "[wait_for]") {
    EventLoop& loop = weft::get_running_loop();
    const int coroutine = co_await wait_for(takes(1s, 1), 2s);
    const int task = co_await wait_for(weft::create_task(takes(1s, 2)), 2s);
    auto future = loop.create_future<int>();
    loop.call_later(1s, [&] { future.set_result(3); });
    const int value = co_await wait_for(future, 2s);
    co_await wait_for(weft::sleep(1s), 2s);
    co_await wait_for(weft::yield(), 2s);
    REQUIRE(coroutine + task + value == 6);
    REQUIRE(loop.armed_timers() == 0);
}

WEFT_TEST_CASE("on timeout the clean-up is waited for before TimeoutError", "[wait_for]") {
    EventLoop& loop = weft::get_running_loop();
    for (int kind = 0; kind < 2; ++kind) {
        const weft::TimePoint began = loop.time();
        std::string end;
        if (kind == 0) {
            auto start = [] { return wait_for(cleans_up(5s), 1s); };
            end = co_await ending(start);
        } else {
            auto start = [] { return wait_for(weft::create_task(cleans_up(5s)), 1s); };
            end = co_await ending(start);
        }
        REQUIRE(end == "timeout");
        REQUIRE(loop.time() - began == 6s);
    }
    REQUIRE(weft::current_task().cancelling() == 0);
    REQUIRE(loop.armed_timers() == 0);
}

WEFT_TEST_CASE("on timeout a future is cancelled, and an operation did not happen", "[wait_for]") {
    EventLoop& loop = weft::get_running_loop();
    auto future = loop.create_future<int>();
    auto start = [&] { return wait_for(future, 1s); };
    const std::string end = co_await ending(start);
    REQUIRE(end == "timeout");
    REQUIRE(future.cancelled());

    support::Pair ends = support::pipe_pair();
    char byte = 0;
    auto reading = [&] { return weft::io::read(ends.a.get(), {&byte, 1}); };
    auto read = [&] { return wait_for(reading, 1s); };
    const std::string read_end = co_await ending(read);
    REQUIRE(read_end == "timeout");
    support::put(ends.b.get(), "x");
    REQUIRE(support::drain(ends.a.get()) == "x");
}

WEFT_TEST_CASE("an exception of the clean-up wins; a swallowed cancel returns the value",
               "[wait_for]") {
    auto fails = []() -> Coro<int> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            throw std::runtime_error("clean-up failed");
        }
        co_return 0;
    };
    auto swallows = []() -> Coro<int> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
        }
        co_return 5;
    };
    auto coroutine = [&] { return wait_for(fails(), 1s); };
    auto task = [&] { return wait_for(weft::create_task(fails()), 1s); };
    const std::string one = co_await ending(coroutine);
    const std::string two = co_await ending(task);
    REQUIRE(one == "clean-up failed");
    REQUIRE(two == "clean-up failed");
    const int three = co_await wait_for(swallows(), 1s);
    const int four = co_await wait_for(weft::create_task(swallows()), 1s);
    REQUIRE(three + four == 10);
    REQUIRE(weft::current_task().cancelling() == 0);
}

// --- an outer cancel ---

WEFT_TEST_CASE("an outer cancel cancels the inner and waits for it", "[wait_for]") {
    EventLoop& loop = weft::get_running_loop();
    for (int kind = 0; kind < 2; ++kind) {
        const weft::TimePoint began = loop.time();
        auto body = [&]() -> Coro<void> {
            if (kind == 0) co_await wait_for(cleans_up(3s), 1h);
            if (kind == 1) co_await wait_for(weft::create_task(cleans_up(3s)), 1h);
        };
        auto task = weft::create_task(body);
        co_await support::turns(3);
        task.cancel();
        co_await task.wait();
        REQUIRE(task.cancelled());
        REQUIRE(loop.time() - began == 3s);
        REQUIRE(loop.armed_timers() == 0);
    }
}

// CPython issue 86296: wait_for swallowed a cancel that came when the inner was done.
WEFT_TEST_CASE("a cancel that races a completed inner loses neither result nor cancel",
               "[wait_for]") {
    for (int kind = 0; kind < 2; ++kind) {
        auto future = weft::get_running_loop().create_future<int>();
        auto waits = [](weft::Future<int> on) -> Coro<int> { co_return co_await on; };
        int got = 0;
        bool struck = false;
        auto body = [&]() -> Coro<void> {
            if (kind == 0) got = co_await wait_for(future, 1h);
            if (kind == 1) got = co_await wait_for(waits(future), 1h);
            try {
                co_await weft::sleep(1h);
            } catch (const CancelledError&) {
                struck = true;
                throw;
            }
        };
        auto task = weft::create_task(body);
        co_await weft::yield();
        future.set_result(8);
        task.cancel();
        co_await task.wait();
        REQUIRE(got == 8);
        REQUIRE(struck);
        REQUIRE(task.cancelled());
    }
}

// CPython issue 84849: the inner's result was lost when it came together with the timeout.
WEFT_TEST_CASE("a result at the very time of the deadline is returned", "[wait_for]") {
    EventLoop& loop = weft::get_running_loop();
    auto waits = [](weft::Future<int> on) -> Coro<int> { co_return co_await on; };
    for (int kind = 0; kind < 2; ++kind) {
        auto future = loop.create_future<int>();
        const SetByTimer setter(1s, future);
        int got = 0;
        if (kind == 0) got = co_await wait_for(future, 1s);
        if (kind == 1) got = co_await wait_for(waits(future), 1s);
        REQUIRE(got == 6);
        REQUIRE(weft::current_task().cancelling() == 0);
    }
    co_await wait_for(weft::sleep(1s), 1s);
    co_await weft::yield();
}

WEFT_TEST_CASE("an outer cancel in the turn of the timeout is not hidden by it", "[wait_for]") {
    struct Cancel : ByTimer {
        Cancel(weft::Duration delay, weft::Task<void> of)
            : ByTimer(delay, &due), task(std::move(of)) {}
        static void due(Timer& timer) noexcept { static_cast<Cancel&>(timer).task.cancel("outer"); }
        weft::Task<void> task;
    };
    for (int kind = 0; kind < 4; ++kind) {
        auto future = weft::get_running_loop().create_future<int>();
        auto body = [&]() -> Coro<void> {
            if (kind == 0) co_await wait_for(weft::sleep(1h), 1s);
            if (kind == 1) co_await wait_for(takes(1h, 1), 1s);
            if (kind == 2) co_await wait_for(future, 1s);
            if (kind == 3) co_await wait_for(weft::create_task(takes(1h, 1)), 1s);
        };
        auto task = weft::create_task(body);
        co_await weft::yield();
        const Cancel cancel(1s, task);  // after the deadline's timer, in the same pass
        std::string message = "-";
        try {
            co_await task;
        } catch (const CancelledError& error) {
            message = error.message();
        }
        CHECK(message == "outer");
        CHECK(task.cancelling() == 1);
    }
}

WEFT_TEST_CASE("wait_for nests, and the shorter limit decides", "[wait_for]") {
    auto inner = []() -> Coro<int> { co_return co_await wait_for(takes(1h, 1), 5s); };
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint began = loop.time();
    auto outer_shorter = [&] { return wait_for(inner(), 2s); };
    auto inner_shorter = [&] { return wait_for(inner(), 9s); };
    auto sleeping = [] { return weft::sleep(1h); };
    auto timed = [&] { return wait_for(sleeping, 5s); };
    auto directly = [&] { return wait_for(timed, 1s); };
    const std::string one = co_await ending(outer_shorter);
    REQUIRE(loop.time() - began == 2s);
    const std::string two = co_await ending(inner_shorter);
    REQUIRE(loop.time() - began == 7s);
    const std::string three = co_await ending(directly);
    REQUIRE(loop.time() - began == 8s);
    REQUIRE(one + two + three == "timeouttimeouttimeout");
    REQUIRE(weft::current_task().cancelling() == 0);
}

WEFT_TEST_CASE("what leaves an awaited task alone survives the timeout", "[wait_for]") {
    auto task = weft::create_task(takes(3s, 4));
    auto waiting = [&] { return task.wait(); };  // like a shield: it cancels nothing
    auto start = [&] { return wait_for(waiting, 1s); };
    const std::string end = co_await ending(start);
    REQUIRE(end == "timeout");
    REQUIRE_FALSE(task.done());
    REQUIRE(task.cancelling() == 0);
    const int value = co_await task;
    REQUIRE(value == 4);
}

WEFT_TEST_CASE("the limit counts from the await on, not from the call", "[wait_for]") {
    EventLoop& loop = weft::get_running_loop();
    auto awaitable = wait_for(takes(1h, 1), 2s);
    co_await weft::sleep(10s);
    const weft::TimePoint began = loop.time();
    bool timed_out = false;
    try {
        co_await awaitable;
    } catch (const TimeoutError&) {
        timed_out = true;
    }
    REQUIRE(timed_out);
    REQUIRE(loop.time() - began == 2s);
}

WEFT_TEST_CASE("43: two deadlines that end one future in the same turn are both timeouts",
               "[wait_for]") {
    auto future = weft::get_running_loop().create_future<int>();
    const auto waits = [&future]() -> Coro<std::string> {
        auto timed = [&] { return wait_for(future, 1s); };
        co_return co_await ending(timed);
    };
    auto one = weft::create_task(waits);
    auto other = weft::create_task(waits);
    const std::string first = co_await one;
    const std::string second = co_await other;
    REQUIRE(first == "timeout");
    REQUIRE(second == "timeout");
    REQUIRE(future.cancelled());
}

}  // namespace wait_for_test
