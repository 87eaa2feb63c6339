// SPDX-License-Identifier: MIT
// May a multishot receive be left standing on a Unix socket? A kernel is asked by trying.
#pragma once

#include <liburing.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "uring_flags.hpp"

namespace weft::detail {

/// Kernels of the field lose an end that comes together with data on everything but TCP
/// (liburing#1549, from Linux 6.0 on, fixed in 2026): after the data the socket is taken for empty
/// and the receive waits for an event, which the end has made already.
///
/// So data and an end are made to arrive before the receive runs again, and both must be told.
/// (Work that is deferred makes sure that it does not run between the two.)
class UnixEndTrial {
public:
    [[gnu::cold]] UnixEndTrial() noexcept {
        io_uring_params params{};
        params.flags = uring_setup_single_issuer | uring_setup_defer_taskrun;
        has_ring_ = ::io_uring_queue_init_params(4, &ring_, &params) == 0;
    }
    UnixEndTrial(const UnixEndTrial&) = delete;
    UnixEndTrial& operator=(const UnixEndTrial&) = delete;
    [[gnu::cold]] ~UnixEndTrial() {
        if (has_ring_) ::io_uring_queue_exit(&ring_);
        std::free(memory_);
        for (const int end : ends_) {
            if (end >= 0) ::close(end);
        }
    }

    /// False also when the trial could not be made.
    [[gnu::cold]] bool tells_end() noexcept {
        if (!has_ring_ || !lend_buffers()) return false;
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends_) != 0) return false;
        io_uring_sqe& entry = *::io_uring_get_sqe(&ring_);
        ::io_uring_prep_recv(&entry, ends_[0], nullptr, 0, 0);
        entry.flags = IOSQE_BUFFER_SELECT;
        entry.ioprio = uring_recv_multishot;
        if (::io_uring_submit(&ring_) != 1 || ::send(ends_[1], text_, 1, MSG_NOSIGNAL) != 1 ||
            ::shutdown(ends_[1], SHUT_WR) != 0) {
            return false;
        }
        bool told = false;
        io_uring_cqe* completion = nullptr;
        while (::io_uring_submit_and_get_events(&ring_) >= 0 &&
               ::io_uring_peek_cqe(&ring_, &completion) == 0) {
            told = completion->res == 0;
            ::io_uring_cqe_seen(&ring_, completion);
        }
        return told;
    }

private:
    bool lend_buffers() noexcept {
        constexpr std::size_t page = 4096;  // what the kernel wants it to be aligned to
        constexpr std::size_t bytes = count * sizeof(io_uring_buf);
        if (::posix_memalign(&memory_, page, bytes) != 0) return false;
        std::memset(memory_, 0, bytes);
        io_uring_buf_reg how{};
        how.ring_addr = reinterpret_cast<std::uintptr_t>(memory_);
        how.ring_entries = count;
        if (::io_uring_register_buf_ring(&ring_, &how, 0) != 0) return false;
        auto* const buffers = static_cast<io_uring_buf_ring*>(memory_);
        for (unsigned short number = 0; number < count; ++number) {
            ::io_uring_buf_ring_add(buffers, text_ + each * number, each, number, count - 1,
                                    number);
        }
        ::io_uring_buf_ring_advance(buffers, count);
        return true;
    }

    static constexpr unsigned short count = 2;
    static constexpr unsigned short each = 4;
    io_uring ring_{};
    bool has_ring_ = false;
    void* memory_ = nullptr;
    int ends_[2] = {-1, -1};
    char text_[count * each] = {};
};

/// Asked once a process, by whoever first reads chunks from a Unix socket.
[[gnu::cold]] inline bool keeps_unix_ends() noexcept {
    static const bool keeps =
        !uring_feature_disabled("unix_multishot") && UnixEndTrial().tells_end();
    return keeps;
}

}  // namespace weft::detail
