// SPDX-License-Identifier: MIT
// Server, start_server: accepts connections and runs a handler task for each.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/callback.hpp"
#include "../base/config.hpp"
#include "../base/fd.hpp"
#include "../base/ref.hpp"
#include "../runtime/loop.hpp"
#include "../task/coro.hpp"
#include "../task/future.hpp"
#include "../task/sleep.hpp"
#include "../task/task.hpp"
#include "address.hpp"
#include "connect.hpp"
#include "io.hpp"
#include "resolve.hpp"
#include "stream.hpp"

namespace weft {

struct ServerOptions {
    ServerOptions() noexcept {}
    int backlog = 1024;       ///< connections the kernel keeps until they are accepted
    bool reuse_port = false;  ///< several processes or threads share the port (SO_REUSEPORT)
};

namespace detail {

struct ServerState {
    struct Listener {
        Fd socket;
        Address address;
        Task<void> accepting;
    };

    // Of the loop's thread alone.
    void add_ref() noexcept { ++refs; }
    void release() noexcept;

    void close();
    void connection_ended();
    /// An accept task is done, whether it ever ran or not.
    void accepting_ended(std::size_t index);
    void announce_end();

    Callback<Coro<void>(Stream)> handler;
    std::vector<Listener> listeners;
    std::uint32_t refs = 1;
    std::size_t connections = 0;
    std::size_t accepting = 0;
    bool closed = false;
    Future<void> all_ended;  // closed, and the last connection is gone
};

}  // namespace detail

/// A listening server. Letting go of it closes it: no more connections are taken, those that are
/// there go on.
/// Throws:   RuntimeError once it was moved from, from everything.
/// Thread:   loop thread only.
class Server {
public:
    explicit Server(detail::Ref<detail::ServerState> state) noexcept : state_(std::move(state)) {}
    Server(Server&&) noexcept = default;
    Server& operator=(Server&& other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~Server() {
        if (state_) close();
    }

    /// The address of the (first) listening socket; with port 0 asked for, the one that was given.
    const Address& address() const { return state().listeners.front().address; }
    std::uint16_t port() const { return address().port(); }
    std::size_t connections() const { return state().connections; }
    bool is_serving() const { return !state().closed; }

    /// Takes no more connections. Idempotent.
    void close();
    /// Waits until it is closed and the last connection has ended.
    /// Cancel:   ends the wait only.
    Coro<void> wait_closed();
    /// Serves until somebody closes the server, or the task is cancelled.
    /// Throws:   RuntimeError when it is closed already; CancelledError.
    /// Cancel:   closes the server, waits until the last handler has ended, and then goes on. A
    ///           second cancel ends that wait.
    /// Lifetime: the Server may be moved, and go, meanwhile.
    Coro<void> serve_forever();

private:
    detail::ServerState& state() const {
        if (!state_) detail::throw_runtime_error("weft: an empty Server: it was moved from");
        return *state_;
    }

    detail::Ref<detail::ServerState> state_;
};

namespace detail {

/// The untyped rest of `weft::start_server`.
Coro<Server> start_server(Callback<Coro<void>(Stream)> handler, std::string host,
                          std::uint16_t port, ServerOptions options);

}  // namespace detail

/// Listens on `host` and `port` and runs `handler(Stream)`, a function that returns a Coro<void>,
/// as a task for each connection. A handler that throws is reported through the loop's exception
/// handler and disturbs nobody else. Port 0: the kernel chooses one, the same for all addresses of
/// the host. Empty host: every local address. Addresses that this host lacks (::1 without IPv6) are
/// passed over, as long as there is another one.
/// Throws:   std::system_error (getaddrinfo, socket, bind, listen); CancelledError.
template <class Handler>
    requires(std::is_invocable_r_v<Coro<void>, std::decay_t<Handler>&, Stream>)
Coro<Server> start_server(Handler handler, std::string host, std::uint16_t port,
                          ServerOptions options = {}) {
    return detail::start_server(detail::Callback<Coro<void>(Stream)>(std::move(handler)),
                                std::move(host), port, options);
}

#if WEFT_BODIES
namespace detail {

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::release() noexcept {
    if (--refs == 0) delete this;
}
WEFT_INLINE void ServerState::connection_ended() {
    --connections;
    announce_end();
}
WEFT_INLINE void ServerState::accepting_ended(std::size_t index) {
    listeners[index].socket.reset();
    --accepting;
    announce_end();
}
// A cancelled accept may still win and bring one more connection: so both counts.
[[gnu::noinline]] WEFT_INLINE void ServerState::announce_end() {
    if (closed && accepting == 0 && connections == 0 && !all_ended.done()) {
        all_ended.set_result();
    }
}

inline Coro<void> serve_connection(Ref<ServerState> server, Stream stream) {
    Coro<void> handling = server->handler(std::move(stream));
    co_await std::move(handling);
}

/// Out of descriptors or memory: the connection stays in the kernel's queue until there are some.
inline bool is_shortage(int error) noexcept {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}
/// The connection broke before it was accepted: accept(2) says to treat these like a retry.
inline bool is_lost_connection(int error) noexcept {
    return error == ECONNABORTED || error == EPROTO || error == EPERM || error == ENETDOWN ||
           error == ENOPROTOOPT || error == EHOSTDOWN || error == ENONET || error == EHOSTUNREACH ||
           error == EOPNOTSUPP || error == ENETUNREACH;
}

/// How it goes with a server's accepts.
struct AcceptTrouble {
    static constexpr int most_in_a_row = 16;

    void is_over() noexcept { *this = AcceptTrouble(); }

    int lost_in_a_row = 0;
    bool reported = false;
};

/// What a failed accept leads to: true, the pause of a server that is short of something, or that
/// loses one connection after the other (a filter may refuse every accept with an error that is
/// meant for one connection); false, the next try. Called in a catch block.
/// Throws:   the error again when it is neither.
[[gnu::cold, gnu::noinline]] inline bool accept_failed(int error, AcceptTrouble& trouble) {
    if (!is_shortage(error)) {
        if (!is_lost_connection(error)) throw;
        if (++trouble.lost_in_a_row <= AcceptTrouble::most_in_a_row) return false;
        trouble.lost_in_a_row = AcceptTrouble::most_in_a_row;
    }
    if (!std::exchange(trouble.reported, true)) {
        get_running_loop().call_exception_handler(
            {"a server cannot accept and tries again", std::current_exception(), {}});
    }
    return true;
}

/// Runs the handler for a new connection.
inline void serve(const Ref<ServerState>& server, Fd socket) {
    Task<void> serving = create_task(serve_connection(server, Stream(std::move(socket))));
    try {
        serving.add_done_callback([server](const AnyFuture&) { server->connection_ended(); })
            .run_in_the_end();
    } catch (...) {
        serving.cancel();  // nobody would count it
        throw;
    }
    ++server->connections;  // last: what is counted ends
}

/// Waits for a connection. From whom it is shows the stream.
class [[nodiscard]] ConnectionAwaiter final : public DescriptorWait {
public:
    explicit ConnectionAwaiter(int listener) noexcept : DescriptorWait(OpCode::accept) {
        fd = listener;
        offset = 0;
        expect_wait = true;
    }
    Fd await_resume() { return taken(); }
};

/// Serves those who wait already, up to a turn's share: with one a turn, the busier the server, the
/// longer the queue.
/// Returns:  whether there may be more.
inline bool serve_waiting(const Ref<ServerState>& server, int listener, AcceptTrouble& trouble) {
    constexpr int share = 256;
    for (int count = 0; count < share;) {
        Fd connection(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
        if (connection) {
            serve(server, std::move(connection));
            trouble.is_over();
            ++count;
        } else if (errno == EAGAIN) {
            return false;
        } else if (errno != EINTR) {
            throw_system_error(errno, fd_text("accept", listener));
        }
    }
    return true;
}

inline Coro<void> accept_connections(Ref<ServerState> server, std::size_t index) {
    constexpr std::chrono::milliseconds pause{50};
    const int listener = server->listeners[index].socket.get();
    bool more = false;
    AcceptTrouble trouble;
    for (;;) {
        bool short_of = false;
        try {
            if (more) {
                co_await yield();
            } else {
                serve(server, co_await ConnectionAwaiter(listener));
                trouble.is_over();
            }
            more = serve_waiting(server, listener, trouble);
        } catch (const std::system_error& error) {
            more = false;
            if (server->closed) co_return;
            short_of = accept_failed(error.code().value(), trouble);
        } catch (const std::bad_alloc&) {
            // For the connection, which is lost, or for the words of another error.
            if (server->closed) co_return;
            short_of = accept_failed(ENOMEM, trouble);
        }
        for (int turns = 1; short_of; turns *= 2) {
            try {
                co_await sleep(pause);
                short_of = false;
            } catch (const std::bad_alloc&) {
                // Not even for a timer: turns are counted instead, and to ask again gets rarer.
                if (turns > 512) turns = 512;
            }
            for (int turn = 0; short_of && turn < turns; ++turn) co_await yield();
        }
    }
}

[[gnu::cold]] inline Fd listen_on(const Address& address, const ServerOptions& options) {
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
    if (::bind(socket.get(), address.data(), address.size()) != 0) {
        fail("bind");
    }
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
                                         const ServerOptions& options) {
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

/// Listens on all of `addresses` and starts to accept.
[[gnu::cold, gnu::noinline]] inline Server serve_on(const std::vector<Address>& addresses,
                                                    Callback<Coro<void>(Stream)>& handler,
                                                    const ServerOptions& options) {
    Ref<ServerState> state(new ServerState);
    state->handler = std::move(handler);
    state->all_ended = get_running_loop().create_future<void>();
    constexpr int most_tries = 64;
    for (int tries = 1;; ++tries) {
        // Made at its full size: no growth, whose code is longer than this function.
        state->listeners = std::vector<ServerState::Listener>(addresses.size());
        if (listen_on_each(state->listeners, addresses, options)) break;
        if (tries == most_tries) {
            throw_system_error(EADDRINUSE, concat({"bind ", addresses.front().to_string(),
                                                   " and others: no port is free for all"}));
        }
    }
    Server server(state);  // closes what has begun when the rest fails
    for (std::size_t index = 0; index < state->listeners.size(); ++index) {
        Task<void>& accepting = state->listeners[index].accepting;
        accepting = create_task(accept_connections(state, index), TaskOptions("accept"));
        accepting
            .add_done_callback([state, index](const AnyFuture&) { state->accepting_ended(index); })
            .run_in_the_end();
        ++state->accepting;
    }
    return server;
}

[[gnu::cold]] WEFT_INLINE Coro<Server> start_server(Callback<Coro<void>(Stream)> handler,
                                                    std::string host, std::uint16_t port,
                                                    ServerOptions options) {
    const std::vector<Address> addresses = co_await getaddrinfo(std::move(host), port);
    co_return serve_on(addresses, handler, options);
}

[[gnu::cold]] inline Coro<void> wait_for_end(Ref<ServerState> server) {
    co_await server->all_ended.wait();
}

[[gnu::cold]] inline Coro<void> serve_until_cancelled(Ref<ServerState> server) {
    if (server->closed) throw_runtime_error("weft: serve_forever: the server is closed");
    std::exception_ptr cancelled;
    try {
        co_await server->all_ended.wait();
    } catch (const CancelledError&) {
        cancelled = std::current_exception();
    }
    if (!cancelled) co_return;
    server->close();
    co_await server->all_ended.wait();
    std::rethrow_exception(cancelled);
}

}  // namespace detail

[[gnu::cold, gnu::noinline]] WEFT_INLINE void detail::ServerState::close() {
    if (std::exchange(closed, true)) return;
    for (Listener& listener : listeners) {
        // Refuses from this moment on, although the accept that waits has still to end.
        if (listener.socket) ::shutdown(listener.socket.get(), SHUT_RDWR);
        if (listener.accepting) listener.accepting.cancel();  // (none: it could not be started)
    }
    announce_end();
}

[[gnu::cold]] WEFT_INLINE void Server::close() { state().close(); }

// On the state: the Server itself may move, or go, while one of these waits.

[[gnu::cold]] WEFT_INLINE Coro<void> Server::wait_closed() {
    return detail::wait_for_end(detail::Ref<detail::ServerState>::to(state()));
}

[[gnu::cold]] WEFT_INLINE Coro<void> Server::serve_forever() {
    return detail::serve_until_cancelled(detail::Ref<detail::ServerState>::to(state()));
}
#endif

}  // namespace weft
