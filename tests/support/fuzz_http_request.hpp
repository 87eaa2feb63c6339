// SPDX-License-Identifier: MIT
// Fuzzing of requests: whatever bytes come, in whatever pieces, the parser of requests says the
// same of them, and what it takes for a request has nothing that two readers could take for
// different things.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <weft/http/detail/parser.hpp>
#include <weft/http/detail/text.hpp>
#include <weft/http/protocol_error.hpp>

namespace support {

using weft::http::detail::BodyLength;
using weft::http::detail::MessageHead;
using weft::http::detail::MessageType;
using weft::http::detail::Parser;

inline void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "%s\n", what);
    std::abort();
}

inline void look_at(const MessageHead& head) {
    std::size_t lengths = 0;
    std::size_t encodings = 0;
    std::size_t hosts = 0;
    for (const auto field : head.headers) {
        require(weft::http::detail::is_token(field.name), "a name that is no token");
        require(weft::http::detail::is_field_value(field.value), "a control character in a value");
        lengths += weft::http::detail::same_name(field.name, "content-length") ? 1U : 0U;
        encodings += weft::http::detail::same_name(field.name, "transfer-encoding") ? 1U : 0U;
        hosts += weft::http::detail::same_name(field.name, "host") ? 1U : 0U;
    }
    require(lengths + encodings <= 1, "two answers to where the message ends");
    require((head.body == BodyLength::chunked) == (encodings == 1), "chunks without a field");
    require(hosts == 1 || head.minor_version == 0, "not one Host");
    require(head.target.find_first_of(std::string_view("\r\n \0", 4)) == std::string::npos,
            "a target that ends early");
}

/// Everything that the parser says of the bytes, as text.
inline std::string all_of(std::string_view text, std::size_t step) {
    std::string said;
    Parser parser(MessageType::request);
    MessageHead head;
    bool begun = false;
    bool told = false;
    try {
        while (!text.empty()) {
            const std::string piece(text.substr(0, step));
            text.remove_prefix(piece.size());
            std::string_view left = piece;
            while (!left.empty()) {
                if (!begun) parser.begin(head);
                told = told && begun;
                begun = true;
                left.remove_prefix(parser.parse(left));
                if (parser.has_head() && !told) {
                    told = true;
                    look_at(head);
                    said.append(head.method).append(head.target).append("\n");
                }
                for (;;) {
                    const std::string_view body = parser.take_piece();
                    if (body.empty()) break;
                    said.append(body);
                }
                if (!parser.is_complete()) continue;
                said.append("\nend\n");
                begun = false;
            }
        }
    } catch (const weft::http::ProtocolError&) {
        said.append("\nrefused");
        // (In one piece the body before a bad chunk is refused together with that.)
        return said.substr(0, said.find("\nend\n") == std::string::npos ? 0 : std::string::npos);
    }
    return said;
}

/// Up to the last message that is whole, which is what both must agree in.
inline std::string_view whole(std::string_view said) {
    const std::size_t end = said.rfind("\nend\n");
    return end == std::string_view::npos ? std::string_view() : said.substr(0, end);
}

inline void fuzz_http_request(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const std::string once = all_of(text, size + 1);
    for (const std::size_t step : {std::size_t{1}, std::size_t{5}}) {
        const std::string again = all_of(text, step);
        require(whole(once) == whole(again), "pieces make a difference");
    }
}

}  // namespace support
