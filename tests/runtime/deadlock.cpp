// SPDX-License-Identifier: MIT
// Debug mode names tasks that wait in a circle for locks that they hold: once, when it closes.
#include <weft/sync/condition.hpp>
#include <weft/sync/event.hpp>
#include <weft/sync/lock.hpp>
#include <weft/sync/once_cell.hpp>
#include <weft/sync/rw_lock.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/race.hpp>

#include <chrono>
#include <functional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "probe.hpp"
#include "sync.hpp"

namespace deadlock_test {

using namespace std::chrono_literals;
using support::contains;
using support::some_turns;
using weft::Coro;
using weft::Lock;
using weft::TaskOptions;

namespace {

/// Debug mode for a scope, and what is reported in it.
class Debugging {
public:
    Debugging() : reports(probe::collect_reports(loop_)) { loop_.set_debug(true); }
    ~Debugging() { loop_.set_debug(false); }
    std::size_t deadlocks() const { return probe::count_with(reports, "deadlock: "); }

private:
    weft::EventLoop& loop_ = weft::get_running_loop();

public:
    probe::Reports reports;
};

std::string at_line(unsigned line) {
    // (Appended: of operator+ g++ 12 warns with -O2.)
    std::string text(" at ");
    text.append(std::source_location::current().file_name());
    return text.append(":").append(std::to_string(line));
}

Coro<void> takes_both(Lock& first, Lock& second) {
    auto one = co_await first.scoped();
    co_await weft::yield();
    auto two = co_await second.scoped();
}
constexpr unsigned first_line = __LINE__ - 4;
constexpr unsigned second_line = __LINE__ - 3;

Coro<void> end(std::vector<weft::Task<void>>& tasks) {
    for (auto& task : tasks) task.cancel();
    for (auto& task : tasks) co_await task.wait();
}

}  // namespace

WEFT_TEST_CASE("two tasks that take two locks in opposite orders are named with their places",
               "[deadlock]") {
    const Debugging debugging;
    Lock a;
    Lock b;
    std::vector<weft::Task<void>> tasks;
    tasks.push_back(weft::create_task(takes_both, std::ref(a), std::ref(b), TaskOptions("forth")));
    tasks.push_back(weft::create_task(takes_both, std::ref(b), std::ref(a), TaskOptions("back")));
    co_await some_turns(5);
    REQUIRE(debugging.reports->size() == 1);
    const std::string expected = "deadlock: back waits" + at_line(second_line) +
                                 " for a lock that forth has taken" + at_line(first_line) +
                                 "; forth waits" + at_line(second_line) +
                                 " for a lock that back has taken" + at_line(first_line) + "|back|";
    REQUIRE(debugging.reports->front() == expected);
    co_await end(tasks);
    REQUIRE_FALSE(a.locked());
    REQUIRE_FALSE(b.locked());
    REQUIRE(debugging.deadlocks() == 1);
}

WEFT_TEST_CASE("a task that waits for a lock it holds is a circle of one", "[deadlock]") {
    const Debugging debugging;
    Lock lock;
    std::vector<weft::Task<void>> tasks;
    tasks.push_back(weft::create_task(takes_both, std::ref(lock), std::ref(lock)));
    co_await some_turns(5);
    REQUIRE(debugging.deadlocks() == 1);
    co_await end(tasks);
}

WEFT_TEST_CASE("a circle of five is reported once, and not again for those who join the queue",
               "[deadlock]") {
    const Debugging debugging;
    constexpr std::size_t count = 5;
    Lock locks[count];
    std::vector<weft::Task<void>> tasks;
    for (std::size_t i = 0; i < count; ++i) {
        tasks.push_back(
            weft::create_task(takes_both, std::ref(locks[i]), std::ref(locks[(i + 1) % count])));
    }
    co_await some_turns(5);
    REQUIRE(debugging.deadlocks() == 1);
    Lock outside;
    for (std::size_t i = 0; i < count; ++i) {
        tasks.push_back(weft::create_task(takes_both, std::ref(outside), std::ref(locks[i])));
        co_await some_turns(3);
    }
    REQUIRE(debugging.reports->size() == 1);
    co_await end(tasks);
}

WEFT_TEST_CASE("a chain of waiting tasks is no circle", "[deadlock]") {
    const Debugging debugging;
    constexpr std::size_t count = 6;
    Lock locks[count];
    std::vector<weft::Task<void>> tasks;
    for (std::size_t i = 0; i + 1 < count; ++i) {
        tasks.push_back(weft::create_task(takes_both, std::ref(locks[i]), std::ref(locks[i + 1])));
    }
    co_await some_turns(20);
    for (auto& task : tasks) co_await task;
    REQUIRE(debugging.reports->empty());
}

WEFT_TEST_CASE("a circle that goes over an awaited task is named", "[deadlock]") {
    const Debugging debugging;
    Lock lock;
    auto parent = [&]() -> Coro<void> {
        auto guard = co_await lock.scoped();
        auto child =
            weft::create_task(takes_both, std::ref(lock), std::ref(lock), TaskOptions("child"));
        co_await child;
    };
    std::vector<weft::Task<void>> tasks;
    tasks.push_back(weft::create_task(parent, TaskOptions("parent")));
    co_await some_turns(5);
    REQUIRE(debugging.deadlocks() == 1);
    REQUIRE(contains(debugging.reports->front(), "; parent awaits child"));
    co_await end(tasks);
}

WEFT_TEST_CASE("a lock that was handed over is held by whom it was handed to", "[deadlock]") {
    const Debugging debugging;
    Lock a;
    Lock b;
    co_await a.acquire();
    std::vector<weft::Task<void>> tasks;
    tasks.push_back(weft::create_task(takes_both, std::ref(a), std::ref(b), TaskOptions("forth")));
    tasks.push_back(weft::create_task(takes_both, std::ref(b), std::ref(a), TaskOptions("back")));
    co_await some_turns(5);
    REQUIRE(debugging.reports->empty());
    a.release();
    co_await some_turns(5);
    REQUIRE(debugging.deadlocks() == 1);
    REQUIRE(contains(debugging.reports->front(), "deadlock: forth waits"));
    co_await end(tasks);
}

WEFT_TEST_CASE("a notified task that finds the lock held in a circle is named", "[deadlock]") {
    const Debugging debugging;
    Lock a;
    Lock b;
    weft::Condition changed(a);
    auto waits = [&]() -> Coro<void> {
        auto first = co_await b.scoped();
        auto second = co_await a.scoped();
        co_await changed.wait();
    };
    auto notifies = [&]() -> Coro<void> {
        auto first = co_await a.scoped();
        changed.notify();
        auto second = co_await b.scoped();
    };
    std::vector<weft::Task<void>> tasks;
    tasks.push_back(weft::create_task(waits));
    co_await weft::yield();
    tasks.push_back(weft::create_task(notifies));
    co_await some_turns(5);
    REQUIRE(debugging.deadlocks() == 1);
    co_await end(tasks);
}

WEFT_TEST_CASE("writers that wait for each other, and for a value that waits, are named",
               "[deadlock]") {
    const Debugging debugging;
    weft::RwLock lock;
    weft::OnceCell<int> cell;
    auto makes = [&]() -> Coro<int> {
        auto guard = co_await lock.write();
        co_return 1;
    };
    const unsigned makes_line = __LINE__ - 3;
    auto uses = [&]() -> Coro<void> {
        auto guard = co_await lock.write();
        co_await weft::yield();
        co_await cell.get_or_init(makes);
    };
    const unsigned uses_line = __LINE__ - 4;
    auto asks = [&]() -> Coro<void> { co_await cell.get_or_init(makes); };
    const unsigned asks_line = __LINE__ - 1;
    std::vector<weft::Task<void>> tasks;
    tasks.push_back(weft::create_task(uses, TaskOptions("uses")));
    tasks.push_back(weft::create_task(asks, TaskOptions("asks")));
    co_await some_turns(5);
    REQUIRE(debugging.deadlocks() == 1);
    REQUIRE(debugging.reports->front() ==
            "deadlock: uses waits" + at_line(uses_line + 2) + " for a value that asks has taken" +
                at_line(asks_line) + "; asks waits" + at_line(makes_line) +
                " for a lock for writing that uses has taken" + at_line(uses_line) + "|uses|");
    co_await end(tasks);
}

WEFT_TEST_CASE("the next task to make a value is named with its own place", "[deadlock]") {
    const Debugging debugging;
    Lock lock;
    weft::OnceCell<int> cell;
    bool first = true;
    auto makes = [&](int) -> Coro<int> {
        co_await weft::yield();
        if (std::exchange(first, false)) throw std::runtime_error("not this time");
        auto guard = co_await lock.scoped();
        co_return 1;
    };
    auto fails = [&]() -> Coro<void> { co_await cell.get_or_init(makes, 1); };
    auto without_arguments = [&]() -> Coro<int> { return makes(1); };
    auto succeeds = [&]() -> Coro<void> { co_await cell.get_or_init(without_arguments); };
    const unsigned line = __LINE__ - 1;
    auto holds = [&]() -> Coro<void> {
        auto guard = co_await lock.scoped();
        co_await some_turns(5);
        co_await cell.get_or_init(makes, 1);
    };
    std::vector<weft::Task<void>> tasks;
    tasks.push_back(weft::create_task(fails));
    tasks.push_back(weft::create_task(succeeds, TaskOptions("second")));
    tasks.push_back(weft::create_task(holds, TaskOptions("holds")));
    co_await some_turns(10);
    REQUIRE(debugging.deadlocks() == 1);
    REQUIRE(contains(debugging.reports->front(),
                     "holds waits for a value that second has taken" + at_line(line) + "; second"));
    co_await end(tasks);
}

WEFT_TEST_CASE("a task that reads twice with a writer between waits for itself, and is named",
               "[deadlock]") {
    const Debugging debugging;
    weft::RwLock lock;
    auto reads_twice = [&]() -> Coro<void> {
        auto one = co_await lock.read();
        co_await weft::yield();
        auto two = co_await lock.read();
    };
    const unsigned line = __LINE__ - 4;
    auto writes = [&]() -> Coro<void> { auto guard = co_await lock.write(); };
    std::vector<weft::Task<void>> tasks;
    tasks.push_back(weft::create_task(reads_twice, TaskOptions("reader")));
    tasks.push_back(weft::create_task(writes));
    co_await some_turns(5);
    REQUIRE(debugging.reports->size() == 1);
    REQUIRE(debugging.reports->front() == "deadlock: reader waits" + at_line(line + 2) +
                                              " for a lock for reading that reader has taken" +
                                              at_line(line) + "|reader|");
    co_await end(tasks);
    REQUIRE_FALSE(lock.locked());
}

WEFT_TEST_CASE("a writer that waits for several readers is named with the one that waits for it",
               "[deadlock]") {
    const Debugging debugging;
    weft::RwLock shared;
    Lock lock;
    weft::Event over;
    auto only_reads = [&]() -> Coro<void> {
        auto guard = co_await shared.read();
        co_await over.wait();
    };
    auto reads_and_locks = [&]() -> Coro<void> {
        auto guard = co_await shared.read();
        co_await weft::yield();
        auto other = co_await lock.scoped();
    };
    const unsigned line = __LINE__ - 4;
    auto locks_and_writes = [&]() -> Coro<void> {
        auto guard = co_await lock.scoped();
        co_await some_turns(3);
        auto other = co_await shared.write();
    };
    std::vector<weft::Task<void>> tasks;
    tasks.push_back(weft::create_task(only_reads));
    tasks.push_back(weft::create_task(reads_and_locks, TaskOptions("reader")));
    tasks.push_back(weft::create_task(only_reads));
    tasks.push_back(weft::create_task(locks_and_writes, TaskOptions("writer")));
    co_await some_turns(10);
    REQUIRE(debugging.reports->size() == 1);
    REQUIRE(contains(debugging.reports->front(),
                     " for a lock for writing that reader has taken" + at_line(line) + "; reader"));
    over.set();
    co_await end(tasks);
}

WEFT_TEST_CASE("readers that were let in together are known, those that have gone are not",
               "[deadlock]") {
    const Debugging debugging;
    weft::RwLock shared;
    Lock lock;
    co_await shared.acquire_write();
    auto reads = [&](bool stays) -> Coro<void> {
        auto guard = co_await shared.read();
        if (!stays) guard.release();
        auto other = co_await lock.scoped();
    };
    std::vector<weft::Task<void>> tasks;
    co_await lock.acquire();
    tasks.push_back(weft::create_task(reads, false));
    tasks.push_back(weft::create_task(reads, true, TaskOptions("stays")));
    co_await weft::yield();
    shared.release_write();
    co_await some_turns(3);
    REQUIRE(debugging.reports->empty());
    // This task holds the lock that both wait for.
    bool reported = false;
    auto deadline = weft::get_running_loop().call_later(1s, [&] {
        reported = debugging.deadlocks() == 1;
        for (auto& task : tasks) task.cancel();
    });
    co_await shared.acquire_write();
    REQUIRE(reported);
    REQUIRE(contains(debugging.reports->front(), "that stays has taken"));
    co_await end(tasks);
}

WEFT_TEST_CASE("a read that another task releases leaves nobody in a report", "[deadlock]") {
    const Debugging debugging;
    weft::RwLock shared;
    co_await shared.acquire_read();
    co_await shared.acquire_read();
    auto releases = [&]() -> Coro<void> {
        shared.release_read();
        co_await weft::sleep(1s);
        shared.release_read();
    };
    auto task = weft::create_task(releases);
    co_await weft::yield();
    co_await shared.acquire_write();
    co_await task;
    REQUIRE(debugging.reports->empty());
    shared.release_write();
}

WEFT_TEST_CASE("what is won in a race, a gather or an all is held by the task that awaits it",
               "[deadlock]") {
    const Debugging debugging;
    const weft::AnyTask me = weft::current_task();
    Lock a;
    Lock b;
    weft::RwLock shared;
    {
        const auto winner = co_await weft::race(a.scoped(), weft::sleep(1h));
        REQUIRE(a.statistics().owner == me);
        const auto guards = co_await weft::gather(b.scoped(), shared.write());
        REQUIRE(b.statistics().owner == me);
        REQUIRE(shared.statistics().owner == me);
    }
    // After a wait, too.
    co_await a.acquire();
    auto takes = [&]() -> Coro<void> {
        const auto guard = co_await weft::all(a.scoped());
        co_await b.acquire();
    };
    co_await b.acquire();
    auto task = weft::create_task(takes);
    co_await some_turns(3);
    a.release();
    co_await some_turns(5);
    REQUIRE(a.statistics().owner == task);
    REQUIRE(debugging.reports->empty());
    // So a circle over it is seen.
    bool reported = false;
    auto later = weft::get_running_loop().call_later(1s, [&] {
        reported = debugging.deadlocks() == 1;
        task.cancel();
    });
    co_await a.acquire();
    REQUIRE(reported);
    co_await task.wait();
    a.release();
    b.release();
}

WEFT_TEST_CASE("a condition whose wait has lost a race is held by the task that awaited it",
               "[deadlock]") {
    const Debugging debugging;
    weft::Condition condition;
    auto guard = co_await condition.scoped();
    (void)co_await weft::race(condition.wait(), weft::sleep(1s));
    REQUIRE(condition.statistics().lock.owner == weft::current_task());
    guard.release();
    REQUIRE_FALSE(condition.locked());
}

WEFT_TEST_CASE("without debug mode nothing is reported, and nothing is kept", "[deadlock]") {
    const probe::Reports reports = probe::collect_reports(weft::get_running_loop());
    Lock lock;
    std::vector<weft::Task<void>> tasks;
    tasks.push_back(weft::create_task(takes_both, std::ref(lock), std::ref(lock)));
    co_await some_turns(5);
    REQUIRE_FALSE(lock.statistics().owner);
    co_await end(tasks);
    REQUIRE(reports->empty());
}

}  // namespace deadlock_test
