// SPDX-License-Identifier: MIT
// as_completed: each task once, in the order of the ends, until a deadline.
#include <weft/testing/catch.hpp>
#include <weft/together/as_completed.hpp>

#include <memory>
#include <string>
#include <vector>

#include "children.hpp"

namespace as_completed_test {

using namespace children;
using weft::Task;

namespace {

std::vector<Coro<int>> numbers(std::initializer_list<int> seconds) {
    std::vector<Coro<int>> list;
    for (const int each : seconds) list.push_back(gives(each, each * 1s));
    return list;
}

/// Its result, or 't' for a TimeoutError.
Coro<std::string> next_of(weft::AsCompleted<Task<int>>& completed) {
    try {
        auto task = co_await completed.next();
        co_return std::to_string(task.result());
    } catch (const weft::TimeoutError&) {
    }
    co_return "t";
}

}  // namespace

WEFT_TEST_CASE("as_completed yields each once, in completion order", "[as_completed]") {
    auto completed = weft::as_completed(numbers({3, 1, 4, 2}));
    std::string order;
    while (auto task = co_await completed.next()) order += std::to_string(task.result());
    REQUIRE(order == "1234");
    auto more = co_await completed.next();
    REQUIRE_FALSE(more);
}

WEFT_TEST_CASE("as_completed of tasks gives the tasks themselves back", "[as_completed]") {
    std::vector<Task<int>> tasks;
    tasks.push_back(weft::create_task(gives(1, 2s)));
    tasks.push_back(weft::create_task(gives(2, 1s)));
    tasks.push_back(tasks[0]);  // passed twice, yielded once
    auto completed = weft::as_completed(tasks);
    auto first = co_await completed.next();
    auto second = co_await completed.next();
    auto end = co_await completed.next();
    REQUIRE(first == tasks[1]);
    REQUIRE(second == tasks[0]);
    REQUIRE_FALSE(end);
}

WEFT_TEST_CASE("tasks that were done before come first, in their order", "[as_completed]") {
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 3; ++i) tasks.push_back(weft::create_task(gives(i, i == 1 ? 5s : 0s)));
    co_await weft::sleep(1s);
    auto completed = weft::as_completed(tasks);
    std::string order;
    while (auto task = co_await completed.next()) order += std::to_string(task.result());
    REQUIRE(order == "021");
}

WEFT_TEST_CASE("a failed or cancelled task is yielded like any other", "[as_completed]") {
    std::vector<Task<int>> tasks;
    tasks.push_back(weft::create_task(fails("x", 1s)));
    tasks.push_back(weft::create_task(gives(1, 1h)));
    weft::get_running_loop().call_later(2s, [&] { tasks[1].cancel(); });
    auto completed = weft::as_completed(tasks);
    auto failed = co_await completed.next();
    REQUIRE_THROWS_AS(failed.result(), std::runtime_error);
    auto cancelled = co_await completed.next();
    REQUIRE(cancelled.cancelled());
}

WEFT_TEST_CASE("as_completed names who was late", "[as_completed]") {
    std::vector<Task<int>> tasks;
    for (const char* const name : {"quick", "slow", "slower"}) {
        const int seconds = tasks.empty() ? 1 : 60;
        tasks.push_back(weft::create_task(gives(seconds, seconds * 1s), weft::TaskOptions(name)));
    }
    auto completed = weft::as_completed(tasks, 10s);
    std::string text;
    try {
        while (auto task = co_await completed.next()) text += task.name() + ", ";
    } catch (const weft::TimeoutError& error) {
        text += error.what();
    }
    REQUIRE(text == "quick, timed out: the task 'slow' and 1 more");
}

WEFT_TEST_CASE("as_completed raises TimeoutError at its deadline, and from then on",
               "[as_completed]") {
    auto completed = weft::as_completed(numbers({1, 2, 60}), 10s);
    std::string log;
    const auto began = weft::get_running_loop().time();
    for (int i = 0; i < 4; ++i) {
        log += co_await next_of(completed);
    }
    REQUIRE(log == "12tt");
    REQUIRE(weft::get_running_loop().time() - began == 10s);
    REQUIRE(weft::all_tasks().size() == 2);  // the slow one goes on
}

WEFT_TEST_CASE("40: after its deadline as_completed gives nothing more, also what has ended since",
               "[as_completed]") {
    auto completed = weft::as_completed(numbers({1, 20, 30}), 10s);
    std::string log;
    for (int i = 0; i < 4; ++i) {
        log += co_await next_of(completed);
        if (log.back() == 't') co_await weft::sleep(1h);
    }
    REQUIRE(log == "1ttt");
}

WEFT_TEST_CASE("as_completed leaves no timer behind when it is not used to its end",
               "[as_completed]") {
    std::vector<Task<int>> tasks;
    tasks.push_back(weft::create_task(gives(1)));
    tasks.push_back(weft::create_task(gives(2, 5s)));
    {
        auto unused = weft::as_completed(tasks, 1h);
        REQUIRE(weft::get_running_loop().armed_timers() == 0);
        auto first = co_await unused.next();
        REQUIRE(first.result() == 1);
        REQUIRE(weft::get_running_loop().armed_timers() == 1);  // the task's own
    }
    REQUIRE(tasks[1].core()->waiters.empty());
    const int value = co_await tasks[1];
    REQUIRE(value == 2);
    REQUIRE(weft::get_running_loop().armed_timers() == 0);
}

WEFT_TEST_CASE("a cancelled next cancels and skips no task", "[as_completed]") {
    auto completed = weft::as_completed(numbers({2, 3}));
    auto waits = [&]() -> Coro<void> { auto task = co_await completed.next(); };
    auto waiter = weft::create_task(waits);
    co_await weft::sleep(1s);
    waiter.cancel();
    const auto end = co_await end_of(waiter);
    REQUIRE(end == "c");
    auto first = co_await completed.next();
    REQUIRE(first.result() == 2);
    auto second = co_await completed.next();
    REQUIRE(second.result() == 3);
}

WEFT_TEST_CASE("a task that ends when next is cancelled is not lost", "[as_completed]") {
    auto future = weft::get_running_loop().create_future<int>();
    auto completed = weft::as_completed(std::vector{future});
    int got = 0;
    bool hit = false;
    auto waits = [&]() -> Coro<void> {
        auto done = co_await completed.next();
        got = done.result();
        hit = co_await struck();
    };
    auto waiter = weft::create_task(waits);
    co_await turns(2);
    future.set_result(8);
    co_await weft::yield();  // its end is told now
    waiter.cancel();
    co_await waiter;
    REQUIRE(got == 8);
    REQUIRE(hit);
}

WEFT_TEST_CASE("as_completed leaves the callables of a container that it was not given",
               "[as_completed]") {
    const auto shared = std::make_shared<int>(0);
    auto count = [shared]() -> Coro<int> { co_return ++*shared; };
    std::vector<decltype(count)> calls(3, count);
    for (int round = 0; round < 2; ++round) {
        auto completed = weft::as_completed(calls);
        while (auto task = co_await completed.next()) (void)task.result();
    }
    CHECK(*shared == 6);
}

WEFT_TEST_CASE("as_completed of nothing is over at once", "[as_completed]") {
    auto completed = weft::as_completed(std::vector<Task<int>>(), 1s);
    auto none = co_await completed.next();
    REQUIRE_FALSE(none);
    auto callable = []() -> Coro<int> { return gives(5); };
    auto calls = weft::as_completed(std::vector{callable});
    auto one = co_await calls.next();
    REQUIRE(one.result() == 5);
}

}  // namespace as_completed_test
