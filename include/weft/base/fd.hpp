// SPDX-License-Identifier: MIT
// Fd: owns one descriptor number.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <utility>

namespace weft {
namespace detail {

// The epoll backend remembers which numbers it has registered. The kernel drops a registration at
// close() without a word, so whoever closes a number tells the loop of this thread (the loop
// installs the hook); otherwise the next file under the same number would never be woken.
using DescriptorClosing = void (*)(int fd) noexcept;
inline constinit thread_local DescriptorClosing descriptor_closing = nullptr;

}  // namespace detail

/// Owns a file descriptor; closes it when it goes.
///
/// Finish or cancel the operations that use the number before its Fd goes: close(2) neither stops
/// an operation in the kernel nor tells the peer (see `io::close`).
/// Thread:   the destructor belongs to the thread whose loop used the descriptor.
class [[nodiscard]] Fd {
public:
    Fd() noexcept = default;
    explicit Fd(int fd) noexcept : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        if (this != &other) reset(std::exchange(other.fd_, -1));
        return *this;
    }
    ~Fd() { reset(); }

    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }

    /// Gives the number away; the caller closes it.
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

    void reset(int fd = -1) noexcept {
        const int old = std::exchange(fd_, fd);
        if (old >= 0) end(old);
    }

private:
    // (Out of line: twenty places in a program end a descriptor.)
    [[gnu::noinline]] static void end(int fd) noexcept {
        if (detail::descriptor_closing) detail::descriptor_closing(fd);
        // EINTR included, Linux has released the number when close(2) returns: never retry.
        ::close(fd);
    }

    int fd_ = -1;
};

namespace detail {
/// The standard ends' numbers are free in a program that was started without them, or has closed
/// one; and whoever prints then would print into ours. (It stays where it is when there is no other
/// number.)
[[gnu::cold, gnu::noinline]] inline Fd moved_up(Fd fd) noexcept {
    constexpr int above_the_standard_ones = 3;
    Fd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, above_the_standard_ones));
    return copy ? std::move(copy) : std::move(fd);
}
/// What was just opened, with the close-on-exec mark, or failed to.
inline Fd not_standard(Fd fd) noexcept {
    if (static_cast<unsigned>(fd.get()) > STDERR_FILENO) [[likely]]
        return fd;
    return moved_up(std::move(fd));
}
}  // namespace detail

}  // namespace weft
