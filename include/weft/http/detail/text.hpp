// SPDX-License-Identifier: MIT
// What HTTP's texts are made of: tokens, field values, lists, numbers, percent signs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "../../base/config.hpp"

namespace weft::http::detail {

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr char lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}
/// The value of a hexadecimal digit; negative: it is none.
constexpr int hex_value(char c) noexcept {
    if (is_digit(c)) return c - '0';
    const char small = lower(c);
    return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}
struct CharTable {
    bool has[256];
    constexpr bool operator[](char c) const noexcept { return has[static_cast<unsigned char>(c)]; }
};
constexpr CharTable letters_digits_and(std::string_view more) noexcept {
    CharTable table{};
    for (int c = 0; c < 256; ++c) {
        const char small = lower(static_cast<char>(c));
        table.has[c] = (small >= 'a' && small <= 'z') || is_digit(static_cast<char>(c)) ||
                       more.find(static_cast<char>(c)) != std::string_view::npos;
    }
    return table;
}
/// RFC 9110, 5.6.2: tchar.
inline constexpr CharTable token_chars = letters_digits_and("!#$%&'*+-.^_`|~");
/// RFC 3986, 3.2.2 and 3.2.3, without percent signs' meaning.
inline constexpr CharTable host_chars = letters_digits_and("!$&'()*+,;=-._~%:[]");

constexpr bool is_token_char(char c) noexcept { return token_chars[c]; }
constexpr bool is_token(std::string_view text) noexcept {
    for (const char c : text) {
        if (!is_token_char(c)) return false;
    }
    return !text.empty();
}
/// RFC 9110, 5.5: no control characters but the tab.
constexpr bool is_field_value(std::string_view text) noexcept {
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if ((byte < 0x20 && c != '\t') || byte == 0x7f) return false;
    }
    return true;
}
constexpr bool same_name(std::string_view one, std::string_view other) noexcept {
    if (one.size() != other.size()) return false;
    for (std::size_t index = 0; index < one.size(); ++index) {
        if (lower(one[index]) != lower(other[index])) return false;
    }
    return true;
}
/// Without the blanks at both ends.
constexpr std::string_view trimmed(std::string_view text) noexcept {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}
/// Takes the next element of a list with commas out of `list`.
constexpr std::string_view next_element(std::string_view& list) noexcept {
    const std::size_t comma = list.find(',');
    const std::string_view element = trimmed(list.substr(0, comma));
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
    return element;
}
constexpr bool list_has(std::string_view list, std::string_view token) noexcept {
    while (!list.empty()) {
        if (same_name(next_element(list), token)) return true;
    }
    return false;
}
/// Digits and nothing else, up to 19 of them. (What std::from_chars would take beside that, a sign
/// for instance, is what messages are smuggled with.)
constexpr std::optional<std::uint64_t> number_of(std::string_view digits) noexcept {
    if (digits.empty() || digits.size() > 19) return std::nullopt;
    std::uint64_t number = 0;
    for (const char c : digits) {
        if (!is_digit(c)) return std::nullopt;
        number = number * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return number;
}

/// `text` with its percent signs decoded; with `plus_is_blank` as in a query.
/// Returns:  nothing where a percent sign is not followed by two hexadecimal digits.
std::optional<std::string> percent_decoded(std::string_view text, bool plus_is_blank = false);

/// Decimal digits, at the end of `text`.
void append_number(std::string& text, std::uint64_t number);
void append_hex(std::string& text, std::uint64_t number);

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
WEFT_INLINE std::optional<std::string> percent_decoded(std::string_view text, bool plus_is_blank) {
    std::string decoded;
    decoded.reserve(text.size());
    for (std::size_t index = 0; index < text.size(); ++index) {
        const char c = text[index];
        if (c == '+' && plus_is_blank) {
            decoded.push_back(' ');
        } else if (c != '%') {
            decoded.push_back(c);
        } else {
            if (index + 2 >= text.size()) return std::nullopt;
            const int high = hex_value(text[index + 1]);
            const int low = hex_value(text[index + 2]);
            if (high < 0 || low < 0) return std::nullopt;
            decoded.push_back(static_cast<char>(high * 16 + low));
            index += 2;
        }
    }
    return decoded;
}

WEFT_INLINE void append_number(std::string& text, std::uint64_t number) {
    char digits[20];
    std::size_t at = sizeof digits;
    do {
        digits[--at] = static_cast<char>('0' + number % 10);
        number /= 10;
    } while (number > 0);
    text.append(digits + at, sizeof digits - at);
}
WEFT_INLINE void append_hex(std::string& text, std::uint64_t number) {
    char digits[16];
    std::size_t at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[number % 16];
        number /= 16;
    } while (number > 0);
    text.append(digits + at, sizeof digits - at);
}
#endif

}  // namespace weft::http::detail
