// SPDX-License-Identifier: MIT
// Stream: a connected socket, both directions, with reads that understand lines and lengths.
#pragma once

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "../base/buffer.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "../base/owned.hpp"
#include "../base/std_parts.hpp"
#include "../task/coro.hpp"
#include "address.hpp"
#include "chunk.hpp"
#include "detail/stream_reads.hpp"
#include "io.hpp"

namespace weft {
namespace detail {

struct ServerState;

/// Sends all of it, however many calls the socket wants; the task sleeps through them.
class [[nodiscard]] [[gnu::warn_unused]] StreamWrite final : public OperationWait {
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
        check_leftover();
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

    StreamState* stream_;
    std::size_t left_;
};

}  // namespace detail

/// A connected stream socket. One task may read while others write: each write goes out whole, and
/// in the order in which they began. Two readers at once are a mistake (they would tear lines
/// apart).
/// Throws:   RuntimeError once it was moved from, from everything but `is_closed`.
/// Thread:   loop thread only.
class Stream {
public:
    /// Takes over a connected socket.
    explicit Stream(Fd socket) : state_(new detail::StreamState(std::move(socket))) {}

    /// Reads at least one byte, at most `buffer.size()`.
    /// Returns:  bytes read; 0 means the peer closed.
    /// Throws:   std::system_error (recv); CancelledError; RuntimeError while another task waits in a
    ///           read that fills the stream's buffer (all but this one).
    /// Cancel:   lossless: either data is returned or none was taken.
    /// Lifetime: `buffer` outlives the await, a cancelled one included.
    detail::StreamRead read(MutableBuffer buffer) { return detail::StreamRead(state(), buffer); }

    /// Reads what there is, up to 16 KiB of it, into a buffer of the loop's: no memory to provide,
    /// none behind a connection that waits, and on the ring a receive that stands instead of one
    /// for each read. From the first call on the stream receives on its own, up to a bound, while
    /// nobody reads; its other reads go on working. An `io::recv` or `io::read` on its number may
    /// be refused with EBUSY from then on: it would wait behind that receive for ever. When the
    /// Stream goes, its descriptor is closed in the loop's next turn (`close` waits for it).
    /// Returns:  a Chunk; empty: the peer closed.
    /// Throws:   std::system_error (recv); CancelledError; RuntimeError when another task waits for
    ///           data of this stream, or it still receives on another loop, which is not closed.
    /// Cancel:   lossless: what arrives goes to the next read.
    /// Source:   recv(2); IORING_OP_RECV with IORING_RECV_MULTISHOT, Linux 6.0, and buffer rings,
    ///           Linux 5.19, where there are.
    detail::ChunkRead read_chunk() {
        detail::StreamState& stream = state();
        if (!stream.chunks) [[unlikely]]
            stream.chunks = new detail::ChunkSource(stream.fd);
        return detail::ChunkRead(stream);
    }

    /// Reads exactly as much as the buffer holds.
    /// Throws:   IncompleteReadError with what there was when the peer closed before;
    ///           std::system_error (recv); CancelledError; RuntimeError while another task reads.
    /// Cancel:   lossless: what was received stays readable.
    Coro<void> read_exactly(MutableBuffer buffer) { return read_into(state(), buffer); }
    Coro<std::string> read_exactly(std::size_t count) { return read_count(state(), count); }

    /// Reads through the next '\n', which is included. Empty: the peer closed after a whole line.
    /// Throws:   IncompleteReadError (the peer closed inside a line), LimitOverrunError (the data
    ///           stays readable); std::system_error (recv); CancelledError; RuntimeError while
    ///           another task reads so.
    /// Cancel:   lossless: what was received stays readable.
    Coro<std::string> read_line() { return read_through(state(), "\n"); }

    /// Reads through the next `separator`, which is included. Like `read_line` otherwise.
    /// Lifetime: `separator`'s text outlives the await.
    Coro<std::string> read_until(std::string_view separator) {
        return read_through(state(), separator);
    }

    /// Writes all of it; suspends while the peer does not keep up.
    /// Throws:   std::system_error (send; EPIPE and ECONNRESET mean that the peer is gone);
    ///           CancelledError.
    /// Cancel:   what the socket had taken by then is sent; `written()` tells how much that was.
    /// Lifetime: `data` outlives the await, a cancelled one included.
    detail::StreamWrite write(ConstBuffer data) { return detail::StreamWrite(state(), data); }

    /// Tells the peer that nothing more will come; reading goes on.
    /// Throws:   std::system_error (shutdown).
    void write_eof() {
        if (::shutdown(fd(), SHUT_WR) != 0) {
            detail::throw_system_error(errno, detail::fd_text("shutdown", fd()));
        }
    }

    /// Ends waiting reads and writes (ECANCELED) and closes. Idempotent.
    /// Cancel:   runs to its end all the same.
    Coro<void> close() { return close_now(state()); }
    bool is_closed() const noexcept { return !state_ || !state_->fd; }

    /// Bytes sent by the writes that have ended. (A write that waits is counted when the kernel
    /// gives it back.)
    std::uint64_t written() const { return state().written; }
    /// Bytes a line (or the search for a separator) may have; 64 KiB at first.
    void set_limit(std::size_t bytes) { state().limit = bytes; }
    Address local_address() const { return Address::of_socket(fd()); }
    /// Throws:   std::system_error (getpeername; ENOTCONN once the connection is gone).
    Address peer_address() const { return Address::of_peer(fd()); }
    /// For socket options and low-level operations.
    int fd() const { return state().fd.get(); }

private:
    friend struct detail::ServerState;

    detail::StreamState& state() const {
        if (!state_) [[unlikely]]
            detail::throw_runtime_error("weft: an empty Stream: it was moved from");
        return *state_;
    }

    static constexpr std::size_t chunk = 4096;
    static constexpr std::size_t most_ahead = 64 * 1024;

    // Static, on the state: the Stream itself may move while one of these waits.

    static Coro<void> close_now(detail::StreamState& stream);
    static Coro<void> read_into(detail::StreamState& stream, MutableBuffer into);
    static Coro<std::string> read_count(detail::StreamState& stream, std::size_t count);
    static Coro<std::string> read_through(detail::StreamState& stream, std::string_view separator);
    static Coro<void> fill(detail::StreamState& stream, std::size_t count);
    /// A read of several receives whose stream is closed between two of them ends like one that
    /// waits.
    static void go_on(const detail::StreamState& stream);
    [[noreturn, gnu::cold]] static void throw_incomplete(detail::StreamState& stream,
                                                         std::size_t count);
    [[noreturn, gnu::cold]] static void throw_overrun(const detail::StreamState& stream);

    detail::Owned<detail::StreamState> state_;
};

#if WEFT_BODIES
WEFT_INLINE Coro<void> Stream::close_now(detail::StreamState& stream) {
    if (stream.fd) co_await io::close(std::move(stream.fd));
}

WEFT_INLINE Coro<void> Stream::read_into(detail::StreamState& stream, MutableBuffer into) {
    co_await fill(stream, into.size());
    if (into.size() == 0) co_return;
    std::memcpy(into.data(), stream.buffer.view().data(), into.size());
    stream.buffer.consume(into.size());
}

WEFT_INLINE Coro<std::string> Stream::read_count(detail::StreamState& stream, std::size_t count) {
    co_await fill(stream, count);
    co_return stream.take(count);
}

WEFT_INLINE void Stream::go_on(const detail::StreamState& stream) {
    if (!stream.fd) [[unlikely]]
        detail::throw_system_error(ECANCELED, "recv on a stream that was closed meanwhile");
}

[[gnu::noinline]] WEFT_INLINE void Stream::throw_incomplete(detail::StreamState& stream,
                                                            std::size_t count) {
    throw IncompleteReadError(stream.take(stream.buffer.size()), count,
                              detail::fd_text("recv", stream.fd.get()));
}
[[gnu::noinline]] WEFT_INLINE void Stream::throw_overrun(const detail::StreamState& stream) {
    throw LimitOverrunError(stream.limit, detail::fd_text("recv", stream.fd.get()));
}

WEFT_INLINE Coro<void> Stream::fill(detail::StreamState& stream, std::size_t count) {
    for (bool began = false; stream.buffer.size() < count; began = true) {
        if (began) go_on(stream);
        // Memory for what comes, and not for what a peer has announced.
        const std::size_t missing = count - stream.buffer.size();
        const std::size_t room = std::min(missing, std::max(stream.buffer.size(), most_ahead));
        const bool alive = co_await detail::StreamFill(stream, std::max(room, chunk));
        if (!alive) throw_incomplete(stream, count);
    }
}

WEFT_INLINE Coro<std::string> Stream::read_through(detail::StreamState& stream,
                                                   std::string_view separator) {
    if (separator.empty()) detail::throw_runtime_error("read_until: the separator is empty");
    std::size_t searched = 0;
    for (bool began = false;; began = true) {
        const std::string_view data = stream.buffer.view();
        const std::size_t at = data.find(separator, searched);
        if (at != std::string_view::npos) {
            if (at > stream.limit) throw_overrun(stream);
            co_return stream.take(at + separator.size());
        }
        // (What may be the first part of a separator does not count.)
        if (data.size() - std::min(data.size(), separator.size() - 1) > stream.limit)
            throw_overrun(stream);
        if (began) go_on(stream);
        // A separator may be cut in two by the end of what has arrived.
        searched = data.size() - std::min(data.size(), separator.size() - 1);
        const bool alive = co_await detail::StreamFill(stream, chunk);
        if (alive) continue;
        if (stream.buffer.size() == 0) co_return std::string();
        throw_incomplete(stream, 0);
    }
}
#endif

}  // namespace weft
