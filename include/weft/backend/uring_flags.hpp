// SPDX-License-Identifier: MIT
// What the io_uring headers of an older system lack, and the switch that plays an older kernel.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <string_view>

#include "../detail/std_parts.hpp"

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

/// A name in WEFT_URING_DISABLE takes its rung out of the ladder, so that every rung is tested on
/// one kernel.
inline bool uring_feature_disabled(std::string_view feature) {
    const char* const list = std::getenv("WEFT_URING_DISABLE");
    if (!list) return false;
    std::string_view rest = list;
    while (!rest.empty()) {
        const std::size_t comma = std::min(rest.find(','), rest.size());
        if (rest.substr(0, comma) == feature) return true;
        rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
    return false;
}

}  // namespace weft::detail
