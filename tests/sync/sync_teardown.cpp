// SPDX-License-Identifier: MIT
// A loop that is destroyed with tasks in every state of waiting, after every number of turns; and
// frames that are destroyed while they wait, or between a grant and their resumption.
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
#include <weft/testing/step_kill.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "probe.hpp"
#include "sync.hpp"

namespace sync_teardown_test {

using namespace std::chrono_literals;
using support::some_turns;
using weft::CancelledError;
using weft::Coro;

namespace {

/// Shared by the tasks, so that it lives as long as the last of them.
struct Everything {
    weft::Lock lock;
    weft::Semaphore semaphore{2};
    weft::Event event;
    weft::Condition condition{lock};
    weft::Barrier barrier{3};
    weft::RwLock rw_lock;
    weft::CapacityLimiter limiter{1};
    weft::Notify notify;
    weft::Latch latch{3};
    weft::OnceCell<int> cell;
    bool news = false;
};
using Shared = std::shared_ptr<Everything>;

Coro<int> makes(int value) {
    co_await weft::sleep(1s);
    co_return value;
}

Coro<void> worker(Shared of, int id) {
    Everything& all = *of;
    for (int i = 0; i < 2; ++i) {
        auto guard = co_await all.lock.scoped();
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
    co_await all.barrier.wait();
    co_await all.latch.arrive_and_wait();
    co_await all.cell.get_or_init(makes, id);
    if (id == 0) {
        co_await some_turns(2);
        all.notify.notify_waiters();
        all.event.set();
        auto guard = co_await all.condition.scoped();
        all.news = true;
        all.condition.notify_all();
        co_await weft::yield();
    } else {
        co_await all.notify.notified();
        co_await all.event.wait();
        auto guard = co_await all.condition.scoped();
        while (!all.news) co_await all.condition.wait();
    }
    co_await all.barrier.wait();
}

Coro<void> whole_day(Shared all) {
    std::vector<weft::Task<void>> tasks;
    for (int id = 0; id < 3; ++id) tasks.push_back(weft::create_task(worker, all, id));
    for (auto& task : tasks) co_await task;
}

bool idle(Everything& all) {
    return !all.lock.locked() && all.semaphore.statistics().available == 2 &&
           !all.rw_lock.locked() && all.limiter.borrowed_tokens() == 0 &&
           all.barrier.n_waiting() == 0 && !all.cell.statistics().initialising;
}

/// Waits for what `wait()` gives until it has had it once, whatever is asked of it: at the end of
/// the loop its frame is destroyed where it stands.
template <class Wait>
Coro<void> insists(Wait wait) {
    for (bool had = false; !had;) {
        try {
            co_await wait();
            had = true;
        } catch (const CancelledError&) {
        }
    }
    for (;;) {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
        }
    }
}

/// Three such tasks at the end of a loop. `before_the_end()` may grant.
template <class Wait, class Act>
void destroyed_where_they_stand(Wait wait, Act before_the_end) {
    weft::EventLoop loop(weft::testing::options());
    const probe::Reports reports = probe::collect_reports(loop);
    for (int i = 0; i < 3; ++i) (void)loop.create_task(insists(wait));
    loop.run_once();
    before_the_end();
    loop.close();
    REQUIRE(probe::count_with(reports, "refused to end") == 3);
}

}  // namespace

TEST_CASE("a loop is destroyed after any number of turns, and everything is given back",
          "[teardown]") {
    Shared all;
    std::size_t killed = 0;
    const std::size_t turns = weft::testing::at_every_step(
        [&] {
            all = std::make_shared<Everything>();
            return whole_day(all);
        },
        [&](weft::EventLoop& loop, weft::Task<void>&) {
            ++killed;
            loop.close();
            REQUIRE(idle(*all));
        });
    REQUIRE(turns > 20);
    REQUIRE(killed == turns);
    REQUIRE(idle(*all));
}

TEST_CASE("the same in debug mode", "[teardown]") {
    weft::RunOptions options;
    options.debug = true;
    const std::size_t turns = weft::testing::kill_at_every_step(
        [] { return whole_day(std::make_shared<Everything>()); }, 10'000, options);
    REQUIRE(turns > 20);
}

TEST_CASE("64: frames that are destroyed between grant and resumption pass the grant on",
          "[teardown]") {
    Everything all;
    // With the grant made before the end: the first frame was granted and never runs again.
    SECTION("lock") {
        REQUIRE(all.lock.try_acquire());
        // A guard inside the frame, so that one that did run gives back as well.
        auto wait = [&]() -> Coro<void> {
            auto guard = co_await all.lock.scoped();
            for (;;) {
                try {
                    co_await weft::sleep(1h);
                } catch (const CancelledError&) {
                }
            }
        };
        destroyed_where_they_stand(wait, [] {});
        REQUIRE(all.lock.locked());
        all.lock.release();
        REQUIRE_FALSE(all.lock.locked());
        REQUIRE(all.lock.try_acquire());
        destroyed_where_they_stand(wait, [&] { all.lock.release(); });
        REQUIRE_FALSE(all.lock.locked());
    }
    SECTION("semaphore") {
        weft::Semaphore none(0);
        auto wait = [&]() -> Coro<void> {
            auto permit = co_await none.scoped();
            for (;;) {
                try {
                    co_await weft::sleep(1h);
                } catch (const CancelledError&) {
                }
            }
        };
        destroyed_where_they_stand(wait, [&] { none.release(); });
        REQUIRE(none.statistics().available == 1);
        REQUIRE(none.statistics().waiters == 0);
    }
    SECTION("capacity limiter") {
        auto wait = [&]() -> Coro<void> {
            auto token = co_await all.limiter.scoped();
            for (;;) {
                try {
                    co_await weft::sleep(1h);
                } catch (const CancelledError&) {
                }
            }
        };
        destroyed_where_they_stand(wait, [] {});
        REQUIRE(all.limiter.borrowed_tokens() == 0);
        REQUIRE(all.limiter.statistics().waiters == 0);
    }
    SECTION("condition") {
        auto wait = [&]() -> Coro<void> {
            auto guard = co_await all.condition.scoped();
            try {
                co_await all.condition.wait();
            } catch (const CancelledError&) {
            }
            for (;;) {
                try {
                    co_await weft::sleep(1h);
                } catch (const CancelledError&) {
                }
            }
        };
        destroyed_where_they_stand(wait, [&] {
            REQUIRE(all.condition.statistics().waiters == 3);
            REQUIRE(all.condition.try_acquire());
            all.condition.notify(2);
            all.condition.release();
        });
        REQUIRE_FALSE(all.condition.locked());
        REQUIRE(all.condition.statistics().waiters == 0);
    }
    SECTION("once cell") {
        weft::OnceCell<int> cell;
        auto never = []() -> Coro<int> {
            for (;;) {
                try {
                    co_await weft::sleep(1h);
                } catch (const CancelledError&) {
                }
            }
        };
        auto wait = [&]() -> Coro<void> { co_await cell.get_or_init(never); };
        destroyed_where_they_stand(wait, [] {});
        REQUIRE_FALSE(cell.statistics().initialising);
        REQUIRE(cell.statistics().waiters == 0);
    }
    SECTION("lock for readers and writers") {
        REQUIRE(all.rw_lock.try_acquire_write());
        bool write = false;
        auto wait = [&]() -> Coro<void> {
            write = !write;
            if (write) {
                auto guard = co_await all.rw_lock.write();
                co_await weft::sleep(1h);
            } else {
                auto guard = co_await all.rw_lock.read();
                co_await weft::sleep(1h);
            }
        };
        destroyed_where_they_stand(wait, [&] { all.rw_lock.release_write(); });
        REQUIRE_FALSE(all.rw_lock.locked());
        REQUIRE(all.rw_lock.statistics().waiters == 0);
    }
    SECTION("notify") {
        // The first frame to be destroyed notifies the second, which never runs again.
        int left = 3;
        auto notifies = [&] {
            if (left-- == 3) all.notify.notify_one();
        };
        auto wait = [&]() -> Coro<void> {
            const probe::AtExit at_exit(notifies);
            for (;;) {
                try {
                    co_await all.notify.notified();
                } catch (const CancelledError&) {
                }
            }
        };
        destroyed_where_they_stand(wait, [] {});
        REQUIRE(left == 0);
        REQUIRE(all.notify.try_notified());
    }
    SECTION("event, notify, latch, barrier") {
        destroyed_where_they_stand([&] { return all.event.wait(); }, [] {});
        REQUIRE(all.event.statistics().waiters == 0);
        destroyed_where_they_stand([&] { return all.notify.notified(); }, [] {});
        REQUIRE(all.notify.statistics().waiters == 0);
        destroyed_where_they_stand([&] { return all.latch.wait(); }, [] {});
        REQUIRE(all.latch.statistics().waiters == 0);
        weft::Barrier many(9);
        destroyed_where_they_stand([&] { return many.wait(); }, [] {});
        REQUIRE(many.n_waiting() == 0);
    }
}

}  // namespace sync_teardown_test
