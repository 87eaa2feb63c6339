// SPDX-License-Identifier: MIT
// weft::io: the system calls on descriptors, as awaitable operations.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "../base/buffer.hpp"
#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "../base/std_parts.hpp"
#include "../kernel/operation.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"
#include "../runtime/timer_heap.hpp"
#include "address.hpp"

namespace weft {
namespace detail {

// What read(2) and write(2) move at most in one call; the length of an operation has 32 bits.
inline constexpr std::size_t largest_transfer = 0x7ffff000;

inline std::uint32_t transfer_length(std::size_t size) noexcept {
    return static_cast<std::uint32_t>(std::min(size, largest_transfer));
}

/// Awaits one operation. Base of the public awaiters, which say what the result means.
class OperationWait : public Suspension, protected Operation {
public:
    explicit OperationWait(OpCode op) noexcept : Operation(op, &completed) {}

    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        task_ = &loop.suspend(handle, *this);
        if (task_->must_cancel) [[unlikely]] {
            // Not begun, so it certainly did not happen.
            asked_ = true;
            result = -ECANCELED;
            loop.wake(*task_);
            return true;
        }
        if (!loop.start(*this)) return true;
        task_->waiting_on = nullptr;
        return false;
    }

    TaskCore* cancel() noexcept override {
        asked_ = true;
        task_->loop->cancel(static_cast<Operation&>(*this));
        return nullptr;
    }
    WaitInfo describe() const noexcept override { return {name_of(code), fd}; }
    bool await_cancelled() const noexcept { return result == -ECANCELED && asked_; }

protected:
    ~OperationWait() = default;

    /// The result, or the error. A result that won against a cancel is a result: the request stays
    /// pending in the task and strikes at its next suspension.
    int checked() const {
        if (result >= 0) [[likely]]
            return result;
        fail();
    }
    std::size_t transferred() const { return static_cast<std::size_t>(checked()); }

    bool asked_ = false;  // our task was cancelled (ECANCELED alone means: closed by somebody)
    TaskCore* task_ = nullptr;

private:
    static void completed(Operation& op) noexcept {
        auto& self = static_cast<OperationWait&>(op);
        self.task_->loop->wake(*self.task_);
    }
    [[noreturn, gnu::cold]] void fail() const {
        if (await_cancelled()) task_->loop->throw_cancelled();
        throw_system_error(-result, name_of(code));
    }
};

class [[nodiscard]] [[gnu::warn_unused]] TransferAwaiter final : public OperationWait {
public:
    TransferAwaiter(OpCode op, int descriptor, void* data, std::size_t size, std::uint64_t position,
                    int message_flags) noexcept
        : OperationWait(op) {
        fd = descriptor;
        address = data;
        length = transfer_length(size);
        offset = position;
        flags = static_cast<std::uint32_t>(message_flags);
    }
    std::size_t await_resume() const { return transferred(); }
};

class [[nodiscard]] [[gnu::warn_unused]] ReadyAwaiter final : public OperationWait {
public:
    ReadyAwaiter(int descriptor, short mask) noexcept : OperationWait(OpCode::poll) {
        fd = descriptor;
        flags = static_cast<unsigned short>(mask);
    }
    short await_resume() const { return static_cast<short>(checked()); }
};

class [[nodiscard]] [[gnu::warn_unused]] SyncAwaiter final : public OperationWait {
public:
    SyncAwaiter(int descriptor, bool data_only) noexcept : OperationWait(OpCode::fsync) {
        fd = descriptor;
        flags = data_only;
    }
    void await_resume() const { checked(); }
};

/// A Unix socket whose listener's queue is full answers EAGAIN, and nothing ever says when to try
/// again: that is what the timer is for. The backend has nothing then that a close could end, so
/// each try makes sure that the number is still this socket's.
class [[nodiscard]] [[gnu::warn_unused]] ConnectAwaiter final : public OperationWait,
                                                                private Timer {
public:
    ConnectAwaiter(int descriptor, const Address& to) noexcept
        : OperationWait(OpCode::connect), Timer(&try_again), to_(to) {
        on_complete = &answered;
        fd = descriptor;
        address = to_.data();
        length = to_.size();
    }
    ~ConnectAwaiter() {
        if (armed()) task_->loop->disarm(*this);
    }
    bool await_suspend(std::coroutine_handle<> handle) {
        if (to_.family() == AF_UNIX) cookie_ = cookie_of(fd);
        if (OperationWait::await_suspend(handle)) return true;
        if (result != -EAGAIN) return false;
        if (!wait_a_little()) return false;
        task_->waiting_on = this;
        return true;
    }
    void await_resume() const { checked(); }

    TaskCore* cancel() noexcept override {
        if (!armed()) return OperationWait::cancel();
        task_->loop->disarm(*this);
        asked_ = true;
        result = -ECANCELED;
        task_->loop->wake(*task_);
        return nullptr;
    }

private:
    static void answered(Operation& op) noexcept {
        auto& self = static_cast<ConnectAwaiter&>(op);
        if (op.result == -EAGAIN) {
            if (!self.asked_ && self.wait_a_little()) return;
            // Nothing was begun: the cancel is the answer.
            if (self.asked_) op.result = -ECANCELED;
        }
        self.task_->loop->wake(*self.task_);
    }
    static void try_again(Timer& timer) noexcept {
        auto& self = static_cast<ConnectAwaiter&>(timer);
        if (self.cookie_ != 0 && cookie_of(self.fd) != self.cookie_) {
            self.result = -ECANCELED;
            self.task_->loop->wake(*self.task_);
        } else if (self.task_->loop->start(self)) {
            answered(self);
        }
    }
    /// What no other socket has had or will have. 0: no socket, or a kernel before 4.12.
    static std::uint64_t cookie_of(int socket) noexcept {
        std::uint64_t cookie = 0;
        socklen_t size = sizeof cookie;
        return ::getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
    }
    bool wait_a_little() noexcept {
        if (cookie_ == 0) cookie_ = cookie_of(fd);  // not a Unix socket: that it pauses is rare
        pause_ = std::min<Nanoseconds>(2 * pause_, 10'000'000);
        try {
            task_->loop->arm(*this, deadline_after(task_->loop->read_clock(), pause_));
        } catch (const std::bad_alloc&) {
            result = -ENOMEM;
            return false;
        }
        return true;
    }

    Address to_;  // the kernel reads it for as long as the operation lasts
    Nanoseconds pause_ = 500'000;
    std::uint64_t cookie_ = 0;
};

class [[nodiscard]] [[gnu::warn_unused]] CloseAwaiter final : public OperationWait {
public:
    explicit CloseAwaiter(int descriptor) noexcept : OperationWait(OpCode::close) {
        fd = descriptor;
    }
    // Begun even when a cancel is pending, and not to be cancelled: the number must not leak.
    bool await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        task_ = &loop.suspend(handle, *this);
        if (!loop.start(*this)) return true;
        task_->waiting_on = nullptr;
        return false;
    }
    TaskCore* cancel() noexcept override { return nullptr; }
    void await_resume() const { checked(); }
};

/// An operation whose result is a descriptor: closed if nobody takes it (the frame was destroyed
/// while the kernel completed the operation).
class DescriptorWait : public OperationWait {
public:
    explicit DescriptorWait(OpCode op) noexcept : OperationWait(op) { result = -EBADF; }

protected:
    ~DescriptorWait() {
        if (result >= 0) Fd(result).reset();
    }
    Fd taken() {
        const int number = checked();
        result = -EBADF;
        return Fd(number);
    }
};

}  // namespace detail

namespace io {

/// A connection out of `accept`.
struct Accepted {
    // User-provided: g++ 12 destroys aggregate temporaries of awaiting expressions twice.
    Accepted(Fd socket, const Address& from) noexcept : fd(std::move(socket)), peer(from) {}

    Fd fd;         ///< close-on-exec
    Address peer;  ///< without a path for an unnamed Unix socket
};

}  // namespace io

namespace detail {

class [[nodiscard]] [[gnu::warn_unused]] AcceptAwaiter final : public DescriptorWait {
public:
    explicit AcceptAwaiter(int descriptor) noexcept : DescriptorWait(OpCode::accept) {
        fd = descriptor;
        address = peer_.data();
        offset = reinterpret_cast<std::uintptr_t>(peer_.size_for_filling());
    }
    io::Accepted await_resume() {
        Fd socket = taken();
        return io::Accepted(std::move(socket), peer_);
    }

private:
    Address peer_;
};

class [[nodiscard]] [[gnu::warn_unused]] OpenAwaiter final : public DescriptorWait {
public:
    OpenAwaiter(int directory, const char* path, int open_flags, unsigned mode) noexcept
        : DescriptorWait(OpCode::openat) {
        fd = directory;
        address = const_cast<char*>(path);  // the kernel only reads it
        flags = static_cast<std::uint32_t>(open_flags);
        length = mode;
    }
    Fd await_resume() { return taken(); }
};

}  // namespace detail

/// One system call each: short transfers, like in C, are the caller's to continue (`Stream` does
/// it). All of them share:
///
/// Throws:   std::system_error naming the call; CancelledError. Operation canceled (ECANCELED)
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
    return detail::TransferAwaiter(detail::OpCode::read, fd, buffer.data(), buffer.size(),
                                   detail::current_position, 0);
}
/// Reads at `offset` (bytes from the start); the file's own position stays.
/// Source:   pread(2); IORING_OP_READ, Linux 5.6.
inline detail::TransferAwaiter read_at(int fd, MutableBuffer buffer,
                                       std::uint64_t offset) noexcept {
    return detail::TransferAwaiter(detail::OpCode::read, fd, buffer.data(), buffer.size(), offset,
                                   0);
}
/// Writes at the file's own position.
/// Returns:  bytes written; fewer than asked for only on pipes, sockets and full disks.
/// Source:   write(2); IORING_OP_WRITE, Linux 5.6.
inline detail::TransferAwaiter write(int fd, ConstBuffer buffer) noexcept {
    return detail::TransferAwaiter(detail::OpCode::write, fd, const_cast<void*>(buffer.data()),
                                   buffer.size(), detail::current_position, 0);
}
/// Writes at `offset` (bytes from the start); the file's own position stays.
/// Source:   pwrite(2); IORING_OP_WRITE, Linux 5.6.
inline detail::TransferAwaiter write_at(int fd, ConstBuffer buffer, std::uint64_t offset) noexcept {
    return detail::TransferAwaiter(detail::OpCode::write, fd, const_cast<void*>(buffer.data()),
                                   buffer.size(), offset, 0);
}
/// Receives from a socket; suspends until at least one byte (or datagram) arrives.
/// With MSG_WAITALL: until all of it has, or the end; not together with MSG_PEEK, where it is
/// ignored (the ring would look at the same bytes again and again until the buffer is full).
/// Returns:  bytes received; 0 means the peer closed.
/// Source:   recv(2), flags MSG_*; IORING_OP_RECV, Linux 5.6.
inline detail::TransferAwaiter recv(int fd, MutableBuffer buffer, int flags = 0) noexcept {
    if (flags & MSG_PEEK) flags &= ~MSG_WAITALL;
    return detail::TransferAwaiter(detail::OpCode::recv, fd, buffer.data(), buffer.size(), 0,
                                   flags);
}
/// Sends on a socket; suspends until the socket takes at least one byte. Never raises SIGPIPE.
/// Returns:  bytes sent, possibly fewer than asked for.
/// Source:   send(2), flags MSG_*; IORING_OP_SEND, Linux 5.6.
inline detail::TransferAwaiter send(int fd, ConstBuffer buffer, int flags = 0) noexcept {
    return detail::TransferAwaiter(detail::OpCode::send, fd, const_cast<void*>(buffer.data()),
                                   buffer.size(), 0, flags);
}
/// Takes the next connection of a listening socket. The epoll backend makes it non-blocking.
/// Returns:  the connection, close-on-exec, and its peer's address.
/// Source:   accept4(2); IORING_OP_ACCEPT, Linux 5.5.
inline detail::AcceptAwaiter accept(int fd) noexcept { return detail::AcceptAwaiter(fd); }
/// Connects a socket. After a cancel the socket is of no use but to be closed.
/// Source:   connect(2); IORING_OP_CONNECT, Linux 5.5.
inline detail::ConnectAwaiter connect(int fd, const Address& to) noexcept {
    return detail::ConnectAwaiter(fd, to);
}
/// Waits until one of `events` (POLLIN, POLLOUT, ...) holds.
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
/// Opens a file, close-on-exec. `path` outlives the await.
/// Source:   openat(2), flags O_*; IORING_OP_OPENAT, Linux 5.6.
inline detail::OpenAwaiter open(const char* path, int flags, unsigned mode = 0644) noexcept {
    return detail::OpenAwaiter(AT_FDCWD, path, flags | O_CLOEXEC, mode);
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

}  // namespace weft
