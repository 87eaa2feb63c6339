// SPDX-License-Identifier: MIT
// copy, copy_bidirectional: what comes from one stream goes to another.
#pragma once

#include <cstdint>

#include "../base/config.hpp"
#include "../net/stream.hpp"
#include "../task/coro.hpp"

#if WEFT_BODIES
#include <cerrno>
#include <cstddef>
#include <system_error>

#include "../net/chunk.hpp"
#include "../together/gather.hpp"
#endif

namespace weft {

/// Reads `from` to its end and writes all of it to `to`, no faster than that takes it. Neither is
/// closed, and `to` is not told of the end.
/// Returns:  bytes copied.
/// Throws:   what the reads and the writes throw; CancelledError.
/// Cancel:   what was read and not yet written is lost, as `to.written()` tells.
/// Lifetime: both outlive the await.
Coro<std::uint64_t> copy(Stream& from, Stream& to);

struct CopiedBytes {
    CopiedBytes() noexcept {}

    std::uint64_t there = 0;  ///< from the first to the second
    std::uint64_t back = 0;
};

/// Copies in both directions until both are at their end, as a proxy does. The end of one direction
/// is told to its target (`write_eof`) and the other one goes on; where there is no such thing, on
/// a terminal, the first end is that of both.
/// Throws:   what the reads and the writes throw, the first of it: the other direction is cancelled
///           and waited for; CancelledError.
/// Cancel:   like `copy`, in both directions.
/// Lifetime: both outlive the await.
Coro<CopiedBytes> copy_bidirectional(Stream& one, Stream& other);

#if WEFT_BODIES
namespace detail {

// (In C, splice(2) over a pipe takes half of the processor time for bulk over loopback TCP. But it
// asks a socket to block or not by its O_NONBLOCK alone, and a receive that stands for chunks has
// the bytes already: it would need a way of its own through the kernel's queue of writers.)
WEFT_INLINE Coro<std::uint64_t> copy_counted(Stream& from, Stream& to, std::uint64_t& copied) {
    for (;;) {
        const Chunk chunk = co_await from.read_chunk();
        if (chunk.empty()) co_return copied;
        co_await to.write(chunk.view());
        copied += chunk.size();
    }
}

/// Ends a copy in both directions whose other half cannot be told that this one has ended.
struct CannotBeTold {};

WEFT_INLINE Coro<void> copy_and_tell(Stream& from, Stream& to, std::uint64_t& copied) {
    (void)co_await copy_counted(from, to, copied);
    int error = 0;
    try {
        co_await to.write_eof();
    } catch (const std::system_error& failure) {
        error = failure.code().value();
        // (That the target has gone meanwhile, its own direction says.)
        if (error != EOPNOTSUPP && error != EPIPE && error != ENOTCONN) throw;
    }
    if (error == EOPNOTSUPP) throw CannotBeTold();
}

}  // namespace detail

WEFT_INLINE Coro<std::uint64_t> copy(Stream& from, Stream& to) {
    std::uint64_t copied = 0;
    co_return co_await detail::copy_counted(from, to, copied);
}

WEFT_INLINE Coro<CopiedBytes> copy_bidirectional(Stream& one, Stream& other) {
    CopiedBytes copied;
    try {
        co_await all(detail::copy_and_tell(one, other, copied.there),
                     detail::copy_and_tell(other, one, copied.back));
    } catch (const detail::CannotBeTold&) {
    }
    co_return copied;
}
#endif

}  // namespace weft
