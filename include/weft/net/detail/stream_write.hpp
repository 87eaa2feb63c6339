// SPDX-License-Identifier: MIT
// StreamWrite: what a write to a stream waits on.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <string>

#include "../../base/buffer.hpp"
#include "../../base/config.hpp"
#include "../../base/ref.hpp"
#include "../../kernel/operation.hpp"
#include "../../runtime/loop.hpp"
#include "../operation_wait.hpp"
#include "carried_call.hpp"
#include "stream_state.hpp"

namespace weft::detail {

/// Sends all of it, however many calls the socket wants; the task sleeps through them.
class [[nodiscard]] [[gnu::warn_unused]] StreamWrite final : public OperationWait {
public:
    StreamWrite(StreamState& stream, ConstBuffer from) noexcept
        : OperationWait(OpCode::send), stream_(Ref<StreamState>::to(stream)), left_(from.size()) {
        on_complete = &part_sent;
        fd = stream.fd.get();
        address = const_cast<void*>(from.data());
        length = transfer_length(left_);
        flags = MSG_WAITALL;  // io_uring then continues a short send by itself
    }
    bool await_ready() const noexcept { return left_ == 0; }
    bool await_suspend(std::coroutine_handle<> handle) {
        if (fd < 0 || stream_->sends_file) [[unlikely]]
            return begin_call(handle);
        if (OperationWait::await_suspend(handle)) return true;
        while (continues()) {
            if (!task_->loop->start(*this)) {
                task_->waiting_on = this;
                return true;
            }
        }
        return false;
    }
    void await_resume() const {
        check_leftover();
        if (left_ > 0) [[unlikely]]
            finish_otherwise();
    }
    bool await_cancelled() const noexcept {
        if (in_call()) [[unlikely]]
            return stream_->carrier->calls.is_cancelled(call());
        return OperationWait::await_cancelled();
    }
    [[gnu::cold]] std::string await_object() const {
        return is_call() || stream_->fd ? stream_->write_text() : OperationWait::await_object();
    }
    WaitInfo describe() const noexcept override {
        return {name_of(code), fd, nullptr, &object_of<StreamWrite>};
    }
    /// See TimedEither.
    bool is_call() const noexcept { return static_cast<bool>(stream_->carrier); }

private:
    // In place of an operation, which has its flags.
    bool in_call() const noexcept { return flags == 0; }
    CarriedCall& call() const noexcept { return *static_cast<CarriedCall*>(address); }
    bool begin_call(std::coroutine_handle<> handle);
    void finish_otherwise() const;

    static void part_sent(Operation& op) noexcept {
        auto& self = static_cast<StreamWrite&>(op);
        while (self.continues()) [[unlikely]] {
                if (!self.task_->loop->start(self)) return;
            }
        self.task_->loop->wake(*self.task_);
    }

    /// Books what was sent. True: the rest is to be sent now.
    bool continues() noexcept {
        if (result < 0) [[unlikely]] {
            result = stream_->end_of_wait(result);
            return false;
        }
        const auto sent = static_cast<std::size_t>(result);
        stream_->written += sent;
        left_ -= sent;
        if (left_ == 0) [[likely]]
            return false;
        address = static_cast<char*>(address) + sent;
        length = transfer_length(left_);
        expect_wait = true;
        // Never the number as it was: the stream may be closed by now, and somebody else's.
        const int number = stream_->fd.get();
        if (!asked_ && number >= 0) {
            fd = number;
            return true;
        }
        result = -ECANCELED;
        return false;
    }

    Ref<StreamState> stream_;
    std::size_t left_;
};

#if WEFT_BODIES
/// What is no socket has no number; nor has a socket that was closed.
[[gnu::noinline]] WEFT_INLINE bool StreamWrite::begin_call(std::coroutine_handle<> handle) {
    stream_->refuse_write_into_file();
    if (!is_call()) return OperationWait::await_suspend(handle);
    Carrier& carrier = *stream_->carrier;
    address = &carrier.calls.write_one(carrier, ConstBuffer(address, left_), stream_->written);
    flags = 0;
    return carrier.calls.suspend(call(), handle);
}
[[gnu::cold, gnu::noinline]] WEFT_INLINE void StreamWrite::finish_otherwise() const {
    if (in_call()) {
        stream_->carrier->calls.result(call());
    } else {
        checked();
    }
}
#endif

}  // namespace weft::detail
