// SPDX-License-Identifier: MIT
// timeout takes a coroutine, and a Timeout of the caller's, which can be asked afterwards.
#include <weft/deadline/cancel_scope.hpp>
#include <weft/deadline/current_deadline.hpp>
#include <weft/deadline/move_on_after.hpp>
#include <weft/deadline/timeout.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "children.hpp"
#include "probe.hpp"

namespace timeout_object_test {

using namespace children;
using weft::Timeout;

WEFT_TEST_CASE("timeout takes a coroutine as it is", "[timeout]") {
    const int value = co_await weft::timeout(2s, gives(1, 1s));
    REQUIRE(value == 1);
    bool late = false;
    try {
        co_await weft::timeout(1s, gives(1, 2s));
    } catch (const weft::TimeoutError&) {
        late = true;
    }
    REQUIRE(late);
    const int by_point =
        co_await weft::timeout_at(weft::get_running_loop().time() + 2s, gives(2, 1s));
    REQUIRE(by_point == 2);
    const int without = co_await weft::timeout(std::nullopt, gives(3, 1s));
    REQUIRE(without == 3);
    auto used = gives(4, 1s);
    [[maybe_unused]] const auto taken = std::move(used);
    bool refused = false;
    try {
        co_await weft::timeout(1s, std::move(used));
    } catch (const weft::RuntimeError&) {
        refused = true;
    }
    REQUIRE(refused);
}

WEFT_TEST_CASE("a Timeout whose body cannot be begun is over", "[timeout]") {
    auto refuses = []() -> Coro<void> { throw std::runtime_error("not now"); };  // no coroutine
    const auto message_under = [&refuses](Timeout& limit) -> Coro<std::string> {
        try {
            co_await weft::timeout(limit, refuses);
        } catch (const std::runtime_error& error) {
            co_return error.what();
        }
        co_return "";
    };
    Timeout late(0s);
    const std::string with_late = co_await message_under(late);
    REQUIRE(with_late == "not now");
    co_await weft::sleep(1s);  // is not struck any more
    REQUIRE_THROWS_AS(late.reschedule(std::nullopt), weft::RuntimeError);

    auto outlives = std::make_unique<Timeout>(1s);  // the task that has used it
    auto task = weft::create_task(message_under, std::ref(*outlives));
    const std::string with_other = co_await task;
    REQUIRE(with_other == "not now");
    task = {};
    outlives.reset();
}

WEFT_TEST_CASE("the last point in time is no deadline, wherever one is given", "[timeout]") {
    constexpr weft::TimePoint never = weft::TimePoint::max();
    weft::EventLoop& loop = weft::get_running_loop();
    REQUIRE(weft::current_deadline() == never);
    Timeout none(never);
    const int value = co_await weft::timeout(none, [&none]() -> Coro<int> {
        none.reschedule(weft::current_deadline());
        REQUIRE(weft::current_deadline() == weft::TimePoint::max());
        co_return co_await gives(1, 1s);
    });
    REQUIRE(value == 1);
    REQUIRE_FALSE(none.when().has_value());
    const int by_point = co_await weft::timeout_at(never, gives(2, 1s));
    REQUIRE(by_point == 2);
    weft::CancelScope scope(never);
    const auto in_scope = co_await scope.run(gives(3, 1s));
    REQUIRE(in_scope == 3);
    REQUIRE_FALSE(scope.deadline().has_value());

    bool called = false;
    weft::TimerHandle call = loop.call_at(never, [&called] { called = true; });
    const bool slept = co_await weft::move_on_after(24h * 365, weft::sleep_until(never));
    REQUIRE_FALSE(slept);
    REQUIRE_FALSE(called);
    call.cancel();
}

WEFT_TEST_CASE("a Timeout of the caller's tells afterwards whether it expired", "[timeout]") {
    Timeout kept(2s);
    const int value = co_await weft::timeout(kept, gives(1, 1s));
    REQUIRE(value == 1);
    REQUIRE_FALSE(kept.expired());

    Timeout missed(1s);
    bool late = false;
    try {
        co_await weft::timeout(missed, gives(1, 2s));
    } catch (const weft::TimeoutError&) {
        late = true;
    }
    REQUIRE(late);
    REQUIRE(missed.expired());

    Timeout swallowed(1s);
    auto body = []() -> weft::Coro<int> {
        int result = 0;
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            result = 7;
        }
        co_return result;
    };
    const int partial = co_await weft::timeout(swallowed, body);
    REQUIRE(partial == 7);
    REQUIRE(swallowed.expired());

    Timeout at(weft::get_running_loop().time() + 1s);
    REQUIRE(at.when() == weft::get_running_loop().time() + 1s);
    Timeout none(std::nullopt);
    auto sets_one = [](Timeout& own) -> weft::Coro<void> {
        own.reschedule(weft::get_running_loop().time() + 1s);
        co_await weft::sleep(1h);
    };
    late = false;
    try {
        co_await weft::timeout(none, sets_one);
    } catch (const weft::TimeoutError&) {
        late = true;
    }
    REQUIRE(late);
    REQUIRE(none.expired());
    REQUIRE(weft::current_task().cancelling() == 0);
}

WEFT_TEST_CASE("a Timeout is used once", "[timeout]") {
    Timeout deadline(2s);
    co_await weft::timeout(deadline, gives(1, 1s));
    std::string text;
    try {
        co_await weft::timeout(deadline, gives(1, 1s));
    } catch (const weft::RuntimeError& error) {
        text = error.what();
    }
    REQUIRE(text == "weft: a Timeout is used once");
}

WEFT_TEST_CASE("arguments go along with a Timeout of the caller's", "[timeout]") {
    Timeout deadline(2s);
    auto body = [](Timeout& own, int number) -> weft::Coro<int> {
        co_await weft::sleep(1s);
        co_return own.expired() ? 0 : number;
    };
    const int value = co_await weft::timeout(deadline, body, 4);
    REQUIRE(value == 4);
}

}  // namespace timeout_object_test
