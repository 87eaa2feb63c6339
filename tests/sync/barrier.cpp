// SPDX-License-Identifier: MIT
// Barrier: rounds, draining, breaking, and a cancel at every moment.
#include <weft/sync/barrier.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

#include <cstddef>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "probe.hpp"
#include "sync.hpp"

namespace barrier_test {

using support::end_of;
using support::some_turns;
using weft::Barrier;
using weft::BrokenBarrierError;
using weft::Coro;

namespace {

const std::string broken = "weft: the barrier was reset or aborted";

Coro<std::size_t> meets(Barrier& barrier) { co_return co_await barrier.wait(); }

std::vector<weft::Task<std::size_t>> arrivals(Barrier& barrier, int count) {
    std::vector<weft::Task<std::size_t>> tasks;
    for (int i = 0; i < count; ++i) tasks.push_back(weft::create_task(meets, std::ref(barrier)));
    return tasks;
}

}  // namespace

WEFT_TEST_CASE("69: every party gets a place of its own, in the order of arrival", "[barrier]") {
    Barrier barrier(3);
    REQUIRE(barrier.parties() == 3);
    for (int round = 0; round < 3; ++round) {
        auto tasks = arrivals(barrier, 2);
        co_await weft::yield();
        REQUIRE(barrier.n_waiting() == 2);
        const std::size_t last = co_await barrier.wait();
        REQUIRE(last == 2);
        const std::size_t first = co_await tasks[0];
        const std::size_t second = co_await tasks[1];
        REQUIRE(first == 0);
        REQUIRE(second == 1);
        REQUIRE(barrier.n_waiting() == 0);
    }
}

WEFT_TEST_CASE("69: it is cyclic: tasks that meet again and again are never a round apart",
               "[barrier]") {
    Barrier barrier(4);
    std::vector<int> rounds(4);
    auto body = [&](std::size_t self) -> Coro<void> {
        for (int round = 0; round < 10; ++round) {
            for (const int other : rounds) REQUIRE(std::abs(other - rounds[self]) <= 1);
            ++rounds[self];
            co_await barrier.wait();
            for (const int other : rounds) REQUIRE(other >= rounds[self]);
        }
    };
    std::vector<weft::Task<void>> tasks;
    for (std::size_t i = 0; i < 4; ++i) tasks.push_back(weft::create_task(body, i));
    for (auto& task : tasks) co_await task;
}

WEFT_TEST_CASE("69: arrivals are held up while it drains, and then count", "[barrier]") {
    Barrier barrier(2);
    auto first = arrivals(barrier, 1);
    co_await weft::yield();
    co_await barrier.wait();
    // The first one was released and has not run.
    auto late = weft::create_task(meets(barrier), weft::TaskOptions("", true));
    auto later = weft::create_task(meets(barrier), weft::TaskOptions("", true));
    REQUIRE(barrier.n_waiting() == 0);
    REQUIRE(barrier.statistics().blocked == 2);
    REQUIRE_FALSE(later.done());
    co_await some_turns(2);
    REQUIRE(first[0].done());
    const std::size_t one = co_await late;
    const std::size_t two = co_await later;
    REQUIRE(one == 0);
    REQUIRE(two == 1);
}

WEFT_TEST_CASE("69: a cancelled task leaves, and one more has to come", "[barrier]") {
    Barrier barrier(3);
    auto tasks = arrivals(barrier, 2);
    co_await weft::yield();
    tasks[0].cancel();
    REQUIRE(barrier.n_waiting() == 1);
    auto more = arrivals(barrier, 1);
    co_await some_turns(2);
    REQUIRE(tasks[0].cancelled());
    REQUIRE_FALSE(tasks[1].done());
    const std::size_t last = co_await barrier.wait();
    const std::size_t first = co_await tasks[1];
    const std::size_t second = co_await more[0];
    REQUIRE(last == 2);
    REQUIRE(first == 0);
    REQUIRE(second == 1);
}

WEFT_TEST_CASE("69: released and then cancelled: it returns its place", "[barrier]") {
    Barrier barrier(2);
    auto tasks = arrivals(barrier, 1);
    co_await weft::yield();
    co_await barrier.wait();
    tasks[0].cancel();
    const std::size_t place = co_await tasks[0];
    REQUIRE(place == 0);
}

WEFT_TEST_CASE("69: reset breaks the tasks that wait, but not those held up by the drain",
               "[barrier]") {
    Barrier barrier(3);
    auto tasks = arrivals(barrier, 2);
    co_await weft::yield();
    barrier.reset();
    co_await some_turns(2);
    for (auto& task : tasks) REQUIRE(end_of(task) == broken);
    REQUIRE_FALSE(barrier.broken());

    tasks = arrivals(barrier, 2);
    co_await weft::yield();
    co_await barrier.wait();
    auto held_up = weft::create_task(meets(barrier), weft::TaskOptions("", true));
    REQUIRE(barrier.statistics().blocked == 1);
    barrier.reset();
    co_await some_turns(2);
    for (auto& task : tasks) REQUIRE(end_of(task) == "ok");
    REQUIRE_FALSE(held_up.done());
    REQUIRE(barrier.n_waiting() == 1);
    barrier.reset();
    co_await held_up.wait();
    REQUIRE(end_of(held_up) == broken);
}

WEFT_TEST_CASE("69: abort stays broken until reset", "[barrier]") {
    Barrier barrier(2);
    auto tasks = arrivals(barrier, 1);
    co_await weft::yield();
    co_await barrier.wait();
    auto held_up = weft::create_task(meets(barrier), weft::TaskOptions("", true));
    barrier.abort();
    REQUIRE(barrier.broken());
    co_await some_turns(2);
    REQUIRE(end_of(tasks[0]) == "ok");
    REQUIRE(end_of(held_up) == broken);
    bool thrown = false;
    try {
        co_await barrier.wait();
    } catch (const BrokenBarrierError&) {
        thrown = true;
    }
    REQUIRE(thrown);
    barrier.reset();
    REQUIRE_FALSE(barrier.broken());
    tasks = arrivals(barrier, 2);
    for (auto& task : tasks) co_await task;
}

WEFT_TEST_CASE("a barrier of one releases at once, and one of none is an error", "[barrier]") {
    Barrier one(1);
    const std::size_t place = co_await one.wait();
    REQUIRE(place == 0);
    REQUIRE(probe::message_of<std::invalid_argument>([] { const Barrier none(0); }) ==
            "Barrier: fewer than one party");
    REQUIRE_THROWS_AS(Barrier(-1), std::invalid_argument);
}

WEFT_TEST_CASE("28: a pending cancel strikes an arrival that would wait, and it does not count",
               "[barrier]") {
    Barrier barrier(2);
    auto body = [&]() -> Coro<void> {
        weft::current_task().cancel();
        co_await barrier.wait();
    };
    auto task = weft::create_task(body);
    co_await task.wait();
    REQUIRE(task.cancelled());
    REQUIRE(barrier.n_waiting() == 0);
}

WEFT_TEST_CASE("109: reset in the step in which the last released one leaves breaks no new arrival",
               "[barrier]") {
    Barrier barrier(3);
    auto resets = [&]() -> Coro<void> {
        co_await barrier.wait();
        barrier.reset();
    };
    std::vector<weft::Task<void>> released;
    for (int i = 0; i < 2; ++i) released.push_back(weft::create_task(resets));
    co_await weft::yield();
    co_await barrier.wait();
    // While it drains:
    std::vector<weft::Task<std::size_t>> arrived;
    for (int i = 0; i < 2; ++i) {
        arrived.push_back(weft::create_task(meets(barrier), weft::TaskOptions("", true)));
    }
    REQUIRE(barrier.statistics().blocked == 2);
    co_await some_turns(2);
    for (auto& task : released) REQUIRE(end_of(task) == "ok");
    REQUIRE_FALSE(arrived[0].done());
    REQUIRE_FALSE(arrived[1].done());
    const std::size_t last = co_await barrier.wait();
    const std::size_t first = co_await arrived[0];
    REQUIRE(last == 2);
    REQUIRE(first == 0);
}

WEFT_TEST_CASE("109: reset in that step breaks those who have arrived since the drain",
               "[barrier]") {
    Barrier barrier(3);
    weft::Task<std::size_t> after;
    auto leaves = [&]() -> Coro<void> { co_await barrier.wait(); };
    auto resets = [&]() -> Coro<void> {
        co_await barrier.wait();  // the last one that is released
        after = weft::create_task(meets(barrier), weft::TaskOptions("", true));
        barrier.reset();
    };
    auto first = weft::create_task(leaves);
    auto second = weft::create_task(resets);
    co_await weft::yield();
    co_await barrier.wait();
    auto held_up = weft::create_task(meets(barrier), weft::TaskOptions("", true));
    co_await some_turns(3);
    REQUIRE(second.done());
    REQUIRE_FALSE(held_up.done());
    REQUIRE(end_of(after) == broken);
    REQUIRE(barrier.n_waiting() == 1);
    held_up.cancel();
    co_await held_up.wait();
}

}  // namespace barrier_test
