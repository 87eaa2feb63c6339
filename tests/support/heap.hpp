// SPDX-License-Identifier: MIT
// How much of the heap is in use, for tests that look for what is left behind round after round.
#pragma once

#include <malloc.h>

#include <cstddef>

#include <weft/base/config.hpp>

namespace support {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool has_sanitizer = true;
#else
inline constexpr bool has_sanitizer = WEFT_ASAN != 0;
#endif

/// Of the heap, by everybody. (Sanitizers have a heap of their own.)
inline std::size_t bytes_in_use() { return ::mallinfo2().uordblks; }

}  // namespace support
