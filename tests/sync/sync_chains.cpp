// SPDX-License-Identifier: MIT
// Hand-off chains of 100,000 tasks, and a million awaits that find a lock free, on a small stack.
// builds: -O0 -O2
#include <weft/sync/condition.hpp>
#include <weft/sync/event.hpp>
#include <weft/sync/lock.hpp>
#include <weft/sync/notify.hpp>
#include <weft/sync/once_cell.hpp>
#include <weft/sync/semaphore.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

#include <pthread.h>

#include <cstddef>
#include <exception>
#include <utility>
#include <vector>

#include "small_stack.hpp"

namespace sync_chains_test {

using weft::Coro;

using support::on_small_stack;

namespace {

constexpr std::size_t long_chain = 100'000;

/// `body` once in each of 100,000 tasks, while `start()` sets them going.
template <class Body, class Start>
Coro<void> many(Body& body, Start& start) {
    std::vector<weft::Task<void>> tasks;
    tasks.reserve(long_chain);
    for (std::size_t i = 0; i < long_chain; ++i) tasks.push_back(weft::create_task(body));
    co_await weft::yield();
    start();
    for (auto& task : tasks) co_await task;
}

}  // namespace

TEST_CASE("a lock goes through 100,000 tasks on a stack of 1 MiB", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        weft::Lock lock;
        std::size_t count = 0;
        auto body = [&]() -> Coro<void> {
            auto guard = co_await lock.scoped();
            ++count;
        };
        auto start = [&] { lock.release(); };
        co_await lock.acquire();
        co_await many(body, start);
        REQUIRE(count == long_chain);
    });
}

TEST_CASE("an event, a condition and a cell wake 100,000 tasks on a stack of 1 MiB", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        weft::Event event;
        weft::Condition condition;
        weft::OnceCell<int> cell;
        std::size_t count = 0;
        auto makes = [&]() -> Coro<int> {
            co_await event.wait();
            co_return 1;
        };
        auto body = [&]() -> Coro<void> {
            auto guard = co_await condition.scoped();
            co_await condition.wait();
            guard.release();
            const int one = co_await cell.get_or_init(makes);
            count += static_cast<std::size_t>(one);
        };
        auto start = [&] {
            REQUIRE(condition.try_acquire());
            condition.notify_all();
            condition.release();
            event.set();
        };
        co_await many(body, start);
        REQUIRE(count == long_chain);
    });
}

TEST_CASE("a million awaits that find a lock free use no stack", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        weft::Lock lock;
        weft::Semaphore semaphore;
        weft::Event event;
        event.set();
        for (int i = 0; i < 1'000'000; ++i) {
            auto guard = co_await lock.scoped();
            auto permit = co_await semaphore.scoped();
            co_await event.wait();
        }
        REQUIRE_FALSE(lock.locked());
    });
}

TEST_CASE("10,000 cancelled waiters leave in any order", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        weft::Lock lock;
        auto body = [&]() -> Coro<void> { co_await lock.acquire(); };
        co_await lock.acquire();
        std::vector<weft::Task<void>> tasks;
        for (std::size_t i = 0; i < long_chain / 10; ++i) tasks.push_back(weft::create_task(body));
        co_await weft::yield();
        for (std::size_t i = 0; i < tasks.size(); i += 2) tasks[i].cancel();
        for (std::size_t i = tasks.size() - 1; i < tasks.size(); i -= 2) tasks[i].cancel();
        REQUIRE(lock.statistics().waiters == 0);
        for (auto& task : tasks) co_await task.wait();
        lock.release();
        REQUIRE_FALSE(lock.locked());
    });
}

}  // namespace sync_chains_test
