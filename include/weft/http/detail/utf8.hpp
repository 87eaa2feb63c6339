// SPDX-License-Identifier: MIT
// Utf8Check: is text that comes in pieces UTF-8?
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace weft::http::detail {

/// Looks at each byte once, whatever the pieces are cut into, and finds what is wrong at the first
/// byte that cannot be right.
/// Source:   RFC 3629, section 4; The Unicode Standard, table 3-7.
class Utf8Check {
public:
    /// Returns:  false: it is none, and will not become any.
    bool feed(std::string_view piece) noexcept {
        const char* at = piece.data();
        const char* const end = at + piece.size();
        while (at != end) {
            if (missing_ == 0) {
                at = skip_ascii(at, end);
                if (at == end) break;
                if (!begin(static_cast<unsigned char>(*at++))) return false;
            } else if (!go_on(static_cast<unsigned char>(*at++))) {
                return false;
            }
        }
        return true;
    }
    /// No character is cut off.
    bool is_whole() const noexcept { return missing_ == 0; }

private:
    static const char* skip_ascii(const char* at, const char* end) noexcept {
        for (std::uint64_t eight = 0; end - at >= 8; at += 8) {
            std::memcpy(&eight, at, 8);
            if (eight & 0x8080808080808080U) break;
        }
        while (at != end && static_cast<signed char>(*at) >= 0) ++at;
        return at;
    }
    /// The first byte says how many follow, and what the second may be: there are neither longer
    /// forms than needed, nor surrogates, nor anything above U+10FFFF.
    bool begin(unsigned char first) noexcept {
        lowest_ = 0x80;
        highest_ = 0xBF;
        if (first >= 0xC2 && first <= 0xDF) {
            missing_ = 1;
        } else if (first >= 0xE0 && first <= 0xEF) {
            missing_ = 2;
            if (first == 0xE0) lowest_ = 0xA0;
            if (first == 0xED) highest_ = 0x9F;
        } else if (first >= 0xF0 && first <= 0xF4) {
            missing_ = 3;
            if (first == 0xF0) lowest_ = 0x90;
            if (first == 0xF4) highest_ = 0x8F;
        } else {
            return false;
        }
        return true;
    }
    bool go_on(unsigned char next) noexcept {
        if (next < lowest_ || next > highest_) return false;
        lowest_ = 0x80;
        highest_ = 0xBF;
        --missing_;
        return true;
    }

    std::uint8_t missing_ = 0;  // bytes of the character that has begun
    std::uint8_t lowest_ = 0x80;
    std::uint8_t highest_ = 0xBF;
};

inline bool is_utf8(std::string_view text) noexcept {
    Utf8Check check;
    return check.feed(text) && check.is_whole();
}

}  // namespace weft::http::detail
