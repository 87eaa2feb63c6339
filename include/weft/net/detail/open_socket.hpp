// SPDX-License-Identifier: MIT
// Sockets for streams: how they are made.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../address.hpp"

namespace weft::detail {

/// For `address`, which the error names.
[[gnu::cold, gnu::noinline]] inline Fd open_socket(const Address& address, int flags = 0) {
    Fd socket = not_standard(Fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | flags, 0)));
    if (!socket) throw_system_error(errno, concat({"socket for ", address.to_string()}));
    return socket;
}

/// Small messages leave at once: what every protocol that answers requests wants. (asyncio does
/// the same.) Not a TCP socket: nothing to do.
inline void set_no_delay(int fd, int family) noexcept {
    const int on = 1;
    if (family == AF_INET || family == AF_INET6) {
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
}

inline void set_keep_alive(int fd) noexcept {
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

/// So that the port is chosen when the socket connects, and may be one that goes elsewhere from
/// here already (IP_BIND_ADDRESS_NO_PORT, Linux 4.2).
[[gnu::cold, gnu::noinline]] inline void bind_to(int fd, const Address& local) {
    const int on = 1;
    if (local.port() == 0 && local.family() != AF_UNIX) {
        ::setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    }
    if (::bind(fd, local.data(), local.size()) != 0) {
        throw_system_error(errno, concat({"bind ", local.to_string()}));
    }
}

}  // namespace weft::detail
