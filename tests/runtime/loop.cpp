// SPDX-License-Identifier: MIT
// labels: smoke
// EventLoop: order, turns, timers, handles, what stop does, and how long a busy loop may starve
// others.
#include <weft/net/io.hpp>
#include <weft/runtime/loop.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <unistd.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "probe.hpp"

namespace loop_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::EventLoop;
using weft::Task;

namespace {

Coro<void> logs(std::string& log, char letter) {
    log += letter;
    co_return;
}

struct Pipe {
    Pipe() {
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        in = weft::Fd(ends[0]);
        out = weft::Fd(ends[1]);
    }
    weft::Fd in;
    weft::Fd out;
};

}  // namespace

// --- order ---

WEFT_TEST_CASE("callbacks and tasks share one queue, first in first out", "[loop]") {
    EventLoop& loop = weft::get_running_loop();
    std::string log;
    loop.call_soon([&] { log += 'a'; });
    auto b = weft::create_task(logs(log, 'b'));
    loop.call_soon([&] { log += 'c'; });
    auto d = weft::create_task(logs(log, 'd'));
    co_await weft::yield();
    REQUIRE(log == "abcd");
}

WEFT_TEST_CASE("tasks that yield take turns", "[loop]") {
    std::string log;
    auto body = [&](char letter) -> Coro<void> {
        for (int i = 0; i < 3; ++i) {
            log += letter;
            co_await weft::yield();
        }
    };
    auto a = weft::create_task(body, 'a');
    auto b = weft::create_task(body, 'b');
    co_await a;
    co_await b;
    REQUIRE(log == "ababab");
}

TEST_CASE("what is scheduled during a turn runs in the next one", "[loop]") {
    EventLoop loop(weft::testing::options());
    std::string log;
    loop.call_soon([&] {
        log += 'a';
        loop.call_soon([&] {
            log += 'b';
            loop.call_soon([&] { log += 'c'; });
        });
    });
    loop.run_once();
    REQUIRE(log == "a");
    loop.run_once();
    REQUIRE(log == "ab");
    loop.run_once();
    loop.run_once();
    REQUIRE(log == "abc");
}

TEST_CASE("a task's first step is not inside create_task", "[loop]") {
    EventLoop loop(weft::testing::options());
    std::string log;
    auto task = loop.create_task(logs(log, 'a'));
    REQUIRE(log.empty());
    loop.run_once();
    REQUIRE(log == "a");
}

// --- timers ---

WEFT_TEST_CASE("timers run in the order of their deadlines", "[loop]") {
    EventLoop& loop = weft::get_running_loop();
    std::string log;
    for (const int ms : {5, 1, 4, 2, 3, 9, 7, 8, 6}) {
        loop.call_later(std::chrono::milliseconds(ms), [&log, ms] { log += std::to_string(ms); });
    }
    co_await weft::sleep(1s);
    REQUIRE(log == "123456789");
}

WEFT_TEST_CASE("timers with one deadline run in the order in which they were made", "[loop]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint when = loop.time() + 1s;
    std::vector<int> order;
    std::vector<weft::TimerHandle> handles;
    for (int i = 0; i < 100; ++i) {
        handles.push_back(loop.call_at(when, [&order, i] { order.push_back(i); }));
    }
    for (std::size_t i = 0; i < handles.size(); i += 3) handles[i].cancel();
    co_await weft::sleep(2s);
    std::vector<int> expected;
    for (int i = 0; i < 100; ++i) {
        if (i % 3 != 0) expected.push_back(i);
    }
    REQUIRE(order == expected);
}

WEFT_TEST_CASE("delays of zero and below run in order, after what is ready", "[loop]") {
    EventLoop& loop = weft::get_running_loop();
    std::string log;
    loop.call_later(0s, [&] { log += 'c'; });
    loop.call_soon([&] { log += 'a'; });
    loop.call_later(0ms, [&] { log += 'd'; });
    loop.call_soon([&] { log += 'b'; });
    co_await weft::yield();
    REQUIRE(log == "ab");
    co_await weft::yield();
    REQUIRE(log == "abcd");
    loop.call_later(-1h, [&] { log += 'e'; });
    loop.call_later(-24h, [&] { log += 'f'; });
    loop.call_later(0s, [&] { log += 'g'; });
    co_await weft::yield();
    co_await weft::yield();
    REQUIRE(log == "abcdefg");
}

WEFT_TEST_CASE("a timer in the past runs in the next turn and not inside call_at", "[loop]") {
    EventLoop& loop = weft::get_running_loop();
    bool ran = false;
    loop.call_at(loop.time() - 1h, [&] { ran = true; });
    loop.call_at(weft::TimePoint(), [] {});
    loop.call_at(weft::TimePoint::min(), [] {});
    REQUIRE_FALSE(ran);
    co_await weft::yield();
    co_await weft::yield();
    REQUIRE(ran);
    REQUIRE(loop.armed_timers() == 0);
}

WEFT_TEST_CASE("a timer that is due runs after I/O that completed in the same turn", "[loop]") {
    EventLoop& loop = weft::get_running_loop();
    Pipe pipe;
    std::string log;
    auto reads = [&]() -> Coro<void> {
        char byte;
        co_await weft::io::read(pipe.in.get(), weft::MutableBuffer(&byte, 1));
        log += 'i';
    };
    auto reader = weft::create_task(reads);
    co_await weft::sleep(1ms);
    loop.call_soon([&] {
        loop.call_later(0s, [&] { log += 't'; });
        log += ::write(pipe.out.get(), "x", 1) == 1 ? "w" : "?";
    });
    co_await reader;
    co_await weft::yield();
    REQUIRE(log == "wit");
}

WEFT_TEST_CASE("a cancelled timer never runs", "[loop]") {
    EventLoop& loop = weft::get_running_loop();
    std::string log;
    auto early = loop.call_later(1s, [&] { log += 'a'; });
    weft::TimerHandle second = loop.call_later(2s, [&] { log += 'c'; });
    // The same turn makes both due; the first cancels the second, which is queued already.
    loop.call_at(second.when() - 1ns, [&] { log += 'b'; });
    auto third = loop.call_at(second.when(), [&] { second.cancel(); });
    early.cancel();
    auto fourth = loop.call_at(second.when(), [&] { log += 'd'; });
    auto canceller = loop.call_at(second.when() - 1ns, [&] { fourth.cancel(); });
    co_await weft::sleep(3s);
    REQUIRE(log == "bc");
}

WEFT_TEST_CASE("a callback can cancel a due timer later in the same turn", "[loop]") {
    EventLoop& loop = weft::get_running_loop();
    bool ran = false;
    weft::TimerHandle victim;
    const weft::TimePoint when = loop.time() + 1s;
    loop.call_at(when, [&] { victim.cancel(); });
    victim = loop.call_at(when, [&] { ran = true; });
    co_await weft::sleep(2s);
    REQUIRE_FALSE(ran);
    REQUIRE(victim.cancelled());
}

TEST_CASE("cancelled timers leave memory at once", "[loop]") {
    EventLoop loop(weft::testing::options());
    int alive = 0;
    const probe::Alive counted(alive);
    for (int i = 0; i < 100'000; ++i) {
        auto handle = loop.call_later(std::chrono::seconds(i + 1), [counted] {});
        handle.cancel();
    }
    REQUIRE(loop.armed_timers() == 0);
    REQUIRE(alive == 1);
}

WEFT_TEST_CASE("cancelling a sleep removes its timer", "[loop]") {
    EventLoop& loop = weft::get_running_loop();
    auto body = []() -> Coro<void> { co_await weft::sleep(24h); };
    auto task = weft::create_task(body);
    co_await weft::yield();
    REQUIRE(loop.armed_timers() == 1);
    task.cancel();
    REQUIRE(loop.armed_timers() == 0);
    co_await task.wait();
}

WEFT_TEST_CASE("a sleep with a result takes its time and then gives it", "[loop]") {
    const weft::TimePoint began = weft::get_running_loop().time();
    auto fetches = [](int number) -> weft::Coro<int> {
        co_return co_await weft::sleep(1s, number);
    };
    auto three = weft::create_task(fetches, 3);
    std::unique_ptr<int> owned = co_await weft::sleep(2s, std::make_unique<int>(4));
    REQUIRE(*owned == 4);
    REQUIRE(weft::get_running_loop().time() - began >= 2s);
    const int number = co_await three;
    REQUIRE(number == 3);
    const std::string text = co_await weft::sleep(0ms, "text");
    REQUIRE(text == "text");

    auto cancelled = weft::create_task(fetches, 5);
    co_await weft::yield();
    cancelled.cancel();
    co_await cancelled.wait();
    REQUIRE(cancelled.cancelled());
    REQUIRE(weft::get_running_loop().armed_timers() == 0);
}

TEST_CASE("a delay counts from now, also outside of a step", "[loop]") {
    EventLoop loop(weft::testing::options());
    int ran = 0;
    loop.call_soon([&] { loop.call_later(1h, [&] { ++ran; }); });
    loop.run_once();
    // The clock jumps by an hour; the callback is due and has not run.
    const auto never = loop.create_future<void>();
    loop.run_once(*never.core());
    REQUIRE(ran == 0);
    auto handle = loop.call_later(1h, [] {});
    REQUIRE(handle.when() >= loop.time() + 1h);
}

TEST_CASE("a short sleep enters the kernel a few times at most", "[loop]") {
    // Real time: to re-arm in a burst shortly before the deadline is what this is about.
    EventLoop loop;
    const int sleeps = 20;
    bool early = false;
    auto body = [&]() -> Coro<void> {
        for (int i = 0; i < sleeps; ++i) {
            const weft::TimePoint until = loop.time() + 300us;
            co_await weft::sleep(300us);
            early = early || loop.time() < until;
        }
    };
    const std::uint64_t before = loop.kernel_entries();
    loop.run_until_complete(body());
    REQUIRE_FALSE(early);
    REQUIRE(loop.kernel_entries() - before <= 4 * sleeps);
}

// --- handles ---

TEST_CASE("a cancelled handle destroys what its callback captured, now", "[loop]") {
    EventLoop loop(weft::testing::options());
    int alive = 0;
    bool ran = false;
    const probe::Alive counted(alive);
    auto soon = loop.call_soon([&ran, counted] { ran = true; });
    auto later = loop.call_later(1s, [&ran, counted] { ran = true; });
    REQUIRE(alive == 3);
    soon.cancel();
    later.cancel();
    REQUIRE(alive == 1);
    REQUIRE(soon.cancelled());
    REQUIRE(later.cancelled());
    soon.cancel();
    later.cancel();
    for (int i = 0; i < 3; ++i) loop.run_once();
    REQUIRE_FALSE(ran);
}

TEST_CASE("what a callback captured is destroyed once it has run, handle or not", "[loop]") {
    EventLoop loop(weft::testing::options());
    int alive = 0;
    const probe::Alive counted(alive);
    auto kept = loop.call_soon([counted] {});
    loop.call_soon([counted] {});
    loop.run_once();
    REQUIRE(alive == 1);
    kept.cancel();
    REQUIRE_FALSE(kept.cancelled());
}

TEST_CASE("a callback that cancels its own handle goes on", "[loop]") {
    EventLoop loop(weft::testing::options());
    weft::Handle own;
    std::string log;
    own = loop.call_soon([&own, &log, text = std::string(100, 'x')] {
        own.cancel();
        own = weft::Handle();
        log = text;
    });
    loop.run_once();
    REQUIRE(log == std::string(100, 'x'));
}

TEST_CASE("a handle may outlive its loop", "[loop]") {
    weft::Handle soon;
    weft::TimerHandle later;
    weft::Handle finished;
    int alive = 0;
    {
        auto loop = std::make_unique<EventLoop>(weft::testing::options());
        const probe::Alive counted(alive);
        finished = loop->call_soon([counted] {});
        loop->run_once();
        soon = loop->call_soon([counted] {});
        later = loop->call_later(1s, [counted] {});
        loop.reset();
    }
    REQUIRE(alive == 0);
    soon.cancel();
    later.cancel();
    finished.cancel();
}

TEST_CASE("a large or move-only callable is a callback like any other", "[loop]") {
    EventLoop loop(weft::testing::options());
    int sum = 0;
    struct Large {
        char padding[500] = {};
    };
    Large large;
    large.padding[499] = 2;
    loop.call_soon([&sum, large] { sum += large.padding[499]; });
    loop.call_soon([&sum, one = std::make_unique<int>(1)] { sum += *one; });
    loop.run_once();
    REQUIRE(sum == 3);
}

// --- stop ---

TEST_CASE("stop finishes the current turn and nothing else", "[loop]") {
    EventLoop loop(weft::testing::options());
    std::string log;
    loop.call_soon([&] {
        log += 'a';
        loop.stop();
        loop.call_soon([&] { log += 'c'; });
    });
    loop.call_soon([&] { log += 'b'; });
    loop.run_forever();
    REQUIRE(log == "ab");
    loop.stop();
    loop.run_forever();
    REQUIRE(log == "abc");
}

TEST_CASE("a loop stopped before it runs polls once without waiting", "[loop]") {
    EventLoop loop;
    std::string log;
    loop.call_soon([&] { log += 'a'; });
    loop.call_later(24h, [&] { log += 'x'; });
    loop.stop();
    loop.run_forever();
    REQUIRE(log == "a");
}

TEST_CASE("stop inside run_until_complete is an error and leaves the task alive", "[loop]") {
    EventLoop loop(weft::testing::options());
    auto body = [&]() -> Coro<int> {
        loop.stop();
        co_await weft::sleep(1s);
        co_return 3;
    };
    auto task = loop.create_task(body());
    const std::string text = probe::message_of<weft::RuntimeError>(
        [&] { (void)loop.run_until_complete(static_cast<weft::Future<int>&>(task)); });
    REQUIRE(text.find("stopped before the task 'Task-1' was done") != std::string::npos);
    REQUIRE_FALSE(task.done());
    const int value = loop.run_until_complete(static_cast<weft::Future<int>&>(task));
    REQUIRE(value == 3);
}

TEST_CASE("a stop in the turn in which the task ends is no error", "[loop]") {
    EventLoop loop(weft::testing::options());
    auto body = [&]() -> Coro<int> {
        loop.stop();
        co_return 3;
    };
    const int value = loop.run_until_complete(body());
    REQUIRE(value == 3);
    const int again = loop.run_until_complete(body());
    REQUIRE(again == 3);
}

}  // namespace loop_test
