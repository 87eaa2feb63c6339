// SPDX-License-Identifier: MIT
// CancelScope: cancelled until it is left; and whose cancel it catches.
#include <weft/weft.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"
#include "probe.hpp"

namespace cancel_scope_test {

using namespace std::chrono_literals;
using namespace support;
using weft::CancelledError;
using weft::CancelScope;
using weft::Coro;

namespace {

Coro<int> returns(int value, std::chrono::milliseconds after) {
    co_await weft::sleep(after);
    co_return value;
}

/// Whether the await of what `start` makes was struck.
template <class Start>
Coro<bool> is_struck(Start start) {
    try {
        co_await start();
        co_return false;
    } catch (const CancelledError&) {
        co_return true;
    }
}

Coro<void> cancels_after(CancelScope& scope, std::chrono::milliseconds delay) {
    co_await weft::sleep(delay);
    scope.cancel();
}

long passed_ms(weft::TimePoint since) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(weft::get_running_loop().time() -
                                                                 since)
        .count();
}

}  // namespace

WEFT_TEST_CASE("each await in a cancelled scope is struck, of whatever kind, until it is left",
               "[cancel_scope]") {
    const Pair ends = unix_pair();
    weft::Lock lock;
    weft::Event event;
    weft::Queue<int> queue;
    weft::Semaphore semaphore(0);
    auto held = co_await lock.scoped();
    std::vector<bool> struck;
    CancelScope scope;
    auto body = [&]() -> Coro<void> {
        for (int round = 0; round < 2; ++round) {
            struck.push_back(co_await is_struck([] { return weft::sleep(1h); }));
            struck.push_back(co_await is_struck([] { return weft::yield(); }));
            struck.push_back(co_await is_struck([] { return weft::sleep_forever(); }));
            struck.push_back(co_await is_struck([&] { return recv_some(ends.a.get(), 1); }));
            struck.push_back(co_await is_struck([&] { return lock.acquire(); }));
            struck.push_back(co_await is_struck([&] { return event.wait(); }));
            struck.push_back(co_await is_struck([&] { return queue.get(); }));
            struck.push_back(co_await is_struck([&] { return semaphore.acquire(); }));
            struck.push_back(co_await is_struck([] { return weft::create_future<int>(); }));
            struck.push_back(co_await is_struck([] { return weft::create_task(returns(1, 1h)); }));
            struck.push_back(
                co_await is_struck([] { return weft::gather(returns(1, 1h), returns(2, 1h)); }));
            struck.push_back(
                co_await is_struck([] { return weft::race(returns(1, 1h), returns(2, 1h)); }));
            struck.push_back(co_await is_struck([] { return weft::wait_for(returns(1, 1h), 2h); }));
            struck.push_back(co_await is_struck([] {
                return weft::task_group([](weft::TaskGroup& group) -> Coro<void> {
                    group.create_task(returns(1, 1h));
                    co_return;
                });
            }));
        }
    };
    auto other = weft::create_task(cancels_after(scope, 5ms));
    const weft::TimePoint start = weft::get_running_loop().time();
    const bool ended = co_await scope.run(body);
    CHECK(ended);  // it has dealt with each
    CHECK(scope.cancel_called());
    CHECK_FALSE(scope.cancelled_caught());
    CHECK(struck == std::vector<bool>(28, true));
    CHECK(passed_ms(start) == 5);
    // Outside, nothing is left of it.
    CHECK(weft::current_task().cancelling() == 0);
    co_await weft::sleep(1ms);
    co_await other;
}

WEFT_TEST_CASE("a scope catches the cancel that is its own, and gives the result of who was faster",
               "[cancel_scope]") {
    CancelScope caught;
    auto first = weft::create_task(cancels_after(caught, 5ms));
    const std::optional<int> nothing = co_await caught.run(&returns, 1, 1h);
    CHECK_FALSE(nothing);
    CHECK(caught.cancelled_caught());

    CancelScope unused;
    const std::optional<int> two = co_await unused.run(returns(2, 1ms));
    CHECK(two == 2);
    CHECK_FALSE(unused.cancel_called());

    // Its result is there in the turn of the cancel.
    CancelScope late;
    auto second = weft::create_task(cancels_after(late, 5ms));
    const std::optional<int> three = co_await late.run(returns(3, 5ms));
    CHECK((three == 3) == !late.cancelled_caught());

    // What it throws is thrown.
    CancelScope failing;
    auto fails = []() -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            throw std::runtime_error("of the clean-up");
        }
    };
    auto third = weft::create_task(cancels_after(failing, 5ms));
    std::string thrown;
    try {
        co_await failing.run(fails);
    } catch (const std::runtime_error& error) {
        thrown = error.what();
    }
    CHECK(thrown == "of the clean-up");
    CHECK_FALSE(failing.cancelled_caught());
    co_await first;
    co_await second;
    co_await third;
}

WEFT_TEST_CASE("a scope's deadline cancels it, and may be moved", "[cancel_scope]") {
    const weft::TimePoint start = weft::get_running_loop().time();
    CancelScope limit(10ms);
    CHECK_FALSE(limit.deadline());
    const auto nothing = co_await limit.run(&returns, 1, 1h);
    CHECK_FALSE(nothing);
    CHECK(limit.cancelled_caught());
    CHECK(passed_ms(start) == 10);

    CancelScope moved(start + 15ms);
    CHECK(moved.deadline() == start + 15ms);
    auto body = [&]() -> Coro<int> {
        moved.set_deadline(start + 50ms);
        co_await weft::sleep(20ms);
        moved.set_deadline(std::nullopt);
        co_await weft::sleep(100ms);
        moved.set_deadline(start);
        const bool struck = co_await is_struck([] { return weft::yield(); });
        co_return struck ? 1 : 0;
    };
    const std::optional<int> struck = co_await moved.run(body);
    CHECK(struck == 1);
    CHECK(passed_ms(start) == 130);

    // One that has passed strikes at the first suspension; without one there is nothing to strike.
    CancelScope passed(start);
    const std::optional<int> never = co_await passed.run(&returns, 1, 1ms);
    CHECK_FALSE(never);
    CancelScope quick(0ms);
    auto at_once = []() -> Coro<int> { co_return 7; };
    const std::optional<int> seven = co_await quick.run(at_once);
    CHECK(seven == 7);
}

WEFT_TEST_CASE("of nested scopes the outer one wins, and its cancel stays in the inner one",
               "[cancel_scope]") {
    CancelScope outer;
    CancelScope inner;
    CancelScope inner_too;
    int struck = 0;
    auto innermost = [&]() -> Coro<void> {
        for (int round = 0; round < 3; ++round)
            struck += co_await is_struck([] { return weft::sleep(1h); }) ? 1 : 0;
        co_await weft::sleep(1h);
    };
    auto body = [&]() -> Coro<void> {
        co_await inner.run(innermost);
        struck += 100;
    };
    auto other = weft::create_task(cancels_after(outer, 5ms));
    const bool ended = co_await outer.run(body);
    CHECK_FALSE(ended);
    CHECK(struck == 3);
    CHECK(outer.cancelled_caught());
    CHECK_FALSE(inner.cancelled_caught());

    // The inner one alone: what comes after it goes on.
    CancelScope calm;
    auto goes_on = [&]() -> Coro<int> {
        auto cancels = weft::create_task(cancels_after(inner_too, 5ms));
        const bool inner_ended = co_await inner_too.run(innermost);
        co_await cancels;
        co_await weft::sleep(1ms);
        co_return inner_ended ? 1 : 2;
    };
    const std::optional<int> two = co_await calm.run(goes_on);
    CHECK(two == 2);
    CHECK(inner_too.cancelled_caught());
    co_await other;
}

WEFT_TEST_CASE("a shield keeps cancels away from its body, and lets them strike afterwards",
               "[cancel_scope]") {
    const weft::TimePoint start = weft::get_running_loop().time();
    CancelScope outer;
    CancelScope inner;
    inner.set_shield(true);
    std::vector<std::string> log;
    auto body = [&]() -> Coro<void> {
        const std::optional<int> one = co_await inner.run(&returns, 1, 20ms);
        log.push_back(one == 1 ? "shielded" : "struck");
        co_await weft::yield();
        log.push_back("not reached");
    };
    auto other = weft::create_task(cancels_after(outer, 5ms));
    const bool ended = co_await outer.run(body);
    CHECK_FALSE(ended);
    CHECK(outer.cancelled_caught());
    CHECK(log == std::vector<std::string>({"shielded"}));
    CHECK(passed_ms(start) == 20);

    // Begun inside of a cancelled scope, too; its own deadline holds; taken away, it strikes.
    CancelScope cancelled;
    cancelled.cancel();
    long at = 0;
    auto inside = [&]() -> Coro<void> {
        CancelScope limited(10ms);
        limited.set_shield(true);
        const std::optional<int> in_time = co_await limited.run(&returns, 1, 1h);
        log.push_back(!in_time && limited.cancelled_caught() ? "limit" : "no limit");
        CancelScope lifted;
        lifted.set_shield(true);
        auto lifts = weft::get_running_loop().call_later(10ms, [&] { lifted.set_shield(false); });
        try {
            co_await lifted.run(&returns, 1, 1h);
        } catch (const CancelledError&) {
            at = passed_ms(start);
            throw;
        }
    };
    const bool came_to_its_end = co_await cancelled.run(inside);
    CHECK_FALSE(came_to_its_end);
    CHECK(log.back() == "limit");
    CHECK(at == 40);
    co_await other;
}

WEFT_TEST_CASE("a cancel of the task passes through a scope, once", "[cancel_scope]") {
    CancelScope scope;
    int struck = 0;
    auto catches = [&]() -> Coro<void> {
        auto body = [&]() -> Coro<int> {
            struck += co_await is_struck([] { return weft::sleep(1h); }) ? 1 : 0;
            struck += co_await is_struck([] { return weft::sleep(1ms); }) ? 1 : 0;
            co_return 5;
        };
        const std::optional<int> five = co_await scope.run(body);
        CHECK(five == 5);
        struck += co_await is_struck([] { return weft::sleep(1ms); }) ? 1 : 0;
    };
    auto task = weft::create_task(catches);
    co_await weft::sleep(1ms);
    task.cancel();
    co_await task;
    CHECK(struck == 1);
    CHECK(task.cancelling() == 1);

    // It wins over the scope's own.
    CancelScope both;
    auto cancelled = weft::create_task([&]() -> Coro<void> { co_await both.run(&returns, 1, 1h); });
    co_await weft::sleep(1ms);
    both.cancel();
    cancelled.cancel("from outside");
    const End end = co_await ending(cancelled);
    CHECK(end == End::cancelled);
    CHECK_FALSE(both.cancelled_caught());
}

WEFT_TEST_CASE("a group in a cancelled scope ends once, its clean-up awaits, and nothing spins",
               "[cancel_scope]") {
    CancelScope scope;
    int cleaned = 0;
    auto child = [&]() -> Coro<void> {
        bool struck = false;
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            struck = true;
        }
        co_await weft::sleep(20ms);  // a child is asked once
        cleaned += struck ? 1 : 0;
    };
    auto body = [&](weft::TaskGroup& group) -> Coro<void> {
        group.create_task(child);
        group.create_task(child);
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
        }
        const bool in_time = co_await weft::clean_up(1s, [] { return weft::sleep(5ms); });
        cleaned += in_time ? 10 : 0;
    };
    auto grouped = [&]() -> Coro<void> { co_await weft::task_group(body); };
    auto other = weft::create_task(cancels_after(scope, 5ms));
    const std::uint64_t before = weft::get_running_loop().step();
    const bool ended = co_await scope.run(grouped);
    CHECK_FALSE(ended);
    CHECK(scope.cancelled_caught());
    CHECK(cleaned == 12);
    CHECK(weft::get_running_loop().step() - before < 40);
    co_await other;
}

WEFT_TEST_CASE("timeouts inside and outside of a scope are told apart from it", "[cancel_scope]") {
    CancelScope scope(20ms);
    auto inner = [&]() -> Coro<int> {
        int timeouts = 0;
        try {
            co_await weft::timeout(5ms, &returns, 1, 1h);
        } catch (const weft::TimeoutError&) {
            ++timeouts;
        }
        co_await weft::sleep(1h);
        co_return timeouts + 100;
    };
    const std::optional<int> result = co_await scope.run(inner);
    CHECK_FALSE(result);
    CHECK(scope.cancelled_caught());

    CancelScope patient;
    auto scoped = [&]() -> Coro<void> { co_await patient.run(&returns, 1, 1h); };
    bool timed_out = false;
    try {
        co_await weft::timeout(5ms, scoped);
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    CHECK(timed_out);
    CHECK_FALSE(patient.cancel_called());
    CHECK(weft::current_task().cancelling() == 0);
}

WEFT_TEST_CASE("a body has the caller's context, and what it sets stays", "[cancel_scope]") {
    const weft::ContextVar<int> number("number", 0);
    number.set(1);
    CancelScope scope;
    auto body = [&]() -> Coro<int> {
        const int before = number.get();
        co_await weft::yield();
        number.set(2);
        co_return before;
    };
    const std::optional<int> one = co_await scope.run(body);
    CHECK(one == 1);
    CHECK(number.get() == 2);
}

WEFT_TEST_CASE("a scope is entered once", "[cancel_scope]") {
    CancelScope scope;
    scope.cancel();  // before: the first await is struck
    const std::optional<int> nothing = co_await scope.run(&returns, 1, 1ms);
    CHECK_FALSE(nothing);
    std::string text;
    try {
        co_await scope.run(&returns, 1, 1ms);
    } catch (const weft::RuntimeError& error) {
        text = error.what();
    }
    CHECK(text == "weft: a CancelScope is entered once");
}

TEST_CASE("a scope may be torn down with its loop at each of its steps", "[cancel_scope]") {
    int alive = 0;
    const std::size_t steps = weft::testing::kill_at_every_step([&]() -> Coro<void> {
        CancelScope outer(50ms);
        auto innermost = [&, own = probe::Alive(alive)]() -> Coro<void> {
            const probe::Alive local(alive);
            co_await weft::sleep(10ms);
            co_await weft::sleep(10ms);
        };
        auto body = [&, own = probe::Alive(alive)]() -> Coro<void> {
            CancelScope inner;
            inner.set_shield(true);
            co_await inner.run(std::ref(innermost));
            co_await weft::sleep(1h);
        };
        co_await outer.run(std::ref(body));
    });
    CHECK(steps > 3);
    CHECK(alive == 0);
}

}  // namespace cancel_scope_test
