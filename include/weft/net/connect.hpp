// SPDX-License-Identifier: MIT
// open_connection: a name and a port become a connected Stream.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "../task/coro.hpp"
#include "address.hpp"
#include "io.hpp"
#include "resolve.hpp"
#include "stream.hpp"

namespace weft {
namespace detail {

inline Fd open_socket(int family, int flags = 0) {
    Fd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
    if (!socket) throw_system_error(errno, "socket");
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

}  // namespace detail

/// Connects to an address.
/// Throws:   std::system_error (socket, connect); CancelledError.
/// Cancel:   the socket is closed, connected or not.
Coro<Stream> open_connection(Address to);

/// Looks up `host` and connects to the first of its addresses that answers.
/// Throws:   std::system_error (getaddrinfo; connect: of the last address tried); CancelledError.
/// Cancel:   as above, also while the name is looked up.
Coro<Stream> open_connection(std::string host, std::uint16_t port);

#if WEFT_BODIES
WEFT_INLINE Coro<Stream> open_connection(Address to) {
    Fd socket = detail::open_socket(to.family());
    co_await io::connect(socket.get(), to);
    detail::set_no_delay(socket.get(), to.family());
    co_return Stream(std::move(socket));
}

WEFT_INLINE Coro<Stream> open_connection(std::string host, std::uint16_t port) {
    const std::vector<Address> addresses = co_await getaddrinfo(std::move(host), port);
    std::exception_ptr failure;
    for (const Address& address : addresses) {
        try {
            Stream stream = co_await open_connection(address);
            co_return stream;
        } catch (const std::system_error&) {
            failure = std::current_exception();
        }
    }
    if (!failure) detail::throw_system_error(EHOSTUNREACH, "getaddrinfo found no address");
    std::rethrow_exception(failure);
}
#endif

}  // namespace weft
