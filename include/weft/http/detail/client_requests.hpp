// SPDX-License-Identifier: MIT
// How a client makes a request: a connection of the pool, another try, redirects.
#pragma once

#include <cstddef>
#include <exception>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "../../base/clock.hpp"
#include "../../base/error.hpp"
#include "../../base/owned.hpp"
#include "../../base/ref.hpp"
#include "../../patterns/pool.hpp"
#include "../../patterns/retry.hpp"
#include "../../runtime/loop.hpp"
#include "../../task/coro.hpp"
#include "../../task/sleep.hpp"
#include "../body.hpp"
#include "../client_options.hpp"
#include "../headers.hpp"
#include "../protocol_error.hpp"
#include "../url.hpp"
#include "client_connection.hpp"
#include "exchange.hpp"
#include "text.hpp"

namespace weft::http::detail {

struct ClientState : weft::detail::Counted<ClientState> {
    explicit ClientState(ClientOptions options) : settings(new ClientSettings(std::move(options))) {
        static_cast<void>(weft::detail::Backoff(settings->options.retry));  // refuses nonsense
    }

    ConnectionPool& pool_of(const Url& url);
    std::size_t count(bool idle) const noexcept {
        std::size_t sum = 0;
        for (const auto& [key, pool] : pools) sum += idle ? pool->idle() : pool->lent();
        return sum;
    }

    Settings settings;
    std::map<std::string, weft::detail::Owned<ConnectionPool>> pools;
    bool closed = false;
};
using SharedClient = weft::detail::Ref<ClientState>;

struct Fetched {
    Fetched(OwnedExchange got, int followed) noexcept
        : exchange(std::move(got)), redirects(followed) {}
    OwnedExchange exchange;
    int redirects;
};

inline ConnectionPool& ClientState::pool_of(const Url& url) {
    if (closed) throw PoolClosed();
    const bool is_direct = url.is_unix() || url.is_secure() || !settings->proxy;
    // (Through a proxy that is asked for whole URLs one connection is as good as another.)
    const std::string key = is_direct ? weft::detail::concat({url.scheme(), "://", url.host(), ":",
                                                              weft::detail::decimal(url.port())})
                                      : std::string("proxy");
    const auto found = pools.find(key);
    if (found != pools.end()) return *found->second;
    // Who visits many hosts shall not keep a pool of each for ever.
    for (auto at = pools.begin(); at != pools.end();) {
        const bool is_unused = at->second->is_unused();
        at = is_unused && pools.size() > 64 ? pools.erase(at) : std::next(at);
    }
    ConnectionPool::Options options(settings->options.max_per_host, settings->options.idle_timeout);
    options.check = &is_still_good;
    auto make = [url, settings = settings] { return open_client_connection(url, settings); };
    weft::detail::Owned<ConnectionPool> made(
        new ConnectionPool(std::move(make), std::move(options)));
    return *pools.emplace(key, std::move(made)).first->second;
}

/// RFC 9110, section 9.2.2, of the methods that are common.
constexpr bool may_repeat(std::string_view method) noexcept {
    for (const std::string_view each : {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}) {
        if (method == each) return true;
    }
    return false;
}

/// Where the message ends, and whether the connection goes on, is not the caller's to say.
inline void check_request(const std::string& method, const Headers& headers) {
    if (!is_token(method) || method == "CONNECT")
        throw std::invalid_argument(
            weft::detail::concat({"weft: no method for a request: \"", method, "\""}));
    for (const std::string_view name : {"Content-Length", "Transfer-Encoding", "Upgrade"}) {
        if (headers.contains(name))
            throw std::invalid_argument(
                weft::detail::concat({"weft: the header field ", name, " is set by the client"}));
    }
}

inline void append_field(std::string& head, std::string_view name, std::string_view value) {
    head.append(name).append(": ").append(value).append("\r\n");
}

inline std::string request_head(const ClientSettings& settings, const std::string& method,
                                const Url& url, const Headers& headers, const Body& body) {
    const ClientOptions& options = settings.options;
    const bool by_proxy = settings.proxy && !url.is_secure() && !url.is_unix();
    std::string head = weft::detail::concat(
        {method, " ", by_proxy ? url.to_string() : url.target(), " HTTP/1.1\r\n"});
    if (!headers.contains("Host")) append_field(head, "Host", url.authority());
    for (const Headers::Field field : headers) append_field(head, field.name, field.value);
    const auto lacks = [&](std::string_view name) { return !headers.contains(name); };
    if (!options.user_agent.empty() && lacks("User-Agent"))
        append_field(head, "User-Agent", options.user_agent);
    if (lacks("Accept")) append_field(head, "Accept", "*/*");
    if (options.decompress && !Inflate::accepted().empty() && lacks("Accept-Encoding"))
        append_field(head, "Accept-Encoding", Inflate::accepted());
    if (!url.user().empty() && lacks("Authorization"))
        append_field(head, "Authorization", basic_credentials(url));
    if (by_proxy && !settings.proxy->user().empty())
        append_field(head, "Proxy-Authorization", basic_credentials(*settings.proxy));
    if (!body.length()) {
        append_field(head, "Transfer-Encoding", "chunked");
    } else if (*body.length() > 0 || method == "POST" || method == "PUT" || method == "PATCH") {
        head.append("Content-Length: ");
        append_number(head, *body.length());
        head.append("\r\n");
    }
    head.append("\r\n");
    return head;
}

/// One request on one connection.
inline Coro<OwnedExchange> attempt(SharedClient client, Deadline deadline,
                                   const std::string& method, const Url& url,
                                   const Headers& headers, BodyRef body) {
    for (;;) {
        OwnedExchange exchange(new Exchange(weft::detail::concat({method, " ", url.to_string()}),
                                            client->settings, deadline, url));
        exchange->lease = co_await in_phase(exchange->what, "connect", deadline.within(no_limit),
                                            client->pool_of(url).acquire());
        exchange->connection = *exchange->lease;
        if (headers.has_token("Connection", "close")) exchange->must_close = true;
        bool is_stale = false;
        try {
            co_await exchange_messages(
                exchange.shared(), method,
                request_head(*client->settings, method, url, headers, body->body), body);
        } catch (const StaleConnection& stale) {
            // Where the server has not said anything it may have done what was asked, all the same.
            is_stale = may_repeat(method) && !body->body.is_streamed();
            if (!is_stale) stale.rethrow();
        }
        if (is_stale) continue;  // in the end on a connection that is new
        const ClientOptions& options = client->settings->options;
        const std::string_view encoding = exchange->head.headers.value("Content-Encoding");
        if (options.decompress && !encoding.empty() && method != "HEAD")
            exchange->inflate = Inflate::make(encoding, options.max_decompressed);
        if (!exchange->upload && exchange->connection->reader.is_complete()) exchange->settle();
        co_return std::move(exchange);
    }
}

inline bool is_busy_status(int status) noexcept {
    return status == 429 || (status >= 502 && status <= 504);
}

/// What the server asks for with its Retry-After, in seconds; the pause of the options otherwise.
inline Duration pause_before_retry(const Exchange* exchange, weft::detail::Backoff& pauses,
                                   Duration longest) {
    const Duration pause = pauses.next();
    if (!exchange) return pause;
    const auto seconds = number_of(exchange->head.headers.value("Retry-After"));
    if (!seconds || *seconds > 1'000'000) return pause;
    const Duration asked = std::chrono::seconds(*seconds);
    return std::max(pause, std::min(asked, longest));
}

inline Coro<OwnedExchange> attempts(SharedClient client, Deadline deadline,
                                    const std::string& method, const Url& url,
                                    const Headers& headers, BodyRef body) {
    const RetryOptions& retry = client->settings->options.retry;
    weft::detail::Backoff pauses(retry);
    const bool can_repeat = may_repeat(method) && !body->body.is_streamed();
    // (A try that would begin when all time is over ends in a TimeoutError that says nothing of
    // what was wrong.)
    const auto has_time_for = [deadline](Duration pause) {
        return deadline.within(no_limit) > pause;
    };
    for (int calls = 1;; ++calls) {
        const bool is_last = calls >= retry.attempts || !can_repeat;
        Duration pause(0);
        try {
            OwnedExchange exchange = co_await attempt(client, deadline, method, url, headers, body);
            if (is_last || !is_busy_status(exchange->head.status)) co_return std::move(exchange);
            pause = pause_before_retry(exchange.operator->(), pauses, retry.longest);
            if (!has_time_for(pause)) co_return std::move(exchange);
        } catch (const TlsError&) {
            throw;
        } catch (const std::system_error&) {
            if (is_last) throw;
            pause = pause_before_retry(nullptr, pauses, retry.longest);
            if (!has_time_for(pause)) throw;
        } catch (const TimeoutError&) {
            if (is_last) throw;
            pause = pause_before_retry(nullptr, pauses, retry.longest);
            if (!has_time_for(pause)) throw;
        }
        co_await sleep(pause);
    }
}

/// Reads what is left, if it is little: then the connection can be used again.
inline Coro<void> drain(SharedExchange exchange) {
    std::size_t size = 0;
    try {
        for (;;) {
            const std::string_view piece = co_await exchange->next_piece();
            size += piece.size();
            if (piece.empty() || size > 64 * 1024) break;
        }
    } catch (const std::exception&) {  // then it is closed
    }
    exchange->let_go();
}

/// RFC 9110, section 15.4.
constexpr bool is_redirect(int status) noexcept {
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

inline Coro<Fetched> fetch(SharedClient client, std::string method, std::string text,
                           Headers headers, Body given) {
    const ClientOptions& options = client->settings->options;
    for (const Headers::Field field : options.headers) {
        if (!headers.contains(field.name)) headers.add(field.name, field.value);
    }
    check_request(method, headers);
    BodyRef body(new SharedBody(std::move(given)));
    Url url(text);
    if (url.is_websocket())
        throw std::invalid_argument("weft: a WebSocket's URL is for connect_websocket");
    Deadline deadline;
    if (options.total_timeout > Duration(0))
        deadline.when =
            weft::detail::end_of_limit(get_running_loop().time(), options.total_timeout);
    for (int redirects = 0;; ++redirects) {
        OwnedExchange exchange = co_await attempts(client, deadline, method, url, headers, body);
        const int status = exchange->head.status;
        const auto location = exchange->head.headers.get("Location");
        if (options.max_redirects <= 0 || !is_redirect(status) || !location)
            co_return Fetched(std::move(exchange), redirects);
        if (redirects >= options.max_redirects)
            throw ProtocolError(status,
                                weft::detail::concat({exchange->what, ": too many redirects"}));
        std::optional<Url> next;
        try {
            next.emplace(url.resolve(*location));
        } catch (const std::invalid_argument& error) {
            throw ProtocolError(
                status, weft::detail::concat({exchange->what, ": a redirect to ", error.what()}));
        }
        // (No server leads to this host's sockets; the one behind a socket may stay there.)
        if (next->is_websocket() || (next->is_unix() && !next->is_same_origin(url)))
            throw ProtocolError(status, weft::detail::concat({exchange->what, ": a redirect to ",
                                                              next->to_string()}));
        const bool becomes_get = (status == 303 && method != "HEAD") ||
                                 ((status == 301 || status == 302) && method == "POST");
        if (!becomes_get && body->body.is_streamed())
            throw ProtocolError(
                status,
                weft::detail::concat({exchange->what, ": a redirect of a body that is gone"}));
        if (becomes_get) {
            method = "GET";
            body = BodyRef(new SharedBody(Body()));
            for (const std::string_view name :
                 {"Content-Type", "Content-Encoding", "Content-Language"})
                headers.remove(name);
        }
        if (!url.is_same_origin(*next)) {
            for (const std::string_view name :
                 {"Authorization", "Cookie", "Proxy-Authorization", "Host"})
                headers.remove(name);
        }
        co_await drain(exchange.shared());
        url = std::move(*next);
    }
}

inline Coro<void> close_client(SharedClient client) {
    client->closed = true;
    // All of them are closed at once; and the client may go meanwhile, its pools with it.
    std::vector<Coro<void>> closing;
    for (auto& [key, pool] : client->pools) closing.push_back(pool->close());
    for (Coro<void>& each : closing) co_await std::move(each);
}

}  // namespace weft::http::detail
