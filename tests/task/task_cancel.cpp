// SPDX-License-Identifier: MIT
// Cancelling a task: in every state it can be in, and against a result that is there already.
// labels: smoke
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "probe.hpp"

namespace task_cancel_test {

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

// --- at once, in the next turn, at the innermost await ---

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

// --- before the first step ---

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

// --- a cancel and a result ---

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

WEFT_TEST_CASE("24: the message of a cancel before the first step reaches whoever awaits the task",
               "[cancel]") {
    auto body = []() -> Coro<void> { co_await weft::sleep(1h); };
    auto task = weft::create_task(body);
    task.cancel("not needed");
    const std::string message = co_await cancel_message(task);
    REQUIRE(message == "not needed");
    const auto thrown = [](const Task<void>& of) -> std::string {
        try {
            of.result();
        } catch (const CancelledError& error) {
            return error.message();
        }
        return "-";
    };
    REQUIRE(thrown(task) == "not needed");
    auto silent = weft::create_task(body);
    silent.cancel();
    const std::string none = co_await cancel_message(silent);
    REQUIRE(none.empty());
}

}  // namespace task_cancel_test
