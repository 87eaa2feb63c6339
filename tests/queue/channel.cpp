// SPDX-License-Identifier: MIT
// Channel: items go from senders to receivers, and each side learns when the other is gone.
#include <weft/queue/channel.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "probe.hpp"

namespace channel_test {

using probe::Alive;
using support::turns;
using weft::CancelledError;
using weft::Channel;
using weft::ChannelClosed;
using weft::Coro;
using weft::Task;

namespace {

Coro<void> send_numbers(Channel<int>::Sender sender, int first, int count) {
    for (int number = first; number < first + count; ++number) co_await sender.send(number);
}

Coro<void> receive_all(Channel<int>::Receiver receiver, std::vector<int>& got) {
    while (auto item = co_await receiver.recv()) got.push_back(*item);
}

}  // namespace

WEFT_TEST_CASE("a channel ends when the last sender goes, and what was sent is received",
               "[channel]") {
    Channel<int> channel(3);
    std::vector<int> got;
    const auto one = weft::create_task(send_numbers(channel.sender, 0, 10));
    const auto two = weft::create_task(send_numbers(std::move(channel.sender), 100, 10));
    const auto reader = weft::create_task(receive_all(std::move(channel.receiver), got));
    co_await reader;
    REQUIRE(got.size() == 20);
    std::sort(got.begin(), got.end());
    for (int number = 0; number < 10; ++number) {
        REQUIRE(got[static_cast<std::size_t>(number)] == number);
        REQUIRE(got[static_cast<std::size_t>(number) + 10] == number + 100);
    }
    REQUIRE(one.done());
    REQUIRE(two.done());
}

WEFT_TEST_CASE("a receiver that waits learns that the last sender went", "[channel]") {
    Channel<int> channel(1);
    std::vector<int> got;
    const auto one = weft::create_task(receive_all(channel.receiver, got));
    const auto two = weft::create_task(receive_all(channel.receiver, got));
    co_await weft::yield();
    Channel<int>::Sender second = channel.sender;
    channel.sender.close();
    co_await turns(2);
    REQUIRE_FALSE(one.done());
    REQUIRE_FALSE(channel.receiver.closed());
    second.close();
    co_await weft::yield();
    REQUIRE(one.done());
    REQUIRE(two.done());
    REQUIRE(channel.receiver.closed());
}

WEFT_TEST_CASE("send fails once the last receiver is gone, and what is inside is dropped",
               "[channel]") {
    int alive = 0;
    Channel<Alive> channel(1);
    bool told = false;
    auto sends = [&]() -> Coro<void> {
        auto sending = channel.sender.send(Alive(alive));
        try {
            co_await sending;
        } catch (const ChannelClosed&) {
            told = alive == 1;  // its own
        }
    };
    REQUIRE(channel.sender.try_send(Alive(alive)));
    const auto task = weft::create_task(sends);
    co_await weft::yield();
    REQUIRE(alive == 2);
    auto second = channel.receiver;
    channel.receiver.close();
    REQUIRE_FALSE(channel.sender.closed());
    second.close();
    REQUIRE(channel.sender.closed());
    REQUIRE(alive == 1);
    co_await turns(2);
    REQUIRE(told);
    REQUIRE(alive == 0);
    REQUIRE_FALSE(channel.sender.try_send(Alive(alive)));
    std::string message;
    try {
        co_await channel.sender.send(Alive(alive));
    } catch (const ChannelClosed& error) {
        message = error.what();
    }
    REQUIRE(message == "send: every receiver of the channel is gone");
}

WEFT_TEST_CASE("a full channel blocks its senders, in the order in which they came", "[channel]") {
    Channel<int> channel(2);
    std::vector<Task<void>> tasks;
    for (int number = 0; number < 5; ++number)
        tasks.push_back(weft::create_task(send_numbers(channel.sender, number, 1)));
    co_await turns(3);
    REQUIRE(channel.receiver.size() == 2);
    REQUIRE_FALSE(channel.sender.try_send(9));
    for (int number = 0; number < 5; ++number) {
        const auto item = co_await channel.receiver.recv();
        REQUIRE(item == number);
    }
    REQUIRE_FALSE(channel.receiver.try_recv());
    for (auto& task : tasks) co_await task;
}

WEFT_TEST_CASE("a channel needs room for one item", "[channel]") {
    REQUIRE(probe::message_of<std::invalid_argument>([] { Channel<int> channel(0); }) ==
            "Channel: the capacity must not be 0");
    co_return;
}

WEFT_TEST_CASE("a receiver that was given an item and is cancelled then returns it", "[channel]") {
    Channel<int> channel(1);
    std::optional<int> got;
    auto body = [&]() -> Coro<void> { got = co_await channel.receiver.recv(); };
    auto waits = weft::create_task(body);
    auto cancelled = weft::create_task(body);
    co_await weft::yield();
    cancelled.cancel();
    REQUIRE(channel.sender.try_send(4));
    waits.cancel();
    co_await turns(2);
    REQUIRE(got == 4);
    REQUIRE_FALSE(waits.cancelled());
    REQUIRE(cancelled.cancelled());
}

WEFT_TEST_CASE("an item may hold the other ends of its own channel", "[channel]") {
    struct Link {
        explicit Link(Channel<std::shared_ptr<Link>> both) : ends(std::move(both)) {}
        Channel<std::shared_ptr<Link>> ends;
    };
    for (const bool receiver_first : {true, false}) {
        Channel<std::shared_ptr<Link>> channel(2);
        auto receiver = channel.receiver;
        auto sender = channel.sender;
        auto link = std::make_shared<Link>(std::move(channel));
        const std::weak_ptr<Link> gone = link;
        REQUIRE(sender.try_send(std::move(link)));
        {
            // Out of its circle: the item's own receiver would keep it for ever.
            auto item = receiver.try_recv();
            (*item)->ends.receiver.close();
            REQUIRE(sender.try_send(std::move(*item)));
        }
        if (receiver_first) {
            receiver.close();
            REQUIRE(gone.expired());
            sender.close();
        } else {
            sender.close();
            receiver.close();
        }
        REQUIRE(gone.expired());
    }
    co_return;
}

WEFT_TEST_CASE("a waiter may let go of every end when it wakes", "[channel]") {
    auto channel = std::make_unique<Channel<int>>(1);
    std::string log;
    auto destroys = [&]() -> Coro<void> {
        const auto item = co_await channel->receiver.recv();
        log += std::to_string(*item);
        channel.reset();
    };
    auto second = [&]() -> Coro<void> {
        const auto item = co_await channel->receiver.recv();
        log += std::to_string(*item);
    };
    const auto one = weft::create_task(destroys);
    const auto two = weft::create_task(second);
    co_await weft::yield();
    REQUIRE(channel->sender.try_send(1));
    REQUIRE(channel->sender.try_send(2));
    co_await turns(2);
    REQUIRE(log == "12");
    REQUIRE_FALSE(channel);
}

WEFT_TEST_CASE("whatever ends are cloned, dropped and cancelled, no item is lost or doubled",
               "[channel]") {
    for (unsigned seed = 1; seed <= 400; ++seed) {
        CAPTURE(seed);
        std::mt19937 random(seed);
        Channel<int> channel(1 + seed % 4);
        std::vector<int> sent;
        std::vector<int> got;
        bool refused = false;
        auto sends = [&](Channel<int>::Sender sender, int number) -> Coro<void> {
            for (int item = 0; item < 5; ++item) {
                try {
                    co_await sender.send(number * 10 + item);
                } catch (const ChannelClosed&) {
                    refused = true;
                    co_return;
                }
                sent.push_back(number * 10 + item);
            }
        };
        auto receives = [&](Channel<int>::Receiver receiver, unsigned most) -> Coro<void> {
            for (unsigned item = 0; item < most; ++item) {
                const auto received = co_await receiver.recv();
                if (!received) co_return;
                got.push_back(*received);
            }
        };
        std::vector<Task<void>> tasks;
        for (int number = 0; number < 12; ++number) {
            if (random() % 2 == 0) {
                tasks.push_back(weft::create_task(sends, channel.sender, number));
            } else {
                const auto most = static_cast<unsigned>(1 + random() % 8);
                tasks.push_back(weft::create_task(receives, channel.receiver, most));
            }
            if (random() % 3 == 0) tasks[random() % tasks.size()].cancel();
            if (random() % 2 == 0) co_await weft::yield();
        }
        // Whatever the tasks left behind is received here, once they have no more to send.
        channel.sender.close();
        while (auto item = co_await channel.receiver.recv()) got.push_back(*item);
        for (auto& task : tasks) co_await task.wait();
        std::sort(sent.begin(), sent.end());
        std::sort(got.begin(), got.end());
        REQUIRE(sent == got);
        REQUIRE_FALSE(refused);
    }
}

TEST_CASE("cut off after every turn, channels leak nothing", "[channel]") {
    int alive = 0;
    const auto scenario = [&alive]() -> Coro<void> {
        Channel<Alive> channel(2);
        auto sends = [](Channel<Alive>::Sender sender, Alive item) -> Coro<void> {
            for (int i = 0; i < 3; ++i) co_await sender.send(item);
        };
        auto receives = [](Channel<Alive>::Receiver receiver) -> Coro<void> {
            while (auto item = co_await receiver.recv()) co_await weft::yield();
        };
        std::vector<Task<void>> tasks;
        for (int i = 0; i < 3; ++i) {
            tasks.push_back(weft::create_task(receives, channel.receiver));
            tasks.push_back(weft::create_task(sends, channel.sender, Alive(alive)));
        }
        channel.sender.close();
        for (auto& task : tasks) co_await task;
    };
    REQUIRE(weft::testing::kill_at_every_step(scenario) > 3);
    REQUIRE(alive == 0);
    weft::testing::cancel_at_every_step(scenario,
                                        [](const Task<void>& task) { REQUIRE(task.done()); });
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("either end tells how many items, ends and waiting tasks there are", "[channel]") {
    Channel<int> channel(1);
    std::vector<int> got;
    const Channel<int>::Sender second = channel.sender;
    auto statistics = channel.receiver.statistics();
    REQUIRE(statistics.items == 0);
    REQUIRE(statistics.senders == 2);
    REQUIRE(statistics.receivers == 1);
    auto sends = weft::create_task(send_numbers(second, 1, 3));
    co_await weft::yield();
    statistics = channel.sender.statistics();
    REQUIRE(statistics.items == 1);
    REQUIRE(statistics.senders == 3);
    REQUIRE(statistics.waiting_sends == 1);
    REQUIRE(statistics.waiting_recvs == 0);
    auto receives = weft::create_task(receive_all(channel.receiver, got));
    co_await sends;
    co_await turns(2);
    statistics = channel.sender.statistics();
    REQUIRE(statistics.items == 0);
    REQUIRE(statistics.senders == 2);
    REQUIRE(statistics.receivers == 2);
    REQUIRE(statistics.waiting_sends == 0);
    REQUIRE(statistics.waiting_recvs == 1);
    receives.cancel();
    co_await receives.wait();
    REQUIRE(channel.sender.statistics().receivers == 1);
    REQUIRE(channel.sender.statistics().waiting_recvs == 0);
    REQUIRE(got == std::vector<int>{1, 2, 3});
}

}  // namespace channel_test
