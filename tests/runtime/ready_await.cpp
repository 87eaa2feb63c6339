// SPDX-License-Identifier: MIT
// A loop that never has to wait lets everybody else run, can be cancelled, and loses nothing.
#include <weft/deadline/move_on_after.hpp>
#include <weft/deadline/wait_for.hpp>
#include <weft/net/io.hpp>
#include <weft/patterns/pool.hpp>
#include <weft/patterns/rate_limiter.hpp>
#include <weft/queue/broadcast.hpp>
#include <weft/queue/channel.hpp>
#include <weft/queue/lifo_queue.hpp>
#include <weft/queue/priority_queue.hpp>
#include <weft/queue/queue.hpp>
#include <weft/queue/watch.hpp>
#include <weft/sync/barrier.hpp>
#include <weft/sync/capacity_limiter.hpp>
#include <weft/sync/condition.hpp>
#include <weft/sync/event.hpp>
#include <weft/sync/latch.hpp>
#include <weft/sync/lock.hpp>
#include <weft/sync/notify.hpp>
#include <weft/sync/rw_lock.hpp>
#include <weft/sync/semaphore.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <sys/socket.h>

#include <chrono>
#include <functional>
#include <optional>

namespace ready_await_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::EventLoop;

namespace {

// So many awaits of a step may find what they want, then one goes round.
constexpr int share = 128;

/// Yields until `over`, counting the turns it got.
Coro<void> spins(const bool& over, int& turns) {
    while (!over) {
        ++turns;
        co_await weft::yield();
    }
}

/// The turns that another task gets while `step()` is awaited so often.
template <class Step>
Coro<int> turns_beside(Step& step, int times) {
    bool over = false;
    int turns = 0;
    const auto other = weft::create_task(spins, std::cref(over), std::ref(turns));
    co_await weft::yield();
    turns = 0;
    for (int i = 0; i < times; ++i) co_await step();
    over = true;
    co_await other;
    co_return turns;
}

constexpr int times = 100 * (share + 1);

/// One await of `step` is counted, and it is ready each time.
template <class Step>
Coro<void> check_fair(Step step) {
    const int turns = co_await turns_beside(step, times);
    CHECK(turns >= 99);
    CHECK(turns <= 101);
}

/// Everything that a task can hold or take, where it is there for the taking.
struct Everything {
    Everything() {
        event.set();
        latch.count_down();
        queue.put_nowait(1);
        priorities.put_nowait(1);
        notify.notify_one();
        REQUIRE(channel.sender.try_send(1));
    }

    weft::Lock lock;
    weft::Semaphore semaphore{2};
    weft::RwLock rw_lock;
    weft::CapacityLimiter limiter{1};
    weft::Condition condition;
    weft::Event event;
    weft::Event never;
    weft::Latch latch{1};
    weft::Barrier barrier{1};
    weft::Notify notify;
    weft::Queue<int> queue;
    weft::PriorityQueue<int> priorities;
    weft::Channel<int> channel{2};
};

/// What `Everything` is when nobody holds any of it.
bool untouched(Everything& all) {
    return !all.lock.locked() && all.semaphore.statistics().available == 2 &&
           !all.rw_lock.locked() && all.limiter.borrowed_tokens() == 0 && !all.condition.locked() &&
           all.barrier.statistics().blocked == 0 && all.notify.statistics().permit &&
           all.queue.size() == 1 && all.priorities.size() == 1 && all.channel.receiver.size() == 1;
}

// Each takes something and gives it back.
Coro<void> locks(Everything& all) {
    co_await all.lock.acquire();
    all.lock.release();
}
Coro<void> takes_permit(Everything& all) { auto permit = co_await all.semaphore.scoped(); }
Coro<void> reads(Everything& all) { auto guard = co_await all.rw_lock.read(); }
Coro<void> writes(Everything& all) { auto guard = co_await all.rw_lock.write(); }
Coro<void> borrows(Everything& all) { auto token = co_await all.limiter.scoped(); }
Coro<void> locks_condition(Everything& all) { auto guard = co_await all.condition.scoped(); }
Coro<void> meets(Everything& all) { (void)co_await all.barrier.wait(); }
Coro<void> is_notified(Everything& all) {
    co_await all.notify.notified();
    all.notify.notify_one();
}
Coro<void> gets(Everything& all) {
    const int item = co_await all.queue.get();
    all.queue.put_nowait(item);
}
Coro<void> gets_first(Everything& all) {
    const int item = co_await all.priorities.get();
    all.priorities.put_nowait(item);
}
Coro<void> receives(Everything& all) {
    const auto item = co_await all.channel.receiver.recv();
    REQUIRE(all.channel.sender.try_send(*item));
}
Coro<void> waits_for_event(Everything& all) { co_await all.event.wait(); }
Coro<void> waits_for_latch(Everything& all) { co_await all.latch.wait(); }

using Step = Coro<void> (*)(Everything&);
constexpr Step steps[] = {locks,    takes_permit,    reads,          writes, borrows,
                          meets,    locks_condition, is_notified,    gets,   gets_first,
                          receives, waits_for_event, waits_for_latch};

/// Never waits, and never ends of itself.
Coro<void> goes_on(Everything& all, Step step, int& count) {
    for (;; ++count) co_await step(all);
}
/// Does not even end when it is told to, and at the last of a closing loop's cancels it is at it.
Coro<void> insists(Everything& all, Step step, int& count) {
    constexpr int last = 64;
    for (int cancels = 0;;) {
        try {
            if (cancels == 0 || cancels >= last) co_await goes_on(all, step, count);
            co_await all.never.wait();
        } catch (const weft::CancelledError&) {
            ++cancels;
        }
    }
}

}  // namespace

WEFT_TEST_CASE("8: a loop over a primitive that is always ready lets others run, in any primitive",
               "[fairness]") {
    Everything all;
    for (const Step step : steps) {
        const auto once = [&all, step] { return step(all); };
        co_await check_fair(once);
    }
    REQUIRE(untouched(all));
}

WEFT_TEST_CASE("8: a loop over a queue, channel, watch or broadcast that is always ready too",
               "[fairness]") {
    weft::Queue<int> queue;
    weft::LifoQueue<int> lifo;
    co_await check_fair([&] { return queue.put(1); });
    co_await check_fair([&] { return lifo.put(1); });
    REQUIRE(queue.size() == times);
    co_await check_fair([&] { return queue.get(); });
    co_await check_fair([&] { return lifo.get(); });
    REQUIRE(queue.empty());
    REQUIRE(lifo.empty());
    weft::Queue<int> done;
    co_await check_fair([&] { return done.join(); });

    weft::Channel<int> channel(times);
    co_await check_fair([&] { return channel.sender.send(1); });
    co_await check_fair([&] { return channel.receiver.recv(); });

    weft::Watch<int> watch(0);
    auto seen = watch.subscribe();
    const auto changes = [&]() -> Coro<void> {
        watch.set(1);
        const auto value = co_await seen.next();
        REQUIRE(value);
    };
    co_await check_fair(changes);
    weft::Broadcast<int> broadcast(times);
    auto receiver = broadcast.subscribe();
    for (int i = 0; i < times; ++i) broadcast.send(i);
    int expected = 0;
    const auto next = [&]() -> Coro<void> {
        const auto item = co_await receiver.recv();
        REQUIRE(*item == expected++);
    };
    co_await check_fair(next);
}

WEFT_TEST_CASE("8: a loop over a pool, a rate limiter or a deadline that is always ready too",
               "[fairness]") {
    const auto make = []() -> Coro<int> { co_return 1; };
    weft::Pool<int> pool(make);
    const auto lends = [&]() -> Coro<void> { auto lease = co_await pool.acquire(); };
    co_await check_fair(lends);
    co_await pool.close();

    weft::RateLimiter limiter(1e9, 1'000'000);
    co_await check_fair([&] { return limiter.acquire(); });

    weft::Queue<int> queue;
    for (int i = 0; i < times; ++i) queue.put_nowait(i);
    int expected = 0;
    const auto gets_in_time = [&]() -> Coro<void> {
        const int item = co_await weft::wait_for(queue.get(), 1h);
        REQUIRE(item == expected++);
    };
    co_await check_fair(gets_in_time);
}

WEFT_TEST_CASE("8: a step that mixes primitives has one share, and an eager child none of its own",
               "[fairness]") {
    Everything all;
    const auto once = [&]() -> Coro<void> {
        for (const Step step : {locks, reads, gets}) co_await step(all);
    };
    int turns = co_await turns_beside(once, times);
    REQUIRE(turns >= 3 * 99);
    const auto with_child = [&]() -> Coro<void> {
        const auto child = weft::create_task(locks, std::ref(all), weft::TaskOptions("", true));
        co_await reads(all);
        co_await child;
    };
    turns = co_await turns_beside(with_child, times);
    REQUIRE(turns >= 2 * 99);
}

TEST_CASE("8: a timer that is due while a loop never waits fires after one step's share",
          "[fairness]") {
    // Real time, since virtual time stands still while something is ready.
    weft::run([]() -> Coro<void> {
        EventLoop& loop = weft::get_running_loop();
        weft::Queue<int> queue;
        bool over = false;
        const auto timer = loop.call_later(200us, [&over] { over = true; });
        // (The turn that sets a deadline looks with the reading that it was made of.)
        co_await weft::yield();
        int overdue = 0;
        while (!over) {
            overdue += loop.time() >= timer.when() ? 1 : 0;
            co_await queue.put(1);
            (void)co_await queue.get();
        }
        // The rest of this step, and one more where the due timer was found at its beginning.
        REQUIRE(overdue <= share + 2);
    });
}

WEFT_TEST_CASE("8: a loop that never waits does not keep I/O out", "[fairness]") {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    const weft::Fd mine(ends[0]);
    const weft::Fd theirs(ends[1]);
    weft::Lock lock;
    bool over = false;
    const auto reads_byte = [&]() -> Coro<void> {
        char byte;
        co_await weft::io::recv(mine.get(), weft::MutableBuffer(&byte, 1));
        over = true;
    };
    const auto reader = weft::create_task(reads_byte);
    for (int i = 0; i < 10; ++i) co_await weft::yield();
    const bool sent = ::send(theirs.get(), "x", 1, 0) == 1;
    int rounds = 0;
    for (; !over && rounds < 100 * share; ++rounds) auto guard = co_await lock.scoped();
    co_await reader;
    REQUIRE(sent);
    REQUIRE(rounds <= 5 * share);
}

WEFT_TEST_CASE("28: a loop that never waits ends when it is cancelled, with nothing in its hands",
               "[fairness]") {
    for (const Step step : steps) {
        for (int turns = 0; turns < 3; ++turns) {
            Everything all;
            int count = 0;
            auto task = weft::create_task(goes_on, std::ref(all), step, std::ref(count));
            for (int turn = 0; turn <= turns; ++turn) co_await weft::yield();
            const int before = count;
            REQUIRE(before == (turns + 1) * share + turns);
            task.cancel();
            co_await task.wait();
            REQUIRE(task.cancelled());
            // What it had taken when it was cancelled it got, and its next share.
            REQUIRE(count == before + share + 1);
            REQUIRE(untouched(all));
        }
    }
}

WEFT_TEST_CASE("28: items that go round with a task that is cancelled then are put or got",
               "[fairness]") {
    weft::Queue<int> from;
    weft::Queue<int> to;
    for (int i = 0; i < 10'000; ++i) from.put_nowait(i);
    int held = -1;
    const auto moves = [&]() -> Coro<void> {
        for (;;) {
            held = co_await from.get();
            co_await to.put(held);
            held = -1;
        }
    };
    while (!from.empty()) {
        auto task = weft::create_task(moves);
        co_await weft::yield();
        task.cancel();
        if (from.empty()) co_await weft::yield();
        co_await task.wait();
        REQUIRE(task.cancelled());
        if (held >= 0) to.put_nowait(std::exchange(held, -1));
    }
    REQUIRE(to.size() == 10'000);
    for (int i = 0; i < 10'000; ++i) REQUIRE(to.get_nowait() == i);
}

TEST_CASE("28: a frame that is destroyed while it goes round gives back what it took",
          "[fairness]") {
    for (const Step step : steps) {
        Everything all;
        int count = 0;
        {
            EventLoop loop;
            loop.set_exception_handler([](const weft::ExceptionContext&) {});  // it refuses to end
            const auto task = loop.create_task(insists(all, step, count));
            loop.run_once();
            REQUIRE(count == share);
        }
        REQUIRE(untouched(all));
        REQUIRE(count > 100 * share);  // so it was destroyed there
    }
}

TEST_CASE("70: a primitive that is destroyed by others while a task goes round with it tells it",
          "[fairness]") {
    weft::run([]() -> Coro<void> {
        std::optional<weft::Semaphore> semaphore(1);
        const auto takes = [&]() -> Coro<void> {
            for (;;) auto permit = co_await semaphore->scoped();
        };
        auto task = weft::create_task(takes);
        co_await weft::yield();
        REQUIRE(semaphore->locked());
        semaphore.reset();
        co_await task.wait();
        REQUIRE_THROWS_AS(task.result(), weft::RuntimeError);
    });
}

WEFT_TEST_CASE("42: a deadline that has passed finds what is there, as often as it is asked",
               "[fairness]") {
    weft::Queue<int> queue;
    weft::Semaphore permits(1000);
    for (int i = 0; i < 1000; ++i) queue.put_nowait(i);
    int items = 0;
    while (co_await weft::move_on_after(0s, queue.get())) ++items;
    REQUIRE(items == 1000);
    for (int i = 0; i < 1000; ++i) co_await weft::wait_for(permits.acquire(), 0s);
    REQUIRE(permits.locked());
}

}  // namespace ready_await_test
