// SPDX-License-Identifier: MIT
// Transport: what a Stream reads from and writes to where that is not a socket.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>

#include "../base/buffer.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../task/coro.hpp"

namespace weft {

/// The other side of a Stream: a pipe, a terminal, memory, a TLS session, or yours. Derive from it,
/// and make the stream with `make_stream<YourTransport>(arguments...)`; it owns the transport.
/// `weft/testing/check_stream.hpp` has a suite that says whether a transport does what a Stream's
/// users rely on.
///
/// The Stream sees to lines, lengths, limits, the order of writers and the refusal of a second
/// reader. So at most one `read_some` and at most one of `write_some` and `write_eof` run at a
/// time, and none begins once `close` or `abort` was called. A read and a write may run at the same
/// time.
/// Thread:   loop thread only.
class Transport {
public:
    Transport() noexcept = default;
    Transport(const Transport&) = delete;
    Transport& operator=(const Transport&) = delete;
    /// When the last who waits has gone: frees what there is, without waiting.
    virtual ~Transport() = default;

    /// Waits for at least one byte.
    /// Returns:  bytes read, at most `into.size()`, which is not 0; 0: the peer has closed.
    /// Throws:   std::system_error, as a rule; CancelledError.
    /// Cancel:   must be lossless: what was taken from the peer is returned, or kept for the next
    ///           read.
    /// Lifetime: the stream's user keeps `into` until the coroutine has ended.
    virtual Coro<std::size_t> read_some(MutableBuffer into) = 0;

    /// Waits until `read_some` is likely to find something: asked by who would have to lend memory
    /// for as long as nothing comes (`Stream::read_chunk`). An empty Coro, as here, says: just
    /// read.
    /// Throws:   as above.
    /// Cancel:   as above.
    virtual Coro<void> wait_readable() { return Coro<void>(nullptr); }

    /// Waits until it has taken at least one byte.
    /// Returns:  bytes taken, of `from.size()`, which is not 0.
    /// Throws:   as above; EPIPE where the peer is gone.
    /// Cancel:   what was taken counts and is returned, or nothing was taken.
    virtual Coro<std::size_t> write_some(ConstBuffer from) = 0;

    /// Tells the peer that nothing more will come; reading goes on.
    /// Throws:   as above; EOPNOTSUPP where there is no such thing.
    virtual Coro<void> write_eof() = 0;

    /// Ends reads and writes that wait (ECANCELED), and closes, with whatever farewell is due.
    /// Cancel:   runs to its end all the same.
    virtual Coro<void> close() = 0;

    /// The same at once, without a farewell: the peer must not take what it has for the whole. May
    /// come while `close` waits, and ends that too.
    virtual void abort() noexcept = 0;

    /// The Stream has gone while somebody waits: `close`, as far as that needs no waiting.
    virtual void let_go() noexcept { abort(); }

    /// The server whose connection this is stops: reads are to find the end when they have returned
    /// what has arrived, as after shutdown(2) with SHUT_RD. (See `Server::shutdown`; a transport
    /// that no server makes its connections into need not care.)
    virtual void end_reads() noexcept {}

    /// That server ends its connections (`Server::close_clients`): reads are to find the end as
    /// above, what was written and a farewell still go, and then writes fail (EPIPE). As here it is
    /// shutdown(2) of `fd()`, without a farewell.
    virtual void end_both() noexcept;

    /// Reads what is there already.
    /// Returns:  bytes read; 0: the peer has closed; nothing: nothing has arrived, or the transport
    ///           cannot tell.
    virtual std::optional<std::size_t> try_read(MutableBuffer) { return std::nullopt; }

    /// Bytes have arrived that a read finds without a system call: `try_read` is asked first then.
    virtual bool has_buffered() const noexcept { return false; }

    /// The descriptor below, for addresses and options. Negative: there is none.
    virtual int fd() const noexcept { return -1; }

    /// What an error calls it: "pipe fd 5", "memory stream".
    virtual std::string name() const = 0;
};

inline void Transport::end_both() noexcept {
    end_reads();
    const int socket = fd();
    if (socket >= 0) ::shutdown(socket, SHUT_RDWR);
}

}  // namespace weft
