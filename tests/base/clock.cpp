// SPDX-License-Identifier: MIT
// Durations of every kind become deadlines or a clear error, and virtual time jumps.
// labels: smoke
#include <weft/base/clock.hpp>
#include <weft/runtime/loop.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <ratio>
#include <stdexcept>
#include <string>

#include "probe.hpp"

namespace clock_test {

using namespace std::chrono_literals;
using probe::message_of;
using weft::Coro;
using weft::EventLoop;
using weft::detail::to_nanoseconds;

namespace {

template <class Rep, class Period = std::ratio<1>>
using In = std::chrono::duration<Rep, Period>;
using Frames = In<int, std::ratio<1, 60>>;  // video frames
using LongFrames = In<std::int64_t, std::ratio<1, 60>>;
using Picos = In<std::int64_t, std::pico>;
using Years = In<std::int64_t, std::ratio<31'556'952>>;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// The message of the std::invalid_argument that converting `d` throws.
template <class Duration>
std::string refusal(Duration d) {
    return message_of<std::invalid_argument>([&] { (void)to_nanoseconds(d); });
}

}  // namespace

static_assert(to_nanoseconds(1s) == 1'000'000'000);
static_assert(to_nanoseconds(2h) == 7'200'000'000'000);
static_assert(to_nanoseconds(1ns) == 1);
static_assert(to_nanoseconds(-1s) == 0);
static_assert(to_nanoseconds(0s) == 0);
static_assert(to_nanoseconds(In<double>(0.5)) == 500'000'000);

TEST_CASE("a duration is rounded up: a sleep never ends early", "[clock]") {
    CHECK(to_nanoseconds(Picos(1)) == 1);
    CHECK(to_nanoseconds(Picos(1001)) == 2);
    CHECK(to_nanoseconds(In<double>(1e-30)) == 1);
    CHECK(to_nanoseconds(In<double>(1.5e-9)) == 2);
    CHECK(to_nanoseconds(In<float>(std::numeric_limits<float>::denorm_min())) == 1);
    CHECK(to_nanoseconds(Frames(1)) == 16'666'667);
    CHECK(to_nanoseconds(Frames(60)) == 1'000'000'000);
}

TEST_CASE("a duration that is not a number is refused", "[clock]") {
    CHECK(refusal(In<double>(not_a_number)) == "weft: the duration is not a number");
    CHECK(refusal(In<float>(std::numeric_limits<float>::quiet_NaN())) ==
          "weft: the duration is not a number");
    CHECK(refusal(In<long double, std::milli>(std::numeric_limits<long double>::quiet_NaN())) ==
          "weft: the duration is not a number");
}

TEST_CASE("a duration that is too long is refused, whatever it counts", "[clock]") {
    const std::string too_long = "weft: the duration is too long";
    CHECK(refusal(In<double>(infinity)) == too_long);
    CHECK(refusal(In<double>(1e300)) == too_long);
    CHECK(refusal(In<float>(std::numeric_limits<float>::max())) == too_long);
    CHECK(refusal(std::chrono::hours::max()) == too_long);
    CHECK(refusal(std::chrono::seconds::max()) == too_long);
    CHECK(refusal(std::chrono::nanoseconds::max()) == too_long);
    CHECK(refusal(In<std::int64_t, std::milli>(std::numeric_limits<std::int64_t>::max())) ==
          too_long);
    CHECK(refusal(In<std::uint64_t, std::nano>(std::numeric_limits<std::uint64_t>::max())) ==
          too_long);
    CHECK(refusal(In<std::uint64_t>(std::numeric_limits<std::uint64_t>::max())) == too_long);
    CHECK(refusal(LongFrames(std::numeric_limits<std::int64_t>::max())) == too_long);
    CHECK(refusal(Years(147)) == too_long);
    CHECK(refusal(Years(1'000'000'000'000)) == too_long);
}

TEST_CASE("a negative duration is zero, also the lowest there is", "[clock]") {
    CHECK(to_nanoseconds(In<double>(-infinity)) == 0);
    CHECK(to_nanoseconds(In<double>(-0.0)) == 0);
    CHECK(to_nanoseconds(In<double>(-1e300)) == 0);
    CHECK(to_nanoseconds(std::chrono::hours::min()) == 0);
    CHECK(to_nanoseconds(std::chrono::nanoseconds::min()) == 0);
    CHECK(to_nanoseconds(LongFrames(std::numeric_limits<std::int64_t>::min())) == 0);
    CHECK(to_nanoseconds(Picos(std::numeric_limits<std::int64_t>::min())) == 0);
}

TEST_CASE("long durations below the limit are exact", "[clock]") {
    CHECK(to_nanoseconds(Years(146)) == 146LL * 31'556'952 * 1'000'000'000);
    CHECK(to_nanoseconds(In<std::uint64_t>(4'000'000'000)) == 4'000'000'000'000'000'000);
    CHECK(to_nanoseconds(In<std::uint8_t>(255)) == 255'000'000'000);
    CHECK(to_nanoseconds(In<std::int8_t, std::milli>(127)) == 127'000'000);
    CHECK(to_nanoseconds(LongFrames(60LL * 60 * 60 * 24 * 365)) ==
          60LL * 60 * 24 * 365 * 1'000'000'000);
}

WEFT_TEST_CASE("a bad duration throws where it is given and leaves the task running", "[clock]") {
    EventLoop& loop = weft::get_running_loop();
    CHECK_THROWS_AS(weft::sleep(In<double>(not_a_number)), std::invalid_argument);
    CHECK_THROWS_AS(weft::sleep(std::chrono::hours::max()), std::invalid_argument);
    CHECK_THROWS_AS(loop.call_later(In<double>(infinity), [] {}), std::invalid_argument);
    CHECK_THROWS_AS(loop.call_later(std::chrono::hours::max(), [] {}), std::invalid_argument);
    REQUIRE(loop.armed_timers() == 0);
    co_await weft::sleep(1ms);
}

WEFT_TEST_CASE("time does not run backwards however often a long sleep is repeated", "[clock]") {
    EventLoop& loop = weft::get_running_loop();
    weft::TimePoint last = loop.time();
    for (int i = 0; i < 4; ++i) {
        // The clock ends after 292 years; a deadline beyond is its end, or an error, never the
        // past.
        try {
            co_await weft::sleep(Years(140));
        } catch (const std::invalid_argument&) {
            break;
        }
        if (i == 0) REQUIRE(loop.time() == last + Years(140));
        REQUIRE(loop.time() >= last);
        last = loop.time();
    }
}

WEFT_TEST_CASE("a 24-hour sleep takes exactly 24 hours of virtual time", "[clock]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint before = loop.time();
    co_await weft::sleep(24h);
    REQUIRE(loop.time() == before + 24h);
    co_await weft::sleep_until(before + 48h);
    REQUIRE(loop.time() == before + 48h);
    co_await weft::sleep_until(before);
    REQUIRE(loop.time() == before + 48h);
}

WEFT_TEST_CASE("virtual time stands still while anything runs", "[clock]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint before = loop.time();
    bool fired = false;
    loop.call_later(1ns, [&] { fired = true; });
    for (int i = 0; i < 1000; ++i) co_await weft::yield();
    REQUIRE(loop.time() == before);
    REQUIRE_FALSE(fired);
    co_await weft::sleep(1ns);
    REQUIRE(fired);
    REQUIRE(loop.time() == before + 1ns);
}

WEFT_TEST_CASE("sleepers of many lengths wake in order at their own times", "[clock]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint start = loop.time();
    int wrong = 0;
    std::string order;
    auto body = [&](int hours) -> Coro<void> {
        co_await weft::sleep(std::chrono::hours(hours));
        wrong += loop.time() == start + std::chrono::hours(hours) ? 0 : 1;
        order += std::to_string(hours);
    };
    std::vector<weft::Task<void>> tasks;
    for (const int hours : {7, 3, 5, 1, 2, 6, 4}) tasks.push_back(weft::create_task(body, hours));
    for (auto& task : tasks) co_await task;
    REQUIRE(wrong == 0);
    REQUIRE(order == "1234567");
}

TEST_CASE("the clock of an ordinary loop is the monotonic clock", "[clock]") {
    EventLoop loop;
    const weft::TimePoint before = weft::Clock::now();
    const weft::TimePoint loop_time = loop.time();
    REQUIRE(loop_time >= before);
    REQUIRE(weft::Clock::now() >= loop_time);
}

}  // namespace clock_test
