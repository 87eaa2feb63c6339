// SPDX-License-Identifier: MIT
// What structured concurrency costs beside bare tasks: gather, task groups, race, wait.
#include <benchmark/benchmark.h>

#include <chrono>
#include <vector>

#include <weft/weft.hpp>

namespace {

using namespace std::chrono_literals;

using Body = weft::Coro<void> (*)(benchmark::State&);

void on_a_loop(benchmark::State& state, Body body) {
    weft::run([&state, body] { return body(state); });
}

weft::Coro<void> trivial() { co_return; }
weft::Coro<int> number(int value) { co_return value; }
weft::Coro<void> sleep_for(std::chrono::seconds delay) { co_await weft::sleep(delay); }

constexpr int many = 10'000;

// The measure for the others: bare tasks, awaited one by one.
weft::Coro<void> spawn_join(benchmark::State& state) {
    for (auto _ : state) co_await weft::create_task(trivial());
}
weft::Coro<void> spawn_join_10000(benchmark::State& state) {
    std::vector<weft::Task<void>> tasks(many);
    for (auto _ : state) {
        for (auto& task : tasks) task = weft::create_task(trivial());
        for (auto& task : tasks) co_await task;
    }
    state.SetItemsProcessed(state.iterations() * many);
}

// Question: what does a child of a gather cost? All of them are done after their first step.
weft::Coro<void> gather_10000(benchmark::State& state) {
    for (auto _ : state) {
        std::vector<weft::Coro<int>> children;
        children.reserve(many);
        for (int i = 0; i < many; ++i) children.push_back(number(i));
        const std::vector<int> results = co_await weft::gather(std::move(children));
        benchmark::DoNotOptimize(results.data());
    }
    state.SetItemsProcessed(state.iterations() * many);
}
weft::Coro<void> gather_3(benchmark::State& state) {
    for (auto _ : state) {
        auto results = co_await weft::gather(number(1), number(2), number(3));
        benchmark::DoNotOptimize(results);
    }
}

// Question: what does a group add to the spawn and the join of its tasks?
weft::Coro<void> group_of_one(benchmark::State& state) {
    for (auto _ : state) {
        co_await weft::task_group([](weft::TaskGroup& group) -> weft::Coro<void> {
            group.create_task(trivial());
            co_return;
        });
    }
}
weft::Coro<void> group_of_10000(benchmark::State& state) {
    for (auto _ : state) {
        co_await weft::task_group([](weft::TaskGroup& group) -> weft::Coro<void> {
            for (int i = 0; i < many; ++i) group.create_task(trivial());
            co_return;
        });
    }
    state.SetItemsProcessed(state.iterations() * many);
}

// A race that is won at once, against a sleep that is cancelled: no exception is thrown.
weft::Coro<void> race_two_sleeps(benchmark::State& state) {
    for (auto _ : state) {
        auto winner = co_await weft::race(weft::sleep(0s), weft::sleep(1h));
        benchmark::DoNotOptimize(winner.index());
    }
}
// The same with coroutines: the loser is unwound by a CancelledError.
weft::Coro<void> race_two_coroutines(benchmark::State& state) {
    for (auto _ : state) {
        auto winner = co_await weft::race(trivial(), sleep_for(1h));
        benchmark::DoNotOptimize(winner.index());
    }
}

weft::Coro<void> wait_first_of_100(benchmark::State& state) {
    std::vector<weft::Task<void>> tasks;
    for (int i = 0; i < 100; ++i) tasks.push_back(weft::create_task(sleep_for(1h)));
    for (auto _ : state) {
        tasks.back() = weft::create_task(trivial());
        auto found = co_await weft::wait(tasks, weft::first_completed);
        benchmark::DoNotOptimize(found.done.data());
    }
    for (auto& task : tasks) task.cancel();
}

}  // namespace

BENCHMARK_CAPTURE(on_a_loop, spawn_join, &spawn_join);
BENCHMARK_CAPTURE(on_a_loop, group_of_one, &group_of_one);
BENCHMARK_CAPTURE(on_a_loop, spawn_join_10000, &spawn_join_10000);
BENCHMARK_CAPTURE(on_a_loop, group_of_10000, &group_of_10000);
BENCHMARK_CAPTURE(on_a_loop, gather_10000, &gather_10000);
BENCHMARK_CAPTURE(on_a_loop, gather_3, &gather_3);
BENCHMARK_CAPTURE(on_a_loop, race_two_sleeps, &race_two_sleeps);
BENCHMARK_CAPTURE(on_a_loop, race_two_coroutines, &race_two_coroutines);
BENCHMARK_CAPTURE(on_a_loop, wait_first_of_100, &wait_first_of_100);

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::AddCustomContext("weft_backend", weft::EventLoop().backend_info().name);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
