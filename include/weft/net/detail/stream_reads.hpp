// SPDX-License-Identifier: MIT
// StreamRead, ChunkRead: what the reads of a stream wait on.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/buffer.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../base/owned.hpp"
#include "../../base/ref.hpp"
#include "../../base/std_parts.hpp"
#include "../../kernel/buffer_pool.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/ready_await.hpp"
#include "../../runtime/task_core.hpp"
#include "../../task/coro.hpp"
#include "../chunk.hpp"
#include "../operation_wait.hpp"
#include "carried_call.hpp"
#include "chunk_source.hpp"
#include "stream_state.hpp"

namespace weft::detail {

/// A receive of its own; on a stream that is read in chunks a wait for the next of them; and where
/// there is no socket a call of the transport's.
class StreamReceive : public OperationWait {
public:
    bool await_suspend(std::coroutine_handle<> handle) {
        if (stream_->reads_plainly) [[likely]] {
            if (!OperationWait::await_suspend(handle)) return false;
            begin_filling(task_->loop);
            return true;
        }
        if (!wait_otherwise(handle)) return false;
        begin_filling(EventLoop::running());
        return true;
    }
    TaskCore* cancel() noexcept override {
        if (way_ == Way::operation) [[likely]]
            return OperationWait::cancel();
        if (stream_->chunks->leave(*task_)) {
            asked_ = true;
            result = -ECANCELED;
            task_->loop->wake(*task_);
        }
        return nullptr;
    }
    /// Asked once the wait is over: the stream is free for the next reader then, also where nobody
    /// asks for the result.
    bool await_cancelled() const noexcept {
        end_filling();
        if (way_ == Way::call) [[unlikely]]
            return stream_->carrier->calls.is_cancelled(call());
        return OperationWait::await_cancelled();
    }
    [[gnu::cold]] std::string await_object() const {
        // (Once it is closed the number may be another file's.)
        return is_call() || stream_->fd ? stream_->read_text() : OperationWait::await_object();
    }
    WaitInfo describe() const noexcept override {
        return {name_of(code), fd, nullptr, &object_of<StreamReceive>};
    }
    /// See TimedEither.
    bool is_call() const noexcept { return static_cast<bool>(stream_->carrier); }

protected:
    StreamReceive(StreamState& stream, MutableBuffer into) noexcept
        : OperationWait(OpCode::recv), stream_(Ref<StreamState>::to(stream)) {
        fd = stream.fd.get();
        address = into.data();
        length = transfer_length(into.size());
        expect_wait = stream.drained;
    }
    ~StreamReceive() {
        if (fills_) [[unlikely]]
            end_filling();  // the frame goes, and nobody has looked
    }

    void end_filling() const noexcept {
        stream_->filled_by = nullptr;
        fills_ = false;
    }
    /// After the wait: into `address`. What there is stays there when a cancel came first.
    void receive() {
        if (way_ == Way::operation) [[likely]] {
            stream_->drained = !more;
            if (result <= 0) [[unlikely]]
                result = stream_->end_of_wait(result);
        } else {
            receive_otherwise();
        }
    }
    /// What arrives comes in a buffer of the loop's.
    bool is_pooled() const noexcept { return code == OpCode::recv_pooled; }
    bool chunk_is_there() const noexcept {
        return stream_->chunks && (stream_->chunks->has_data() || stream_->chunks->has_end());
    }
    void receive_otherwise();
    void take_chunk();

    Ref<StreamState> stream_;

private:
    enum class Way : std::uint8_t { operation, chunk, call };

    bool wait_otherwise(std::coroutine_handle<> handle);
    bool begin_call(std::coroutine_handle<> handle);
    CarriedCall& call() const noexcept { return *static_cast<CarriedCall*>(address); }

    void begin_filling(const EventLoop* loop) noexcept {
        stream_->filled_by = loop;
        fills_ = true;
    }

    Way way_ = Way::operation;
    mutable bool fills_ = false;  // the mark at the stream is ours
};

/// Takes what is buffered, or receives straight into the caller's memory.
class [[nodiscard]] [[gnu::warn_unused]] StreamRead final : public StreamReceive {
public:
    StreamRead(StreamState& stream, MutableBuffer into) noexcept : StreamReceive(stream, into) {}
    bool await_ready() {
        stream_->refuse_second_reader();
        if (length > 0 && stream_->buffer.size() == 0 && !chunk_is_there()) [[likely]]
            return false;
        take_what_is_there();
        return true;
    }
    std::size_t await_resume() {
        end_filling();
        receive();
        return transferred();
    }

private:
    void take_what_is_there();
};

/// Waits for the stream's next chunk.
class [[nodiscard]] [[gnu::warn_unused]] ChunkRead final : public Suspension {
public:
    explicit ChunkRead(StreamState& stream) noexcept
        : stream_(Ref<StreamState>::to(stream)), fd_(stream.fd.get()) {}
    bool await_ready() const {
        stream_->refuse_second_reader();
        return stream_->chunks->has_data() || stream_->buffer.size() > 0 ||
               stream_->chunks->has_end();
    }
    bool await_suspend(std::coroutine_handle<> handle) {
        if (stream_->carrier) [[unlikely]]
            return begin_call(handle);
        EventLoop& loop = get_running_loop();
        task_ = &loop.suspend(handle, *this);
        if (task_->must_cancel) [[unlikely]] {
            asked_ = true;
            loop.wake(*task_);
            return true;
        }
        return stream_->chunks->wait(*task_);
    }
    Chunk await_resume() {
        if (call_) [[unlikely]]
            return carried();
        check_leftover();
        if (asked_) [[unlikely]]
            task_->loop->throw_cancelled();
        ChunkSource& chunks = *stream_->chunks;
        if (stream_->buffer.size() > 0) [[unlikely]]
            return buffered();
        if (chunks.has_data()) [[likely]]
            return Chunk(chunks.take());
        if (!chunks.has_end()) stream_->throw_second_reader();
        const int end = chunks.take_end();
        if (end < 0) throw_system_error(-end, await_object());
        return Chunk();
    }

    TaskCore* cancel() noexcept override {
        if (stream_->chunks->leave(*task_)) {
            asked_ = true;
            task_->loop->wake(*task_);
        }
        return nullptr;
    }
    WaitInfo describe() const noexcept override { return {"recv", fd_}; }
    [[gnu::cold]] std::string await_object() const {
        return is_call() || stream_->fd ? stream_->read_text() : fd_text("recv", fd_);
    }
    bool await_cancelled() const noexcept {
        if (call_) [[unlikely]]
            return stream_->carrier->calls.is_cancelled(*call_);
        return asked_;
    }
    bool is_call() const noexcept { return static_cast<bool>(stream_->carrier); }

private:
    bool begin_call(std::coroutine_handle<> handle);
    Chunk carried();
    /// Left by a read_line or its like.
    [[gnu::cold]] Chunk buffered();

    Ref<StreamState> stream_;
    TaskCore* task_ = nullptr;
    CarriedCall* call_ = nullptr;
    bool asked_ = false;
    int fd_;  // for messages: the stream may be closed by then
};

#if WEFT_BODIES
[[gnu::noinline]] WEFT_INLINE void StreamReceive::take_chunk() {
    ChunkSource& chunks = *stream_->chunks;
    if (chunks.has_data()) {
        if (is_pooled()) {
            result = static_cast<int>(chunks.front_size());
            address = chunks.take();
        } else {
            result = static_cast<int>(chunks.take(address, length));
        }
    } else if (chunks.has_end()) {
        result = chunks.take_end();
    } else {
        stream_->throw_second_reader();
    }
}

[[gnu::noinline]] WEFT_INLINE void StreamReceive::receive_otherwise() {
    if (way_ == Way::call) {
        result = static_cast<int>(stream_->carrier->calls.result(call()));
    } else if (!asked_) {
        take_chunk();
    }
}

[[gnu::noinline]] WEFT_INLINE void StreamRead::take_what_is_there() {
    const std::size_t count = std::min<std::size_t>(stream_->buffer.size(), length);
    if (count > 0) {
        std::memcpy(address, stream_->buffer.view().data(), count);
        stream_->buffer.consume(count);
        result = static_cast<int>(count);
    } else if (length > 0) {
        take_chunk();
    }
    more = !stream_->drained;
}

[[gnu::noinline]] WEFT_INLINE bool StreamReceive::wait_otherwise(std::coroutine_handle<> handle) {
    if (stream_->carrier) return begin_call(handle);
    EventLoop& loop = get_running_loop();
    task_ = &loop.suspend(handle, *this);
    way_ = Way::chunk;
    if (task_->must_cancel) [[unlikely]] {
        asked_ = true;
        result = -ECANCELED;
        loop.wake(*task_);
        return true;
    }
    return stream_->chunks->wait(*task_);
}

[[gnu::noinline]] WEFT_INLINE bool StreamReceive::begin_call(std::coroutine_handle<> handle) {
    Carrier& carrier = *stream_->carrier;
    if (carrier.is_read()) stream_->throw_second_reader();
    const MutableBuffer into(address, length);
    if (carrier.transport->has_buffered() && !carrier.closed && may_go_on()) {
        if (const std::optional<std::size_t> got = carrier.transport->try_read(into)) {
            result = static_cast<int>(*got);
            return false;
        }
    }
    address = &carrier.calls.read(carrier, into);
    way_ = Way::call;
    return carrier.calls.suspend(call(), handle);
}

[[gnu::noinline]] WEFT_INLINE bool ChunkRead::begin_call(std::coroutine_handle<> handle) {
    Carrier& carrier = *stream_->carrier;
    call_ = &carrier.calls.read_block(carrier);
    return carrier.calls.suspend(*call_, handle);
}
[[gnu::noinline]] WEFT_INLINE Chunk ChunkRead::carried() {
    return stream_->carrier->calls.result(*call_) > 0
               ? Chunk(std::exchange(stream_->carrier->block, nullptr))
               : Chunk();
}

[[gnu::noinline]] WEFT_INLINE Chunk ChunkRead::buffered() {
    Block* const block = Block::make(nullptr);
    if (!block) throw std::bad_alloc();
    const std::size_t count = std::min<std::size_t>(stream_->buffer.size(), Block::capacity);
    std::memcpy(block->memory(), stream_->buffer.view().data(), count);
    block->fill(static_cast<std::uint32_t>(count));
    stream_->buffer.consume(count);
    return Chunk(block);
}
#endif

std::optional<std::size_t> try_read(StreamState& stream, MutableBuffer into);

#if WEFT_BODIES
WEFT_INLINE std::optional<std::size_t> try_read(StreamState& stream, MutableBuffer into) {
    stream.refuse_second_reader();
    if (const std::size_t count = std::min(stream.buffer.size(), into.size()); count > 0) {
        std::memcpy(into.data(), stream.buffer.view().data(), count);
        stream.buffer.consume(count);
        return count;
    }
    if (stream.chunks && !stream.carrier) {
        ChunkSource& chunks = *stream.chunks;
        if (chunks.is_waited_for()) stream.throw_second_reader();
        if (chunks.has_data()) return chunks.take(into.data(), into.size());
        if (chunks.has_end()) {
            const int end = chunks.take_end();
            if (end < 0) throw_system_error(-end, stream.read_text());
            return 0;
        }
        // (The receive stands: what has arrived has come here, or will with the next turn.)
        if (!chunks.is_idle()) {
            chunks.look_soon();
            return std::nullopt;
        }
    }
    if (stream.carrier) {
        stream.carrier->require_open("read");
        if (stream.carrier->is_read()) stream.throw_second_reader();
        return stream.carrier->transport->try_read(into);
    }
    for (;;) {
        const ssize_t count = ::recv(stream.fd.get(), into.data(), into.size(), MSG_DONTWAIT);
        stream.drained = count < 0 || static_cast<std::size_t>(count) < into.size();
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno == EAGAIN) return std::nullopt;
        if (errno != EINTR) throw_system_error(errno, stream.read_text());
    }
}
#endif

}  // namespace weft::detail
