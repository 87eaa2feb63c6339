// SPDX-License-Identifier: MIT
// How much later than asked for a sleep ends, and what of the processor it takes. The backend is
// WEFT_BACKEND's. Prints a line for each length: median and 90th percentile in microseconds.
#include <weft/weft.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "measure.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using Microseconds = std::chrono::duration<double, std::micro>;

weft::Coro<void> measure(std::chrono::nanoseconds length) {
    constexpr std::chrono::milliseconds enough{400};
    const auto count = static_cast<std::size_t>(std::clamp<long>(
        enough / std::max<std::chrono::nanoseconds>(length, std::chrono::microseconds(50)), 5,
        4000));
    std::vector<double> late;
    const std::int64_t cpu = bench::cpu_us();
    const std::uint64_t entries = weft::get_running_loop().kernel_entries();
    for (std::size_t index = 0; index < count; ++index) {
        const Clock::time_point before = Clock::now();
        co_await weft::sleep(length);
        late.push_back(Microseconds(Clock::now() - before - length).count());
    }
    const auto each = static_cast<double>(count);
    std::sort(late.begin(), late.end());
    std::printf("asked_us=%.1f late_p50_us=%.2f late_p90_us=%.2f cpu_us=%.1f entries=%.2f\n",
                Microseconds(length).count(), late[count / 2], late[count * 9 / 10],
                static_cast<double>(bench::cpu_us() - cpu) / each,
                static_cast<double>(weft::get_running_loop().kernel_entries() - entries) / each);
}

weft::Coro<void> measure_all() {
    for (const long length :
         {100L, 1'000L, 5'000L, 20'000L, 100'000L, 1'000'000L, 10'000'000L, 100'000'000L}) {
        co_await measure(std::chrono::nanoseconds(length));
    }
}

}  // namespace

int main() { weft::run(measure_all()); }
