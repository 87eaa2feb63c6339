// SPDX-License-Identifier: MIT
// weft::io: the system calls on descriptors, as awaitable operations.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdint>
#include <utility>

#include "../base/buffer.hpp"
#include "../base/c_text.hpp"
#include "../base/fd.hpp"
#include "../kernel/file_support.hpp"
#include "../kernel/operation.hpp"
#include "../runtime/loop.hpp"
#include "address.hpp"
#include "detail/connect_awaiter.hpp"
#include "detail/io_awaiters.hpp"

namespace weft {

/// One system call each: short transfers, like in C, are the caller's to continue (`Stream` does
/// it). All of them share:
///
/// Throws:   std::system_error naming the call and its object ("recv fd 7", "connect
///           127.0.0.1:80", "open \"/etc/passwd\""); CancelledError. Operation canceled (ECANCELED)
///           means that somebody closed the descriptor meanwhile with `io::close`. Device or
///           resource busy (EBUSY) is what a read or receive gets whose bytes a stream takes in
///           chunks (see `Stream::read_chunk`): while that waits, or from its first chunk on.
/// Cancel:   lossless: the operation did not happen, or its result is returned and the cancel
///           strikes at the next suspension.
/// Lifetime: buffers and paths outlive the await, a cancelled one included.
/// Thread:   loop thread only. A descriptor that was used here is closed with `io::close`, an
///           `Fd`, or after `forget` (the epoll backend remembers its registration).
namespace io {

/// Reads from the file's own position; waits for data on pipes, sockets and terminals.
/// Returns:  bytes read; 0 at the end.
/// Source:   read(2); IORING_OP_READ, Linux 5.6.
inline detail::TransferAwaiter read(int fd, MutableBuffer buffer) noexcept {
    detail::need_file_support();
    return detail::TransferAwaiter(detail::OpCode::read, fd, buffer.data(), buffer.size(),
                                   detail::current_position, 0);
}
/// Reads at `offset` (bytes from the start); the file's own position stays.
/// Source:   pread(2); IORING_OP_READ, Linux 5.6.
inline detail::TransferAwaiter read_at(int fd, MutableBuffer buffer,
                                       std::uint64_t offset) noexcept {
    detail::need_file_support();
    return detail::TransferAwaiter(detail::OpCode::read, fd, buffer.data(), buffer.size(),
                                   detail::as_offset(offset), 0);
}
/// Writes at the file's own position. Never raises SIGPIPE: where the other end is gone it throws
/// Broken pipe (EPIPE), whatever `RunOptions::ignore_sigpipe` says.
/// Returns:  bytes written; fewer than asked for only on pipes, sockets and full disks. (Then the
///           ring leaves the position of a file as it was, Linux 6.18: `File` sets it right.)
/// Source:   write(2); IORING_OP_WRITE, Linux 5.6.
inline detail::TransferAwaiter write(int fd, ConstBuffer buffer) noexcept {
    detail::need_file_support();
    return detail::TransferAwaiter(detail::OpCode::write, fd, const_cast<void*>(buffer.data()),
                                   buffer.size(), detail::current_position, 0);
}
/// Writes at `offset` (bytes from the start); the file's own position stays.
/// Source:   pwrite(2); IORING_OP_WRITE, Linux 5.6.
inline detail::TransferAwaiter write_at(int fd, ConstBuffer buffer, std::uint64_t offset) noexcept {
    detail::need_file_support();
    return detail::TransferAwaiter(detail::OpCode::write, fd, const_cast<void*>(buffer.data()),
                                   buffer.size(), detail::as_offset(offset), 0);
}
/// Receives from a socket; suspends until at least one byte (or datagram) arrives.
/// With MSG_WAITALL: until all of it has, or the end; not together with MSG_PEEK, where it is
/// ignored (the ring would look at the same bytes again and again until the buffer is full).
/// With MSG_DONTWAIT: takes what is there now, or throws Resource temporarily unavailable (EAGAIN).
/// Returns:  bytes received; 0 means the peer closed.
/// Source:   recv(2), flags MSG_*; IORING_OP_RECV, Linux 5.6.
inline detail::TransferAwaiter recv(int fd, MutableBuffer buffer, int flags = 0) noexcept {
    if (flags & MSG_PEEK) flags &= ~MSG_WAITALL;
    return detail::TransferAwaiter(detail::OpCode::recv, fd, buffer.data(), buffer.size(), 0,
                                   flags);
}
/// Sends on a socket; suspends until the socket takes at least one byte. With MSG_DONTWAIT it
/// throws Resource temporarily unavailable (EAGAIN) instead of waiting. Never raises SIGPIPE.
/// Returns:  bytes sent, possibly fewer than asked for.
/// Source:   send(2), flags MSG_*; IORING_OP_SEND, Linux 5.6.
inline detail::TransferAwaiter send(int fd, ConstBuffer buffer, int flags = 0) noexcept {
    flags &= ~MSG_WAITALL;  // means nothing to send(2), and to the ring that it is a Stream's
    return detail::TransferAwaiter(detail::OpCode::send, fd, const_cast<void*>(buffer.data()),
                                   buffer.size(), 0, flags);
}
/// A connection out of `accept`.
struct Accepted {
    // User-provided: g++ 12 destroys aggregate temporaries of awaiting expressions twice.
    Accepted(Fd socket, const Address& from) noexcept : fd(std::move(socket)), peer(from) {}

    Fd fd;         ///< close-on-exec
    Address peer;  ///< without a path for an unnamed Unix socket
};
/// Takes the next connection of a listening socket. The epoll backend makes it non-blocking.
/// Returns:  the connection, close-on-exec, and its peer's address.
/// Source:   accept4(2); IORING_OP_ACCEPT, Linux 5.5.
inline detail::AcceptAwaiter accept(int fd) noexcept { return detail::AcceptAwaiter(fd); }
/// Connects a socket. After a cancel it is of no use but to be closed. A port of this host that
/// nobody listens on refuses (ECONNREFUSED), also where the kernel would give that very port to the
/// socket and connect it with itself, as it does now and then.
/// Source:   connect(2); IORING_OP_CONNECT, Linux 5.5.
inline detail::ConnectAwaiter connect(int fd, const Address& to) noexcept {
    return detail::ConnectAwaiter(fd, to);
}
/// Ends one direction of a connection, or both (SHUT_RD, SHUT_WR, SHUT_RDWR), when the sends on it
/// that have begun are done.
/// Source:   shutdown(2).
inline detail::ShutdownAwaiter shutdown(int fd, int how) noexcept {
    return detail::ShutdownAwaiter(fd, how);
}
/// Waits until one of `events` (POLLIN, POLLOUT, ...) holds. The number may be one that others
/// close (a C library's): the next wait is for whatever has it then.
/// Returns:  the events that hold, with POLLERR, POLLHUP and POLLRDHUP, asked for or not.
/// Source:   poll(2); IORING_OP_POLL_ADD, Linux 5.1.
inline detail::ReadyAwaiter poll(int fd, short events) noexcept {
    return detail::ReadyAwaiter(fd, events);
}
/// Cancels what others wait for on `fd` (they get ECANCELED), then closes it.
/// Cancel:   runs to its end all the same; the cancel strikes at the next suspension.
/// Source:   close(2); IORING_OP_CLOSE, Linux 5.6.
inline detail::CloseAwaiter close(int fd) noexcept { return detail::CloseAwaiter(fd); }
inline detail::CloseAwaiter close(Fd fd) noexcept { return detail::CloseAwaiter(fd.release()); }
/// Opens a file, close-on-exec. `path` is a C string, a std::string or a std::filesystem::path, and
/// outlives the await. A FIFO that is opened for writing is waited for until it has a reader, and a
/// file whose lease is being broken until it is: without O_NONBLOCK in `flags`, and with a try
/// every 10 ms. A FIFO that is opened for reading is open at once, with a writer or without.
/// Throws:   at once std::system_error (EINVAL) for a path with a zero byte inside.
/// Source:   openat(2), flags O_*; IORING_OP_OPENAT, Linux 5.6.
inline detail::OpenAwaiter open(CText path, int flags, unsigned mode = 0644) {
    return detail::OpenAwaiter(AT_FDCWD, path.checked_for("open"), flags | O_CLOEXEC, mode);
}
/// Waits until the file's data and metadata are on the device.
/// Source:   fsync(2); IORING_OP_FSYNC, Linux 5.1.
inline detail::SyncAwaiter fsync(int fd) noexcept { return detail::SyncAwaiter(fd, false); }
/// The same without metadata that reading does not need.
/// Source:   fdatasync(2).
inline detail::SyncAwaiter fdatasync(int fd) noexcept { return detail::SyncAwaiter(fd, true); }

/// Tells the running loop that `fd` is about to be closed by other means.
inline void forget(int fd) { get_running_loop().forget(fd); }

}  // namespace io

/// Suspends until `fd` can be read without blocking (or is at its end, or broken).
inline detail::ReadyAwaiter wait_readable(int fd) noexcept { return io::poll(fd, POLLIN); }
/// Suspends until `fd` can be written without blocking (or is broken).
inline detail::ReadyAwaiter wait_writable(int fd) noexcept { return io::poll(fd, POLLOUT); }

inline io::Accepted detail::AcceptAwaiter::await_resume() {
    Fd socket = taken();
    return io::Accepted(std::move(socket), peer_);
}

}  // namespace weft
