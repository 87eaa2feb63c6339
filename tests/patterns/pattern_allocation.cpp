// SPDX-License-Identifier: MIT
// 70: pools, rate limiters and the like do not allocate to wait, to wake or to hand over either;
// nor does an await that goes round the ready queue.
// program: counting header-only
// sanitizers: no, frames are not recycled under them
#include <weft/patterns/pool.hpp>
#include <weft/patterns/rate_limiter.hpp>
#include <weft/patterns/worker_pool.hpp>
#include <weft/queue/queue.hpp>
#include <weft/sync/condition.hpp>
#include <weft/sync/lock.hpp>
#include <weft/sync/rw_lock.hpp>
#include <weft/sync/semaphore.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <new>
#include <utility>

#include "counted_new.hpp"

namespace pattern_allocation_test {

using namespace std::chrono_literals;
using weft::Coro;

namespace {

/// What ten more rounds allocate of three tasks that each await `use()` a few times.
template <class Use>
Coro<std::size_t> allocations_of_three(Use& use) {
    auto three_times = [&]() -> Coro<void> {
        for (int i = 0; i < 3; ++i) co_await use();
    };
    auto round = [&]() -> Coro<void> {
        const weft::Task<void> tasks[] = {weft::create_task(std::ref(three_times)),
                                          weft::create_task(std::ref(three_times)),
                                          weft::create_task(std::ref(three_times))};
        for (const auto& task : tasks) co_await task;
    };
    const std::size_t count = co_await allocations_of(round);
    co_return count;
}

}  // namespace

WEFT_TEST_CASE("70: a pool allocates nothing to lend, to wait, and to hand over", "[allocation]") {
    const auto make = []() -> Coro<int> { co_return 1; };
    weft::Pool<int> pool(make, weft::PoolOptions<int>(2));
    std::size_t most_waiting = 0;
    auto uses = [&]() -> Coro<void> {
        const auto lease = co_await pool.acquire();
        co_await weft::yield();
        if (pool.waiting() > most_waiting) most_waiting = pool.waiting();
    };
    std::size_t count = co_await allocations_of_three(uses);
    REQUIRE(count == 0);
    REQUIRE(most_waiting > 0);
    auto tries = [&]() -> Coro<void> {
        const auto lease = pool.try_acquire();
        REQUIRE(lease);
        co_return;
    };
    count = co_await allocations_of(tries);
    REQUIRE(count == 0);
    co_await pool.close();
}

WEFT_TEST_CASE("70: a rate limiter allocates nothing to wait and to serve", "[allocation]") {
    weft::RateLimiter limiter(1'000, 2);
    std::size_t most_waiting = 0;
    auto takes = [&]() -> Coro<void> {
        co_await limiter.acquire();
        if (limiter.waiting() > most_waiting) most_waiting = limiter.waiting();
    };
    const std::size_t count = co_await allocations_of_three(takes);
    REQUIRE(count == 0);
    REQUIRE(most_waiting > 0);
}

WEFT_TEST_CASE("70: a worker pool allocates nothing to submit, to wait and to hand over",
               "[allocation]") {
    auto work = [](int) -> Coro<void> { co_await weft::yield(); };
    std::size_t count = 1;
    auto body = [&](weft::WorkerPool<int>& pool) -> Coro<void> {
        auto submits = [&]() -> Coro<void> { co_await pool.submit(1); };
        count = co_await allocations_of_three(submits);
    };
    co_await weft::worker_pool<int>(2, work, body);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE(
    "70: a permit, a lock of own condition, or a reader's allocates nothing to hand over",
    "[allocation]") {
    weft::BoundedSemaphore permits(2);
    weft::Condition condition;
    weft::RwLock lock;
    auto uses = [&]() -> Coro<void> {
        {
            auto permit = co_await permits.scoped();
            co_await weft::yield();
            auto guard = co_await condition.scoped();
            co_await weft::yield();
            condition.notify_all();
        }
        auto guard = co_await lock.read();
        co_await weft::yield();
        guard.release();
        auto alone = co_await lock.write();
        co_await weft::yield();
    };
    const std::size_t count = co_await allocations_of_three(uses);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("70: an await that goes round allocates nothing", "[allocation]") {
    weft::Lock lock;
    weft::Queue<int> queue;
    queue.put_nowait(1);
    auto never_waits = [&]() -> Coro<void> {
        for (int i = 0; i < 1'000; ++i) {
            auto guard = co_await lock.scoped();
            const int item = co_await queue.get();
            co_await queue.put(item);
        }
    };
    const std::size_t count = co_await allocations_of_three(never_waits);
    REQUIRE(count == 0);
}

}  // namespace pattern_allocation_test
