// SPDX-License-Identifier: MIT
// What a command to Redis costs: GETs of one short value over so many connections, so many of them
// under way on each, as `redis-benchmark -c CONNECTIONS -P DEPTH -t get` asks them. Each of them is
// a task's own await (--form batch: one await for DEPTH of them). Prints commands a second, and CPU
// nanoseconds of this process for each.
#include <weft/redis.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string_view>
#include <utility>
#include <vector>

#include "measure.hpp"

namespace {

weft::Coro<void> one_by_one(weft::redis::Client& redis, long& left) {
    while (left-- > 0) (void)co_await redis.get("key:__rand_int__");
}

weft::Coro<void> in_batches(weft::redis::Client& redis, long& left, long depth) {
    weft::redis::Batch batch;
    for (long index = 0; index < depth; ++index) batch.add("GET", "key:__rand_int__");
    while (left > 0) {
        left -= depth;
        (void)co_await redis.send(batch);
    }
}

weft::Coro<void> measure(int argc, char** argv) {
    const weft::redis::Options options(
        "127.0.0.1", static_cast<std::uint16_t>(bench::number_option(argc, argv, "--port", 6379)));
    const long connections = bench::number_option(argc, argv, "--connections", 1);
    const long depth = bench::number_option(argc, argv, "--depth", 16);
    const long count = bench::number_option(argc, argv, "--count", 200'000);
    const bool batches = bench::option(argc, argv, "--form", "tasks") == "batch";
    std::vector<weft::redis::Client> clients;
    for (long index = 0; index < connections; ++index) {
        clients.emplace_back(options);
        co_await clients.back().connect();
    }
    long left = count;
    const std::int64_t cpu_before = bench::cpu_us();
    const auto begin = std::chrono::steady_clock::now();
    std::vector<weft::Task<void>> tasks;
    for (weft::redis::Client& client : clients) {
        for (long index = 0; index < (batches ? 1 : depth); ++index) {
            tasks.push_back(weft::create_task(batches ? in_batches(client, left, depth)
                                                      : one_by_one(client, left)));
        }
    }
    for (weft::Task<void>& task : tasks) co_await task;
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const auto total = static_cast<double>(count);
    std::printf("%.0f %.0f\n", total / took.count(),
                static_cast<double>(bench::cpu_us() - cpu_before) * 1000 / total);
}

}  // namespace

int main(int argc, char** argv) { weft::run(measure(argc, argv)); }
