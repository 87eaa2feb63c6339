// SPDX-License-Identifier: MIT
// Cancelling a task from outside and in circles: third parties, messages, clean-up, lost races.
// labels: smoke
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <string>
#include <utility>
#include <vector>

#include "probe.hpp"

namespace task_cancel_paths_test {

using namespace std::chrono_literals;
using weft::CancelledError;
using weft::Coro;
using weft::EventLoop;
using weft::Task;

namespace {

Coro<void> sleeps_long() { co_await weft::sleep(24h); }

/// Lets everything that is ready run `count` times.
Coro<void> turns(int count) {
    for (int i = 0; i < count; ++i) co_await weft::yield();
}

/// How many CancelledErrors come out of ten suspensions in a row.
Coro<int> strikes_in_ten() {
    int strikes = 0;
    for (int i = 0; i < 10; ++i) {
        try {
            co_await weft::yield();
        } catch (const CancelledError&) {
            ++strikes;
        }
    }
    co_return strikes;
}

/// The message of the CancelledError that `task` ended with; "-" when it ended otherwise.
Coro<std::string> cancel_message(Task<void> task) {
    try {
        co_await task;
    } catch (const CancelledError& error) {
        co_return error.message();
    }
    co_return "-";
}

}  // namespace

// --- third parties ---

WEFT_TEST_CASE("a third party that cancels the awaited future cancels the awaiter", "[cancel]") {
    auto future = weft::get_running_loop().create_future<int>();
    auto waits = [&]() -> Coro<int> { co_return co_await future; };
    auto one = weft::create_task(waits);
    auto two = weft::create_task(waits);
    co_await weft::yield();
    future.cancel("by a third party");
    co_await turns(2);
    REQUIRE(one.cancelled());
    REQUIRE(two.cancelled());
    REQUIRE(one.cancelling() == 0);
    std::string message;
    try {
        co_await two;
    } catch (const CancelledError& error) {
        message = error.message();
    }
    REQUIRE(message == "by a third party");
}

WEFT_TEST_CASE("cancelling the future and its awaiter gives one CancelledError", "[cancel]") {
    for (const bool future_first : {true, false}) {
        auto future = weft::get_running_loop().create_future<void>();
        auto body = [&]() -> Coro<int> {
            int strikes = 0;
            try {
                co_await future;
            } catch (const CancelledError&) {
                ++strikes;
            }
            strikes += co_await strikes_in_ten();
            co_return strikes;
        };
        auto task = weft::create_task(body);
        co_await weft::yield();
        if (future_first) future.cancel();
        task.cancel();
        future.cancel();
        const int strikes = co_await task;
        REQUIRE(strikes == 1);
    }
}

WEFT_TEST_CASE("an await of a cancelled future throws without a cancel request", "[cancel]") {
    auto future = weft::get_running_loop().create_future<void>();
    future.cancel();
    bool thrown = false;
    try {
        co_await future;
    } catch (const CancelledError&) {
        thrown = true;
    }
    REQUIRE(thrown);
    REQUIRE(weft::current_task().cancelling() == 0);
    co_await weft::yield();
}

WEFT_TEST_CASE("a future that is cancelled already does not use up a request of the task",
               "[cancel]") {
    auto future = weft::get_running_loop().create_future<void>();
    future.cancel();
    auto body = [&]() -> Coro<int> {
        weft::current_task().cancel();
        try {
            co_await future;
        } catch (const CancelledError&) {
        }
        co_return co_await strikes_in_ten();
    };
    auto task = weft::create_task(body);
    const int strikes = co_await task;
    REQUIRE(strikes == 1);
}

// --- messages ---

WEFT_TEST_CASE("the cancel message reaches whoever catches the error", "[cancel]") {
    EventLoop& loop = weft::get_running_loop();
    auto future = loop.create_future<void>();
    auto child = weft::create_task(sleeps_long());
    auto sleeps = []() -> Coro<void> { co_await weft::sleep(1h); };
    auto yields = []() -> Coro<void> {
        for (;;) co_await weft::yield();
    };
    auto on_future = [&]() -> Coro<void> { co_await future; };
    auto on_task = [&]() -> Coro<void> { co_await child; };
    auto on_wait = [&]() -> Coro<void> {
        auto other = weft::get_running_loop().create_future<void>();
        co_await other.wait();
    };
    struct Case {
        const char* name;
        Task<void> task;
    };
    std::vector<Case> cases;
    cases.push_back({"sleep", weft::create_task(sleeps)});
    cases.push_back({"yield", weft::create_task(yields)});
    cases.push_back({"future", weft::create_task(on_future)});
    cases.push_back({"task", weft::create_task(on_task)});
    cases.push_back({"wait", weft::create_task(on_wait)});
    co_await turns(2);
    cases.push_back({"not started", weft::create_task(sleeps)});
    for (auto& one : cases) {
        INFO(one.name);
        one.task.cancel("because");
        const std::string message = co_await cancel_message(one.task);
        CHECK(message == "because");
    }
}

WEFT_TEST_CASE("the last of several messages is the one that arrives", "[cancel]") {
    auto task = weft::create_task(sleeps_long());
    co_await weft::yield();
    task.cancel("first");
    task.cancel("second");
    const std::string message = co_await cancel_message(task);
    REQUIRE(message == "second");
}

WEFT_TEST_CASE("a message does not stick to a later cancel without one", "[cancel]") {
    std::vector<std::string> seen;
    auto body = [&]() -> Coro<void> {
        for (int i = 0; i < 2; ++i) {
            try {
                co_await weft::sleep(1h);
            } catch (const CancelledError& error) {
                seen.push_back(error.message());
            }
        }
    };
    auto task = weft::create_task(body);
    co_await weft::yield();
    task.cancel("first");
    co_await weft::yield();
    task.cancel();
    co_await task;
    REQUIRE(seen == std::vector<std::string>{"first", ""});
}

// --- what cannot swallow it ---

WEFT_TEST_CASE("catching std::exception does not swallow a cancel", "[cancel]") {
    auto body = []() -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (const std::exception&) {
        }
    };
    auto task = weft::create_task(body);
    co_await weft::yield();
    task.cancel();
    co_await task.wait();
    REQUIRE(task.cancelled());
}

// --- inside clean-up, and things that could go round in circles ---

WEFT_TEST_CASE("clean-up code may sleep, and a second cancel strikes inside it", "[cancel]") {
    std::string log;
    auto body = [&]() -> Coro<void> {
        bool again = false;
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            again = true;
        }
        if (again) {
            log += 'c';
            co_await weft::sleep(1s);
            log += 'd';
            co_await weft::sleep(1h);
            log += 'x';
        }
    };
    auto task = weft::create_task(body);
    co_await weft::yield();
    task.cancel();
    co_await weft::sleep(10s);
    REQUIRE(log == "cd");
    task.cancel();
    co_await task.wait();
    REQUIRE(task.cancelled());
    REQUIRE(log == "cd");
}

WEFT_TEST_CASE("an error kept over clean-up that awaits can be rethrown", "[cancel]") {
    auto body = []() -> Coro<void> {
        std::exception_ptr kept;
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            kept = std::current_exception();
        }
        co_await weft::sleep(1s);
        std::rethrow_exception(kept);
    };
    auto task = weft::create_task(body);
    co_await weft::yield();
    task.cancel("still here");
    const std::string message = co_await cancel_message(task);
    REQUIRE(message == "still here");
    REQUIRE(task.cancelled());
}

WEFT_TEST_CASE("cancelling one of two tasks that await each other returns", "[cancel]") {
    Task<void> one;
    Task<void> two;
    auto waits_for_two = [&]() -> Coro<void> { co_await two; };
    auto waits_for_one = [&]() -> Coro<void> { co_await one; };
    one = weft::create_task(waits_for_two);
    two = weft::create_task(waits_for_one);
    co_await weft::yield();
    const bool accepted = one.cancel();
    REQUIRE(accepted);
    co_await turns(4);
    REQUIRE(one.cancelled());
    REQUIRE(two.cancelled());
}

TEST_CASE("a loop with a circle of tasks that await each other can be destroyed", "[cancel]") {
    int alive = 0;
    {
        EventLoop loop(weft::testing::options());
        probe::collect_reports(loop);
        std::vector<Task<void>> tasks(3);
        auto waits = [&](std::size_t next, probe::Alive) -> Coro<void> {
            co_await weft::yield();
            co_await tasks[next];
        };
        for (std::size_t i = 0; i < tasks.size(); ++i) {
            tasks[i] = loop.create_task(waits((i + 1) % tasks.size(), probe::Alive(alive)));
        }
        for (int i = 0; i < 4; ++i) loop.run_once();
        REQUIRE(alive > 0);
        loop.close();
    }
    REQUIRE(alive == 0);
}

}  // namespace task_cancel_paths_test
