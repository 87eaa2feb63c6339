// SPDX-License-Identifier: MIT
// Stream: a connected socket, both directions, with reads that understand lines and lengths.
#pragma once

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "address.hpp"
#include "buffer.hpp"
#include "coro.hpp"
#include "error.hpp"
#include "fd.hpp"
#include "io.hpp"

namespace weft {
namespace detail {

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
            std::unique_ptr<char[]> memory(new char[larger]);
            if (end_ > 0) std::memcpy(memory.get(), data_.get(), end_);
            data_ = std::move(memory);
            capacity_ = larger;
        }
        return {data_.get() + end_, capacity_ - end_};
    }
    void received(std::size_t count) noexcept { end_ += count; }

private:
    std::unique_ptr<char[]> data_;
    std::size_t capacity_ = 0;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

/// What a stream is made of; on the heap, so that a Stream may move while a read waits.
struct StreamState {
    explicit StreamState(Fd socket) noexcept : fd(std::move(socket)) {}

    std::string take(std::size_t count) {
        std::string text(buffer.view().substr(0, count));
        buffer.consume(count);
        return text;
    }

    Fd fd;
    ReadBuffer buffer;
    std::size_t limit = 64 * 1024;
    std::uint64_t written = 0;
    bool drained = false;  // the last receive took all there was
};

/// Takes what is buffered, or receives straight into the caller's memory.
class [[nodiscard]] StreamRead final : public OperationWait {
public:
    StreamRead(StreamState& stream, MutableBuffer into) noexcept
        : OperationWait(OpCode::recv), stream_(&stream) {
        fd = stream.fd.get();
        address = into.data();
        length = transfer_length(into.size());
        expect_wait = stream.drained;
    }
    bool await_ready() noexcept {
        const std::size_t count = std::min<std::size_t>(stream_->buffer.size(), length);
        if (count == 0 && length > 0) return false;
        if (count > 0) std::memcpy(address, stream_->buffer.view().data(), count);
        stream_->buffer.consume(count);
        result = static_cast<int>(count);
        more = !stream_->drained;
        return true;
    }
    std::size_t await_resume() {
        const std::size_t count = transferred();
        stream_->drained = !more;
        return count;
    }

private:
    StreamState* stream_;
};

/// Receives once into the stream's own buffer; false at the end. What arrives belongs to the
/// stream at once, so a cancel of whoever asked loses nothing.
class [[nodiscard]] StreamFill final : public OperationWait {
public:
    StreamFill(StreamState& stream, std::size_t wanted)
        : OperationWait(OpCode::recv), stream_(&stream) {
        const MutableBuffer room = stream.buffer.room(wanted);
        fd = stream.fd.get();
        address = room.data();
        length = transfer_length(room.size());
        expect_wait = stream.drained;
    }
    bool await_resume() {
        const std::size_t count = transferred();
        stream_->buffer.received(count);
        stream_->drained = !more;
        return count > 0;
    }

private:
    StreamState* stream_;
};

/// Sends all of it, however many calls the socket wants; the task sleeps through them.
class [[nodiscard]] StreamWrite final : public OperationWait {
public:
    StreamWrite(StreamState& stream, ConstBuffer from) noexcept
        : OperationWait(OpCode::send), stream_(&stream), left_(from.size()) {
        on_complete = &part_sent;
        fd = stream.fd.get();
        address = const_cast<void*>(from.data());
        length = transfer_length(left_);
        flags = MSG_WAITALL;  // io_uring then continues a short send by itself
    }
    bool await_ready() const noexcept { return left_ == 0; }
    bool await_suspend(std::coroutine_handle<> handle) {
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
        if (left_ > 0) checked();
    }

private:
    static void part_sent(Operation& op) noexcept {
        auto& self = static_cast<StreamWrite&>(op);
        while (self.continues()) [[unlikely]] {
            if (!self.task_->loop->start(self)) return;
        }
        self.task_->loop->wake(*self.task_);
    }

    /// Books what was sent. True: the rest is to be sent now.
    bool continues() noexcept {
        if (result < 0) [[unlikely]]
            return false;
        const auto sent = static_cast<std::size_t>(result);
        stream_->written += sent;
        left_ -= sent;
        if (left_ == 0) [[likely]]
            return false;
        address = static_cast<char*>(address) + sent;
        length = transfer_length(left_);
        // Never the number as it was: the stream may be closed by now, and somebody else's.
        fd = stream_->fd.get();
        if (!asked_ && fd >= 0) return true;
        result = -ECANCELED;
        return false;
    }

    StreamState* stream_;
    std::size_t left_;
};

}  // namespace detail

/// A connected stream socket. One task may read while another writes; two readers at once are a
/// mistake (they would tear lines apart).
/// Thread:   loop thread only.
class Stream {
public:
    /// Takes over a connected socket.
    explicit Stream(Fd socket) : state_(std::make_unique<detail::StreamState>(std::move(socket))) {}

    /// Reads at least one byte, at most `buffer.size()`.
    /// Returns:  bytes read; 0 means the peer closed.
    /// Throws:   std::system_error (recv); CancelledError.
    /// Cancel:   lossless: either data is returned or none was taken.
    /// Lifetime: `buffer` outlives the await, a cancelled one included.
    detail::StreamRead read(MutableBuffer buffer) noexcept {
        return detail::StreamRead(*state_, buffer);
    }

    /// Reads exactly as much as the buffer holds.
    /// Throws:   IncompleteReadError with what there was when the peer closed before;
    ///           std::system_error (recv); CancelledError.
    /// Cancel:   lossless: what was received stays readable.
    Coro<void> read_exactly(MutableBuffer buffer) { return read_into(*state_, buffer); }
    Coro<std::string> read_exactly(std::size_t count) { return read_count(*state_, count); }

    /// Reads through the next '\n', which is included. Empty: the peer closed after a whole line.
    /// Throws:   IncompleteReadError (the peer closed inside a line), LimitOverrunError (the data
    ///           stays readable); std::system_error (recv); CancelledError.
    /// Cancel:   lossless: what was received stays readable.
    Coro<std::string> read_line() { return read_through(*state_, "\n"); }

    /// Reads through the next `separator`, which is included. Like `read_line` otherwise.
    /// Lifetime: `separator`'s text outlives the await.
    Coro<std::string> read_until(std::string_view separator) {
        return read_through(*state_, separator);
    }

    /// Writes all of it; suspends while the peer does not keep up.
    /// Throws:   std::system_error (send; EPIPE and ECONNRESET mean that the peer is gone);
    ///           CancelledError.
    /// Cancel:   what the socket had taken by then is sent; `written()` tells how much that was.
    /// Lifetime: `data` outlives the await, a cancelled one included.
    detail::StreamWrite write(ConstBuffer data) noexcept {
        return detail::StreamWrite(*state_, data);
    }

    /// Tells the peer that nothing more will come; reading goes on.
    /// Throws:   std::system_error (shutdown).
    void write_eof() {
        if (::shutdown(state_->fd.get(), SHUT_WR) != 0) {
            detail::throw_system_error(errno, "shutdown");
        }
    }

    /// Ends waiting reads and writes (ECANCELED) and closes. Idempotent.
    /// Cancel:   runs to its end all the same.
    Coro<void> close() { return close_now(*state_); }
    bool is_closed() const noexcept { return !state_ || !state_->fd; }

    /// Bytes sent by the writes that have ended. (A write that waits is counted when the kernel
    /// gives it back.)
    std::uint64_t written() const noexcept { return state_->written; }
    /// Bytes a line (or the search for a separator) may have; 64 KiB at first.
    void set_limit(std::size_t bytes) noexcept { state_->limit = bytes; }
    Address local_address() const { return Address::of_socket(fd()); }
    /// Throws:   std::system_error (getpeername; ENOTCONN once the connection is gone).
    Address peer_address() const { return Address::of_peer(fd()); }
    /// For socket options and low-level operations.
    int fd() const noexcept { return state_->fd.get(); }

private:
    static constexpr std::size_t chunk = 4096;

    // Static, on the state: the Stream itself may move while one of these waits.

    static Coro<void> close_now(detail::StreamState& stream) {
        if (stream.fd) co_await io::close(std::move(stream.fd));
    }

    static Coro<void> read_into(detail::StreamState& stream, MutableBuffer into) {
        co_await fill(stream, into.size());
        if (into.size() == 0) co_return;
        std::memcpy(into.data(), stream.buffer.view().data(), into.size());
        stream.buffer.consume(into.size());
    }

    static Coro<std::string> read_count(detail::StreamState& stream, std::size_t count) {
        co_await fill(stream, count);
        co_return stream.take(count);
    }

    static Coro<void> fill(detail::StreamState& stream, std::size_t count) {
        while (stream.buffer.size() < count) {
            const std::size_t missing = count - stream.buffer.size();
            const bool alive = co_await detail::StreamFill(stream, std::max(missing, chunk));
            if (!alive) throw IncompleteReadError(stream.take(stream.buffer.size()), count);
        }
    }

    static Coro<std::string> read_through(detail::StreamState& stream, std::string_view separator) {
        if (separator.empty()) detail::throw_runtime_error("read_until: the separator is empty");
        std::size_t searched = 0;
        for (;;) {
            const std::string_view data = stream.buffer.view();
            const std::size_t at = data.find(separator, searched);
            if (at != std::string_view::npos) {
                if (at > stream.limit) throw LimitOverrunError(stream.limit);
                co_return stream.take(at + separator.size());
            }
            if (data.size() > stream.limit) throw LimitOverrunError(stream.limit);
            // A separator may be cut in two by the end of what has arrived.
            searched = data.size() - std::min(data.size(), separator.size() - 1);
            const bool alive = co_await detail::StreamFill(stream, chunk);
            if (alive) continue;
            if (stream.buffer.size() == 0) co_return std::string();
            throw IncompleteReadError(stream.take(stream.buffer.size()), 0);
        }
    }

    std::unique_ptr<detail::StreamState> state_;
};

}  // namespace weft
