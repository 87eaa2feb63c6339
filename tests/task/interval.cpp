// SPDX-License-Identifier: MIT
// Interval: ticks at the pace of the clock; and sleep_forever.
#include <weft/deadline/move_on_after.hpp>
#include <weft/task/interval.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "awaiting.hpp"
#include "probe.hpp"

namespace interval_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::Interval;
using weft::MissedTicks;
using Milliseconds = std::vector<long>;

namespace {

struct Stopwatch {
    long operator()() const {
        const auto passed = weft::get_running_loop().time() - start;
        return std::chrono::duration_cast<std::chrono::milliseconds>(passed).count();
    }
    weft::TimePoint start = weft::get_running_loop().time();
};

Coro<int> sleeps_for_ever() {
    co_await weft::sleep_forever();
    co_return 1;
}

}  // namespace

WEFT_TEST_CASE("an interval ticks at once, and then at the pace of the clock", "[interval]") {
    const Stopwatch ms;
    Interval ticker(10ms);
    CHECK(ticker.period() == 10ms);
    Milliseconds seen;
    for (int tick = 0; tick < 5; ++tick) {
        const weft::TimePoint due = co_await ticker.tick();
        CHECK(due == ms.start + tick * 10ms);
        seen.push_back(ms());
        co_await weft::sleep(std::chrono::milliseconds(tick));  // work does not add up
    }
    CHECK(seen == Milliseconds({0, 10, 20, 30, 40}));
}

WEFT_TEST_CASE("ticks that nobody came for in time: burst, delay and skip", "[interval]") {
    struct Row {
        MissedTicks missed;
        Milliseconds seen;
    };
    const Row rows[] = {{MissedTicks::burst, {0, 35, 35, 35, 40, 50}},
                        {MissedTicks::delay, {0, 35, 45, 55, 65, 75}},
                        {MissedTicks::skip, {0, 35, 40, 50, 60, 70}}};
    for (const Row& row : rows) {
        CAPTURE(static_cast<int>(row.missed));
        const Stopwatch ms;
        Interval ticker(10ms, row.missed);
        Milliseconds seen;
        for (int tick = 0; tick < 6; ++tick) {
            co_await ticker.tick();
            seen.push_back(ms());
            if (tick == 0) weft::testing::pass_time(35ms);
        }
        CHECK(seen == row.seen);
    }
}

WEFT_TEST_CASE("a tick that is found a little late is not missed", "[interval]") {
    const Stopwatch ms;
    Interval ticker(100ms, MissedTicks::delay);
    co_await ticker.tick();
    weft::testing::pass_time(104ms);
    co_await ticker.tick();
    CHECK(ms() == 104);
    co_await ticker.tick();
    CHECK(ms() == 200);
}

WEFT_TEST_CASE("a cancelled tick is still to come", "[interval]") {
    const Stopwatch ms;
    Interval ticker(weft::get_running_loop().time() + 20ms, 20ms);
    const bool came = (co_await weft::move_on_after(5ms, ticker.tick())).has_value();
    CHECK_FALSE(came);
    CHECK(ms() == 5);
    co_await ticker.tick();
    CHECK(ms() == 20);
    co_await weft::sleep(3ms);
    ticker.reset();
    CHECK(ticker.next() == ms.start + 43ms);
    co_await ticker.tick();
    CHECK(ms() == 43);
}

WEFT_TEST_CASE("a burst lets others run between its ticks", "[interval]") {
    Interval ticker(1ms);
    co_await ticker.tick();
    weft::testing::pass_time(1s);
    int others = 0;
    auto other = weft::create_task([&]() -> Coro<void> {
        for (;; ++others) co_await weft::yield();
    });
    for (int tick = 0; tick < 100; ++tick) co_await ticker.tick();
    CHECK(others >= 50);
    other.cancel();
}

WEFT_TEST_CASE("a period that is no pace is refused", "[interval]") {
    using Seconds = std::chrono::duration<double>;
    for (const Seconds period : {Seconds(0), Seconds(-1), Seconds(1e300),
                                 Seconds(std::numeric_limits<double>::quiet_NaN())}) {
        CHECK_THROWS_AS(Interval(period), std::invalid_argument);
    }
    co_return;
}

WEFT_TEST_CASE("sleep_forever ends with a cancel or a deadline, and time does not jump to its end",
               "[interval]") {
    const Stopwatch ms;
    auto sleeper = weft::create_task(sleeps_for_ever());
    co_await weft::sleep(10ms);
    CHECK(ms() == 10);
    CHECK_FALSE(sleeper.done());
    sleeper.cancel();
    const support::End end = co_await support::ending(sleeper);
    CHECK(end == support::End::cancelled);
    const bool ended = co_await weft::move_on_after(5ms, weft::sleep_forever());
    CHECK_FALSE(ended);
    CHECK(ms() == 15);
    weft::current_task().cancel();
    const std::string text = co_await [&]() -> Coro<std::string> {
        try {
            co_await weft::sleep_forever();
        } catch (const weft::CancelledError&) {
            co_return "cancelled";
        }
        co_return "";
    }();
    CHECK(text == "cancelled");
}

}  // namespace interval_test
