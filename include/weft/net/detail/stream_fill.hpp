// SPDX-License-Identifier: MIT
// StreamFill: one receive of a read that takes several.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <utility>

#include "../../base/buffer.hpp"
#include "../../base/config.hpp"
#include "../../kernel/buffer_pool.hpp"
#include "../../runtime/loop.hpp"
#include "stream_reads.hpp"
#include "stream_state.hpp"

namespace weft::detail {

/// Receives once into the stream's own buffer; false at the end. What arrives belongs to the
/// stream at once, so a cancel of whoever asked loses nothing.
///
/// Where the loop lends buffers the wait has none: the memory comes with what arrives. (What goes
/// on with bytes that are there, or is known to be much, is received into memory of the stream's.)
/// It may turn out that nothing has arrived: the caller then asks again.
class [[nodiscard]] StreamFill final : public StreamReceive {
public:
    StreamFill(StreamState& stream, std::size_t at_least)
        : StreamReceive(stream, room(stream, at_least)) {
        if (address) return;
        code = OpCode::recv_pooled;
        flags = pooled_once;
    }
    ~StreamFill() {
        if (has_block()) [[unlikely]]
            static_cast<Block*>(address)->release();  // the frame goes, and nobody has looked
    }
    bool await_ready() {
        if (!chunk_is_there()) [[likely]]
            return false;
        take_chunk();
        more = !stream_->drained;
        return true;
    }
    bool await_resume() {
        end_filling();
        const bool is_leftover = take_leftover();
        receive();
        bool alive = true;
        if (has_block()) [[likely]] {
            stream_->buffer.take(static_cast<Block*>(std::exchange(address, nullptr)));
        } else if (is_pooled() && (result == -EAGAIN || result == -ENOMEM)) {
            alive = receive_by_hand();
        } else {
            const std::size_t count = transferred();
            alive = count > 0;
            if (!is_pooled()) stream_->buffer.received(count);
        }
        if (is_leftover) [[unlikely]] {
            stream_->buffer.settle();
            task_->loop->throw_cancelled();
        }
        return alive;
    }

private:
    static MutableBuffer room(StreamState& stream, std::size_t at_least) {
        stream.refuse_second_reader();
        const bool many = at_least > Block::capacity;
        if (stream.buffer.size() > 0 || many || !lends_buffers(stream))
            return stream.buffer.room(at_least);
        stream.buffer.rest();
        return {nullptr, 0};
    }
    static bool lends_buffers(const StreamState& stream) noexcept {
        const EventLoop* const loop = EventLoop::running();
        return !stream.carrier && (stream.chunks || (loop && loop->lends_buffers()));
    }
    bool has_block() const noexcept { return is_pooled() && result > 0 && address; }
    bool receive_by_hand();
};

#if WEFT_BODIES
/// The loop could not receive it itself: several wait on that descriptor, or others had their share
/// first.
[[gnu::noinline]] WEFT_INLINE bool StreamFill::receive_by_hand() {
    constexpr std::size_t least = 4096;
    if (stream_->is_closed()) {
        result = -ECANCELED;
        return transferred() > 0;
    }
    const MutableBuffer into = stream_->buffer.room(least);
    ssize_t count = 0;
    do {
        count = ::recv(stream_->fd.get(), into.data(), into.size(), MSG_DONTWAIT);
    } while (count < 0 && errno == EINTR);
    const int error = count < 0 ? errno : 0;
    stream_->buffer.received(count < 0 ? 0 : static_cast<std::size_t>(count));
    stream_->drained = static_cast<std::size_t>(count) != into.size();
    if (error == EAGAIN) return true;
    result = stream_->end_of_wait(error != 0 ? -error : static_cast<int>(count));
    return transferred() > 0;
}
#endif

}  // namespace weft::detail
