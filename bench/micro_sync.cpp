// SPDX-License-Identifier: MIT
// What synchronisation costs per operation: a free lock, a hand-off, an event with many waiters.
#include <benchmark/benchmark.h>

#include <functional>
#include <vector>

#include <weft/sync/barrier.hpp>
#include <weft/sync/capacity_limiter.hpp>
#include <weft/sync/condition.hpp>
#include <weft/sync/event.hpp>
#include <weft/sync/lock.hpp>
#include <weft/sync/notify.hpp>
#include <weft/sync/once_cell.hpp>
#include <weft/sync/rw_lock.hpp>
#include <weft/sync/semaphore.hpp>
#include <weft/weft.hpp>

namespace {

using Body = weft::Coro<void> (*)(benchmark::State&);

/// A benchmark whose body is a coroutine on a loop of its own.
void on_a_loop(benchmark::State& state, Body body) {
    weft::run([&state, body] { return body(state); });
}

weft::Coro<void> join(std::vector<weft::Task<void>>& tasks) {
    for (auto& task : tasks) co_await task;
}

weft::Coro<void> lock_uncontended(benchmark::State& state) {
    weft::Lock lock;
    for (auto _ : state) {
        co_await lock.acquire();
        lock.release();
    }
}

weft::Coro<void> lock_scoped(benchmark::State& state) {
    weft::Lock lock;
    for (auto _ : state) auto guard = co_await lock.scoped();
}

weft::Coro<void> wants(weft::Lock& lock, const bool& stop) {
    while (!stop) {
        co_await lock.acquire();
        lock.release();
    }
}

/// Ten tasks that all want the lock all the time; each hand-off takes a turn of the loop.
weft::Coro<void> lock_hand_off(benchmark::State& state) {
    constexpr int others = 9;
    weft::Lock lock;
    bool stop = false;
    std::vector<weft::Task<void>> tasks;
    co_await lock.acquire();
    for (int i = 0; i < others; ++i) tasks.push_back(weft::create_task(wants(lock, stop)));
    co_await weft::yield();
    for (auto _ : state) {
        lock.release();
        co_await lock.acquire();
    }
    stop = true;
    lock.release();
    co_await join(tasks);
    state.SetItemsProcessed(state.iterations() * (others + 1));
}

weft::Coro<void> semaphore_uncontended(benchmark::State& state) {
    weft::Semaphore semaphore(3);
    for (auto _ : state) {
        co_await semaphore.acquire();
        semaphore.release();
    }
}

/// Ten tasks and five permits.
weft::Coro<void> semaphore_hand_off(benchmark::State& state) {
    constexpr int others = 9;
    weft::Semaphore semaphore(5);
    bool stop = false;
    std::vector<weft::Task<void>> tasks;
    auto wants = [&]() -> weft::Coro<void> {
        while (!stop) {
            co_await semaphore.acquire();
            co_await weft::yield();
            semaphore.release();
        }
    };
    for (int i = 0; i < others; ++i) tasks.push_back(weft::create_task(wants));
    for (auto _ : state) {
        co_await semaphore.acquire();
        co_await weft::yield();
        semaphore.release();
    }
    stop = true;
    co_await join(tasks);
    state.SetItemsProcessed(state.iterations() * (others + 1));
}

weft::Coro<void> waits_until(weft::Event& event, const bool& stop) {
    while (!stop) co_await event.wait();
}

/// A thousand tasks: woken, run, and waiting again.
weft::Coro<void> event_wakes_1000(benchmark::State& state) {
    constexpr int waiters = 1'000;
    weft::Event event;
    bool stop = false;
    std::vector<weft::Task<void>> tasks;
    for (int i = 0; i < waiters; ++i) {
        tasks.push_back(weft::create_task(waits_until, std::ref(event), std::cref(stop)));
    }
    co_await weft::yield();
    for (auto _ : state) {
        event.set();
        event.clear();
        co_await weft::yield();
    }
    stop = true;
    event.set();
    co_await join(tasks);
    state.SetItemsProcessed(state.iterations() * waiters);
}

weft::Coro<void> rw_lock_read_uncontended(benchmark::State& state) {
    weft::RwLock lock;
    for (auto _ : state) {
        co_await lock.acquire_read();
        lock.release_read();
    }
}

weft::Coro<void> limiter_uncontended(benchmark::State& state) {
    weft::CapacityLimiter limiter(40);
    for (auto _ : state) {
        co_await limiter.acquire();
        limiter.release();
    }
}

weft::Coro<void> answers(weft::Notify& ask, weft::Notify& answer, const bool& stop) {
    while (!stop) {
        co_await ask.notified();
        answer.notify_one();
    }
}

/// There and back.
weft::Coro<void> notify_ping_pong(benchmark::State& state) {
    weft::Notify ask;
    weft::Notify answer;
    bool stop = false;
    auto task = weft::create_task(answers, std::ref(ask), std::ref(answer), std::cref(stop));
    for (auto _ : state) {
        ask.notify_one();
        co_await answer.notified();
    }
    stop = true;
    ask.notify_one();
    co_await task;
}

/// Two tasks that take turns under one lock: two waits, two notifications.
weft::Coro<void> condition_ping_pong(benchmark::State& state) {
    weft::Condition condition;
    int turn = 0;
    bool stop = false;
    auto other = [&]() -> weft::Coro<void> {
        auto guard = co_await condition.scoped();
        while (!stop) {
            while (turn == 0 && !stop) co_await condition.wait();
            turn = 0;
            condition.notify();
        }
    };
    auto task = weft::create_task(other);
    {
        auto guard = co_await condition.scoped();
        for (auto _ : state) {
            turn = 1;
            condition.notify();
            while (turn == 1) co_await condition.wait();
        }
        stop = true;
        condition.notify();
    }
    co_await task;
}

/// Ten parties, a round.
weft::Coro<void> barrier_of_ten(benchmark::State& state) {
    constexpr int parties = 10;
    weft::Barrier barrier(parties);
    std::vector<weft::Task<void>> tasks;
    auto meets = [&]() -> weft::Coro<void> {
        for (;;) co_await barrier.wait();
    };
    for (int i = 1; i < parties; ++i) tasks.push_back(weft::create_task(meets));
    for (auto _ : state) co_await barrier.wait();
    for (auto& task : tasks) task.cancel();
    for (auto& task : tasks) co_await task.wait();
    state.SetItemsProcessed(state.iterations() * parties);
}

weft::Coro<int> makes() { co_return 1; }

weft::Coro<void> once_cell_set(benchmark::State& state) {
    weft::OnceCell<int> cell;
    int sum = 0;
    for (auto _ : state) sum += co_await cell.get_or_init(makes);
    benchmark::DoNotOptimize(sum);
}

}  // namespace

BENCHMARK_CAPTURE(on_a_loop, lock_uncontended, &lock_uncontended);
BENCHMARK_CAPTURE(on_a_loop, lock_scoped, &lock_scoped);
BENCHMARK_CAPTURE(on_a_loop, lock_hand_off, &lock_hand_off);
BENCHMARK_CAPTURE(on_a_loop, semaphore_uncontended, &semaphore_uncontended);
BENCHMARK_CAPTURE(on_a_loop, semaphore_hand_off, &semaphore_hand_off);
BENCHMARK_CAPTURE(on_a_loop, event_wakes_1000, &event_wakes_1000);
BENCHMARK_CAPTURE(on_a_loop, rw_lock_read_uncontended, &rw_lock_read_uncontended);
BENCHMARK_CAPTURE(on_a_loop, limiter_uncontended, &limiter_uncontended);
BENCHMARK_CAPTURE(on_a_loop, notify_ping_pong, &notify_ping_pong);
BENCHMARK_CAPTURE(on_a_loop, condition_ping_pong, &condition_ping_pong);
BENCHMARK_CAPTURE(on_a_loop, barrier_of_ten, &barrier_of_ten);
BENCHMARK_CAPTURE(on_a_loop, once_cell_set, &once_cell_set);

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::AddCustomContext("weft_backend", weft::EventLoop().backend_info().name);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
