// SPDX-License-Identifier: MIT
// Queue under cancels, at every moment of a wait; waiters that do the unexpected when they wake;
// frames that end before they run again.
#include <weft/queue/queue.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "awaiting.hpp"
#include "probe.hpp"
#include "queue_model.hpp"

namespace queue_cancel_test {

using namespace std::chrono_literals;
using probe::Alive;
using support::Elsewhere;
using support::turns;
using weft::CancelledError;
using weft::Coro;
using weft::Queue;
using weft::QueueShutDown;
using weft::Task;

namespace {

Coro<void> get_into(Queue<int>& queue, std::vector<int>& got) {
    const int item = co_await queue.get();
    got.push_back(item);
}

}  // namespace

// --- 72 and 28: nothing is lost ---

WEFT_TEST_CASE("72: a getter that is cancelled while it waits leaves at once", "[queue]") {
    Queue<int> queue;
    std::vector<int> got;
    auto first = weft::create_task(get_into(queue, got));
    auto second = weft::create_task(get_into(queue, got));
    co_await weft::yield();
    first.cancel();
    queue.put_nowait(1);  // goes to the second, although the first did not run yet
    first.cancel();
    co_await turns(2);
    REQUIRE(first.cancelled());
    REQUIRE(second.done());
    REQUIRE(got == std::vector<int>{1});
}

WEFT_TEST_CASE("72: a getter that was given an item and is cancelled then returns it", "[queue]") {
    Queue<int> queue;
    int got = 0;
    bool struck = false;
    auto body = [&]() -> Coro<void> {
        got = co_await queue.get();
        try {
            co_await weft::yield();
        } catch (const CancelledError&) {
            struck = true;
            throw;
        }
    };
    auto task = weft::create_task(body);
    co_await weft::yield();
    queue.put_nowait(7);
    task.cancel();
    task.cancel();
    co_await turns(3);
    REQUIRE(got == 7);
    REQUIRE(struck);
    REQUIRE(task.cancelled());
    REQUIRE(queue.empty());
}

WEFT_TEST_CASE("72: a putter that is cancelled while it waits did not put, and has its item",
               "[queue]") {
    Queue<std::unique_ptr<int>> queue(1);
    std::unique_ptr<int> kept;
    auto body = [&]() -> Coro<void> {
        auto putting = queue.put(std::make_unique<int>(2));
        try {
            co_await putting;
        } catch (const CancelledError&) {
            kept = std::move(putting.item());
            throw;
        }
    };
    queue.put_nowait(std::make_unique<int>(1));
    auto task = weft::create_task(body);
    auto next = [&]() -> Coro<void> { co_await queue.put(std::make_unique<int>(3)); };
    auto behind = weft::create_task(next);
    co_await weft::yield();
    task.cancel();
    REQUIRE(*queue.get_nowait() == 1);
    REQUIRE(*queue.get_nowait() == 3);
    co_await turns(2);
    REQUIRE(task.cancelled());
    REQUIRE(behind.done());
    REQUIRE(kept);
    REQUIRE(*kept == 2);
}

WEFT_TEST_CASE("72: a putter whose item was taken and that is cancelled then has put it",
               "[queue]") {
    Queue<int> queue(1);
    bool put = false;
    bool struck = false;
    auto body = [&]() -> Coro<void> {
        co_await queue.put(2);
        put = true;
        try {
            co_await weft::yield();
        } catch (const CancelledError&) {
            struck = true;
        }
    };
    queue.put_nowait(1);
    auto task = weft::create_task(body);
    co_await weft::yield();
    REQUIRE(queue.get_nowait() == 1);
    task.cancel();
    co_await turns(3);
    REQUIRE(put);
    REQUIRE(struck);
    REQUIRE(queue.get_nowait() == 2);
}

WEFT_TEST_CASE("a cancel that is pending strikes a wait before it begins, and no ready call",
               "[queue]") {
    Queue<int> queue(1);
    std::string log;
    auto body = [&]() -> Coro<void> {
        weft::current_task().cancel();
        co_await queue.put(1);
        log += "p";
        const int item = co_await queue.get();
        log += std::to_string(item);
        try {
            (void)co_await queue.get();
        } catch (const CancelledError&) {
            log += "c";
        }
    };
    const auto task = weft::create_task(body);
    co_await turns(2);
    REQUIRE(task.done());
    REQUIRE(log == "p1c");
    queue.put_nowait(2);  // nobody waits for it
    REQUIRE(queue.size() == 1);
}

WEFT_TEST_CASE("waiting in clean-up after a cancel works", "[queue]") {
    Queue<int> work;
    Queue<int> log(1);
    auto body = [&]() -> Coro<void> {
        bool cancelled = false;
        try {
            (void)co_await work.get();
        } catch (const CancelledError&) {
            cancelled = true;
        }
        if (cancelled) co_await log.put(2);
    };
    log.put_nowait(1);
    auto task = weft::create_task(body);
    co_await weft::yield();
    task.cancel();
    co_await turns(2);
    REQUIRE_FALSE(task.done());
    REQUIRE(log.get_nowait() == 1);
    REQUIRE(log.get_nowait() == 2);
    co_await task;
}

WEFT_TEST_CASE("a cancelled join leaves at once and disturbs nobody", "[queue]") {
    Queue<int> queue;
    queue.put_nowait(1);
    auto joins = [&]() -> Coro<void> { co_await queue.join(); };
    auto one = weft::create_task(joins);
    auto two = weft::create_task(joins);
    co_await weft::yield();
    one.cancel();
    queue.task_done();
    one.cancel();
    co_await weft::yield();
    REQUIRE(one.cancelled());
    REQUIRE(two.done());
    REQUIRE_FALSE(two.cancelled());
}

// --- frames that end between the hand-over and their next step ---

WEFT_TEST_CASE(
    "an item given to a getter whose frame is destroyed goes to the next getter, or to "
    "the front",
    "[queue]") {
    using Getter = decltype(std::declval<Queue<int>&>().get());
    Queue<int> queue;
    std::unique_ptr<Getter> doomed;
    std::vector<int> got;
    auto waits = [&]() -> Coro<void> {
        doomed.reset(new Getter(queue.get()));
        Elsewhere<Getter> wait(*doomed);
        if (!doomed->await_ready()) co_await wait;
    };
    for (const bool others_wait : {true, false}) {
        got.clear();
        auto first = weft::create_task(waits);
        co_await weft::yield();
        Task<void> second;
        if (others_wait) {
            second = weft::create_task(get_into(queue, got));
            co_await weft::yield();
        }
        queue.put_nowait(1);
        if (!others_wait) queue.put_nowait(2);
        REQUIRE(queue.size() == (others_wait ? 0 : 1));
        doomed.reset();
        co_await turns(2);
        if (!others_wait) {
            REQUIRE(queue.size() == 2);
            while (auto item = queue.try_get()) got.push_back(*item);
        }
        REQUIRE(got == (others_wait ? std::vector<int>{1} : std::vector<int>{1, 2}));
    }
}

WEFT_TEST_CASE("an item whose queue is gone ends with the frame it was given to", "[queue]") {
    using Getter = decltype(std::declval<Queue<Alive>&>().get());
    int alive = 0;
    auto queue = std::make_unique<Queue<Alive>>();
    std::unique_ptr<Getter> doomed;
    auto waits = [&]() -> Coro<void> {
        doomed.reset(new Getter(queue->get()));
        Elsewhere<Getter> wait(*doomed);
        if (!doomed->await_ready()) co_await wait;
    };
    auto task = weft::create_task(waits);
    co_await weft::yield();
    queue->put_nowait(Alive(alive));
    queue.reset();
    REQUIRE(alive == 1);
    doomed.reset();
    REQUIRE(alive == 0);
    co_await task;
}

// --- 70: waiters that do the unexpected when they wake ---

WEFT_TEST_CASE("a getter may destroy the queue when it wakes; others keep what they were given",
               "[queue]") {
    auto queue = std::make_unique<Queue<int>>(1);
    std::string log;
    auto destroys = [&]() -> Coro<void> {
        const int item = co_await queue->get();
        log += std::to_string(item);
        queue.reset();
    };
    auto gets = [&]() -> Coro<void> {
        try {
            const int item = co_await queue->get();
            log += std::to_string(item);
        } catch (const QueueShutDown&) {
            log += '!';
        }
    };
    auto joins = [&]() -> Coro<void> {
        try {
            co_await queue->join();
        } catch (const weft::RuntimeError&) {
            log += 'j';
        }
    };
    const auto one = weft::create_task(destroys);
    const auto two = weft::create_task(gets);
    const auto three = weft::create_task(gets);
    co_await weft::yield();
    queue->put_nowait(1);
    queue->put_nowait(2);
    const auto join = weft::create_task(joins(), weft::TaskOptions("", true));
    co_await turns(3);
    REQUIRE(log == "12!j");
    REQUIRE_FALSE(queue);
}

WEFT_TEST_CASE("a putter that waits when the queue is destroyed is told so and has its item",
               "[queue]") {
    int alive = 0;
    auto queue = std::make_unique<Queue<Alive>>(1);
    queue->put_nowait(Alive(alive));
    bool told = false;
    auto puts = [&]() -> Coro<void> {
        auto putting = queue->put(Alive(alive));
        try {
            co_await putting;
        } catch (const QueueShutDown&) {
            told = alive == 1;
        }
    };
    const auto task = weft::create_task(puts);
    co_await weft::yield();
    queue.reset();
    co_await turns(2);
    REQUIRE(told);
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("a waiter may wait again and cancel its siblings when it wakes", "[queue]") {
    Queue<int> queue;
    std::vector<Task<void>> siblings;
    std::vector<int> got;
    auto leader = [&]() -> Coro<void> {
        for (int round = 0; round < 2; ++round) {
            const int item = co_await queue.get();
            got.push_back(item);
            for (auto& sibling : siblings) sibling.cancel();
        }
    };
    const auto lead = weft::create_task(leader);
    for (int i = 0; i < 3; ++i) siblings.push_back(weft::create_task(get_into(queue, got)));
    co_await weft::yield();
    queue.put_nowait(1);  // the leader's
    queue.put_nowait(2);  // a sibling's, which is cancelled afterwards and keeps it
    co_await turns(2);
    queue.put_nowait(3);
    co_await turns(2);
    REQUIRE(got == std::vector<int>{1, 2, 3});
    REQUIRE(lead.done());
    REQUIRE_FALSE(siblings[0].cancelled());
    REQUIRE(siblings[1].cancelled());
    REQUIRE(siblings[2].cancelled());
}

WEFT_TEST_CASE("an item's destructor may use the queue that drops it", "[queue]") {
    Queue<std::shared_ptr<void>> queue;
    int left = -1;
    const auto look = [&](void*) {
        left = static_cast<int>(queue.size());
        (void)queue.try_put(nullptr);
    };
    queue.put_nowait(std::shared_ptr<void>(&left, look));
    queue.shutdown(true);
    REQUIRE(left == 0);
    REQUIRE(queue.empty());
    co_return;
}

// --- the end of the loop in every state ---

namespace {

/// Waiters in every state: they wait, are woken, have items that nobody will look at.
Coro<void> everything_at_once(int& alive) {
    auto queue = std::make_shared<Queue<Alive>>(2);
    auto gets = [](std::shared_ptr<Queue<Alive>> from) -> Coro<void> {
        const Alive item = co_await from->get();
        co_await weft::yield();
        from->task_done();
    };
    auto puts = [](std::shared_ptr<Queue<Alive>> to, Alive item) -> Coro<void> {
        co_await to->put(std::move(item));
        co_await weft::yield();
    };
    auto joins = [](std::shared_ptr<Queue<Alive>> of) -> Coro<void> { co_await of->join(); };
    std::vector<Task<void>> tasks;
    for (int i = 0; i < 3; ++i) tasks.push_back(weft::create_task(gets, queue));
    for (int i = 0; i < 9; ++i) tasks.push_back(weft::create_task(puts, queue, Alive(alive)));
    tasks.push_back(weft::create_task(joins, queue));
    co_await turns(3);
    for (int i = 0; i < 4; ++i) {
        tasks.push_back(weft::create_task(gets, queue));
        co_await weft::sleep(1s);
    }
    if (queue->try_get()) queue->task_done();
    queue->shutdown(true);
    for (auto& task : tasks) co_await task.wait();
}

}  // namespace

TEST_CASE("cut off after every turn, by the loop's end and by a cancel, queues leak nothing",
          "[queue]") {
    int alive = 0;
    const auto scenario = [&alive] { return everything_at_once(alive); };
    const std::size_t steps = weft::testing::kill_at_every_step(scenario);
    REQUIRE(steps > 5);
    REQUIRE(alive == 0);
    weft::testing::cancel_at_every_step(scenario,
                                        [](const Task<void>& task) { REQUIRE(task.done()); });
    REQUIRE(alive == 0);
}

}  // namespace queue_cancel_test
