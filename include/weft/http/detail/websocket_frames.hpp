// SPDX-License-Identifier: MIT
// The frames of RFC 6455: how they are written, and a decoder that trusts nobody.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/std_parts.hpp"
#include "../websocket_error.hpp"
#include "utf8.hpp"

namespace weft::http::detail {

using weft::detail::concat;
using weft::detail::decimal;

/// Which side of a WebSocket is ours? Only what a client sends is masked.
enum class WebSocketRole : bool { client, server };

/// RFC 6455, section 5.2. What is missing here is reserved.
enum class Opcode : std::uint8_t {
    continuation = 0,
    text = 1,
    binary = 2,
    close = 8,
    ping = 9,
    pong = 10,
};

/// May a close frame say it? Section 7.4, and what IANA has registered since.
inline bool is_close_code(std::uint16_t code) noexcept {
    if (code < 1000 || code >= 5000) return false;
    if (code >= 3000) return true;
    return code <= 1014 && code != 1004 && code != WebSocketCode::none &&
           code != WebSocketCode::abnormal;
}

/// What a control frame may carry.
inline constexpr std::size_t longest_control = 125;
/// Two bytes, a length of eight, a mask of four.
inline constexpr std::size_t longest_header = 14;

/// Four bytes with which a client's payload is mixed, so that no proxy takes it for something else.
struct Mask {
    unsigned char bytes[4] = {};

    /// To and from plain text. `at` is the place of the first byte in its frame.
    void apply(char* data, std::size_t size, std::uint64_t at) const noexcept {
        unsigned char turned[8];
        for (std::size_t byte = 0; byte < 8; ++byte) turned[byte] = bytes[(at + byte) % 4];
        std::uint64_t key = 0;
        std::memcpy(&key, turned, 8);
        std::size_t done = 0;
        for (std::uint64_t eight = 0; done + 8 <= size; done += 8) {
            std::memcpy(&eight, data + done, 8);
            eight ^= key;
            std::memcpy(data + done, &eight, 8);
        }
        for (; done < size; ++done)
            data[done] = static_cast<char>(data[done] ^ static_cast<char>(turned[done % 8]));
    }
};

/// Appends a frame to `out`, masked where there is a mask.
/// Throws:   std::bad_alloc, and then `out` is as it was.
void append_frame(std::string& out, Opcode opcode, bool is_last, std::string_view payload,
                  const Mask* mask);

/// What a close frame carries.
std::string close_payload(std::uint16_t code, std::string_view reason);

/// What the decoder has found.
struct FrameEvent {
    enum class Kind : std::uint8_t {
        nothing,  ///< the input is used up
        data,     ///< of a message: what was appended is its next part
        ping,
        pong,
        close,
    };
    explicit FrameEvent(Kind what = Kind::nothing) noexcept : kind(what) {}

    Kind kind;
    bool is_text = false;
    bool begins = false;  ///< a message
    bool ends = false;
};

/// Takes the bytes of a connection however they are cut, gives the parts of messages as they come
/// and control frames when they are whole, and keeps no more than one control frame.
class FrameDecoder {
public:
    FrameDecoder(WebSocketRole role, std::uint64_t max_frame, std::uint64_t max_message) noexcept
        : role_(role), max_frame_(max_frame), max_message_(max_message) {}

    /// Takes from `input` up to the next event. What belongs to a message is appended to `into`.
    /// Throws:   WebSocketError with the code for the peer: what has come breaks the protocol
    ///           (1002), is no UTF-8 (1007), or is longer than allowed (1009). The decoder is not
    ///           asked again then. std::bad_alloc.
    FrameEvent next(std::string_view& input, std::string& into);

    /// Of the last ping, pong or close.
    std::string_view control() const noexcept { return {control_, control_size_}; }
    /// The connection may end here without cutting a frame or a message off.
    bool is_between_messages() const noexcept {
        return phase_ == Phase::header && header_size_ == 0 && !in_message_;
    }

private:
    enum class Phase : std::uint8_t { header, payload };

    bool take_header(std::string_view& input);
    void check_header();
    void begin_payload() noexcept;
    FrameEvent take_payload(std::string_view& input, std::string& into);
    FrameEvent end_control();
    [[noreturn, gnu::cold]] static void refuse(std::uint16_t code, const char* why);

    WebSocketRole role_;
    Phase phase_ = Phase::header;
    bool is_last_ = false;
    bool in_message_ = false;  // of several frames
    bool is_text_ = false;
    bool begins_ = false;  // nothing of the message was given yet
    Opcode opcode_ = Opcode::continuation;
    std::uint8_t header_size_ = 0;
    std::uint8_t control_size_ = 0;
    Mask mask_;
    Utf8Check utf8_;
    std::uint64_t max_frame_;
    std::uint64_t max_message_;
    std::uint64_t length_ = 0;
    std::uint64_t done_ = 0;     // of the frame's payload
    std::uint64_t message_ = 0;  // bytes of the message in the frames before this one
    unsigned char header_[longest_header] = {};
    char control_[longest_control] = {};
};

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
WEFT_INLINE void append_frame(std::string& out, Opcode opcode, bool is_last,
                              std::string_view payload, const Mask* mask) {
    char header[longest_header];
    std::size_t size = 2;
    header[0] = static_cast<char>((is_last ? 0x80 : 0) | static_cast<int>(opcode));
    const std::uint64_t length = payload.size();
    const std::size_t length_bytes = length <= 125 ? 0 : length <= 0xFFFF ? 2 : 8;
    header[1] = static_cast<char>(length_bytes == 0 ? length : length_bytes == 2 ? 126U : 127U);
    for (std::size_t byte = length_bytes; byte > 0; --byte)
        header[size++] = static_cast<char>(length >> (8 * (byte - 1)));
    if (mask) {
        header[1] = static_cast<char>(header[1] | '\x80');
        std::memcpy(header + size, mask->bytes, 4);
        size += 4;
    }
    const std::size_t before = out.size();
    if (out.capacity() - before < size + payload.size())
        out.reserve(std::max(before + size + payload.size(), 2 * before));
    out.append(header, size).append(payload);
    if (mask) mask->apply(out.data() + before + size, payload.size(), 0);
}

WEFT_INLINE std::string close_payload(std::uint16_t code, std::string_view reason) {
    std::string payload;
    if (code == WebSocketCode::none) return payload;
    payload.push_back(static_cast<char>(code >> 8));
    payload.push_back(static_cast<char>(code & 0xFF));
    return payload.append(reason);
}

WEFT_INLINE void FrameDecoder::refuse(std::uint16_t code, const char* why) {
    throw WebSocketError(code, concat({"websocket: ", why}));
}

WEFT_INLINE FrameEvent FrameDecoder::next(std::string_view& input, std::string& into) {
    if (phase_ == Phase::header) {
        if (!take_header(input)) return FrameEvent();
        begin_payload();
    } else if (input.empty()) {
        return FrameEvent();
    }
    return take_payload(input, into);
}

/// Returns:  it is whole, and `length_` and `mask_` are known.
WEFT_INLINE bool FrameDecoder::take_header(std::string_view& input) {
    for (;;) {
        std::size_t needed = 2;
        if (header_size_ >= 2) {
            const unsigned length = header_[1] & 0x7FU;
            needed += length == 126 ? 2 : length == 127 ? 8 : 0;
            if (header_[1] & 0x80U) needed += 4;
        }
        if (header_size_ >= 2 && header_size_ == needed) break;
        if (input.empty()) return false;
        const std::size_t count = std::min<std::size_t>(needed - header_size_, input.size());
        std::memcpy(header_ + header_size_, input.data(), count);
        header_size_ = static_cast<std::uint8_t>(header_size_ + count);
        input.remove_prefix(count);
        // What is wrong with the first two bytes is found before the peer has sent more.
        if (header_size_ >= 2) check_header();
    }
    length_ = header_[1] & 0x7FU;
    const std::size_t length_bytes = length_ == 126 ? 2 : length_ == 127 ? 8 : 0;
    if (length_bytes > 0) {
        length_ = 0;
        for (std::size_t byte = 0; byte < length_bytes; ++byte)
            length_ = length_ << 8 | header_[2 + byte];
        if (length_ >> 63)
            refuse(WebSocketCode::protocol_error, "a length has its highest bit set");
        if (length_ <= (length_bytes == 2 ? 125U : 0xFFFFU))
            refuse(WebSocketCode::protocol_error, "a length takes more bytes than it needs");
    }
    if (header_[1] & 0x80U) std::memcpy(mask_.bytes, header_ + header_size_ - 4, 4);
    header_size_ = 0;
    if (opcode_ <= Opcode::binary) {
        if (length_ > max_frame_) refuse(WebSocketCode::too_big, "a frame is longer than allowed");
        if (length_ > max_message_ - message_)
            refuse(WebSocketCode::too_big, "a message is longer than allowed");
    }
    return true;
}

WEFT_INLINE void FrameDecoder::begin_payload() noexcept {
    phase_ = Phase::payload;
    done_ = 0;
    if (opcode_ >= Opcode::close) {
        control_size_ = 0;
    } else if (opcode_ != Opcode::continuation) {
        is_text_ = opcode_ == Opcode::text;
        begins_ = true;
        utf8_ = Utf8Check();
    }
}

/// Of the first two bytes.
WEFT_INLINE void FrameDecoder::check_header() {
    constexpr std::uint16_t broken = WebSocketCode::protocol_error;
    const unsigned opcode = header_[0] & 0x0FU;
    is_last_ = (header_[0] & 0x80U) != 0;
    opcode_ = static_cast<Opcode>(opcode);
    if (header_[0] & 0x70U) refuse(broken, "a frame has a reserved bit set");
    if ((opcode > 2 && opcode < 8) || opcode > 10) refuse(broken, "a frame has a reserved opcode");
    const bool is_masked = (header_[1] & 0x80U) != 0;
    if (is_masked != (role_ == WebSocketRole::server))
        refuse(broken, is_masked ? "a server's frame is masked" : "a client's frame is not masked");
    if (opcode_ >= Opcode::close) {
        if (!is_last_) refuse(broken, "a control frame is fragmented");
        if ((header_[1] & 0x7FU) > longest_control) refuse(broken, "a control frame is too long");
        if (opcode_ == Opcode::close && (header_[1] & 0x7FU) == 1)
            refuse(broken, "a close frame has half a code");
    } else if ((opcode_ == Opcode::continuation) != in_message_) {
        refuse(broken, in_message_ ? "a message begins inside of another"
                                   : "a message goes on that has not begun");
    }
}

WEFT_INLINE FrameEvent FrameDecoder::take_payload(std::string_view& input, std::string& into) {
    const auto count = static_cast<std::size_t>(
        std::min<std::uint64_t>(length_ - done_, static_cast<std::uint64_t>(input.size())));
    const bool is_control = opcode_ >= Opcode::close;
    if (is_control) {
        char* const target = control_ + control_size_;
        std::memcpy(target, input.data(), count);
        if (role_ == WebSocketRole::server) mask_.apply(target, count, done_);
        control_size_ = static_cast<std::uint8_t>(control_size_ + count);
    } else {
        const std::size_t before = into.size();
        into.append(input.data(), count);
        if (role_ == WebSocketRole::server) mask_.apply(into.data() + before, count, done_);
        if (is_text_ && !utf8_.feed(std::string_view(into).substr(before))) {
            into.resize(before);
            refuse(WebSocketCode::invalid_data, "a text is no UTF-8");
        }
    }
    input.remove_prefix(count);
    done_ += count;
    const bool frame_ends = done_ == length_;
    if (frame_ends) phase_ = Phase::header;
    if (is_control) return frame_ends ? end_control() : FrameEvent();

    FrameEvent event(FrameEvent::Kind::data);
    event.is_text = is_text_;
    event.begins = begins_;
    event.ends = frame_ends && is_last_;
    begins_ = false;
    if (frame_ends) {
        in_message_ = !is_last_;
        message_ = is_last_ ? 0 : message_ + length_;
        if (is_last_ && is_text_ && !utf8_.is_whole())
            refuse(WebSocketCode::invalid_data, "a text ends inside a character");
    }
    return event;
}

WEFT_INLINE FrameEvent FrameDecoder::end_control() {
    if (opcode_ == Opcode::ping) return FrameEvent(FrameEvent::Kind::ping);
    if (opcode_ == Opcode::pong) return FrameEvent(FrameEvent::Kind::pong);
    if (control_size_ >= 2) {
        const auto code = static_cast<std::uint16_t>(static_cast<unsigned char>(control_[0]) << 8 |
                                                     static_cast<unsigned char>(control_[1]));
        if (!is_close_code(code)) refuse(WebSocketCode::protocol_error, "a close code is no code");
        if (!is_utf8(control().substr(2)))
            refuse(WebSocketCode::invalid_data, "a close reason is no UTF-8");
    }
    return FrameEvent(FrameEvent::Kind::close);
}
#endif

}  // namespace weft::http::detail
