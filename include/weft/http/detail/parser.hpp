// SPDX-License-Identifier: MIT
// Parser: llhttp, and on top of it what a message must not have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "../../base/config.hpp"
#include "../../base/owned.hpp"
#include "message_head.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <cstring>
#include <vector>

#include "parser_state.hpp"
#endif

namespace weft::http::detail {

struct ParserState;

/// Takes one message after the other out of bytes as they come. What RFC 9112 lets a recipient
/// repair or ignore, and what messages have been smuggled with for that reason, is refused
/// (docs/decisions/0031).
class Parser {
public:
    explicit Parser(MessageType type, const ParserLimits& limits = {});
    Parser(const Parser&) = delete;
    Parser& operator=(const Parser&) = delete;
    ~Parser();

    /// The next message's head goes to `head`, which outlives the message's parsing.
    void begin(MessageHead& head) noexcept;
    /// For a response: it answers this method. (One to HEAD has no body, and one to CONNECT is the
    /// end of HTTP on the connection if it is a success.)
    void answers(std::string_view method) noexcept;

    /// Parses what it can of `input`, up to the end of the message. The pieces of the body that
    /// were found point into `input`.
    /// Returns:  bytes that were used up.
    /// Throws:   ProtocolError, and the parser is of no use any more; std::bad_alloc.
    std::size_t parse(std::string_view input);
    /// The connection is at its end.
    /// Returns:  whether the message is.
    bool finish() noexcept;

    /// Something of the message has come (empty lines before it count).
    bool has_begun() const noexcept;
    bool has_head() const noexcept;
    bool is_complete() const noexcept;
    /// The next piece of the body; empty: none is left of the last input.
    std::string_view take_piece() noexcept;
    bool has_piece() const noexcept;

private:
    weft::detail::Owned<ParserState> state_;
};

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
WEFT_INLINE Parser::Parser(MessageType type, const ParserLimits& limits) : state_(new ParserState) {
    llhttp_init(&state_->http, type == MessageType::request ? HTTP_REQUEST : HTTP_RESPONSE,
                &ParserState::settings());
    state_->http.data = state_.get();
    state_->limits = limits;
}
WEFT_INLINE Parser::~Parser() = default;

WEFT_INLINE void Parser::begin(MessageHead& head) noexcept {
    ParserState& state = *state_;
    llhttp_reset(&state.http);
    head.clear();
    state.head = &head;
    // (Of tiny chunks there are thousands: an idle connection shall not keep room for them.)
    if (state.pieces.capacity() > 64) std::vector<std::string_view>().swap(state.pieces);
    state.pieces.clear();
    state.next_piece = state.head_bytes = state.chunk_extras = 0;
    state.extras_allowed = state.limits.chunk_extras;
    state.name_at = ParserState::no_name;
    state.error = nullptr;
    state.in_value = state.has_head = state.complete = state.skip_body = state.to_connect = false;
    state.line_begins = false;
    std::memset(state.tail, 0, sizeof state.tail);
}
WEFT_INLINE void Parser::answers(std::string_view method) noexcept {
    state_->skip_body = method == "HEAD";
    state_->to_connect = method == "CONNECT";
}

WEFT_INLINE std::size_t Parser::parse(std::string_view input) {
    ParserState& state = *state_;
    if (state.complete || input.empty()) return 0;
    state.pieces.clear();
    state.next_piece = 0;
    state.input = input.data();
    if (state.head_bytes == 0) state.first = input[0];
    const bool in_head = !state.has_head;
    if (in_head) {
        if (state.head_bytes >= state.limits.head) {
            state.fail(431, "a head that is too large");
            state.throw_error(HPE_USER);
        }
        input = input.substr(0, state.limits.head - state.head_bytes);
    }
    const llhttp_errno_t code = llhttp_execute(&state.http, input.data(), input.size());
    const char* end = input.data() + input.size();
    if (code == HPE_PAUSED && state.complete) {
        end = llhttp_get_error_pos(&state.http);
    } else if (code != HPE_OK) {
        state.throw_error(code);
    }
    const char* from = input.data();
    std::size_t framing = static_cast<std::size_t>(end - from);
    bool good = true;
    for (const std::string_view piece : state.pieces) {
        framing -= piece.size();
        good = good && state.check_lines(from, piece.data());
        state.line_begins = false;
        from = piece.data() + piece.size();
    }
    if (!good || !state.check_lines(from, end)) {
        state.fail(400, "a line that does not end with CR LF, or begins with a blank");
        state.throw_error(HPE_USER);
    }
    const auto used = static_cast<std::size_t>(end - input.data());
    if (in_head) {
        state.head_bytes += used;
    } else if (state.chunk_extras += framing; state.chunk_extras > state.extras_allowed) {
        state.fail(400, "chunk extensions, or trailers, that are too large");
        state.throw_error(HPE_USER);
    }
    state.keep_tail(end);
    return used;
}

WEFT_INLINE bool Parser::finish() noexcept {
    ParserState& state = *state_;
    if (state.complete) return true;
    if (!state.has_head || state.head->body != BodyLength::to_end) return false;
    return state.complete = true;
}

WEFT_INLINE bool Parser::has_begun() const noexcept { return state_->head_bytes > 0; }
WEFT_INLINE bool Parser::has_head() const noexcept { return state_->has_head; }
WEFT_INLINE bool Parser::is_complete() const noexcept { return state_->complete; }
WEFT_INLINE bool Parser::has_piece() const noexcept {
    return state_->next_piece < state_->pieces.size();
}
WEFT_INLINE std::string_view Parser::take_piece() noexcept {
    return has_piece() ? state_->pieces[state_->next_piece++] : std::string_view();
}
#endif

}  // namespace weft::http::detail
