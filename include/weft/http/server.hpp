// SPDX-License-Identifier: MIT
// start_server, serve, Server: an HTTP/1.1 server for a router.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../base/config.hpp"
#include "../base/fd.hpp"
#include "../base/ref.hpp"
#include "../net/server.hpp"
#include "../net/stream.hpp"
#include "../task/coro.hpp"
#include "detail/app.hpp"
#include "router.hpp"
#include "server_options.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <exception>

#include "../base/error.hpp"
#include "../net/serve.hpp"
#include "../signal/stop.hpp"
#include "detail/connection.hpp"
#include "detail/connection_serve.hpp"
#endif

namespace weft::http {

/// A running HTTP server, made by `start_server`. Its functions are those of `weft::Server`;
/// letting go of it closes it.
///
/// It stops in order, on `shutdown` or when the loop is asked to (`request_stop`,
/// RunOptions::stop_signal): no more connections are taken, those that wait for a request are
/// closed, requests that are being served are answered with `Connection: close`. Handlers that take
/// longer than the grace are cancelled, and their connections closed.
/// Thread:   loop thread only.
class Server {
public:
    Server(weft::Server server, weft::detail::Ref<detail::App> app) noexcept
        : server_(std::move(server)), app_(std::move(app)) {}

    const Address& address() const { return server_.address(); }
    std::uint16_t port() const { return server_.port(); }
    std::size_t connections() const { return server_.connections(); }
    bool is_serving() const { return server_.is_serving(); }
    void start_serving() { server_.start_serving(); }
    /// Takes no more connections; those that are there go on.
    void close() { server_.close(); }
    Coro<void> wait_closed() { return server_.wait_closed(); }
    /// See `weft::Server::shutdown`.
    Coro<void> shutdown();
    template <class Rep, class Period>
    Coro<void> shutdown(std::chrono::duration<Rep, Period> grace) {
        app_->options.grace = Duration(weft::detail::to_limit(grace));
        return shutdown();
    }

private:
    weft::Server server_;
    weft::detail::Ref<detail::App> app_;
};

namespace detail {

// `upgrade` is what each connection goes through first: TLS.
Coro<Server> start_server(Router router, std::vector<std::string> hosts, std::uint16_t port,
                          ServerOptions options, weft::detail::ConnectionUpgrade upgrade);
Coro<Server> start_server(Router router, std::vector<Fd> listening, ServerOptions options,
                          weft::detail::ConnectionUpgrade upgrade);
Coro<Server> start_unix_server(Router router, std::string path, ServerOptions options,
                               weft::detail::ConnectionUpgrade upgrade);
Coro<void> serve(Coro<Server> starting);

}  // namespace detail

/// Listens on `host` and `port` and answers requests with what `router` has. An empty host is every
/// local address; port 0: the kernel chooses one. (For TLS see <weft/http/tls_server.hpp>.)
/// Throws:   what `weft::start_server` throws.
/// Lifetime: the router is kept as long as the server, and as its last connection.
Coro<Server> start_server(Router router, std::string host, std::uint16_t port,
                          ServerOptions options = {});
/// The same on a socket that listens already: from `listen_fds`, for instance.
Coro<Server> start_server(Router router, Fd listening, ServerOptions options = {});
/// The same on a Unix socket.
Coro<Server> start_unix_server(Router router, std::string path, ServerOptions options = {});

/// aiohttp's `run_app`: serves until the loop is asked to stop, or the task is cancelled, and stops
/// in order then.
///
///     weft::RunOptions options;
///     options.stop_signal = SIGTERM;
///     weft::run(http::serve(std::move(router), "", 8080), options);
///
/// Throws:   what `start_server` throws; CancelledError.
/// Cancel:   handlers are cancelled and waited for.
Coro<void> serve(Router router, std::string host, std::uint16_t port, ServerOptions options = {});

/// Serves one connection that was made in any other way, up to its end.
/// Cancel:   closes it.
Coro<void> serve_connection(Router router, Stream stream, ServerOptions options = {});

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
namespace detail {

WEFT_INLINE void App::stop() noexcept {
    if (std::exchange(stopping, true)) return;
    connections.for_each(
        [](weft::detail::ListNode<>& one) { static_cast<Connection&>(one).stop(); });
}

WEFT_INLINE Coro<void> serve_stream(weft::detail::Ref<App> app, Stream stream) {
    Connection connection(*app, std::move(stream));
    co_await connection.run();
}

inline weft::detail::ConnectionHandler handler_of(const weft::detail::Ref<App>& app) {
    return weft::detail::ConnectionHandler(
        [app](Stream stream) { return serve_stream(app, std::move(stream)); });
}

inline Server made(weft::Server server, const weft::detail::Ref<App>& app) {
    // We tell our connections ourselves: who sends a request is not to be cut off.
    weft::detail::state_of(server)->handlers_know = true;
    app->listen_to_stop();
    return Server(std::move(server), app);
}

WEFT_INLINE Coro<Server> start_server(Router router, std::vector<std::string> hosts,
                                      std::uint16_t port, ServerOptions options,
                                      weft::detail::ConnectionUpgrade upgrade) {
    const weft::detail::Ref<App> app(new App(std::move(router), std::move(options)));
    weft::Server server = co_await weft::detail::start_server(
        handler_of(app), std::move(hosts), port, app->options, std::move(upgrade));
    co_return made(std::move(server), app);
}
WEFT_INLINE Coro<Server> start_server(Router router, std::vector<Fd> listening,
                                      ServerOptions options,
                                      weft::detail::ConnectionUpgrade upgrade) {
    const weft::detail::Ref<App> app(new App(std::move(router), std::move(options)));
    weft::Server server = co_await weft::detail::start_server(handler_of(app), std::move(listening),
                                                              app->options, std::move(upgrade));
    co_return made(std::move(server), app);
}
WEFT_INLINE Coro<Server> start_unix_server(Router router, std::string path, ServerOptions options,
                                           weft::detail::ConnectionUpgrade upgrade) {
    const weft::detail::Ref<App> app(new App(std::move(router), std::move(options)));
    weft::Server server = co_await weft::detail::start_unix_server(
        handler_of(app), std::move(path), app->options, std::move(upgrade));
    co_return made(std::move(server), app);
}

WEFT_INLINE Coro<void> serve(Coro<Server> starting) {
    Server server = co_await std::move(starting);
    std::exception_ptr cancelled;
    try {
        co_await wait_for_stop();
    } catch (const CancelledError&) {
        cancelled = std::current_exception();
    }
    if (!cancelled) {
        co_await server.shutdown();
        co_return;
    }
    co_await server.shutdown(Duration(0));
    std::rethrow_exception(cancelled);
}

}  // namespace detail

WEFT_INLINE Coro<void> Server::shutdown() {
    app_->stop();
    return server_.shutdown(app_->options.grace);
}

WEFT_INLINE Coro<Server> start_server(Router router, std::string host, std::uint16_t port,
                                      ServerOptions options) {
    std::vector<std::string> hosts(1);
    hosts.front() = std::move(host);
    return detail::start_server(std::move(router), std::move(hosts), port, std::move(options), {});
}
WEFT_INLINE Coro<Server> start_server(Router router, Fd listening, ServerOptions options) {
    std::vector<Fd> one;
    one.push_back(std::move(listening));
    return detail::start_server(std::move(router), std::move(one), std::move(options), {});
}
WEFT_INLINE Coro<Server> start_unix_server(Router router, std::string path, ServerOptions options) {
    return detail::start_unix_server(std::move(router), std::move(path), std::move(options), {});
}
WEFT_INLINE Coro<void> serve(Router router, std::string host, std::uint16_t port,
                             ServerOptions options) {
    return detail::serve(
        start_server(std::move(router), std::move(host), port, std::move(options)));
}
WEFT_INLINE Coro<void> serve_connection(Router router, Stream stream, ServerOptions options) {
    weft::detail::Ref<detail::App> app(new detail::App(std::move(router), std::move(options)));
    app->listen_to_stop();
    return detail::serve_stream(std::move(app), std::move(stream));
}
#endif

}  // namespace weft::http
