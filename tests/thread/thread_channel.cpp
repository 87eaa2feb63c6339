// SPDX-License-Identifier: MIT
// Channels between threads: tasks of several loops and plain threads at either end, in order,
// without loss, whoever is cancelled, destroyed or closed meanwhile (SEMANTICS 28, 72, 73, 97,
// 124).
// labels: threads
#include <weft/deadline/wait_for.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/thread/thread_channel.hpp>
#include <weft/thread/thread_pool.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "probe.hpp"

namespace thread_channel_test {

using namespace std::chrono_literals;
using probe::message_of;
using support::turns;
using weft::Coro;
using weft::create_task;
using weft::ThreadChannel;
using weft::to_thread;

namespace {

using Box = std::unique_ptr<int>;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int storm_items = 2'000;
#else
constexpr int storm_items = 40'000;
#endif

/// Of a loop on a thread of its own.
template <class Fn>
std::thread loop_thread(Fn fn) {
    return std::thread([fn]() mutable {
        weft::RunOptions options;
        options.hang_limit = 20s;
        weft::run(fn, options);
    });
}

}  // namespace

WEFT_TEST_CASE("a task and a thread pass items both ways, in order", "[thread_channel]") {
    const ThreadChannel<Box> there(2), back(1);
    std::thread thread([there, back] {
        while (std::optional<Box> item = there.blocking_recv()) {
            back.blocking_send(std::make_unique<int>(**item + 1));
        }
        back.close();
    });
    auto sends = [&]() -> Coro<void> {
        for (int i = 0; i < 100; ++i) co_await there.send(std::make_unique<int>(i));
        there.close();
    };
    const weft::Task<void> sender = create_task(sends);
    std::vector<int> got;
    while (std::optional<Box> item = co_await back.recv()) got.push_back(**item);
    co_await sender;
    thread.join();
    REQUIRE(got.size() == 100);
    for (int i = 0; i < 100; ++i) CHECK(got[static_cast<std::size_t>(i)] == i + 1);
}

WEFT_TEST_CASE("an item need not be assignable", "[thread_channel]") {
    struct Fixed {
        explicit Fixed(int of) : number(of) {}
        Fixed(Fixed&&) = default;
        Fixed& operator=(Fixed&&) = delete;
        const int number;
    };
    const ThreadChannel<Fixed> channel(1);
    co_await channel.send(Fixed(1));
    const std::optional<Fixed> first = co_await channel.recv();
    CHECK(first->number == 1);
    auto talks = [channel] {
        channel.blocking_send(Fixed(2));
        return channel.blocking_recv()->number;
    };
    const int second = co_await to_thread(talks);
    CHECK(second == 2);
}

WEFT_TEST_CASE("a full channel lets senders wait, and an empty one is told from a closed one",
               "[thread_channel]") {
    const ThreadChannel<int> channel(1);
    CHECK_FALSE(channel.try_recv().has_value());
    CHECK(channel.try_send(1));
    CHECK_FALSE(channel.try_send(2));
    auto more = [&]() -> Coro<void> { co_await channel.send(2); };
    const weft::Task<void> waits = create_task(more);
    co_await turns(3);
    CHECK_FALSE(waits.done());
    CHECK(channel.try_recv() == 1);
    co_await waits;
    channel.close();
    CHECK_FALSE(channel.try_send(3));
    const std::optional<int> last = co_await channel.recv();
    CHECK(last == 2);
    const std::optional<int> none = co_await channel.recv();
    CHECK_FALSE(none.has_value());
    CHECK(message_of<std::invalid_argument>([] { ThreadChannel<int> nothing(0); }) ==
          "weft: a ThreadChannel without capacity");
}

WEFT_TEST_CASE("a close tells everybody who waits, tasks and threads", "[thread_channel]") {
    const ThreadChannel<int> empty(1), full(1);
    full.try_send(0);
    std::string from_thread;
    bool ended = false;
    std::thread threads[] = {
        std::thread([&] { ended = !empty.blocking_recv(); }), std::thread([&] {
            from_thread = message_of<weft::ChannelClosed>([&] { full.blocking_send(1); });
        })};
    std::optional<int> received = 1;
    std::string from_task;
    auto receives = [&]() -> Coro<void> { received = co_await empty.recv(); };
    auto sends = [&]() -> Coro<void> {
        try {
            co_await full.send(2);
        } catch (const weft::ChannelClosed& closed) {
            from_task = closed.what();
        }
    };
    const weft::Task<void> one = create_task(receives), other = create_task(sends);
    co_await turns(2);
    std::thread closer([&] {
        empty.close();
        full.close();
    });
    co_await one;
    co_await other;
    for (std::thread& thread : threads) thread.join();
    closer.join();
    CHECK_FALSE(received.has_value());
    CHECK(ended);
    CHECK(from_task == "send: the channel is closed");
    CHECK(from_thread == "blocking_send: the channel is closed");
    CHECK(full.try_recv() == 0);
}

WEFT_TEST_CASE("blocking on the thread of a running loop is refused by name; a time limit is kept",
               "[thread_channel]") {
    const ThreadChannel<int> channel(1);
    CHECK(message_of<weft::RuntimeError>([&] { (void)channel.blocking_recv(); }) ==
          "ThreadChannel: blocking_recv would block the event loop that runs on this thread; "
          "await it");
    auto impatient = [channel] {
        const bool nothing = !channel.blocking_recv_for(1ms);
        channel.blocking_send(1);
        return nothing && !channel.blocking_send_for(1ms, 2);
    };
    const bool in_time = co_await to_thread(impatient);
    CHECK(in_time);
    CHECK(channel.size() == 1);
}

WEFT_TEST_CASE("a cancelled wait takes and sends nothing; a result that has won is returned",
               "[thread_channel]") {
    const ThreadChannel<Box> channel(1);
    // Nothing came: nothing is taken.
    auto receive = [&]() -> Coro<std::optional<Box>> { co_return co_await channel.recv(); };
    weft::Task<std::optional<Box>> first = create_task(receive);
    co_await turns(2);
    first.cancel();
    co_await first.wait();
    CHECK(first.cancelled());
    // An item was given to it, by another thread, and its loop does not know yet.
    weft::Task<std::optional<Box>> second = create_task(receive);
    co_await turns(2);
    std::thread([&] { channel.blocking_send(std::make_unique<int>(7)); }).join();
    second.cancel();
    co_await second.wait();
    REQUIRE_FALSE(second.cancelled());
    CHECK(**second.result() == 7);
    // A sender that is cancelled keeps its item.
    CHECK(channel.try_send(std::make_unique<int>(1)));
    auto send = [&]() -> Coro<int> {
        auto sending = channel.send(std::make_unique<int>(9));
        try {
            co_await sending;
        } catch (const weft::CancelledError&) {
        }
        co_return *sending.item();
    };
    weft::Task<int> third = create_task(send);
    co_await turns(2);
    third.cancel();
    const int kept = co_await third;
    CHECK(kept == 9);
    CHECK(**channel.try_recv() == 1);
    CHECK(channel.size() == 0);
    // A deadline around it.
    bool timed_out = false;
    try {
        co_await weft::wait_for(channel.recv(), 1ms);
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    CHECK(timed_out);
}

TEST_CASE("what was given to a task that its loop ends or destroys is there for the next receiver",
          "[thread_channel]") {
    for (const bool refuses_to_end : {false, true}) {
        const ThreadChannel<Box> channel(1);
        bool took = false;
        {
            weft::EventLoop loop;
            auto reports = probe::collect_reports(loop);
            auto receive = [&]() -> Coro<void> {
                auto receiving = channel.recv();
                while (refuses_to_end) {
                    try {
                        co_await weft::sleep(1h);
                    } catch (const weft::CancelledError&) {
                    }
                }
                (void)co_await receiving;
                took = true;
            };
            auto task = loop.create_task(receive);
            loop.run_once();
            std::thread([&] { channel.blocking_send(std::make_unique<int>(5)); }).join();
            task = {};
        }
        CHECK_FALSE(took);
        const std::optional<Box> item = channel.try_recv();
        REQUIRE(item.has_value());
        CHECK(**item == 5);
    }
}

TEST_CASE("several loops and threads at both ends, with cancels: each item arrives once, in order",
          "[thread_channel]") {
    const ThreadChannel<std::pair<int, int>> channel(4);
    constexpr int senders = 4;  // two of them loops
    std::atomic<int> senders_left{senders};
    std::atomic<int> received{0};
    std::atomic<int> out_of_order{0};
    const auto note = [&](std::vector<int>& last, const std::pair<int, int>& item) {
        int& before = last[static_cast<std::size_t>(item.first)];
        if (item.second <= before) ++out_of_order;  // one receiver sees each sender's in order
        before = item.second;
        ++received;
    };
    const auto sent_all = [&] {
        if (--senders_left == 0) channel.close();
    };
    std::vector<std::thread> threads;
    for (int id = 0; id < senders; ++id) {
        if (id % 2 == 0) {
            threads.emplace_back([&, id] {
                for (int i = 1; i <= storm_items; ++i) channel.blocking_send(std::pair(id, i));
                sent_all();
            });
        } else {
            threads.push_back(loop_thread([&, id]() -> Coro<void> {
                for (int i = 1; i <= storm_items;) {
                    if (i % 5 != 0) {
                        co_await channel.send(std::pair(id, i));
                        ++i;
                        continue;
                    }
                    auto one = [&]() -> Coro<void> { co_await channel.send(std::pair(id, i)); };
                    weft::Task<void> sending = create_task(one);
                    co_await weft::yield();
                    sending.cancel();
                    co_await sending.wait();
                    if (!sending.cancelled()) ++i;
                }
                sent_all();
            }));
        }
    }
    for (int id = 0; id < 3; ++id) {
        if (id == 0) {
            threads.emplace_back([&] {
                std::vector<int> last(senders, 0);
                while (const auto item = channel.blocking_recv()) note(last, *item);
            });
        } else {
            threads.push_back(loop_thread([&]() -> Coro<void> {
                std::vector<int> last(senders, 0);
                auto one = [&]() -> Coro<bool> {
                    const auto item = co_await channel.recv();
                    if (item) note(last, *item);
                    co_return item.has_value();
                };
                for (int round = 1;; ++round) {
                    weft::Task<bool> receiving = create_task(one);
                    if (round % 3 == 0) {
                        co_await weft::yield();
                        receiving.cancel();
                    }
                    co_await receiving.wait();
                    if (!receiving.cancelled() && !receiving.result()) break;
                }
            }));
        }
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(received.load() == senders * storm_items);
    CHECK(out_of_order.load() == 0);
}

}  // namespace thread_channel_test
