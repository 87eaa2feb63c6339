// SPDX-License-Identifier: MIT
// Eager tasks: the first step runs inside create_task, with the right current task, off the queue.
// labels: smoke
#include <weft/runtime/loop.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "probe.hpp"

namespace eager_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::EventLoop;
using weft::Task;

namespace {

Coro<int> sets(bool& flag, int value) {
    flag = true;
    co_return value;
}

}  // namespace

WEFT_TEST_CASE("an eager task takes its first step inside create_task", "[eager]") {
    std::string log;
    const weft::AnyTask outer = weft::current_task();
    weft::AnyTask inner;
    auto body = [&]() -> Coro<void> {
        inner = weft::current_task();
        log += 'a';
        co_await weft::yield();
        log += 'c';
    };
    auto task = weft::create_task(body, weft::TaskOptions("eager", true));
    log += 'b';
    REQUIRE(log == "ab");
    REQUIRE(inner == task);
    REQUIRE(weft::current_task() == outer);
    REQUIRE_FALSE(task.done());
    co_await task;
    REQUIRE(log == "abc");
}

WEFT_TEST_CASE("an eager task without a suspension is done and was never queued", "[eager]") {
    bool ran = false;
    bool other = false;
    weft::get_running_loop().call_soon([&] { other = true; });
    auto task = weft::create_task(sets(ran, 5), weft::TaskOptions("", true));
    REQUIRE(task.done());
    REQUIRE(task.result() == 5);
    const int value = co_await task;
    REQUIRE(value == 5);
    REQUIRE_FALSE(other);
    REQUIRE(weft::all_tasks().size() == 1);
    co_await weft::yield();
    REQUIRE(other);
}

WEFT_TEST_CASE("an eager task that fails at once holds its exception", "[eager]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    auto body = []() -> Coro<void> {
        throw std::runtime_error("at once");
        co_return;
    };
    {
        auto seen = weft::create_task(body, weft::TaskOptions("seen", true));
        REQUIRE(seen.exception());
        auto unseen = weft::create_task(body, weft::TaskOptions("unseen", true));
    }
    REQUIRE(reports->size() == 1);
    REQUIRE(probe::count_with(reports, "|unseen|at once") == 1);
    co_return;
}

WEFT_TEST_CASE("eager tasks nest, and each sees itself as current", "[eager]") {
    int wrong = 0;
    std::function<Coro<int>(int)> body = [&](int depth) -> Coro<int> {
        const weft::AnyTask self = weft::current_task();
        wrong += self.name() == "d" + std::to_string(depth) ? 0 : 1;
        int below = 0;
        if (depth > 0) {
            auto child = weft::create_task(
                body, depth - 1, weft::TaskOptions("d" + std::to_string(depth - 1), true));
            wrong += weft::current_task() == self ? 0 : 1;
            below = co_await child;
        }
        if (depth % 2 == 0) co_await weft::yield();
        wrong += weft::current_task() == self ? 0 : 1;
        co_return below + 1;
    };
    auto top = weft::create_task(body, 9, weft::TaskOptions("d9", true));
    const int depth = co_await top;
    REQUIRE(depth == 10);
    REQUIRE(wrong == 0);
}

WEFT_TEST_CASE("an eager task that cancels its creator strikes it at the next await", "[eager]") {
    auto body = []() -> Coro<void> {
        weft::AnyTask creator = weft::current_task();
        auto child = [](weft::AnyTask whom) -> Coro<void> {
            whom.cancel();
            co_return;
        };
        auto task = weft::create_task(child, creator, weft::TaskOptions("", true));
        REQUIRE(task.done());
        co_await weft::sleep(1h);
    };
    auto outer = weft::create_task(body);
    co_await outer.wait();
    REQUIRE(outer.cancelled());
}

TEST_CASE("an eager task created outside of a running loop starts with the loop", "[eager]") {
    EventLoop loop(weft::testing::options());
    bool ran = false;
    auto task = loop.create_task(sets(ran, 1), weft::TaskOptions("", true));
    REQUIRE_FALSE(ran);
    loop.run_once();
    REQUIRE(ran);
}

WEFT_TEST_CASE("an eager task started from a callback leaves no task current", "[eager]") {
    EventLoop& loop = weft::get_running_loop();
    bool inside = false;
    bool after = true;
    auto body = [&]() -> Coro<void> {
        inside = static_cast<bool>(weft::current_task());
        co_return;
    };
    loop.call_soon([&] {
        auto task = weft::create_task(body, weft::TaskOptions("", true));
        after = static_cast<bool>(weft::current_task());
    });
    co_await weft::yield();
    REQUIRE(inside);
    REQUIRE_FALSE(after);
}

namespace {

/// Whose end is meant: that of a task's own coroutine, or of one that is awaited, which has
/// suspended or not.
enum class EndOf { task, child, child_in_place };
constexpr EndOf all_ends[] = {EndOf::task, EndOf::child, EndOf::child_in_place};

/// Keeps `argument` among its parameters, which are destroyed after its end.
template <class Argument>
Coro<int> keeps(Argument, bool suspends) {
    if (suspends) co_await weft::yield();
    co_return 7;
}

template <class Argument>
Coro<int> ends(EndOf end, Argument argument) {
    if (end == EndOf::task) {
        auto task = weft::create_task(keeps(std::move(argument), true));
        co_return co_await std::move(task);
    }
    const int result = co_await keeps(std::move(argument), end == EndOf::child);
    co_return result;
}

}  // namespace

WEFT_TEST_CASE("an eager task that a coroutine's end starts is not taken for what goes on",
               "[eager]") {
    for (const EndOf end : all_ends) {
        for (const bool suspends : {false, true}) {
            bool said_goodbye = false;
            Task<void> goodbye;
            auto says_goodbye = [&]() -> Coro<void> {
                if (suspends) co_await weft::sleep(1s);
                said_goodbye = true;
            };
            auto start = [&] {
                goodbye = weft::create_task(says_goodbye(), weft::TaskOptions("", true));
            };
            using Connection = probe::AtExit<decltype(start)>;
            const int result = co_await ends(end, std::make_unique<Connection>(start));
            REQUIRE(result == 7);
            REQUIRE(goodbye.done() != suspends);
            co_await goodbye;
            REQUIRE(said_goodbye);
        }
    }
}

TEST_CASE("a loop that is destroyed at a coroutine's end of another loop ends its own tasks",
          "[eager]") {
    for (const EndOf end : all_ends) {
        auto inner = std::make_unique<EventLoop>();
        auto sleeps = []() -> Coro<void> { co_await weft::sleep(1h); };
        std::vector<Task<void>> tasks;
        for (int i = 0; i < 2; ++i) tasks.push_back(inner->create_task(sleeps()));
        inner->run_once();
        const int result = weft::run([&]() -> Coro<int> {
            const int seven = co_await ends(end, std::move(inner));
            co_return seven;
        });
        REQUIRE(result == 7);
        for (const auto& task : tasks) REQUIRE(task.cancelled());
    }
}

}  // namespace eager_test
