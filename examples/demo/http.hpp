// SPDX-License-Identifier: MIT
// As much of HTTP/1.1 (RFC 9112) as a service and a client need that exchange small pages.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace demo {

/// Ends the head of every message.
inline constexpr std::string_view end_of_head = "\r\n\r\n";

/// A message that does not follow the protocol.
class BadMessage : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// A request as the service sees it.
struct Request {
    std::string method;
    std::string path;
    bool keep_alive = false;  ///< the client wants to ask for more on this connection
    bool has_body = false;    ///< more follows the head
};

/// `head` is what `read_until(end_of_head)` gives.
/// Throws:   BadMessage.
Request parse_request(std::string_view head);

/// What the service answers.
struct Response {
    Response(int code, std::string text) noexcept : status(code), body(std::move(text)) {}

    int status;
    std::string body;
};

std::string_view reason_phrase(int status) noexcept;

/// The response as it goes over the wire. With `head_only` (a HEAD request) the body is left out,
/// and its length still told.
std::string to_text(const Response& response, bool head_only, bool keep_alive);

/// The head of a response as the client sees it.
struct ResponseHead {
    int status = 0;
    std::size_t content_length = 0;
};

/// Throws:   BadMessage.
ResponseHead parse_response(std::string_view head);

}  // namespace demo
