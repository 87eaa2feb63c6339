// SPDX-License-Identifier: MIT
// Datagram: a socket whose messages arrive whole or not at all: UDP, or Unix datagrams.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "../base/buffer.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "../base/ref.hpp"
#include "../task/coro.hpp"
#include "address.hpp"
#include "detail/datagram_wait.hpp"
#include "detail/multicast.hpp"
#include "io.hpp"

namespace weft {
/// How a datagram socket is made.
struct DatagramOptions {
    bool reuse_address = false;  ///< SO_REUSEADDR: several sockets share a multicast port
    bool reuse_port = false;     ///< SO_REUSEPORT: the kernel spreads senders over the sockets
    bool broadcast = false;      ///< SO_BROADCAST: may send to broadcast addresses
    bool v6_only = false;        ///< IPV6_V6ONLY: a socket on :: does not take IPv4 as well
    int receive_buffer = 0;      ///< SO_RCVBUF in bytes; 0: the system's default
    int send_buffer = 0;         ///< SO_SNDBUF in bytes; 0: the system's default
};

/// What a receive has brought.
struct ReceivedDatagram {
    // User-provided: g++ 12 destroys aggregate temporaries of awaiting expressions twice.
    ReceivedDatagram() noexcept {}
    ReceivedDatagram(std::size_t whole, std::size_t room, const Address& sender) noexcept
        : size(whole < room ? whole : room), length(whole), from(sender) {}

    std::size_t size = 0;    ///< bytes in the buffer
    std::size_t length = 0;  ///< bytes that the datagram had
    Address from;            ///< without a path for an unnamed Unix socket
    /// The buffer was too small: what did not fit is lost.
    bool truncated() const noexcept { return length > size; }
};

/// A datagram socket. Any number of tasks may send; receives are served in the order in which they
/// began, a datagram each.
///
/// On a connected UDP socket the kernel tells of an earlier datagram that nobody wanted (an ICMP
/// "port unreachable") with whatever call comes next. Here such a refusal is told to a receive
/// alone: the one that waits, or the next one. A send is about its own datagram: it is sent, even
/// if an earlier one was refused.
/// Throws:   RuntimeError once it was moved from, from everything but `is_closed`.
/// Thread:   loop thread only.
class Datagram {
public:
    /// Takes over a datagram socket.
    explicit Datagram(Fd socket);
    /// A socket that receives at `local` (port 0: one of the kernel's choice).
    /// Throws:   std::system_error (socket, setsockopt, bind ADDRESS).
    static Datagram bind(const Address& local, const DatagramOptions& options = {});
    /// A socket that sends to `peer` and receives from there alone. Nothing is sent yet.
    /// Throws:   std::system_error (socket, setsockopt, connect ADDRESS).
    static Datagram connect(const Address& peer, const DatagramOptions& options = {});
    /// Two Unix datagram sockets that are connected to each other.
    static std::pair<Datagram, Datagram> pair();

    Datagram(Datagram&&) noexcept;
    Datagram& operator=(Datagram&&) noexcept;
    /// Ends waiting sends and receives (ECANCELED) and closes.
    ~Datagram();

    /// Receives the next datagram; what does not fit into `buffer` is lost, and told.
    /// Throws:   std::system_error (recv, recvmsg; ECONNREFUSED: the connected peer did not want an
    ///           earlier datagram of ours); CancelledError.
    /// Cancel:   lossless: a datagram is returned or none was taken.
    /// Lifetime: `buffer` outlives the await, a cancelled one included.
    /// Source:   recvmsg(2) with MSG_TRUNC; IORING_OP_RECVMSG, Linux 5.3. On a socket that `connect`
    ///           has made recv(2) and IORING_OP_RECV, which are faster.
    detail::DatagramReceive receive_from(MutableBuffer buffer);
    /// The same when there is one already; empty: there is none.
    std::optional<ReceivedDatagram> try_receive_from(MutableBuffer buffer);

    /// Sends `data` as one datagram to the connected peer; suspends while the socket has no room.
    /// Throws:   std::system_error (send; EMSGSIZE: too long; EDESTADDRREQ: not connected);
    ///           CancelledError.
    /// Cancel:   lossless: sent whole, or not at all.
    /// Lifetime: `data` outlives the await, a cancelled one included.
    /// Source:   send(2); IORING_OP_SEND, Linux 5.6.
    detail::DatagramSend send(ConstBuffer data);
    /// The same to `to`, which is copied. (An empty Address: to the connected peer.)
    /// Source:   sendmsg(2); IORING_OP_SENDMSG, Linux 5.3.
    detail::DatagramSend send_to(ConstBuffer data, const Address& to);

    /// One place of a batch: where a datagram goes, and what it was.
    struct Slot {
        explicit Slot(MutableBuffer into) noexcept : buffer(into) {}
        MutableBuffer buffer;
        ReceivedDatagram received;
    };
    /// One datagram of a batch that is sent.
    struct Message {
        Message(ConstBuffer bytes, const Address& destination) noexcept
            : data(bytes), to(destination) {}
        ConstBuffer data;
        Address to;  ///< an empty Address: the connected peer
    };
    /// Receives as many datagrams as there are, at least one and `slots.size()` at most, in a
    /// single call: for servers with many small ones.
    /// Returns:  how many slots were filled, from the first on.
    /// Throws:   like `receive_from`.
    /// Cancel:   lossless, like `receive_from`.
    /// Lifetime: the slots, their buffers and this Datagram outlive the await.
    /// Source:   recvmmsg(2) after a wait for readiness, on both backends.
    Coro<std::size_t> receive_batch(std::span<Slot> slots);
    /// Sends all of `messages`, many in a call.
    /// Throws:   std::system_error (sendmmsg): those before it are sent; CancelledError.
    /// Cancel:   those that the kernel has taken are sent.
    /// Returns:  how many were sent: all of them.
    /// Source:   sendmmsg(2) after a wait for readiness, on both backends.
    Coro<std::size_t> send_batch(std::span<const Message> messages);

    /// Receives what is sent to `group` too. `interface`: a name ("eth0"); empty for that of the
    /// address ("ff02::fb%eth0"), or else for the system's choice.
    /// Throws:   std::system_error (setsockopt GROUP; ENODEV: no such interface).
    /// Source:   IP_ADD_MEMBERSHIP, ip(7); IPV6_JOIN_GROUP, ipv6(7).
    void join_group(const Address& group, const std::string& interface = {});
    void leave_group(const Address& group, const std::string& interface = {});
    /// How far multicast datagrams go (1: this network), whether this host gets them too, and by
    /// which interface they leave (a name; empty: as routed).
    void set_multicast(int hops, bool loopback = true, const std::string& interface = {});

    /// From now on `send` goes to `peer`, and only what comes from there is received. (A receive
    /// that waits meanwhile on a socket which `connect` has made does not know from which of the
    /// two its datagram is: its `from` is empty.)
    void connect_to(const Address& peer);
    /// Ends waiting sends and receives (ECANCELED) and closes. Idempotent.
    /// Cancel:   runs to its end all the same.
    Coro<void> close() { return close(detail::Ref<detail::DatagramState>::to(state())); }
    bool is_closed() const noexcept;
    Address local_address() const { return Address::of_socket(fd()); }
    /// Throws:   std::system_error (getpeername; ENOTCONN when it is not connected).
    Address peer_address() const { return Address::of_peer(fd()); }
    /// For socket options and low-level operations; to connect it there is `connect_to`.
    int fd() const;

private:
    // On the state, which it holds: the Datagram may move or go before it begins.
    static Coro<void> close(detail::Ref<detail::DatagramState> held);
    detail::DatagramState& state() const;

    detail::Ref<detail::DatagramState> state_;
};

inline detail::DatagramReceive Datagram::receive_from(MutableBuffer buffer) {
    return detail::DatagramReceive(state(), buffer);
}
inline detail::DatagramSend Datagram::send(ConstBuffer data) {
    return detail::DatagramSend(state(), data, nullptr);
}
inline detail::DatagramSend Datagram::send_to(ConstBuffer data, const Address& to) {
    return detail::DatagramSend(state(), data, &to);
}

inline ReceivedDatagram detail::DatagramReceive::await_resume() {
    check_leftover();
    if (failed()) [[unlikely]]
        fail(-result, nullptr);
    const std::size_t whole = transferred();
    if (code == OpCode::recv) return ReceivedDatagram(whole, part_.iov_len, state_->peer);
    const socklen_t room = *from_.size_for_filling();
    *from_.size_for_filling() = std::min(message_.msg_namelen, room);
    return ReceivedDatagram(whole, part_.iov_len, from_);
}

#if WEFT_BODIES
namespace detail {

[[gnu::cold]] inline Fd datagram_socket(const Address& address, const DatagramOptions& options) {
    const int family = address.family();
    Fd socket = not_standard(Fd(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0)));
    if (!socket) throw_system_error(errno, concat({"socket for ", address.to_string()}));
    const int fd = socket.get();
    const int on = 1;
    if (options.reuse_address) set_option(fd, SOL_SOCKET, SO_REUSEADDR, on, "SO_REUSEADDR");
    if (options.reuse_port) set_option(fd, SOL_SOCKET, SO_REUSEPORT, on, "SO_REUSEPORT");
    if (options.broadcast) set_option(fd, SOL_SOCKET, SO_BROADCAST, on, "SO_BROADCAST");
    if (family == AF_INET6) {
        const int alone = options.v6_only;
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, alone, "IPV6_V6ONLY");
    }
    if (options.receive_buffer > 0)
        set_option(fd, SOL_SOCKET, SO_RCVBUF, options.receive_buffer, "SO_RCVBUF");
    if (options.send_buffer > 0)
        set_option(fd, SOL_SOCKET, SO_SNDBUF, options.send_buffer, "SO_SNDBUF");
    return socket;
}

}  // namespace detail

WEFT_INLINE Datagram::Datagram(Fd socket) : state_(new detail::DatagramState(std::move(socket))) {}
WEFT_INLINE Datagram::Datagram(Datagram&&) noexcept = default;
WEFT_INLINE Datagram& Datagram::operator=(Datagram&& other) noexcept {
    if (this != &other) {
        if (state_) state_->end_waits();
        state_ = std::move(other.state_);
    }
    return *this;
}
WEFT_INLINE Datagram::~Datagram() {
    if (state_) state_->end_waits();
}

[[gnu::cold]] WEFT_INLINE Datagram Datagram::bind(const Address& local,
                                                  const DatagramOptions& options) {
    Fd socket = detail::datagram_socket(local, options);
    if (::bind(socket.get(), local.data(), local.size()) != 0)
        detail::throw_system_error(errno, detail::concat({"bind ", local.to_string()}));
    return Datagram(std::move(socket));
}

[[gnu::cold]] WEFT_INLINE Datagram Datagram::connect(const Address& peer,
                                                     const DatagramOptions& options) {
    Datagram datagram(detail::datagram_socket(peer, options));
    datagram.connect_to(peer);
    if (peer.family() != AF_UNIX) {
        // It got its number a moment before its peer: what others have sent meanwhile goes, and
        // from now on nobody has to be asked where a datagram has come from.
        char byte;
        while (::recv(datagram.fd(), &byte, 1, MSG_DONTWAIT) >= 0) {
        }
        datagram.state_->peer = datagram.peer_address();
    }
    return datagram;
}

[[gnu::cold]] WEFT_INLINE std::pair<Datagram, Datagram> Datagram::pair() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) != 0)
        detail::throw_system_error(errno, "socketpair");
    Fd first = detail::not_standard(Fd(ends[0]));
    Fd second = detail::not_standard(Fd(ends[1]));
    return {Datagram(std::move(first)), Datagram(std::move(second))};
}

WEFT_INLINE detail::DatagramState& Datagram::state() const {
    if (!state_) [[unlikely]]
        detail::throw_runtime_error("weft: an empty Datagram: it was moved from");
    return *state_;
}
WEFT_INLINE int Datagram::fd() const { return state().socket.get(); }
WEFT_INLINE bool Datagram::is_closed() const noexcept { return !state_ || !state_->socket; }

WEFT_INLINE std::optional<ReceivedDatagram> Datagram::try_receive_from(MutableBuffer buffer) {
    if (const int error = std::exchange(state().refusal, 0); error != 0) {
        const std::string what =
            detail::concat({"recvmsg ", detail::datagram_object(fd(), nullptr)});
        detail::throw_system_error(error, what);
    }
    Address from;
    const ssize_t whole = detail::uninterrupted([&] {
        return static_cast<int>(::recvfrom(fd(), buffer.data(), buffer.size(),
                                           MSG_TRUNC | MSG_DONTWAIT, from.data(),
                                           from.size_for_filling()));
    });
    if (whole >= 0) return ReceivedDatagram(static_cast<std::size_t>(whole), buffer.size(), from);
    if (errno == EAGAIN) return std::nullopt;
    const int error = errno;
    detail::throw_system_error(
        error, detail::concat({"recvfrom ", detail::datagram_object(fd(), nullptr)}));
}

WEFT_INLINE Coro<std::size_t> Datagram::receive_batch(std::span<Slot> slots) {
    const detail::Ref<detail::DatagramState> held = detail::Ref<detail::DatagramState>::to(state());
    if (slots.empty()) co_return 0;
    std::vector<mmsghdr> headers(slots.size());
    std::vector<iovec> parts(slots.size());
    for (std::size_t index = 0; index < slots.size(); ++index) {
        parts[index] = {slots[index].buffer.data(), slots[index].buffer.size()};
        msghdr& header = headers[index].msg_hdr;
        header.msg_iov = &parts[index];
        header.msg_iovlen = 1;
        header.msg_name = slots[index].received.from.data();
        header.msg_namelen = *slots[index].received.from.size_for_filling();
    }
    for (;;) {
        const int fd = held->socket.get();
        int count = -1;
        if (const int error = std::exchange(held->refusal, 0); error != 0) {
            errno = error;
        } else {
            count = detail::uninterrupted([&] {
                return ::recvmmsg(fd, headers.data(), static_cast<unsigned>(headers.size()),
                                  MSG_DONTWAIT | MSG_TRUNC, nullptr);
            });
        }
        if (count < 0 && errno != EAGAIN) {
            const int error = errno;
            detail::throw_system_error(
                error, detail::concat({"recvmmsg ", detail::datagram_object(fd, nullptr)}));
        }
        if (count >= 0) {
            for (std::size_t index = 0; index < static_cast<std::size_t>(count); ++index) {
                ReceivedDatagram& received = slots[index].received;
                received = ReceivedDatagram(
                    headers[index].msg_len, parts[index].iov_len,
                    Address::from(received.from.data(), headers[index].msg_hdr.msg_namelen));
            }
            co_return static_cast<std::size_t>(count);
        }
        co_await wait_readable(fd);
    }
}

WEFT_INLINE Coro<std::size_t> Datagram::send_batch(std::span<const Message> messages) {
    const detail::Ref<detail::DatagramState> held = detail::Ref<detail::DatagramState>::to(state());
    std::vector<mmsghdr> headers(messages.size());
    std::vector<iovec> parts(messages.size());
    for (std::size_t index = 0; index < messages.size(); ++index) {
        const Message& message = messages[index];
        parts[index] = {const_cast<void*>(message.data.data()), message.data.size()};
        msghdr& header = headers[index].msg_hdr;
        header.msg_iov = &parts[index];
        header.msg_iovlen = 1;
        if (message.to.size() == 0) continue;
        header.msg_name = const_cast<sockaddr*>(message.to.data());
        header.msg_namelen = message.to.size();
    }
    int failures = 0;  // on end
    for (std::size_t sent = 0; sent < messages.size();) {
        const int fd = held->socket.get();
        const int count = detail::uninterrupted([&] {
            return ::sendmmsg(fd, headers.data() + sent,
                              static_cast<unsigned>(headers.size() - sent),
                              MSG_DONTWAIT | MSG_NOSIGNAL);
        });
        if (count >= 0) {
            sent += static_cast<std::size_t>(count);
            failures = 0;
        } else if (errno == EAGAIN) {
            co_await wait_writable(fd);
        } else {
            const int error = errno;
            const bool is_connected = headers[sent].msg_hdr.msg_name == nullptr;
            if (is_connected && held->is_of_earlier(error, ++failures)) continue;
            const Address& to = messages[sent].to;
            detail::throw_system_error(
                error, detail::concat({"sendmmsg ", detail::datagram_object(
                                                        fd, to.size() > 0 ? &to : nullptr)}));
        }
    }
    co_return messages.size();
}

[[gnu::cold]] WEFT_INLINE void Datagram::join_group(const Address& group,
                                                    const std::string& interface) {
    detail::change_group(fd(), group, interface, true);
}
[[gnu::cold]] WEFT_INLINE void Datagram::leave_group(const Address& group,
                                                     const std::string& interface) {
    detail::change_group(fd(), group, interface, false);
}

[[gnu::cold]] WEFT_INLINE void Datagram::set_multicast(int hops, bool loopback,
                                                       const std::string& interface) {
    const int index = static_cast<int>(detail::interface_index(interface));
    const int loop = loopback;
    if (local_address().family() == AF_INET6) {
        detail::set_option(fd(), IPPROTO_IPV6, IPV6_MULTICAST_HOPS, hops, "IPV6_MULTICAST_HOPS");
        detail::set_option(fd(), IPPROTO_IPV6, IPV6_MULTICAST_LOOP, loop, "IPV6_MULTICAST_LOOP");
        detail::set_option(fd(), IPPROTO_IPV6, IPV6_MULTICAST_IF, index, "IPV6_MULTICAST_IF");
        return;
    }
    ip_mreqn request{};
    request.imr_ifindex = index;
    detail::set_option(fd(), IPPROTO_IP, IP_MULTICAST_TTL, hops, "IP_MULTICAST_TTL");
    detail::set_option(fd(), IPPROTO_IP, IP_MULTICAST_LOOP, loop, "IP_MULTICAST_LOOP");
    detail::set_option(fd(), IPPROTO_IP, IP_MULTICAST_IF, request, "IP_MULTICAST_IF");
}

[[gnu::cold]] WEFT_INLINE void Datagram::connect_to(const Address& peer) {
    state().peer = Address();
    if (::connect(fd(), peer.data(), peer.size()) != 0)
        detail::throw_system_error(errno, detail::concat({"connect ", peer.to_string()}));
}

WEFT_INLINE Coro<void> Datagram::close(detail::Ref<detail::DatagramState> held) {
    if (held->socket) co_await io::close(std::move(held->socket));
}
#endif

}  // namespace weft
