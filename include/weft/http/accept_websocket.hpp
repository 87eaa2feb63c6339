// SPDX-License-Identifier: MIT
// accept_websocket: a server's answer to a client that wants a WebSocket.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/callback.hpp"
#include "../base/config.hpp"
#include "../net/stream.hpp"
#include "../task/coro.hpp"
#include "request.hpp"
#include "response.hpp"
#include "websocket.hpp"
#include "websocket_options.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <exception>
#include <system_error>

#include "../base/error.hpp"
#include "../deadline/clean_up.hpp"
#include "../together/exception_group.hpp"
#include "detail/text.hpp"
#include "detail/websocket_handshake.hpp"
#endif

namespace weft::http {

/// How a server accepts, beside what the WebSocket is then.
struct AcceptWebSocketOptions : WebSocketOptions {
    AcceptWebSocketOptions() {}

    /// What this side can speak, the best first; the first that the client names too is agreed
    /// upon.
    std::vector<std::string> subprotocols{};
    /// Pages from where may talk to it, as their browser says (the Origin field): "https://a.org".
    /// Empty: from everywhere. (Browsers send a WebSocket's cookies whatever page has opened it.)
    std::vector<std::string> origins{};
};

namespace detail {
using Talk = weft::detail::Callback<Coro<void>(WebSocket&)>;
Response accept_websocket(const Request& request, AcceptWebSocketOptions options, Talk talk);
}  // namespace detail

/// The response of a handler to a request that wants a WebSocket: it upgrades the connection, on
/// which `talk(WebSocket&)`, a function that returns a Coro<void>, runs then. To a request that
/// wants none, or is wrong, it is a 400, 403 or 426.
///
///     router.get("/chat", [](http::Request& request) -> weft::Coro<http::Response> {
///         co_return http::accept_websocket(request, &chat);
///     });
///
/// The WebSocket is closed when `talk` ends: with 1000; with 1011 when it throws (which is reported
/// as the error of a handler is, unless it, or all that an ExceptionGroup holds, is about the
/// WebSocket itself); and with 1001 when it is
/// cancelled. When the server stops, `recv` finds the end (1001).
/// Lifetime: `talk` is kept as long as its coroutine.
template <class TalkFn>
requires std::is_invocable_r_v<Coro<void>, TalkFn&, WebSocket&> Response
accept_websocket(const Request& request, TalkFn talk,
                 AcceptWebSocketOptions options = AcceptWebSocketOptions()) {
    return detail::accept_websocket(request, std::move(options), detail::Talk(std::move(talk)));
}

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
namespace detail {

/// What the peer has done is no failure of the handler's, whose tasks may each have found it.
[[gnu::cold]] inline bool is_about_peer(const WebSocket& socket, const std::exception_ptr& error) {
    using weft::detail::is_a;
    const bool is_gone = socket.close_code() == WebSocketCode::abnormal;
    bool all = true;
    ExceptionGroup::of(error).for_each([&](const std::exception_ptr& one) {
        all = all && (is_a<WebSocketError>(one) || is_a<WebSocketClosed>(one) ||
                      (is_gone && (is_a<TimeoutError>(one) || is_a<std::system_error>(one))));
    });
    return all;
}

inline Coro<void> talk_websocket(WebSocket socket, Talk talk) {
    std::uint16_t code = WebSocketCode::normal;
    std::exception_ptr error;
    try {
        co_await talk(socket);
    } catch (const CancelledError&) {
        error = std::current_exception();
        code = WebSocketCode::going_away;
    } catch (...) {
        // (Before the goodbye, to which a peer need not answer.)
        if (!is_about_peer(socket, std::current_exception())) {
            error = std::current_exception();
            code = WebSocketCode::internal_error;
        }
    }
    const Duration limit = socket.state().options.close_timeout;
    co_await clean_up(limit, [&socket, code] { return socket.close(code); });
    if (error) std::rethrow_exception(error);
}

/// Whoever keeps it keeps what `talk` has captured.
struct Talking {
    Talking(Talk with, AcceptWebSocketOptions how, std::string protocol)
        : talk(std::move(with)), options(std::move(how)), subprotocol(std::move(protocol)) {}

    Coro<void> operator()(Stream stream, std::string ahead) {
        WebSocket socket(std::move(stream), WebSocket::Role::server, options, std::move(ahead));
        socket.state().subprotocol = subprotocol;
        return talk_websocket(std::move(socket), std::move(talk));
    }

    Talk talk;
    AcceptWebSocketOptions options;
    std::string subprotocol;
};

WEFT_INLINE Response accept_websocket(const Request& request, AcceptWebSocketOptions options,
                                      Talk talk) {
    const Headers& headers = request.headers();
    const bool is_asked = request.method() == "GET" && request.minor_version() >= 1 &&
                          headers.has_token("Connection", "upgrade") &&
                          headers.has_token("Upgrade", "websocket");
    if (!is_asked || headers.value("Sec-WebSocket-Version") != "13") {
        Response response("a WebSocket (version 13) is spoken here\n", 426);
        response.headers.add("Upgrade", "websocket").add("Sec-WebSocket-Version", "13");
        return response;
    }
    const std::vector<std::string_view> keys = headers.get_all("Sec-WebSocket-Key");
    if (keys.size() != 1 || !is_websocket_key(keys.front()))
        return Response("not exactly one good Sec-WebSocket-Key\n", 400);
    bool is_welcome = options.origins.empty() || !headers.contains("Origin");
    for (const std::string& each : options.origins)
        is_welcome = is_welcome || same_name(each, headers.value("Origin"));
    if (!is_welcome) return Response("not from this page\n", 403);

    std::string protocol = choose_subprotocol(headers, options.subprotocols);
    const std::string accept = websocket_accept(keys.front());
    Response response =
        Response::upgrade("websocket", Talking(std::move(talk), std::move(options), protocol));
    response.headers.add("Sec-WebSocket-Accept", accept);
    if (!protocol.empty()) response.headers.add("Sec-WebSocket-Protocol", protocol);
    return response;
}

}  // namespace detail
#endif

}  // namespace weft::http
