// SPDX-License-Identifier: MIT
// Server, start_server: accepts connections and runs a handler task for each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "../base/callback.hpp"
#include "../base/clock.hpp"
#include "../base/config.hpp"
#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../task/coro.hpp"
#include "address.hpp"
#include "stream.hpp"

#if WEFT_BODIES
#include <cerrno>
#include <vector>

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
    int backlog = 1024;       ///< connections the kernel keeps until they are accepted
    bool reuse_port = false;  ///< several processes or threads share the port (SO_REUSEPORT)
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
    /// How many handlers have not ended.
    std::size_t connections() const;
    bool is_serving() const;

    /// Takes no more connections; handlers go on. Who has connected and was not accepted yet is
    /// reset. The file of a Unix socket is removed, if it is still this server's. Idempotent.
    void close();
    /// Waits until the server is closed and its last handler has ended.
    /// Cancel:   ends the wait only.
    Coro<void> wait_closed();

    /// Serves until somebody closes the server, or the task is cancelled.
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
        return shut_down(detail::to_nanoseconds(grace));
    }

    /// Ends the connections that were accepted and are still open. What was written still arrives;
    /// handlers read the end of the stream, and their writes fail (EPIPE).
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
                          ServerOptions options);
Coro<Server> start_unix_server(ConnectionHandler handler, std::string path, ServerOptions options);

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
/// the host. Empty host: every local address. Addresses that this host lacks (::1 without IPv6) are
/// passed over, as long as there is another one.
/// Throws:   std::system_error (getaddrinfo, socket, bind, listen); CancelledError.
/// Lifetime: the handler lives as long as the server, and as its last connection.
template <class Handler>
Coro<Server> start_server(Handler handler, std::string host, std::uint16_t port,
                          ServerOptions options = {}) {
    return detail::start_server(detail::as_handler(handler), std::move(host), port, options);
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
};

[[gnu::cold]] inline Ref<ServerState> make_server(ConnectionHandler& handler) {
    Ref<ServerState> state(new ServerState);
    state->handler = std::move(handler);
    state->all_ended = get_running_loop().create_future<void>();
    return state;
}

[[gnu::cold, gnu::noinline]] inline void start_accepting(const Ref<ServerState>& state) {
    for (std::size_t index = 0; index < state->listeners.size(); ++index) {
        Task<void>& accepting = state->listeners[index].accepting;
        accepting = create_task(accept_connections(state, index), TaskOptions("accept", false));
        accepting
            .add_done_callback([state, index](const AnyFuture&) { state->accepting_ended(index); })
            .run_in_the_end();
        ++state->accepting;
    }
    GracefulStop& stop = get_running_loop().graceful_stop();
    if (!stop.requested()) stop.add(state->loop_stops);
}

[[gnu::cold]] WEFT_INLINE Coro<Server> start_server(ConnectionHandler handler, std::string host,
                                                    std::uint16_t port, ServerOptions options) {
    const std::vector<Address> addresses = co_await getaddrinfo(std::move(host), port);
    const Ref<ServerState> state = make_server(handler);
    constexpr int most_tries = 64;
    for (int tries = 1;; ++tries) {
        // Made at its full size: no growth, whose code is longer than this function.
        state->listeners = std::vector<ServerState::Listener>(addresses.size());
        const ListenOptions listening{options.backlog, options.reuse_port};
        if (listen_on_each(state->listeners, addresses, listening)) break;
        if (tries == most_tries) {
            throw_system_error(EADDRINUSE, concat({"bind ", addresses.front().to_string(),
                                                   " and others: no port is free for all"}));
        }
    }
    Server server = ServerMaker::make(state);  // closes what has begun when the rest fails
    start_accepting(state);
    co_return server;
}

[[gnu::cold]] WEFT_INLINE Coro<Server> start_unix_server(ConnectionHandler handler,
                                                         std::string path, ServerOptions options) {
    const Ref<ServerState> state = make_server(handler);
    state->listeners = std::vector<ServerState::Listener>(1);
    ServerState::Listener& listener = state->listeners.front();
    listener.address = Address::unix_path(path);
    listener.socket = listen_on(listener.address, {options.backlog, false});
    listener.path = UnixPath(listener.address);
    Server server = ServerMaker::make(state);
    start_accepting(state);
    co_return server;
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
[[gnu::cold]] WEFT_INLINE std::size_t Server::connections() const { return state().connections; }
[[gnu::cold]] WEFT_INLINE bool Server::is_serving() const { return !state().closed; }
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
[[gnu::cold]] WEFT_INLINE Coro<void> Server::shut_down(detail::Nanoseconds grace) {
    return detail::shut_down(detail::Ref<detail::ServerState>::to(state()), grace);
}
#endif

}  // namespace weft
