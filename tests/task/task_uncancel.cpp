// SPDX-License-Identifier: MIT
// cancelling, uncancel: how often a cancel counts, how often it strikes, and how it is taken back.
// labels: smoke
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <string>
#include <utility>

#include "probe.hpp"

namespace task_uncancel_test {

using namespace std::chrono_literals;
using weft::AnyTask;
using weft::CancelledError;
using weft::Coro;
using weft::Task;

namespace {

/// How many CancelledErrors come out of ten suspensions in a row.
Coro<int> strikes_in_ten() {
    int strikes = 0;
    for (int i = 0; i < 10; ++i) {
        try {
            co_await weft::yield();
        } catch (const CancelledError&) {
            ++strikes;
        }
    }
    co_return strikes;
}

}  // namespace

WEFT_TEST_CASE("catching CancelledError and returning means not cancelled", "[cancel]") {
    auto body = []() -> Coro<int> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
        }
        co_return 1;
    };
    auto task = weft::create_task(body);
    co_await weft::yield();
    task.cancel();
    const int value = co_await task;
    REQUIRE(value == 1);
    REQUIRE_FALSE(task.cancelled());
    REQUIRE(task.cancelling() == 1);
}

WEFT_TEST_CASE("catching CancelledError and going on goes on, one strike per request", "[cancel]") {
    auto task = weft::create_task(strikes_in_ten());
    co_await weft::yield();
    task.cancel();
    co_await weft::yield();
    REQUIRE(task.cancelling() == 1);
    task.cancel();
    REQUIRE(task.cancelling() == 2);
    const int strikes = co_await task;
    REQUIRE(strikes == 2);
}

WEFT_TEST_CASE("two cancels in one turn give one CancelledError and count twice", "[cancel]") {
    auto task = weft::create_task(strikes_in_ten());
    co_await weft::yield();
    const bool first = task.cancel();
    const bool second = task.cancel();
    REQUIRE(first);
    REQUIRE(second);
    REQUIRE(task.cancelling() == 2);
    const int strikes = co_await task;
    REQUIRE(strikes == 1);
}

WEFT_TEST_CASE("two cancels of a sleeping or waiting task in one turn strike once", "[cancel]") {
    auto future = weft::get_running_loop().create_future<void>();
    auto body = [&](bool sleeps) -> Coro<int> {
        int strikes = 0;
        try {
            if (sleeps) co_await weft::sleep(1h);
            if (!sleeps) co_await future;
        } catch (const CancelledError&) {
            ++strikes;
        }
        strikes += co_await strikes_in_ten();
        co_return strikes;
    };
    auto sleeper = weft::create_task(body, true);
    auto waiter = weft::create_task(body, false);
    co_await weft::yield();
    for (int i = 0; i < 2; ++i) {
        sleeper.cancel();
        waiter.cancel();
    }
    const int of_sleeper = co_await sleeper;
    const int of_waiter = co_await waiter;
    REQUIRE(of_sleeper == 1);
    REQUIRE(of_waiter == 1);
}

WEFT_TEST_CASE("cancel on a finished task returns false and counts nothing", "[cancel]") {
    auto body = []() -> Coro<int> { co_return 1; };
    auto task = weft::create_task(body);
    co_await task;
    REQUIRE_FALSE(task.cancel());
    REQUIRE(task.cancelling() == 0);
    REQUIRE(task.result() == 1);
}

WEFT_TEST_CASE("uncancel counts down, and at zero withdraws what was not delivered", "[cancel]") {
    auto body = []() -> Coro<int> {
        AnyTask self = weft::current_task();
        self.cancel();
        self.cancel();
        const int left = self.uncancel();
        if (left != 1 || self.uncancel() != 0) co_return -1;
        co_return co_await strikes_in_ten();
    };
    auto task = weft::create_task(body);
    const int strikes = co_await task;
    REQUIRE(strikes == 0);
    REQUIRE(task.cancelling() == 0);
}

WEFT_TEST_CASE("uncancel above zero leaves the request standing", "[cancel]") {
    auto body = []() -> Coro<int> {
        AnyTask self = weft::current_task();
        self.cancel();
        self.cancel();
        self.uncancel();
        co_return co_await strikes_in_ten();
    };
    auto task = weft::create_task(body);
    const int strikes = co_await task;
    REQUIRE(strikes == 1);
}

WEFT_TEST_CASE("uncancel never goes below zero", "[cancel]") {
    AnyTask self = weft::current_task();
    REQUIRE(self.uncancel() == 0);
    REQUIRE(self.uncancel() == 0);
    REQUIRE(self.cancelling() == 0);
    co_return;
}

WEFT_TEST_CASE("a withdrawn request of a task that has not started lets it run", "[cancel]") {
    bool ran = false;
    auto body = [&]() -> Coro<void> {
        ran = true;
        co_return;
    };
    auto task = weft::create_task(body);
    task.cancel();
    REQUIRE(task.uncancel() == 0);
    co_await task;
    REQUIRE(ran);
}

}  // namespace task_uncancel_test
