// SPDX-License-Identifier: MIT
// What the weft benchmark programs share: options of the form --name value, processor time.
#pragma once

#include <sys/resource.h>
#include <sys/time.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace bench {

/// The value after `--name`, or `fallback`.
inline std::string_view option(int argc, char** argv, std::string_view name,
                               std::string_view fallback) {
    for (int index = 1; index + 1 < argc; ++index) {
        if (argv[index] == name) return argv[index + 1];
    }
    return fallback;
}

inline long number_option(int argc, char** argv, std::string_view name, long fallback) {
    const std::string_view text = option(argc, argv, name, "");
    return text.empty() ? fallback : std::strtol(text.data(), nullptr, 10);
}

/// User and system time of this process, in microseconds.
inline std::int64_t cpu_us() {
    rusage use{};
    ::getrusage(RUSAGE_SELF, &use);
    return (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * std::int64_t{1'000'000} +
           use.ru_utime.tv_usec + use.ru_stime.tv_usec;
}

}  // namespace bench
