// SPDX-License-Identifier: MIT
// with_signal_held: what writes where nobody reads any more, without the signal that says so.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <sys/types.h>

#include <cerrno>
#include <ctime>

namespace weft::detail {

/// Calls `write()`, a system call that cannot be told not to raise SIGPIPE. The signal is for the
/// thread that writes, so it is held back there, and taken if it came of this call. Returns what
/// the call has returned, with its errno.
template <class Write>
[[gnu::noinline]] ssize_t with_signal_held(Write write) noexcept {
    struct sigaction action {};
    if (::sigaction(SIGPIPE, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) return write();
    sigset_t pending;
    sigset_t broken_pipe;
    sigset_t before;
    ::sigemptyset(&broken_pipe);
    ::sigaddset(&broken_pipe, SIGPIPE);
    ::sigemptyset(&pending);
    ::sigpending(&pending);
    ::pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
    const ssize_t written = write();
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

}  // namespace weft::detail
