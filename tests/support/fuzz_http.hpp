// SPDX-License-Identifier: MIT
// Fuzzing of HTTP messages and URLs: whatever bytes come, in whatever pieces, the parser says the
// same of them, and what it takes has nothing that two readers could take for different things.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>

#include <weft/http/detail/parser.hpp>
#include <weft/http/detail/text.hpp>
#include <weft/http/protocol_error.hpp>
#include <weft/http/url.hpp>

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

inline void look_at(const MessageHead& head, MessageType type) {
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
    if (type == MessageType::response) {
        require(head.status >= 100 && head.status <= 999, "a status that is none");
        return;
    }
    require((head.body == BodyLength::chunked) == (encodings == 1), "chunks without a field");
    require(hosts == 1 || head.minor_version == 0, "not one Host");
    require(head.target.find_first_of(std::string_view("\r\n \0", 4)) == std::string::npos,
            "a target that ends early");
}

/// What the parser says of the bytes up to the last message that is whole, as text: in one piece
/// the body before a bad chunk is refused together with that.
inline std::string whole_messages(std::string_view text, std::size_t step, MessageType type,
                                  std::string_view method = {}) {
    std::string said;
    std::size_t whole = 0;
    Parser parser(type);
    MessageHead head;
    bool begun = false;
    bool told = false;
    try {
        while (!text.empty()) {
            const std::string piece(text.substr(0, step));
            text.remove_prefix(piece.size());
            std::string_view left = piece;
            while (!left.empty()) {
                if (!begun) {
                    parser.begin(head);
                    if (!method.empty()) parser.answers(method);
                }
                told = told && begun;
                begun = true;
                left.remove_prefix(parser.parse(left));
                if (parser.has_head() && !told) {
                    told = true;
                    look_at(head, type);
                    said.append(head.method).append(head.target);
                    said.append(std::to_string(head.status)).append("\n");
                }
                for (;;) {
                    const std::string_view body = parser.take_piece();
                    if (body.empty()) break;
                    said.append(body);
                }
                if (!parser.is_complete()) continue;
                whole = said.append("\nend\n").size();
                begun = false;
            }
        }
    } catch (const weft::http::ProtocolError&) {  // no more of them
    }
    said.resize(whole);
    return said;
}

inline void fuzz_http(std::string_view text, MessageType type, std::string_view method = {}) {
    const std::string once = whole_messages(text, text.size() + 1, type, method);
    for (const std::size_t step : {std::size_t{1}, std::size_t{5}}) {
        const std::string again = whole_messages(text, step, type, method);
        require(once == again, "pieces make a difference");
    }
}

inline void fuzz_http_request(const std::uint8_t* data, std::size_t size) {
    fuzz_http({reinterpret_cast<const char*>(data), size}, MessageType::request);
}

/// The first byte says what is answered.
inline void fuzz_http_response(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return;
    constexpr std::string_view methods[] = {"GET", "HEAD", "CONNECT"};
    fuzz_http({reinterpret_cast<const char*>(data) + 1, size - 1}, MessageType::response,
              methods[data[0] % 3]);
}

/// A URL that is one is the same when it is written and read again, and what a request makes of it
/// is one line.
inline void fuzz_url(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    std::optional<weft::http::Url> url;
    try {
        url.emplace(text);
    } catch (const std::invalid_argument&) {
        return;
    }
    const std::string written = url->to_string();
    const weft::http::Url again(written);
    require(again.to_string() == written && again.target() == url->target(), "another URL");
    require(again.is_same_origin(*url), "another origin");
    for (const std::string& line : {url->target(), url->authority()}) {
        for (const char each : line)
            require(static_cast<unsigned char>(each) > ' ' && each != 0x7f, "not one word");
    }
}

/// The same without libFuzzer: bytes that are put together of words.
template <std::size_t count>
void fuzz_with_words(unsigned seed, const char* const (&words)[count],
                     void (*fuzz)(const std::uint8_t*, std::size_t)) {
    std::mt19937 random(seed);
    std::string text(1, static_cast<char>(seed));
    if (fuzz != &fuzz_http_response) text.clear();
    for (auto left = random() % 24; left > 0; --left) text += words[random() % count];
    fuzz(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

}  // namespace support
