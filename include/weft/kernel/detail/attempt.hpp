// SPDX-License-Identifier: MIT
// attempt: the system call behind an operation, made without blocking.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdint>

#include "../../base/std_parts.hpp"
#include "../operation.hpp"
#include "helper.hpp"

namespace weft::detail {

/// Not an errno and not a length: the call would have blocked.
inline constexpr int would_block = INT_MIN;

/// What decides how a descriptor can be used without blocking; asked once for each.
struct FileTraits {
    enum class Kind : std::uint8_t { unknown, file, pipe, socket, other };

    /// A socket can be told not to block in each call, everything else only for good.
    bool never_blocks() const noexcept { return nonblocking || kind == Kind::socket; }
    bool allows(OpCode code) const noexcept { return code == OpCode::read ? readable : writable; }

    Kind kind = Kind::unknown;
    bool nonblocking = false;  // O_NONBLOCK
    bool direct = false;       // O_DIRECT
    bool readable = false;
    bool writable = false;
};

/// Kind `unknown` and errno when there is no such descriptor.
inline FileTraits traits_of(int fd) noexcept {
    FileTraits traits;
    struct stat status {};
    if (::fstat(fd, &status) != 0) return traits;
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0) return traits;
    const mode_t mode = status.st_mode;
    using Kind = FileTraits::Kind;
    if (S_ISREG(mode) || S_ISDIR(mode) || S_ISBLK(mode)) {
        traits.kind = Kind::file;
    } else if (S_ISFIFO(mode)) {
        traits.kind = Kind::pipe;
    } else {
        traits.kind = S_ISSOCK(mode) ? Kind::socket : Kind::other;
    }
    traits.nonblocking = (flags & O_NONBLOCK) != 0;
    traits.direct = (flags & O_DIRECT) != 0;
    traits.readable = (flags & O_ACCMODE) != O_WRONLY;
    traits.writable = (flags & O_ACCMODE) != O_RDONLY;
    return traits;
}

inline int begin_or_confirm(const Operation& op, const sockaddr* to) noexcept {
    int result = ::connect(op.fd, to, op.length);
    // If it is on this machine the other end has answered by now, and asking again takes one call
    // instead of the wait for an event and the five that follow it.
    if (result < 0 && errno == EINPROGRESS) result = ::connect(op.fd, to, op.length);
    const bool confirmed = op.state == Operation::State::in_flight && errno == EISCONN;
    return result < 0 && confirmed ? 0 : result;
}

/// The first call begins the connection, the one after the event asks how it went.
inline ssize_t connect_step(const Operation& op, const FileTraits& file) noexcept {
    if (op.state == Operation::State::in_flight) {
        int error = 0;
        socklen_t size = sizeof error;
        if (::getsockopt(op.fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return -1;
        errno = error;
        if (error != 0) return -1;
        // No error is not yet a connection; asking once more says which, and lets the kernel take
        // note that its success was seen.
    }
    const auto* const to = static_cast<const sockaddr*>(op.address);
    if (file.nonblocking) return begin_or_confirm(op, to);
    const int flags = ::fcntl(op.fd, F_GETFL);
    if (flags < 0 || ::fcntl(op.fd, F_SETFL, flags | O_NONBLOCK) < 0) return -1;
    const int result = begin_or_confirm(op, to);
    const int error = errno;
    ::fcntl(op.fd, F_SETFL, flags);
    errno = error;
    return result;
}

inline ssize_t poll_now(const Operation& op) noexcept {
    pollfd one{op.fd, static_cast<short>(op.flags | POLLRDHUP), 0};
    const int result = ::poll(&one, 1, 0);
    if (result > 0 && (one.revents & POLLNVAL)) {
        errno = EBADF;
        return -1;
    }
    if (result > 0) return static_cast<unsigned short>(one.revents);
    if (result == 0) errno = EAGAIN;
    return -1;
}

/// One part and no control data, as most have: the kernel takes that by a shorter way.
inline bool is_plain(const msghdr& message) noexcept {
    return message.msg_iovlen == 1 && !message.msg_control;
}
inline ssize_t receive_message(int fd, msghdr& message, int flags) noexcept {
    if (!is_plain(message)) return ::recvmsg(fd, &message, flags);
    return ::recvfrom(fd, message.msg_iov->iov_base, message.msg_iov->iov_len, flags,
                      static_cast<sockaddr*>(message.msg_name),
                      message.msg_name ? &message.msg_namelen : nullptr);
}
inline ssize_t send_message(int fd, const msghdr& message, int flags) noexcept {
    if (!is_plain(message)) return ::sendmsg(fd, &message, flags);
    return ::sendto(fd, message.msg_iov->iov_base, message.msg_iov->iov_len, flags,
                    static_cast<const sockaddr*>(message.msg_name), message.msg_namelen);
}

inline ssize_t call_without_blocking(const Operation& op, const FileTraits& file) noexcept {
    const int flags = static_cast<int>(op.flags);
    switch (op.code) {
        case OpCode::read:
            return file.kind == FileTraits::Kind::socket
                       ? ::recv(op.fd, op.address, op.length, MSG_DONTWAIT)
                       : ::read(op.fd, op.address, op.length);
        case OpCode::write:
            return file_support().write_some(op, file);
        case OpCode::recv:
            return ::recv(op.fd, op.address, op.length, flags | MSG_DONTWAIT);
        case OpCode::send:
            return ::send(op.fd, op.address, op.length, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
        case OpCode::recvmsg:
            return receive_message(op.fd, *static_cast<msghdr*>(op.address), flags | MSG_DONTWAIT);
        case OpCode::sendmsg:
            return send_message(op.fd, *static_cast<const msghdr*>(op.address),
                                flags | MSG_DONTWAIT | MSG_NOSIGNAL);
        case OpCode::shutdown:
            return ::shutdown(op.fd, flags);
        case OpCode::accept:
            return ::accept4(op.fd, static_cast<sockaddr*>(op.address),
                             reinterpret_cast<socklen_t*>(op.offset), flags | SOCK_CLOEXEC);
        case OpCode::connect:
            return connect_step(op, file);
        case OpCode::poll:
            return poll_now(op);
        default:
            errno = EOPNOTSUPP;
            return -1;
    }
}

/// What the page cache has of it; -1 and whatever errno: not in the cache, no such call on this
/// kernel or file system, refused by a filter. (If it is the file's error, the next try gets it
/// too.)
inline ssize_t read_cached(const Operation& op) noexcept {
    const iovec piece{op.address, op.length};
    const bool whole = op.code == OpCode::read;
    return ::preadv2(op.fd, whole ? &piece : static_cast<const iovec*>(op.address),
                     whole ? 1 : static_cast<int>(op.length), static_cast<off_t>(op.offset),
                     RWF_NOWAIT);
}

/// How a file is opened: never so that the open waits, which a FIFO without its other end makes it
/// do for ever, in a place that other operations on files need.
inline int flags_to_open(const Operation& op) noexcept {
    return static_cast<int>(op.flags) | O_NONBLOCK;
}
/// What was opened is as it was asked for.
inline void after_open(const Operation& op, int fd) noexcept {
    const int flags = static_cast<int>(op.flags);
    if (fd >= 0 && !(flags & O_NONBLOCK)) ::fcntl(fd, F_SETFL, flags & ~O_CREAT);
}

/// Does this receive want its whole length (MSG_WAITALL on a byte stream)? `offset` then counts
/// what has arrived so far.
inline bool gathers(const Operation& op) noexcept {
    if (op.code != OpCode::recv || !(op.flags & MSG_WAITALL) || (op.flags & MSG_PEEK)) return false;
    int type = 0;
    socklen_t size = sizeof type;
    return ::getsockopt(op.fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

/// What a receive that gathers has so far is its result when it ends early.
inline int result_of_cancelled(const Operation& op) noexcept {
    const bool partial = op.code == OpCode::recv && (op.flags & MSG_WAITALL) != 0 && op.offset > 0;
    return partial ? static_cast<int>(op.offset) : -ECANCELED;
}

/// The result, -errno, or `would_block`.
inline int attempt(Operation& op, const FileTraits& file) noexcept {
    for (;;) {
        const ssize_t result = call_without_blocking(op, file);
        if (op.code == OpCode::recv && (op.flags & MSG_WAITALL) && gathers(op)) {
            if (result > 0) {
                op.offset += static_cast<std::uint64_t>(result);
                op.address = static_cast<char*>(op.address) + result;
                op.length -= static_cast<std::uint32_t>(result);
                if (op.length > 0) continue;
            }
            const bool waits = result < 0 && (errno == EAGAIN || is_interruption(errno));
            if (!waits && op.offset > 0) return static_cast<int>(op.offset);
        }
        if (result >= 0) return static_cast<int>(result);
        if (is_interruption(errno)) continue;
        if (op.code == OpCode::connect) {
            // EAGAIN is a Unix socket whose listener is busy: no event will tell when it is not.
            return errno == EINPROGRESS || errno == EALREADY ? would_block : -errno;
        }
        return errno == EAGAIN ? would_block : -errno;
    }
}

/// For a message that does not wait: the result, or -errno.
[[gnu::cold]] inline int attempt_once(Operation& op) noexcept {
    const int result = attempt(op, FileTraits());
    if (result != would_block) return result;
    const int so_far = result_of_cancelled(op);
    return so_far == -ECANCELED ? -EAGAIN : so_far;
}

}  // namespace weft::detail
