// SPDX-License-Identifier: MIT
// How each kind of operation is written into a submission.
#pragma once

#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <cstdint>
#include <cstring>

#include "../operation.hpp"
#include "attempt.hpp"
#include "helper.hpp"
#include "quiet_write.hpp"
#include "uring_flags.hpp"
#include "uring_lanes.hpp"

namespace weft::detail {

// How a write is made that might raise SIGPIPE, in its Operation::flags.
inline constexpr std::uint32_t write_plain = 0;
inline constexpr std::uint32_t write_quiet = 1;    // the kernel can do it
inline constexpr std::uint32_t write_as_send = 2;  // a socket
inline constexpr std::uint32_t write_by_hand = 3;  // a pipe: with `write_quietly`, when it has room

/// (A write may go into the kernel's own hands and raise the signal in any later entry, so the
/// signal cannot be held back around an entry.)
[[gnu::cold]] inline std::uint32_t way_to_write(int fd) noexcept {
    const FileTraits file = traits_of(fd);
    if (file.kind == FileTraits::Kind::socket) return write_as_send;
    // (The end that is read would never have room.)
    return file.kind == FileTraits::Kind::pipe && file.writable ? write_by_hand : write_plain;
}

/// What liburing's functions do, without their going through the entry field by field.
inline void prepare_message(io_uring_sqe& entry, Operation& op, std::uint16_t poll_first) noexcept {
    std::memset(&entry, 0, sizeof entry);
    entry.fd = op.fd;
    entry.addr = reinterpret_cast<std::uintptr_t>(op.address);
    entry.len = op.length;
    entry.user_data = reinterpret_cast<std::uintptr_t>(&op);
    if (op.code == OpCode::recv) {
        entry.opcode = IORING_OP_RECV;
        entry.msg_flags = op.flags;
        if (op.expect_wait) entry.ioprio = poll_first;
    } else {
        entry.opcode = IORING_OP_SEND;
        entry.msg_flags = (op.code == OpCode::send ? op.flags : 0U) | MSG_NOSIGNAL;
    }
}

/// A message that has been waited for: the kernel needs no thread for it then.
inline void make_nonblocking(io_uring_sqe& message) noexcept {
    message.msg_flags |= MSG_DONTWAIT;
    message.ioprio = 0;  // without the poll before it: that was made
}

/// The operation waits until it is worth another try.
inline void prepare_readiness(io_uring_sqe& entry, const Operation& op) noexcept {
    const bool in = op.code != OpCode::write && op.code != OpCode::send &&
                    op.code != OpCode::sendmsg && op.code != OpCode::connect;
    ::io_uring_prep_poll_add(&entry, op.fd, in ? POLLIN : POLLOUT);
}

/// Operations that not every kernel with io_uring has; what has none is made by the helper.
inline constexpr struct {
    OpCode code;
    int uring;
} uring_file_calls[] = {
    {OpCode::renameat, IORING_OP_RENAMEAT},    // 5.11
    {OpCode::unlinkat, IORING_OP_UNLINKAT},    // 5.11
    {OpCode::mkdirat, IORING_OP_MKDIRAT},      // 5.15
    {OpCode::linkat, IORING_OP_LINKAT},        // 5.15
    {OpCode::symlinkat, IORING_OP_SYMLINKAT},  // 5.15
    {OpCode::ftruncate, uring_op_ftruncate},   // 6.9
};

inline void use_pinned(io_uring_sqe& entry, const Operation& op, std::uint8_t code) noexcept {
    if (op.pinned() == 0) [[likely]]
        return;
    entry.opcode = code;
    entry.buf_index = static_cast<std::uint16_t>(op.pinned() - 1);
}

/// All but receives into the pool's buffers.
inline void prepare_plain(io_uring_sqe& entry, Operation& op, std::uint16_t poll_first) noexcept {
    switch (op.code) {
        case OpCode::read:
            ::io_uring_prep_read(&entry, op.fd, op.address, op.length, op.offset);
            use_pinned(entry, op, IORING_OP_READ_FIXED);
            break;
        case OpCode::write:
            if (op.flags == write_as_send) return prepare_message(entry, op, poll_first);
            ::io_uring_prep_write(&entry, op.fd, op.address, op.length, op.offset);
            use_pinned(entry, op, IORING_OP_WRITE_FIXED);
            if (op.flags == write_quiet) entry.rw_flags = write_without_signal;
            break;
        case OpCode::recv:
        case OpCode::send:
        case OpCode::recv_pooled:  // (which has a way of its own)
            prepare_message(entry, op, poll_first);
            break;
        case OpCode::recvmsg:
            ::io_uring_prep_recvmsg(&entry, op.fd, static_cast<msghdr*>(op.address), op.flags);
            if (op.expect_wait) entry.ioprio = poll_first;
            break;
        case OpCode::sendmsg:
            ::io_uring_prep_sendmsg(&entry, op.fd, static_cast<const msghdr*>(op.address),
                                    op.flags | MSG_NOSIGNAL);
            break;
        case OpCode::accept:
            ::io_uring_prep_accept(&entry, op.fd, static_cast<sockaddr*>(op.address),
                                   reinterpret_cast<socklen_t*>(op.offset),
                                   static_cast<int>(op.flags | SOCK_CLOEXEC));
            break;
        case OpCode::connect:
            ::io_uring_prep_connect(&entry, op.fd, static_cast<const sockaddr*>(op.address),
                                    op.length);
            break;
        case OpCode::poll:
            ::io_uring_prep_poll_add(&entry, op.fd, op.flags);
            break;
        case OpCode::close:
            ::io_uring_prep_close(&entry, op.fd);
            break;
        case OpCode::openat:
            ::io_uring_prep_openat(&entry, op.fd, static_cast<const char*>(op.address),
                                   flags_to_open(op), op.length);
            break;
        case OpCode::shutdown:  // (made by hand)
            break;
        case OpCode::fsync:
            ::io_uring_prep_fsync(&entry, op.fd, op.flags ? IORING_FSYNC_DATASYNC : 0U);
            break;
        default:
            file_support().prepare(entry, op);
    }
}

}  // namespace weft::detail
