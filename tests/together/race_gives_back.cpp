// SPDX-License-Identifier: MIT
// Losers of a race that were granted in the same turn as the winner give back what they got.
#include <weft/deadline/move_on_after.hpp>
#include <weft/deadline/wait_for.hpp>
#include <weft/patterns/rate_limiter.hpp>
#include <weft/queue/broadcast.hpp>
#include <weft/queue/channel.hpp>
#include <weft/queue/lifo_queue.hpp>
#include <weft/queue/oneshot.hpp>
#include <weft/queue/priority_queue.hpp>
#include <weft/queue/queue.hpp>
#include <weft/queue/watch.hpp>
#include <weft/sync/capacity_limiter.hpp>
#include <weft/sync/condition.hpp>
#include <weft/sync/event.hpp>
#include <weft/sync/lock.hpp>
#include <weft/sync/notify.hpp>
#include <weft/sync/rw_lock.hpp>
#include <weft/sync/semaphore.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/race.hpp>

#include <random>
#include <string>
#include <vector>

#include "children.hpp"

namespace race_gives_back_test {

using namespace children;

namespace {

/// One kind of thing to wait for: `start` makes what a race takes, `grant` lets it succeed, and
/// `count` tells how much there is to have. A race that was won took one, one that lost took none.

struct OfQueue {
    auto start() { return queue.get(); }
    void grant() { queue.put_nowait(1); }
    std::size_t count() { return queue.size(); }
    weft::Queue<int> queue;
};
struct OfLifo {
    auto start() { return queue.get(); }
    void grant() { queue.put_nowait(1); }
    std::size_t count() { return queue.size(); }
    weft::LifoQueue<int> queue;
};
struct OfPriority {
    auto start() { return queue.get(); }
    void grant() { queue.put_nowait(1); }
    std::size_t count() { return queue.size(); }
    weft::PriorityQueue<int> queue;
};
struct OfChannel {
    auto start() { return channel.receiver.recv(); }
    void grant() { channel.sender.try_send(1); }
    std::size_t count() { return channel.receiver.size(); }
    weft::Channel<int> channel{4};
};
struct OfOneshot {
    auto start() { return oneshot.receiver.recv(); }
    void grant() { oneshot.sender.send(1); }
    std::size_t count() { return oneshot.receiver.try_recv() ? 1 : 0; }
    weft::Oneshot<int> oneshot;
};
struct OfSemaphore {
    auto start() { return semaphore.acquire(); }
    void grant() { semaphore.release(); }
    std::size_t count() { return semaphore.statistics().available; }
    weft::Semaphore semaphore{0};
};
struct OfBounded {
    OfBounded() { (void)semaphore.try_acquire(); }
    auto start() { return semaphore.acquire(); }
    void grant() { semaphore.release(); }
    std::size_t count() { return semaphore.statistics().available; }
    weft::BoundedSemaphore semaphore{1};
};
struct OfLimiter {
    auto start() { return limiter.acquire(); }
    void grant() { limiter.set_total_tokens(1); }
    std::size_t count() { return limiter.available_tokens(); }
    weft::CapacityLimiter limiter{0};
};
struct OfLock {
    OfLock() { (void)lock.try_acquire(); }
    auto start() { return lock.acquire(); }
    void grant() { lock.release(); }
    std::size_t count() { return lock.locked() ? 0 : 1; }
    weft::Lock lock;
};
struct OfReaders {
    OfReaders() { (void)lock.try_acquire_write(); }
    auto start() { return lock.acquire_read(); }
    void grant() { lock.release_write(); }
    std::size_t count() { return lock.locked() ? 0 : 1; }
    weft::RwLock lock;
};
struct OfWriter {
    OfWriter() { (void)lock.try_acquire_write(); }
    auto start() { return lock.acquire_write(); }
    void grant() { lock.release_write(); }
    std::size_t count() { return lock.locked() ? 0 : 1; }
    weft::RwLock lock;
};
struct OfNotify {
    auto start() { return notify.notified(); }
    void grant() { notify.notify_one(); }
    std::size_t count() { return notify.statistics().permit ? 1 : 0; }
    weft::Notify notify;
};
struct OfRate {
    OfRate() { (void)limiter.try_acquire(); }
    auto start() { return limiter.acquire(); }
    // The token itself comes with time, one second after it was taken.
    std::size_t count() { return limiter.available(); }
    weft::RateLimiter limiter{1, 1};
};
struct OfWatch {
    auto start() { return updates.next(); }
    void grant() { watch.set(1); }
    std::size_t count() { return updates.has_changed() ? 1 : 0; }
    weft::Watch<int> watch{0};
    weft::Watch<int>::Receiver updates = watch.subscribe();
};
struct OfBroadcast {
    auto start() { return receiver.recv(); }
    void grant() { broadcast.send(1); }
    std::size_t count() { return receiver.behind(); }
    weft::Broadcast<int> broadcast{4};
    weft::Broadcast<int>::Receiver receiver = broadcast.subscribe();
};

enum class When { before, together };

template <class First, class Second>
Coro<void> both_granted(When when) {
    First first;
    Second second;
    const auto grant = [&] {
        first.grant();
        second.grant();
    };
    if (when == When::before) {
        grant();
    } else {
        weft::get_running_loop().call_later(1s, grant);
    }
    auto winner = co_await weft::race(first.start(), second.start());
    REQUIRE(winner.index() == 0);
    REQUIRE(first.count() == 0);
    REQUIRE(second.count() == 1);
}
/// The same with a deadline around the loser, and with a failure instead of a winner.
template <class Kind>
Coro<void> other_ways() {
    {
        Kind kind;
        kind.grant();
        OfQueue first;
        first.grant();
        auto winner = co_await weft::race(first.start(), weft::wait_for(kind.start(), 1s));
        REQUIRE(winner.index() == 0);
        REQUIRE(kind.count() == 1);
    }
    {
        Kind kind;
        weft::get_running_loop().call_later(1s, [&] { kind.grant(); });
        auto winner = co_await weft::race(gives(1, 1s), weft::move_on_after(2s, kind.start()));
        REQUIRE(winner.index() + kind.count() == 1);
    }
    for (const bool gather : {false, true}) {
        Kind kind;
        kind.grant();
        std::string end;
        try {
            if (gather) {
                co_await weft::gather(kind.start(), fails("x"));
            } else {
                co_await weft::all(fails("x"), kind.start());
            }
        } catch (const std::exception& error) {
            end = error.what();
        }
        REQUIRE(end == "x");
        REQUIRE(kind.count() == 1);
    }
    {
        Kind kind;
        kind.grant();
        auto all = co_await weft::gather(kind.start(), gives(1));
        REQUIRE(std::get<1>(all) == 1);
        REQUIRE(kind.count() == 0);
    }
}
// (Each kind costs seconds to compile: what a kind that wins takes is seen where it wins against
// itself.)
template <class... Kind>
Coro<void> each_against_a_queue() {
    for (const When when : {When::before, When::together}) {
        (co_await both_granted<OfQueue, Kind>(when), ...);
        (co_await both_granted<Kind, Kind>(when), ...);
    }
}
template <class... Kind>
Coro<void> each_in_other_ways() {
    (co_await other_ways<Kind>(), ...);
}

}  // namespace

WEFT_TEST_CASE("a loser of the same turn gives back an item", "[race]") {
    co_await each_against_a_queue<OfQueue, OfLifo, OfPriority, OfChannel, OfOneshot>();
    co_await each_in_other_ways<OfQueue, OfChannel, OfOneshot>();
}
WEFT_TEST_CASE("a loser of the same turn gives back a permit or a lock", "[race]") {
    co_await each_against_a_queue<OfSemaphore, OfBounded, OfLimiter, OfLock, OfReaders, OfWriter>();
    // The bounded semaphore's awaiter is the semaphore's, the reader's is the writer's.
    co_await each_in_other_ways<OfSemaphore, OfLimiter, OfLock, OfWriter>();
}
WEFT_TEST_CASE("a loser of the same turn leaves news to whoever looks next", "[race]") {
    co_await each_against_a_queue<OfNotify, OfWatch, OfBroadcast>();
    co_await each_in_other_ways<OfNotify, OfWatch, OfBroadcast>();
}

WEFT_TEST_CASE("a loser of the same turn gives back the tokens of a rate limiter", "[race]") {
    for (const auto when : {0s, 1s}) {
        OfRate rate;
        OfQueue queue;
        if (when == 0s) {
            co_await weft::sleep(1s);
            queue.grant();
        } else {
            weft::get_running_loop().call_later(1s, [&] { queue.grant(); });
        }
        auto winner = co_await weft::race(queue.start(), rate.start());
        REQUIRE(winner.index() + rate.count() == 1);
    }
}

WEFT_TEST_CASE("an item that a loser gives back is the next one, before later ones", "[race]") {
    weft::Queue<int> first;
    weft::Queue<int> second;
    weft::get_running_loop().call_later(1s, [&] {
        first.put_nowait(1);
        for (int i = 10; i < 13; ++i) second.put_nowait(i);
    });
    auto winner = co_await weft::race(first.get(), second.get());
    REQUIRE(*winner == 1);
    for (int i = 10; i < 13; ++i) REQUIRE(second.get_nowait() == i);
}

WEFT_TEST_CASE("an item that a loser gives back goes to the getter that waits", "[race]") {
    weft::Queue<int> first;
    weft::Queue<int> second;
    auto getter = [&]() -> Coro<int> {
        const int item = co_await second.get();
        co_return item;
    };
    weft::get_running_loop().call_later(1s, [&] {
        first.put_nowait(1);
        second.put_nowait(2);
    });
    weft::get_running_loop().call_later(500ms, [&] { (void)weft::create_task(getter); });
    auto winner = co_await weft::race(first.get(), second.get());
    REQUIRE(winner.index() == 0);
    co_await turns(4);
    REQUIRE(second.empty());
    REQUIRE(weft::all_tasks().size() == 1);
}

WEFT_TEST_CASE("75: an item that a loser gives back after shutdown(immediate) counts as done",
               "[race]") {
    weft::Queue<int> first;
    weft::Queue<int> second;
    weft::get_running_loop().call_later(1s, [&] {
        first.put_nowait(1);
        second.put_nowait(2);
        second.put_nowait(3);
        second.shutdown(true);
    });
    auto winner = co_await weft::race(first.get(), second.get());
    REQUIRE(winner.index() == 0);
    REQUIRE(second.empty());
    co_await second.join();
}

WEFT_TEST_CASE("a loser that waited for a condition passes the news on and keeps the lock",
               "[race]") {
    weft::Condition condition;
    weft::Queue<int> items;
    int notified = 0;
    auto other = [&]() -> Coro<void> {
        auto guard = co_await condition.scoped();
        co_await condition.wait();
        ++notified;
    };
    auto racer = [&]() -> Coro<void> {
        co_await condition.acquire();
        auto winner = co_await weft::race(items.get(), condition.wait());
        REQUIRE(winner.index() == 0);
        REQUIRE(condition.locked());
        condition.release();
    };
    auto race = weft::create_task(racer);
    co_await turns(3);
    auto waits = weft::create_task(other);
    co_await turns(3);
    {
        auto guard = co_await condition.scoped();
        items.put_nowait(1);
        condition.notify(1);
    }
    co_await race;
    co_await waits;
    REQUIRE(notified == 1);
    REQUIRE_FALSE(condition.locked());
}

WEFT_TEST_CASE("a token that was won in a race belongs to the task that raced", "[race]") {
    weft::CapacityLimiter limiter(1);
    auto winner = co_await weft::race(limiter.acquire(), sleeps());
    REQUIRE(winner.index() == 0);
    limiter.release();
    REQUIRE(limiter.available_tokens() == 1);
}

WEFT_TEST_CASE("in random races no item and no permit is lost", "[race]") {
    std::mt19937 random(20261124);
    weft::Queue<int> queues[3];
    weft::Semaphore permits(0);
    int put = 0;
    int got = 0;
    int released = 0;
    int acquired = 0;
    int last[3] = {0, 0, 0};  // items of one queue come in order
    for (int round = 0; round < 1'000; ++round) {
        const auto feed = [&] {
            for (int i = 0; i < 3; ++i) {
                if (random() % 2) queues[i].put_nowait(++put);
            }
            if (random() % 2) {
                permits.release();
                ++released;
            }
        };
        if (random() % 3 == 0) feed();
        if (random() % 3 == 0) {
            weft::get_running_loop().call_soon(feed);
        } else {
            weft::get_running_loop().call_later(std::chrono::milliseconds(random() % 3), feed);
        }
        auto won = co_await weft::race(
            queues[0].get(), permits.acquire(), queues[1].get(), weft::sleep(2ms),
            weft::wait_for(queues[2].get(), std::chrono::milliseconds(random() % 4 + 1)));
        const std::size_t at[] = {0, 9, 1, 9, 2};
        if (won.index() == 1) {
            ++acquired;
        } else if (won.index() != 3) {
            const int item = won.index() == 0   ? std::get<0>(won)
                             : won.index() == 2 ? std::get<2>(won)
                                                : std::get<4>(won);
            ++got;
            REQUIRE(item > last[at[won.index()]]);
            last[at[won.index()]] = item;
        }
        const std::size_t left = queues[0].size() + queues[1].size() + queues[2].size();
        REQUIRE(static_cast<std::size_t>(put - got) == left);
        REQUIRE(static_cast<std::size_t>(released - acquired) == permits.statistics().available);
        co_await weft::sleep(5ms);
    }
    REQUIRE(got > 300);
    REQUIRE(acquired > 100);
}

}  // namespace race_gives_back_test
