// SPDX-License-Identifier: MIT
// curl::Client, curl::Transfer: any URL that libcurl knows.
#pragma once

#include <curl/curl.h>

#include <string>
#include <utility>

#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/ref.hpp"
#include "../task/async_generator.hpp"
#include "../task/coro.hpp"
#include "detail/easy.hpp"
#include "detail/multi.hpp"
#include "error.hpp"
#include "request.hpp"
#include "response.hpp"
#if WEFT_BODIES || defined(WEFT_CURL_SOURCE)
#include "detail/easy_bodies.hpp"
#endif

namespace weft::curl {

/// A transfer whose body is read as it comes. When it goes, the transfer ends, whole or not.
/// Throws:   RuntimeError once it was moved from.
class [[nodiscard]] Transfer {
public:
    /// For `Client::open`.
    explicit Transfer(detail::Ref<detail::Easy> easy) noexcept : easy_(std::move(easy)) {}

    const Head& head() const { return easy()->head(); }
    int status() const { return head().status; }
    /// Waits for some of the body. While nobody reads, the server has to wait
    /// (`Request::read_ahead`).
    /// Returns:  what has arrived; empty: the end.
    /// Throws:   Error; TimeoutError; what a callback or the upload has thrown; CancelledError.
    /// Cancel:   lossless; but a piece of an upload that is cut off ends that.
    Coro<std::string> read() { return read_from(easy()); }
    /// Piece by piece to the end.
    AsyncGenerator<std::string> pieces() { return pieces_of(easy()); }

private:
    static Coro<std::string> read_from(detail::Ref<detail::Easy> easy);
    static AsyncGenerator<std::string> pieces_of(detail::Ref<detail::Easy> easy);
    const detail::Ref<detail::Easy>& easy() const {
        if (!easy_)
            weft::detail::throw_runtime_error("weft: an empty curl::Transfer: it was moved from");
        return easy_;
    }

    detail::Ref<detail::Easy> easy_;
};

/// Not an aggregate: see TaskOptions.
struct ClientOptions {
    ClientOptions() noexcept {}
    /// Connections; whoever comes when there are so many waits. 0: no limit.
    long max_connections = 0;
    long max_connections_per_host = 0;
};

/// Transfers by libcurl, any number at a time, over connections that are used again.
///
///     weft::curl::Client curl;
///     auto page = co_await curl.get("https://example.com/");
///     print(page.status, page.header("content-type"), page.body);
///
/// Every transfer, in one place:
/// Throws:   Error, with libcurl's words and the URL (a status of 404 is none, see
///           `Request::fail_on_error`); TimeoutError; LimitOverrunError; CancelledError;
///           RuntimeError once the client was moved from.
/// Cancel:   the transfer leaves libcurl at once, and its connection is closed. A look-up of its name
///           that runs is abandoned: its thread goes when the name server has answered. (libcurl
///           before 7.87 has no word for that, CURLOPT_QUICK_EXIT: there the loop waits for the
///           look-up's end, also when a timeout ends the transfer.)
/// Lifetime: the request is taken over. Transfers may outlive the client.
/// Thread:   loop thread only.
class Client {
public:
    /// Throws:   RuntimeError without a running loop.
    explicit Client(const ClientOptions& options = {});

    /// The whole body, up to `Request::body_limit`.
    Coro<Response> fetch(Request request) { return collect(multi(), std::move(request)); }
    /// Returns when the head is there.
    Coro<Transfer> open(Request request) { return begin(multi(), std::move(request)); }

    Coro<Response> get(std::string url) { return fetch(Request("GET", std::move(url))); }
    Coro<Response> head(std::string url) { return fetch(Request("HEAD", std::move(url))); }
    Coro<Response> post(std::string url, std::string body,
                        std::string content_type = "application/json") {
        return with_body("POST", std::move(url), std::move(body), std::move(content_type));
    }
    Coro<Response> put(std::string url, std::string body,
                       std::string content_type = "application/json") {
        return with_body("PUT", std::move(url), std::move(body), std::move(content_type));
    }

private:
    Coro<Response> with_body(std::string method, std::string url, std::string body,
                             std::string content_type) {
        Request request(std::move(method), std::move(url));
        request.body = std::move(body);
        request.headers.push_back("Content-Type: " + content_type);
        return fetch(std::move(request));
    }
    static Coro<Response> collect(detail::Ref<detail::Multi> multi, Request request);
    static Coro<Transfer> begin(detail::Ref<detail::Multi> multi, Request request);
    const detail::Ref<detail::Multi>& multi() const {
        if (!multi_)
            weft::detail::throw_runtime_error("weft: an empty curl::Client: it was moved from");
        return multi_;
    }

    detail::Ref<detail::Multi> multi_;
};

#if WEFT_BODIES || defined(WEFT_CURL_SOURCE)
WEFT_INLINE Client::Client(const ClientOptions& options) : multi_(new detail::Multi()) {
    CURLM* const handle = multi_->handle();
    ::curl_multi_setopt(handle, CURLMOPT_MAX_TOTAL_CONNECTIONS, options.max_connections);
    ::curl_multi_setopt(handle, CURLMOPT_MAX_HOST_CONNECTIONS, options.max_connections_per_host);
}

WEFT_INLINE Coro<Response> Client::collect(detail::Ref<detail::Multi> multi, Request request) {
    const detail::Ref<detail::Easy> easy(
        new detail::Easy(std::move(multi), std::move(request), detail::Easy::Body::collected));
    while (!easy->is_done()) co_await detail::Easy::news(easy);
    easy->check();
    co_return easy->response();
}

WEFT_INLINE Coro<Transfer> Client::begin(detail::Ref<detail::Multi> multi, Request request) {
    const detail::Ref<detail::Easy> easy(
        new detail::Easy(std::move(multi), std::move(request), detail::Easy::Body::streamed));
    while (!easy->has_head()) co_await detail::Easy::news(easy);
    if (easy->is_done()) easy->check();
    co_return Transfer(easy);
}

WEFT_INLINE Coro<std::string> Transfer::read_from(detail::Ref<detail::Easy> easy) {
    for (;;) {
        std::string bytes = easy->take();
        if (!bytes.empty()) co_return bytes;
        if (easy->is_done()) break;
        co_await detail::Easy::news(easy);
    }
    easy->check();
    co_return std::string();
}

WEFT_INLINE AsyncGenerator<std::string> Transfer::pieces_of(detail::Ref<detail::Easy> easy) {
    for (;;) {
        std::string bytes = co_await read_from(easy);
        if (bytes.empty()) co_return;
        co_yield std::move(bytes);
    }
}
#endif

}  // namespace weft::curl
