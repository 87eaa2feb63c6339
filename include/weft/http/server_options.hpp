// SPDX-License-Identifier: MIT
// ServerOptions: limits of size and time, and what an HTTP server reports.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../base/clock.hpp"
#include "../base/options.hpp"
#include "../net/server.hpp"

namespace weft::http {

/// Beside those of any server (backlog, reuse_port, connection_limit, grace).
struct ServerOptions : weft::ServerOptions {
    ServerOptions() noexcept {}

    // Of size. What is larger is answered, where the client can still be told: 431, 414, 413.
    std::size_t max_head = 32 * 1024;       ///< request line and fields, in bytes
    std::size_t max_target = 8 * 1024;      ///< of the request line
    std::size_t max_fields = 100;           ///< header fields
    std::uint64_t max_body = 1024 * 1024;   ///< see `Request::set_max_body`
    std::uint64_t max_unread = 256 * 1024;  ///< of a body that no handler has read: more closes

    // Of time. 0, and `Duration::max()`: none. (Less than 0 is refused: std::invalid_argument.)
    /// From the first byte of a request, and from the accept, to the end of its head: 408.
    Duration head_timeout = std::chrono::seconds(10);
    /// A connection that is kept without a request is closed, without a word.
    Duration idle_timeout = std::chrono::seconds(75);
    /// A body may be waited for so long, all its waits together: 408. What arrives gives back of it
    /// what it takes at `min_body_rate`, so a client that is faster may stop for that long at any
    /// time, one that is slower runs out of it, and nobody can save time up.
    Duration body_timeout = std::chrono::seconds(20);
    std::uint64_t min_body_rate = 500;  ///< bytes a second; 0: nothing is given back
    /// A client that takes nothing of 256 KiB of its answer for so long is cut off.
    Duration write_timeout = std::chrono::seconds(60);
    /// A handler is cancelled: 503. (While it waits for its client's body its time stands still.)
    Duration handler_timeout{0};

    /// A handler whose client has gone, or has closed its direction, is cancelled. (Off, because a
    /// client may close its direction and wait for the answer: `nc` does.)
    bool cancel_on_disconnect = false;
    /// Gets what handlers throw that is answered with 500, with the request's line. As long as
    /// there is none, the loop's exception handler does.
    ExceptionHandlerOption on_error{};
};

}  // namespace weft::http
