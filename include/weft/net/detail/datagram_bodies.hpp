// SPDX-License-Identifier: MIT
// Datagram: what is no template and on nobody's hot path.
#pragma once

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <exception>
#include <system_error>
#include <vector>

#include "../datagram.hpp"
#include "../io.hpp"
#include "../resolve.hpp"

namespace weft {
namespace detail {

[[gnu::cold]] WEFT_INLINE void DatagramState::end_waits() noexcept {
    waiting.for_each([](DatagramWait& wait) { wait.end(); });
}

/// The object of an error: who it went to, or where the socket is.
[[gnu::cold]] inline std::string datagram_object(int fd, const Address* to) {
    if (to) return to->to_string();
    Address address;
    const auto named = [&](int (*call)(int, sockaddr*, socklen_t*)) {
        return call(fd, address.data(), address.size_for_filling()) == 0;
    };
    if (named(&::getpeername) || named(&::getsockname)) return address.to_string();
    return concat({"fd ", decimal(fd)});
}

[[noreturn, gnu::cold]] WEFT_INLINE void DatagramWait::fail(int error, const Address* to) const {
    throw_system_error(error,
                       concat({name_of(code), " ", datagram_object(state_->socket.get(), to)}));
}

/// On a connected socket the kernel answers with the error that an ICMP message has brought for an
/// earlier datagram, and sends nothing. An error of this very call (no route, say) comes again.
[[gnu::cold]] WEFT_INLINE bool DatagramSend::is_of_earlier_datagram() noexcept {
    const int error = -result;
    const bool from_afar = error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH ||
                           error == EHOSTDOWN || error == ENOPROTOOPT || error == EPROTO;
    if (!from_afar || asked_ || tries_left_ == 0) return false;
    --tries_left_;
    state_->refusal = error;
    fd = state_->socket.get();
    return fd >= 0;
}

template <class Value>
void set_option(int fd, int level, int name, const Value& value, const char* what) {
    if (::setsockopt(fd, level, name, &value, sizeof value) != 0)
        throw_system_error(errno, concat({"setsockopt ", what}));
}

[[gnu::cold]] inline Fd datagram_socket(int family, const DatagramOptions& options) {
    Fd socket(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket) throw_system_error(errno, "socket");
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

[[gnu::cold]] inline unsigned interface_index(const std::string& name) {
    if (name.empty()) return 0;
    if (name.find('\0') != std::string::npos) throw_system_error(EINVAL, "interface name");
    const unsigned index = ::if_nametoindex(name.c_str());
    if (index == 0) throw_system_error(errno, concat({"interface '", name, "'"}));
    return index;
}

/// Joins or leaves, which differ in the number of the option alone.
[[gnu::cold]] inline void change_group(int fd, const Address& group, const std::string& interface,
                                       bool join) {
    const unsigned index = interface_index(interface);
    int result = 0;
    if (group.family() == AF_INET) {
        ip_mreqn request{};
        request.imr_multiaddr = reinterpret_cast<const sockaddr_in*>(group.data())->sin_addr;
        request.imr_ifindex = static_cast<int>(index);
        result = ::setsockopt(fd, IPPROTO_IP, join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP,
                              &request, sizeof request);
    } else if (group.family() == AF_INET6) {
        ipv6_mreq request{};
        request.ipv6mr_multiaddr = reinterpret_cast<const sockaddr_in6*>(group.data())->sin6_addr;
        request.ipv6mr_interface = index;
        result = ::setsockopt(fd, IPPROTO_IPV6, join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP, &request,
                              sizeof request);
    } else {
        errno = EAFNOSUPPORT;
        result = -1;
    }
    if (result != 0) {
        throw_system_error(errno,
                           concat({join ? "join group " : "leave group ", group.to_string()}));
    }
}

/// What `call()` answers when no signal interrupts it.
template <class Call>
int uninterrupted(Call call) {
    int result = 0;
    do {
        result = call();
    } while (result < 0 && errno == EINTR);
    return result;
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
    Fd socket = detail::datagram_socket(local.family(), options);
    if (::bind(socket.get(), local.data(), local.size()) != 0)
        detail::throw_system_error(errno, detail::concat({"bind ", local.to_string()}));
    return Datagram(std::move(socket));
}

[[gnu::cold]] WEFT_INLINE Datagram Datagram::connect(const Address& peer,
                                                     const DatagramOptions& options) {
    Datagram datagram(detail::datagram_socket(peer.family(), options));
    datagram.connect_to(peer);
    return datagram;
}

[[gnu::cold]] WEFT_INLINE std::pair<Datagram, Datagram> Datagram::pair() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) != 0)
        detail::throw_system_error(errno, "socketpair");
    Fd first(ends[0]);
    Fd second(ends[1]);
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
    int refusals = 0;  // of earlier datagrams, that stood before one of ours
    for (std::size_t sent = 0; sent < messages.size();) {
        const int fd = held->socket.get();
        const int count = detail::uninterrupted([&] {
            return ::sendmmsg(fd, headers.data() + sent,
                              static_cast<unsigned>(headers.size() - sent),
                              MSG_DONTWAIT | MSG_NOSIGNAL);
        });
        if (count >= 0) {
            sent += static_cast<std::size_t>(count);
            refusals = 0;
        } else if (errno == EAGAIN) {
            co_await wait_writable(fd);
        } else if (errno == ECONNREFUSED && headers[sent].msg_hdr.msg_name == nullptr &&
                   ++refusals < 3) {
            held->refusal = ECONNREFUSED;
        } else {
            const int error = errno;
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
    if (::connect(fd(), peer.data(), peer.size()) != 0)
        detail::throw_system_error(errno, detail::concat({"connect ", peer.to_string()}));
}

WEFT_INLINE Coro<void> Datagram::close() {
    const detail::Ref<detail::DatagramState> held = detail::Ref<detail::DatagramState>::to(state());
    if (held->socket) co_await io::close(std::move(held->socket));
}

namespace detail {

/// The first of `host`'s addresses for which `make` does not fail.
inline Coro<Datagram> first_datagram(std::string host, std::uint16_t port, DatagramOptions options,
                                     Datagram (*make)(const Address&, const DatagramOptions&)) {
    const std::vector<Address> addresses = co_await getaddrinfo(std::move(host), port);
    std::exception_ptr failure;
    for (const Address& address : addresses) {
        try {
            Datagram datagram = make(address, options);
            co_return datagram;
        } catch (const std::system_error&) {
            failure = std::current_exception();
        }
    }
    if (!failure) throw_system_error(EHOSTUNREACH, "getaddrinfo found no address");
    std::rethrow_exception(failure);
}

}  // namespace detail

WEFT_INLINE Coro<Datagram> bind_datagram(std::string host, std::uint16_t port,
                                         DatagramOptions options) {
    return detail::first_datagram(std::move(host), port, options, &Datagram::bind);
}
WEFT_INLINE Coro<Datagram> connect_datagram(std::string host, std::uint16_t port,
                                            DatagramOptions options) {
    return detail::first_datagram(std::move(host), port, options, &Datagram::connect);
}

}  // namespace weft
