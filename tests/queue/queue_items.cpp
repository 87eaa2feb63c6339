// SPDX-License-Identifier: MIT
// Items that throw when they are moved, copied or compared: at every such step, one after the
// other.
#include <weft/queue/channel.hpp>
#include <weft/queue/lifo_queue.hpp>
#include <weft/queue/priority_queue.hpp>
#include <weft/queue/queue.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <vector>

#include "awaiting.hpp"

namespace queue_items_test {

using support::turns;
using weft::Coro;
using weft::Task;

namespace {

struct Broken : std::runtime_error {
    Broken() : std::runtime_error("broken") {}
};

/// Neither copied, nor assigned, nor made from nothing; one of its moves and comparisons throws:
/// the one that finds `steps_left` at 0.
class Fragile {
public:
    explicit Fragile(int number) : value(number) { ++alive; }
    Fragile(Fragile&& other) : value(other.value) {
        step();
        ++alive;
    }
    Fragile& operator=(Fragile&&) = delete;
    ~Fragile() { --alive; }
    friend bool operator<(const Fragile& a, const Fragile& b) {
        step();
        return a.value < b.value;
    }

    const int value;
    static inline int alive = 0;
    static inline int steps_left = -1;  // below 0: none does

private:
    static void step() {
        if (steps_left >= 0 && steps_left-- == 0) throw Broken();
    }
};

/// What was put and what was got, for a history in which step number `fault` throws.
struct Ledger {
    std::vector<int> put;
    std::vector<int> got;
    int faults = 0;
};

template <class Queue>
Coro<void> put_one(Queue& queue, int value, Ledger& ledger) {
    try {
        co_await queue.put(Fragile(value));
        ledger.put.push_back(value);
    } catch (const Broken&) {
        ++ledger.faults;
    }
}

template <class Queue>
Coro<void> get_one(Queue& queue, Ledger& ledger) {
    try {
        const Fragile item = co_await queue.get();
        ledger.got.push_back(item.value);
    } catch (const Broken&) {
        ++ledger.faults;
    } catch (const weft::QueueShutDown&) {
    }
}

template <class Queue>
void get_now(Queue& queue, Ledger& ledger) {
    try {
        if (queue.empty()) return;
        const Fragile item = queue.get_nowait();
        ledger.got.push_back(item.value);
        const std::optional<Fragile> next = queue.try_get();
        if (next) ledger.got.push_back(next->value);
    } catch (const Broken&) {
        ++ledger.faults;
    }
}

/// Getters that wait, then putters that wait, then a rest that nobody took.
template <class Queue>
Coro<Ledger> history(int fault) {
    Ledger ledger;
    {
        Queue queue(3);
        std::vector<Task<void>> tasks;
        Fragile::steps_left = fault;
        for (int i = 0; i < 2; ++i) tasks.push_back(weft::create_task(get_one(queue, ledger)));
        co_await weft::yield();
        for (const int value : {5, 3, 9, 1, 7, 2, 8})
            tasks.push_back(weft::create_task(put_one(queue, value, ledger)));
        co_await turns(2);
        get_now(queue, ledger);
        for (int i = 0; i < 2; ++i) tasks.push_back(weft::create_task(get_one(queue, ledger)));
        co_await turns(2);
        Fragile::steps_left = -1;
        co_await turns(2);
        while (!queue.empty()) get_now(queue, ledger);
        queue.shutdown();
        for (auto& task : tasks) co_await task.wait();
    }
    REQUIRE(Fragile::alive == 0);
    co_return ledger;
}

/// Returns how many steps the history has.
template <class Queue>
Coro<int> break_every_step(bool in_order) {
    for (int fault = 0;; ++fault) {
        Ledger ledger = co_await history<Queue>(fault);
        CAPTURE(fault);
        // What was put was got, whatever threw; and nothing threw twice.
        if (!in_order || ledger.faults > 0) {
            std::sort(ledger.put.begin(), ledger.put.end());
            std::sort(ledger.got.begin(), ledger.got.end());
        }
        REQUIRE(ledger.put == ledger.got);
        REQUIRE(ledger.faults <= 1);
        if (ledger.faults == 0) {
            REQUIRE(ledger.put.size() == 7);
            co_return fault;
        }
    }
}

}  // namespace

WEFT_TEST_CASE("an exception of an item's move loses no item of a queue", "[queue]") {
    const int steps = co_await break_every_step<weft::Queue<Fragile>>(true);
    REQUIRE(steps >= 12);
}

WEFT_TEST_CASE("an exception of an item's move loses no item of a lifo queue", "[queue]") {
    const int steps = co_await break_every_step<weft::LifoQueue<Fragile>>(false);
    REQUIRE(steps >= 12);
}

WEFT_TEST_CASE("an exception of a move or a comparison loses no item of a priority queue",
               "[queue]") {
    const int steps = co_await break_every_step<weft::PriorityQueue<Fragile>>(false);
    REQUIRE(steps >= 20);
}

WEFT_TEST_CASE("an item whose move throws on the way out is the next one still", "[queue]") {
    weft::Channel<Fragile> channel(2);
    co_await channel.sender.send(Fragile(1));
    co_await channel.sender.send(Fragile(2));
    int faults = 0;
    for (int round = 0; round < 2; ++round) {
        Fragile::steps_left = 0;
        try {
            if (round == 0) {
                const auto item = co_await channel.receiver.recv();
            } else {
                const auto item = channel.receiver.try_recv();
            }
        } catch (const Broken&) {
            ++faults;
        }
        Fragile::steps_left = -1;
    }
    REQUIRE(faults == 2);
    for (const int expected : {1, 2}) {
        const auto item = co_await channel.receiver.recv();
        REQUIRE(item);
        REQUIRE(item->value == expected);
    }
}

}  // namespace queue_items_test
