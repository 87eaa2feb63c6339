// SPDX-License-Identifier: MIT
// What the io_uring headers of an older system lack, and the switch that plays an older kernel.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <string_view>

#include "../../base/error.hpp"
#include "../../base/std_parts.hpp"

namespace weft::detail {

// Constants that liburing 2.3 and the kernel headers of its time may lack.
inline constexpr unsigned uring_setup_submit_all = 1U << 7;      // Linux 5.18
inline constexpr unsigned uring_setup_coop_taskrun = 1U << 8;    // 5.19
inline constexpr unsigned uring_setup_taskrun_flag = 1U << 9;    // 5.19
inline constexpr unsigned uring_setup_single_issuer = 1U << 12;  // 6.0
inline constexpr unsigned uring_setup_defer_taskrun = 1U << 13;  // 6.1
inline constexpr unsigned uring_sq_taskrun = 1U << 2;            // 5.19
inline constexpr unsigned uring_recvsend_poll_first = 1U << 0;   // 5.19
inline constexpr unsigned uring_cqe_sock_nonempty = 1U << 2;     // 5.19
inline constexpr unsigned uring_recv_multishot = 1U << 1;        // 6.0
inline constexpr int uring_op_ftruncate = 55;                    // 6.9

inline constexpr std::string_view uring_features[] = {
    "single_issuer", "defer_taskrun",   "coop_taskrun",       "poll_first", "cqe_skip",
    "ext_arg",       "registered_ring", "buffer_ring",        "multishot",  "unix_multishot",
    "nosignal",      "file_calls",      "registered_buffers", "direct"};

/// Takes the first name off a list with commas.
inline std::string_view next_name(std::string_view& list) noexcept {
    const std::size_t comma = std::min(list.find(','), list.size());
    const std::string_view name = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    return name;
}

/// A name in WEFT_URING_DISABLE takes its rung out of the ladder, so that every rung is tested on
/// one kernel.
[[gnu::cold]] inline bool uring_feature_disabled(std::string_view feature) {
    const char* const list = std::getenv("WEFT_URING_DISABLE");
    if (!list) return false;
    for (std::string_view rest = list; !rest.empty();) {
        if (next_name(rest) == feature) return true;
    }
    return false;
}

/// Throws:   RuntimeError for a name that means nothing, which would be left in silence.
[[gnu::cold]] inline void check_disabled_features() {
    const char* const list = std::getenv("WEFT_URING_DISABLE");
    if (!list) return;
    for (std::string_view rest = list; !rest.empty();) {
        const std::string_view name = next_name(rest);
        bool known = name.empty();
        for (const std::string_view feature : uring_features) known = known || name == feature;
        if (!known) throw_runtime_error({"WEFT_URING_DISABLE: there is no feature '", name, "'"});
    }
}

/// The size of the ring that WEFT_URING_ENTRIES asks for, or `otherwise`.
/// Throws:   RuntimeError for what is no number.
[[gnu::cold]] inline unsigned wanted_entries(unsigned otherwise) {
    const char* const text = std::getenv("WEFT_URING_ENTRIES");
    if (!text || !*text) return otherwise;
    char* end = nullptr;
    const unsigned long entries = std::strtoul(text, &end, 10);
    if (*end != '\0' || *text == '-')
        throw_runtime_error({"WEFT_URING_ENTRIES=", text, ": not a number"});
    return static_cast<unsigned>(std::min(entries, 4096UL));
}

}  // namespace weft::detail
