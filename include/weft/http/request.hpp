// SPDX-License-Identifier: MIT
// Request: what a handler of a server gets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/config.hpp"
#include "../task/coro.hpp"
#include "body_reader.hpp"
#include "detail/message_head.hpp"
#include "headers.hpp"
#include "http_error.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include "../base/error.hpp"
#include "detail/text.hpp"
#endif

namespace weft {
class Stream;
}

namespace weft::http {

namespace detail {
class Connection;
class RouteTree;
}  // namespace detail

/// A request that has arrived, up to the end of its head; its body is read by whoever wants it.
/// Lifetime: until its handler has ended. Views that its functions return live as long.
/// Thread:   loop thread only.
class Request {
public:
    Request() noexcept {}
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;

    /// "GET"
    std::string_view method() const noexcept { return head_.method; }
    /// As it was sent: "/users/7?full=1".
    std::string_view target() const noexcept { return head_.target; }
    /// The target's path, as it was sent: with percent signs.
    std::string_view path() const noexcept { return path_; }
    /// What stands behind the question mark, as it was sent.
    std::string_view query_string() const noexcept { return query_; }
    /// The value that the query has under this name, decoded; of several the first one.
    std::optional<std::string> query(std::string_view name) const;
    const Headers& headers() const noexcept { return head_.headers; }
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    int minor_version() const noexcept { return head_.minor_version; }

    /// What the route's pattern calls `name`, decoded; empty for a name that it does not have.
    std::string_view param(std::string_view name) const noexcept;
    /// The same as a whole number.
    /// Throws:   HttpError with 404 where it is none, or does not fit.
    template <class T>
        requires std::is_integral_v<T> T param(std::string_view name)
    const {
        const std::int64_t number = whole_number(name);
        const T fitting = static_cast<T>(number);
        if (static_cast<std::int64_t>(fitting) != number || (fitting < T{}) != (number < 0))
            throw HttpError(404);
        return fitting;
    }

    /// Reads it as it comes. A client that asked for it (`Expect: 100-continue`) is told to send it
    /// with the first read.
    BodyReader& body() noexcept { return body_; }
    /// The whole body.
    /// Throws:   as BodyReader; ProtocolError with 413 for more than ServerOptions::max_body, or
    ///           what `set_max_body` has said. (The server answers it, where the handler lets it
    ///           pass.)
    Coro<std::string> read() { return body_.read_all(SIZE_MAX); }
    /// For this request alone, before its body is read. (A route that takes uploads.)
    void set_max_body(std::uint64_t bytes) noexcept { max_body_ = bytes; }

    /// The connection, for its addresses and options. Who reads from it or writes to it breaks it:
    /// for another protocol see `Response::upgrade`.
    Stream& stream() const noexcept { return *stream_; }

private:
    friend class detail::Connection;
    friend class detail::RouteTree;

    struct Param {
        std::string_view name;  // of the pattern
        std::string value;
    };

    void split_target() noexcept;
    /// Its handler has ended, and the next one is not there yet.
    void rest() noexcept;
    std::int64_t whole_number(std::string_view name) const;

    detail::MessageHead head_;
    std::string_view path_;
    std::string_view query_;
    std::vector<Param> params_;
    BodyReader body_;
    std::uint64_t max_body_ = 0;
    Stream* stream_ = nullptr;
};

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
WEFT_INLINE void Request::split_target() noexcept {
    std::string_view target = head_.target;
    if (!target.empty() && target.front() != '/') {
        // A proxy's form; what stands there goes before the Host field, and we serve any.
        const std::size_t scheme = target.find("://");
        if (scheme != std::string_view::npos) {
            const std::size_t path = target.find_first_of("/?", scheme + 3);
            target = path == std::string_view::npos ? "/" : target.substr(path);
        }
    }
    const std::size_t mark = target.find('?');
    path_ = target.substr(0, mark);
    if (path_.empty()) path_ = "/";
    query_ = mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
}

WEFT_INLINE void Request::rest() noexcept {
    head_.rest();
    path_ = query_ = {};
    params_.clear();
}

WEFT_INLINE std::optional<std::string> Request::query(std::string_view name) const {
    std::string_view left = query_;
    while (!left.empty()) {
        const std::size_t end = left.find('&');
        const std::string_view pair = left.substr(0, end);
        left = end == std::string_view::npos ? std::string_view() : left.substr(end + 1);
        const std::size_t equals = pair.find('=');
        if (detail::percent_decoded(pair.substr(0, equals), true) != name) continue;
        if (equals == std::string_view::npos) return std::string();
        return detail::percent_decoded(pair.substr(equals + 1), true);
    }
    return std::nullopt;
}

WEFT_INLINE std::string_view Request::param(std::string_view name) const noexcept {
    for (const Param& each : params_) {
        if (each.name == name) return each.value;
    }
    return {};
}

WEFT_INLINE std::int64_t Request::whole_number(std::string_view name) const {
    std::string_view digits = param(name);
    const bool negative = !digits.empty() && digits.front() == '-';
    if (negative) digits.remove_prefix(1);
    const std::optional<std::uint64_t> number = detail::number_of(digits);
    if (!number || *number > INT64_MAX) throw HttpError(404);
    const auto value = static_cast<std::int64_t>(*number);
    return negative ? -value : value;
}
#endif

}  // namespace weft::http
