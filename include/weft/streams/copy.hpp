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

#include "../base/std_parts.hpp"
#include "../net/chunk.hpp"
#include "../task/sleep.hpp"
#include "../together/gather.hpp"
#include "detail/splice.hpp"
#endif

namespace weft {

/// Reads `from` to its end and writes all of it to `to`, no faster than that takes it. Neither is
/// closed, and `to` is not told of the end.
/// Returns:  bytes copied.
/// Throws:   what the reads and the writes throw; CancelledError.
/// Cancel:   what was read and not yet written, a chunk at most, is lost, as `to.written()` tells. Of
///           two sockets between which much has gone the kernel has it; then it is the next that a
///           read of `from` finds.
/// Lifetime: both outlive the await.
/// Source:   splice(2), between sockets, once large pieces come.
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
///           and waited for; CancelledError. A proxy then calls `abort` on both: to just let go of
///           them would tell the peers an end, and they would take a part for the whole.
/// Cancel:   like `copy`, in both directions.
/// Lifetime: both outlive the await.
Coro<CopiedBytes> copy_bidirectional(Stream& one, Stream& other);

#if WEFT_BODIES
namespace detail {

/// What comes in large pieces goes from socket to socket inside the kernel, small messages by way
/// of a buffer, which is faster for them and needs nothing while there are none.
WEFT_INLINE Coro<std::uint64_t> copy_counted(Stream& from, Stream& to, std::uint64_t& copied) {
    constexpr std::size_t large_piece = 8 * 1024;
    constexpr int enough_large = 8;
    StreamState& source = StreamAccess::state(from);
    StreamState& target = StreamAccess::state(to);
    int large = 0;
    bool in_kernel = SpliceWay::suits(source, target);
    for (;;) {
        {
            const Chunk chunk = co_await from.read_chunk();
            if (chunk.empty()) co_return copied;
            co_await to.write(chunk.view());
            copied += chunk.size();
            large = chunk.size() >= large_piece ? std::min(large + 1, enough_large) : large / 2;
        }
        if (large < enough_large || !in_kernel) [[likely]]
            continue;
        // What the standing receive has brought by the time it has ended comes first.
        source.chunks->pause();
        while (!source.chunks->is_idle()) {
            // (For a reader that came meanwhile it would begin again and again.)
            if (source.chunks->is_waited_for()) source.throw_second_reader();
            source.chunks->look_soon();
            co_await yield();
        }
        if (source.has_buffered() || source.chunks->has_end()) continue;
        const Spliced how = co_await copy_spliced(source, target, copied);
        in_kernel = how != Spliced::refused;
        large = 0;
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
