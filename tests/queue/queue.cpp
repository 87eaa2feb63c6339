// SPDX-License-Identifier: MIT
// Queue: bounds, order, hand-off, join and shutdown, step by step. (Cancels are in
// queue_cancel.cpp.)
#include <weft/queue/queue.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "awaiting.hpp"
#include "probe.hpp"

namespace queue_test {

using namespace std::chrono_literals;
using support::turns;
using weft::Coro;
using weft::Queue;
using weft::QueueEmpty;
using weft::QueueFull;
using weft::QueueShutDown;
using weft::Task;

namespace {

/// Gets one item and appends it to `log` with its own name in front: "a1 ".
Coro<void> get_into(Queue<int>& queue, std::string& log, char name) {
    try {
        const int item = co_await queue.get();
        log += name + std::to_string(item) + ' ';
    } catch (const QueueShutDown&) {
        log += name + std::string("! ");
    }
}

Coro<void> put_and_note(Queue<int>& queue, int item, std::string& log) {
    try {
        co_await queue.put(item);
        log += std::to_string(item) + ' ';
    } catch (const QueueShutDown&) {
        log += std::to_string(item) + "! ";
    }
}

}  // namespace

// --- 71: bounds ---

WEFT_TEST_CASE("71: maxsize blocks putters until there is room", "[queue]") {
    Queue<int> queue(2);
    std::string log;
    std::vector<Task<void>> tasks;
    for (int item = 1; item <= 4; ++item)
        tasks.push_back(weft::create_task(put_and_note(queue, item, log)));
    co_await turns(5);
    REQUIRE(log == "1 2 ");
    REQUIRE(queue.full());
    REQUIRE(queue.size() == 2);
    REQUIRE(queue.maxsize() == 2);
    const int first = co_await queue.get();
    REQUIRE(first == 1);
    REQUIRE(queue.full());  // the third has its place already
    co_await turns(2);
    REQUIRE(log == "1 2 3 ");
    for (int expected = 2; expected <= 4; ++expected) {
        const int item = co_await queue.get();
        REQUIRE(item == expected);
    }
    REQUIRE(queue.empty());
    REQUIRE_FALSE(queue.full());
    for (auto& task : tasks) co_await task;
}

WEFT_TEST_CASE("71: a queue without maxsize takes everything at once, in order", "[queue]") {
    Queue<int> queue;
    auto fill = [&]() -> Coro<void> {
        for (int item = 0; item < 100; ++item) co_await queue.put(item);
    };
    const auto task = weft::create_task(fill);
    co_await weft::yield();
    REQUIRE(task.done());
    REQUIRE_FALSE(queue.full());
    REQUIRE(queue.qsize() == 100);
    bool in_order = true;
    for (int item = 0; item < 100; ++item) in_order = in_order && queue.get_nowait() == item;
    REQUIRE(in_order);
}

WEFT_TEST_CASE("the calls that do not wait say what they found", "[queue]") {
    Queue<std::unique_ptr<int>> queue(1);
    REQUIRE(probe::message_of<QueueEmpty>([&] { (void)queue.get_nowait(); }) ==
            "the queue is empty");
    REQUIRE_FALSE(queue.try_get());
    queue.put_nowait(std::make_unique<int>(1));
    auto second = std::make_unique<int>(2);
    REQUIRE_FALSE(queue.try_put(std::move(second)));
    REQUIRE(second);
    REQUIRE(probe::message_of<QueueFull>([&] { queue.put_nowait(std::move(second)); }) ==
            "the queue is full");
    REQUIRE(second);
    REQUIRE(*queue.get_nowait() == 1);
    REQUIRE(queue.try_put(std::move(second)));
    REQUIRE(**queue.try_get() == 2);
    co_return;
}

// --- 73: strictly first come, first served ---

WEFT_TEST_CASE("73: getters that wait are served in the order in which they came", "[queue]") {
    Queue<int> queue;
    std::string log;
    std::vector<Task<void>> tasks;
    for (const char name : {'a', 'b', 'c'})
        tasks.push_back(weft::create_task(get_into(queue, log, name)));
    co_await weft::yield();
    for (int item = 1; item <= 3; ++item) queue.put_nowait(item);
    REQUIRE(queue.empty());  // each item is with its getter
    co_await weft::yield();
    REQUIRE(log == "a1 b2 c3 ");
}

WEFT_TEST_CASE("73: a newcomer cannot rob a getter that was woken", "[queue]") {
    Queue<int> queue;
    std::string log;
    const auto waiter = weft::create_task(get_into(queue, log, 'w'));
    co_await weft::yield();
    queue.put_nowait(1);
    const std::optional<int> robbed = queue.try_get();
    REQUIRE_FALSE(robbed);
    const auto late = weft::create_task(get_into(queue, log, 'l'));
    queue.put_nowait(2);
    co_await turns(2);
    REQUIRE(log == "w1 l2 ");
}

WEFT_TEST_CASE("73: putters that wait put in the order in which they came", "[queue]") {
    Queue<int> queue(1);
    std::string log;
    std::vector<Task<void>> tasks;
    for (int item = 0; item < 5; ++item)
        tasks.push_back(weft::create_task(put_and_note(queue, item, log)));
    co_await weft::yield();
    std::vector<int> got;
    for (int item = 0; item < 5; ++item) {
        got.push_back(queue.get_nowait());
        // The place belongs to the putter that waits; a newcomer finds the queue full.
        const bool barged = item < 4 && queue.try_put(100);
        REQUIRE_FALSE(barged);
    }
    REQUIRE(got == std::vector<int>{0, 1, 2, 3, 4});
    co_await weft::yield();
    REQUIRE(log == "0 1 2 3 4 ");
}

WEFT_TEST_CASE("producers and consumers of every number move every item once", "[queue]") {
    for (const std::size_t maxsize : {0u, 1u, 2u, 7u}) {
        Queue<int> queue(maxsize);
        constexpr int producers = 3;
        constexpr int items_each = 50;
        std::vector<int> seen(producers * items_each);
        auto produce = [&](int number) -> Coro<void> {
            for (int item = 0; item < items_each; ++item) {
                co_await queue.put(number * items_each + item);
                if (item % 7 == number) co_await weft::yield();
            }
        };
        auto consume = [&](int number) -> Coro<void> {
            try {
                for (;;) {
                    const int item = co_await queue.get();
                    ++seen[static_cast<std::size_t>(item)];
                    if (item % 5 == number) co_await weft::yield();
                    queue.task_done();
                }
            } catch (const QueueShutDown&) {
            }
        };
        std::vector<Task<void>> makers;
        std::vector<Task<void>> users;
        for (int number = 0; number < producers; ++number)
            makers.push_back(weft::create_task(produce, number));
        for (int number = 0; number < 4; ++number)
            users.push_back(weft::create_task(consume, number));
        for (auto& task : makers) co_await task;
        co_await queue.join();
        queue.shutdown();
        for (auto& task : users) co_await task;
        REQUIRE(seen == std::vector<int>(producers * items_each, 1));
    }
}

// --- 74: task_done and join ---

WEFT_TEST_CASE("74: join waits until every item is done, those in progress included", "[queue]") {
    Queue<int> queue;
    co_await queue.join();  // nothing was put: at once
    queue.put_nowait(1);
    queue.put_nowait(2);
    auto joins = [&]() -> Coro<void> { co_await queue.join(); };
    const auto one = weft::create_task(joins);
    const auto two = weft::create_task(joins);
    co_await weft::yield();
    (void)queue.get_nowait();
    (void)queue.get_nowait();
    queue.task_done();
    co_await turns(2);
    REQUIRE_FALSE(one.done());
    queue.task_done();
    co_await weft::yield();
    REQUIRE(one.done());
    REQUIRE(two.done());
}

WEFT_TEST_CASE("an item that a waiting putter holds does not count for join yet", "[queue]") {
    Queue<int> queue(1);
    std::string log;
    const auto one = weft::create_task(put_and_note(queue, 1, log));
    const auto two = weft::create_task(put_and_note(queue, 2, log));
    co_await weft::yield();
    queue.task_done();
    co_await queue.join();
    (void)queue.get_nowait();
    auto joins = [&]() -> Coro<void> { co_await queue.join(); };
    const auto join = weft::create_task(joins);
    co_await turns(2);
    REQUIRE_FALSE(join.done());
    queue.task_done();
    co_await weft::yield();
    REQUIRE(join.done());
}

WEFT_TEST_CASE("74: one task_done too many is an error and changes nothing", "[queue]") {
    Queue<int> queue;
    const auto too_many = [&] { queue.task_done(); };
    const std::string message = "task_done: called more often than items were put";
    REQUIRE(probe::message_of<weft::RuntimeError>(too_many) == message);
    queue.put_nowait(1);
    queue.task_done();
    REQUIRE(probe::message_of<weft::RuntimeError>(too_many) == message);
    co_await queue.join();
}

// --- 75: shutdown ---

WEFT_TEST_CASE("75: shutdown lets getters drain and fails putters", "[queue]") {
    Queue<int> queue(2);
    std::string log;
    queue.put_nowait(1);
    queue.put_nowait(2);
    const auto waiting = weft::create_task(put_and_note(queue, 3, log));
    co_await weft::yield();
    queue.shutdown();
    queue.shutdown();
    REQUIRE(queue.is_shutdown());
    co_await weft::yield();
    REQUIRE(log == "3! ");
    co_await put_and_note(queue, 4, log);
    REQUIRE(log == "3! 4! ");
    REQUIRE_FALSE(queue.try_put(5));
    REQUIRE(probe::message_of<QueueShutDown>([&] { queue.put_nowait(5); }) ==
            "the queue is shut down");
    const int first = co_await queue.get();
    REQUIRE(first == 1);
    REQUIRE(queue.get_nowait() == 2);
    co_await get_into(queue, log, 'g');
    REQUIRE(log == "3! 4! g! ");
    REQUIRE(probe::message_of<QueueShutDown>([&] { (void)queue.get_nowait(); }) ==
            "the queue is shut down");
    REQUIRE_FALSE(queue.try_get());
}

WEFT_TEST_CASE("shutdown wakes every getter that waits", "[queue]") {
    Queue<int> queue;
    std::string log;
    std::vector<Task<void>> tasks;
    for (const char name : {'a', 'b', 'c'})
        tasks.push_back(weft::create_task(get_into(queue, log, name)));
    co_await weft::yield();
    queue.put_nowait(1);
    queue.shutdown(true);
    co_await weft::yield();
    REQUIRE(log == "a1 b! c! ");  // what was handed over is not dropped
}

WEFT_TEST_CASE("75: an immediate shutdown drops the items and fixes the count of join", "[queue]") {
    int alive = 0;
    Queue<probe::Alive> queue;
    for (int item = 0; item < 3; ++item) queue.put_nowait(probe::Alive(alive));
    auto joins = [&]() -> Coro<void> { co_await queue.join(); };
    {
        const probe::Alive taken = queue.get_nowait();
        const auto join = weft::create_task(joins);
        co_await weft::yield();
        queue.shutdown(true);
        REQUIRE(queue.empty());
        REQUIRE(alive == 1);
        co_await turns(2);
        REQUIRE_FALSE(join.done());  // the one that was taken is not done
        queue.task_done();
        co_await weft::yield();
        REQUIRE(join.done());
    }
    REQUIRE(probe::message_of<weft::RuntimeError>([&] { queue.task_done(); }) != "");
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("an immediate shutdown with nothing in progress ends join at once", "[queue]") {
    Queue<int> queue;
    queue.put_nowait(1);
    auto joins = [&]() -> Coro<void> { co_await queue.join(); };
    const auto join = weft::create_task(joins);
    co_await weft::yield();
    queue.shutdown();
    co_await turns(2);
    REQUIRE_FALSE(join.done());
    queue.shutdown(true);
    co_await weft::yield();
    REQUIRE(join.done());
}

WEFT_TEST_CASE("a queue tells how many items and waiting tasks it has", "[queue]") {
    Queue<int> queue(1);
    auto puts = [&]() -> Coro<void> { co_await queue.put(2); };
    auto gets = [&]() -> Coro<void> { co_await queue.get(); };
    auto joins = [&]() -> Coro<void> { co_await queue.join(); };
    co_await queue.put(1);
    auto putting = weft::create_task(puts);
    auto joining = weft::create_task(joins);
    co_await weft::yield();
    auto statistics = queue.statistics();
    REQUIRE(statistics.items == 1);
    REQUIRE(statistics.unfinished == 1);
    REQUIRE(statistics.waiting_puts == 1);
    REQUIRE(statistics.waiting_gets == 0);
    REQUIRE(statistics.waiting_joins == 1);
    co_await queue.get();
    co_await queue.get();
    auto getting = weft::create_task(gets);
    co_await putting;
    statistics = queue.statistics();
    REQUIRE(statistics.items == 0);
    REQUIRE(statistics.unfinished == 2);
    REQUIRE(statistics.waiting_puts == 0);
    REQUIRE(statistics.waiting_gets == 1);
    queue.task_done();
    queue.task_done();
    REQUIRE(queue.statistics().waiting_joins == 0);
    REQUIRE(queue.statistics().unfinished == 0);
    co_await joining;
    co_await queue.put(3);
    co_await getting;
    REQUIRE(queue.statistics().waiting_gets == 0);
}

}  // namespace queue_test
