// SPDX-License-Identifier: MIT
// RwLock: readers together, writers alone, nobody starved, and a cancel at every moment.
#include <weft/sync/rw_lock.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "probe.hpp"
#include "sync.hpp"

namespace rw_lock_test {

using support::some_turns;
using weft::Coro;
using weft::RwLock;

namespace {

/// A small letter reads, a capital writes; each logs itself when it has the lock.
Coro<void> uses(RwLock& lock, std::string& log, char name) {
    if (name >= 'a') {
        auto guard = co_await lock.read();
        log += name;
        co_await weft::yield();
    } else {
        auto guard = co_await lock.write();
        log += name;
        co_await weft::yield();
    }
}

std::vector<weft::Task<void>> users(RwLock& lock, std::string& log, const std::string& names) {
    std::vector<weft::Task<void>> tasks;
    for (const char name : names) {
        tasks.push_back(weft::create_task(uses, std::ref(lock), std::ref(log), name));
    }
    return tasks;
}

Coro<void> all(std::vector<weft::Task<void>>& tasks) {
    for (auto& task : tasks) co_await task.wait();
}

}  // namespace

WEFT_TEST_CASE("readers have it together, a writer alone", "[rw_lock]") {
    RwLock lock;
    {
        auto one = co_await lock.read();
        auto two = co_await lock.read();
        REQUIRE(lock.readers() == 2);
        REQUIRE_FALSE(lock.try_acquire_write());
        REQUIRE(lock.try_acquire_read());
        lock.release_read();
    }
    REQUIRE_FALSE(lock.locked());
    auto writer = co_await lock.write();
    REQUIRE(lock.written());
    REQUIRE_FALSE(lock.try_acquire_read());
    REQUIRE_FALSE(lock.try_acquire_write());
    auto moved = std::move(writer);
    writer.release();
    REQUIRE(lock.locked());
    moved.release();
    REQUIRE_FALSE(lock.locked());
}

WEFT_TEST_CASE("a reader that comes after a waiting writer waits behind it", "[rw_lock]") {
    RwLock lock;
    std::string log;
    auto reader = co_await lock.read();
    auto tasks = users(lock, log, "AbcDe");
    co_await weft::yield();
    REQUIRE_FALSE(lock.try_acquire_read());
    REQUIRE(lock.statistics().waiters == 5);
    reader.release();
    REQUIRE(lock.written());
    co_await some_turns(1);
    REQUIRE(log == "A");
    co_await some_turns(2);
    REQUIRE(log == "Abc");  // together
    co_await all(tasks);
    REQUIRE(log == "AbcDe");
    REQUIRE_FALSE(lock.locked());
}

WEFT_TEST_CASE("a writer that is cancelled lets the readers behind it go on", "[rw_lock]") {
    RwLock lock;
    std::string log;
    auto reader = co_await lock.read();
    auto tasks = users(lock, log, "Abc");
    co_await weft::yield();
    tasks[0].cancel();
    co_await all(tasks);
    REQUIRE(tasks[0].cancelled());
    REQUIRE(log == "bc");
    REQUIRE(lock.readers() == 1);
}

WEFT_TEST_CASE("64: granted and then cancelled: reader and writer hold it and pass it on",
               "[rw_lock]") {
    RwLock lock;
    std::string log;
    auto writer = co_await lock.write();
    auto tasks = users(lock, log, "abCD");
    co_await weft::yield();
    writer.release();
    REQUIRE(lock.readers() == 2);
    tasks[0].cancel();
    tasks[3].cancel();
    co_await all(tasks);
    REQUIRE(log == "abC");
    REQUIRE_FALSE(lock.locked());
    REQUIRE(lock.statistics().waiters == 0);
}

WEFT_TEST_CASE("28: a pending cancel strikes a wait, and not a free lock", "[rw_lock]") {
    RwLock lock;
    bool got = false;
    auto body = [&]() -> Coro<void> {
        weft::current_task().cancel();
        auto guard = co_await lock.read();
        got = true;
        auto never = co_await lock.write();
    };
    auto task = weft::create_task(body);
    co_await task.wait();
    REQUIRE(got);
    REQUIRE(task.cancelled());
    REQUIRE_FALSE(lock.locked());
}

WEFT_TEST_CASE("65: releasing what is not held is an error", "[rw_lock]") {
    RwLock lock;
    REQUIRE(probe::message_of<weft::RuntimeError>([&] { lock.release_read(); }) ==
            "RwLock::release_read: it is not locked for reading");
    REQUIRE(probe::message_of<weft::RuntimeError>([&] { lock.release_write(); }) ==
            "RwLock::release_write: it is not locked for writing");
    REQUIRE(lock.try_acquire_write());
    REQUIRE_THROWS_AS(lock.release_read(), weft::RuntimeError);
    lock.release_write();
    REQUIRE(lock.try_acquire_read());
    REQUIRE_THROWS_AS(lock.release_write(), weft::RuntimeError);
    lock.release_read();
    co_return;
}

WEFT_TEST_CASE("debug mode knows the writer", "[rw_lock]") {
    weft::EventLoop& loop = weft::get_running_loop();
    RwLock lock;
    std::string log;
    loop.set_debug(true);
    auto guard = co_await lock.write();
    auto tasks = users(lock, log, "Ab");
    co_await weft::yield();
    REQUIRE(lock.statistics().owner == weft::current_task());
    REQUIRE(support::contains(loop.dump(), "waits on lock for writing main"));
    guard.release();
    REQUIRE(lock.statistics().owner == tasks[0]);
    co_await all(tasks);
    REQUIRE_FALSE(lock.statistics().owner);
    loop.set_debug(false);
}

}  // namespace rw_lock_test
