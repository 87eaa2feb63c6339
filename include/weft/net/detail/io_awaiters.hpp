// SPDX-License-Identifier: MIT
// The awaiters of weft::io: what an operation is made of, and what its result means.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>

#include "../../base/config.hpp"
#include "../../base/fd.hpp"
#include "../../kernel/file_support.hpp"
#include "../../kernel/operation.hpp"
#include "../../runtime/loop.hpp"
#include "../address.hpp"
#include "../operation_wait.hpp"
#include "retried_wait.hpp"

namespace weft {
namespace io {
struct Accepted;
}  // namespace io

namespace detail {

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

class [[nodiscard]] [[gnu::warn_unused]] ShutdownAwaiter final : public OperationWait {
public:
    ShutdownAwaiter(int descriptor, int how) noexcept : OperationWait(OpCode::shutdown) {
        fd = descriptor;
        flags = static_cast<std::uint32_t>(how);
    }
    void await_resume() const { checked(); }
};

class [[nodiscard]] [[gnu::warn_unused]] SyncAwaiter final : public OperationWait {
public:
    SyncAwaiter(int descriptor, bool data_only) noexcept : OperationWait(OpCode::fsync) {
        need_file_support();
        fd = descriptor;
        flags = data_only;
    }
    void await_resume() const { checked(); }
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
        loop.tell_others_of_close(fd);
        if (!loop.start(*this)) return true;
        task_->waiting_on = nullptr;
        return false;
    }
    TaskCore* cancel() noexcept override { return nullptr; }
    void await_resume() const { checked(); }
};

class [[nodiscard]] [[gnu::warn_unused]] AcceptAwaiter final : public DescriptorWait {
public:
    explicit AcceptAwaiter(int descriptor) noexcept : DescriptorWait(OpCode::accept) {
        fd = descriptor;
        address = peer_.data();
        offset = reinterpret_cast<std::uintptr_t>(peer_.size_for_filling());
    }
    io::Accepted await_resume();

private:
    Address peer_;
};

/// The backends open with O_NONBLOCK (and take it off again), so that no file operation of others
/// waits behind an open that may wait for ever. What such an open is refused for is tried again: a
/// FIFO that nobody reads yet, and a file whose lease is being broken.
class [[nodiscard]] [[gnu::warn_unused]] OpenAwaiter final
    : public RetriedWait<OpenAwaiter, DescriptorWait> {
public:
    OpenAwaiter(int directory, const char* path, int open_flags, unsigned mode) noexcept
        : RetriedWait(OpCode::openat) {
        need_file_support();
        fd = directory;
        address = const_cast<char*>(path);  // the kernel only reads it
        flags = static_cast<std::uint32_t>(open_flags);
        length = mode;
    }
    Fd await_resume() { return taken(); }

private:
    friend class RetriedWait<OpenAwaiter, DescriptorWait>;

    /// (EAGAIN in place: the thread that would have opened it cannot be made.)
    static constexpr bool answers_in_place = false;
    bool comes_too_early() const noexcept {
        if (flags & O_NONBLOCK) return false;
        return result == -EAGAIN || (result == -ENXIO && is_fifo());
    }
    static bool is_still_meant() noexcept { return true; }
    /// (ENXIO is the answer of a device without a driver and of a socket's path, too.)
    bool is_fifo() const noexcept;
};

#if WEFT_BODIES
[[gnu::cold, gnu::noinline]] WEFT_INLINE bool OpenAwaiter::is_fifo() const noexcept {
    struct stat status {};
    return ::fstatat(fd, static_cast<const char*>(address), &status, 0) == 0 &&
           S_ISFIFO(status.st_mode);
}
#endif

}  // namespace detail
}  // namespace weft
