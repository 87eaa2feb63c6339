// SPDX-License-Identifier: MIT
// shield: results pass through, outer cancels do not.
#include <weft/testing/catch.hpp>
#include <weft/together/ensure_future.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/race.hpp>
#include <weft/together/shield.hpp>

#include <memory>
#include <string>

#include "children.hpp"
#include "probe.hpp"

namespace shield_test {

using namespace children;
using weft::Task;

WEFT_TEST_CASE("result and exception of a shielded task pass through", "[shield]") {
    const int value = co_await weft::shield(gives(3, 1s));
    REQUIRE(value == 3);
    auto body = []() -> Coro<void> { co_await weft::shield(fails("x", 1s)); };
    const auto end = co_await end_of(body());
    REQUIRE(end == "x");
    auto makes = []() -> Coro<std::unique_ptr<int>> { co_return std::make_unique<int>(4); };
    auto moved = co_await weft::shield(makes);
    REQUIRE(*moved == 4);
    co_await weft::shield(sleeps(1s));
}

WEFT_TEST_CASE("an inner one that is cancelled cancels the outer await", "[shield]") {
    auto inner = weft::create_task(sleeps());
    auto body = [&]() -> Coro<void> { co_await weft::shield(inner); };
    auto outer = weft::create_task(body);
    co_await turns(2);
    inner.cancel();
    const auto end = co_await end_of(outer);
    REQUIRE(end == "c");
    REQUIRE(outer.cancelling() == 0);
}

WEFT_TEST_CASE("an outer cancel leaves the inner one running", "[shield]") {
    auto inner = weft::create_task(gives(5, 3s));
    auto body = [&]() -> Coro<void> { co_await weft::shield(inner); };
    auto outer = weft::create_task(body);
    co_await turns(2);
    outer.cancel();
    const auto end = co_await end_of(outer);
    REQUIRE(end == "c");
    REQUIRE_FALSE(inner.done());
    REQUIRE(inner.cancelling() == 0);
    const int value = co_await inner;
    REQUIRE(value == 5);
}

WEFT_TEST_CASE("after an outer cancel the inner result is dropped silently", "[shield]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    int alive = 0;
    auto makes = [&]() -> Coro<probe::Alive> {
        co_await weft::sleep(2s);
        co_return probe::Alive(alive);
    };
    auto body = [&]() -> Coro<void> { co_await weft::shield(makes); };
    auto outer = weft::create_task(body);
    co_await turns(2);
    outer.cancel();
    co_await weft::sleep(5s);
    REQUIRE(outer.cancelled());
    REQUIRE(alive == 0);
    REQUIRE(reports->empty());
    REQUIRE(weft::all_tasks().size() == 1);
}

WEFT_TEST_CASE("after an outer cancel the inner exception is reported exactly once", "[shield]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    auto body = []() -> Coro<void> { co_await weft::shield(fails("alone", 2s)); };
    auto outer = weft::create_task(body);
    co_await turns(2);
    outer.cancel();
    co_await weft::sleep(5s);
    REQUIRE(reports->size() == 1);
    REQUIRE(probe::count_with(reports, "alone") == 1);
}

WEFT_TEST_CASE("an inner result that came before the cancel is delivered, then it strikes",
               "[shield]") {
    auto future = weft::get_running_loop().create_future<int>();
    bool hit = false;
    auto body = [&]() -> Coro<int> {
        const int value = co_await weft::shield(future);
        hit = co_await struck();
        co_return value;
    };
    auto outer = weft::create_task(body);
    co_await turns(2);
    future.set_result(6);
    outer.cancel();
    const int value = co_await outer;
    REQUIRE(value == 6);
    REQUIRE(hit);
}

WEFT_TEST_CASE("an inner result of the same turn as the cancel is delivered too", "[shield]") {
    auto future = weft::get_running_loop().create_future<int>();
    auto body = [&]() -> Coro<int> { co_return co_await weft::shield(future); };
    auto outer = weft::create_task(body);
    co_await turns(2);
    outer.cancel();
    REQUIRE_FALSE(future.done());
    future.set_result(6);
    const int value = co_await outer;
    REQUIRE(value == 6);
}

WEFT_TEST_CASE("a shield under a pending cancel starts the inner one and is struck", "[shield]") {
    bool ran = false;
    auto inner = [&]() -> Coro<void> {
        ran = true;
        co_return;
    };
    auto body = [&]() -> Coro<void> {
        weft::current_task().cancel();
        co_await weft::shield(inner);
    };
    const auto end = co_await end_of(weft::create_task(body));
    REQUIRE(end == "c");
    co_await weft::yield();
    REQUIRE(ran);
}

WEFT_TEST_CASE("a shield in a gather keeps the inner one, a gather in a shield goes on",
               "[shield]") {
    auto inner = weft::create_task(gives(1, 3s));
    auto gathers = [&]() -> Coro<void> { co_await weft::gather(weft::shield(inner), sleeps()); };
    auto outer = weft::create_task(gathers);
    co_await turns(3);
    outer.cancel();
    const auto end = co_await end_of(outer);
    REQUIRE(end == "c");
    REQUIRE_FALSE(inner.done());

    auto all = weft::create_task(weft::gather(inner, gives(2, 1s)));
    auto shields = [&]() -> Coro<void> { co_await weft::shield(all); };
    auto second = weft::create_task(shields);
    co_await turns(2);
    second.cancel();
    auto results = co_await all;
    REQUIRE(std::get<0>(results) == 1);
    REQUIRE(second.cancelled());
}

WEFT_TEST_CASE("a shield that loses a race keeps its inner one", "[shield]") {
    auto inner = weft::create_task(gives(1, 5s));
    auto winner = co_await weft::race(weft::shield(inner), gives(2, 1s));
    REQUIRE(*winner == 2);
    const int value = co_await inner;
    REQUIRE(value == 1);
}

WEFT_TEST_CASE("ensure_future starts coroutines and callables and returns futures as they are",
               "[ensure_future]") {
    auto task = weft::ensure_future(gives(1, 1s));
    static_assert(std::is_same_v<decltype(task), Task<int>>);
    auto same = weft::ensure_future(task);
    REQUIRE(same == task);
    auto future = weft::get_running_loop().create_future<int>();
    REQUIRE(weft::ensure_future(future) == future);
    auto callable = []() -> Coro<int> { co_return 2; };
    const int two = co_await weft::ensure_future(callable);
    const int one = co_await task;
    REQUIRE(one == 1);
    REQUIRE(two == 2);
}

WEFT_TEST_CASE("22: a shield around what was cancelled before takes no request of its task",
               "[shield]") {
    auto future = weft::get_running_loop().create_future<int>();
    future.cancel();
    int caught = 0;
    const auto body = [&]() -> Coro<void> {
        weft::current_task().cancel();
        try {
            co_await weft::shield(future);
        } catch (const weft::CancelledError&) {
            ++caught;
        }
        co_await weft::sleep(std::chrono::hours(1));
    };
    auto task = weft::create_task(body);
    co_await task.wait();
    REQUIRE(caught == 1);
    REQUIRE(task.cancelled());
}

}  // namespace shield_test
