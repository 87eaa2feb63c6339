// SPDX-License-Identifier: MIT
// clean_up: work that cancels do not interrupt, bounded by a deadline of its own.
#include <weft/deadline/clean_up.hpp>
#include <weft/deadline/timeout.hpp>
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "awaiting.hpp"
#include "probe.hpp"

namespace clean_up_test {

using namespace std::chrono_literals;
using weft::CancelledError;
using weft::clean_up;
using weft::Coro;
using weft::EventLoop;

namespace {

/// Waits for a cancel, then for `time`; then goes on with the cancel.
Coro<void> says_goodbye(weft::Duration time, std::string& log) {
    std::exception_ptr failure;
    try {
        co_await weft::sleep(1h);
    } catch (const CancelledError&) {
        failure = std::current_exception();
    }
    auto goodbye = [&]() -> Coro<void> {
        co_await weft::sleep(time);
        log += "goodbye ";
    };
    const bool in_time = co_await clean_up(5s, goodbye);
    log += in_time ? "in time" : "too late";
    if (failure) std::rethrow_exception(failure);
}

}  // namespace

WEFT_TEST_CASE("clean-up awaits in a cancelled task, and further cancels do not reach it",
               "[clean_up]") {
    std::string log;
    auto task = weft::create_task(says_goodbye, 3s, std::ref(log));
    co_await weft::yield();
    task.cancel();
    co_await weft::sleep(1s);
    task.cancel();
    task.cancel();
    co_await task.wait();
    REQUIRE(log == "goodbye in time");
    REQUIRE(task.cancelled());
    REQUIRE(task.cancelling() == 3);
}

WEFT_TEST_CASE("clean-up awaits in a scope whose deadline has passed", "[clean_up]") {
    std::string log;
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint began = loop.time();
    bool timed_out = false;
    try {
        co_await weft::timeout(1s, says_goodbye, 3s, std::ref(log));
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    REQUIRE(timed_out);
    REQUIRE(log == "goodbye in time");
    REQUIRE(loop.time() - began == 4s);
    REQUIRE(weft::current_task().cancelling() == 0);
}

WEFT_TEST_CASE("a deadline around it that passes during clean-up strikes after it", "[clean_up]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint began = loop.time();
    std::string log;
    auto body = [&]() -> Coro<void> {
        auto rests = []() -> Coro<void> { co_await weft::sleep(3s); };
        const bool in_time = co_await clean_up(1h, rests);
        log += in_time ? "in time, " : "cut, ";
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            log += "struck";
            throw;
        }
    };
    bool timed_out = false;
    try {
        co_await weft::timeout(1s, body);
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    REQUIRE(timed_out);
    REQUIRE(log == "in time, struck");
    REQUIRE(loop.time() - began == 3s);
}

WEFT_TEST_CASE("clean-up that takes too long is cut at its own deadline", "[clean_up]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint began = loop.time();
    std::string log;
    auto task = weft::create_task(says_goodbye, 1h, std::ref(log));
    co_await weft::yield();
    task.cancel();
    co_await task.wait();
    REQUIRE(log == "too late");
    REQUIRE(task.cancelled());
    REQUIRE(loop.time() - began == 5s);
    REQUIRE(loop.armed_timers() == 0);
}

WEFT_TEST_CASE("clean-up gives its result, and its exception", "[clean_up]") {
    auto gives = [](std::unique_ptr<int> number) -> Coro<std::unique_ptr<int>> {
        co_await weft::sleep(1s);
        co_return number;
    };
    const auto number = co_await clean_up(2s, gives, std::make_unique<int>(4));
    REQUIRE(number);
    REQUIRE(**number == 4);
    auto at_once = []() -> Coro<int> { co_return 5; };
    const std::optional<int> five = co_await clean_up(2s, at_once);
    REQUIRE(five == 5);
    auto fails = []() -> Coro<void> {
        co_await weft::yield();
        throw std::runtime_error("expected");
    };
    std::string what;
    try {
        co_await clean_up(2s, fails);
    } catch (const std::runtime_error& error) {
        what = error.what();
    }
    REQUIRE(what == "expected");
    REQUIRE(weft::all_tasks().size() == 1);
}

WEFT_TEST_CASE("clean-up begins at once, also with a cancel pending, which then strikes",
               "[clean_up]") {
    std::string log;
    auto body = [&]() -> Coro<void> {
        weft::current_task().cancel();
        auto work = [&]() -> Coro<void> {
            log += 'a';
            co_await weft::yield();
            log += 'b';
        };
        co_await clean_up(1s, work);
        log += 'c';
        co_await weft::yield();
        log += 'x';
    };
    auto task = weft::create_task(body, weft::TaskOptions("", true));
    REQUIRE(log == "a");
    co_await task.wait();
    REQUIRE(log == "abc");
    REQUIRE(task.cancelled());
}

WEFT_TEST_CASE("deadlines inside of clean-up are timeouts although cancels are held",
               "[clean_up]") {
    std::string log;
    auto body = [&]() -> Coro<void> {
        auto work = [&]() -> Coro<void> {
            auto slow = []() -> Coro<void> { co_await weft::sleep(1h); };
            try {
                co_await weft::timeout(2s, slow);
            } catch (const weft::TimeoutError&) {
                log += "timeout";
            }
        };
        co_await clean_up(1h, work);
    };
    auto task = weft::create_task(body);
    co_await weft::sleep(1s);
    task.cancel();
    co_await task.wait();
    REQUIRE(log == "timeout");
    REQUIRE_FALSE(task.cancelled());  // it ended without another suspension
}

WEFT_TEST_CASE("clean-up inside of clean-up", "[clean_up]") {
    std::string log;
    auto inner = [&]() -> Coro<void> {
        co_await weft::sleep(2s);
        log += "inner ";
    };
    auto outer = [&]() -> Coro<void> {
        const bool in_time = co_await clean_up(10s, inner);
        log += in_time ? "in time " : "cut ";
        co_await weft::sleep(1h);
    };
    const bool in_time = co_await clean_up(1s, outer);  // held until the inner one is over
    REQUIRE_FALSE(in_time);
    REQUIRE(log == "inner in time ");
}

TEST_CASE("when run ends, clean-up that is under way comes to its end", "[clean_up]") {
    std::string log;
    weft::testing::run([&]() -> Coro<void> {
        auto body = [&log]() -> Coro<void> {
            auto work = [&]() -> Coro<void> {
                co_await weft::sleep(3s);
                log += "cleaned up, ";
            };
            co_await clean_up(5s, work);
            try {
                co_await weft::sleep(1h);
            } catch (const CancelledError&) {
                log += "cancelled";
                throw;
            }
        };
        auto task = weft::create_task(body);
        co_await weft::yield();
    });
    REQUIRE(log == "cleaned up, cancelled");
}

TEST_CASE("a loop that is closed ends a clean-up", "[clean_up]") {
    int alive = 0;
    probe::Reports reports;
    {
        EventLoop loop(weft::testing::options());
        loop.set_debug(true);
        reports = probe::collect_reports(loop);
        auto body = [&]() -> Coro<void> {
            const probe::Alive local(alive);
            auto work = [&]() -> Coro<void> {
                const probe::Alive inside(local);
                co_await weft::sleep(1h);
            };
            co_await clean_up(2h, work);
        };
        auto task = loop.create_task(body());
        loop.run_once();
        REQUIRE(alive == 2);
    }
    REQUIRE(alive == 0);
    REQUIRE(reports->empty());  // nothing refused to end, nothing was swallowed
}

TEST_CASE("a loop that is torn down by force destroys a clean-up before what it refers to",
          "[clean_up]") {
    int alive = 0;
    bool in_order = false;
    {
        EventLoop loop(weft::testing::options());
        auto reports = probe::collect_reports(loop);
        auto body = [&]() -> Coro<void> {
            const probe::Alive local(alive);
            auto stubborn = [&]() -> Coro<void> {
                const probe::AtExit look([&] { in_order = alive == 1; });
                for (;;) {
                    try {
                        co_await weft::sleep(1h);
                    } catch (const CancelledError&) {
                    }
                }
            };
            co_await clean_up(2h, stubborn);
        };
        auto task = loop.create_task(body());
        loop.run_once();
    }
    REQUIRE(in_order);
    REQUIRE(alive == 0);
}

}  // namespace clean_up_test
