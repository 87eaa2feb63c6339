// SPDX-License-Identifier: MIT
// Task: names, counts, who is current, what dropped handles do, and what debug mode reports.
// labels: smoke
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <functional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "probe.hpp"

namespace task_test {

using namespace std::chrono_literals;
using weft::AnyTask;
using weft::CancelledError;
using weft::Coro;
using weft::EventLoop;
using weft::Future;
using weft::Task;

namespace {

bool contains(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

Coro<void> sleeps_long() { co_await weft::sleep(24h); }

Coro<void> fails_with(const char* what) {
    co_await weft::yield();
    throw std::runtime_error(what);
}

}  // namespace

// --- names ---

WEFT_TEST_CASE("a task has the name it was given, else a number of its own", "[task]") {
    auto named = weft::create_task(sleeps_long(), weft::TaskOptions("fetch"));
    auto one = weft::create_task(sleeps_long());
    auto two = weft::create_task(sleeps_long());
    REQUIRE(named.name() == "fetch");
    REQUIRE(one.name().rfind("Task-", 0) == 0);
    REQUIRE(one.name() != two.name());
    one.set_name("renamed");
    REQUIRE(one.name() == "renamed");
    one.set_name("");
    REQUIRE(one.name().rfind("Task-", 0) == 0);
    co_return;
}

WEFT_TEST_CASE("a dump names each task and what it waits on", "[task]") {
    EventLoop& loop = weft::get_running_loop();
    auto sleeper = weft::create_task(sleeps_long(), weft::TaskOptions("sleeper"));
    auto joins = [&]() -> Coro<void> { co_await sleeper; };
    auto joiner = weft::create_task(joins, weft::TaskOptions("joiner"));
    auto fresh_body = []() -> Coro<void> { co_return; };
    co_await weft::yield();
    auto fresh = weft::create_task(fresh_body, weft::TaskOptions("fresh"));
    const std::string dump = loop.dump();
    REQUIRE(contains(dump, "sleeper: waits on sleep"));
    REQUIRE(contains(dump, "joiner: waits on task sleeper"));
    REQUIRE(contains(dump, "fresh: not started"));
    REQUIRE(contains(dump, "main: running"));
}

// --- current_task and all_tasks ---

TEST_CASE("current_task is null outside of tasks", "[task]") {
    REQUIRE_FALSE(weft::current_task());
    EventLoop loop(weft::testing::options());
    bool in_call_soon = true;
    bool in_done_callback = true;
    loop.call_soon([&] { in_call_soon = static_cast<bool>(weft::current_task()); });
    auto task = loop.create_task(fails_with("x"));
    task.add_done_callback([&](Future<void> done) {
        in_done_callback = static_cast<bool>(weft::current_task());
        (void)done.exception();
    });
    loop.run_until_done(*task.core());
    loop.run_once();
    REQUIRE_FALSE(in_call_soon);
    REQUIRE_FALSE(in_done_callback);
    REQUIRE_FALSE(weft::current_task());
}

WEFT_TEST_CASE("current_task is right across any interleaving", "[task]") {
    int wrong = 0;
    int looks = 0;
    auto nested = [&](const AnyTask& expected) -> Coro<void> {
        ++looks;
        wrong += weft::current_task() == expected ? 0 : 1;
        co_await weft::yield();
        wrong += weft::current_task() == expected ? 0 : 1;
    };
    auto body = [&](int number) -> Coro<void> {
        const AnyTask self = weft::current_task();
        wrong += self.name() == "t" + std::to_string(number) ? 0 : 1;
        for (int i = 0; i < 5; ++i) {
            if ((i + number) % 3 == 0) co_await weft::sleep(std::chrono::milliseconds(number));
            if ((i + number) % 3 == 1) co_await nested(self);
            if ((i + number) % 3 == 2) co_await weft::sleep(0s);
            wrong += weft::current_task() == self ? 0 : 1;
            try {
                auto fails = []() -> Coro<void> {
                    co_await weft::yield();
                    throw std::runtime_error("x");
                };
                co_await fails();
            } catch (const std::runtime_error&) {
                wrong += weft::current_task() == self ? 0 : 1;
            }
        }
    };
    std::vector<Task<void>> tasks;
    for (int i = 0; i < 6; ++i) {
        tasks.push_back(weft::create_task(body, i, weft::TaskOptions("t" + std::to_string(i))));
    }
    for (auto& task : tasks) co_await task;
    REQUIRE(wrong == 0);
    REQUIRE(looks > 0);
}

WEFT_TEST_CASE("a task's end does not leave it current", "[task]") {
    bool at_destruction = true;
    auto body = [&](int) -> Coro<void> { co_return; };
    auto task = weft::create_task(body, 1);
    bool between = true;
    weft::get_running_loop().call_soon([&] { between = static_cast<bool>(weft::current_task()); });
    task.add_done_callback(
        [&](Future<void>) { at_destruction = static_cast<bool>(weft::current_task()); });
    co_await task;
    co_await weft::yield();
    REQUIRE_FALSE(between);
    REQUIRE_FALSE(at_destruction);
    REQUIRE(weft::current_task().name() == "main");
}

WEFT_TEST_CASE("all_tasks lists what is not done", "[task]") {
    REQUIRE(weft::all_tasks().size() == 1);
    auto one = weft::create_task(sleeps_long());
    auto quick_body = []() -> Coro<void> { co_return; };
    auto two = weft::create_task(quick_body);
    REQUIRE(weft::all_tasks().size() == 3);
    co_await two;
    REQUIRE(weft::all_tasks().size() == 2);
    one.cancel();
    co_await one.wait();
    REQUIRE(weft::all_tasks().size() == 1);
    REQUIRE(weft::all_tasks().front() == weft::current_task());
}

// --- dropped handles ---

WEFT_TEST_CASE("handles of one task are one key of a hash table", "[task]") {
    Task<int> one = weft::create_task([]() -> Coro<int> { co_return 1; });
    Task<int> two = weft::create_task([]() -> Coro<int> { co_return 2; });
    std::unordered_set<Task<int>> typed{one, two, one};
    CHECK(typed.size() == 2);
    CHECK(typed.contains(two));
    std::unordered_map<weft::AnyTask, int> any;
    for (const weft::AnyTask& task : weft::all_tasks()) ++any[task];
    CHECK(any.size() == 3);
    CHECK(any.contains(weft::current_task()));
    std::unordered_set<weft::Future<int>> futures{one, two};
    typed.erase(one);
    CHECK(typed.size() == 1);
    const int sum = co_await one + co_await two;
    CHECK(sum == 3);
    CHECK(futures.contains(one));
}

WEFT_TEST_CASE("a task whose handle was dropped runs to its end", "[task]") {
    int steps = 0;
    auto body = [&]() -> Coro<void> {
        for (int i = 0; i < 3; ++i) {
            co_await weft::sleep(1h);
            ++steps;
        }
    };
    (void)weft::create_task(body);
    co_await weft::sleep(4h);
    REQUIRE(steps == 3);
}

WEFT_TEST_CASE("the failure of a task whose handle was dropped is reported with its name",
               "[task]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    (void)weft::create_task(fails_with("unseen"), weft::TaskOptions("forgotten"));
    co_await weft::sleep(1s);
    REQUIRE(reports->size() == 1);
    REQUIRE(contains(reports->front(), "|forgotten|unseen"));
}

WEFT_TEST_CASE("a task that was cancelled is not reported as a failure", "[task]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    {
        auto task = weft::create_task(sleeps_long());
        co_await weft::yield();
        task.cancel();
        co_await weft::yield();
        co_await weft::yield();
        REQUIRE(task.cancelled());
    }
    REQUIRE(reports->empty());
}

WEFT_TEST_CASE("the last handle may be dropped inside the task's own body", "[task]") {
    Task<int> self;
    bool went_on = false;
    auto body = [&]() -> Coro<int> {
        co_await weft::yield();
        self = Task<int>();
        co_await weft::yield();
        went_on = true;
        co_return 1;
    };
    self = weft::create_task(body);
    co_await weft::sleep(1s);
    REQUIRE(went_on);
}

WEFT_TEST_CASE("a task's failure that an awaiter saw is not reported", "[task]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    {
        auto task = weft::create_task(fails_with("seen"));
        bool caught = false;
        try {
            co_await task;
        } catch (const std::runtime_error&) {
            caught = true;
        }
        REQUIRE(caught);
    }
    REQUIRE(reports->empty());
}

WEFT_TEST_CASE("a failed task that somebody cancels afterwards is not reported", "[task]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    {
        auto task = weft::create_task(fails_with("nobody cares"));
        co_await task.wait();
        const bool accepted = task.cancel();
        REQUIRE_FALSE(accepted);
    }
    REQUIRE(reports->empty());
}

// --- results ---

WEFT_TEST_CASE("every task that awaits one task gets its value or exception", "[task]") {
    auto value_body = []() -> Coro<std::string> {
        co_await weft::yield();
        co_return "a string that does not fit into the small buffer";
    };
    auto shared = weft::create_task(value_body);
    auto failing = weft::create_task(fails_with("for all"));
    int good = 0;
    auto reads = [&]() -> Coro<void> {
        const std::string& text = co_await shared;
        good += contains(text, "small buffer") ? 1 : 0;
        try {
            co_await failing;
        } catch (const std::runtime_error&) {
            ++good;
        }
    };
    std::vector<Task<void>> readers;
    for (int i = 0; i < 4; ++i) readers.push_back(weft::create_task(reads));
    for (auto& reader : readers) co_await reader;
    REQUIRE(good == 8);
}

WEFT_TEST_CASE("a task sets its own result", "[task]") {
    auto task = weft::create_task(sleeps_long());
    Future<void> as_future = task;
    REQUIRE_THROWS_AS(as_future.set_result(), weft::RuntimeError);
    REQUIRE_THROWS_AS(as_future.set_exception(std::make_exception_ptr(1)), weft::RuntimeError);
    REQUIRE_FALSE(task.done());
    co_return;
}

WEFT_TEST_CASE("a task that throws something that is no std::exception keeps it", "[task]") {
    auto body = []() -> Coro<void> {
        co_await weft::yield();
        throw 42;
    };
    auto task = weft::create_task(body);
    int caught = 0;
    try {
        co_await task;
    } catch (int number) {
        caught = number;
    }
    REQUIRE(caught == 42);
}

// --- debug mode ---

TEST_CASE("debug mode reports a task that swallowed its cancellation", "[task]") {
    weft::RunOptions base;
    base.debug = true;
    EventLoop loop(weft::testing::options(base));
    auto reports = probe::collect_reports(loop);
    auto swallows = []() -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (...) {
        }
    };
    auto task = loop.create_task(swallows(), weft::TaskOptions("deaf"));
    loop.run_once();
    task.cancel();
    loop.run_until_done(*task.core());
    REQUIRE_FALSE(task.cancelled());
    REQUIRE(reports->size() == 1);
    REQUIRE(contains(reports->front(), "swallowed its cancellation|deaf"));
}

TEST_CASE("debug mode stays silent about a cancel that was taken back or never delivered",
          "[task]") {
    weft::RunOptions base;
    base.debug = true;
    EventLoop loop(weft::testing::options(base));
    auto reports = probe::collect_reports(loop);
    auto takes_back = []() -> Coro<void> {
        AnyTask self = weft::current_task();
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            self.uncancel();
        }
    };
    auto completes = []() -> Coro<int> {
        weft::current_task().cancel();
        co_return 1;
    };
    auto one = loop.create_task(takes_back());
    auto two = loop.create_task(completes());
    loop.run_once();
    one.cancel();
    loop.run_until_done(*one.core());
    REQUIRE(two.done());
    REQUIRE(reports->empty());
}

TEST_CASE("without debug mode a swallowed cancel is not reported", "[task]") {
    EventLoop loop(weft::testing::options());
    loop.set_debug(false);
    auto reports = probe::collect_reports(loop);
    auto swallows = []() -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (...) {
        }
    };
    auto task = loop.create_task(swallows());
    loop.run_once();
    task.cancel();
    loop.run_until_done(*task.core());
    REQUIRE(reports->empty());
}

WEFT_TEST_CASE("a task may be a member function of an object that is passed by reference",
               "[task]") {
    struct Counter {
        int value = 3;
        Coro<int> add(int more) {
            value += more;
            co_return value;
        }
    };
    Counter counter;
    const Task<int> task = weft::create_task(&Counter::add, std::ref(counter), 4);
    const int sum = co_await task;
    REQUIRE(sum == 7);
    REQUIRE(counter.value == 7);
}

}  // namespace task_test
