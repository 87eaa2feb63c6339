// SPDX-License-Identifier: MIT
// Event: who is woken, and a cancel at every moment.
#include <weft/sync/event.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

#include <vector>

#include "sync.hpp"

namespace event_test {

using support::some_turns;
using weft::CancelledError;
using weft::Coro;
using weft::Event;

WEFT_TEST_CASE("66: set wakes the tasks that wait, even if it is cleared in the same step",
               "[event]") {
    Event event;
    int woken = 0;
    auto waits = [&]() -> Coro<void> {
        co_await event.wait();
        ++woken;
    };
    std::vector<weft::Task<void>> tasks;
    for (int i = 0; i < 3; ++i) tasks.push_back(weft::create_task(waits));
    co_await weft::yield();
    REQUIRE(event.statistics().waiters == 3);
    event.set();
    event.clear();
    auto late = weft::create_task(waits);
    co_await some_turns(3);
    REQUIRE(woken == 3);
    REQUIRE_FALSE(event.is_set());
    REQUIRE_FALSE(late.done());
    event.set();
    co_await late;
    for (auto& task : tasks) co_await task;
}

WEFT_TEST_CASE("waiting for an event that is set does not suspend", "[event]") {
    Event event;
    event.set();
    bool others_ran = false;
    auto other = [&]() -> Coro<void> {
        others_ran = true;
        co_return;
    };
    auto task = weft::create_task(other);
    co_await event.wait();
    co_await event.wait();
    REQUIRE_FALSE(others_ran);
    co_await task;
}

WEFT_TEST_CASE("waiting tasks are woken in the order of arrival, however many", "[event]") {
    for (int waiters = 1; waiters <= 9; ++waiters) {
        Event event;
        std::vector<int> expected;
        std::vector<int> order;
        auto waits = [&](int number) -> Coro<void> {
            co_await event.wait();
            order.push_back(number);
        };
        std::vector<weft::Task<void>> tasks;
        for (int i = 0; i < waiters; ++i) {
            expected.push_back(i);
            tasks.push_back(weft::create_task(waits, i));
        }
        co_await weft::yield();
        event.set();
        for (auto& task : tasks) co_await task;
        REQUIRE(order == expected);
    }
}

WEFT_TEST_CASE("28: cancelled before set: it throws; set before the cancel: it returns",
               "[event]") {
    Event event;
    int returned = 0;
    int struck_later = 0;
    auto waits = [&]() -> Coro<void> {
        co_await event.wait();
        ++returned;
        try {
            co_await weft::yield();
        } catch (const CancelledError&) {
            ++struck_later;
            throw;
        }
    };
    auto before = weft::create_task(waits);
    auto after = weft::create_task(waits);
    co_await weft::yield();
    before.cancel();
    before.cancel();
    event.set();
    after.cancel();
    co_await before.wait();
    co_await after.wait();
    REQUIRE(before.cancelled());
    REQUIRE(after.cancelled());
    REQUIRE(returned == 1);
    REQUIRE(struck_later == 1);
    REQUIRE(event.statistics().waiters == 0);
}

WEFT_TEST_CASE("28: a pending cancel strikes a wait that would suspend", "[event]") {
    Event event;
    bool passed = false;
    auto body = [&]() -> Coro<void> {
        weft::current_task().cancel();
        event.set();
        co_await event.wait();
        passed = true;
        event.clear();
        co_await event.wait();
    };
    auto task = weft::create_task(body);
    co_await task.wait();
    REQUIRE(passed);
    REQUIRE(task.cancelled());
}

TEST_CASE("an event that tasks of two loops of one thread wait for wakes each in its own loop",
          "[event]") {
    weft::EventLoop one;
    weft::EventLoop other;
    if (one.debug()) return;  // refused there
    weft::Event event;
    std::vector<int> order;
    auto waits = [&](int number) -> Coro<void> {
        co_await event.wait();
        order.push_back(number);
    };
    // The stranger is the first, the last, or in between, from either end.
    for (int stranger = 0; stranger < 5; ++stranger) {
        for (int i = 0; i < 5; ++i) {
            (void)(i == stranger ? other : one).create_task(waits(i));
            (i == stranger ? other : one).run_once();
        }
        event.set();
        event.clear();
        one.run_once();
        std::vector<int> expected{0, 1, 2, 3, 4};
        expected.erase(expected.begin() + stranger);
        REQUIRE(order == expected);
        other.run_once();
        expected.push_back(stranger);
        REQUIRE(order == expected);
        order.clear();
    }
}

}  // namespace event_test
