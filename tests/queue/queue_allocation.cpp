// SPDX-License-Identifier: MIT
// Queues and channels do not allocate to wait, to wake or to hand over, nor for an item.
// program: counting header-only
// sanitizers: no, frames are not recycled under them
#include <weft/queue/broadcast.hpp>
#include <weft/queue/channel.hpp>
#include <weft/queue/lifo_queue.hpp>
#include <weft/queue/oneshot.hpp>
#include <weft/queue/priority_queue.hpp>
#include <weft/queue/queue.hpp>
#include <weft/queue/watch.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

#include "counted_new.hpp"

namespace queue_allocation_test {

using weft::Coro;

namespace {

/// Its move may throw, as far as the compiler knows: such items have blocks of their own, which
/// circulate.
struct Boxed {
    explicit Boxed(int number) : value(number) {}
    Boxed(Boxed&& other) noexcept(false) : value(other.value) {}
    friend bool operator<(const Boxed& a, const Boxed& b) noexcept { return a.value < b.value; }
    int value;
};

template <class Queue>
Coro<void> get_ten(Queue& queue) {
    for (int i = 0; i < 10; ++i) {
        (void)co_await queue.get();
        queue.task_done();
    }
}

template <class Queue>
Coro<void> put_ten(Queue& queue) {
    for (int i = 0; i < 10; ++i) co_await queue.put(typename Queue::value_type(i));
}

template <class Queue>
Coro<void> pass_ten(Queue& queue) {
    const auto getter = weft::create_task(get_ten(queue));
    const auto putter = weft::create_task(put_ten(queue));
    co_await putter;
    co_await queue.join();
    co_await getter;
}

template <class Queue>
Coro<void> passes_without_allocating() {
    Queue narrow(1);
    Queue wide(100);
    auto round = [&]() -> Coro<void> {
        co_await pass_ten(narrow);
        co_await pass_ten(wide);
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

}  // namespace

WEFT_TEST_CASE("passing items through a queue allocates nothing", "[allocation]") {
    co_await passes_without_allocating<weft::Queue<int>>();
    co_await passes_without_allocating<weft::Queue<Boxed>>();
}
WEFT_TEST_CASE("passing items through a lifo queue allocates nothing", "[allocation]") {
    co_await passes_without_allocating<weft::LifoQueue<int>>();
}
WEFT_TEST_CASE("passing items through a priority queue allocates nothing", "[allocation]") {
    co_await passes_without_allocating<weft::PriorityQueue<int>>();
    co_await passes_without_allocating<weft::PriorityQueue<Boxed>>();
}

WEFT_TEST_CASE("a queue's store doubles, and is as large as the queue was full", "[allocation]") {
    weft::Queue<int> queue;
    const std::size_t before = allocations;
    for (int i = 0; i < 100'000; ++i) queue.put_nowait(i);
    const std::size_t grown = allocations - before;
    REQUIRE(grown <= 18);
    while (!queue.empty()) (void)queue.get_nowait();
    for (int i = 0; i < 100'000; ++i) queue.put_nowait(i);
    REQUIRE(allocations == before + grown);
    co_return;
}

WEFT_TEST_CASE("cancelling a getter and a putter that wait allocates nothing", "[allocation]") {
    // Only the request: the CancelledError that follows is an exception, and the C++ runtime
    // allocates every exception object.
    weft::Queue<int> empty;
    weft::Queue<int> full(1);
    full.put_nowait(1);
    for (int i = 0; i < 20; ++i) {
        auto getter = weft::create_task(get_ten(empty));
        auto putter = weft::create_task(put_ten(full));
        co_await weft::yield();
        const std::size_t before = allocations;
        getter.cancel();
        putter.cancel();
        const std::size_t count = allocations - before;
        co_await getter.wait();
        co_await putter.wait();
        REQUIRE(count == 0);
    }
}

WEFT_TEST_CASE("sending through a channel allocates nothing, nor does making one", "[allocation]") {
    auto send = [](weft::Channel<int>::Sender sender) -> Coro<void> {
        for (int i = 0; i < 10; ++i) co_await sender.send(i);
    };
    weft::Channel<int> kept(2);
    auto round = [&]() -> Coro<void> {
        const auto task = weft::create_task(send, kept.sender);
        for (int i = 0; i < 10; ++i) (void)co_await kept.receiver.recv();
        co_await task;
        weft::Channel<int> fresh(2);  // its ring would be allocated with its first item
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("a oneshot's round trip allocates nothing", "[allocation]") {
    auto reply = [](weft::Oneshot<int>::Sender sender) -> Coro<void> {
        sender.send(1);
        co_return;
    };
    auto round = [&]() -> Coro<void> {
        weft::Oneshot<int> oneshot;
        const auto task = weft::create_task(reply, std::move(oneshot.sender));
        const int value = co_await oneshot.receiver.recv();
        REQUIRE(value == 1);
        co_await task;
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("telling watchers and listeners allocates nothing", "[allocation]") {
    weft::Watch<int> watch(0);
    weft::Broadcast<int> broadcast(4);
    auto watcher = watch.subscribe();
    auto listener = broadcast.subscribe();
    auto listen = [&]() -> Coro<void> {
        (void)co_await watcher.changed();
        (void)co_await listener.recv();
    };
    auto round = [&]() -> Coro<void> {
        const auto task = weft::create_task(listen);
        co_await weft::yield();
        watch.set(1);
        co_await weft::yield();
        broadcast.send(2);
        co_await task;
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

}  // namespace queue_allocation_test
