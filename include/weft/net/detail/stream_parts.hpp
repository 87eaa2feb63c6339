// SPDX-License-Identifier: MIT
// StreamWriteParts: one write of several buffers.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <string>

#include "../../base/buffer.hpp"
#include "../../base/config.hpp"
#include "../../base/ref.hpp"
#include "../../kernel/operation.hpp"
#include "../../runtime/loop.hpp"
#include "../../sync/lock.hpp"
#include "../../task/coro.hpp"
#include "../operation_wait.hpp"
#include "carried_call.hpp"
#include "stream_state.hpp"

namespace weft::detail {

/// Sends the parts one after the other, a row of them in a call. (What a stream without a socket
/// takes one after the other too, and nobody comes between.) It does not move: the kernel has its
/// address while it waits.
class PartsWrite : public OperationWait {
public:
    bool await_ready() const noexcept { return left_ == 0; }
    bool await_suspend(std::coroutine_handle<> handle);
    void await_resume() const {
        check_leftover();
        if (left_ == 0) return;
        if (call_) [[unlikely]]
            stream_->carrier->calls.result(*call_);
        else
            checked();
    }
    bool await_cancelled() const noexcept {
        return call_ ? stream_->carrier->calls.is_cancelled(*call_)
                     : OperationWait::await_cancelled();
    }
    [[gnu::cold]] std::string await_object() const {
        return is_call() || stream_->fd ? stream_->write_text() : OperationWait::await_object();
    }
    WaitInfo describe() const noexcept override {
        return {name_of(code), fd, nullptr, &object_of<PartsWrite>};
    }
    /// See TimedEither.
    bool is_call() const noexcept { return static_cast<bool>(stream_->carrier); }

protected:
    PartsWrite(StreamState& stream, const ConstBuffer* parts, std::size_t count) noexcept;
    ~PartsWrite() = default;

private:
    // Of IOV_MAX (1024): more would weigh on the frame, and a call for so many is cheap for each.
    static constexpr std::size_t most_in_a_row = 16;

    void fill_row() noexcept;
    bool continues() noexcept;
    static void row_sent(Operation& op) noexcept;

    Ref<StreamState> stream_;
    CarriedCall* call_ = nullptr;
    const ConstBuffer* parts_;  // the first that was not sent whole
    const ConstBuffer* end_;
    std::size_t sent_of_first_ = 0;
    std::size_t left_ = 0;
    msghdr message_{};
    iovec row_[most_in_a_row];
};

template <std::size_t count>
struct KeptParts {
    ConstBuffer kept[count];
};
/// Keeps the list; the bytes are the caller's.
template <std::size_t count>
class [[nodiscard]] [[gnu::warn_unused]] StreamWriteParts final : private KeptParts<count>,
                                                                  public PartsWrite {
public:
    template <class... Part>
    explicit StreamWriteParts(StreamState& stream, const Part&... part) noexcept
        : KeptParts<count>{{ConstBuffer(part)...}}, PartsWrite(stream, this->kept, count) {}
};
class [[nodiscard]] [[gnu::warn_unused]] StreamWriteList final : public PartsWrite {
public:
    StreamWriteList(StreamState& stream, const ConstBuffer* parts, std::size_t count) noexcept
        : PartsWrite(stream, parts, count) {}
};

#if WEFT_BODIES
[[gnu::noinline]] WEFT_INLINE PartsWrite::PartsWrite(StreamState& stream, const ConstBuffer* parts,
                                                     std::size_t count) noexcept
    : OperationWait(OpCode::sendmsg),
      stream_(Ref<StreamState>::to(stream)),
      parts_(parts),
      end_(parts + count) {
    for (const ConstBuffer* each = parts; each != end_; ++each) left_ += each->size();
    on_complete = &row_sent;
    fd = stream.fd.get();
    flags = MSG_WAITALL;  // io_uring then continues a short send by itself
}

[[gnu::noinline]] WEFT_INLINE bool PartsWrite::await_suspend(std::coroutine_handle<> handle) {
    stream_->refuse_write_into_file();
    if (is_call()) {
        Carrier& carrier = *stream_->carrier;
        call_ = &carrier.calls.write(carrier, parts_, end_, stream_->written);
        return carrier.calls.suspend(*call_, handle);
    }
    address = &message_;
    message_.msg_iov = row_;
    fill_row();
    if (OperationWait::await_suspend(handle)) return true;
    while (continues()) {
        if (!task_->loop->start(*this)) {
            task_->waiting_on = this;
            return true;
        }
    }
    return false;
}

[[gnu::noinline]] WEFT_INLINE void PartsWrite::fill_row() noexcept {
    std::size_t count = 0;
    std::size_t bytes = 0;
    std::size_t skipped = sent_of_first_;
    for (const ConstBuffer* each = parts_; each != end_ && count < most_in_a_row; ++each) {
        const std::size_t room = largest_transfer - bytes;
        const std::size_t size = std::min(each->size() - skipped, room);
        if (size > 0) {
            row_[count].iov_base = static_cast<char*>(const_cast<void*>(each->data())) + skipped;
            row_[count++].iov_len = size;
        }
        bytes += size;
        if (size < each->size() - skipped) break;
        skipped = 0;
    }
    message_.msg_iovlen = count;
    // (Not of the row: what is left over waits by itself and lets nobody come between.)
    length = transfer_length(left_);
}

/// Books what was sent. True: the rest is to be sent now.
[[gnu::noinline]] WEFT_INLINE bool PartsWrite::continues() noexcept {
    if (result < 0) [[unlikely]] {
        result = stream_->end_of_wait(result);
        return false;
    }
    auto sent = static_cast<std::size_t>(result);
    stream_->written += sent;
    left_ -= sent;
    if (left_ == 0) [[likely]]
        return false;
    expect_wait = true;  // before those that wait already
    for (sent += sent_of_first_; parts_ != end_ && sent >= parts_->size(); ++parts_)
        sent -= parts_->size();
    sent_of_first_ = sent;
    // Never the number as it was: the stream may be closed by now, and somebody else's.
    const int number = stream_->fd.get();
    if (asked_ || number < 0) {
        result = -ECANCELED;
        return false;
    }
    fd = number;
    fill_row();
    return true;
}

WEFT_INLINE void PartsWrite::row_sent(Operation& op) noexcept {
    auto& self = static_cast<PartsWrite&>(op);
    while (self.continues()) {
        if (!self.task_->loop->start(self)) return;
    }
    self.task_->loop->wake(*self.task_);
}
#endif

}  // namespace weft::detail
