// SPDX-License-Identifier: MIT
// Response: what a handler of a server returns.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "../base/callback.hpp"
#include "../base/config.hpp"
#include "../net/stream.hpp"
#include "../task/coro.hpp"
#include "body.hpp"
#include "headers.hpp"

namespace weft::http {

namespace detail {
class Connection;
using Takeover = weft::detail::Callback<Coro<void>(Stream, std::string)>;
}  // namespace detail

/// The answer to a request: a status, fields, a body. Move-only.
///
///     co_return http::Response("hello");                    // 200, text/plain
///     co_return http::Response::json(R"({"id": 7})", 201);
///
/// What belongs to the message itself is the server's: Content-Length, Transfer-Encoding,
/// Connection and Date are set by it. (`Connection: close` is heard, too.)
class Response {
public:
    explicit Response(int with_status = 200) noexcept : status(with_status) {}
    // NOLINTNEXTLINE(google-explicit-constructor): text is an answer.
    Response(std::string text, int with_status = 200) : status(with_status), body(std::move(text)) {
        headers.append("Content-Type", "text/plain; charset=utf-8");
    }
    // NOLINTNEXTLINE(google-explicit-constructor): as above.
    Response(const char* text, int with_status = 200) : Response(std::string(text), with_status) {}
    Response(Body with_body, std::string_view content_type, int with_status = 200)
        : status(with_status), body(std::move(with_body)) {
        if (!content_type.empty()) headers.add("Content-Type", content_type);
    }

    static Response json(std::string text, int status = 200) {
        return Response(std::move(text), "application/json", status);
    }
    static Response html(std::string text, int status = 200) {
        return Response(std::move(text), "text/html; charset=utf-8", status);
    }
    static Response redirect(std::string_view location, int status = 302) {
        Response response(status);
        response.headers.add("Location", location);
        return response;
    }
    /// 101: from the end of this response on the connection speaks `protocol`, and is `fn`'s:
    /// `fn(Stream, std::string)`, which returns a Coro<void>, gets the stream, and what was read of
    /// it already. The server goes on counting it as its connection until that has ended.
    template <class Fn>
    requires std::is_invocable_r_v<Coro<void>, Fn&, Stream, std::string> static Response upgrade(
        std::string_view protocol, Fn fn) {
        Response response(101);
        response.headers.add("Connection", "Upgrade");
        response.headers.add("Upgrade", protocol);
        response.takeover_ = detail::Takeover(std::move(fn));
        return response;
    }

    int status;
    Headers headers;
    Body body;

private:
    friend class detail::Connection;
    detail::Takeover takeover_;
};

}  // namespace weft::http
