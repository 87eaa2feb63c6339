// SPDX-License-Identifier: MIT
// Broadcast: every receiver gets every item, and a slow one is told what it missed.
#include <weft/queue/broadcast.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <cstdint>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "probe.hpp"

namespace broadcast_test {

using probe::Alive;
using support::turns;
using weft::Broadcast;
using weft::Coro;
using weft::Task;

namespace {

/// Appends what it receives: "3 ", and "(2)3 " when 2 were missed before it.
Coro<void> listen(Broadcast<int>::Receiver receiver, std::string& log) {
    while (auto item = co_await receiver.recv()) {
        if (item.missed() > 0) log += '(' + std::to_string(item.missed()) + ')';
        log += std::to_string(*item) + ' ';
    }
    log += '.';
}

}  // namespace

WEFT_TEST_CASE("every receiver gets every item that is sent while it is subscribed",
               "[broadcast]") {
    auto hub = std::make_unique<Broadcast<int>>(8);
    REQUIRE(hub->send(0) == 0);
    std::string one;
    std::string two;
    const auto first = weft::create_task(listen(hub->subscribe(), one));
    REQUIRE(hub->send(1) == 1);
    const auto second = weft::create_task(listen(hub->subscribe(), two));
    co_await turns(2);
    REQUIRE(hub->send(2) == 2);
    REQUIRE(hub->send(3) == 2);
    hub.reset();
    co_await first;
    co_await second;
    REQUIRE(one == "1 2 3 .");
    REQUIRE(two == "2 3 .");
}

WEFT_TEST_CASE("a slow receiver goes on with the oldest item and is told how many it missed",
               "[broadcast]") {
    auto hub = std::make_unique<Broadcast<int>>(3);
    std::string log;
    const auto task = weft::create_task(listen(hub->subscribe(), log));
    co_await weft::yield();
    for (int item = 1; item <= 5; ++item) hub->send(item);
    co_await weft::yield();
    REQUIRE(log == "(2)3 4 5 ");
    for (int item = 6; item <= 8; ++item) hub->send(item);
    co_await weft::yield();
    REQUIRE(log == "(2)3 4 5 6 7 8 ");
    for (int item = 9; item <= 12; ++item) hub->send(item);
    hub.reset();
    co_await task;
    REQUIRE(log == "(2)3 4 5 6 7 8 (1)10 11 12 .");
}

WEFT_TEST_CASE("a receiver can look without waiting, and its copy is where it is", "[broadcast]") {
    Broadcast<std::string> hub(2);
    auto receiver = hub.subscribe();
    REQUIRE_FALSE(receiver.try_recv());
    hub.send("a");
    hub.send("b");
    auto copy = receiver;
    REQUIRE(*receiver.try_recv() == "a");
    REQUIRE(receiver.behind() == 1);
    REQUIRE(copy.behind() == 2);
    hub.send("c");
    const auto item = co_await copy.recv();
    REQUIRE(*item == "b");
    REQUIRE(item->size() == 1);
    REQUIRE(item.missed() == 1);
    REQUIRE(hub.receivers() == 2);
}

WEFT_TEST_CASE("a broadcast needs room for one item", "[broadcast]") {
    REQUIRE(probe::message_of<std::invalid_argument>([] { Broadcast<int> hub(0); }) ==
            "Broadcast: the capacity must not be 0");
    co_return;
}

WEFT_TEST_CASE("a cancelled receive loses no item", "[broadcast]") {
    Broadcast<int> hub(4);
    auto receiver = hub.subscribe();
    int got = 0;
    auto receives = [&]() -> Coro<void> {
        const auto item = co_await receiver.recv();
        got = *item;
    };
    auto cancelled = weft::create_task(receives);
    co_await weft::yield();
    cancelled.cancel();
    hub.send(1);
    co_await weft::yield();
    REQUIRE(cancelled.cancelled());
    co_await receives();
    REQUIRE(got == 1);
    auto woken = weft::create_task(receives);
    co_await weft::yield();
    hub.send(2);
    woken.cancel();  // after the item: it is received
    woken.cancel();
    co_await weft::yield();
    REQUIRE(got == 2);
    REQUIRE(receiver.behind() == 0);
}

WEFT_TEST_CASE("an item whose copy throws can be received again", "[broadcast]") {
    struct Item {
        explicit Item(int number) : value(number) {}
        Item(const Item& other) : value(other.value) {
            if (broken()) throw std::runtime_error("broken");
        }
        Item(Item&&) noexcept = default;
        static bool& broken() {
            static bool is = false;
            return is;
        }
        int value;
    };
    Broadcast<Item> hub(2);
    auto receiver = hub.subscribe();
    hub.send(Item(5));
    Item::broken() = true;
    REQUIRE(probe::message_of<std::runtime_error>([&] { (void)receiver.try_recv(); }) == "broken");
    std::string message;
    try {
        (void)co_await receiver.recv();
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    REQUIRE(message == "broken");
    Item::broken() = false;
    const auto item = co_await receiver.recv();
    REQUIRE(item->value == 5);
}

WEFT_TEST_CASE("a waiter may destroy the broadcast, wait again and cancel others when it wakes",
               "[broadcast]") {
    auto hub = std::make_unique<Broadcast<int>>(2);
    std::string log;
    std::vector<Task<void>> others;
    auto first = [&](Broadcast<int>::Receiver receiver) -> Coro<void> {
        const auto item = co_await receiver.recv();
        for (auto& other : others) other.cancel();
        hub.reset();
        const auto more = co_await receiver.recv();
        log += item && !more ? "1" : "?";
    };
    auto other = [&](Broadcast<int>::Receiver receiver) -> Coro<void> {
        const auto item = co_await receiver.recv();
        log += item ? "o" : "?";
    };
    const auto task = weft::create_task(first, hub->subscribe());
    for (int i = 0; i < 2; ++i) others.push_back(weft::create_task(other, hub->subscribe()));
    co_await weft::yield();
    hub->send(1);
    co_await turns(2);
    REQUIRE(log == "1oo");
}

WEFT_TEST_CASE("the destructor of an item that falls out of the ring may send", "[broadcast]") {
    Broadcast<std::shared_ptr<void>> hub(1);
    auto receiver = hub.subscribe();
    int sent = 0;
    hub.send(std::shared_ptr<void>(&sent, [&](void*) {
        ++sent;
        hub.send(nullptr);
    }));
    hub.send(nullptr);
    REQUIRE(sent == 1);
    REQUIRE(receiver.behind() == 3);
    REQUIRE(receiver.try_recv().missed() == 2);
    co_return;
}

WEFT_TEST_CASE("whatever is sent and cancelled, received and missed items add up", "[broadcast]") {
    for (unsigned seed = 1; seed <= 1000; ++seed) {
        CAPTURE(seed);
        std::mt19937 random(seed);
        auto hub = std::make_unique<Broadcast<std::uint64_t>>(1 + seed % 4);
        std::vector<Broadcast<std::uint64_t>::Receiver> receivers(3, hub->subscribe());
        std::vector<std::uint64_t> next(3);
        bool in_order = true;
        auto listens = [&](std::size_t index) -> Coro<void> {
            while (auto item = co_await receivers[index].recv()) {
                in_order = in_order && *item == next[index] + item.missed();
                next[index] = *item + 1;
                if (*item % 3 == index) co_await weft::yield();
            }
        };
        std::vector<Task<void>> tasks;
        for (std::size_t index = 0; index < 3; ++index)
            tasks.push_back(weft::create_task(listens, index));
        std::uint64_t sent = 0;
        for (int step = 0; step < 30; ++step) {
            const std::size_t index = random() % 3;
            const auto action = random() % 5;
            if (action == 0) co_await weft::yield();
            if (action == 1 || action == 2) hub->send(sent++);
            if (action == 3) tasks[index].cancel();
            if (action == 4 && tasks[index].done())
                tasks[index] = weft::create_task(listens, index);
        }
        hub.reset();
        for (std::size_t index = 0; index < 3; ++index) {
            co_await tasks[index].wait();
            co_await listens(index);
        }
        REQUIRE(next == std::vector<std::uint64_t>(3, sent));
        REQUIRE(in_order);
    }
}

TEST_CASE("cut off after every turn, broadcasts leak nothing", "[broadcast]") {
    int alive = 0;
    const auto scenario = [&alive]() -> Coro<void> {
        auto hub = std::make_unique<Broadcast<Alive>>(2);
        auto listens = [](Broadcast<Alive>::Receiver receiver) -> Coro<void> {
            while (auto item = co_await receiver.recv()) co_await weft::yield();
        };
        std::vector<Task<void>> tasks;
        for (int i = 0; i < 3; ++i) tasks.push_back(weft::create_task(listens, hub->subscribe()));
        for (int i = 0; i < 5; ++i) {
            hub->send(Alive(alive));
            if (i % 2 == 0) co_await weft::yield();
        }
        hub.reset();
        for (auto& task : tasks) co_await task;
    };
    REQUIRE(weft::testing::kill_at_every_step(scenario) > 3);
    REQUIRE(alive == 0);
    weft::testing::cancel_at_every_step(scenario,
                                        [](const Task<void>& task) { REQUIRE(task.done()); });
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("a broadcast tells what it keeps, how many receivers it has and how many wait",
               "[broadcast]") {
    Broadcast<int> broadcast(2);
    auto waits = [](Broadcast<int>::Receiver receiver) -> Coro<void> {
        auto item = co_await receiver.recv();
        REQUIRE(*item == 2);
        REQUIRE(item.missed() == 1);
    };
    const auto idle = broadcast.subscribe();
    auto waiting = weft::create_task(waits, broadcast.subscribe());
    co_await weft::yield();
    REQUIRE(broadcast.statistics().items == 0);
    REQUIRE(broadcast.statistics().receivers == 2);
    REQUIRE(broadcast.statistics().waiters == 1);
    for (int i = 1; i <= 3; ++i) broadcast.send(i);
    REQUIRE(broadcast.statistics().items == 2);
    REQUIRE(broadcast.statistics().waiters == 0);
    waiting.cancel();
    co_await waiting.wait();
    REQUIRE(idle.behind() == 3);
}

WEFT_TEST_CASE("after close nothing is sent, and receivers get what is kept and then the end",
               "[broadcast]") {
    Broadcast<int> broadcast(4);
    auto receiver = broadcast.subscribe();
    auto waits = broadcast.subscribe();
    broadcast.send(1);
    (void)waits.try_recv();
    auto waiting = weft::create_task([&]() -> Coro<bool> {
        const auto item = co_await waits.recv();
        co_return static_cast<bool>(item);
    });
    co_await weft::yield();
    broadcast.close();
    broadcast.close();
    REQUIRE(broadcast.closed());
    REQUIRE_THROWS_AS(broadcast.send(2), weft::ChannelClosed);
    const bool waited_got = co_await waiting;
    REQUIRE_FALSE(waited_got);
    const auto kept = co_await receiver.recv();
    REQUIRE(*kept == 1);
    const auto end = co_await receiver.recv();
    REQUIRE_FALSE(end);
    REQUIRE(receiver.closed());
    REQUIRE(broadcast.subscribe().closed());
}

}  // namespace broadcast_test
