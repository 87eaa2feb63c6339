// SPDX-License-Identifier: MIT
// Socket: a socket of any kind, with the raw calls and options of one.
#pragma once

#include <sys/socket.h>

#include <coroutine>
#include <cstddef>
#include <string>
#include <utility>

#include "../base/buffer.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "../base/ref.hpp"
#include "../kernel/operation.hpp"
#include "../task/coro.hpp"
#include "address.hpp"
#include "datagram.hpp"
#include "detail/message_wait.hpp"
#include "detail/socket_option.hpp"
#include "io.hpp"

#if WEFT_BODIES
#include <cerrno>

#include "../runtime/loop.hpp"
#include "detail/stream_state.hpp"
#endif

namespace weft {
struct AcceptedSocket;

namespace detail {

/// Held by the Socket and by each call that waits: so it is known whether one does.
struct SocketState : Counted<SocketState> {
    explicit SocketState(Fd socket) noexcept : fd(std::move(socket)) {}
    Fd fd;
};

/// One of weft::io's operations on a Socket, which may move or go meanwhile.
template <class Awaiter>
class [[nodiscard]] [[gnu::warn_unused]] SocketCall {
public:
    using OneOperation = Awaiter;

    template <class Make>
    SocketCall(SocketState& of, Make&& make)
        : held_(Ref<SocketState>::to(of)), call_(make(of.fd.get())) {}
    bool await_ready() { return call_.await_ready(); }
    bool await_suspend(std::coroutine_handle<> handle) { return call_.await_suspend(handle); }
    decltype(auto) await_resume() { return call_.await_resume(); }
    bool await_cancelled() const noexcept { return call_.await_cancelled(); }
    [[gnu::cold]] std::string await_object() const { return call_.await_object(); }

private:
    Ref<SocketState> held_;
    Awaiter call_;
};

class SocketAccept;
class MessageReceive;
class MessageSend;

// On the state, which each of these holds: the Socket may move or go before they begin.
Coro<std::string> receive_text(Ref<SocketState> held, std::size_t count, int flags);
Coro<void> send_whole(Ref<SocketState> held, ConstBuffer data);
Coro<void> close_socket(Ref<SocketState> held);

}  // namespace detail

/// A socket for those who want its own calls and options: a family that streams know nothing of, an
/// option that has to be set before `bind`, `MSG_PEEK`, one call that may be short. It owns the
/// descriptor. What can be done with a Stream, a Server or a Datagram is done better there; each
/// of them takes over what `detach` gives away:
///
///     weft::Stream stream(socket.detach());
///     auto server = co_await weft::start_server(handler, listening.detach());
///
/// Any number of tasks may use it at once: the kernel gives to whoever asked first. The calls that
/// wait share:
///
/// Throws:   std::system_error naming the call and its object ("recv fd 7", "connect
///           127.0.0.1:80"); ECANCELED: somebody closed the socket, or let go of it, meanwhile;
///           EBADF: it was closed before; CancelledError.
/// Cancel:   lossless: the call did not happen, or its result is returned and the cancel strikes at
///           the next suspension.
/// Lifetime: buffers outlive the await, a cancelled one included; the Socket may move or go.
/// Thread:   loop thread only. RuntimeError once it was moved from, from all but `is_closed`.
class Socket {
public:
    /// A new one, close-on-exec: `Socket(AF_INET, SOCK_STREAM)`.
    /// Throws:   std::system_error (socket).
    Socket(int family, int type, int protocol = 0);
    /// Takes over one that is there. Of no importance: whether it is O_NONBLOCK.
    explicit Socket(Fd socket) : state_(new detail::SocketState(std::move(socket))) {}
    /// Two that are connected to each other, of the family AF_UNIX.
    /// Throws:   std::system_error (socketpair).
    static std::pair<Socket, Socket> pair(int type = SOCK_STREAM);

    Socket(Socket&&) noexcept = default;
    Socket& operator=(Socket&& other) noexcept {
        if (this != &other) {
            let_go();
            state_ = std::move(other.state_);
        }
        return *this;
    }
    /// Ends the calls that wait (ECANCELED) and closes.
    ~Socket() { let_go(); }

    /// Throws:   std::system_error, which names the address.
    void bind(const Address& local);
    void listen(int backlog = SOMAXCONN);

    /// After a cancel it is of no use but to be closed. (See `io::connect`.)
    detail::SocketCall<detail::ConnectAwaiter> connect(const Address& to) {
        return {state(), [&to](int fd) { return io::connect(fd, to); }};
    }
    /// Returns:  an AcceptedSocket: the connection, and its peer's address.
    detail::SocketAccept accept();

    /// Receives what there is, one byte (or datagram) at least; flags: see `io::recv`.
    /// Returns:  bytes received; 0 on a stream: the peer closed.
    detail::SocketCall<detail::TransferAwaiter> recv(MutableBuffer buffer, int flags = 0) {
        return {state(), [&](int fd) { return io::recv(fd, buffer, flags); }};
    }
    /// Of at most `count` bytes, as text.
    Coro<std::string> recv(std::size_t count, int flags = 0) {
        return detail::receive_text(shared(), count, flags);
    }
    /// Receives a datagram, and who has sent it; what does not fit is lost, and told.
    detail::SocketCall<detail::MessageReceive> recv_from(MutableBuffer buffer, int flags = 0);

    /// Sends as much as the socket takes, one byte (or a whole datagram) at least.
    /// Returns:  bytes sent, possibly fewer than asked for.
    detail::SocketCall<detail::TransferAwaiter> send(ConstBuffer data, int flags = 0) {
        return {state(), [&](int fd) { return io::send(fd, data, flags); }};
    }
    /// Sends all of it. (What two tasks send so at the same time may mix; a Stream keeps them
    /// apart.)
    /// Cancel:   what the socket had taken by then is sent, and nobody says how much that is: for
    ///           that, use `send`.
    Coro<void> send_all(ConstBuffer data) { return detail::send_whole(shared(), data); }
    /// Sends a datagram to `to`, which is copied. (An empty Address: to the connected peer.)
    detail::SocketCall<detail::MessageSend> send_to(ConstBuffer data, const Address& to,
                                                    int flags = 0);

    /// Ends one direction, or both (SHUT_RD, SHUT_WR, SHUT_RDWR), when the sends that have begun
    /// are done.
    detail::SocketCall<detail::ShutdownAwaiter> shutdown(int how) {
        return {state(), [how](int fd) { return io::shutdown(fd, how); }};
    }
    /// Returns:  the events that hold (POLLIN, POLLOUT, POLLERR, POLLHUP).
    detail::SocketCall<detail::ReadyAwaiter> wait_readable() {
        return {state(), [](int fd) { return weft::wait_readable(fd); }};
    }
    detail::SocketCall<detail::ReadyAwaiter> wait_writable() {
        return {state(), [](int fd) { return weft::wait_writable(fd); }};
    }

    /// Ends the calls that wait (ECANCELED) and closes. Idempotent.
    /// Cancel:   runs to its end all the same.
    Coro<void> close() { return detail::close_socket(shared()); }
    bool is_closed() const noexcept { return !state_ || !state_->fd; }
    /// Gives the descriptor away, to a Stream or a Datagram for instance; this is closed then.
    /// Throws:   RuntimeError while a call waits: it would go on using the number.
    [[nodiscard]] Fd detach();

    /// `socket.set_option(SOL_SOCKET, SO_REUSEADDR, 1)`
    /// Throws:   std::system_error (setsockopt).
    template <class T>
    void set_option(int level, int name, const T& value) {
        detail::set_socket_option(fd(), level, name, &value, sizeof value);
    }
    /// `socket.option<int>(SOL_SOCKET, SO_TYPE)`
    /// Throws:   std::system_error (getsockopt).
    template <class T>
    T option(int level, int name) const {
        T value{};
        detail::get_socket_option(fd(), level, name, &value, sizeof value);
        return value;
    }
    /// Throws:   std::system_error (getsockname).
    Address local_address() const { return Address::of_socket(fd()); }
    /// Throws:   std::system_error (getpeername; ENOTCONN when it is not connected).
    Address peer_address() const { return Address::of_peer(fd()); }
    /// For calls that are missing here. Negative once it is closed.
    int fd() const { return state().fd.get(); }

private:
    detail::SocketState& state() const {
        if (!state_) [[unlikely]]
            detail::throw_runtime_error("weft: an empty Socket: it was moved from");
        return *state_;
    }
    detail::Ref<detail::SocketState> shared() const {
        return detail::Ref<detail::SocketState>::to(state());
    }
    void let_go() noexcept;

    detail::Ref<detail::SocketState> state_;
};

/// A connection out of `Socket::accept`.
struct AcceptedSocket {
    // User-provided: g++ 12 destroys aggregate temporaries of awaiting expressions twice.
    AcceptedSocket(Fd connection, const Address& from)
        : socket(std::move(connection)), peer(from) {}
    Socket socket;
    Address peer;  ///< without a path for an unnamed Unix socket
};

namespace detail {

class SocketAccept : public SocketCall<AcceptAwaiter> {
public:
    explicit SocketAccept(SocketState& of)
        : SocketCall(of, [](int fd) { return io::accept(fd); }) {}
    AcceptedSocket await_resume() {
        io::Accepted accepted = SocketCall::await_resume();
        return AcceptedSocket(std::move(accepted.fd), accepted.peer);
    }
};

class [[nodiscard]] MessageReceive final : public MessageWait {
public:
    MessageReceive(int socket, MutableBuffer into, int message_flags) noexcept
        : MessageWait(OpCode::recvmsg, socket, into.data(), into.size(), message_flags) {
        message_.msg_name = from_.data();
        message_.msg_namelen = *from_.size_for_filling();
    }
    ReceivedDatagram await_resume() const {
        const std::size_t size = transferred();
        return ReceivedDatagram(size, part_.iov_len,
                                Address::from(from_.data(), message_.msg_namelen));
    }

private:
    Address from_;
};

class [[nodiscard]] MessageSend final : public MessageWait {
public:
    MessageSend(int socket, ConstBuffer data, const Address& to, int message_flags) noexcept
        : MessageWait(OpCode::sendmsg, socket, const_cast<void*>(data.data()), data.size(),
                      message_flags),
          to_(to) {
        if (to_.size() == 0) return;
        message_.msg_name = to_.data();
        message_.msg_namelen = to_.size();
    }
    std::size_t await_resume() const {
        check_leftover();
        if (failed()) [[unlikely]]
            throw_system_error(-result, to_.size() == 0 ? fd_text("sendmsg", fd)
                                                        : concat({"sendmsg ", to_.to_string()}));
        return transferred();
    }

private:
    Address to_;
};

}  // namespace detail

inline detail::SocketAccept Socket::accept() { return detail::SocketAccept(state()); }
inline detail::SocketCall<detail::MessageSend> Socket::send_to(ConstBuffer data, const Address& to,
                                                               int flags) {
    flags &= ~MSG_WAITALL;  // (as in `io::send`)
    return {state(), [&](int fd) { return detail::MessageSend(fd, data, to, flags); }};
}
inline detail::SocketCall<detail::MessageReceive> Socket::recv_from(MutableBuffer buffer,
                                                                    int flags) {
    // MSG_TRUNC: the result is what the datagram had. (A TCP socket would throw the bytes away.)
    if (option<int>(SOL_SOCKET, SO_TYPE) != SOCK_STREAM) flags |= MSG_TRUNC;
    return {state(), [&](int fd) { return detail::MessageReceive(fd, buffer, flags); }};
}

#if WEFT_BODIES
[[gnu::cold]] WEFT_INLINE Socket::Socket(int family, int type, int protocol)
    : Socket(detail::not_standard(Fd(::socket(family, type | SOCK_CLOEXEC, protocol)))) {
    if (!state_->fd) {
        detail::throw_system_error(
            errno,
            detail::concat({"socket of family ", detail::decimal(family), ", type ",
                            detail::decimal(type), ", protocol ", detail::decimal(protocol)}));
    }
}

[[gnu::cold]] WEFT_INLINE std::pair<Socket, Socket> Socket::pair(int type) {
    int ends[2];
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0)
        detail::throw_system_error(errno, "socketpair");
    Fd first = detail::not_standard(Fd(ends[0]));
    Fd second = detail::not_standard(Fd(ends[1]));
    return {Socket(std::move(first)), Socket(std::move(second))};
}

[[gnu::cold]] WEFT_INLINE void Socket::bind(const Address& local) {
    if (::bind(fd(), local.data(), local.size()) != 0)
        detail::throw_system_error(errno, detail::concat({"bind ", local.to_string()}));
}
[[gnu::cold]] WEFT_INLINE void Socket::listen(int backlog) {
    if (::listen(fd(), backlog) == 0) return;
    const int error = errno;
    Address local;
    ::getsockname(fd(), local.data(), local.size_for_filling());
    const std::string at = local.to_string();
    detail::throw_system_error(
        error, at.empty() ? detail::fd_text("listen", fd()) : detail::concat({"listen ", at}));
}

WEFT_INLINE Coro<std::string> detail::receive_text(Ref<SocketState> held, std::size_t count,
                                                   int flags) {
    std::string text(count, '\0');
    const std::size_t got = co_await io::recv(held->fd.get(), text, flags);
    text.resize(got);
    co_return text;
}

WEFT_INLINE Coro<void> detail::send_whole(Ref<SocketState> held, ConstBuffer data) {
    for (std::size_t done = 0; done < data.size();) {
        const auto* const bytes = static_cast<const char*>(data.data());
        const ConstBuffer rest(bytes + done, data.size() - done);
        if (done > 0 && !held->fd)
            throw_system_error(ECANCELED, "send on a socket that was closed meanwhile");
        done += co_await io::send(held->fd.get(), rest);
    }
}

WEFT_INLINE Coro<void> detail::close_socket(Ref<SocketState> held) {
    if (held->fd) co_await io::close(std::move(held->fd));
}

[[gnu::cold]] WEFT_INLINE Fd Socket::detach() {
    if (state().is_shared())
        detail::throw_runtime_error("weft: Socket::detach while a call on it waits");
    return std::move(state_->fd);
}

WEFT_INLINE void Socket::let_go() noexcept {
    if (!state_ || !state_->is_shared() || !state_->fd) return;
    EventLoop* const loop = EventLoop::running();
    // (Without one nobody waits: its frames are being destroyed.)
    if (loop) detail::DetachedClose::begin(*loop, state_->fd);
}
#endif

}  // namespace weft
