// SPDX-License-Identifier: MIT
// current_deadline: the earliest of what is around, across groups and gathers, not through a
// shield.
#include <weft/weft.hpp>

#include <string>
#include <vector>

#include <weft/testing/catch.hpp>

#include "probe.hpp"

namespace current_deadline_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::current_deadline;

namespace {

constexpr long none = -1;
constexpr long cancelled = -2;

/// In milliseconds from `start`.
long deadline_ms(weft::TimePoint start) {
    const weft::TimePoint deadline = current_deadline();
    if (deadline == weft::TimePoint::max()) return none;
    if (deadline == weft::TimePoint::min()) return cancelled;
    return std::chrono::duration_cast<std::chrono::milliseconds>(deadline - start).count();
}

/// Before it first suspends, and after.
Coro<long> asks(weft::TimePoint start) {
    const long before = deadline_ms(start);
    co_await weft::yield();
    const long after = deadline_ms(start);
    co_return before == after ? before : -100;
}

}  // namespace

WEFT_TEST_CASE("the deadline of a task is the earliest of those around", "[deadline]") {
    const weft::TimePoint start = weft::get_running_loop().time();
    std::vector<long> seen;
    seen.push_back(co_await asks(start));
    seen.push_back(co_await weft::timeout(10ms, &asks, start));
    auto earlier_outside = [&]() -> Coro<long> {
        co_return co_await weft::wait_for(asks(start), 30ms);
    };
    seen.push_back(co_await weft::timeout(20ms, earlier_outside));
    auto earlier_inside = [&]() -> Coro<long> {
        const std::optional<long> got = co_await weft::move_on_after(15ms, asks(start));
        co_return got.value_or(-3);
    };
    seen.push_back(co_await weft::timeout(20ms, earlier_inside));
    auto moved = [&](weft::Timeout& timeout) -> Coro<long> {
        timeout.reschedule(start + 70ms);
        co_return co_await asks(start);
    };
    seen.push_back(co_await weft::timeout(20ms, moved));
    weft::CancelScope scope(25ms);
    seen.push_back((co_await scope.run(&asks, start)).value());
    seen.push_back(deadline_ms(start));  // all were left
    CHECK(seen == std::vector<long>({none, 10, 20, 15, 70, 25, none}));
}

WEFT_TEST_CASE("children of a group, a gather and an all are under what is around these",
               "[deadline]") {
    const weft::TimePoint start = weft::get_running_loop().time();
    std::vector<long> seen;
    const auto asks_later = [&](weft::TimePoint since) -> Coro<void> {
        seen.push_back(co_await asks(since));
    };
    auto grouped = [&](weft::TaskGroup& group) -> Coro<void> {
        group.create_task(asks_later, start);
        // Around the body's own wait, and not around the child.
        co_await weft::timeout(5ms, &asks, start);
        auto nested = [&](weft::TaskGroup& inner) -> Coro<void> {
            inner.create_task(asks_later, start);
            co_return;
        };
        co_await weft::timeout(7ms, [&]() -> Coro<void> { co_await weft::task_group(nested); });
    };
    auto in_group = [&]() -> Coro<void> { co_await weft::task_group(grouped); };
    co_await weft::timeout(10ms, in_group);
    CHECK(seen == std::vector<long>({10, 7}));
    auto gathered = [&]() -> Coro<long> {
        auto sooner = [&]() -> Coro<long> { co_return co_await weft::timeout(8ms, &asks, start); };
        const auto both = co_await weft::gather(asks(start), sooner());
        co_return std::get<0>(both) * 100 + std::get<1>(both);
    };
    const long both = co_await weft::timeout(20ms, gathered);
    CHECK(both == 2008);
    // A task of its own is under nobody's.
    auto alone = [&]() -> Coro<long> { co_return co_await weft::create_task(asks(start)); };
    const long on_its_own = co_await weft::timeout(20ms, alone);
    CHECK(on_its_own == none);
}

WEFT_TEST_CASE("scopes: cancelled, shielded, nested; and a clean-up has its own limit",
               "[deadline]") {
    const weft::TimePoint start = weft::get_running_loop().time();
    weft::CancelScope outer(40ms);
    weft::CancelScope inner(60ms);
    weft::CancelScope shielded;
    std::vector<long> seen;
    auto innermost = [&]() -> Coro<void> {
        seen.push_back(co_await asks(start));
        inner.set_shield(true);
        seen.push_back(co_await asks(start));
        inner.set_shield(false);
        const std::optional<long> limit =
            co_await weft::clean_up(33ms, [&] { return asks(start); });
        seen.push_back(limit.value_or(-3));
        outer.cancel();
        seen.push_back(deadline_ms(start));
        shielded.set_shield(true);
        const std::optional<long> far = co_await shielded.run(&asks, start);
        seen.push_back(far.value_or(-3));
    };
    auto body = [&]() -> Coro<void> { co_await inner.run(innermost); };
    const bool ended = co_await outer.run(body);
    CHECK(ended);  // it has not awaited anything else since
    CHECK(seen == std::vector<long>({40, 60, 33, cancelled, none}));
}

TEST_CASE("outside of a task there is no deadline to ask for", "[deadline]") {
    CHECK(probe::message_of<weft::RuntimeError>([] { (void)current_deadline(); }) ==
          "weft: no running event loop on this thread; weft::run(main()) runs one");
    weft::run([]() -> Coro<void> {
        std::string text;
        weft::get_running_loop().call_soon([&] {
            text = probe::message_of<weft::RuntimeError>([] { (void)current_deadline(); });
        });
        co_await weft::yield();
        CHECK(text == "weft: current_deadline: outside of a task");
    });
}

WEFT_TEST_CASE("a name that is given inside of a deadline stays, and so does what it has",
               "[deadline]") {
    // The task's label, which leads to its deadlines, is exchanged under them.
    const weft::ContextVar<int> number("number", 0);
    auto named = [&]() -> Coro<long> {
        weft::current_task().set_name("inside");
        number.set(5);
        co_return co_await asks(weft::TimePoint());
    };
    auto task = weft::create_task([&]() -> Coro<std::string> {
        const long at = co_await weft::timeout(5ms, named);
        co_return weft::current_task().name() + (at > 0 ? "+" : "-") + std::to_string(number.get());
    });
    const std::string text = co_await task;
    CHECK(text == "inside+5");
}

}  // namespace current_deadline_test
