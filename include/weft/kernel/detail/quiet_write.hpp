// SPDX-License-Identifier: MIT
// Writes to pipes and sockets whose other end is gone, without the signal that says so.
#pragma once

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "../../base/broken_pipe.hpp"
#include "../operation.hpp"

namespace weft::detail {

// RWF_NOSIGNAL, Linux 6.18: what MSG_NOSIGNAL is to send(2).
inline constexpr int write_without_signal = 0x100;

/// Asked once a process, by trying.
[[gnu::cold]] inline bool kernel_writes_quietly() noexcept {
    static const bool quiet = [] {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) return false;
        char byte = 0;
        const iovec piece{&byte, 1};
        const bool written = ::pwritev2(ends[1], &piece, 1, -1, write_without_signal) == 1;
        ::close(ends[0]);
        ::close(ends[1]);
        return written;
    }();
    return quiet;
}

/// write(2) that never raises SIGPIPE.
inline ssize_t write_quietly(int fd, const void* data, std::size_t size) noexcept {
    if (kernel_writes_quietly()) [[likely]] {
        const iovec piece{const_cast<void*>(data), size};
        const ssize_t written = ::pwritev2(fd, &piece, 1, -1, write_without_signal);
        // (A filter may refuse the call all the same: if it is not that, the other says it again.)
        if (written >= 0 || errno == EAGAIN || errno == EPIPE || is_interruption(errno))
            return written;
    }
    // Before Linux 6.18.
    return with_signal_held([&] { return ::write(fd, data, size); });
}

}  // namespace weft::detail
