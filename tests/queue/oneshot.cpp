// SPDX-License-Identifier: MIT
// Oneshot: one value, or the news that there will never be one.
#include <weft/queue/oneshot.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <chrono>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "probe.hpp"

namespace oneshot_test {

using namespace std::chrono_literals;
using probe::Alive;
using support::turns;
using weft::CancelledError;
using weft::ChannelClosed;
using weft::Coro;
using weft::Oneshot;
using weft::Task;

namespace {

/// What a receive ended with: "value 7", "cancelled", or the message of ChannelClosed.
Coro<void> receive(Oneshot<std::unique_ptr<int>>::Receiver& receiver, std::string& end) {
    try {
        const auto value = co_await receiver.recv();
        end = "value " + std::to_string(*value);
    } catch (const CancelledError&) {
        end = "cancelled";
    } catch (const ChannelClosed& error) {
        end = error.what();
    }
}

}  // namespace

WEFT_TEST_CASE("a oneshot gives its value before and after the receiver waits", "[oneshot]") {
    for (const bool waits_first : {true, false}) {
        Oneshot<std::unique_ptr<int>> oneshot;
        std::string end;
        if (!waits_first) oneshot.sender.send(std::make_unique<int>(7));
        const auto task = weft::create_task(receive(oneshot.receiver, end));
        co_await weft::yield();
        REQUIRE(task.done() == !waits_first);
        if (waits_first) oneshot.sender.send(std::make_unique<int>(7));
        co_await weft::yield();
        REQUIRE(end == "value 7");
    }
}

WEFT_TEST_CASE("a sender that goes without a value is an error for the receiver", "[oneshot]") {
    for (const bool waits_first : {true, false}) {
        Oneshot<std::unique_ptr<int>> oneshot;
        std::string end;
        if (!waits_first) oneshot.sender.close();
        const auto task = weft::create_task(receive(oneshot.receiver, end));
        co_await weft::yield();
        { const auto dropped = std::move(oneshot.sender); }
        co_await weft::yield();
        REQUIRE(task.done());
        REQUIRE(end == "recv: the sender of the oneshot is gone without a value");
    }
}

WEFT_TEST_CASE("a send that nobody can receive fails and keeps the value", "[oneshot]") {
    Oneshot<std::unique_ptr<int>> oneshot;
    oneshot.receiver.close();
    REQUIRE(oneshot.sender.closed());
    auto value = std::make_unique<int>(1);
    REQUIRE_FALSE(oneshot.sender.try_send(std::move(value)));
    REQUIRE(probe::message_of<ChannelClosed>([&] { oneshot.sender.send(std::move(value)); }) ==
            "send: the receiver of the oneshot is gone");
    REQUIRE(value);
    Oneshot<std::unique_ptr<int>> used;
    used.sender.send(std::make_unique<int>(2));
    REQUIRE(probe::message_of<ChannelClosed>([&] { used.sender.send(std::move(value)); }) ==
            "send: the oneshot was used already");
    REQUIRE(value);
    REQUIRE(**used.receiver.try_recv() == 2);
    REQUIRE_FALSE(used.receiver.try_recv());
    co_return;
}

WEFT_TEST_CASE("a receive that is cancelled leaves the oneshot usable; one that won returns",
               "[oneshot]") {
    Oneshot<std::unique_ptr<int>> oneshot;
    std::string end;
    auto task = weft::create_task(receive(oneshot.receiver, end));
    co_await weft::yield();
    task.cancel();
    task.cancel();
    co_await weft::yield();
    REQUIRE(end == "cancelled");
    auto again = weft::create_task(receive(oneshot.receiver, end));
    co_await weft::yield();
    oneshot.sender.send(std::make_unique<int>(8));
    again.cancel();
    co_await weft::yield();
    REQUIRE(end == "value 8");
}

WEFT_TEST_CASE("a value whose move throws is still there to be received", "[oneshot]") {
    struct Broken : std::runtime_error {
        using std::runtime_error::runtime_error;
    };
    struct Fragile {
        Fragile(int number, bool& broken) : value(number), throws(&broken) {}
        Fragile(Fragile&& other) : value(other.value), throws(other.throws) {
            if (*throws) throw Broken("broken");
        }
        int value;
        bool* throws;
    };
    bool broken = true;
    Oneshot<Fragile> oneshot;
    Fragile value(3, broken);
    REQUIRE(probe::message_of<Broken>([&] { oneshot.sender.send(std::move(value)); }) == "broken");
    REQUIRE_FALSE(oneshot.sender.closed());
    broken = false;
    oneshot.sender.send(std::move(value));
    broken = true;
    int failures = 0;
    try {
        (void)co_await oneshot.receiver.recv();
    } catch (const Broken&) {
        ++failures;
    }
    REQUIRE(failures == 1);
    broken = false;
    const auto got = co_await oneshot.receiver.recv();
    REQUIRE(got.value == 3);
}

WEFT_TEST_CASE("a waiter may let go of both ends when it wakes", "[oneshot]") {
    int alive = 0;
    auto oneshot = std::make_unique<Oneshot<Alive>>();
    auto body = [&]() -> Coro<void> {
        const Alive value = co_await oneshot->receiver.recv();
        oneshot.reset();
    };
    const auto task = weft::create_task(body);
    co_await weft::yield();
    oneshot->sender.send(Alive(alive));
    co_await task;
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("whatever races, a value is received, refused or destroyed, and once", "[oneshot]") {
    for (unsigned seed = 1; seed <= 2000; ++seed) {
        CAPTURE(seed);
        std::mt19937 random(seed);
        int alive = 0;
        {
            auto oneshot = std::make_unique<Oneshot<Alive>>();
            int received = 0;
            int refused = 0;
            int attempts = 0;
            int unsent = 0;
            auto receives = [&](Oneshot<Alive>::Receiver receiver) -> Coro<void> {
                try {
                    const Alive value = co_await receiver.recv();
                    ++received;
                } catch (const ChannelClosed&) {
                    ++unsent;
                }
            };
            auto task = weft::create_task(receives, std::move(oneshot->receiver));
            bool sent = false;
            bool asked = false;
            for (int step = 0; step < 4; ++step) {
                const auto action = random() % 5;
                if (action == 0) co_await weft::yield();
                if (action == 1 && !sent) {
                    ++attempts;
                    sent = oneshot->sender.try_send(Alive(alive));
                    refused += sent ? 0 : 1;
                }
                if (action == 2) oneshot->sender.close();
                if (action == 3) asked = task.cancel() || asked;
            }
            oneshot->sender.close();
            co_await task.wait();
            REQUIRE((received + unsent == 1 || asked));
            REQUIRE(attempts == refused + (sent ? 1 : 0));
            REQUIRE(received <= (sent ? 1 : 0));
            // It began before the cancel and the value: then the value is never dropped.
            if (sent && !asked) REQUIRE(received == 1);
        }
        REQUIRE(alive == 0);
    }
}

TEST_CASE("cut off after every turn, oneshots leak nothing", "[oneshot]") {
    int alive = 0;
    const auto scenario = [&alive]() -> Coro<void> {
        auto receives = [](Oneshot<Alive>::Receiver receiver) -> Coro<void> {
            const Alive value = co_await receiver.recv();
            co_await weft::yield();
        };
        auto sends = [](Oneshot<Alive>::Sender sender, Alive value) -> Coro<void> {
            co_await weft::sleep(1s);
            sender.send(std::move(value));
        };
        std::vector<Task<void>> tasks;
        for (int i = 0; i < 3; ++i) {
            Oneshot<Alive> oneshot;
            tasks.push_back(weft::create_task(receives, std::move(oneshot.receiver)));
            tasks.push_back(weft::create_task(sends, std::move(oneshot.sender), Alive(alive)));
        }
        for (auto& task : tasks) co_await task;
    };
    REQUIRE(weft::testing::kill_at_every_step(scenario) > 2);
    REQUIRE(alive == 0);
    weft::testing::cancel_at_every_step(scenario,
                                        [](const Task<void>& task) { REQUIRE(task.done()); });
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("of two tasks that receive from one oneshot the second is told that nothing comes",
               "[oneshot]") {
    weft::Oneshot<int> oneshot;
    auto receives = [&]() -> weft::Coro<int> { co_return co_await oneshot.receiver.recv(); };
    auto first = weft::create_task(receives);
    auto second = weft::create_task(receives);
    co_await weft::yield();
    oneshot.sender.send(5);
    co_await second.wait();
    const int received = co_await first;
    REQUIRE(received == 5);
    bool closed = false;
    try {
        co_await second;
    } catch (const weft::ChannelClosed&) {
        closed = true;
    }
    REQUIRE(closed);
}

}  // namespace oneshot_test
