// SPDX-License-Identifier: MIT
// What the engine costs per operation: tasks, awaits, turns, timers, cancels, posts.
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

namespace {

using namespace std::chrono_literals;

using Body = weft::Coro<void> (*)(benchmark::State&);

/// A benchmark whose body is a coroutine on a loop of its own.
void on_a_loop(benchmark::State& state, Body body) {
    weft::run([&state, body] { return body(state); });
}

weft::Coro<void> trivial() { co_return; }
weft::Coro<int> at_once(int value) { co_return value + 1; }
weft::Coro<int> nested(int depth) {
    if (depth == 0) co_return 1;
    co_return co_await nested(depth - 1) + 1;
}

weft::Coro<void> spawn_join(benchmark::State& state) {
    for (auto _ : state) co_await weft::create_task(trivial());
}

weft::Coro<void> spawn_join_10000(benchmark::State& state) {
    constexpr int outstanding = 10'000;
    std::vector<weft::Task<void>> tasks(outstanding);
    for (auto _ : state) {
        for (auto& task : tasks) task = weft::create_task(trivial());
        for (auto& task : tasks) co_await task;
    }
    state.SetItemsProcessed(state.iterations() * outstanding);
}

weft::Coro<void> yield_until(const bool& stop) {
    while (!stop) co_await weft::yield();
}

weft::Coro<void> reschedule(benchmark::State& state) {
    constexpr int others = 99;
    bool stop = false;
    std::vector<weft::Task<void>> tasks;
    for (int i = 0; i < others; ++i) tasks.push_back(weft::create_task(yield_until(stop)));
    for (auto _ : state) co_await weft::yield();
    stop = true;
    for (auto& task : tasks) co_await task;
    state.SetItemsProcessed(state.iterations() * (others + 1));
}

weft::Coro<void> await_child(benchmark::State& state) {
    int sum = 0;
    for (auto _ : state) sum = co_await at_once(sum);
    benchmark::DoNotOptimize(sum);
}

weft::Coro<void> await_ten_nested(benchmark::State& state) {
    int sum = 0;
    for (auto _ : state) sum += co_await nested(9);
    benchmark::DoNotOptimize(sum);
}

weft::Coro<void> sleep_for(std::chrono::microseconds delay) { co_await weft::sleep(delay); }

// Insertion and expiry alone: bare callbacks on virtual time, so that nothing waits for the clock.
void timer_insert_expire(benchmark::State& state) {
    constexpr int timers = 100'000;
    weft::RunOptions options;
    options.virtual_time = true;
    weft::EventLoop loop(options);
    std::mt19937 random(1);
    std::vector<int> delays(timers);
    for (auto& delay : delays) delay = static_cast<int>(random() % 10'000'000);
    for (auto _ : state) {
        int due = 0;
        for (const int delay : delays) {
            loop.call_later(std::chrono::nanoseconds(delay), [&due, &loop] {
                if (++due == timers) loop.stop();
            });
        }
        loop.run_forever();
    }
    state.SetItemsProcessed(state.iterations() * timers);
}

weft::Coro<void> timer_set_cancel(benchmark::State& state) {
    weft::EventLoop& loop = weft::get_running_loop();
    for (int i = 0; i < 1000; ++i) loop.call_later(1h + std::chrono::seconds(i), [] {});
    for (auto _ : state) {
        weft::TimerHandle timer = loop.call_later(30s, [] {});
        timer.cancel();
    }
    co_return;
}

weft::Coro<void> cancel_join(benchmark::State& state) {
    for (auto _ : state) {
        weft::Task<void> task = weft::create_task(sleep_for(1h));
        co_await weft::yield();
        task.cancel();
        co_await task.wait();
    }
}

// A burst of posts from another thread, until the loop has run them all.
weft::Coro<void> post_from_thread(benchmark::State& state) {
    constexpr int burst = 100'000;
    weft::EventLoop& loop = weft::get_running_loop();
    std::atomic<int> wanted{0};
    std::atomic<bool> stop{false};
    int arrived = 0;
    weft::Future<void> all = loop.create_future<void>();
    std::thread producer([&, remote = loop.remote()] {
        while (!stop.load()) {
            if (wanted.exchange(0) == 0) {
                std::this_thread::yield();
                continue;
            }
            for (int i = 0; i < burst; ++i) {
                remote.call_soon_threadsafe([&arrived, &all, burst = burst] {
                    if (++arrived == burst) all.set_result();
                });
            }
        }
    });
    for (auto _ : state) {
        arrived = 0;
        all = loop.create_future<void>();
        wanted.store(1);
        co_await all;
    }
    stop.store(true);
    producer.join();
    state.SetItemsProcessed(state.iterations() * burst);
}

// No parameter: it would add its own size to the frame.
const weft::Future<void>* awaited = nullptr;
weft::Coro<void> wait_for_it() { co_await *awaited; }

// Heap bytes, malloc's own overhead included, of a task that waits on a future and its frame.
weft::Coro<void> memory_per_task(benchmark::State& state) {
    constexpr std::size_t count = 100'000;
    for (auto _ : state) {
    }
    weft::Future<void> future = weft::get_running_loop().create_future<void>();
    awaited = &future;
    std::vector<weft::Task<void>> tasks;
    tasks.reserve(count);
    weft::trim_frame_cache();
    const std::size_t before = mallinfo2().uordblks;
    for (std::size_t i = 0; i < count; ++i) {
        tasks.push_back(weft::create_task(wait_for_it()));
    }
    co_await weft::yield();
    const std::size_t after = mallinfo2().uordblks;
    state.counters["bytes"] = static_cast<double>(after - before) / count;
    future.set_result();
    for (auto& task : tasks) co_await task;
}

}  // namespace

BENCHMARK_CAPTURE(on_a_loop, spawn_join, &spawn_join);
BENCHMARK_CAPTURE(on_a_loop, spawn_join_10000, &spawn_join_10000);
BENCHMARK_CAPTURE(on_a_loop, reschedule, &reschedule);
BENCHMARK_CAPTURE(on_a_loop, await_child, &await_child);
BENCHMARK_CAPTURE(on_a_loop, await_ten_nested, &await_ten_nested);
BENCHMARK(timer_insert_expire)->Name("on_a_loop/timer_insert_expire");
BENCHMARK_CAPTURE(on_a_loop, timer_set_cancel, &timer_set_cancel);
BENCHMARK_CAPTURE(on_a_loop, cancel_join, &cancel_join);
BENCHMARK_CAPTURE(on_a_loop, post_from_thread, &post_from_thread)->UseRealTime();
BENCHMARK_CAPTURE(on_a_loop, memory_per_task, &memory_per_task)->Iterations(1);

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::AddCustomContext("weft_backend", weft::EventLoop().backend_info().name);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
