// SPDX-License-Identifier: MIT
// The system call behind an operation on a file, on a thread that it may block.
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdint>

#include "../../base/std_parts.hpp"
#include "../operation.hpp"
#include "attempt.hpp"
#include "quiet_write.hpp"

namespace weft::detail {

/// What is no regular file, without blocking.
inline ssize_t write_some(const Operation& op, const FileTraits& file) noexcept {
    if (file.kind == FileTraits::Kind::socket) {
        return ::send(op.fd, op.address, op.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    // A blocking pipe that polls writable takes PIPE_BUF bytes without blocking, and blocks on
    // more.
    if (file.kind == FileTraits::Kind::pipe) {
        const std::uint32_t most = file.nonblocking ? op.length : PIPE_BUF;
        return write_quietly(op.fd, op.address, std::min<std::uint32_t>(op.length, most));
    }
    return ::write(op.fd, op.address, op.length);
}

[[gnu::cold]] inline int open_without_waiting(const Operation& op) noexcept {
    const auto* const path = static_cast<const char*>(op.address);
    const int fd = ::openat(op.fd, path, flags_to_open(op), static_cast<mode_t>(op.length));
    after_open(op, fd);
    return fd;
}

/// statx(2), or where a filter is older than that call, what there was before. (If it was not the
/// filter, the older call says so again.)
[[gnu::cold]] inline int stat_by_any_call(const Operation& op) noexcept {
    const auto* const path = static_cast<const char*>(op.address);
    const int how = static_cast<int>(op.flags);
    auto& into = *reinterpret_cast<struct statx*>(op.offset);
    if (::statx(op.fd, path, how, op.length, &into) == 0) return 0;
    struct stat older {};
    if (::fstatat(op.fd, path, &older, how & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return -1;
    const auto time = [](const timespec& from) {
        struct statx_timestamp to {};
        to.tv_sec = from.tv_sec;
        to.tv_nsec = static_cast<std::uint32_t>(from.tv_nsec);
        return to;
    };
    into.stx_mask = STATX_BASIC_STATS;
    into.stx_blksize = static_cast<std::uint32_t>(older.st_blksize);
    into.stx_nlink = static_cast<std::uint32_t>(older.st_nlink);
    into.stx_uid = older.st_uid;
    into.stx_gid = older.st_gid;
    into.stx_mode = static_cast<std::uint16_t>(older.st_mode);
    into.stx_ino = older.st_ino;
    into.stx_size = static_cast<std::uint64_t>(older.st_size);
    into.stx_blocks = static_cast<std::uint64_t>(older.st_blocks);
    into.stx_atime = time(older.st_atim);
    into.stx_ctime = time(older.st_ctim);
    into.stx_mtime = time(older.st_mtim);
    // (As makedev(3) has put it together; its header has macros with common names.)
    const std::uint64_t device = older.st_dev;
    into.stx_dev_major =
        static_cast<std::uint32_t>((device >> 32 & 0xfffff000) | (device >> 8 & 0xfff));
    into.stx_dev_minor = static_cast<std::uint32_t>((device >> 12 & 0xffffff00) | (device & 0xff));
    return 0;
}

/// What is done on two paths, or on one: with the errno of the call.
[[gnu::cold]] inline int call_on_paths(const Operation& op) noexcept {
    const auto* const path = static_cast<const char*>(op.address);
    const auto* const second = reinterpret_cast<const char*>(op.offset);
    const int folder = static_cast<int>(op.length);
    const int flags = static_cast<int>(op.flags);
    switch (op.code) {
        case OpCode::statx:
            return stat_by_any_call(op);
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
            return op.at_own_position() ? ::read(op.fd, op.address, op.length)
                                        : ::pread(op.fd, op.address, op.length, at);
        case OpCode::write:
            return op.at_own_position() ? ::write(op.fd, op.address, op.length)
                                        : ::pwrite(op.fd, op.address, op.length, at);
        case OpCode::readv:
            return op.at_own_position() ? ::readv(op.fd, pieces, count)
                                        : ::preadv(op.fd, pieces, count, at);
        case OpCode::writev:
            return op.at_own_position() ? ::writev(op.fd, pieces, count)
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
