// SPDX-License-Identifier: MIT
// How a server gets its listening sockets: one for each address of this host.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <system_error>
#include <utility>
#include <vector>

#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../base/ref.hpp"
#include "../address.hpp"
#include "open_socket.hpp"
#include "server_accept.hpp"
#include "server_state.hpp"
#include "unix_path.hpp"

namespace weft::detail {

/// What a listening socket is asked for.
struct ListenOptions {
    int backlog;
    bool reuse_port;
    bool reuse_address;
    bool starts;  // listens at once; bound alone it refuses
};

/// Throws:   std::system_error (listen), which names the address.
[[gnu::cold]] inline void listen_with(int socket, int backlog, const Address& address) {
    if (::listen(socket, backlog) != 0) {
        throw_system_error(errno, concat({"listen ", address.to_string()}));
    }
}

/// Throws:   std::system_error (socket, setsockopt, bind, listen), which names the address.
[[gnu::cold]] inline Fd listen_on(const Address& address, const ListenOptions& options) {
    const auto fail = [&address](const char* call) {
        throw_system_error(errno, concat({call, " ", address.to_string()}));
    };
    // So that it can be asked whether there are more.
    Fd socket = open_socket(address, SOCK_NONBLOCK);
    const int on = 1;
    // A restarted server must not wait for its predecessor's connections to time out.
    if ((options.reuse_address &&
         ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) ||
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
    if (options.starts) listen_with(socket.get(), options.backlog, address);
    return socket;
}

[[gnu::cold]] inline int socket_option(int socket, int name) {
    int value = 0;
    socklen_t size = sizeof value;
    if (::getsockopt(socket, SOL_SOCKET, name, &value, &size) != 0) {
        throw_system_error(errno, fd_text("start_server: getsockopt", socket));
    }
    return value;
}

/// (Who listens already keeps the queue that was asked for.)
[[gnu::cold]] inline void listen_if_needed(const ServerState::Listener& listener, int backlog) {
    if (socket_option(listener.socket.get(), SO_ACCEPTCONN) != 0) return;
    listen_with(listener.socket.get(), backlog, listener.address);
}

/// A socket that somebody else has made: another part of the program, or who has started it.
/// Throws:   std::system_error (ENOTSOCK, EINVAL for one that is no stream socket; listen).
[[gnu::cold]] inline void take_listening(ServerState::Listener& listener, Fd given,
                                         const ListenOptions& options) {
    const int socket = given.get();
    if (socket_option(socket, SO_TYPE) != SOCK_STREAM) {
        throw_system_error(EINVAL, fd_text("start_server: not a stream socket:", socket));
    }
    // (The first is a flag of the socket, which all have who hold it; the second is ours alone.)
    if (const int flags = ::fcntl(socket, F_GETFL); !(flags & O_NONBLOCK)) {
        ::fcntl(socket, F_SETFL, flags | O_NONBLOCK);
    }
    ::fcntl(socket, F_SETFD, FD_CLOEXEC);
    listener.address = Address::of_socket(socket);
    set_no_delay(socket, listener.address.family());
    listener.socket = std::move(given);
    listener.is_lent = true;
    if (options.starts) listen_if_needed(listener, options.backlog);
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

#if WEFT_BODIES
[[gnu::cold, gnu::noinline]] inline void add_new(std::vector<Address>& addresses,
                                                 const std::vector<Address>& found) {
    for (const Address& address : found) {
        bool known = false;
        for (const Address& other : addresses) known = known || other == address;
        if (!known) addresses.push_back(address);
    }
}

[[gnu::cold, gnu::noinline]] inline void listen_on_all(ServerState& state,
                                                       const std::vector<Address>& addresses,
                                                       const ListenOptions& options) {
    if (addresses.empty()) throw_system_error(EINVAL, "start_server: no host is given");
    constexpr int most_tries = 64;
    for (int tries = 1;; ++tries) {
        // Made at its full size: no growth, whose code is longer than this function.
        state.listeners = std::vector<ServerState::Listener>(addresses.size());
        if (listen_on_each(state.listeners, addresses, options)) return;
        if (tries == most_tries) {
            throw_system_error(EADDRINUSE, concat({"bind ", addresses.front().to_string(),
                                                   " and others: no port is free for all"}));
        }
    }
}

/// For a server that was made without.
[[gnu::cold, gnu::noinline]] inline void start_serving(const Ref<ServerState>& server) {
    if (server->closed) server->refuse_closed("start_serving");
    if (server->started) return;
    for (const ServerState::Listener& listener : server->listeners) {
        listen_if_needed(listener, server->backlog);
    }
    try {
        start_accepting(server);
    } catch (...) {
        server->close();
        throw;
    }
}
#endif

}  // namespace weft::detail
