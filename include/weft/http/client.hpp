// SPDX-License-Identifier: MIT
// Client: HTTP requests, with connections that are kept for the next ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "../base/config.hpp"
#include "../base/ref.hpp"
#include "../task/coro.hpp"
#include "body.hpp"
#include "body_reader.hpp"
#include "client_options.hpp"
#include "detail/exchange.hpp"
#include "headers.hpp"
#include "url.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <exception>
#include <system_error>

#include "detail/client_requests.hpp"
#endif

namespace weft::http {

namespace detail {
struct ClientState;
}  // namespace detail

/// What is asked for, where it takes more than a URL.
struct ClientRequest {
    ClientRequest(std::string its_method, std::string its_url)
        : method(std::move(its_method)), url(std::move(its_url)) {}

    std::string method;
    std::string url;
    Headers headers{};
    Body body{};
};

/// See ClientResponse::raise_for_status.
class StatusError : public std::runtime_error {
public:
    StatusError(int status, const std::string& what) : std::runtime_error(what), status_(status) {}
    int status() const noexcept { return status_; }

private:
    int status_;
};

/// The head of a response, and its body as it comes. Read to its end, it gives its connection back;
/// one that goes before that closes it.
class [[nodiscard]] ClientResponse {
public:
    ClientResponse(detail::OwnedExchange exchange, int redirects) noexcept
        : exchange_(std::move(exchange)), redirects_(redirects) {}

    int status() const { return exchange_->head.status; }
    const std::string& reason() const { return exchange_->head.reason; }
    const Headers& headers() const { return exchange_->head.headers; }
    /// Where it comes from, redirects followed.
    const Url& url() const { return exchange_->url; }
    int redirects() const noexcept { return redirects_; }
    bool is_ok() const { return status() >= 200 && status() < 300; }
    /// Throws:   StatusError for 4xx and 5xx, with the URL.
    const ClientResponse& raise_for_status() const;

    /// The body, uncompressed, as it comes.
    /// Lifetime: the response outlives the reads.
    BodyReader body() { return BodyReader(*exchange_); }
    /// All of it.
    /// Throws:   ProtocolError where it is more than `limit`, cut short, or malformed; TimeoutError;
    ///           std::system_error (recv; ECANCELED when the response goes meanwhile);
    ///           CancelledError. All of them name the URL.
    /// Cancel:   what has come is lost, and the connection is closed with the response.
    Coro<std::string> text(std::size_t limit = 16 * 1024 * 1024) {
        return read_text(exchange_.shared(), limit);
    }

private:
    static Coro<std::string> read_text(detail::SharedExchange exchange, std::size_t limit);

    detail::OwnedExchange exchange_;
    int redirects_;
};

/// What aiohttp calls a ClientSession, and httpx an AsyncClient.
///
///     weft::http::Client client;
///     auto response = co_await client.get("https://example.com/");
///     std::string text = co_await response.text();
///
/// Keeps the connections that can be used again, a number of them for each host. One that the
/// server has closed meanwhile is noticed; where it is closed at the very moment, a request that
/// may be repeated is. Redirects are followed (the Authorization field and the like stay behind
/// when they lead elsewhere), gzip and deflate are undone, bodies stream both ways at the same
/// time. There are no cookies, no cache and no HTTP/2.
/// Thread:   loop thread only. Responses may outlive it.
class Client {
public:
    /// Throws:   std::invalid_argument for a proxy that is no URL, and options that make no sense.
    explicit Client(ClientOptions options = {});
    Client(Client&& other) noexcept;
    Client& operator=(Client&&) = delete;
    /// Closes it without waiting.
    ~Client();

    /// Sends the request and waits for the head of the response.
    /// Throws:   std::invalid_argument for a URL or method that is none, and for header fields that
    ///           are the client's to set; TimeoutError; std::system_error (getaddrinfo, connect,
    ///           send, recv); TlsError; ProtocolError for what is no HTTP, and for too many
    ///           redirects; PoolClosed; what the body's maker throws; CancelledError. Each names
    ///           method, URL and what was being done.
    /// Cancel:   the connection is closed, unless nothing was sent on it; what was being sent has
    ///           ended when it goes on.
    Coro<ClientResponse> request(ClientRequest request);

    Coro<ClientResponse> get(std::string url, Headers headers = {});
    Coro<ClientResponse> head(std::string url, Headers headers = {});
    Coro<ClientResponse> post(std::string url, Body body, Headers headers = {});
    Coro<ClientResponse> put(std::string url, Body body, Headers headers = {});
    /// DELETE, which C++ has taken.
    Coro<ClientResponse> remove(std::string url, Headers headers = {});

    /// No more requests; waits until the responses that are being read have given their connections
    /// back. Idempotent.
    /// Cancel:   ends the wait; it stays closed.
    Coro<void> close();

    /// Connections that wait for the next request; and those that are in use.
    std::size_t idle_connections() const noexcept;
    std::size_t busy_connections() const noexcept;

private:
    Coro<ClientResponse> send(const char* method, std::string url, Body body, Headers headers);

    weft::detail::Ref<detail::ClientState> state_;
};

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
WEFT_INLINE const ClientResponse& ClientResponse::raise_for_status() const {
    if (status() < 400) return *this;
    throw StatusError(status(),
                      weft::detail::concat(
                          {exchange_->what, ": ", weft::detail::decimal(status()), " ", reason()}));
}

WEFT_INLINE Coro<std::string> ClientResponse::read_text(detail::SharedExchange exchange,
                                                        std::size_t limit) {
    BodyReader reader(*exchange);
    co_return co_await reader.read_all(limit);
}

WEFT_INLINE Client::Client(ClientOptions options)
    : state_(new detail::ClientState(std::move(options))) {}
WEFT_INLINE Client::Client(Client&&) noexcept = default;
WEFT_INLINE Client::~Client() {
    if (state_) state_->pools.clear();
}

namespace detail {
inline Coro<ClientResponse> run_request(weft::detail::Ref<ClientState> client, std::string method,
                                        std::string url, Headers headers, Body body) {
    Fetched fetched = co_await fetch(std::move(client), std::move(method), std::move(url),
                                     std::move(headers), std::move(body));
    co_return ClientResponse(std::move(fetched.exchange), fetched.redirects);
}
}  // namespace detail

WEFT_INLINE Coro<ClientResponse> Client::request(ClientRequest request) {
    return detail::run_request(state_, std::move(request.method), std::move(request.url),
                               std::move(request.headers), std::move(request.body));
}
WEFT_INLINE Coro<ClientResponse> Client::send(const char* method, std::string url, Body body,
                                              Headers headers) {
    return detail::run_request(state_, method, std::move(url), std::move(headers), std::move(body));
}
WEFT_INLINE Coro<ClientResponse> Client::get(std::string url, Headers headers) {
    return send("GET", std::move(url), Body(), std::move(headers));
}
WEFT_INLINE Coro<ClientResponse> Client::head(std::string url, Headers headers) {
    return send("HEAD", std::move(url), Body(), std::move(headers));
}
WEFT_INLINE Coro<ClientResponse> Client::post(std::string url, Body body, Headers headers) {
    return send("POST", std::move(url), std::move(body), std::move(headers));
}
WEFT_INLINE Coro<ClientResponse> Client::put(std::string url, Body body, Headers headers) {
    return send("PUT", std::move(url), std::move(body), std::move(headers));
}
WEFT_INLINE Coro<ClientResponse> Client::remove(std::string url, Headers headers) {
    return send("DELETE", std::move(url), Body(), std::move(headers));
}
WEFT_INLINE Coro<void> Client::close() { return detail::close_client(state_); }

WEFT_INLINE std::size_t Client::idle_connections() const noexcept { return state_->count(true); }
WEFT_INLINE std::size_t Client::busy_connections() const noexcept { return state_->count(false); }
#endif

}  // namespace weft::http
