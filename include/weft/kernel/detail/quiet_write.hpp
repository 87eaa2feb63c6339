// SPDX-License-Identifier: MIT
// Writes to pipes and sockets whose other end is gone, without the signal that says so.
#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

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

/// Before Linux 6.18: the signal is for the thread that writes, so it is held back there, and taken
/// if it came of this write.
[[gnu::cold, gnu::noinline]] inline ssize_t write_with_signal_held(int fd, const void* data,
                                                                   std::size_t size) noexcept {
    struct sigaction action {};
    if (::sigaction(SIGPIPE, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) {
        return ::write(fd, data, size);
    }
    sigset_t pending;
    sigset_t broken_pipe;
    sigset_t before;
    ::sigemptyset(&broken_pipe);
    ::sigaddset(&broken_pipe, SIGPIPE);
    ::sigemptyset(&pending);
    ::sigpending(&pending);
    ::pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
    const ssize_t written = ::write(fd, data, size);
    const int error = errno;
    if (written < 0 && error == EPIPE && ::sigismember(&pending, SIGPIPE) == 0) {
        const timespec none{0, 0};
        while (::sigtimedwait(&broken_pipe, nullptr, &none) < 0 && errno == EINTR) {
        }
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    errno = error;
    return written;
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
    return write_with_signal_held(fd, data, size);
}

}  // namespace weft::detail
