// SPDX-License-Identifier: MIT
// How long something that is always ready may keep others waiting, as a number of turns.
#include <weft/deadline/wait_for.hpp>
#include <weft/net/io.hpp>
#include <weft/runtime/loop.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <utility>

#include "probe.hpp"

namespace loop_fairness_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::EventLoop;
using weft::Fd;
using weft::MutableBuffer;

namespace {

// A step gets this many operations that complete at once, then it waits for its next turn.
constexpr int most_operations_per_step = 65;

std::pair<Fd, Fd> socket_pair() {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    return {Fd(ends[0]), Fd(ends[1])};
}

/// Yields until `*over`, counting the turns it got.
Coro<void> spins(const bool& over, int& turns) {
    while (!over) {
        ++turns;
        co_await weft::yield();
    }
}

}  // namespace

TEST_CASE("two tasks that are always ready delay a due timer by one turn", "[loop]") {
    // Real time, since virtual time stands still while something is ready.
    weft::run([]() -> Coro<void> {
        EventLoop& loop = weft::get_running_loop();
        bool over = false;
        int turns = 0;
        auto other = weft::create_task(spins, std::cref(over), std::ref(turns));
        auto timer = loop.call_later(200us, [&over] { over = true; });
        // (The turn that sets a deadline looks with the reading that it was made of.)
        co_await weft::yield();
        int overdue = 0;
        while (!over) {
            overdue += loop.time() >= timer.when() ? 1 : 0;
            co_await weft::yield();
        }
        co_await other;
        REQUIRE(overdue <= 2);
    });
}

TEST_CASE("deadlines that are set in every turn delay a due timer by two turns", "[loop]") {
    // (The turn's due timers are found with the reading that such a deadline was made of.)
    weft::run([]() -> Coro<void> {
        EventLoop& loop = weft::get_running_loop();
        bool over = false;
        auto timer = loop.call_later(200us, [&over] { over = true; });
        int overdue = 0;
        while (!over) {
            overdue += loop.time() >= timer.when() ? 1 : 0;
            auto step = []() -> Coro<void> { co_await weft::yield(); };
            co_await weft::wait_for(step(), 1h);
        }
        REQUIRE(overdue <= 3);
    });
}

TEST_CASE("two tasks that are always ready delay I/O by a few turns", "[loop]") {
    weft::run([]() -> Coro<void> {
        auto ends = socket_pair();
        bool over = false;
        int turns = 0;
        auto reads = [&]() -> Coro<void> {
            char byte;
            co_await weft::io::recv(ends.first.get(), MutableBuffer(&byte, 1));
            over = true;
        };
        auto reader = weft::create_task(reads);
        for (int i = 0; i < 10; ++i) co_await weft::yield();
        auto one = weft::create_task(spins, std::cref(over), std::ref(turns));
        int unused = 0;
        auto two = weft::create_task(spins, std::cref(over), std::ref(unused));
        co_await weft::yield();
        REQUIRE_FALSE(over);
        turns = 0;
        const bool sent = ::send(ends.second.get(), "x", 1, 0) == 1;
        co_await reader;
        co_await one;
        co_await two;
        REQUIRE(sent);
        REQUIRE(turns <= 4);
    });
}

TEST_CASE("two tasks that are always ready do not keep posts from other threads out", "[loop]") {
    weft::run([]() -> Coro<void> {
        EventLoop& loop = weft::get_running_loop();
        bool over = false;
        int turns = 0;
        auto other = weft::create_task(spins, std::cref(over), std::ref(turns));
        co_await weft::yield();
        turns = 0;
        loop.call_soon_threadsafe([&over] { over = true; });
        co_await other;
        REQUIRE(turns <= 2);
    });
}

WEFT_TEST_CASE("a socket that always has data lets everybody else run", "[loop]") {
    auto ends = socket_pair();
    bool over = false;
    int turns = 0;
    const int messages = 20'000;
    auto other = weft::create_task(spins, std::cref(over), std::ref(turns));
    bool sent = true;
    for (int i = 0; i < messages && sent; ++i) {
        char byte = 'x';
        sent = ::send(ends.second.get(), &byte, 1, MSG_DONTWAIT) == 1;
        co_await weft::io::recv(ends.first.get(), MutableBuffer(&byte, 1));
    }
    over = true;
    co_await other;
    REQUIRE(sent);
    REQUIRE(turns >= messages / most_operations_per_step);
}

WEFT_TEST_CASE("an eager child does not give its parent a fresh budget", "[loop]") {
    auto ends = socket_pair();
    bool over = false;
    int turns = 0;
    const int messages = 20'000;
    auto other = weft::create_task(spins, std::cref(over), std::ref(turns));
    auto nothing = []() -> Coro<void> { co_return; };
    bool sent = true;
    for (int i = 0; i < messages && sent; ++i) {
        char byte = 'x';
        sent = ::send(ends.second.get(), &byte, 1, MSG_DONTWAIT) == 1;
        auto child = weft::create_task(nothing, weft::TaskOptions("", true));
        co_await weft::io::recv(ends.first.get(), MutableBuffer(&byte, 1));
    }
    over = true;
    co_await other;
    REQUIRE(sent);
    REQUIRE(turns >= messages / most_operations_per_step);
}

WEFT_TEST_CASE("callbacks that schedule themselves do not starve a sleeping task's wake-up",
               "[loop]") {
    EventLoop& loop = weft::get_running_loop();
    int runs = 0;
    struct Again {
        EventLoop* loop;
        int* runs;
        void operator()() const {
            if (++*runs < 1000) loop->call_soon(*this);
        }
    };
    loop.call_soon(Again{&loop, &runs});
    co_await weft::sleep(0s);
    REQUIRE(runs == 1);
    co_await weft::sleep(1ms);
    REQUIRE(runs == 1000);
}

TEST_CASE("of what is due in one turn callbacks go first, each kind in the order of its deadlines",
          "[loop]") {
    std::string order;
    auto sleeps = [&](weft::Duration delay, char name) -> Coro<void> {
        co_await weft::sleep(delay);
        order += name;
    };
    auto body = [&](bool something_is_ready, bool is_real) -> Coro<bool> {
        EventLoop& loop = weft::get_running_loop();
        order.clear();
        const weft::TimePoint began = loop.time();
        auto early = weft::create_task(sleeps, 5ms, 'p');
        auto late = weft::create_task(sleeps, 25ms, 'q');
        co_await weft::yield();
        auto notes = [&](char name) { return [&order, name] { order += name; }; };
        weft::TimerHandle timers[] = {
            loop.call_later(30ms, notes('c')), loop.call_later(10ms, notes('a')),
            loop.call_later(20ms, notes('b')), loop.call_later(15ms, notes('-'))};
        timers[3].cancel();
        if (something_is_ready) loop.call_soon(notes('!'));
        // (A machine that stood still until here may have woken the first one.)
        const bool in_time = loop.time() - began < 4ms;
        // The step that sets the timers lasts longer than each of them.
        weft::testing::pass_time(40ms);
        const auto over = std::chrono::steady_clock::now() + 40ms;
        while (is_real && std::chrono::steady_clock::now() < over) {
        }
        co_await early;
        co_await late;
        if (in_time) CHECK(order == (something_is_ready ? "!abcpq" : "abcpq"));
        co_return in_time;
    };
    for (const bool something_is_ready : {true, false}) {
        CHECK(weft::testing::run([&] { return body(something_is_ready, false); }));
        while (!weft::run([&] { return body(something_is_ready, true); })) {
        }
    }
}

}  // namespace loop_fairness_test
