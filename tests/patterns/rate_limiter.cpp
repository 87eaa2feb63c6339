// SPDX-License-Identifier: MIT
// RateLimiter: the rate, the burst, the order, and cancels.
#include <weft/deadline/move_on_after.hpp>
#include <weft/patterns/rate_limiter.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "awaiting.hpp"
#include "probe.hpp"

namespace rate_limiter_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::EventLoop;
using weft::RateLimiter;

namespace {

/// Takes `tokens` and notes when and who.
Coro<void> takes(RateLimiter& limiter, std::uint32_t tokens, char name, std::string& log) {
    co_await limiter.acquire(tokens);
    log += name;
}

}  // namespace

WEFT_TEST_CASE("a burst at once, and then one token after the other", "[rate_limiter]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint began = loop.time();
    RateLimiter limiter(10, 3);
    std::vector<weft::Duration> times;
    for (int i = 0; i < 6; ++i) {
        co_await limiter.acquire();
        times.push_back(loop.time() - began);
    }
    REQUIRE(times == std::vector<weft::Duration>{0ms, 0ms, 0ms, 100ms, 200ms, 300ms});
    REQUIRE(limiter.available() == 0);
    co_await weft::sleep(250ms);
    REQUIRE(limiter.available() == 2);
    co_await weft::sleep(1h);
    REQUIRE(limiter.available() == 3);  // it does not overflow
}

WEFT_TEST_CASE("try_acquire takes what is there and nothing else", "[rate_limiter]") {
    RateLimiter limiter(1, 2);
    REQUIRE(limiter.try_acquire(2));
    REQUIRE_FALSE(limiter.try_acquire());
    co_await weft::sleep(1s);
    REQUIRE_FALSE(limiter.try_acquire(2));
    REQUIRE(limiter.try_acquire(1));
}

WEFT_TEST_CASE("waiters are served in their order, and nobody passes them", "[rate_limiter]") {
    RateLimiter limiter(10, 4);
    std::string log;
    REQUIRE(limiter.try_acquire(4));
    auto big = weft::create_task(takes, std::ref(limiter), 4U, 'a', std::ref(log));
    auto small = weft::create_task(takes, std::ref(limiter), 1U, 'b', std::ref(log));
    co_await weft::yield();
    REQUIRE(limiter.waiting() == 2);
    co_await weft::sleep(300ms);
    REQUIRE(log.empty());
    REQUIRE_FALSE(limiter.try_acquire());  // three are there, for the one who was first
    co_await weft::sleep(100ms + 1ns);
    REQUIRE(log == "a");
    co_await weft::sleep(100ms);
    REQUIRE(log == "ab");
    co_await big;
    co_await small;
}

WEFT_TEST_CASE("a cancelled waiter has taken nothing, and the next one is served when it can be",
               "[rate_limiter]") {
    EventLoop& loop = weft::get_running_loop();
    RateLimiter limiter(10, 4);
    std::string log;
    REQUIRE(limiter.try_acquire(4));
    const weft::TimePoint began = loop.time();
    auto big = weft::create_task(takes, std::ref(limiter), 4U, 'a', std::ref(log));
    auto small = weft::create_task(takes, std::ref(limiter), 1U, 'b', std::ref(log));
    co_await weft::yield();
    big.cancel();
    co_await small;
    REQUIRE(loop.time() - began == 100ms);
    REQUIRE(log == "b");
    REQUIRE(big.cancelled());
    REQUIRE(limiter.available() == 0);
    REQUIRE(loop.armed_timers() == 0);
    // In the middle of the queue, and all at once.
    auto one = weft::create_task(takes, std::ref(limiter), 2U, 'c', std::ref(log));
    auto two = weft::create_task(takes, std::ref(limiter), 2U, 'd', std::ref(log));
    auto three = weft::create_task(takes, std::ref(limiter), 1U, 'e', std::ref(log));
    co_await weft::yield();
    two.cancel();
    co_await three;
    REQUIRE(log == "bce");
    REQUIRE(loop.time() - began == 400ms);
    co_await one;
}

WEFT_TEST_CASE("a token that was granted is not lost to a cancel of the same turn",
               "[rate_limiter]") {
    RateLimiter limiter(10, 1);
    REQUIRE(limiter.try_acquire());
    bool got = false;
    bool struck = false;
    auto body = [&]() -> Coro<void> {
        co_await limiter.acquire();
        got = true;
        try {
            co_await weft::yield();
        } catch (const weft::CancelledError&) {
            struck = true;
        }
    };
    auto task = weft::create_task(body);
    struct Cancel : weft::detail::Timer {
        explicit Cancel(weft::Task<void> of) : Timer(&due), task(std::move(of)) {}
        static void due(Timer& timer) noexcept { static_cast<Cancel&>(timer).task.cancel(); }
        weft::Task<void> task;
    };
    co_await weft::yield();  // it waits now, and its timer comes first
    Cancel cancel(task);
    EventLoop& loop = weft::get_running_loop();
    loop.arm(cancel, loop.read_clock() + 100'000'000);
    co_await task;
    REQUIRE(got);
    REQUIRE(struck);
}

WEFT_TEST_CASE("a deadline around acquire takes nothing", "[rate_limiter]") {
    RateLimiter limiter(1, 1);
    REQUIRE(limiter.try_acquire());
    const bool got = co_await weft::move_on_after(500ms, limiter.acquire());
    REQUIRE_FALSE(got);
    co_await weft::sleep(500ms);
    REQUIRE(limiter.try_acquire());
    REQUIRE(weft::get_running_loop().armed_timers() == 0);
}

WEFT_TEST_CASE("a thousand waiters are served at the rate", "[rate_limiter]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint began = loop.time();
    RateLimiter limiter(1000, 10);
    std::string log;
    std::vector<weft::Task<void>> tasks;
    for (int i = 0; i < 1010; ++i) {
        tasks.push_back(weft::create_task(takes, std::ref(limiter), 1U, 'x', std::ref(log)));
    }
    for (auto& task : tasks) co_await task;
    REQUIRE(loop.time() - began == 1s);
}

WEFT_TEST_CASE("rates and amounts that make no sense are refused", "[rate_limiter]") {
    for (const double rate : {0.0, -1.0, 2e9, std::numeric_limits<double>::quiet_NaN()}) {
        REQUIRE_THROWS_AS(RateLimiter(rate), std::invalid_argument);
    }
    REQUIRE_THROWS_AS(RateLimiter(1, 0), std::invalid_argument);
    RateLimiter limiter(1, 2);
    REQUIRE_THROWS_AS(limiter.try_acquire(3), std::invalid_argument);
    co_return;
}

WEFT_TEST_CASE("112: the long-run rate is kept however late the wake-ups are", "[rate_limiter]") {
    EventLoop& loop = weft::get_running_loop();
    for (const weft::Duration late : {0us, 300us, 900us, 2500us, 40'000us}) {
        RateLimiter limiter(1000);
        const weft::TimePoint began = loop.time();
        bool over = false;
        // Each wake-up of the limiter finds a step before it that takes so long.
        auto slow_steps = [&]() -> Coro<void> {
            while (!over) {
                co_await weft::sleep(1ms);
                weft::testing::pass_time(late);
            }
        };
        auto slow = weft::create_task(slow_steps);
        for (int i = 0; i <= 5000; ++i) co_await limiter.acquire();
        over = true;
        const weft::Duration took = loop.time() - began;
        co_await slow;
        REQUIRE(took >= 5s);
        REQUIRE(took <= 5s + 2 * late + 1ms);
    }
}

WEFT_TEST_CASE("112: tasks that wait are served as of when their tokens were there",
               "[rate_limiter]") {
    EventLoop& loop = weft::get_running_loop();
    RateLimiter limiter(1000);
    std::string log;
    REQUIRE(limiter.try_acquire());
    const weft::TimePoint began = loop.time();
    std::vector<weft::Task<void>> tasks;
    for (int i = 0; i < 10; ++i) {
        tasks.push_back(weft::create_task(takes, std::ref(limiter), 1U, 'x', std::ref(log)));
    }
    co_await weft::yield();
    weft::testing::pass_time(5ms);
    co_await support::turns(3);
    REQUIRE(log.size() == 5);
    for (auto& task : tasks) co_await task;
    REQUIRE(loop.time() - began == 10ms);
}

WEFT_TEST_CASE("an idle bucket gives no more than it holds", "[rate_limiter]") {
    RateLimiter limiter(1000, 3);
    REQUIRE(limiter.try_acquire(3));
    auto waits = [&]() -> Coro<void> { co_await limiter.acquire(); };
    auto task = weft::create_task(waits);
    co_await weft::yield();
    weft::testing::pass_time(10ms);  // the wake-up is late
    co_await task;
    co_await weft::sleep(1s);
    REQUIRE(limiter.try_acquire(3));
    REQUIRE_FALSE(limiter.try_acquire());
}

WEFT_TEST_CASE("108: tokens are returned in the order of arrival, newcomers of the step included",
               "[rate_limiter]") {
    RateLimiter limiter(1000, 4);
    REQUIRE(limiter.try_acquire(4));
    std::string log;
    auto first = weft::create_task(takes, std::ref(limiter), 1U, 'a', std::ref(log));
    auto second = weft::create_task(takes, std::ref(limiter), 1U, 'b', std::ref(log));
    co_await weft::yield();
    auto gives = [&]() -> Coro<void> {
        // The second one is served with what is there by now, and two tokens are left.
        weft::testing::pass_time(10ms);
        first.cancel();
        co_await takes(limiter, 1, 'c', log);
    };
    auto third = weft::create_task(gives);
    co_await third;
    REQUIRE(log == "bc");
    co_await second;
}

}  // namespace rate_limiter_test
