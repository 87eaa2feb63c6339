// SPDX-License-Identifier: MIT
// How what files alone are asked for is written into a submission.
#pragma once

#include <liburing.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <cstdint>

#include "../operation.hpp"
#include "uring_flags.hpp"

namespace weft::detail {

inline void prepare_file_call(io_uring_sqe& entry, const Operation& op) noexcept {
    const auto* const path = static_cast<const char*>(op.address);
    const auto* const second = reinterpret_cast<const char*>(op.offset);
    const auto* const pieces = static_cast<const iovec*>(op.address);
    const int folder = static_cast<int>(op.length);
    const int flags = static_cast<int>(op.flags);
    switch (op.code) {
        case OpCode::readv:
            return ::io_uring_prep_readv(&entry, op.fd, pieces, op.length, op.offset);
        case OpCode::writev:
            return ::io_uring_prep_writev(&entry, op.fd, pieces, op.length, op.offset);
        case OpCode::fallocate:
            return ::io_uring_prep_fallocate(
                &entry, op.fd, flags, static_cast<off_t>(op.offset),
                static_cast<off_t>(reinterpret_cast<std::uintptr_t>(op.address)));
        case OpCode::ftruncate:
            return ::io_uring_prep_rw(uring_op_ftruncate, &entry, op.fd, nullptr, 0, op.offset);
        case OpCode::statx:
            return ::io_uring_prep_statx(&entry, op.fd, path, flags, op.length,
                                         reinterpret_cast<struct statx*>(op.offset));
        case OpCode::renameat:
            return ::io_uring_prep_renameat(&entry, op.fd, path, folder, second, op.flags);
        case OpCode::unlinkat:
            return ::io_uring_prep_unlinkat(&entry, op.fd, path, flags);
        case OpCode::mkdirat:
            return ::io_uring_prep_mkdirat(&entry, op.fd, path, op.length);
        case OpCode::linkat:
            return ::io_uring_prep_linkat(&entry, op.fd, path, folder, second, flags);
        case OpCode::symlinkat:
            return ::io_uring_prep_symlinkat(&entry, path, folder, second);
        default:
            return ::io_uring_prep_nop(&entry);  // (goes to the helper)
    }
}

}  // namespace weft::detail
