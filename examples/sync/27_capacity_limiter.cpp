// SPDX-License-Identifier: MIT
// A limit that changes while it is in use: two workers by night, five by day.
#include <fmt/format.h>
#include <weft/sync/capacity_limiter.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <string>
#include <vector>

using namespace std::chrono_literals;

weft::Coro<void> job(weft::CapacityLimiter& limiter) {
    auto token = co_await limiter.scoped();
    co_await weft::sleep(20ms);
}

void show(const char* when, const weft::CapacityLimiter& limiter) {
    const weft::CapacityStatistics now = limiter.statistics();
    std::string names;
    for (const weft::AnyTask& task : now.tasks) names += " " + task.name();
    fmt::print("{}: {} of {} at work, {} wait;{}\n", when, now.borrowed, now.total, now.waiters,
               names);
}

weft::Coro<void> shift() {
    weft::CapacityLimiter limiter(2);
    std::vector<weft::Task<void>> tasks;
    for (int number = 1; number <= 8; ++number) {
        const weft::TaskOptions options("job-" + std::to_string(number));
        tasks.push_back(weft::create_task(job(limiter), options));
    }
    co_await weft::sleep(5ms);
    show("night", limiter);
    limiter.set_total_tokens(5);
    show("day", limiter);
    limiter.set_total_tokens(1);
    show("evening", limiter);  // nobody is sent away, but nobody new comes in
    limiter.set_total_tokens(weft::CapacityLimiter::unlimited);
    for (auto& task : tasks) co_await task;
    fmt::print("{} at work at the end\n", limiter.borrowed_tokens());
}

int main() { weft::run(shift()); }
