// SPDX-License-Identifier: MIT
// WebSocketOptions: limits and times of a WebSocket.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../base/clock.hpp"
#include "../base/std_parts.hpp"

namespace weft::http {

struct WebSocketOptions {
    WebSocketOptions() noexcept {}

    /// Bytes of a message that comes; a longer one ends the connection (1009).
    std::uint64_t max_message = 1 << 20;
    /// The same for each of its frames; what `max_message` allows, unless said.
    std::uint64_t max_frame = UINT64_MAX;
    /// With so many bytes that nobody has received, no more is read until somebody does. (A message
    /// that somebody waits for is read whole.)
    std::size_t read_ahead = 64 * 1024;
    /// A peer that was silent for so long is asked whether it is there; 0: it is not.
    Duration ping_interval = std::chrono::seconds(20);
    /// And it is gone when it says nothing for so long then.
    Duration ping_timeout = std::chrono::seconds(20);
    /// How long the peer may take to answer a close, and to go.
    Duration close_timeout = std::chrono::seconds(10);
};

}  // namespace weft::http
