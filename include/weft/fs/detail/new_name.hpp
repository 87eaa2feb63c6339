// SPDX-License-Identifier: MIT
// new_name: for a temporary file, one that nobody else has.
#pragma once

#include <sys/random.h>
#include <unistd.h>

#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"

namespace weft::detail {

/// `.NAME.XXXXXXXXXXXXXXXX.tmp`, with 64 random bits. (A long name is cut: 255 bytes is the most
/// that file systems take.)
std::string new_name(std::string_view name);

#if WEFT_BODIES
[[gnu::cold]] WEFT_INLINE std::string new_name(std::string_view name) {
    constexpr char digits[] = "0123456789abcdef";
    std::uint64_t number = 0;
    if (::getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number) {
        // (Early in a boot, or refused: O_EXCL finds out whether it is new.)
        static thread_local std::uint64_t counter = 0;
        number = static_cast<std::uint64_t>(monotonic_now()) << 20 ^
                 static_cast<std::uint64_t>(::getpid()) << 8 ^ ++counter;
    }
    char text[16];
    for (char& each : text) {
        each = digits[number & 15];
        number >>= 4;
    }
    return concat({".", name.substr(0, 200), ".", std::string_view(text, sizeof text), ".tmp"});
}
#endif

}  // namespace weft::detail
