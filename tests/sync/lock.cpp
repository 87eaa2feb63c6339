// SPDX-License-Identifier: MIT
// Lock: order, hand-off, guards, misuse, and a cancel at every moment.
#include <weft/sync/lock.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "probe.hpp"
#include "sync.hpp"

namespace lock_test {

using namespace std::chrono_literals;
using support::contains;
using support::end_of;
using support::some_turns;
using weft::CancelledError;
using weft::Coro;
using weft::Lock;

static_assert(!std::is_copy_constructible_v<Lock> && !std::is_move_constructible_v<Lock>);
static_assert(std::is_nothrow_move_constructible_v<Lock::Guard>);
static_assert(!std::is_copy_constructible_v<Lock::Guard>);
static_assert(sizeof(Lock) <= 48);

namespace {

Coro<void> takes_and_logs(Lock& lock, std::string& log, char name) {
    auto guard = co_await lock.scoped();
    log += name;
    co_await weft::yield();
}

Coro<void> takes_and_keeps(Lock& lock) { co_await lock.acquire(); }

}  // namespace

WEFT_TEST_CASE("63: a lock is handed over in the order of arrival, and nobody barges in",
               "[lock]") {
    Lock lock;
    std::string log;
    co_await lock.acquire();
    std::vector<weft::Task<void>> tasks;
    for (const char name : {'a', 'b', 'c'}) {
        tasks.push_back(weft::create_task(takes_and_logs, std::ref(lock), std::ref(log), name));
    }
    co_await weft::yield();
    REQUIRE(lock.statistics().waiters == 3);
    lock.release();
    // It is a's already, although a has not run.
    REQUIRE(lock.locked());
    REQUIRE_FALSE(lock.try_acquire());
    co_await takes_and_logs(lock, log, 'z');
    for (auto& task : tasks) co_await task;
    REQUIRE(log == "abcz");
    REQUIRE_FALSE(lock.locked());
}

WEFT_TEST_CASE("63: a task that releases and asks again waits behind those who waited", "[lock]") {
    Lock lock;
    std::string log;
    auto body = [&](char name) -> Coro<void> {
        for (int i = 0; i < 3; ++i) {
            auto guard = co_await lock.scoped();
            log += name;
            co_await weft::yield();
        }
    };
    auto a = weft::create_task(body, 'a');
    auto b = weft::create_task(body, 'b');
    co_await a;
    co_await b;
    REQUIRE(log == "ababab");
}

WEFT_TEST_CASE("64: a cancelled waiter is skipped", "[lock]") {
    Lock lock;
    std::string log;
    co_await lock.acquire();
    auto a = weft::create_task(takes_and_logs, std::ref(lock), std::ref(log), 'a');
    auto b = weft::create_task(takes_and_logs, std::ref(lock), std::ref(log), 'b');
    co_await weft::yield();
    a.cancel();
    lock.release();
    co_await b;
    REQUIRE(a.cancelled());
    REQUIRE(log == "b");
    REQUIRE_FALSE(lock.locked());
}

WEFT_TEST_CASE("64: granted and then cancelled: it holds the lock, and its guard passes it on",
               "[lock]") {
    Lock lock;
    std::string log;
    co_await lock.acquire();
    auto a = weft::create_task(takes_and_logs, std::ref(lock), std::ref(log), 'a');
    auto b = weft::create_task(takes_and_logs, std::ref(lock), std::ref(log), 'b');
    co_await weft::yield();
    lock.release();
    a.cancel();
    co_await b;
    // The cancel struck a at its yield, with the lock.
    REQUIRE(a.cancelled());
    REQUIRE(log == "ab");
    REQUIRE_FALSE(lock.locked());
}

WEFT_TEST_CASE("64: cancelled and then granted: exactly one acquires", "[lock]") {
    Lock lock;
    std::string log;
    co_await lock.acquire();
    auto a = weft::create_task(takes_and_logs, std::ref(lock), std::ref(log), 'a');
    auto b = weft::create_task(takes_and_logs, std::ref(lock), std::ref(log), 'b');
    auto c = weft::create_task(takes_and_logs, std::ref(lock), std::ref(log), 'c');
    co_await weft::yield();
    b.cancel();
    b.cancel();
    lock.release();
    a.cancel();
    REQUIRE(b.cancelling() == 2);
    co_await c;
    REQUIRE(log == "ac");
    REQUIRE(b.cancelled());
}

WEFT_TEST_CASE("28: a cancel that is pending strikes a lock that would wait, not one that is free",
               "[lock]") {
    Lock lock;
    std::string log;
    auto body = [&]() -> Coro<void> {
        weft::current_task().cancel();
        co_await lock.acquire();
        log += "got ";
        try {
            co_await lock.acquire();
        } catch (const CancelledError&) {
            log += "struck";
        }
        lock.release();
    };
    auto task = weft::create_task(body);
    co_await task;
    REQUIRE(log == "got struck");
    REQUIRE(lock.statistics().waiters == 0);
    REQUIRE_FALSE(lock.locked());
}

WEFT_TEST_CASE("28: a lock is acquired inside clean-up, and a second cancel strikes there",
               "[lock]") {
    Lock lock;
    std::string log;
    auto body = [&]() -> Coro<void> {
        bool cancelled = false;
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            cancelled = true;
        }
        if (cancelled) co_await takes_and_logs(lock, log, 'x');
    };
    co_await lock.acquire();
    auto one = weft::create_task(body);
    auto two = weft::create_task(body);
    co_await weft::yield();
    one.cancel();
    two.cancel();
    co_await some_turns(2);
    REQUIRE(lock.statistics().waiters == 2);
    two.cancel();
    lock.release();
    co_await one;
    co_await two.wait();
    REQUIRE(log == "x");
    REQUIRE(two.cancelled());
    REQUIRE_FALSE(lock.locked());
}

WEFT_TEST_CASE("65: releasing a lock that is not locked is an error", "[lock]") {
    Lock lock;
    const auto release = [&] { lock.release(); };
    REQUIRE(probe::message_of<weft::RuntimeError>(release) ==
            "Lock::release: the lock is not locked");
    REQUIRE(lock.try_acquire());
    lock.release();
    REQUIRE(probe::message_of<weft::RuntimeError>(release) != "");
    co_return;
}

WEFT_TEST_CASE("a guard moves, and releases once", "[lock]") {
    Lock lock;
    Lock other;
    {
        auto guard = co_await lock.scoped();
        Lock::Guard moved = std::move(guard);
        REQUIRE_FALSE(guard);
        guard.release();
        REQUIRE(moved);
        REQUIRE(lock.locked());
        moved = co_await other.scoped();
        REQUIRE_FALSE(lock.locked());
        REQUIRE(other.locked());
        moved.release();
        REQUIRE_FALSE(other.locked());
        REQUIRE(other.try_acquire());
    }
    REQUIRE(other.locked());
    other.release();
}

WEFT_TEST_CASE("a guard whose lock somebody else released says so and does not throw", "[lock]") {
    const probe::Reports reports = probe::collect_reports(weft::get_running_loop());
    Lock lock;
    {
        auto guard = co_await lock.scoped();
        lock.release();
    }
    REQUIRE(probe::count_with(reports, "a guard could not release") == 1);
    REQUIRE(probe::count_with(reports, "the lock is not locked") == 1);
}

WEFT_TEST_CASE("another task than the holder may release", "[lock]") {
    Lock lock;
    co_await lock.acquire();
    auto release = [&]() -> Coro<void> {
        lock.release();
        co_return;
    };
    auto task = weft::create_task(release);
    co_await lock.acquire();
    REQUIRE(task.done());
    lock.release();
}

WEFT_TEST_CASE("statistics and the dump name the holder in debug mode", "[lock]") {
    weft::EventLoop& loop = weft::get_running_loop();
    Lock lock;
    co_await lock.acquire();
    REQUIRE_FALSE(lock.statistics().owner);
    lock.release();
    loop.set_debug(true);
    auto holder =
        weft::create_task(takes_and_keeps, std::ref(lock), weft::TaskOptions("the holder"));
    auto next = weft::create_task(takes_and_keeps, std::ref(lock), weft::TaskOptions("the next"));
    co_await some_turns(2);
    // Also after the holder has ended.
    REQUIRE(lock.statistics().owner == holder);
    REQUIRE(lock.statistics().locked);
    REQUIRE(lock.statistics().waiters == 1);
    REQUIRE(contains(loop.dump(), "the next: waits on lock the holder"));
    lock.release();
    REQUIRE(lock.statistics().owner == next);
    co_await next;
    lock.release();
    REQUIRE_FALSE(lock.statistics().owner);
    loop.set_debug(false);
}

WEFT_TEST_CASE("a lock that was acquired in debug mode is released outside of it", "[lock]") {
    weft::EventLoop& loop = weft::get_running_loop();
    Lock lock;
    for (const bool debug : {true, false}) {
        loop.set_debug(debug);
        co_await lock.acquire();
        auto next = weft::create_task(takes_and_keeps, std::ref(lock));
        co_await weft::yield();
        loop.set_debug(!debug);
        lock.release();
        co_await next;
        REQUIRE(lock.locked());
        loop.set_debug(debug);
        lock.release();
        REQUIRE_FALSE(lock.locked());
    }
    loop.set_debug(false);
}

}  // namespace lock_test
