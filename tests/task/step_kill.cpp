// SPDX-License-Identifier: MIT
// Each scenario of the engine is cut off after every turn, by destroying the loop and by a cancel.
#include <weft/runtime/loop.hpp>
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "probe.hpp"

namespace step_kill_test {

using namespace std::chrono_literals;
using probe::Alive;
using weft::CancelledError;
using weft::Coro;
using weft::Future;
using weft::Task;

namespace {

/// Runs the scenario `scenario(alive)` cut off after every number of turns, both ways. Whatever
/// it made must be gone afterwards. Returns how many turns it takes undisturbed.
template <class Scenario>
std::size_t cut_everywhere(Scenario scenario) {
    int alive = 0;
    std::size_t rounds = 0;
    int left_behind = 0;
    const auto start = [&] {
        left_behind += alive;  // by the round before
        ++rounds;
        return scenario(alive);
    };
    const std::size_t turns = weft::testing::kill_at_every_step(start);
    REQUIRE(rounds == turns + 1);
    REQUIRE(left_behind == 0);
    REQUIRE(alive == 0);

    int cancelled = 0;
    const auto after = [&](const Task<void>& task) {
        REQUIRE(task.done());
        cancelled += task.cancelled() ? 1 : 0;
    };
    const std::size_t again = weft::testing::cancel_at_every_step(start, after);
    REQUIRE(again == turns);
    REQUIRE(left_behind == 0);
    REQUIRE(alive == 0);
    REQUIRE(cancelled >= 1);
    return turns;
}

Coro<int> leaf(Alive, int value) {
    co_await weft::yield();
    co_await weft::sleep(1h);
    co_return value;
}

Coro<int> branch(Alive counted, int depth) {
    const Alive local(counted);
    if (depth == 0) co_return co_await leaf(counted, 1);
    const int first = co_await branch(counted, depth - 1);
    const int second = co_await branch(local, depth - 1);
    co_return first + second;
}

// --- scenarios ---

Coro<void> nested_coroutines(int& alive) {
    const Alive counted(alive);
    const int sum = co_await branch(counted, 3);
    if (sum != 8) throw std::logic_error("wrong sum");
}

Coro<void> sleeps_of_all_kinds(int& alive) {
    const Alive counted(alive);
    co_await weft::sleep(0s);
    co_await weft::sleep(-1s);
    co_await weft::sleep(24h);
    co_await weft::sleep_until(weft::get_running_loop().time() + 1ns);
    co_await weft::sleep_until(weft::get_running_loop().time());
    co_await weft::yield();
}

Coro<void> futures_set_by_callbacks(int& alive) {
    weft::EventLoop& loop = weft::get_running_loop();
    for (int i = 0; i < 3; ++i) {
        auto future = loop.create_future<std::unique_ptr<Alive>>();
        loop.call_later(1s, [future, counted = Alive(alive), &alive]() mutable {
            if (!future.done()) future.set_result(std::make_unique<Alive>(alive));
        });
        future.add_done_callback([counted = Alive(alive)](Future<std::unique_ptr<Alive>>) {});
        const auto result = co_await std::move(future);
    }
}

Coro<void> tasks_that_await_tasks(int& alive) {
    auto body = [](Alive counted, int value) -> Coro<int> {
        auto child = weft::create_task(leaf(counted, value));
        co_return co_await child + co_await leaf(counted, 1);
    };
    auto one = weft::create_task(body, Alive(alive), 1);
    auto two = weft::create_task(body, Alive(alive), 2);
    co_await two;
    co_await one;
}

Coro<void> clean_up_that_awaits(int& alive) {
    auto body = [&](Alive counted) -> Coro<void> {
        std::exception_ptr failure;
        try {
            co_await leaf(counted, 1);
            throw std::runtime_error("expected");
        } catch (...) {
            failure = std::current_exception();
        }
        const Alive during(counted);
        co_await weft::yield();
        co_await weft::sleep(1s);
        std::rethrow_exception(failure);
    };
    try {
        co_await body(Alive(alive));
    } catch (const std::runtime_error&) {
    }
    auto task = weft::create_task(body, Alive(alive));
    co_await task.wait();
    if (!task.cancelled() && !task.exception()) throw std::logic_error("no failure");
}

Coro<void> failures_on_the_way(int& alive) {
    auto fails = [](Alive, int turns) -> Coro<void> {
        for (int i = 0; i < turns; ++i) co_await weft::yield();
        throw std::runtime_error("expected");
    };
    for (int turns = 0; turns < 4; ++turns) {
        auto task = weft::create_task(fails, Alive(alive), turns);
        try {
            co_await task;
        } catch (const std::runtime_error&) {
        }
        try {
            co_await fails(Alive(alive), turns);
        } catch (const std::runtime_error&) {
        }
    }
}

Coro<void> children_that_are_cancelled(int& alive) {
    for (int turns = 0; turns < 4; ++turns) {
        auto child = weft::create_task(leaf(Alive(alive), 1));
        for (int i = 0; i < turns; ++i) co_await weft::yield();
        child.cancel("by its parent");
        co_await child.wait();
    }
}

Coro<void> one_future_for_many(int& alive) {
    auto future = weft::get_running_loop().create_future<int>();
    auto waits = [](Future<int> on, Alive, bool look) -> Coro<void> {
        if (look) co_await on;
        if (!look) co_await on.wait();
    };
    std::vector<Task<void>> tasks;
    for (int i = 0; i < 4; ++i) {
        tasks.push_back(weft::create_task(waits, future, Alive(alive), i % 2 == 0));
    }
    co_await weft::yield();
    tasks[1].cancel();
    co_await weft::sleep(1s);
    if (!future.done()) future.set_result(1);
    for (auto& task : tasks) co_await task.wait();
}

Coro<void> eager_tasks(int& alive) {
    auto body = [](Alive counted, int depth) -> Coro<int> {
        if (depth == 0) co_return co_await leaf(counted, 1);
        auto child = weft::create_task(leaf(counted, 1), weft::TaskOptions("", true));
        co_return co_await child;
    };
    auto one = weft::create_task(body, Alive(alive), 1, weft::TaskOptions("one", true));
    auto two = weft::create_task(body, Alive(alive), 0, weft::TaskOptions("two", true));
    co_await one;
    co_await two;
}

Coro<void> timers_and_handles(int& alive) {
    weft::EventLoop& loop = weft::get_running_loop();
    auto cancelled = loop.call_later(1h, [counted = Alive(alive)] {});
    auto kept = loop.call_later(2s, [counted = Alive(alive)] {});
    loop.call_soon([counted = Alive(alive)] {});
    loop.call_soon_threadsafe([counted = Alive(alive)] {});
    co_await weft::sleep(1s);
    cancelled.cancel();
    co_await weft::sleep(2s);
}

/// Takes one cancel and goes on; a second one ends it.
Coro<void> one_cancel_is_not_enough(int& alive) {
    const Alive counted(alive);
    auto deaf = [](Alive) -> Coro<void> {
        for (int i = 0; i < 2; ++i) {
            try {
                co_await weft::sleep(1s);
            } catch (const CancelledError&) {
            }
        }
    };
    auto child = weft::create_task(deaf, counted);
    co_await child;
    co_await weft::yield();
}

}  // namespace

TEST_CASE("nested coroutines can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(nested_coroutines) > 8);
}

TEST_CASE("sleeps can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(sleeps_of_all_kinds) > 4);
}

TEST_CASE("futures set by callbacks can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(futures_set_by_callbacks) > 3);
}

TEST_CASE("tasks that await tasks can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(tasks_that_await_tasks) > 4);
}

TEST_CASE("clean-up that awaits can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(clean_up_that_awaits) > 6);
}

TEST_CASE("failures on the way can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(failures_on_the_way) > 8);
}

TEST_CASE("children being cancelled can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(children_that_are_cancelled) > 6);
}

TEST_CASE("a future that many await can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(one_future_for_many) > 3);
}

TEST_CASE("eager tasks can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(eager_tasks) > 3);
}

TEST_CASE("timers and callbacks can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(timers_and_handles) > 2);
}

TEST_CASE("tasks deaf to one cancel can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(one_cancel_is_not_enough) > 2);
}

}  // namespace step_kill_test
