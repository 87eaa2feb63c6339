// SPDX-License-Identifier: MIT
// The system call behind an operation on a file, on a thread that it may block.
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "../operation.hpp"
#include "attempt.hpp"

namespace weft::detail {

inline bool at_own_position(const Operation& op) noexcept { return op.offset == current_position; }

[[gnu::cold]] inline int open_without_waiting(const Operation& op) noexcept {
    const auto* const path = static_cast<const char*>(op.address);
    const int fd = ::openat(op.fd, path, flags_to_open(op), static_cast<mode_t>(op.length));
    after_open(op, fd);
    return fd;
}

/// What is done on two paths, or on one: with the errno of the call.
[[gnu::cold]] inline int call_on_paths(const Operation& op) noexcept {
    const auto* const path = static_cast<const char*>(op.address);
    const auto* const second = reinterpret_cast<const char*>(op.offset);
    const int folder = static_cast<int>(op.length);
    const int flags = static_cast<int>(op.flags);
    switch (op.code) {
        case OpCode::statx:
            return ::statx(op.fd, path, flags, op.length,
                           reinterpret_cast<struct statx*>(op.offset));
        case OpCode::renameat:
            // (The older call where no flag is asked for: not every file system takes the newer.)
            return flags == 0 ? ::renameat(op.fd, path, folder, second)
                              : ::renameat2(op.fd, path, folder, second, op.flags);
        case OpCode::unlinkat:
            return ::unlinkat(op.fd, path, flags);
        case OpCode::mkdirat:
            return ::mkdirat(op.fd, path, static_cast<mode_t>(op.length));
        case OpCode::linkat:
            return ::linkat(op.fd, path, folder, second, flags);
        case OpCode::symlinkat:
            return ::symlinkat(path, folder, second);
        default:
            errno = EOPNOTSUPP;
            return -1;
    }
}

inline ssize_t call_on_file(const Operation& op) noexcept {
    const auto at = static_cast<off_t>(op.offset);
    const auto* const pieces = static_cast<const iovec*>(op.address);
    const int count = static_cast<int>(op.length);
    switch (op.code) {
        case OpCode::read:
            return at_own_position(op) ? ::read(op.fd, op.address, op.length)
                                       : ::pread(op.fd, op.address, op.length, at);
        case OpCode::write:
            return at_own_position(op) ? ::write(op.fd, op.address, op.length)
                                       : ::pwrite(op.fd, op.address, op.length, at);
        case OpCode::readv:
            return at_own_position(op) ? ::readv(op.fd, pieces, count)
                                       : ::preadv(op.fd, pieces, count, at);
        case OpCode::writev:
            return at_own_position(op) ? ::writev(op.fd, pieces, count)
                                       : ::pwritev(op.fd, pieces, count, at);
        case OpCode::openat:
            return open_without_waiting(op);
        case OpCode::fsync:
            return op.flags ? ::fdatasync(op.fd) : ::fsync(op.fd);
        case OpCode::fallocate:
            return ::fallocate(op.fd, static_cast<int>(op.flags), at,
                               static_cast<off_t>(reinterpret_cast<std::uintptr_t>(op.address)));
        case OpCode::ftruncate:
            return ::ftruncate(op.fd, at);
        case OpCode::close:
            return ::close(op.fd) == 0 || is_interruption(errno) ? 0 : -1;
        default:
            return call_on_paths(op);
    }
}

/// Runs one operation on the calling thread; 0 or more, or -errno.
inline int run_blocking(const Operation& op) noexcept {
    if (op.code == OpCode::blocking_call) {
        auto& call = *static_cast<BlockingCall*>(op.address);
        return call.call(call);
    }
    for (;;) {
        const ssize_t result = call_on_file(op);
        if (result >= 0) return static_cast<int>(result);
        if (!is_interruption(errno)) return -errno;
    }
}

}  // namespace weft::detail
