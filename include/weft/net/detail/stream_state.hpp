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
#include "../../task/coro.hpp"
#include "../io.hpp"
#include "../transport.hpp"
#include "carried_call.hpp"
#include "chunk_source.hpp"
#include "read_buffer.hpp"

namespace weft::detail {

class Carrier;

/// What a Carrier does, with coroutines that stand in TransportCarrier alone: a program whose
/// streams are sockets compiles none of them. (A table and no virtual functions: g++ would see the
/// one class that has them, guess that it is meant, and compile it all the same.)
struct CarrierCalls {
    // Of the stream that has it, for awaiters that hold that and run the call that they get.
    // They throw RuntimeError while another task reads, and std::bad_alloc.
    CarriedCall& (*read)(Carrier&, MutableBuffer into);
    /// Into `block`.
    CarriedCall& (*read_block)(Carrier&);
    /// All of the parts, and nobody else's between them; what was taken is counted in `written`.
    CarriedCall& (*write)(Carrier&, const ConstBuffer* first, const ConstBuffer* end,
                          std::uint64_t& written);
    CarriedCall& (*write_one)(Carrier&, ConstBuffer from, std::uint64_t& written);
    // Of such a call, as an awaiter's.
    bool (*suspend)(CarriedCall&, std::coroutine_handle<>);
    bool (*is_cancelled)(const CarriedCall&) noexcept;
    std::size_t (*result)(CarriedCall&);
    /// At least one byte of it.
    Coro<std::size_t> (*write_some)(Carrier&, ConstBuffer from, std::uint64_t& written);
    Coro<void> (*end_writing)(Carrier&);
    void (*destroy)(Carrier*) noexcept;
};

/// What a stream has in place of a socket.
class Carrier {
public:
    Carrier(const CarrierCalls& table, Owned<Transport> below) noexcept
        : calls(table), transport(std::move(below)) {}
    Carrier(const Carrier&) = delete;
    Carrier& operator=(const Carrier&) = delete;

    bool is_read() const noexcept { return read_call && !read_call->is_over(); }

    /// Throws:   std::system_error once the stream is closed: EBADF; for a call that has begun
    ///           before that, ECANCELED.
    void require_open(const char* call, bool has_begun = false) const;

    const CarrierCalls& calls;
    Owned<Transport> transport;
    Block* block = nullptr;  // what a `read_chunk` reads into
    bool closed = false;
    bool is_closing = false;  // `close` waits for the transport's farewell
    Owned<CarriedCall> read_call;
    IntrusiveList<CarriedCall> write_calls;  // those that have ended go when the next begins

protected:
    ~Carrier() {
        if (block) block->release();
    }
};

/// A stream's carrier, or none.
class OwnedCarrier {
public:
    OwnedCarrier() noexcept = default;
    explicit OwnedCarrier(Carrier* made) noexcept : it_(made) {}
    OwnedCarrier(OwnedCarrier&& other) noexcept : it_(std::exchange(other.it_, nullptr)) {}
    OwnedCarrier& operator=(OwnedCarrier&&) = delete;
    ~OwnedCarrier() {
        if (it_) [[unlikely]]
            it_->calls.destroy(it_);
    }
    explicit operator bool() const noexcept { return it_ != nullptr; }
    Carrier& operator*() const noexcept { return *it_; }
    Carrier* operator->() const noexcept { return it_; }

private:
    Carrier* it_ = nullptr;
};

struct ServedTag {};

/// What a stream is made of; on the heap, so that a Stream may move while a read waits, and held by
/// everybody who waits, so that it may go as well. In the list of the server that has accepted it,
/// if one has.
struct StreamState : ListNode<ServedTag>, Counted<StreamState> {
    /// A connected socket.
    explicit StreamState(Fd socket) noexcept : fd(std::move(socket)) {}
    /// Anything else.
    explicit StreamState(OwnedCarrier other) noexcept
        : reads_plainly(false), carrier(std::move(other)) {}
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
    [[noreturn, gnu::cold]] void throw_second_reader() const;
    /// A file goes out in many calls, and what others write would stand in the middle of it.
    void refuse_write_into_file() const {
        if (sends_file) [[unlikely]]
            throw_write_into_file();
    }
    [[noreturn, gnu::cold]] void throw_write_into_file() const;

    /// An abort ends the connection before it ends who waits: the end that they see is not the
    /// peer's.
    int end_of_wait(int result) const noexcept {
        return fd || carrier || result == -EBADF ? result : -ECANCELED;
    }

    // What an error names: "recv fd 7 (127.0.0.1:80)", "read pipe fd 5".
    std::string read_text() const;
    std::string write_text() const;

    std::uint32_t limit = 64 * 1024;
    Fd fd;                 // empty once it is closed, and where it is no socket
    bool drained = false;  // the last receive took all there was
    // A socket that is not read in chunks: each read is an operation of its own.
    bool reads_plainly = true;
    bool sends_file = false;  // a `send_file` has begun and has not ended
    ReadBuffer buffer;
    // The loop of a read that waits to fill the buffer. (If it is closed, nobody comes to say that
    // the wait is over.)
    const EventLoop* filled_by = nullptr;
    ChunkSource* chunks = nullptr;  // from the first read_chunk on, all reading goes through it
    OwnedCarrier carrier;           // what is there in place of a socket
    std::uint64_t written = 0;
};

/// At least one byte of it, as Transport::write_some; of any stream.
Coro<std::size_t> write_once(Ref<StreamState> stream, ConstBuffer from);
Coro<void> end_writing(Ref<StreamState> stream);
Coro<void> close_stream(Ref<StreamState> stream);
/// The peer is told at once (RST) where there is such a thing, and reads and writes end.
void reset_connection(int socket) noexcept;

#if WEFT_BODIES
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
[[gnu::cold, gnu::noinline]] WEFT_INLINE void StreamState::throw_second_reader() const {
    // (A mistake of the program's own: who the peer is does not matter.)
    refuse_second_read(carrier ? read_text() : fd_text("recv", fd.get()), number());
}
[[gnu::cold, gnu::noinline]] WEFT_INLINE void StreamState::throw_write_into_file() const {
    throw_runtime_error({write_text(), ": a write to a stream on which send_file is not over"});
}
[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string StreamState::read_text() const {
    return carrier ? concat({"read ", carrier->transport->name()})
                   : connection_text("recv", fd.get());
}
[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string StreamState::write_text() const {
    return carrier ? concat({"write ", carrier->transport->name()})
                   : connection_text("send", fd.get());
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
        loop.tell_others_of_close(close->fd);
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

[[gnu::noinline]] WEFT_INLINE void Carrier::require_open(const char* call, bool has_begun) const {
    if (closed)
        throw_system_error(has_begun ? ECANCELED : EBADF,
                           concat({call, " ", transport->name(), ", which is closed"}));
}

WEFT_INLINE Coro<std::size_t> write_once(Ref<StreamState> stream, ConstBuffer from) {
    if (from.size() == 0) co_return 0;
    stream->refuse_write_into_file();
    if (stream->carrier)
        co_return co_await stream->carrier->calls.write_some(*stream->carrier, from,
                                                             stream->written);
    const std::size_t count = co_await io::send(stream->fd.get(), from);
    stream->written += count;
    co_return count;
}

WEFT_INLINE Coro<void> end_writing(Ref<StreamState> stream) {
    stream->refuse_write_into_file();
    if (stream->carrier) {
        co_await stream->carrier->calls.end_writing(*stream->carrier);
    } else {
        co_await io::shutdown(stream->fd.get(), SHUT_WR);
    }
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
