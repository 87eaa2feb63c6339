// SPDX-License-Identifier: MIT
// move_on_after: an empty result instead of an exception, and no exception inside either.
// program: throws
#include <weft/deadline/move_on_after.hpp>
#include <weft/net/io.hpp>
#include <weft/net/stream.hpp>
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "awaiting.hpp"
#include "descriptors.hpp"
#include "probe.hpp"
#include "stream_pairs.hpp"
#include "thrown.hpp"

namespace move_on_after_test {

using namespace std::chrono_literals;
using weft::CancelledError;
using weft::Coro;
using weft::EventLoop;
using weft::move_on_after;

namespace {

Coro<std::unique_ptr<int>> takes(weft::Duration time, int value) {
    co_await weft::sleep(time);
    co_return std::make_unique<int>(value);
}

Coro<void> rests(weft::Duration time) { co_await weft::sleep(time); }

}  // namespace

WEFT_TEST_CASE("in time there is a result, too late there is none", "[move_on_after]") {
    EventLoop& loop = weft::get_running_loop();
    const auto in_time = co_await move_on_after(2s, takes(1s, 3));
    const auto too_late = co_await move_on_after(1s, takes(2s, 3));
    const bool rested = co_await move_on_after(2s, rests(1s));
    const bool cut = co_await move_on_after(1s, rests(2s));
    REQUIRE(in_time);
    REQUIRE(**in_time == 3);
    REQUIRE_FALSE(too_late);
    REQUIRE(rested);
    REQUIRE_FALSE(cut);
    REQUIRE(loop.armed_timers() == 0);
    REQUIRE(weft::current_task().cancelling() == 0);
}

WEFT_TEST_CASE("a limit <= 0 takes what is there and begins nothing", "[move_on_after]") {
    EventLoop& loop = weft::get_running_loop();
    auto done = loop.create_future<int>();
    done.set_result(1);
    auto open = loop.create_future<int>();
    const std::optional<int> one = co_await move_on_after(0s, done);
    const std::optional<int> none = co_await move_on_after(0s, open);
    const auto nothing = co_await move_on_after(-1s, takes(0s, 1));
    REQUIRE(one == 1);
    REQUIRE_FALSE(none);
    REQUIRE_FALSE(nothing);
    REQUIRE(open.cancelled());
}

WEFT_TEST_CASE("a deadline that ends a single operation throws nothing inside", "[move_on_after]") {
    EventLoop& loop = weft::get_running_loop();
    support::Pair pipe = support::pipe_pair();
    support::StreamPair streams = support::stream_pair();
    support::Listener listener = support::tcp_listener();
    char byte = 0;
    auto future = loop.create_future<int>();
    auto task = weft::create_task(rests(1h));
    const std::size_t before = support::thrown;
    const auto read = co_await move_on_after(1s, weft::io::read(pipe.a.get(), {&byte, 1}));
    const auto recv = co_await move_on_after(1s, streams.near.read({&byte, 1}));
    const auto poll = co_await move_on_after(1s, weft::wait_readable(pipe.a.get()));
    auto connection = co_await move_on_after(1s, weft::io::accept(listener.fd.get()));
    const bool slept = co_await move_on_after(1s, weft::sleep(1h));
    const auto value = co_await move_on_after(1s, future);
    const bool waited = co_await move_on_after(1s, task.wait());
    const auto refused = co_await move_on_after(0s, weft::io::read(pipe.a.get(), {&byte, 1}));
    REQUIRE(support::thrown == before);
    REQUIRE_FALSE((read || recv || poll || connection || slept || value || waited || refused));
    REQUIRE_FALSE(task.done());
    // A coroutine inside is unwound, and that takes an exception.
    const bool joined = co_await move_on_after(1s, task);
    REQUIRE_FALSE(joined);
    REQUIRE(support::thrown > before);
}

WEFT_TEST_CASE("an outer cancel is not turned into an empty result", "[move_on_after]") {
    for (int kind = 0; kind < 2; ++kind) {
        bool came_back = false;
        auto body = [&]() -> Coro<void> {
            if (kind == 0) co_await move_on_after(1h, weft::sleep(2h));
            if (kind == 1) co_await move_on_after(1h, rests(2h));
            came_back = true;
        };
        auto task = weft::create_task(body);
        co_await weft::sleep(1s);
        task.cancel();
        co_await task.wait();
        REQUIRE(task.cancelled());
        REQUIRE_FALSE(came_back);
    }
}

WEFT_TEST_CASE("a third party's cancel of the future is an error, not an empty result",
               "[move_on_after]") {
    EventLoop& loop = weft::get_running_loop();
    auto future = loop.create_future<int>();
    loop.call_later(1s, [&] { future.cancel("by somebody"); });
    std::string message;
    try {
        co_await move_on_after(1h, future);
    } catch (const CancelledError& error) {
        message = error.message();
    }
    REQUIRE(message == "by somebody");
    REQUIRE(loop.armed_timers() == 0);
}

WEFT_TEST_CASE("other exceptions pass", "[move_on_after]") {
    auto fails = []() -> Coro<int> {
        co_await weft::sleep(1s);
        throw std::runtime_error("expected");
    };
    std::string what;
    try {
        co_await move_on_after(1h, fails());
    } catch (const std::runtime_error& error) {
        what = error.what();
    }
    REQUIRE(what == "expected");
}

WEFT_TEST_CASE("a loop with move_on_after(0s) does not keep the thread for itself",
               "[move_on_after]") {
    bool stop = false;
    auto other = [&]() -> Coro<void> {
        co_await support::turns(5);
        stop = true;
    };
    auto task = weft::create_task(other);
    int rounds = 0;
    while (!stop && rounds < 1000) {
        co_await move_on_after(0s, rests(1s));
        ++rounds;
    }
    REQUIRE(rounds < 10);
    co_await task;
}

}  // namespace move_on_after_test
