// SPDX-License-Identifier: MIT
// Server, start_server: accepts connections and runs a handler task for each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/callback.hpp"
#include "../base/clock.hpp"
#include "../base/config.hpp"
#include "../base/fd.hpp"
#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../task/coro.hpp"
#include "address.hpp"
#include "detail/connection_upgrade.hpp"
#include "stream.hpp"

#if WEFT_BODIES
#include <cerrno>

#include "../base/error.hpp"
#include "../runtime/loop.hpp"
#include "../task/task.hpp"
#include "detail/listen.hpp"
#include "detail/server_accept.hpp"
#include "detail/server_state.hpp"
#include "detail/server_stop.hpp"
#include "resolve.hpp"
#endif

namespace weft {

struct ServerOptions {
    ServerOptions() noexcept {}
    int backlog = 1024;         ///< connections the kernel keeps until they are accepted
    bool reuse_port = false;    ///< several processes or threads share the port (SO_REUSEPORT)
    bool reuse_address = true;  ///< a port whose last server has just gone is free (SO_REUSEADDR)
    /// So many handlers at the same time; 0: any number. Who comes when there are as many waits in
    /// the kernel's queue (see `backlog`), and is accepted when one has ended. Nobody is refused.
    std::size_t connection_limit = 0;
    bool start_serving = true;  ///< false: its port refuses until `Server::start_serving`
    /// What handlers may take when the server is stopped and nothing else is said: by `serve`, and
    /// by `Server::shutdown()`.
    Duration grace = std::chrono::seconds(10);
};

namespace detail {
struct ServerMaker;
struct ServerState;
}  // namespace detail

/// A listening server, made by `start_server` or `start_unix_server`. Letting go of it closes it:
/// no more connections are taken, those that are there go on.
/// Throws:   RuntimeError once it was moved from, from everything.
/// Thread:   loop thread only.
class Server {
public:
    Server(Server&& other) noexcept;
    Server& operator=(Server&& other) noexcept;
    ~Server();

    /// The address of the (first) listening socket; with port 0 asked for, the one that was given.
    const Address& address() const;
    std::uint16_t port() const { return address().port(); }
    /// Of all listening sockets: a host may have several, and port 0 is the same one for each.
    std::vector<Address> addresses() const;
    /// Their descriptors, for socket options; none once the server is closed.
    std::vector<int> sockets() const;
    /// How many handlers have not ended.
    std::size_t connections() const;
    /// Does it take connections: was it started, and not closed?
    bool is_serving() const;

    /// Begins to listen and to accept, for a server with `ServerOptions::start_serving` false.
    /// Idempotent.
    /// Throws:   std::system_error (listen); RuntimeError when it is closed.
    void start_serving();

    /// Takes no more connections; handlers go on. Who has connected and was not accepted yet is
    /// reset. The file of a Unix socket is removed, if it is still this server's. Idempotent.
    void close();
    /// Waits until the server is closed and its last handler has ended.
    /// Cancel:   ends the wait only.
    Coro<void> wait_closed();

    /// Serves until somebody closes the server, or the task is cancelled. Starts one that was not
    /// started. (One that cannot accept any more, because others who hold its socket have shut it
    /// down for instance, reports that and closes itself.)
    /// Throws:   RuntimeError when it is closed already; CancelledError.
    /// Cancel:   closes the server, waits until the last handler has ended, and then goes on. A
    ///           second cancel ends that wait. (Handlers that wait for clients without end are what
    ///           `shutdown` is for.)
    /// Lifetime: the Server may be moved, and go, meanwhile.
    Coro<void> serve_forever();

    /// Stops in order, and is done when the last handler has ended.
    ///
    /// 1. No more connections are taken. Those that wait to be accepted are served; they have half
    ///    of `grace` to send what they want.
    /// 2. Handlers that read from their clients find the end of the stream when they have read what
    ///    has arrived: who is idle ends, who answers a request may send what is left of it.
    /// 3. Handlers that go on after `grace` are cancelled.
    /// 4. If their clean-up takes longer than a second, their connections are aborted.
    /// Throws:   RuntimeError in a handler of this server, which would wait for itself: start it as
    ///           a task there; CancelledError.
    /// Cancel:   the handlers are cancelled at once and waited for. A second cancel ends that wait.
    /// Lifetime: the Server may be moved, and go, meanwhile.
    template <class Rep, class Period>
    Coro<void> shutdown(std::chrono::duration<Rep, Period> grace) {
        return shut_down(detail::to_limit(grace));
    }
    /// With ServerOptions::grace.
    Coro<void> shutdown();

    /// Ends the connections that were accepted and are still open. What was written still arrives,
    /// and with TLS the word that this is the end (close_notify); handlers read the end of the
    /// stream, and their writes fail (EPIPE). With TLS that is so for a write that waits for its
    /// client when the record that it is in the middle of is out: where the client does not read,
    /// after TlsOptions::shutdown_timeout, or `abort_clients`.
    void close_clients();
    /// The same at once: what was written and is not sent yet is dropped. TCP clients are told
    /// (connection reset), reads of handlers fail (ECONNRESET or the end).
    void abort_clients();

private:
    friend struct detail::ServerMaker;
    explicit Server(detail::Ref<detail::ServerState> state) noexcept;
    detail::ServerState& state() const;
    Coro<void> shut_down(detail::Nanoseconds grace);

    detail::Ref<detail::ServerState> state_;
};

namespace detail {

using ConnectionHandler = Callback<Coro<void>(Stream)>;

// The untyped rest of the functions below.
Coro<Server> start_server(ConnectionHandler handler, std::string host, std::uint16_t port,
                          ServerOptions options, ConnectionUpgrade upgrade = {});
Coro<Server> start_server(ConnectionHandler handler, std::vector<std::string> hosts,
                          std::uint16_t port, ServerOptions options,
                          ConnectionUpgrade upgrade = {});
Coro<Server> start_server(ConnectionHandler handler, std::vector<Fd> listening,
                          ServerOptions options, ConnectionUpgrade upgrade = {});
Coro<Server> start_unix_server(ConnectionHandler handler, std::string path, ServerOptions options,
                               ConnectionUpgrade upgrade = {});

// What is none is refused here and not by a constraint: the message is then the only one.
template <class Handler>
ConnectionHandler as_handler(Handler& handler) {
    if constexpr (std::is_invocable_r_v<Coro<void>, Handler&, Stream>) {
        return ConnectionHandler(std::move(handler));
    } else {
        static_assert(always_false<Handler>,
                      "weft: the handler of a server takes a Stream and returns a Coro<void>: "
                      "[](weft::Stream client) -> weft::Coro<void> { ... }");
        return ConnectionHandler();
    }
}

}  // namespace detail

/// Listens on `host` and `port` and runs `handler(Stream)`, a function that returns a Coro<void>,
/// as a task for each connection. A handler that throws is reported through the loop's exception
/// handler and disturbs nobody else. Port 0: the kernel chooses one, the same for all addresses of
/// the host. Empty host: every local address, of IPv6 and of IPv4. Addresses that this host lacks
/// (::1 without IPv6) are passed over, as long as there is another one.
/// Throws:   std::system_error (getaddrinfo, socket, bind, listen); CancelledError.
/// Lifetime: the handler lives as long as the server, and as its last connection.
template <class Handler>
Coro<Server> start_server(Handler handler, std::string host, std::uint16_t port,
                          ServerOptions options = {}) {
    return detail::start_server(detail::as_handler(handler), std::move(host), port, options);
}
/// The same on several hosts. An address that two of them have is listened on once.
template <class Handler>
Coro<Server> start_server(Handler handler, std::vector<std::string> hosts, std::uint16_t port,
                          ServerOptions options = {}) {
    return detail::start_server(detail::as_handler(handler), std::move(hosts), port, options);
}

/// The same on a stream socket that is bound already, and listens or is about to: from
/// `listen_fds`, from another process, or with options of the program's own. The server owns the
/// descriptor. Others may hold the same socket, so closing the server leaves it listening for them,
/// and who has connected and was not accepted to them; the file of a Unix socket is not the
/// server's to remove.
/// Throws:   std::system_error (ENOTSOCK; EINVAL when it is no stream socket; listen).
template <class Handler>
Coro<Server> start_server(Handler handler, Fd listening, ServerOptions options = {}) {
    std::vector<Fd> one;
    one.push_back(std::move(listening));
    return detail::start_server(detail::as_handler(handler), std::move(one), options);
}
/// The same on several of them.
template <class Handler>
Coro<Server> start_server(Handler handler, std::vector<Fd> listening, ServerOptions options = {}) {
    return detail::start_server(detail::as_handler(handler), std::move(listening), options);
}

/// The same on a Unix socket. A leading zero byte in `path` means an abstract name. A socket's file
/// that is there already and that nobody listens on, because its server was killed, is replaced.
/// Throws:   std::system_error (socket, bind, listen; EADDRINUSE when somebody listens there, or the
///           file is no socket); CancelledError.
template <class Handler>
Coro<Server> start_unix_server(Handler handler, std::string path, ServerOptions options = {}) {
    return detail::start_unix_server(detail::as_handler(handler), std::move(path), options);
}

#if WEFT_BODIES
namespace detail {

struct ServerMaker {
    [[gnu::cold]] static Server make(const Ref<ServerState>& state) noexcept {
        return Server(state);
    }
    [[gnu::cold]] static Ref<ServerState> state(const Server& server) {
        return Ref<ServerState>::to(server.state());
    }
};

[[gnu::cold]] inline Ref<ServerState> make_server(ConnectionHandler& handler,
                                                  ConnectionUpgrade& upgrade,
                                                  const ServerOptions& options) {
    Ref<ServerState> state(new ServerState);
    state->handler = std::move(handler);
    state->upgrade = std::move(upgrade);
    state->limit = options.connection_limit;
    state->backlog = options.backlog;
    state->grace = to_limit(options.grace);
    state->all_ended = get_running_loop().create_future<void>();
    return state;
}

[[gnu::cold]] inline ListenOptions listen_options(const ServerOptions& options) noexcept {
    return {options.backlog, options.reuse_port, options.reuse_address, options.start_serving};
}

[[gnu::cold, gnu::noinline]] inline Server made_server(const Ref<ServerState>& state,
                                                       const ServerOptions& options) {
    Server server = ServerMaker::make(state);  // closes what has begun when the rest fails
    GracefulStop& stop = get_running_loop().graceful_stop();
    if (!stop.requested()) stop.add(state->loop_stops);
    if (options.start_serving) start_accepting(state);
    return server;
}

[[gnu::cold]] WEFT_INLINE Coro<Server> start_server(ConnectionHandler handler, std::string host,
                                                    std::uint16_t port, ServerOptions options,
                                                    ConnectionUpgrade upgrade) {
    std::vector<std::string> hosts(1);
    hosts.front() = std::move(host);
    return start_server(std::move(handler), std::move(hosts), port, options, std::move(upgrade));
}

[[gnu::cold]] WEFT_INLINE Coro<Server> start_server(ConnectionHandler handler,
                                                    std::vector<std::string> hosts,
                                                    std::uint16_t port, ServerOptions options,
                                                    ConnectionUpgrade upgrade) {
    std::vector<Address> addresses;
    for (std::string& host : hosts) {
        const std::vector<Address> found = co_await getaddrinfo(std::move(host), port);
        add_new(addresses, found);
    }
    const Ref<ServerState> state = make_server(handler, upgrade, options);
    listen_on_all(*state, addresses, listen_options(options));
    co_return made_server(state, options);
}

[[gnu::cold]] WEFT_INLINE Coro<Server> start_server(ConnectionHandler handler,
                                                    std::vector<Fd> listening,
                                                    ServerOptions options,
                                                    ConnectionUpgrade upgrade) {
    if (listening.empty()) throw_system_error(EINVAL, "start_server: no socket is given");
    const Ref<ServerState> state = make_server(handler, upgrade, options);
    state->listeners = std::vector<ServerState::Listener>(listening.size());
    for (std::size_t index = 0; index < listening.size(); ++index) {
        take_listening(state->listeners[index], std::move(listening[index]),
                       listen_options(options));
    }
    co_return made_server(state, options);
}

[[gnu::cold]] WEFT_INLINE Coro<Server> start_unix_server(ConnectionHandler handler,
                                                         std::string path, ServerOptions options,
                                                         ConnectionUpgrade upgrade) {
    const Ref<ServerState> state = make_server(handler, upgrade, options);
    state->listeners = std::vector<ServerState::Listener>(1);
    ServerState::Listener& listener = state->listeners.front();
    listener.address = Address::unix_path(path);
    ListenOptions listening = listen_options(options);
    listening.reuse_port = false;
    listener.socket = listen_on(listener.address, listening);
    listener.path = UnixPath(listener.address);
    co_return made_server(state, options);
}

}  // namespace detail

[[gnu::cold]] WEFT_INLINE Server::Server(detail::Ref<detail::ServerState> state) noexcept
    : state_(std::move(state)) {}
[[gnu::cold]] WEFT_INLINE Server::Server(Server&& other) noexcept = default;
[[gnu::cold]] WEFT_INLINE Server& Server::operator=(Server&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
}
[[gnu::cold]] WEFT_INLINE Server::~Server() {
    if (state_) state_->close();
}

[[gnu::cold]] WEFT_INLINE detail::ServerState& Server::state() const {
    if (!state_) detail::throw_runtime_error("weft: an empty Server: it was moved from");
    return *state_;
}
[[gnu::cold]] WEFT_INLINE const Address& Server::address() const {
    return state().listeners.front().address;
}
[[gnu::cold]] WEFT_INLINE std::vector<Address> Server::addresses() const {
    std::vector<Address> all(state().listeners.size());
    for (std::size_t index = 0; index < all.size(); ++index) {
        all[index] = state().listeners[index].address;
    }
    return all;
}
[[gnu::cold]] WEFT_INLINE std::vector<int> Server::sockets() const {
    std::vector<int> all;
    if (state().closed) return all;
    for (const auto& listener : state().listeners) all.push_back(listener.socket.get());
    return all;
}
[[gnu::cold]] WEFT_INLINE std::size_t Server::connections() const { return state().connections; }
[[gnu::cold]] WEFT_INLINE bool Server::is_serving() const {
    return state().started && !state().closed;
}
[[gnu::cold]] WEFT_INLINE void Server::start_serving() {
    detail::start_serving(detail::Ref<detail::ServerState>::to(state()));
}
[[gnu::cold]] WEFT_INLINE void Server::close() { state().close(); }
[[gnu::cold]] WEFT_INLINE void Server::close_clients() { state().close_clients(); }
[[gnu::cold]] WEFT_INLINE void Server::abort_clients() { state().abort_clients(); }

// On the state: the Server itself may move, or go, while one of these waits.

[[gnu::cold]] WEFT_INLINE Coro<void> Server::wait_closed() {
    return detail::wait_for_end(detail::Ref<detail::ServerState>::to(state()));
}
[[gnu::cold]] WEFT_INLINE Coro<void> Server::serve_forever() {
    return detail::serve_until_cancelled(detail::Ref<detail::ServerState>::to(state()));
}
[[gnu::cold]] WEFT_INLINE Coro<void> Server::shutdown() { return shut_down(state().grace); }
[[gnu::cold]] WEFT_INLINE Coro<void> Server::shut_down(detail::Nanoseconds grace) {
    return detail::shut_down(detail::Ref<detail::ServerState>::to(state()), grace);
}
#endif

}  // namespace weft
