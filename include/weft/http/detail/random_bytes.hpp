// SPDX-License-Identifier: MIT
// random_bytes: what nobody can guess, from the kernel.
#pragma once

#include <cstddef>

#include "../../base/config.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <sys/random.h>

#include <cerrno>
#include <cstring>

#include "../../base/error.hpp"
#include "../../base/std_parts.hpp"
#endif

namespace weft::http::detail {

/// Masks are asked for with each frame: a thread keeps some.
/// Throws:   std::system_error (getrandom).
/// Source:   getrandom(2), Linux 3.17.
void random_bytes(unsigned char* into, std::size_t count);

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
struct RandomStore {
    unsigned char bytes[256];  // more than that getrandom(2) may give in parts
    std::size_t left = 0;
};

WEFT_INLINE void random_bytes(unsigned char* into, std::size_t count) {
    static thread_local RandomStore store;
    while (count > 0) {
        if (store.left == 0) {
            if (::getrandom(store.bytes, sizeof store.bytes, 0) < 0) {
                if (errno == EINTR) continue;
                weft::detail::throw_system_error(errno, "getrandom");
            }
            store.left = sizeof store.bytes;
        }
        const std::size_t taken = std::min(count, store.left);
        store.left -= taken;
        std::memcpy(into, store.bytes + store.left, taken);
        into += taken;
        count -= taken;
    }
}
#endif

}  // namespace weft::http::detail
