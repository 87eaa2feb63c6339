// SPDX-License-Identifier: MIT
// Stream: a connection, both directions, with reads that understand lines and lengths.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "../base/buffer.hpp"
#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../task/async_generator.hpp"
#include "../task/coro.hpp"
#include "address.hpp"
#include "chunk.hpp"
#include "detail/file_transport.hpp"
#include "detail/long_reads.hpp"
#include "detail/socket_option.hpp"
#include "detail/stream_items.hpp"
#include "detail/stream_parts.hpp"
#include "detail/stream_reads.hpp"
#include "detail/stream_state.hpp"
#include "detail/stream_write.hpp"
#include "detail/transport_carrier.hpp"
#include "transport.hpp"

namespace weft {
namespace detail {
struct ServerState;
struct StreamAccess;
}  // namespace detail

/// A connection: a TCP or Unix stream socket, a pipe, a terminal, memory, TLS, or what somebody has
/// written a Transport for. A function that takes a Stream works with each of them.
///
/// One task may read while others write: each write goes out whole, and in the order in which they
/// began. Two readers at once are a mistake (they would tear lines apart).
/// Throws:   RuntimeError once it was moved from, from everything but `is_closed`.
/// Thread:   loop thread only.
class Stream {
public:
    /// Takes over a connected socket, or the end of a pipe, a terminal, a file: see `pipe`.
    /// Throws:   std::system_error (EINVAL: a socket of messages, see Socket and Datagram).
    explicit Stream(Fd file) : state_(detail::make_stream_state(std::move(file))) {}
    /// For `make_stream`.
    explicit Stream(detail::Ref<detail::StreamState> state) noexcept : state_(std::move(state)) {}
    Stream(Stream&&) noexcept = default;
    Stream& operator=(Stream&& other) noexcept {
        if (this != &other) {
            let_go();
            state_ = std::move(other.state_);
        }
        return *this;
    }
    /// Closes. Reads and writes that wait are ended (ECANCELED).
    ~Stream() { let_go(); }

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
            stream.read_in_chunks();
        return detail::ChunkRead(stream);
    }

    /// Reads exactly as much as the buffer holds.
    /// Throws:   IncompleteReadError with what there was when the peer closed before;
    ///           std::system_error (recv); CancelledError; RuntimeError while another task reads.
    /// Cancel:   lossless: what was received stays readable.
    Coro<void> read_exactly(MutableBuffer buffer) { return detail::read_into(shared(), buffer); }
    Coro<std::string> read_exactly(std::size_t count) {
        return detail::read_count(shared(), count);
    }

    /// Reads through the next '\n', which is included. Empty: the peer closed after a whole line.
    /// Throws:   IncompleteReadError (the peer closed inside a line), LimitOverrunError (the data
    ///           stays readable); std::system_error (recv); CancelledError; RuntimeError while
    ///           another task reads so.
    /// Cancel:   lossless: what was received stays readable.
    Coro<std::string> read_line() {
        return detail::read_through(shared(), detail::Separators("\n"));
    }

    /// Reads through the next separator, which is included. Of several (eight at most) that one
    /// counts which ends first: `read_until("\r\n", "\n")`. Like `read_line` otherwise.
    /// Lifetime: the separators' texts outlive the await.
    template <class... Text>
        requires(sizeof...(Text) <= detail::Separators::most &&
                 (std::is_convertible_v<const Text&, std::string_view> && ...))
    Coro<std::string> read_until(const Text&... separators) {
        return detail::read_through(shared(), detail::Separators(separators...));
    }

    /// Reads until the peer closes.
    /// Throws:   LimitOverrunError when that is more than `limit` bytes (they stay readable);
    ///           std::system_error (recv); CancelledError; RuntimeError while another task reads
    ///           so.
    /// Cancel:   lossless: what was received stays readable.
    Coro<std::string> read_all(std::size_t limit) { return detail::read_to_end(shared(), limit); }

    /// Line after line to the end, like `read_line`; the last one may lack its '\n'.
    ///
    ///     auto lines = stream.lines();
    ///     while (auto line = co_await lines.next()) handle(*line);
    ///
    /// Cancel:   lossless: what was received stays readable.
    AsyncGenerator<std::string> lines() { return detail::lines_of(shared()); }
    /// Chunk after chunk to the end, like `read_chunk`.
    AsyncGenerator<Chunk> chunks() { return detail::chunks_of(shared()); }

    /// Reads what there is, without waiting.
    /// Returns:  bytes read, 0 when the peer has closed; nothing when nothing has arrived.
    /// Throws:   std::system_error (recv); RuntimeError while another task reads.
    std::optional<std::size_t> try_read(MutableBuffer buffer) {
        return detail::try_read(state(), buffer);
    }

    /// The next read finds bytes that have been received already (perhaps a part of what it wants).
    /// A server whose clients do not wait for one answer before the next request collects answers
    /// while this is so, and writes them in one call when it is not.
    bool has_buffered() const { return state().has_buffered(); }

    /// Writes all of it; suspends while the peer does not keep up.
    /// Throws:   std::system_error (send; EPIPE and ECONNRESET mean that the peer is gone);
    ///           CancelledError.
    /// Cancel:   what the socket had taken by then is sent; `written()` tells how much that was.
    /// Lifetime: `data` outlives the await, a cancelled one included.
    detail::StreamWrite write(ConstBuffer data) { return detail::StreamWrite(state(), data); }

    /// Writes several parts as one: nobody's bytes come between, and a socket gets them in one
    /// call.
    /// Lifetime: the bytes outlive the await, a cancelled one included.
    /// Source:   sendmsg(2); IORING_OP_SENDMSG, Linux 5.3.
    template <class... Part>
        requires(sizeof...(Part) >= 2 && (std::is_convertible_v<const Part&, ConstBuffer> && ...))
    detail::StreamWriteParts<sizeof...(Part)> write(const Part&... parts) {
        return detail::StreamWriteParts<sizeof...(Part)>(state(), parts...);
    }
    /// The same; the list of the parts outlives the await, too.
    detail::StreamWriteList write_parts(std::span<const ConstBuffer> parts) {
        return detail::StreamWriteList(state(), parts.data(), parts.size());
    }
    /// Writes a chunk and keeps it until that is done.
    Coro<void> write(Chunk&& chunk) { return detail::write_chunk(shared(), std::move(chunk)); }

    /// Writes as much as can be at once, at least one byte of it: for transports over a Stream, for
    /// which an await that wrote a part and was cancelled then would have no answer.
    /// Returns:  bytes written.
    /// Throws:   like `write`.
    /// Cancel:   lossless: nothing was written, or how much was is returned.
    /// Lifetime: `data` outlives the await, a cancelled one included.
    Coro<std::size_t> write_some(ConstBuffer data) { return detail::write_once(shared(), data); }

    /// Tells the peer that nothing more will come, behind the writes that have begun; reading goes
    /// on.
    /// Throws:   std::system_error (shutdown; Operation not supported, EOPNOTSUPP, where there is no
    ///           such thing, on a terminal for instance); CancelledError.
    /// Cancel:   lossless: told or not.
    Coro<void> write_eof() { return detail::end_writing(shared()); }

    /// Ends waiting reads and writes (ECANCELED) and closes. Idempotent.
    /// Cancel:   runs to its end all the same.
    Coro<void> close() { return detail::close_stream(shared()); }
    /// The same at once, without a word to the peer, who gets an error in place of an end where the
    /// transport has such a thing (TCP: RST). Idempotent.
    void abort() noexcept {
        if (state_) state_->abort();
    }
    bool is_closed() const noexcept { return !state_ || state_->is_closed(); }

    /// Bytes sent by the writes that have ended. (A write that waits is counted when the kernel
    /// gives it back.)
    std::uint64_t written() const { return state().written; }
    /// Bytes a line (or the search for a separator) may have; 64 KiB at first, 4 GiB at most.
    void set_limit(std::size_t bytes) {
        constexpr std::size_t most = UINT32_MAX;
        state().limit = static_cast<std::uint32_t>(std::min(bytes, most));
    }
    /// Throws:   std::system_error (getsockname; ENOTSOCK where there is no socket below).
    Address local_address() const { return Address::of_socket(fd()); }
    /// Known also when the peer has reset the connection.
    /// Throws:   std::system_error (getpeername; EBADF once it is closed).
    Address peer_address() const { return Address::of_peer(fd()); }
    /// Small writes are sent at once instead of waiting for the answer to the last one
    /// (TCP_NODELAY).
    /// Throws:   std::system_error (setsockopt).
    void set_no_delay(bool on = true) { set_option(IPPROTO_TCP, TCP_NODELAY, int{on}); }
    /// The kernel finds out whether the peer is still there (SO_KEEPALIVE).
    void set_keep_alive(bool on = true) { set_option(SOL_SOCKET, SO_KEEPALIVE, int{on}); }
    /// Any other one: `stream.set_option(SOL_SOCKET, SO_RCVBUF, 1 << 20)`.
    template <class T>
    void set_option(int level, int name, const T& value) {
        detail::set_socket_option(fd(), level, name, &value, sizeof value);
    }
    /// `stream.option<int>(SOL_SOCKET, SO_RCVBUF)`
    /// Throws:   std::system_error (getsockopt).
    template <class T>
    T option(int level, int name) const {
        T value{};
        detail::get_socket_option(fd(), level, name, &value, sizeof value);
        return value;
    }
    /// For socket options and low-level operations: the descriptor of the socket, or of what is
    /// below. Negative where there is none.
    int fd() const {
        const detail::StreamState& stream = state();
        return stream.carrier ? stream.number() : stream.fd.get();
    }

private:
    friend struct detail::ServerState;
    friend struct detail::StreamAccess;

    detail::StreamState& state() const {
        if (!state_) [[unlikely]]
            detail::throw_runtime_error("weft: an empty Stream: it was moved from");
        return *state_;
    }

    detail::Ref<detail::StreamState> shared() const {
        return detail::Ref<detail::StreamState>::to(state());
    }
    void let_go() noexcept {
        if (state_ && state_->is_shared()) [[unlikely]]
            state_->abandon();
    }

    detail::Ref<detail::StreamState> state_;
};

/// A stream over a transport of your own, which it makes of the arguments and owns.
/// Throws:   what the constructor throws; std::bad_alloc.
template <std::derived_from<Transport> Kind, class... Args>
Stream make_stream(Args&&... args) {
    detail::Owned<Transport> transport(new Kind(std::forward<Args>(args)...));
    return Stream(detail::carry(std::move(transport)));
}

namespace detail {

/// For what works with any stream.
struct StreamAccess {
    /// Throws:   RuntimeError where it was moved from.
    static StreamState& state(const Stream& stream) { return stream.state(); }
};

/// For who knows that it is a socket.
inline Stream socket_stream(Fd socket) {
    return Stream(Ref<StreamState>(new StreamState(std::move(socket))));
}

}  // namespace detail

}  // namespace weft
