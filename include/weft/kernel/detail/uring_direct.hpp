// SPDX-License-Identifier: MIT
// UringDirect: sockets that the ring holds itself.
#pragma once

#include <liburing.h>
#include <sys/resource.h>

#include <cstdint>

#include "../../base/std_parts.hpp"
#include "uring_flags.hpp"
#include "uring_lanes.hpp"

namespace weft::detail {

/// An entry that names a file of the ring's own table spares the kernel a look into the table of
/// the process, and a reference that is taken and given back: 3 to 4 % of an echo over a Unix
/// socket. It costs two calls a socket, so it is for streams that have sent often, and the entry in
/// the table has the number of the descriptor.
///
/// The table keeps a file open, whoever closes its number: `leave` comes before every close that
/// the loop does or is told of, which are all of a Stream's. Before Linux 6.13 a file left the
/// table only when all operations of the ring that had begun before were over, and an idle
/// connection would have kept the peers of others from seeing their end; so 6.14 is asked for.
class UringDirect {
public:
    static constexpr std::uint16_t worth_it = 32;  // sends

    /// Whether the kernel can, and is let.
    [[gnu::cold]] bool allow(const io_uring& ring) noexcept {
        constexpr unsigned feature_rw_attr = 1U << 16;  // came with 6.14
        allowed_ = (ring.features & feature_rw_attr) != 0;
        return allowed_;
    }
    [[gnu::cold]] void forbid() noexcept { allowed_ = false; }

    /// A number that the table has no room for, and a table that is refused (RLIMIT_NOFILE, no
    /// memory), change nothing.
    [[gnu::noinline]] void enter(io_uring* ring, UringLanes::Lanes& lanes, int fd) noexcept {
        if (!allowed_ || lanes.entry_flags != 0 || (size_ == 0 && !make_table(ring))) return;
        const auto index = static_cast<std::uint32_t>(fd);
        if (index < size_ && ::io_uring_register_files_update(ring, index, &fd, 1) == 1)
            lanes.entry_flags = IOSQE_FIXED_FILE;
    }
    /// The number is about to be closed.
    static void leave(io_uring* ring, UringLanes::Lanes& lanes, int fd) noexcept {
        lanes.sends = 0;
        if (lanes.entry_flags != 0) take_out(ring, lanes, fd);
    }

    /// Before the ring goes, which takes the kernel a while.
    [[gnu::cold]] void end(io_uring* ring) noexcept {
        if (size_ > 0) ::io_uring_unregister_files(ring);
    }

private:
    static constexpr std::uint32_t most = 16384;  // (eight bytes of the kernel's each)

    [[gnu::cold, gnu::noinline]] bool make_table(io_uring* ring) noexcept {
        rlimit limit{};
        ::getrlimit(RLIMIT_NOFILE, &limit);  // the kernel allows no more
        const auto size = static_cast<unsigned>(std::min<rlim_t>(limit.rlim_cur, most));
        allowed_ = size > 0 && ::io_uring_register_files_sparse(ring, size) == 0;
        if (allowed_) size_ = size;
        return allowed_;
    }
    [[gnu::noinline]] static void take_out(io_uring* ring, UringLanes::Lanes& lanes,
                                           int fd) noexcept {
        lanes.entry_flags = 0;
        int none = -1;
        ::io_uring_register_files_update(ring, static_cast<unsigned>(fd), &none, 1);
    }

    std::uint32_t size_ = 0;  // of the table, 0 before the first
    bool allowed_ = false;
};

}  // namespace weft::detail
