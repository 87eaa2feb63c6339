// SPDX-License-Identifier: MIT
// StreamState: what a Stream is made of, and how it is used where it is no socket.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
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
#include "../../sync/lock.hpp"
#include "../../task/coro.hpp"
#include "../../task/sleep.hpp"
#include "../io.hpp"
#include "../transport.hpp"
#include "carried_call.hpp"
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
struct Carrier;

/// What a stream is made of; on the heap, so that a Stream may move while a read waits, and held by
/// everybody who waits, so that it may go as well. In the list of the server that has accepted it,
/// if one has.
struct StreamState : Counted<StreamState>, ListNode<ServedTag> {
    /// A connected socket.
    explicit StreamState(Fd socket) noexcept : fd(std::move(socket)) {}
    /// Anything else; takes the transport over.
    /// Throws:   std::bad_alloc.
    explicit StreamState(Owned<Transport> transport);
    StreamState(const StreamState&) = delete;
    StreamState& operator=(const StreamState&) = delete;
    ~StreamState();
    /// The Stream goes while somebody waits: ends the waits and closes, like `Stream::close`.
    void abandon() noexcept;
    /// See `Stream::abort`.
    void abort() noexcept;
    bool is_closed() const noexcept;
    void read_in_chunks();
    /// The socket, or what is below.
    int number() const noexcept;
    /// A read finds bytes without the kernel.
    bool has_buffered() const noexcept;

    std::string take(std::size_t count) {
        std::string text(buffer.view().substr(0, count));
        buffer.consume(count);
        return text;
    }

    /// While a read waits to fill the buffer, every other one would find, or move, what it fills.
    void refuse_second_reader() const {
        if (filled_by && filled_by == EventLoop::running()) [[unlikely]]
            throw_second_reader();
    }
    [[noreturn, gnu::cold]] static void throw_second_reader();

    // What an error names: "recv fd 7", "read pipe fd 5".
    std::string read_text() const;
    std::string write_text() const;

    Fd fd;  // empty once it is closed, and where it is no socket
    ReadBuffer buffer;
    // The loop of a read that waits to fill the buffer. (If it is closed, nobody comes to say that
    // the wait is over.)
    const EventLoop* filled_by = nullptr;
    ChunkSource* chunks = nullptr;  // from the first read_chunk on, all reading goes through it
    Owned<Carrier> carrier;         // what is there in place of a socket
    std::size_t limit = 64 * 1024;
    std::uint64_t written = 0;
    bool drained = false;  // the last receive took all there was
    // A socket that is not read in chunks: each read is an operation of its own.
    bool reads_plainly = true;
};

/// What a stream has in place of a socket, and the order in which it is used.
struct Carrier {
    explicit Carrier(Owned<Transport> below) noexcept : transport(std::move(below)) {}
    Carrier(const Carrier&) = delete;
    Carrier& operator=(const Carrier&) = delete;
    ~Carrier();

    /// The awaiters run what they return.
    /// Throws:   RuntimeError while another task reads; std::bad_alloc.
    CarriedCall& begin_read(Coro<std::size_t> reading);
    CarriedCall& begin_write(Coro<std::size_t> written);
    bool is_read() const noexcept { return read_call && !read_call->is_over(); }

    /// Throws:   std::system_error once the stream is closed: EBADF; for a call that has begun
    ///           before that, ECANCELED.
    void require_open(const char* call, bool has_begun = false) const;

    Owned<Transport> transport;
    Lock writing;            // one write goes out whole before the next
    Block* block = nullptr;  // what a `read_chunk` reads into
    bool closed = false;
    bool is_closing = false;  // `close` waits for the transport's farewell
    // They hold the lock, and what the transport gave them.
    Owned<CarriedCall> read_call;
    IntrusiveList<CarriedCall> write_calls;  // those that have ended go when the next begins
};

// Of a stream with a carrier, for awaiters that hold the stream.
Coro<std::size_t> carried_read(StreamState& stream, MutableBuffer into);
/// Into `Carrier::block`.
Coro<std::size_t> carried_chunk(StreamState& stream);
/// All of it.
Coro<std::size_t> carried_write(StreamState& stream, ConstBuffer from);
/// The same, for who has `Carrier::writing`.
Coro<std::size_t> carried_write_in_turn(StreamState& stream, ConstBuffer from);
/// At least one byte of it, as Transport::write_some; of any stream.
Coro<std::size_t> write_once(Ref<StreamState> stream, ConstBuffer from);
Coro<void> end_writing(Ref<StreamState> stream);
Coro<void> close_stream(Ref<StreamState> stream);
/// The peer is told at once (RST) where there is such a thing, and reads and writes end.
void reset_connection(int socket) noexcept;

#if WEFT_BODIES
[[gnu::noinline]] WEFT_INLINE StreamState::StreamState(Owned<Transport> transport)
    : carrier(new Carrier(std::move(transport))), reads_plainly(false) {}

[[gnu::noinline]] WEFT_INLINE StreamState::~StreamState() {
    if (linked()) unlink();
    if (chunks) ChunkSource::let_go(chunks, fd);
}

[[gnu::noinline]] WEFT_INLINE bool StreamState::is_closed() const noexcept {
    return carrier ? carrier->closed : !fd;
}
[[gnu::cold, gnu::noinline]] WEFT_INLINE void StreamState::read_in_chunks() {
    chunks = new ChunkSource(fd);  // (idle for good where there is no socket)
    reads_plainly = false;
}
[[gnu::noinline]] WEFT_INLINE int StreamState::number() const noexcept {
    return carrier ? carrier->transport->fd() : fd.get();
}
[[gnu::noinline]] WEFT_INLINE bool StreamState::has_buffered() const noexcept {
    return buffer.size() > 0 || (chunks && chunks->has_data()) ||
           (carrier && carrier->transport->has_buffered());
}
[[gnu::cold]] WEFT_INLINE void StreamState::throw_second_reader() {
    throw_runtime_error("weft: two tasks read from one stream");
}
[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string StreamState::read_text() const {
    return carrier ? concat({"read ", carrier->transport->name()}) : fd_text("recv", fd.get());
}
[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string StreamState::write_text() const {
    return carrier ? concat({"write ", carrier->transport->name()}) : fd_text("send", fd.get());
}

/// Closes a number that others still use: they are ended first, and the number is free only then.
class DetachedClose final : Operation {
public:
    /// In any case `file` is empty then, and who waits for it is ended.
    [[gnu::cold]] static void begin(EventLoop& loop, Fd& file) noexcept {
        auto* const close = new (std::nothrow) DetachedClose;
        if (!close) [[unlikely]] {
            // Ends the waits on a socket too; the number is freed with the last of them.
            ::shutdown(file.get(), SHUT_RDWR);
            return;
        }
        close->fd = file.release();
        if (loop.start(*close)) delete close;
    }

private:
    DetachedClose() noexcept : Operation(OpCode::close, &completed) { background = true; }
    static void completed(Operation& op) noexcept { delete static_cast<DetachedClose*>(&op); }
};

[[gnu::cold, gnu::noinline]] WEFT_INLINE void StreamState::abandon() noexcept {
    EventLoop* const loop = EventLoop::running();
    if (!loop) return;  // (Nobody waits: its frames are being destroyed.)
    if (carrier) {
        if (!std::exchange(carrier->closed, true)) carrier->transport->let_go();
    } else if (fd) {
        DetachedClose::begin(*loop, fd);
    }
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void StreamState::abort() noexcept {
    if (fd) reset_connection(fd.get());
    if (carrier && EventLoop::running() &&
        (!std::exchange(carrier->closed, true) || carrier->is_closing))
        carrier->transport->abort();
    abandon();
    if (!EventLoop::running()) fd.reset();
}

/// TCP tells the peer at once when its socket is disconnected (RST), and when it is closed with
/// data that was not read or sent. A Unix socket has no such thing.
[[gnu::cold, gnu::noinline]] WEFT_INLINE void reset_connection(int socket) noexcept {
    const linger at_once{1, 0};
    ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    sockaddr nobody{};
    nobody.sa_family = AF_UNSPEC;
    if (::connect(socket, &nobody, sizeof nobody) != 0) ::shutdown(socket, SHUT_RDWR);
}

[[gnu::noinline]] WEFT_INLINE Carrier::~Carrier() {
    read_call.reset();
    while (!write_calls.empty()) delete &write_calls.pop_front();
    if (block) block->release();
}

[[gnu::noinline]] WEFT_INLINE CarriedCall& Carrier::begin_read(Coro<std::size_t> reading) {
    if (is_read()) StreamState::throw_second_reader();
    read_call.reset(new CarriedCall(std::move(reading)));
    return *read_call;
}
[[gnu::noinline]] WEFT_INLINE CarriedCall& Carrier::begin_write(Coro<std::size_t> written) {
    while (!write_calls.empty() && write_calls.front().is_over()) delete &write_calls.pop_front();
    auto* const call = new CarriedCall(std::move(written));
    write_calls.push_back(*call);
    return *call;
}

[[gnu::noinline]] WEFT_INLINE void Carrier::require_open(const char* call, bool has_begun) const {
    if (closed)
        throw_system_error(has_begun ? ECANCELED : EBADF,
                           concat({call, " ", transport->name(), ", which is closed"}));
}

// A transport may have everything that it is asked for at hand: whoever has had his share goes
// round then, or a loop around it would keep the thread.

WEFT_INLINE Coro<std::size_t> carried_read(StreamState& stream, MutableBuffer into) {
    Carrier& carrier = *stream.carrier;
    carrier.require_open("read");
    if (!may_go_on()) {
        co_await yield();
        carrier.require_open("read", true);
    }
    co_return co_await carrier.transport->read_some(into);
}

WEFT_INLINE Coro<std::size_t> carried_chunk(StreamState& stream) {
    Carrier& carrier = *stream.carrier;
    carrier.require_open("read");
    if (!may_go_on()) {
        co_await yield();
        carrier.require_open("read", true);
    }
    if (Coro<void> waiting = carrier.transport->wait_readable()) {
        co_await std::move(waiting);
        carrier.require_open("read", true);
    }
    if (!carrier.block) carrier.block = Block::make(nullptr);
    if (!carrier.block) throw std::bad_alloc();
    const std::size_t count = co_await carrier.transport->read_some(
        MutableBuffer(carrier.block->memory(), Block::capacity));
    carrier.block->fill(static_cast<std::uint32_t>(count));
    co_return count;
}

WEFT_INLINE Coro<std::size_t> carried_write(StreamState& stream, ConstBuffer from) {
    Carrier& carrier = *stream.carrier;
    carrier.require_open("write");
    if (!may_go_on()) co_await yield();
    const Lock::Guard turn = co_await carrier.writing.scoped();
    co_return co_await carried_write_in_turn(stream, from);
}
WEFT_INLINE Coro<std::size_t> carried_write_in_turn(StreamState& stream, ConstBuffer from) {
    Carrier& carrier = *stream.carrier;
    std::size_t done = 0;
    while (done < from.size()) {
        carrier.require_open("write", true);
        const std::size_t count = co_await carrier.transport->write_some(
            ConstBuffer(static_cast<const char*>(from.data()) + done, from.size() - done));
        stream.written += count;
        done += count;
    }
    co_return done;
}

WEFT_INLINE Coro<std::size_t> write_once(Ref<StreamState> stream, ConstBuffer from) {
    std::size_t count = 0;
    if (from.size() == 0) co_return count;
    if (!stream->carrier) {
        count = co_await io::send(stream->fd.get(), from);
    } else {
        Carrier& carrier = *stream->carrier;
        carrier.require_open("write");
        const Lock::Guard turn = co_await carrier.writing.scoped();
        carrier.require_open("write", true);
        count = co_await carrier.transport->write_some(from);
    }
    stream->written += count;
    co_return count;
}

WEFT_INLINE Coro<void> end_writing(Ref<StreamState> stream) {
    if (!stream->carrier) {
        co_await io::shutdown(stream->fd.get(), SHUT_WR);
        co_return;
    }
    Carrier& carrier = *stream->carrier;
    carrier.require_open("write_eof");
    const Lock::Guard turn = co_await carrier.writing.scoped();
    carrier.require_open("write_eof", true);
    co_await carrier.transport->write_eof();
}

WEFT_INLINE Coro<void> close_stream(Ref<StreamState> stream) {
    if (stream->carrier) {
        Carrier& carrier = *stream->carrier;
        if (std::exchange(carrier.closed, true)) co_return;
        carrier.is_closing = true;
        co_await carrier.transport->close();
        carrier.is_closing = false;
    } else if (stream->fd) {
        co_await io::close(std::move(stream->fd));
    }
}
#endif

}  // namespace weft::detail
