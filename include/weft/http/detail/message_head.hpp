// SPDX-License-Identifier: MIT
// MessageHead: what stands before the body of a message; ParserLimits: how much of it there may be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "../headers.hpp"

namespace weft::http::detail {

enum class MessageType : bool { request, response };

/// How long a message's body is.
enum class BodyLength : unsigned char {
    none,
    known,    // MessageHead::length
    chunked,  // it says itself
    to_end,   // of the connection; responses alone
};

/// The room that a connection which waits for its next message keeps for it. What has grown beyond
/// that for one that was large goes back: most connections of a server are idle.
inline constexpr std::size_t standing_room = 2048;

inline void shed(std::string& text) noexcept {
    if (text.capacity() > standing_room) std::string().swap(text);
}

/// What stands before the body.
struct MessageHead {
    std::string_view method;  // of a request; static text
    std::string target;
    int status = 0;  // of a response
    std::string reason;
    int minor_version = 1;  // of HTTP/1.x
    Headers headers;
    BodyLength body = BodyLength::none;
    std::uint64_t length = 0;
    bool keep_alive = true;         // the peer would use the connection for another message
    bool upgrade = false;           // it asks for, or agrees to, another protocol
    bool expects_continue = false;  // it waits for a 100 before it sends the body

    void clear() noexcept {
        target.clear();
        reason.clear();
        headers.clear();
        upgrade = expects_continue = false;
        body = BodyLength::none;
        length = 0;
    }
    /// Nobody uses what is in it, and it is not known when the next message comes.
    void rest() noexcept {
        clear();
        shed(target);
        shed(reason);
        if (headers.text_.capacity() > standing_room) std::string().swap(headers.text_);
        if (headers.fields_.capacity() * sizeof(Headers::Place) > standing_room)
            std::vector<Headers::Place>().swap(headers.fields_);
    }
};

struct ParserLimits {
    ParserLimits() noexcept {}
    std::size_t head = 32 * 1024;   // bytes
    std::size_t target = 8 * 1024;  // bytes
    std::size_t fields = 100;
    /// Chunk extensions and trailers, which nobody reads, of one message.
    std::size_t chunk_extras = 16 * 1024;
};

}  // namespace weft::http::detail
