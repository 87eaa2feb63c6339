// SPDX-License-Identifier: MIT
// connect_websocket: a WebSocket to a URL.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "../base/config.hpp"
#include "../base/std_parts.hpp"
#include "../task/coro.hpp"
#include "client_options.hpp"
#include "headers.hpp"
#include "websocket.hpp"
#include "websocket_options.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <cerrno>
#include <optional>
#include <stdexcept>
#include <string_view>

#include "../base/error.hpp"
#include "../net/stream.hpp"
#include "detail/base64.hpp"
#include "detail/client_connection.hpp"
#include "detail/message_head.hpp"
#include "detail/message_reader.hpp"
#include "detail/text.hpp"
#include "detail/websocket_handshake.hpp"
#include "protocol_error.hpp"
#include "url.hpp"
#endif

namespace weft::http {

/// How a client connects, beside what the WebSocket is then.
struct ConnectWebSocketOptions : WebSocketOptions {
    ConnectWebSocketOptions() {}

    /// What this side can speak, the best first. A server chooses one, or none.
    std::vector<std::string> subprotocols{};
    Headers headers{};  ///< of the request: Origin, Authorization, Cookie
    /// Of these the proxy, `tls`, `connect`, `connect_timeout` and `header_timeout` count.
    ClientOptions client{};
};

/// Connects to a ws, wss or ws+unix URL.
///
///     auto socket = co_await weft::http::connect_websocket("wss://example.com/chat");
///     co_await socket.send("hello");
///
/// Redirects are not followed.
/// Throws:   std::invalid_argument for a URL that is none of these; ProtocolError where the server
///           answers anything but what it should (with its status); TimeoutError;
///           std::system_error (getaddrinfo, connect, send, recv); TlsError; CancelledError. Each
///           names the URL.
/// Cancel:   the connection is closed.
Coro<WebSocket> connect_websocket(std::string url, ConnectWebSocketOptions options = {});

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
namespace detail {

inline std::string upgrade_request(const Url& url, const ConnectWebSocketOptions& options,
                                   const std::string& key) {
    for (const std::string_view name :
         {"Content-Length", "Transfer-Encoding", "Upgrade", "Connection", "Sec-WebSocket-Key",
          "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"}) {
        if (options.headers.contains(name))
            throw std::invalid_argument(
                weft::detail::concat({"weft: the header field ", name, " is set by the client"}));
    }
    const std::string authority = url.authority();
    std::string head = weft::detail::concat({"GET ", url.target(), " HTTP/1.1\r\nHost: ",
                                             options.headers.get("Host").value_or(authority),
                                             "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ",
                                             key, "\r\n"});
    std::string protocols;
    for (const std::string& each : options.subprotocols) {
        if (!is_token(each))
            throw std::invalid_argument(
                weft::detail::concat({"weft: no name of a subprotocol: \"", each, "\""}));
        protocols.append(protocols.empty() ? "" : ", ").append(each);
    }
    if (!protocols.empty())
        head.append("Sec-WebSocket-Protocol: ").append(protocols).append("\r\n");
    if (!url.user().empty() && !options.headers.contains("Authorization"))
        head.append("Authorization: ").append(basic_credentials(url)).append("\r\n");
    for (const Headers::Field field : options.headers) {
        if (same_name(field.name, "Host")) continue;
        head.append(field.name).append(": ").append(field.value).append("\r\n");
    }
    return head.append("\r\n");
}

/// Section 4.1: what the client must look at.
inline void check_upgrade(const MessageHead& answer, const ConnectWebSocketOptions& options,
                          const std::string& key) {
    const auto refuse = [&](const char* why) {
        throw ProtocolError(answer.status, weft::detail::concat({"websocket: ", why}));
    };
    if (answer.status != 101) {
        throw ProtocolError(
            answer.status,
            weft::detail::concat({"websocket: the server answers ",
                                  weft::detail::decimal(answer.status), " ", answer.reason}));
    }
    if (!same_name(answer.headers.value("Upgrade"), "websocket") ||
        !answer.headers.has_token("Connection", "upgrade"))
        refuse("the server upgrades to something else");
    if (answer.headers.value("Sec-WebSocket-Accept") != websocket_accept(key))
        refuse("the server has not understood the key");
    if (answer.headers.contains("Sec-WebSocket-Extensions"))
        refuse("the server uses an extension that was not offered");
    if (const auto chosen = answer.headers.get("Sec-WebSocket-Protocol")) {
        bool is_ours = false;
        for (const std::string& each : options.subprotocols) is_ours = is_ours || each == *chosen;
        if (!is_ours) refuse("the server speaks a subprotocol that was not offered");
    }
}

inline Coro<void> ask_for_upgrade(SharedConnection connection, std::string request,
                                  MessageHead& answer) {
    co_await connection->stream.write(request);
    do {
        connection->reader.begin(answer);
        connection->reader.answers("GET");
        const bool found = co_await connection->reader.read_head();
        if (!found)
            weft::detail::throw_system_error(ECONNRESET, "websocket: the server has closed");
    } while (answer.status / 100 == 1 && answer.status != 101);
}

}  // namespace detail

WEFT_INLINE Coro<WebSocket> connect_websocket(std::string text, ConnectWebSocketOptions options) {
    Url url(text);
    if (!url.is_websocket())
        throw std::invalid_argument(
            weft::detail::concat({"weft: no URL of a WebSocket: ", url.to_string()}));
    const detail::Settings settings(new detail::ClientSettings(options.client));
    const std::string what = url.to_string();
    const std::string key = detail::websocket_key();
    std::string request = detail::upgrade_request(url, options, key);
    const detail::SharedConnection connection = co_await detail::in_phase(
        what, "connect", detail::no_limit, detail::open_client_connection(url, settings));
    detail::MessageHead answer;
    co_await detail::in_phase(what, "handshake", detail::limit_of(options.client.header_timeout),
                              detail::ask_for_upgrade(connection, std::move(request), answer));
    try {
        detail::check_upgrade(answer, options, key);
    } catch (const ProtocolError& error) {
        detail::throw_in_phase(what, "handshake", error);
    }
    WebSocket socket(std::move(connection->stream), WebSocket::Role::client, options,
                     connection->reader.take_rest(), what);
    socket.state().subprotocol = answer.headers.value("Sec-WebSocket-Protocol");
    co_return socket;
}
#endif

}  // namespace weft::http
