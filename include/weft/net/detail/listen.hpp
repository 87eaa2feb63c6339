// SPDX-License-Identifier: MIT
// How a server gets its listening sockets: one for each address of this host.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <system_error>
#include <vector>

#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../address.hpp"
#include "open_socket.hpp"
#include "server_state.hpp"
#include "unix_path.hpp"

namespace weft::detail {

/// What a listening socket is asked for.
struct ListenOptions {
    int backlog;
    bool reuse_port;
};

/// Throws:   std::system_error (socket, setsockopt, bind, listen), which names the address.
[[gnu::cold]] inline Fd listen_on(const Address& address, const ListenOptions& options) {
    const auto fail = [&address](const char* call) {
        throw_system_error(errno, concat({call, " ", address.to_string()}));
    };
    // So that it can be asked whether there are more.
    Fd socket = open_socket(address, SOCK_NONBLOCK);
    const int on = 1;
    // A restarted server must not wait for its predecessor's connections to time out.
    if (::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        (options.reuse_port &&
         ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)) {
        fail("setsockopt");
    }
    // One socket for IPv6 and another for IPv4, with the same port where both are asked for.
    if (address.family() == AF_INET6 &&
        ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) {
        fail("setsockopt IPV6_V6ONLY");
    }
    const auto bind = [&] { return ::bind(socket.get(), address.data(), address.size()) == 0; };
    if (!bind() && !(errno == EADDRINUSE && remove_if_left_over(address) && bind())) fail("bind");
    set_no_delay(socket.get(), address.family());  // on Linux its connections have it from here
    if (::listen(socket.get(), options.backlog) != 0) fail("listen");
    return socket;
}

/// As many listeners as there are addresses of this host among `addresses`. A port that the kernel
/// is to choose is the same for all.
/// False: what it chose for the first is taken at another address.
/// Throws:   std::system_error; of addresses that the host lacks only when it lacks them all.
[[gnu::cold]] inline bool listen_on_each(std::vector<ServerState::Listener>& listeners,
                                         const std::vector<Address>& addresses,
                                         const ListenOptions& options) {
    std::uint16_t chosen = 0;
    std::size_t bound = 0;
    std::exception_ptr lacking;
    for (Address address : addresses) {
        ServerState::Listener& listener = listeners[bound];
        const bool choose = address.port() == 0;
        if (choose && chosen != 0) address.set_port(chosen);
        try {
            listener.socket = listen_on(address, options);
        } catch (const std::system_error& error) {
            const int code = error.code().value();
            if (code == EAFNOSUPPORT || code == EADDRNOTAVAIL) {  // a host without IPv6, say
                if (!lacking) lacking = std::current_exception();
                continue;
            }
            if (!choose || chosen == 0 || code != EADDRINUSE) throw;
            return false;
        }
        listener.address = Address::of_socket(listener.socket.get());
        if (choose) chosen = listener.address.port();
        ++bound;
    }
    if (bound == 0 && lacking) std::rethrow_exception(lacking);
    while (listeners.size() > bound) listeners.pop_back();
    return true;
}

}  // namespace weft::detail
