// SPDX-License-Identifier: MIT
// timeout and Timeout: whose cancel it was, and what is left behind.
#include <weft/deadline/move_on_after.hpp>
#include <weft/deadline/timeout.hpp>
#include <weft/deadline/wait_for.hpp>
#include <weft/task/future.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "deadlines.hpp"
#include "probe.hpp"

namespace timeout_test {

using namespace std::chrono_literals;
using support::ending;
using support::takes;
using weft::CancelledError;
using weft::Coro;
using weft::EventLoop;
using weft::Timeout;
using weft::TimeoutError;

namespace {

// From the timers' own pass, before any task or callback runs:

struct SetByTimer : weft::detail::Timer {
    explicit SetByTimer(weft::Future<int> of) : Timer(&set), future(std::move(of)) {}
    static void set(Timer& timer) noexcept { static_cast<SetByTimer&>(timer).future.set_result(6); }
    weft::Future<int> future;
};

struct CancelByTimer : weft::detail::Timer {
    explicit CancelByTimer(weft::Task<void> of) : Timer(&due), task(std::move(of)) {}
    static void due(Timer& timer) noexcept {
        static_cast<CancelByTimer&>(timer).task.cancel("from outside");
    }
    weft::Task<void> task;
};

int cancelling() { return weft::current_task().cancelling(); }

}  // namespace

WEFT_TEST_CASE("a body that ends in time gives its result and leaves no timer", "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    const int value = co_await weft::timeout(2s, takes, 1s, 7);
    REQUIRE(value == 7);
    REQUIRE(loop.armed_timers() == 0);
    const weft::TimePoint began = loop.time();
    const int other = co_await weft::timeout_at(began + 2s, takes, 1s, 8);
    REQUIRE(other == 8);
    REQUIRE(loop.armed_timers() == 0);
}

WEFT_TEST_CASE("a body that takes too long is cancelled at the deadline", "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint began = loop.time();
    auto body = [] { return weft::timeout(1s, takes, 1h, 1); };
    const std::string end = co_await ending(body);
    REQUIRE(end == "timeout");
    REQUIRE(loop.time() - began == 1s);
    REQUIRE(cancelling() == 0);
    REQUIRE(loop.armed_timers() == 0);
    co_await weft::yield();  // nothing strikes later
}

WEFT_TEST_CASE("the clean-up may await, and TimeoutError comes after it", "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint began = loop.time();
    auto body = []() -> Coro<void> {
        std::exception_ptr cancelled;
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            cancelled = std::current_exception();
        }
        co_await weft::sleep(5s);
        std::rethrow_exception(cancelled);
    };
    auto timed = [&] { return weft::timeout(1s, body); };
    const std::string end = co_await ending(timed);
    REQUIRE(end == "timeout");
    REQUIRE(loop.time() - began == 6s);
}

WEFT_TEST_CASE("an outer cancel in the turn of the deadline wins, and the scope says expired",
               "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    for (const bool cancel_first : {true, false}) {
        bool expired = false;
        auto body = [&](Timeout& timeout) -> Coro<void> {
            const probe::AtExit look([&] { expired = timeout.expired(); });
            co_await weft::sleep(1h);
        };
        auto scope = [&]() -> Coro<void> { co_await weft::timeout(1s, body); };
        auto task = weft::create_task(scope);
        CancelByTimer cancel(task);
        if (cancel_first) loop.arm(cancel, loop.read_clock() + 1'000'000'000);
        co_await weft::yield();
        if (!cancel_first) loop.arm(cancel, loop.read_clock() + 1'000'000'000);
        std::string message;
        try {
            co_await task;
        } catch (const CancelledError& error) {
            message = error.message();
        }
        REQUIRE(message == "from outside");
        REQUIRE(task.cancelled());
        REQUIRE(task.cancelling() == 1);
        REQUIRE(expired);
    }
}

namespace {

/// Three tasks with a deadline, and a callback behind it that cancels them. `passes` is called in
/// the turn that arms all of them. False: the machine stood still before, and the deadlines came
/// first.
template <class Passes>
Coro<bool> cancelled_behind_deadlines(weft::Duration limit, weft::Duration behind, Passes passes) {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint began = loop.time();
    std::string ends[3];
    auto timed = [&] { return weft::timeout(limit, takes, 1h, 1); };
    auto waits = [&] { return weft::wait_for(takes(1h, 1), limit); };
    auto moves_on = [&]() -> Coro<void> { co_await weft::move_on_after(limit, weft::sleep(1h)); };
    auto first = [&]() -> Coro<void> { ends[0] = co_await ending(timed); };
    auto second = [&]() -> Coro<void> { ends[1] = co_await ending(waits); };
    auto third = [&]() -> Coro<void> {
        co_await moves_on();
        co_await weft::yield();
        ends[2] = "moved on";
    };
    weft::Task<void> tasks[] = {weft::create_task(first), weft::create_task(second),
                                weft::create_task(third)};
    co_await weft::yield();
    const bool in_time = loop.time() - began < limit;
    auto cancel_all = [&] {
        for (auto& task : tasks) task.cancel();
    };
    weft::TimerHandle cancels = loop.call_at(loop.time() + limit + behind, cancel_all);
    passes();
    for (auto& task : tasks) co_await task.wait();
    cancels.cancel();
    if (!in_time) co_return false;
    REQUIRE(ends[0] == "cancelled");
    REQUIRE(ends[1] == "cancelled");
    REQUIRE(ends[2] == "");
    REQUIRE(tasks[2].cancelled());
    co_return true;
}

}  // namespace

WEFT_TEST_CASE("48: a callback that cancels at the deadline wins, although it was set later",
               "[timeout]") {
    auto nothing = [] {};
    const bool in_time = co_await cancelled_behind_deadlines(1s, 0s, nothing);
    REQUIRE(in_time);
}

TEST_CASE("48: a callback that cancels in the turn of the deadline wins, although it was due later",
          "[timeout]") {
    // Real time: the loop comes late and finds both due.
    auto comes_late = [] {
        const auto late = std::chrono::steady_clock::now() + 40ms;
        while (std::chrono::steady_clock::now() < late) {
        }
    };
    auto body = [&] { return cancelled_behind_deadlines(20ms, 5ms, comes_late); };
    while (!weft::run(body)) {
    }
}

WEFT_TEST_CASE("an outer cancel during the clean-up of an expired body wins", "[timeout]") {
    auto body = []() -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
        }
        co_await weft::sleep(1h);
    };
    auto scope = [&]() -> Coro<void> { co_await weft::timeout(1s, body); };
    auto task = weft::create_task(scope);
    co_await weft::sleep(2s);
    REQUIRE(task.cancelling() == 1);
    task.cancel();
    co_await task.wait();
    REQUIRE(task.cancelled());
    REQUIRE(task.cancelling() == 1);
}

WEFT_TEST_CASE("two nested scopes expired: the outer raises, both say expired", "[timeout]") {
    std::string between;
    bool inner_expired = false;
    bool outer_expired = false;
    auto body = [&](Timeout& inner) -> Coro<void> {
        const probe::AtExit look([&] { inner_expired = inner.expired(); });
        co_await weft::sleep(1h);
    };
    auto middle = [&](Timeout& outer) -> Coro<void> {
        const probe::AtExit look([&] { outer_expired = outer.expired(); });
        std::exception_ptr failure;
        try {
            co_await weft::timeout(1s, body);
        } catch (const TimeoutError&) {
            between = "timeout";
        } catch (const CancelledError&) {
            between = "cancelled";
            failure = std::current_exception();
        }
        if (failure) std::rethrow_exception(failure);
    };
    auto scope = [&] { return weft::timeout(1s, middle); };
    const std::string end = co_await ending(scope);
    REQUIRE(between == "cancelled");
    REQUIRE(inner_expired);
    REQUIRE(outer_expired);
    REQUIRE(end == "timeout");
    REQUIRE(cancelling() == 0);
    co_await weft::yield();
}

WEFT_TEST_CASE("an outer deadline that passes during the clean-up of an inner one wins",
               "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint began = loop.time();
    bool after_inner = false;
    auto body = []() -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
        }
        co_await weft::sleep(1h);
    };
    auto middle = [&]() -> Coro<void> {
        try {
            co_await weft::timeout(1s, body);
        } catch (const TimeoutError&) {
            after_inner = true;
        }
    };
    auto scope = [&] { return weft::timeout(3s, middle); };
    const std::string end = co_await ending(scope);
    REQUIRE(end == "timeout");
    REQUIRE_FALSE(after_inner);
    REQUIRE(loop.time() - began == 3s);
    REQUIRE(cancelling() == 0);
}

WEFT_TEST_CASE("other exceptions pass through unchanged, also after the expiry", "[timeout]") {
    auto fails = []() -> Coro<void> {
        throw std::runtime_error("as it was");
        co_return;
    };
    auto early = [&] { return weft::timeout(1s, fails); };
    const std::string before = co_await ending(early);
    REQUIRE(before == "as it was");
    auto fails_late = []() -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            throw std::runtime_error("clean-up failed");
        }
    };
    auto late = [&] { return weft::timeout(1s, fails_late); };
    const std::string after = co_await ending(late);
    REQUIRE(after == "clean-up failed");
    REQUIRE(cancelling() == 0);
}

WEFT_TEST_CASE("reschedule works until the expiry and is an error after it", "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint began = loop.time();
    std::string error;
    Timeout* kept = nullptr;
    auto body = [&](Timeout& timeout) -> Coro<void> {
        REQUIRE(timeout.when() == began + 1s);
        timeout.reschedule(began + 3s);
        co_await weft::sleep(2s);
        timeout.reschedule(std::nullopt);
        REQUIRE_FALSE(timeout.when());
        co_await weft::sleep(2s);
        timeout.reschedule(began + 5s);
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
        }
        error = probe::message_of<weft::RuntimeError>([&] { timeout.reschedule(began + 9s); });
        kept = &timeout;
    };
    auto scope = weft::timeout(1s, body);
    co_await scope;
    REQUIRE(loop.time() - began == 5s);
    REQUIRE(error == "weft: the Timeout has expired");
    error = probe::message_of<weft::RuntimeError>([&] { kept->reschedule(began + 9s); });
    REQUIRE(error == "weft: a Timeout is rescheduled inside of its body only");
    REQUIRE(loop.armed_timers() == 0);
}

WEFT_TEST_CASE("50: a deadline that lost against a result is moved like one that has not passed",
               "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    auto data = loop.create_future<int>();
    Timeout* inside = nullptr;
    int got = 0;
    std::string late;
    auto body = [&](Timeout& timeout) -> Coro<void> {
        inside = &timeout;
        got = co_await data;
        REQUIRE(timeout.expired());
        timeout.reschedule(loop.time() + 1s);
        REQUIRE_FALSE(timeout.expired());
        REQUIRE(weft::current_task().cancelling() == 0);
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            late = probe::message_of<weft::RuntimeError>(
                [&] { timeout.reschedule(loop.time() + 1s); });
            throw;
        }
    };
    loop.call_later(1s, [&] {
        data.set_result(7);
        inside->reschedule(loop.time());
    });
    const weft::TimePoint began = loop.time();
    auto scope = [&] { return weft::timeout(1h, body); };
    const std::string end = co_await ending(scope);
    REQUIRE(end == "timeout");
    REQUIRE(got == 7);
    REQUIRE(loop.time() - began == 2s);
    REQUIRE(late == "weft: the Timeout has expired");
    REQUIRE(weft::current_task().cancelling() == 0);
    REQUIRE(loop.armed_timers() == 0);
}

WEFT_TEST_CASE("50: moving a deadline that lost takes nobody else's cancel back", "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    auto data = loop.create_future<void>();
    Timeout* inside = nullptr;
    bool struck = false;
    auto body = [&](Timeout& timeout) -> Coro<void> {
        inside = &timeout;
        co_await data;
        timeout.reschedule(loop.time() + 1h);
        try {
            co_await weft::sleep(2h);
        } catch (const CancelledError&) {
            struck = true;
            throw;
        }
    };
    for (const bool cancel_first : {false, true}) {
        data = loop.create_future<void>();
        struck = false;
        auto scope = [&]() -> Coro<void> { co_await weft::timeout(1h, body); };
        auto task = weft::create_task(scope);
        loop.call_later(1s, [&] {
            data.set_result();
            if (cancel_first) task.cancel();
            inside->reschedule(loop.time());
            if (!cancel_first) task.cancel();
        });
        const weft::TimePoint began = loop.time();
        co_await task.wait();
        REQUIRE(struck);
        REQUIRE(task.cancelled());
        REQUIRE(loop.time() - began == 1s);
    }
}

WEFT_TEST_CASE("50: a deadline that somebody else has moved into the past has expired",
               "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    Timeout* inside = nullptr;
    std::string error;
    auto body = [&](Timeout& timeout) -> Coro<void> {
        inside = &timeout;
        co_await weft::sleep(1h);
    };
    loop.call_later(1s, [&] {
        inside->reschedule(loop.time() - 1s);
        error =
            probe::message_of<weft::RuntimeError>([&] { inside->reschedule(loop.time() + 1h); });
    });
    bool timed_out = false;
    try {
        co_await weft::timeout(2h, body);
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    REQUIRE(timed_out);
    REQUIRE(error == "weft: the Timeout has expired");
    REQUIRE(weft::current_task().cancelling() == 0);
    REQUIRE(loop.armed_timers() == 0);
}

WEFT_TEST_CASE("a body may set its deadline itself", "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    auto body = [&](Timeout& timeout) -> Coro<void> {
        REQUIRE_FALSE(timeout.when());
        co_await weft::sleep(1h);
        timeout.reschedule(loop.time() + 1s);
        co_await weft::sleep(1h);
    };
    auto scope = [&] { return weft::timeout(std::nullopt, body); };
    const std::string end = co_await ending(scope);
    REQUIRE(end == "timeout");
}

WEFT_TEST_CASE("a deadline in the past strikes at the first suspension", "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    for (int kind = 0; kind < 3; ++kind) {
        auto done = loop.create_future<void>();
        done.set_result();
        auto open = loop.create_future<void>();
        // Even what would be over in the same turn is not begun.
        loop.call_soon([&] {
            if (!open.done()) open.set_result();
        });
        std::string log;
        auto body = [&](Timeout& timeout) -> Coro<void> {
            log += 'a';
            co_await done;
            if (kind == 2) timeout.reschedule(loop.time() - 1h);
            log += 'b';
            co_await open;
            log += 'c';
        };
        std::string end;
        if (kind == 0) {
            auto scope = [&] { return weft::timeout_at(loop.time(), body); };
            end = co_await ending(scope);
        } else {
            auto scope = [&] { return weft::timeout(kind == 1 ? 0s : 1h, body); };
            end = co_await ending(scope);
        }
        CHECK(log == "ab");
        CHECK(end == "timeout");
        CHECK(open.cancelled());
        CHECK(cancelling() == 0);
    }
}

WEFT_TEST_CASE("without a suspension a deadline in the past is no timeout", "[timeout]") {
    bool expired = true;
    auto body = []() -> Coro<int> { co_return 3; };
    auto late = [](Timeout& timeout) -> Coro<int> {
        timeout.reschedule(weft::get_running_loop().time() - 1s);
        co_return 4;
    };
    auto saved = [&](Timeout& timeout) -> Coro<int> {
        timeout.reschedule(weft::get_running_loop().time() + 2s);
        expired = timeout.expired();
        co_return co_await takes(1s, 5);
    };
    const int three = co_await weft::timeout(-1s, body);
    const int four = co_await weft::timeout(1s, late);
    const int five = co_await weft::timeout(0s, saved);
    REQUIRE(three + four + five == 12);
    REQUIRE_FALSE(expired);
    REQUIRE(cancelling() == 0);
    co_await weft::sleep(1s);  // the request is gone
}

WEFT_TEST_CASE("51: without a suspension another task's cancel is no timeout", "[timeout]") {
    const auto cancelled = weft::create_task(takes(1s, 1));
    (void)cancelled.cancel("theirs");
    co_await cancelled.wait();
    std::string seen;
    try {
        (void)co_await weft::timeout(0s, [&]() -> Coro<int> { co_return co_await cancelled; });
    } catch (const CancelledError& error) {
        seen = error.message();
    } catch (const TimeoutError&) {
        seen = "timed out";
    }
    REQUIRE(seen == "theirs");
    const int left = cancelling();
    REQUIRE(left == 0);
}

WEFT_TEST_CASE("timeouts work after an earlier cancel and inside of clean-up code", "[timeout]") {
    std::string log;
    auto body = [&]() -> Coro<void> {
        std::exception_ptr cancelled;
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            cancelled = std::current_exception();
        }
        auto slow = [] { return weft::timeout(1s, takes, 1h, 1); };
        log += co_await ending(slow);
        auto quick = [] { return weft::timeout(1h, takes, 1s, 1); };
        log += ' ' + co_await ending(quick);
        log += ' ' + std::to_string(cancelling());
        std::rethrow_exception(cancelled);
    };
    auto task = weft::create_task(body);
    co_await weft::yield();
    task.cancel();
    co_await task.wait();
    REQUIRE(task.cancelled());
    REQUIRE(log == "timeout value 1");
}

WEFT_TEST_CASE("a cancel that was pending when the body began is not the deadline's", "[timeout]") {
    auto body = []() -> Coro<void> {
        weft::current_task().cancel();
        co_await weft::timeout(0s, takes, 1h, 1);
    };
    auto task = weft::create_task(body);
    co_await task.wait();
    REQUIRE(task.cancelled());
}

WEFT_TEST_CASE("a body that swallows the deadline's cancel gives its value", "[timeout]") {
    bool expired = false;
    auto body = [&](Timeout& timeout) -> Coro<int> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
        }
        co_await weft::sleep(1s);
        expired = timeout.expired();
        co_return 4;
    };
    const int value = co_await weft::timeout(1s, body);
    REQUIRE(value == 4);
    REQUIRE(expired);
    REQUIRE(cancelling() == 0);
}

WEFT_TEST_CASE("a body that swallows an outer cancel does not make its task immune to the next",
               "[timeout]") {
    auto body = []() -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
        }
    };
    std::string log;
    auto scope = [&]() -> Coro<void> {
        co_await weft::timeout(1h, body);
        log += 'a';
        co_await weft::sleep(1h);
    };
    auto task = weft::create_task(scope);
    co_await weft::yield();
    task.cancel();
    co_await support::turns(2);
    REQUIRE(log == "a");
    task.cancel();
    co_await task.wait();
    REQUIRE(task.cancelled());
}

WEFT_TEST_CASE("a result that won against the deadline is kept, and nothing strikes later",
               "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    auto future = loop.create_future<int>();
    SetByTimer setter(future);
    loop.arm(setter, loop.read_clock() + 1'000'000'000);  // before the deadline, at the same time
    bool expired = false;
    auto body = [&](Timeout& timeout) -> Coro<int> {
        const int value = co_await future;
        expired = timeout.expired();
        co_return value;
    };
    const int value = co_await weft::timeout(1s, body);
    REQUIRE(value == 6);
    REQUIRE(expired);
    REQUIRE(cancelling() == 0);
    co_await weft::sleep(1s);
}

WEFT_TEST_CASE("after a result that won, the deadline strikes at the next suspension",
               "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    auto future = loop.create_future<int>();
    SetByTimer setter(future);
    loop.arm(setter, loop.read_clock() + 1'000'000'000);
    int value = 0;
    auto body = [&]() -> Coro<void> {
        value = co_await future;
        co_await weft::yield();
        value = -1;
    };
    auto scope = [&] { return weft::timeout(1s, body); };
    const std::string end = co_await ending(scope);
    REQUIRE(end == "timeout");
    REQUIRE(value == 6);
}

WEFT_TEST_CASE("debug mode does not take a deadline's cancel for a swallowed one", "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    loop.set_debug(true);
    auto reports = probe::collect_reports(loop);
    auto body = []() -> Coro<void> {
        auto slow = [] { return weft::timeout(1s, takes, 1h, 1); };
        co_await ending(slow);
        // Asked to end when there is nothing more to await: it completed, it swallowed nothing.
        weft::current_task().cancel();
    };
    co_await weft::create_task(body);
    REQUIRE(reports->empty());
    auto swallows = []() -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
        }
        co_await weft::timeout(1h, takes, 1s, 1);
    };
    auto task = weft::create_task(swallows);
    co_await weft::yield();
    task.cancel();
    co_await task;
    REQUIRE(probe::count_with(reports, "swallowed") == 1);
}

WEFT_TEST_CASE("timeout keeps the callable and its arguments", "[timeout]") {
    int alive = 0;
    auto fn = [](std::unique_ptr<int> number, probe::Alive) -> Coro<int> {
        co_await weft::sleep(1s);
        co_return *number;
    };
    const int value = co_await weft::timeout(2s, fn, std::make_unique<int>(9), probe::Alive(alive));
    REQUIRE(value == 9);
    REQUIRE(alive == 0);
    struct Service {
        Coro<int> ask(int question) {
            co_await weft::sleep(1s);
            co_return question + offset;
        }
        int offset = 1;
    };
    Service service;
    const int answer = co_await weft::timeout(2s, &Service::ask, &service, 41);
    REQUIRE(answer == 42);
}

WEFT_TEST_CASE("2: a callback that is due before a deadline may still move it", "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint began = loop.time();
    Timeout* inside = nullptr;
    int moved = 0;
    // Due at the same time, and set before it.
    for (int second = 1; second <= 3; ++second) {
        loop.call_at(began + std::chrono::seconds(second), [&, second] {
            inside->reschedule(began + std::chrono::seconds(second + 1));
            ++moved;
        });
    }
    auto body = [&](Timeout& timeout) -> Coro<void> {
        inside = &timeout;
        co_await weft::sleep(1h);
    };
    auto scope = [&] { return weft::timeout_at(began + 1s, body); };
    const std::string end = co_await ending(scope);
    REQUIRE(end == "timeout");
    REQUIRE(moved == 3);
    REQUIRE(loop.time() - began == 4s);
}

WEFT_TEST_CASE("2: a callback that is due before a deadline may complete what it guards",
               "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    auto future = loop.create_future<int>();
    const weft::TimePoint when = loop.time() + 1s;
    std::string order;
    loop.call_at(when, [&] {
        order += 'c';
        future.set_result(7);
    });
    const auto sleeps = [&]() -> Coro<void> {
        co_await weft::sleep_until(when);
        order += 's';
    };
    auto sleeper = weft::create_task(sleeps);
    co_await weft::yield();
    int got = 0;
    const auto waits = [&]() -> Coro<void> {
        got = co_await weft::wait_for(future, when - loop.time());
        order += 'w';
    };
    co_await weft::create_task(waits);
    co_await sleeper;
    REQUIRE(got == 7);
    REQUIRE(order == "csw");
    REQUIRE(loop.armed_timers() == 0);
}

WEFT_TEST_CASE("2: callbacks and deadlines that are due at once alternate as they were set",
               "[timeout]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint when = loop.time() + 1s;
    std::string order;
    std::vector<weft::Task<void>> tasks;
    const auto waits = [&](char name) -> Coro<void> {
        loop.call_at(when, [&order, name] { order += name; });
        auto timed = [&] { return weft::timeout_at(when, [] { return takes(1h, 1); }); };
        const std::string end = co_await ending(timed);
        if (end == "timeout") order += static_cast<char>(name - 'a' + 'A');
    };
    for (char name = 'a'; name <= 'z'; ++name) tasks.push_back(weft::create_task(waits, name));
    // All in one turn; and one that sets another for now, again and again, keeps nobody waiting.
    int again = 0;
    std::function<void()> sets = [&] {
        if (++again < 1000) loop.call_later(0s, [&] { sets(); });
    };
    loop.call_at(when, [&] { sets(); });
    for (auto& task : tasks) co_await task;
    REQUIRE(loop.time() == when);
    const int times = std::exchange(again, 1000);
    co_await weft::sleep(1s);
    REQUIRE(times < 10);
    REQUIRE(order.size() == 52);
    for (char name = 'a'; name <= 'z'; ++name) {
        const auto capital = static_cast<char>(name - 'a' + 'A');
        REQUIRE(order.find(name) < order.find(capital));
    }
    REQUIRE(loop.armed_timers() == 0);
}

}  // namespace timeout_test
