// SPDX-License-Identifier: MIT
// StreamRead, StreamFill, ChunkRead: what the reads of a stream wait on, and the state they share.
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
#include "../../runtime/task_core.hpp"
#include "../../task/coro.hpp"
#include "../chunk.hpp"
#include "../io.hpp"
#include "chunk_source.hpp"

namespace weft::detail {

/// Bytes received and not read yet. The memory comes with the first read that needs it.
class ReadBuffer {
public:
    std::size_t size() const noexcept { return end_ - begin_; }
    std::string_view view() const noexcept { return {data_.get() + begin_, size()}; }
    void consume(std::size_t count) noexcept {
        begin_ += count;
        if (begin_ == end_) begin_ = end_ = 0;
    }
    /// Free memory behind the data, at least `wanted` bytes of it.
    MutableBuffer room(std::size_t wanted) {
        if (capacity_ - end_ < wanted && begin_ > 0) {
            std::memmove(data_.get(), data_.get() + begin_, size());
            end_ -= std::exchange(begin_, 0);
        }
        if (capacity_ - end_ < wanted) {
            const std::size_t larger = std::max(end_ + wanted, 2 * capacity_);
            Owned<char[]> memory(new char[larger]);
            if (end_ > 0) std::memcpy(memory.get(), data_.get(), end_);
            data_ = std::move(memory);
            capacity_ = larger;
        }
        return {data_.get() + end_, capacity_ - end_};
    }
    void received(std::size_t count) noexcept { end_ += count; }

private:
    Owned<char[]> data_;
    std::size_t capacity_ = 0;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

struct ServedTag {};

/// What a stream is made of; on the heap, so that a Stream may move while a read waits, and held by
/// everybody who waits, so that it may go as well. In the list of the server that has accepted it,
/// if one has.
struct StreamState : Counted<StreamState>, ListNode<ServedTag> {
    explicit StreamState(Fd socket) noexcept : fd(std::move(socket)) {}
    StreamState(const StreamState&) = delete;
    StreamState& operator=(const StreamState&) = delete;
    ~StreamState();
    /// The Stream goes while somebody waits: ends the waits and closes, like `Stream::close`.
    void abandon() noexcept;

    std::string take(std::size_t count) {
        std::string text(buffer.view().substr(0, count));
        buffer.consume(count);
        return text;
    }

    /// While a read waits to fill the buffer, every other one would find, or move, what it fills.
    void refuse_second_reader() const {
        if (filled_by && filled_by == EventLoop::running()) [[unlikely]]
            throw_runtime_error("weft: two tasks read from one stream");
    }

    Fd fd;
    ReadBuffer buffer;
    // The loop of a read that waits to fill the buffer. (If it is closed, nobody comes to say that
    // the wait is over.)
    const EventLoop* filled_by = nullptr;
    ChunkSource* chunks = nullptr;  // from the first read_chunk on, all reading goes through it
    std::size_t limit = 64 * 1024;
    std::uint64_t written = 0;
    bool drained = false;  // the last receive took all there was
};

/// A receive of its own, or, on a stream that is read in chunks, a wait for the next of them.
class StreamReceive : public OperationWait {
public:
    bool await_suspend(std::coroutine_handle<> handle) {
        if (!stream_->chunks) [[likely]]
            return OperationWait::await_suspend(handle);
        return wait_for_chunk(handle);
    }
    TaskCore* cancel() noexcept override {
        if (!waits_for_chunk_) [[likely]]
            return OperationWait::cancel();
        if (stream_->chunks->leave(*task_)) {
            asked_ = true;
            result = -ECANCELED;
            task_->loop->wake(*task_);
        }
        return nullptr;
    }

protected:
    StreamReceive(StreamState& stream, MutableBuffer into) noexcept
        : OperationWait(OpCode::recv), stream_(Ref<StreamState>::to(stream)) {
        fd = stream.fd.get();
        address = into.data();
        length = transfer_length(into.size());
        expect_wait = stream.drained;
    }
    ~StreamReceive() = default;

    /// After the wait: into `address`. What there is stays there when a cancel came first.
    void receive() {
        if (!waits_for_chunk_) [[likely]] {
            stream_->drained = !more;
        } else if (!asked_) {
            take_chunk();
        }
    }
    bool chunk_is_there() const noexcept {
        return stream_->chunks && (stream_->chunks->has_data() || stream_->chunks->has_end());
    }
    void take_chunk();

    Ref<StreamState> stream_;

private:
    bool wait_for_chunk(std::coroutine_handle<> handle);

    bool waits_for_chunk_ = false;
};

/// Takes what is buffered, or receives straight into the caller's memory.
class [[nodiscard]] [[gnu::warn_unused]] StreamRead final : public StreamReceive {
public:
    StreamRead(StreamState& stream, MutableBuffer into) noexcept : StreamReceive(stream, into) {}
    bool await_ready() {
        stream_->refuse_second_reader();
        const std::size_t count = std::min<std::size_t>(stream_->buffer.size(), length);
        if (count == 0 && length > 0) {
            if (!chunk_is_there()) [[likely]]
                return false;
            take_chunk();
            more = !stream_->drained;
            return true;
        }
        if (count > 0) std::memcpy(address, stream_->buffer.view().data(), count);
        stream_->buffer.consume(count);
        result = static_cast<int>(count);
        more = !stream_->drained;
        return true;
    }
    std::size_t await_resume() {
        receive();
        return transferred();
    }
};

/// Receives once into the stream's own buffer; false at the end. What arrives belongs to the
/// stream at once, so a cancel of whoever asked loses nothing.
class [[nodiscard]] StreamFill final : public StreamReceive {
public:
    StreamFill(StreamState& stream, std::size_t at_least)
        : StreamReceive(stream, room(stream, at_least)) {}
    bool await_ready() {
        if (!chunk_is_there()) [[likely]]
            return false;
        take_chunk();
        more = !stream_->drained;
        return true;
    }
    bool await_suspend(std::coroutine_handle<> handle) {
        if (!StreamReceive::await_suspend(handle)) return false;
        stream_->filled_by = EventLoop::running();
        return true;
    }
    bool await_resume() {
        stream_->filled_by = nullptr;
        const bool is_leftover = take_leftover();
        receive();
        const std::size_t count = transferred();
        stream_->buffer.received(count);
        if (is_leftover) [[unlikely]]
            task_->loop->throw_cancelled();
        return count > 0;
    }

private:
    static MutableBuffer room(StreamState& stream, std::size_t at_least) {
        stream.refuse_second_reader();
        return stream.buffer.room(at_least);
    }
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
        check_leftover();
        if (asked_) [[unlikely]]
            task_->loop->throw_cancelled();
        ChunkSource& chunks = *stream_->chunks;
        if (stream_->buffer.size() > 0) [[unlikely]]
            return buffered();
        if (chunks.has_data()) [[likely]]
            return Chunk(chunks.take());
        if (!chunks.has_end()) throw_runtime_error("weft: two tasks read from one stream");
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
    [[gnu::cold]] std::string await_object() const { return fd_text("recv", fd_); }
    bool await_cancelled() const noexcept { return asked_; }

private:
    /// Left by a read_line or its like.
    [[gnu::cold]] Chunk buffered();

    Ref<StreamState> stream_;
    TaskCore* task_ = nullptr;
    bool asked_ = false;
    int fd_;  // for messages: the stream may be closed by then
};

#if WEFT_BODIES
[[gnu::noinline]] WEFT_INLINE StreamState::~StreamState() {
    if (linked()) unlink();
    if (chunks) ChunkSource::let_go(chunks, fd);
}

/// Closes a number that others still use: they are ended first, and the number is free only then.
class DetachedClose final : Operation {
public:
    /// Throws:   std::bad_alloc, and `socket` is as it was.
    [[gnu::cold]] static void begin(EventLoop& loop, Fd& socket) {
        auto* const close = new DetachedClose;
        close->fd = socket.release();
        if (loop.start(*close)) delete close;
    }

private:
    DetachedClose() noexcept : Operation(OpCode::close, &completed) { background = true; }
    static void completed(Operation& op) noexcept { delete static_cast<DetachedClose*>(&op); }
};

[[gnu::cold, gnu::noinline]] WEFT_INLINE void StreamState::abandon() noexcept {
    EventLoop* const loop = EventLoop::running();
    if (!fd || !loop) return;  // (Without a loop nobody waits: its frames are being destroyed.)
    try {
        DetachedClose::begin(*loop, fd);
    } catch (const std::bad_alloc&) {
        // Ends the waits too; the number is freed with the last of them.
        ::shutdown(fd.get(), SHUT_RDWR);
    }
}

[[gnu::noinline]] WEFT_INLINE void StreamReceive::take_chunk() {
    ChunkSource& chunks = *stream_->chunks;
    if (chunks.has_data()) {
        result = static_cast<int>(chunks.take(address, length));
    } else if (chunks.has_end()) {
        result = chunks.take_end();
    } else {
        throw_runtime_error("weft: two tasks read from one stream");
    }
}

[[gnu::noinline]] WEFT_INLINE bool StreamReceive::wait_for_chunk(std::coroutine_handle<> handle) {
    EventLoop& loop = get_running_loop();
    task_ = &loop.suspend(handle, *this);
    waits_for_chunk_ = true;
    if (task_->must_cancel) [[unlikely]] {
        asked_ = true;
        result = -ECANCELED;
        loop.wake(*task_);
        return true;
    }
    return stream_->chunks->wait(*task_);
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
Coro<void> close_stream(Ref<StreamState> stream);

#if WEFT_BODIES
WEFT_INLINE std::optional<std::size_t> try_read(StreamState& stream, MutableBuffer into) {
    stream.refuse_second_reader();
    if (const std::size_t count = std::min(stream.buffer.size(), into.size()); count > 0) {
        std::memcpy(into.data(), stream.buffer.view().data(), count);
        stream.buffer.consume(count);
        return count;
    }
    if (stream.chunks) {
        ChunkSource& chunks = *stream.chunks;
        if (chunks.has_data()) return chunks.take(into.data(), into.size());
        // (The receive stands: what has arrived has come here, or will with the next turn.)
        if (!chunks.has_end()) return std::nullopt;
        const int end = chunks.take_end();
        if (end < 0) throw_system_error(-end, fd_text("recv", stream.fd.get()));
        return 0;
    }
    for (;;) {
        const ssize_t count = ::recv(stream.fd.get(), into.data(), into.size(), MSG_DONTWAIT);
        stream.drained = count < 0 || static_cast<std::size_t>(count) < into.size();
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno == EAGAIN) return std::nullopt;
        if (errno != EINTR) throw_system_error(errno, fd_text("recv", stream.fd.get()));
    }
}

WEFT_INLINE Coro<void> close_stream(Ref<StreamState> stream) {
    if (stream->fd) co_await io::close(std::move(stream->fd));
}
#endif

}  // namespace weft::detail
