// SPDX-License-Identifier: MIT
// MessageReader: messages from a stream, one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "../../base/config.hpp"
#include "../../net/chunk.hpp"
#include "../../net/stream.hpp"
#include "../../task/coro.hpp"
#include "parser.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include "../../task/sleep.hpp"
#include "../protocol_error.hpp"
#endif

namespace weft::http::detail {

/// Reads by chunks: a connection that waits for its next message holds no buffer.
/// Cancel:   of every read: lossless; what was received stays here.
/// Lifetime: the stream outlives it.
class MessageReader {
public:
    MessageReader(Stream& stream, MessageType type, const ParserLimits& limits = {})
        : stream_(&stream), parser_(type, limits) {}

    /// For what comes next; before `read_head`, and when the message before is complete.
    void begin(MessageHead& head) noexcept { parser_.begin(head); }
    void answers(std::string_view method) noexcept { parser_.answers(method); }

    /// Reads up to the end of the head.
    /// Returns:  false: the connection ended before there was anything of it.
    /// Throws:   ProtocolError, also for an end in the middle of it; what the stream's reads throw.
    Coro<bool> read_head();
    /// Reads the next piece of the body.
    /// Returns:  empty: the message is complete. Otherwise valid until the next read.
    /// Throws:   as `read_head`.
    Coro<std::string_view> read_body();

    /// Parses what is here already.
    /// Returns:  whether the head is.
    bool parse_head();
    /// The next piece of the body without waiting; empty where none is here, or none comes.
    std::string_view take_body();
    /// What `Stream::read_chunk` has returned. One that is empty is the end.
    /// Throws:   as `read_head`.
    void received(Chunk chunk);

    bool has_begun() const noexcept { return parser_.has_begun(); }
    bool has_head() const noexcept { return parser_.has_head(); }
    /// The whole message was read (all of its body was taken).
    bool is_complete() const noexcept { return parser_.is_complete() && !parser_.has_piece(); }
    /// Bytes of a next message, or of another protocol, have arrived.
    bool has_rest() const noexcept { return at_ < chunk_.size(); }
    /// They are the caller's now.
    std::string take_rest();
    bool at_end() const noexcept { return ended_; }

private:
    static constexpr std::uint32_t most_in_a_row = 2000;

    void let_go() noexcept {
        if (!has_rest() && !parser_.has_piece()) {
            chunk_.reset();
            at_ = 0;
        }
    }
    void parse();
    [[noreturn, gnu::cold]] static void throw_cut();

    Stream* stream_;
    Parser parser_;
    Chunk chunk_;
    std::size_t at_ = 0;  // what was parsed of it
    // Pieces since others had their turn. (Of a body in chunks of one byte a single read
    // finds thousands, and what has arrived is read without a wait.)
    std::uint32_t in_a_row_ = 0;
    bool ended_ = false;
};

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
WEFT_INLINE void MessageReader::throw_cut() {
    throw ProtocolError(400, "weft: HTTP: the connection ended in the middle of a message");
}

WEFT_INLINE void MessageReader::parse() {
    while (has_rest() && !parser_.is_complete() && !parser_.has_piece())
        at_ += parser_.parse(chunk_.view().substr(at_));
}

WEFT_INLINE bool MessageReader::parse_head() {
    while (has_rest() && !parser_.has_head()) at_ += parser_.parse(chunk_.view().substr(at_));
    let_go();
    return parser_.has_head();
}

WEFT_INLINE void MessageReader::received(Chunk chunk) {
    if (!chunk.empty()) {
        chunk_ = std::move(chunk);
        at_ = 0;
        return;
    }
    ended_ = true;
    if (!parser_.finish() && parser_.has_begun()) throw_cut();
}

WEFT_INLINE Coro<bool> MessageReader::read_head() {
    while (!parse_head()) {
        if (ended_) co_return false;
        Chunk chunk = co_await stream_->read_chunk();
        received(std::move(chunk));
    }
    co_return true;
}

WEFT_INLINE std::string_view MessageReader::take_body() {
    for (;;) {
        if (const std::string_view piece = parser_.take_piece(); !piece.empty()) {
            ++in_a_row_;
            return piece;
        }
        // (The pieces that were handed out before are not used any more.)
        if (!has_rest() || parser_.is_complete()) {
            let_go();
            return {};
        }
        parse();
    }
}

WEFT_INLINE Coro<std::string_view> MessageReader::read_body() {
    for (;;) {
        if (const std::string_view piece = take_body(); !piece.empty()) co_return piece;
        if (parser_.is_complete()) co_return std::string_view();
        if (ended_) throw_cut();
        if (in_a_row_ > most_in_a_row) {
            in_a_row_ = 0;
            co_await yield();
        }
        Chunk chunk = co_await stream_->read_chunk();
        received(std::move(chunk));
    }
}

WEFT_INLINE std::string MessageReader::take_rest() {
    std::string rest(chunk_.view().substr(at_));
    chunk_.reset();
    at_ = 0;
    return rest;
}
#endif

}  // namespace weft::http::detail
