// SPDX-License-Identifier: MIT
// What it costs to pass an item from one task to another: queues of several sizes, channels, watch,
// broadcast. Each round moves one item, from a task that produces to a task that consumes.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>

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

}  // namespace

BENCHMARK_CAPTURE(on_a_loop, queue_capacity_1, &transfer<weft::Queue<int>, 1>);
BENCHMARK_CAPTURE(on_a_loop, queue_capacity_1024, &transfer<weft::Queue<int>, 1024>);
BENCHMARK_CAPTURE(on_a_loop, queue_never_waits, &never_waits);
BENCHMARK_CAPTURE(on_a_loop, lifo_capacity_1024, &transfer<weft::LifoQueue<int>, 1024>);
BENCHMARK_CAPTURE(on_a_loop, priority_capacity_1024, &transfer<weft::PriorityQueue<int>, 1024>);

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::AddCustomContext("weft_backend", weft::EventLoop().backend_info().name);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
