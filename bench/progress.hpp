// SPDX-License-Identifier: MIT
// Progress: how many echoes of a benchmark have begun and ended, and its report.
#pragma once

#include <weft/runtime/loop.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>

#include "measure.hpp"

namespace bench {

/// Counts from the end of the warm-up to the last echo, and then prints what one has taken.
struct Progress {
    long pairs = 50;
    long total = 200'000;
    long started = 0;
    long finished = 0;
    std::chrono::steady_clock::time_point began;
    std::int64_t began_us = 0;
    std::uint64_t began_entries = 0;

    long warm_up() const { return pairs * 100; }
    bool may_start() { return started < total + warm_up() && ++started > 0; }
    void finish_one() {
        if (++finished == warm_up()) {
            began = std::chrono::steady_clock::now();
            began_us = cpu_us();
            began_entries = weft::get_running_loop().kernel_entries();
        }
        if (finished == total + warm_up()) report();
    }
    void report() const {
        const std::chrono::duration<double, std::nano> took =
            std::chrono::steady_clock::now() - began;
        const auto each = static_cast<double>(total);
        const auto cpu_ns = static_cast<double>(cpu_us() - began_us) * 1000;
        const auto entries = weft::get_running_loop().kernel_entries() - began_entries;
        std::printf("ns_per_echo=%.1f cpu_ns_per_echo=%.1f syscalls_per_echo=%.3f\n",
                    took.count() / each, cpu_ns / each, static_cast<double>(entries) / each);
    }
};

}  // namespace bench
