// SPDX-License-Identifier: MIT
// UringPinned: memory that is registered with the ring.
#pragma once

#include <liburing.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "uring_flags.hpp"

namespace weft::detail {

/// A transfer of ordinary memory looks its pages up and holds them, each time; of registered memory
/// that was done once. A table with room for all comes with the first (Linux 5.19). Refused (an
/// older kernel, RLIMIT_MEMLOCK): 0, and transfers go the usual way.
class UringPinned {
public:
    [[gnu::cold]] std::uint8_t pin(io_uring* ring, void* memory, std::size_t size) noexcept {
        if (!tried_) {
            tried_ = true;
            available_ = !uring_feature_disabled("registered_buffers") &&
                         ::io_uring_register_buffers_sparse(ring, most) == 0;
        }
        for (unsigned slot = 0; available_ && slot < most; ++slot) {
            if (used_[slot]) continue;
            used_[slot] = put(ring, slot, memory, size);
            return used_[slot] ? static_cast<std::uint8_t>(slot + 1) : std::uint8_t{0};
        }
        return 0;
    }
    [[gnu::cold]] void unpin(io_uring* ring, std::uint8_t number) noexcept {
        const unsigned slot = number - 1U;
        put(ring, slot, nullptr, 0);
        used_[slot] = false;
    }

private:
    static constexpr unsigned most = 255;

    static bool put(io_uring* ring, unsigned slot, void* memory, std::size_t size) noexcept {
        const iovec piece{memory, size};
        return ::io_uring_register_buffers_update_tag(ring, slot, &piece, nullptr, 1) == 1;
    }

    bool tried_ = false;
    bool available_ = false;
    bool used_[most] = {};
};

}  // namespace weft::detail
