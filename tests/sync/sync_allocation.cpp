// SPDX-License-Identifier: MIT
// 70: no primitive allocates to wait, to wake or to hand off; and what awaiters weigh.
// program: counting header-only
// sanitizers: no, frames are not recycled under them
#include <weft/sync/barrier.hpp>
#include <weft/sync/capacity_limiter.hpp>
#include <weft/sync/condition.hpp>
#include <weft/sync/event.hpp>
#include <weft/sync/latch.hpp>
#include <weft/sync/lock.hpp>
#include <weft/sync/notify.hpp>
#include <weft/sync/once_cell.hpp>
#include <weft/sync/rw_lock.hpp>
#include <weft/sync/semaphore.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

#include <cstddef>
#include <cstdlib>
#include <functional>
#include <new>
#include <optional>
#include <utility>

#include "counted_new.hpp"

namespace sync_allocation_test {

using weft::Coro;

static_assert(sizeof(std::declval<weft::Lock&>().acquire()) <= 96);
static_assert(sizeof(std::declval<weft::Lock&>().scoped()) <= 96);
static_assert(sizeof(std::declval<weft::Semaphore&>().acquire()) <= 80);
static_assert(sizeof(std::declval<weft::Event&>().wait()) <= 40);
static_assert(sizeof(std::declval<weft::Notify&>().notified()) <= 80);
static_assert(sizeof(std::declval<weft::Latch&>().wait()) <= 56);
static_assert(sizeof(std::declval<weft::Condition&>().wait()) <= 112);
static_assert(sizeof(weft::Lock) <= 48);
static_assert(sizeof(weft::Semaphore) <= 40);
static_assert(sizeof(weft::Event) <= 32);
static_assert(sizeof(weft::Lock::Guard) == sizeof(void*));
static_assert(sizeof(weft::RwLock::ReadGuard) == sizeof(void*));

namespace {

constexpr int rounds = 40;

struct Everything {
    weft::Lock lock;
    weft::Semaphore semaphore{1};
    weft::Event event;
    weft::Condition condition{lock};
    weft::Barrier barrier{3};
    weft::RwLock rw_lock;
    weft::CapacityLimiter limiter{1};
    weft::Notify notify;
    std::optional<weft::Latch> latch;
    std::optional<weft::OnceCell<int>> cell;
    std::size_t counted_rounds[rounds] = {};
};

Coro<int> makes() {
    co_await weft::yield();
    co_return 1;
}

Coro<void> worker(Everything& all, int id) {
    auto is_open = [&all] { return all.latch->try_wait(); };
    for (int round = 0; round < rounds; ++round) {
        if (id == 0) {
            all.latch.emplace(3);
            all.cell.emplace();
            all.counted_rounds[round] = allocations;
        }
        co_await all.barrier.wait();
        for (int i = 0; i < 2; ++i) {
            auto guard = co_await all.lock.scoped();
            co_await weft::yield();
        }
        {
            auto permit = co_await all.semaphore.scoped();
            co_await weft::yield();
        }
        if (id == 0) {
            auto guard = co_await all.rw_lock.write();
            co_await weft::yield();
        } else {
            auto guard = co_await all.rw_lock.read();
            co_await weft::yield();
        }
        {
            auto token = co_await all.limiter.scoped();
            co_await weft::yield();
        }
        co_await all.cell->get_or_init(makes);
        if (id == 0) {
            for (int turn = 0; turn < 5; ++turn) co_await weft::yield();
            all.event.set();
            all.event.clear();
            for (int turn = 0; turn < 2; ++turn) co_await weft::yield();
            all.notify.notify_waiters();
        } else {
            co_await all.event.wait();
            co_await all.notify.notified();
        }
        if (id == 2) {
            co_await all.latch->arrive_and_wait();
            auto guard = co_await all.condition.scoped();
            all.condition.notify_all();
        } else {
            all.latch->count_down();
            auto guard = co_await all.condition.scoped();
            (void)co_await all.condition.wait_for(is_open);
        }
        co_await all.barrier.wait();
    }
}

}  // namespace

WEFT_TEST_CASE("70: waiting, waking and handing off allocate nothing, in any primitive",
               "[allocation]") {
    Everything all;
    weft::Task<void> tasks[3];
    for (int id = 0; id < 3; ++id) tasks[id] = weft::create_task(worker, std::ref(all), id);
    for (auto& task : tasks) co_await task;
    REQUIRE(all.counted_rounds[rounds - 1] == all.counted_rounds[rounds / 2]);
    REQUIRE(all.counted_rounds[1] > 0);
}

WEFT_TEST_CASE("70: asking a waiting task to end allocates nothing", "[allocation]") {
    Everything all;
    weft::Event never;
    REQUIRE(all.lock.try_acquire());
    auto on_lock = [&]() -> Coro<void> { co_await all.lock.acquire(); };
    auto on_event = [&]() -> Coro<void> { co_await never.wait(); };
    auto on_notify = [&]() -> Coro<void> { co_await all.notify.notified(); };
    auto on_barrier = [&]() -> Coro<void> { co_await all.barrier.wait(); };
    for (int i = 0; i < 20; ++i) {
        weft::Task<void> tasks[] = {weft::create_task(on_lock), weft::create_task(on_event),
                                    weft::create_task(on_notify), weft::create_task(on_barrier)};
        co_await weft::yield();
        const std::size_t before = allocations;
        for (auto& task : tasks) task.cancel();
        const std::size_t count = allocations - before;
        for (auto& task : tasks) co_await task.wait();
        if (i > 10) REQUIRE(count == 0);
    }
}

}  // namespace sync_allocation_test
