// SPDX-License-Identifier: MIT
// OperationWait: a task waits for one operation of the kernel.
#pragma once

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "../base/c_text.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "../base/std_parts.hpp"
#include "../kernel/operation.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"
#include "address.hpp"

namespace weft::detail {

// What read(2) and write(2) move at most in one call; the length of an operation has 32 bits.
inline constexpr std::size_t largest_transfer = 0x7ffff000;

inline std::uint32_t transfer_length(std::size_t size) noexcept {
    return static_cast<std::uint32_t>(std::min(size, largest_transfer));
}

/// What an error of this operation, or a deadline around it, names: "recv fd 7",
/// "connect 127.0.0.1:80", "open \"/etc/passwd\"". The operation may have ended; its path, which
/// outlives the await, has not.
std::string call_and_object(const Operation& op);

/// For WaitInfo: what the awaiter itself says.
template <class Wait>
[[gnu::cold]] std::string object_of(const Suspension& wait) {
    return static_cast<const Wait&>(wait).await_object();
}

/// Awaits one operation. Base of the public awaiters, which say what the result means.
class OperationWait : public Suspension, protected Operation {
public:
    explicit OperationWait(OpCode op) noexcept : Operation(op, &completed) {}

    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        task_ = &loop.suspend(handle, *this);
        if (task_->must_cancel) [[unlikely]]
            return strike_first();
        if (!loop.start(*this)) return true;
        task_->waiting_on = nullptr;
        return false;
    }

    TaskCore* cancel() noexcept override {
        asked_ = true;
        task_->loop->cancel(static_cast<Operation&>(*this));
        return nullptr;
    }
    WaitInfo describe() const noexcept override {
        return {name_of(code), fd, nullptr, &object_of<OperationWait>};
    }
    [[gnu::cold]] std::string await_object() const { return call_and_object(*this); }
    bool await_cancelled() const noexcept { return result == -ECANCELED && asked_; }

protected:
    ~OperationWait() = default;

    /// The result, or the error. A result that won against a cancel is a result: the request stays
    /// pending in the task and strikes at its next suspension.
    int checked() const {
        check_leftover();
        if (result >= 0) [[likely]]
            return result;
        fail();
    }
    std::size_t transferred() const { return static_cast<std::size_t>(checked()); }

    /// Not begun, so it certainly did not happen.
    [[gnu::cold, gnu::noinline]] bool strike_first() noexcept {
        asked_ = true;
        result = -ECANCELED;
        task_->loop->wake(*task_);
        return true;
    }

    bool asked_ = false;  // our task was cancelled (ECANCELED alone means: closed by somebody)
    TaskCore* task_ = nullptr;

private:
    static void completed(Operation& op) noexcept {
        auto& self = static_cast<OperationWait&>(op);
        self.task_->loop->wake(*self.task_);
    }
    [[noreturn, gnu::cold]] void fail() const;
};

#if WEFT_BODIES
[[gnu::noinline]] WEFT_INLINE void OperationWait::fail() const {
    if (await_cancelled()) task_->loop->throw_cancelled();
    throw_system_error(-result, describe().text(*this));
}
#endif

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
        return not_standard(Fd(number));
    }
};

#if WEFT_BODIES
[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string call_and_object(const Operation& op) {
    if (op.code == OpCode::connect) {
        const auto* const to = static_cast<const sockaddr*>(op.address);
        return concat({"connect ", Address::from(to, op.length).to_string()});
    }
    const auto* path = static_cast<const char*>(op.address);
    const char* second = nullptr;
    switch (op.code) {
        case OpCode::openat:
        case OpCode::statx:
        case OpCode::unlinkat:
        case OpCode::mkdirat:
            break;
        case OpCode::renameat:
        case OpCode::linkat:
            second = reinterpret_cast<const char*>(op.offset);
            break;
        case OpCode::symlinkat:
            second = std::exchange(path, reinterpret_cast<const char*>(op.offset));
            break;
        default:
            return fd_text(name_of(op.code), op.fd);
    }
    const char* const call = op.code == OpCode::openat ? "open" : name_of(op.code);
    if (!second) return concat({call, " ", in_quotes(path)});
    return concat({call, " ", in_quotes(path), " to ", in_quotes(second)});
}
#endif

}  // namespace weft::detail
