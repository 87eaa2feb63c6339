// SPDX-License-Identifier: MIT
// bind_datagram, connect_datagram: a name and a port become a Datagram.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../task/coro.hpp"
#include "address.hpp"
#include "datagram.hpp"
#include "resolve.hpp"

namespace weft {

/// Looks `host` up and binds to the first of its addresses that can be had. An empty host: all of
/// this machine's (IPv6 and IPv4 alike where there is IPv6).
/// Throws:   std::system_error (getaddrinfo; socket, bind: of the last address); CancelledError.
Coro<Datagram> bind_datagram(std::string host, std::uint16_t port, DatagramOptions options = {});
/// Looks `host` up and connects to the first of its addresses that has a route.
/// Throws:   std::system_error (getaddrinfo; connect: of the last address); CancelledError.
Coro<Datagram> connect_datagram(std::string host, std::uint16_t port, DatagramOptions options = {});

#if WEFT_BODIES
namespace detail {

/// The first of `host`'s addresses for which `make` does not fail.
inline Coro<Datagram> first_datagram(std::string host, std::uint16_t port, DatagramOptions options,
                                     Datagram (*make)(const Address&, const DatagramOptions&)) {
    const bool anywhere = host.empty();
    std::vector<Address> addresses = co_await getaddrinfo(std::move(host), port);
    // A socket on :: takes IPv4 as well, but resolvers name it last where IPv6 leads nowhere.
    for (std::size_t at = 1; anywhere && at < addresses.size(); ++at) {
        if (addresses[0].family() == AF_INET && addresses[at].family() == AF_INET6)
            std::swap(addresses[0], addresses[at]);
    }
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
#endif

}  // namespace weft
