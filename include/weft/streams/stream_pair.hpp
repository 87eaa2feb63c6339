// SPDX-License-Identifier: MIT
// StreamPair: two streams, each the other's peer.
#pragma once

#include <utility>

#include "../net/stream.hpp"

namespace weft {

/// What one writes the other reads.
struct StreamPair {
    // User-provided: g++ 12 destroys aggregate temporaries of awaiting expressions twice.
    StreamPair(Stream one, Stream other) noexcept : near(std::move(one)), far(std::move(other)) {}

    Stream near;
    Stream far;
};

}  // namespace weft
