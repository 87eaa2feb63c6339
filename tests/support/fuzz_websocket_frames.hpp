// SPDX-License-Identifier: MIT
// What is fuzzed of the frames of a WebSocket: the same bytes, cut in any way, say the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include <weft/http/detail/websocket_frames.hpp>

namespace support {

/// Everything that a decoder finds in the bytes, and what is wrong with them in the end.
inline std::string websocket_events(std::string_view bytes, bool is_server, std::size_t step) {
    using namespace weft::http::detail;
    constexpr std::uint64_t limit = 1000;
    FrameDecoder decoder(is_server ? WebSocketRole::server : WebSocketRole::client, limit, limit);
    std::string found;
    std::string message;
    try {
        while (!bytes.empty()) {
            std::string_view some = bytes.substr(0, step);
            bytes.remove_prefix(some.size());
            for (;;) {
                const FrameEvent event = decoder.next(some, message);
                if (message.size() > limit) std::abort();
                if (event.kind == FrameEvent::Kind::nothing) break;
                if (event.kind != FrameEvent::Kind::data) {
                    found += static_cast<char>('0' + static_cast<int>(event.kind));
                    found += decoder.control();
                } else if (event.ends) {
                    if (event.is_text && !is_utf8(message)) std::abort();
                    found += event.is_text ? 't' : 'b';
                    found += message;
                    message.clear();
                }
            }
            if (!some.empty()) std::abort();
        }
    } catch (const weft::http::WebSocketError& error) {
        return found + "!" + std::to_string(error.code());
    }
    return found;
}

/// The first byte says how the others are cut, and who reads them.
inline void fuzz_websocket_frames(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return;
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    const bool is_server = (data[0] & 1) != 0;
    const std::string whole = websocket_events(bytes, is_server, bytes.size());
    if (websocket_events(bytes, is_server, data[0] / 2 + 1u) != whole) std::abort();
    if (websocket_events(bytes, is_server, 1) != whole) std::abort();
}

}  // namespace support
