// SPDX-License-Identifier: MIT
// Operation: one request to the kernel, and the record its completion is written to.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstdint>

#include "../base/intrusive_list.hpp"

namespace weft::detail {

enum class OpCode : std::uint8_t {
    read,     // address, length, offset
    write,    // address, length, offset
    recv,     // address, length, flags (MSG_*)
    send,     // address, length, flags (MSG_*)
    accept,   // address (sockaddr), offset (socklen_t*), flags (SOCK_*)
    connect,  // address (sockaddr), length (socklen)
    poll,     // flags (POLL* mask); result: the mask that holds
    close,
    openat,  // fd = directory, address (path), flags (O_*), length (mode)
    fsync,   // flags (1: data only)
    // Receives into a buffer of the backend's. result > 0: `address` is its Block, which is yours.
    // May complete more than once: in_flight in `on_complete` means that more will follow. -EAGAIN:
    // there is something, start it again to get it.
    recv_pooled,
    recvmsg,   // address (msghdr), flags (MSG_*)
    sendmsg,   // address (msghdr), flags (MSG_*), on a byte stream length (of all that is to go)
    shutdown,  // flags (SHUT_*); behind the sends that have begun
    // Files alone. Of two paths the second is `offset`, and its folder `length`.
    readv,      // address (iovec), length (how many), offset
    writev,     // address (iovec), length (how many), offset
    fallocate,  // offset, address (the length, as a number), flags (FALLOC_FL_*)
    ftruncate,  // offset (the new size)
    statx,      // fd = folder, address (path), offset (struct statx*), flags (AT_*), length (mask)
    renameat,   // fd = folder, two paths, flags (RENAME_*)
    unlinkat,   // fd = folder, address (path), flags (AT_REMOVEDIR)
    mkdirat,    // fd = folder, address (path), length (mode)
    linkat,     // fd = folder, two paths, flags (AT_*)
    symlinkat,  // two paths: what it points to, and where it stands; fd: none
    blocking_call,  // address (BlockingCall): whatever may block and is no operation of a kernel's
};

// (Texts in a row: pointers to them would be set at each start of a program.)
inline constexpr char operation_names[][10] = {
    "read",  "write",  "recv",      "send",      "accept",  "connect", "poll",
    "close", "openat", "fsync",     "recv",      "recvmsg", "sendmsg", "shutdown",
    "readv", "writev", "fallocate", "ftruncate", "stat",    "rename",  "remove",
    "mkdir", "link",   "symlink",   "call"};
constexpr const char* name_of(OpCode code) noexcept {
    return operation_names[static_cast<unsigned>(code)];
}

/// What files alone are asked for: nothing that a descriptor is ever ready for.
constexpr bool is_file_call(OpCode code) noexcept {
    return code >= OpCode::readv || code == OpCode::openat || code == OpCode::fsync;
}

/// A call of somebody's that may block; made on a helper thread. 0 or more, or -errno.
struct BlockingCall {
    int (*call)(BlockingCall&) noexcept;
};

// How a read of a file is made, in Operation::flags. (When `start` has returned, read_cached_first
// has become read_past_cache if the cache did not have it.)
inline constexpr std::uint32_t read_as_usual = 0;
inline constexpr std::uint32_t read_cached_first = 1;  // what is in the page cache is taken at once
inline constexpr std::uint32_t read_cached_only = 3;   // -EAGAIN: it is not there
inline constexpr std::uint32_t read_past_cache = 2;    // it probably is not there: not even tried

// How often a pooled receive completes, in Operation::flags: as often as the kernel can, or once.
inline constexpr std::uint32_t pooled_again_and_again = 0;
inline constexpr std::uint32_t pooled_once = 1;

/// "The file's own position", for reads and writes on pipes, terminals and sockets too.
inline constexpr std::uint64_t current_position = ~std::uint64_t{0};
/// An offset that somebody asked for: the one number that would be taken for the file's own
/// position becomes its neighbour, which the kernel refuses (EINVAL) as it does all that are so
/// large.
constexpr std::uint64_t as_offset(std::uint64_t offset) noexcept {
    return offset - (offset == current_position ? 1 : 0);
}

/// Does this error mean that a signal came between and nothing else? The kernel's own codes for it
/// (ERESTARTSYS to ERESTART_RESTARTBLOCK, 512 to 516) are meant for its system calls alone, but a
/// cancelled operation of io_uring can end with one.
constexpr bool is_interruption(int error) noexcept {
    return error == EINTR || (error >= 512 && error <= 516);
}

/// Filled by an awaiter, lives in the awaiting frame, and must not move or go away between
/// `Backend::start` and its completion: the kernel holds its address, and that of the buffer.
struct Operation : ListNode<> {
    enum class State : std::uint8_t {
        idle,      // not with the backend: new, or completed
        queued,    // with the backend, the kernel has not seen it; a cancel takes it back
        in_flight  // the kernel (or the helper thread) works on it
    };

    /// Called once per start, from the backend's turn, with `result` set; it queues, it never
    /// resumes anything in place. Not called when `start` returned true.
    using Complete = void (*)(Operation&) noexcept;

    Operation(OpCode op, Complete completed) noexcept : on_complete(completed), code(op) {}
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;

    Complete on_complete;
    void* address = nullptr;
    std::uint64_t offset = current_position;
    std::uint32_t length = 0;
    std::uint32_t flags = 0;
    int fd = -1;
    int result = 0;  // >= 0, or -errno
    OpCode code;
    State state = State::idle;
    bool cancelling = false;  // the backend was asked to cancel it and has not answered yet
    bool background = false;  // the loop's own: not what a user waits for
    // In: a read or an accept finds nothing now (the last one drained the socket); or it is the
    // rest of a send, which finds no room now, and comes before those that wait already. (A byte,
    // for reads and writes of files have a number in its place: `pinned`.)
    std::uint8_t expect_wait = false;
    bool more = false;              // out: the socket held more than was taken
    std::uint8_t backend_bits = 0;  // the backend's own, while it has the operation

    /// A send that left something over: the socket is full, so its rest waits by itself.
    bool sent_in_part() const noexcept {
        return (code == OpCode::send || code == OpCode::sendmsg) && result >= 0 &&
               static_cast<std::uint32_t>(result) < length;
    }
    /// A receive of one datagram, which says nothing of whether there are more.
    bool takes_datagram() const noexcept {
        return (flags & MSG_TRUNC) != 0 && code == OpCode::recv;
    }
    /// A pooled receive that belongs to a stream and not to a reader of it: it ends with the
    /// connection.
    bool stands() const noexcept { return code == OpCode::recv_pooled && background; }
    /// Of a read or write of a file: `address` is in memory that `Backend::pin` gave this number.
    void set_pinned(std::uint8_t number) noexcept { expect_wait = number; }
    std::uint8_t pinned() const noexcept { return expect_wait; }
    /// With MSG_DONTWAIT a message is tried and does not wait (EAGAIN).
    bool only_tries() const noexcept {
        return (flags & MSG_DONTWAIT) != 0 && (code == OpCode::recv || code == OpCode::send);
    }
    bool at_own_position() const noexcept { return offset == current_position; }
    void complete(int res) noexcept {
        result = res;
        state = State::idle;
        cancelling = false;
        on_complete(*this);
    }
};

using OperationList = IntrusiveList<Operation>;

}  // namespace weft::detail
