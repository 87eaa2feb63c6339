// SPDX-License-Identifier: MIT
// As much of PostgreSQL's protocol as a question and its answer take.
#pragma once

#include <weft/net/stream.hpp>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace postgres {

inline std::string number(std::size_t value, int bytes) {
    std::string text;
    for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8)
        text += static_cast<char>((value >> shift) & 0xff);
    return text;
}
inline std::size_t number_at(std::string_view text, std::size_t at, std::size_t bytes) {
    std::size_t value = 0;
    for (const char letter : text.substr(at, bytes))
        value = value << 8 | static_cast<unsigned char>(letter);
    return value;
}

/// Each message says its length, which counts itself.
inline std::string message(std::string_view type, std::string_view body) {
    std::string text(type);
    text += number(body.size() + 4, 4);
    text += body;
    return text;
}

struct Message {
    Message(char of, std::string text) : type(of), body(std::move(text)) {}
    char type;
    std::string body;
};

inline weft::Coro<Message> read_message(weft::Stream& stream) {
    const std::string head = co_await stream.read_exactly(5);
    std::string body = co_await stream.read_exactly(number_at(head, 1, 4) - 4);
    if (head[0] == 'E') throw std::runtime_error("postgres: " + body);
    co_return Message(head[0], std::move(body));
}

/// Asks for TLS. True: it is to begin now.
inline weft::Coro<bool> asks_for_tls(weft::Stream& stream) {
    const std::string request = message("", number(80877103, 4));
    co_await stream.write(request);
    const std::string answer = co_await stream.read_exactly(1);
    co_return answer == "S";
}

/// Logs in as a user without a password, asks, and returns the first column, a line for each row.
inline weft::Coro<std::string> ask(weft::Stream& stream, std::string user, std::string database,
                                   std::string question) {
    std::string start = number(0x30000, 4);
    for (const std::string& word : {std::string("user"), user, std::string("database"), database})
        start += word + '\0';
    co_await stream.write(message("", start + '\0'));
    std::string rows;
    bool asked = false;
    for (;;) {
        const Message got = co_await read_message(stream);
        if (got.type == 'D') rows += got.body.substr(6, number_at(got.body, 2, 4)) + "\n";
        if (got.type != 'Z') continue;
        if (std::exchange(asked, true)) break;
        co_await stream.write(message("Q", question + '\0'));
    }
    co_await stream.write(message("X", ""));
    // It says nothing, and closes.
    const std::string rest = co_await stream.read_all(1000);
    if (!rest.empty()) throw std::runtime_error("postgres: " + rest);
    co_return rows;
}

}  // namespace postgres
