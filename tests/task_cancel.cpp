// SPDX-License-Identifier: MIT
// Cancelling a task: in every state it can be in, how often it counts, and what the task sees.
// labels: smoke
#include <weft/future.hpp>
#include <weft/sleep.hpp>
#include <weft/task.hpp>
#include <weft/testing/catch.hpp>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "probe.hpp"

using namespace std::chrono_literals;
using weft::AnyTask;
using weft::CancelledError;
using weft::Coro;
using weft::EventLoop;
using weft::Future;
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

// --- 16: at once, in the next iteration, at the innermost await ---

WEFT_TEST_CASE("a cancelled task sees CancelledError in the next turn, innermost first",
               "[cancel]") {
    std::string log;
    auto inner = [&]() -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            log += 'i';
            throw;
        }
    };
    auto middle = [&]() -> Coro<void> {
        try {
            co_await inner();
        } catch (const CancelledError&) {
            log += 'm';
            throw;
        }
    };
    auto outer = [&]() -> Coro<void> {
        try {
            co_await middle();
        } catch (const CancelledError&) {
            log += 'o';
            throw;
        }
    };
    auto task = weft::create_task(outer);
    co_await weft::yield();
    const bool accepted = task.cancel();
    REQUIRE(accepted);
    REQUIRE(log.empty());
    REQUIRE_FALSE(task.done());
    co_await weft::yield();
    REQUIRE(log == "imo");
    REQUIRE(task.cancelled());
}

WEFT_TEST_CASE("cancelling a task that awaits a future cancels the future at once", "[cancel]") {
    auto future = weft::get_running_loop().create_future<void>();
    auto waits = [&]() -> Coro<void> { co_await future; };
    auto task = weft::create_task(waits);
    co_await weft::yield();
    task.cancel();
    REQUIRE(future.cancelled());
    REQUIRE_FALSE(task.done());
    co_await weft::yield();
    REQUIRE(task.cancelled());
}

WEFT_TEST_CASE("cancelling a task that awaits a task cancels the awaited one", "[cancel]") {
    auto child = weft::create_task(sleeps_long());
    auto waits = [&]() -> Coro<void> { co_await child; };
    auto parent = weft::create_task(waits);
    co_await weft::yield();
    parent.cancel();
    REQUIRE(child.cancelling() == 1);
    co_await turns(2);
    REQUIRE(child.cancelled());
    REQUIRE(parent.cancelled());
}

WEFT_TEST_CASE("a cancel during a yield and during a sleep of zero strikes there", "[cancel]") {
    auto yields = []() -> Coro<void> { co_await weft::yield(); };
    auto naps = []() -> Coro<void> { co_await weft::sleep(0s); };
    auto one = weft::create_task(yields);
    auto two = weft::create_task(naps);
    bool cancelled = false;
    weft::get_running_loop().call_soon([&] { cancelled = one.cancel() && two.cancel(); });
    co_await turns(2);
    REQUIRE(cancelled);
    REQUIRE(one.cancelled());
    REQUIRE(two.cancelled());
}

WEFT_TEST_CASE("a request that finds nothing to cancel strikes at the first await", "[cancel]") {
    EventLoop& loop = weft::get_running_loop();
    auto future = loop.create_future<void>();
    bool reached = false;
    auto body = [&]() -> Coro<void> {
        weft::current_task().cancel();
        reached = true;
        co_await future;
    };
    auto task = weft::create_task(body);
    co_await turns(2);
    REQUIRE(reached);
    REQUIRE(task.cancelled());
    REQUIRE(future.cancelled());
}

// --- 17 ---

WEFT_TEST_CASE("cancelled before its first step: no body, and the arguments are gone", "[cancel]") {
    int alive = 0;
    bool ran = false;
    auto body = [&ran](probe::Alive, std::unique_ptr<int>) -> Coro<void> {
        ran = true;
        co_return;
    };
    auto task = weft::create_task(body, probe::Alive(alive), std::make_unique<int>(1));
    REQUIRE(alive > 0);
    REQUIRE(task.cancel("early"));
    co_await weft::yield();
    REQUIRE(task.cancelled());
    REQUIRE_FALSE(ran);
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("awaiting a task that was cancelled before its first step throws", "[cancel]") {
    for (int round = 0; round < 3; ++round) {
        auto body = []() -> Coro<std::string> { co_return std::string(64, 'x'); };
        auto finished = weft::create_task(body);
        co_await finished;
        finished = Task<std::string>();
        auto task = weft::create_task(body);
        task.cancel();
        bool thrown = false;
        try {
            co_await task;
        } catch (const CancelledError&) {
            thrown = true;
        }
        REQUIRE(thrown);
    }
}

// --- 18, 19 ---

WEFT_TEST_CASE("a task that cancels itself is struck at its next suspension", "[cancel]") {
    std::string log;
    auto child = [&]() -> Coro<void> {
        log += 'c';
        co_return;
    };
    auto body = [&]() -> Coro<void> {
        auto ready = weft::get_running_loop().create_future<void>();
        ready.set_result();
        weft::current_task().cancel("self");
        log += 'a';
        co_await child();
        co_await ready;
        log += 'b';
        co_await weft::sleep(1h);
        log += 'x';
    };
    auto task = weft::create_task(body);
    const std::string message = co_await cancel_message(task);
    REQUIRE(log == "acb");
    REQUIRE(message == "self");
}

WEFT_TEST_CASE("a body that returns without suspending after a cancel keeps its value",
               "[cancel]") {
    auto body = []() -> Coro<int> {
        weft::current_task().cancel();
        co_return 7;
    };
    auto task = weft::create_task(body);
    const int value = co_await task;
    REQUIRE(value == 7);
    REQUIRE_FALSE(task.cancelled());
    REQUIRE(task.cancelling() == 1);
}

WEFT_TEST_CASE("a result that was there before the cancel is delivered, then the cancel",
               "[cancel]") {
    auto future = weft::get_running_loop().create_future<int>();
    int got = 0;
    bool struck = false;
    auto body = [&]() -> Coro<void> {
        got = co_await future;
        try {
            co_await weft::yield();
        } catch (const CancelledError&) {
            struck = true;
            throw;
        }
    };
    auto task = weft::create_task(body);
    co_await weft::yield();
    future.set_result(5);
    REQUIRE(task.cancel());
    REQUIRE_FALSE(future.cancelled());
    co_await turns(3);
    REQUIRE(got == 5);
    REQUIRE(struck);
    REQUIRE(task.cancelled());
}

WEFT_TEST_CASE("a child's value that a cancelled join raced is not lost", "[cancel]") {
    auto gives = []() -> Coro<std::unique_ptr<int>> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
        }
        co_return std::make_unique<int>(3);
    };
    std::unique_ptr<int> got;
    bool struck = false;
    auto joins = [&]() -> Coro<void> {
        auto child = weft::create_task(gives);
        got = co_await std::move(child);
        try {
            co_await weft::yield();
        } catch (const CancelledError&) {
            struck = true;
        }
    };
    auto parent = weft::create_task(joins);
    co_await turns(2);
    parent.cancel();
    co_await parent;
    REQUIRE(got);
    REQUIRE(*got == 3);
    REQUIRE(struck);
}

WEFT_TEST_CASE("a child's failure during a cancelled join wins, then the cancel strikes",
               "[cancel]") {
    auto fails = []() -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            throw std::runtime_error("clean-up failed");
        }
    };
    std::string log;
    auto joins = [&]() -> Coro<void> {
        auto child = weft::create_task(fails);
        try {
            co_await child;
        } catch (const std::runtime_error& error) {
            log = error.what();
        }
        try {
            co_await weft::yield();
        } catch (const CancelledError&) {
            log += ", cancelled";
        }
    };
    auto parent = weft::create_task(joins);
    co_await turns(2);
    parent.cancel();
    co_await parent;
    REQUIRE(log == "clean-up failed, cancelled");
}

// --- 20, 22, 23 ---

WEFT_TEST_CASE("catching CancelledError and returning means not cancelled", "[cancel]") {
    auto body = []() -> Coro<int> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
        }
        co_return 1;
    };
    auto task = weft::create_task(body);
    co_await weft::yield();
    task.cancel();
    const int value = co_await task;
    REQUIRE(value == 1);
    REQUIRE_FALSE(task.cancelled());
    REQUIRE(task.cancelling() == 1);
}

WEFT_TEST_CASE("catching CancelledError and going on goes on, one strike per request", "[cancel]") {
    auto task = weft::create_task(strikes_in_ten());
    co_await weft::yield();
    task.cancel();
    co_await weft::yield();
    REQUIRE(task.cancelling() == 1);
    task.cancel();
    REQUIRE(task.cancelling() == 2);
    const int strikes = co_await task;
    REQUIRE(strikes == 2);
}

WEFT_TEST_CASE("two cancels in one turn give one CancelledError and count twice", "[cancel]") {
    auto task = weft::create_task(strikes_in_ten());
    co_await weft::yield();
    const bool first = task.cancel();
    const bool second = task.cancel();
    REQUIRE(first);
    REQUIRE(second);
    REQUIRE(task.cancelling() == 2);
    const int strikes = co_await task;
    REQUIRE(strikes == 1);
}

WEFT_TEST_CASE("two cancels of a sleeping or waiting task in one turn strike once", "[cancel]") {
    auto future = weft::get_running_loop().create_future<void>();
    auto body = [&](bool sleeps) -> Coro<int> {
        int strikes = 0;
        try {
            if (sleeps) co_await weft::sleep(1h);
            if (!sleeps) co_await future;
        } catch (const CancelledError&) {
            ++strikes;
        }
        strikes += co_await strikes_in_ten();
        co_return strikes;
    };
    auto sleeper = weft::create_task(body, true);
    auto waiter = weft::create_task(body, false);
    co_await weft::yield();
    for (int i = 0; i < 2; ++i) {
        sleeper.cancel();
        waiter.cancel();
    }
    const int of_sleeper = co_await sleeper;
    const int of_waiter = co_await waiter;
    REQUIRE(of_sleeper == 1);
    REQUIRE(of_waiter == 1);
}

WEFT_TEST_CASE("cancel on a finished task returns false and counts nothing", "[cancel]") {
    auto body = []() -> Coro<int> { co_return 1; };
    auto task = weft::create_task(body);
    co_await task;
    REQUIRE_FALSE(task.cancel());
    REQUIRE(task.cancelling() == 0);
    REQUIRE(task.result() == 1);
}

WEFT_TEST_CASE("uncancel counts down, and at zero withdraws what was not delivered", "[cancel]") {
    auto body = []() -> Coro<int> {
        AnyTask self = weft::current_task();
        self.cancel();
        self.cancel();
        const int left = self.uncancel();
        if (left != 1 || self.uncancel() != 0) co_return -1;
        co_return co_await strikes_in_ten();
    };
    auto task = weft::create_task(body);
    const int strikes = co_await task;
    REQUIRE(strikes == 0);
    REQUIRE(task.cancelling() == 0);
}

WEFT_TEST_CASE("uncancel above zero leaves the request standing", "[cancel]") {
    auto body = []() -> Coro<int> {
        AnyTask self = weft::current_task();
        self.cancel();
        self.cancel();
        self.uncancel();
        co_return co_await strikes_in_ten();
    };
    auto task = weft::create_task(body);
    const int strikes = co_await task;
    REQUIRE(strikes == 1);
}

WEFT_TEST_CASE("uncancel never goes below zero", "[cancel]") {
    AnyTask self = weft::current_task();
    REQUIRE(self.uncancel() == 0);
    REQUIRE(self.uncancel() == 0);
    REQUIRE(self.cancelling() == 0);
    co_return;
}

WEFT_TEST_CASE("a withdrawn request of a task that has not started lets it run", "[cancel]") {
    bool ran = false;
    auto body = [&]() -> Coro<void> {
        ran = true;
        co_return;
    };
    auto task = weft::create_task(body);
    task.cancel();
    REQUIRE(task.uncancel() == 0);
    co_await task;
    REQUIRE(ran);
}

// --- 21 ---

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

// --- 24 ---

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

// --- 25 ---

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
