// SPDX-License-Identifier: MIT
// Two streams that are connected to each other, over a Unix socket pair and over TCP.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include <weft/base/fd.hpp>
#include <weft/net/address.hpp>
#include <weft/net/stream.hpp>

namespace support {

enum class Transport { unix_pair, tcp };

inline constexpr std::array every_transport{Transport::unix_pair, Transport::tcp};

struct StreamPair {
    StreamPair(weft::Fd a, weft::Fd b) : near(std::move(a)), far(std::move(b)) {}
    StreamPair(weft::Stream a, weft::Stream b) : near(std::move(a)), far(std::move(b)) {}
    weft::Stream near;
    weft::Stream far;
};

inline int must(int result, const char* call) {
    if (result < 0) throw std::system_error(errno, std::system_category(), call);
    return result;
}

/// Blocking calls: on the loopback interface a connection is complete before it is accepted.
inline StreamPair stream_pair(Transport transport = Transport::unix_pair) {
    if (transport == Transport::unix_pair) {
        int ends[2];
        must(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
        return StreamPair(weft::Fd(ends[0]), weft::Fd(ends[1]));
    }
    const weft::Fd listener(must(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
    const weft::Address any = weft::Address::ip("127.0.0.1", 0);
    must(::bind(listener.get(), any.data(), any.size()), "bind");
    must(::listen(listener.get(), 1), "listen");
    const weft::Address address = weft::Address::of_socket(listener.get());
    weft::Fd client(must(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
    must(::connect(client.get(), address.data(), address.size()), "connect");
    weft::Fd served(must(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept"));
    // (As connections of `open_connection` are. Virtual time does not wait for delayed ACKs.)
    const int on = 1;
    for (const int socket : {client.get(), served.get()})
        must(::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt");
    return StreamPair(std::move(client), std::move(served));
}

/// The same with receivers that keep their size: else a TCP socket's room grows while it is read,
/// and nobody can tell what does not fit any more.
inline StreamPair bounded_pair(Transport transport) {
    StreamPair pair = stream_pair(transport);
    pair.near.set_option(SOL_SOCKET, SO_RCVBUF, 1 << 18);
    pair.far.set_option(SOL_SOCKET, SO_RCVBUF, 1 << 18);
    return pair;
}

}  // namespace support
