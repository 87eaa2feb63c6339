// SPDX-License-Identifier: MIT
// parallel_map: order, chunks, the limit, failures and cancels of what runs on threads.
// labels: threads
#include <weft/patterns/parallel_map.hpp>
#include <weft/task/context_var.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <sched.h>

#include <atomic>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "awaiting.hpp"

namespace parallel_map_test {

using weft::Coro;
using weft::parallel_map;
using weft::ParallelOptions;
using weft::StopToken;

namespace {

std::vector<int> numbers(int count) {
    std::vector<int> all;
    for (int i = 0; i < count; ++i) all.push_back(i);
    return all;
}

ParallelOptions options_of(std::size_t threads, std::size_t chunk) {
    ParallelOptions options;
    options.threads = threads;
    options.chunk = chunk;
    return options;
}

}  // namespace

WEFT_TEST_CASE("results come in the order of the range, whatever the chunks", "[parallel_map]") {
    for (const std::size_t chunk : {0U, 1U, 7U, 100U, 1000U}) {
        for (const int count : {0, 1, 100}) {
            auto square = [](int n) { return std::make_unique<int>(n * n); };
            const auto squares =
                co_await parallel_map(numbers(count), square, options_of(3, chunk));
            REQUIRE(squares.size() == static_cast<std::size_t>(count));
            for (int i = 0; i < count; ++i) CHECK(*squares[static_cast<std::size_t>(i)] == i * i);
        }
    }
    // Items by reference, and nothing to return.
    std::vector<int> all = numbers(50);
    auto twice = [](int& n) { n *= 2; };
    co_await parallel_map(std::span<int>(all), twice);
    CHECK(all[49] == 98);
}

WEFT_TEST_CASE("no more threads are used than were asked for, and those of the pool that was given",
               "[parallel_map]") {
    weft::ThreadPoolOptions small;
    small.threads = 2;
    small.name = "two";
    weft::ThreadPool pool(small);
    ParallelOptions options = options_of(8, 1);
    options.pool = &pool;
    std::atomic<int> at_once{0}, most{0};
    auto work = [&](int) {
        const int now = ++at_once;
        int before = most.load();
        while (now > before && !most.compare_exchange_weak(before, now)) {
        }
        ::sched_yield();
        --at_once;
    };
    co_await parallel_map(numbers(100), work, options);
    CHECK(most.load() <= 2);
    CHECK(pool.threads() <= 2);
    options = options_of(1, 3);
    most = 0;
    co_await parallel_map(numbers(30), work, options);
    CHECK(most.load() == 1);
}

WEFT_TEST_CASE("the first failure stops the others: running calls are asked to, none begins",
               "[parallel_map]") {
    std::atomic<int> begun{0}, asked{0};
    auto work = [&](const StopToken& stop, int n) {
        ++begun;
        if (n == 1) {
            // (Not before the first one runs, whose thread may have to wait for a processor.)
            while (begun.load() < 2) ::sched_yield();
            throw std::runtime_error("the second one fails");
        }
        while (!stop.stop_requested()) ::sched_yield();
        ++asked;
        return n;
    };
    std::string what;
    try {
        co_await parallel_map(numbers(1000), work, options_of(2, 1));
    } catch (const std::runtime_error& error) {
        what = error.what();
    }
    CHECK(what == "the second one fails");
    CHECK(begun.load() == 2);
    CHECK(asked.load() == 1);
}

WEFT_TEST_CASE("a cancel stops it between two items, and waits for the calls that run",
               "[parallel_map]") {
    std::atomic<int> begun{0}, ended{0};
    auto work = [&](int) {
        ++begun;
        while (!weft::thread_stop_token().stop_requested()) ::sched_yield();
        ++ended;
    };
    auto body = [&]() -> Coro<void> {
        co_await parallel_map(numbers(1000), work, options_of(2, 50));
    };
    weft::Task<void> task = weft::create_task(body);
    while (begun.load() < 2) co_await weft::sleep(std::chrono::milliseconds(1));
    task.cancel();
    co_await task.wait();
    CHECK(task.cancelled());
    CHECK(begun.load() == 2);
    CHECK(ended.load() == 2);
}

}  // namespace parallel_map_test
