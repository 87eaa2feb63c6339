// SPDX-License-Identifier: MIT
// ClientConnection: a connection to a server, however one gets there.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/ref.hpp"
#include "../../deadline/wait_for.hpp"
#include "../../net/stream.hpp"
#include "../../net/tls_error.hpp"
#include "../../patterns/pool.hpp"
#include "../../task/coro.hpp"
#include "../client_options.hpp"
#include "../protocol_error.hpp"
#include "../url.hpp"
#include "message_head.hpp"
#include "message_reader.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <cerrno>
#include <optional>
#include <stdexcept>
#include <system_error>

#include "base64.hpp"
#include "text.hpp"
#endif

namespace weft::http::detail {

inline constexpr Duration no_limit = Duration::max();

/// What a client's options come to; shared by it and its connections' makers.
struct ClientSettings : weft::detail::Counted<ClientSettings> {
    explicit ClientSettings(ClientOptions given);

    ClientOptions options;
    std::optional<Url> proxy;
    ParserLimits limits;
};

struct ClientConnection : weft::detail::Counted<ClientConnection> {
    ClientConnection(Stream connected, const ParserLimits& limits)
        : stream(std::move(connected)), reader(stream, MessageType::response, limits) {}

    Stream stream;
    MessageReader reader;
    bool was_used = false;  // the server may close it at any time
};
using SharedConnection = weft::detail::Ref<ClientConnection>;
using ConnectionPool = Pool<SharedConnection>;
using Settings = weft::detail::Ref<ClientSettings>;

/// `limit` of the options, where 0 is none.
inline Duration limit_of(Duration limit) noexcept {
    return limit <= Duration(0) ? no_limit : limit;
}

[[noreturn, gnu::cold]] void throw_in_phase(std::string_view what, std::string_view phase,
                                            const TimeoutError& error);
[[noreturn, gnu::cold]] void throw_in_phase(std::string_view what, std::string_view phase,
                                            const std::system_error& error);
[[noreturn, gnu::cold]] void throw_in_phase(std::string_view what, std::string_view phase,
                                            const ProtocolError& error);

/// Its errors name the request and what it was about.
/// Lifetime: the texts outlive it.
template <class T>
Coro<T> in_phase(std::string_view what, std::string_view phase, Duration limit, Coro<T> work) {
    try {
        if (limit == no_limit) {
            co_return co_await std::move(work);
        } else {
            co_return co_await wait_for(std::move(work), limit);
        }
    } catch (const TimeoutError& error) {
        throw_in_phase(what, phase, error);
    } catch (const TlsError&) {
        throw;  // (It names the host, and is more than an errno.)
    } catch (const std::system_error& error) {
        throw_in_phase(what, phase, error);
    } catch (const ProtocolError& error) {
        throw_in_phase(what, phase, error);
    }
}

/// Connects to the URL's server: by a Unix socket, or by way of a proxy, and with TLS, as the URL
/// and the options want it.
Coro<Stream> connect_to(Url url, Settings settings);
Coro<SharedConnection> open_client_connection(Url url, Settings settings);
/// Nothing has come on an idle connection: no end, and no answer that nobody has asked for.
Coro<bool> is_still_good(SharedConnection& connection);
/// "Basic ..."
std::string basic_credentials(const Url& url);

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
/// With the context of a client that believes what this host believes, where none is given. (Its
/// roots are a hundred files' worth: read once, and only for who asks a server with TLS.)
inline TlsOptions tls_of(const ClientOptions& options) {
    TlsOptions tls = options.tls;
    if (!tls.context) {
        static const TlsContext of_this_host = [] {
            TlsContext context = TlsContext::client();
            context.set_alpn_protocols({"http/1.1"});
            return context;
        }();
        tls.context = of_this_host;
    }
    return tls;
}

WEFT_INLINE ClientSettings::ClientSettings(ClientOptions given) : options(std::move(given)) {
    using weft::detail::refuse_negative;
    refuse_negative(options.idle_timeout, "weft: http::ClientOptions: a negative idle_timeout");
    refuse_negative(options.connect_timeout,
                    "weft: http::ClientOptions: a negative connect_timeout");
    refuse_negative(options.header_timeout, "weft: http::ClientOptions: a negative header_timeout");
    refuse_negative(options.body_timeout, "weft: http::ClientOptions: a negative body_timeout");
    refuse_negative(options.total_timeout, "weft: http::ClientOptions: a negative total_timeout");
    if (!options.proxy.empty()) proxy.emplace(options.proxy);
    if (!is_field_value(options.user_agent))
        throw std::invalid_argument("weft: a User-Agent with a control character");
    limits.head = options.max_head;
}

WEFT_INLINE void throw_in_phase(std::string_view what, std::string_view phase,
                                const TimeoutError& error) {
    using namespace std::string_view_literals;
    std::string_view rest = error.what();
    if (rest.starts_with("timed out: "sv)) rest.remove_prefix(11);
    // (What a pool waits for when all that it may lend are lent.)
    if (phase == "connect"sv && rest == "semaphore"sv) {
        phase = "wait for a connection";
        rest = "as many as max_per_host are in use"sv;
    }
    const bool says_more = rest != "timed out"sv;
    throw TimeoutError(weft::detail::concat(
        {"timed out: ", what, ": ", phase, says_more ? ": " : "", says_more ? rest : ""sv}));
}
WEFT_INLINE void throw_in_phase(std::string_view what, std::string_view phase,
                                const std::system_error& error) {
    std::string_view rest = error.what();
    const std::string words = error.code().message();
    if (rest.ends_with(words)) rest.remove_suffix(words.size());
    if (rest.ends_with(": ")) rest.remove_suffix(2);
    throw std::system_error(error.code(), weft::detail::concat({what, ": ", phase, ": ", rest}));
}
WEFT_INLINE void throw_in_phase(std::string_view what, std::string_view phase,
                                const ProtocolError& error) {
    throw ProtocolError(error.status(),
                        weft::detail::concat({what, ": ", phase, ": ", error.what()}));
}

WEFT_INLINE std::string basic_credentials(const Url& url) {
    return "Basic " + base64(weft::detail::concat({url.user(), ":", url.password()}));
}

/// RFC 9110, section 9.3.6. From then on it is the server that is at the other end.
inline Coro<void> connect_through(Stream& stream, Url url, const Url& proxy, ParserLimits limits) {
    // (A URL does not say the port that is its scheme's own.)
    const std::string port = weft::detail::concat({":", weft::detail::decimal(url.port())});
    std::string host = url.authority();
    if (!host.ends_with(port)) host.append(port);
    std::string head =
        weft::detail::concat({"CONNECT ", host, " HTTP/1.1\r\nHost: ", host, "\r\n"});
    if (!proxy.user().empty())
        head.append("Proxy-Authorization: ").append(basic_credentials(proxy)).append("\r\n");
    head.append("\r\n");
    co_await stream.write(head);
    MessageReader reader(stream, MessageType::response, limits);
    MessageHead answer;
    do {
        reader.begin(answer);
        reader.answers("CONNECT");
        const bool found = co_await reader.read_head();
        if (!found) weft::detail::throw_system_error(ECONNRESET, "CONNECT: the proxy has closed");
    } while (answer.status / 100 == 1);
    if (answer.status / 100 != 2) {
        throw ProtocolError(
            answer.status,
            weft::detail::concat({"CONNECT: the proxy answers ",
                                  weft::detail::decimal(answer.status), " ", answer.reason}));
    }
    // (Nothing comes before TLS begins: whoever has sent that is not the server.)
    if (reader.has_rest())
        throw ProtocolError(400, "CONNECT: the proxy sends more than its answer");
}

WEFT_INLINE Coro<Stream> connect_to(Url url, Settings settings) {
    const ClientOptions& options = settings->options;
    if (url.is_unix()) {
        Stream stream = co_await open_unix_connection(url.host());
        co_return stream;
    }
    if (!settings->proxy) {
        if (url.is_secure()) {
            Stream stream =
                co_await open_connection(url.host(), url.port(), tls_of(options), options.connect);
            co_return stream;
        }
        Stream stream = co_await open_connection(url.host(), url.port(), options.connect);
        co_return stream;
    }
    const Url& proxy = *settings->proxy;
    std::optional<Stream> stream;
    if (proxy.is_secure()) {
        stream.emplace(
            co_await open_connection(proxy.host(), proxy.port(), tls_of(options), options.connect));
    } else if (proxy.is_unix()) {
        stream.emplace(co_await open_unix_connection(proxy.host()));
    } else {
        stream.emplace(co_await open_connection(proxy.host(), proxy.port(), options.connect));
    }
    if (url.is_secure() || url.is_websocket())
        co_await connect_through(*stream, url, proxy, settings->limits);
    if (url.is_secure()) {
        TlsOptions tls = tls_of(options);
        if (tls.server_hostname.empty()) tls.server_hostname = url.host();
        Stream secured = co_await start_tls(std::move(*stream), std::move(tls));
        co_return secured;
    }
    co_return std::move(*stream);
}

WEFT_INLINE Coro<SharedConnection> open_client_connection(Url url, Settings settings) {
    const Duration limit = limit_of(settings->options.connect_timeout);
    std::optional<Stream> stream;
    if (limit == no_limit) {
        stream.emplace(co_await connect_to(url, settings));
    } else {
        stream.emplace(co_await wait_for(connect_to(url, settings), limit));
    }
    co_return SharedConnection(new ClientConnection(std::move(*stream), settings->limits));
}

WEFT_INLINE Coro<bool> is_still_good(SharedConnection& connection) {
    char byte = 0;
    co_return !connection->reader.has_rest() &&
        !connection->stream.try_read(MutableBuffer(&byte, 1)).has_value();
}
#endif

}  // namespace weft::http::detail
