// SPDX-License-Identifier: MIT
// What it costs to pass an item from one task to another: queues of several sizes, channels, watch,
// broadcast. Each round moves one item, from a task that produces to a task that consumes.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

namespace {

using Body = weft::Coro<void> (*)(benchmark::State&);

/// A benchmark whose body is a coroutine on a loop of its own.
void on_a_loop(benchmark::State& state, Body body) {
    weft::run([&state, body] { return body(state); });
}

template <class Queue>
weft::Coro<void> produce(Queue& queue) {
    try {
        for (int item = 0;; ++item) co_await queue.put(item);
    } catch (const weft::QueueShutDown&) {
    }
}

/// One producer, one consumer; the consumer is the one that is measured.
template <class Queue, std::size_t maxsize>
weft::Coro<void> transfer(benchmark::State& state) {
    Queue queue(maxsize);
    weft::Task<void> producer = weft::create_task(produce(queue));
    std::int64_t sum = 0;
    for (auto _ : state) sum += co_await queue.get();
    benchmark::DoNotOptimize(sum);
    queue.shutdown(true);
    co_await producer;
    state.SetItemsProcessed(state.iterations());
}

/// Put and get in one task: the way that never waits.
weft::Coro<void> never_waits(benchmark::State& state) {
    weft::Queue<int> queue;
    int item = 0;
    for (auto _ : state) {
        co_await queue.put(item);
        item = co_await queue.get();
    }
    benchmark::DoNotOptimize(item);
}

weft::Coro<void> send_numbers(weft::Channel<int>::Sender sender) {
    try {
        for (int item = 0;; ++item) co_await sender.send(item);
    } catch (const weft::ChannelClosed&) {
    }
}

template <std::size_t capacity>
weft::Coro<void> channel_transfer(benchmark::State& state) {
    weft::Channel<int> channel(capacity);
    weft::Task<void> producer = weft::create_task(send_numbers(std::move(channel.sender)));
    std::int64_t sum = 0;
    for (auto _ : state) sum += *co_await channel.receiver.recv();
    benchmark::DoNotOptimize(sum);
    channel.receiver.close();
    co_await producer;
    state.SetItemsProcessed(state.iterations());
}

/// A value through a fresh oneshot that is waited for: made, sent, received, destroyed.
weft::Coro<void> oneshot_reply(benchmark::State& state) {
    weft::Channel<weft::Oneshot<int>::Sender> requests(1);
    auto answer =
        [](weft::Channel<weft::Oneshot<int>::Sender>::Receiver receiver) -> weft::Coro<void> {
        while (auto reply = co_await receiver.recv()) reply->send(1);
    };
    weft::Task<void> server = weft::create_task(answer, std::move(requests.receiver));
    std::int64_t sum = 0;
    for (auto _ : state) {
        weft::Oneshot<int> reply;
        co_await requests.sender.send(std::move(reply.sender));
        sum += co_await reply.receiver.recv();
    }
    benchmark::DoNotOptimize(sum);
    requests.sender.close();
    co_await server;
}

weft::Coro<void> follow(weft::Watch<int>::Receiver receiver, std::int64_t& sum) {
    while (auto value = co_await receiver.next()) sum += *value;
}

weft::Coro<void> listen(weft::Broadcast<int>::Receiver receiver, std::int64_t& sum) {
    while (auto item = co_await receiver.recv()) sum += *item;
}

/// A change, and ten tasks that see it.
weft::Coro<void> watch_ten(benchmark::State& state) {
    auto watch = std::make_unique<weft::Watch<int>>(0);
    std::int64_t sum = 0;
    std::vector<weft::Task<void>> tasks;
    for (int i = 0; i < 10; ++i)
        tasks.push_back(weft::create_task(follow(watch->subscribe(), sum)));
    for (auto _ : state) {
        watch->set(1);
        co_await weft::yield();
    }
    watch.reset();
    for (auto& task : tasks) co_await task;
    benchmark::DoNotOptimize(sum);
    state.SetItemsProcessed(state.iterations() * 10);
}

/// An item, and ten tasks that receive it.
weft::Coro<void> broadcast_ten(benchmark::State& state) {
    auto hub = std::make_unique<weft::Broadcast<int>>(16);
    std::int64_t sum = 0;
    std::vector<weft::Task<void>> tasks;
    for (int i = 0; i < 10; ++i) tasks.push_back(weft::create_task(listen(hub->subscribe(), sum)));
    for (auto _ : state) {
        hub->send(1);
        co_await weft::yield();
    }
    hub.reset();
    for (auto& task : tasks) co_await task;
    benchmark::DoNotOptimize(sum);
    state.SetItemsProcessed(state.iterations() * 10);
}

}  // namespace

BENCHMARK_CAPTURE(on_a_loop, queue_capacity_1, &transfer<weft::Queue<int>, 1>);
BENCHMARK_CAPTURE(on_a_loop, queue_capacity_1024, &transfer<weft::Queue<int>, 1024>);
BENCHMARK_CAPTURE(on_a_loop, queue_never_waits, &never_waits);
BENCHMARK_CAPTURE(on_a_loop, lifo_capacity_1024, &transfer<weft::LifoQueue<int>, 1024>);
BENCHMARK_CAPTURE(on_a_loop, priority_capacity_1024, &transfer<weft::PriorityQueue<int>, 1024>);
BENCHMARK_CAPTURE(on_a_loop, channel_capacity_1, &channel_transfer<1>);
BENCHMARK_CAPTURE(on_a_loop, channel_capacity_1024, &channel_transfer<1024>);
BENCHMARK_CAPTURE(on_a_loop, oneshot_reply, &oneshot_reply);
BENCHMARK_CAPTURE(on_a_loop, watch_ten, &watch_ten);
BENCHMARK_CAPTURE(on_a_loop, broadcast_ten, &broadcast_ten);

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::AddCustomContext("weft_backend", weft::EventLoop().backend_info().name);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
