// SPDX-License-Identifier: MIT
// Commands as they go over the wire (RESP: a list of texts, each with its length before it).
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "../../base/config.hpp"
#include "../../base/error.hpp"

namespace weft::redis::detail {

/// Texts and numbers.
template <class T>
concept Argument = std::is_convertible_v<const T&, std::string_view> || std::is_arithmetic_v<T>;
/// As many as it has items, pairs of a map counting twice.
template <class T>
concept Arguments = !Argument<T> && requires(const T& items) {
    items.begin();
    items.end();
    items.size();
};
template <class T>
concept AnyArgument = Argument<T> || Arguments<T>;

class Wire {
public:
    template <AnyArgument... Args>
    static std::string command(const Args&... args) {
        Wire wire;
        const std::size_t words = (count(args) + ... + 0);
        if (words == 0) [[unlikely]]
            refuse_no_words();
        wire.text_.reserve(16 + (estimate(args) + ... + 0));
        wire.head('*', words);
        (wire.add(args), ...);
        return std::move(wire.text_);
    }

private:
    template <class T>
    static std::size_t count(const T& arg) noexcept {
        if constexpr (Argument<T>) {
            return 1;
        } else if constexpr (requires { typename T::mapped_type; }) {
            return 2 * arg.size();
        } else {
            return arg.size();
        }
    }
    template <class T>
    static std::size_t estimate(const T& arg) noexcept {
        if constexpr (std::is_convertible_v<const T&, std::string_view>) {
            return std::string_view(arg).size() + 12;
        } else {
            return 32 * count(arg);
        }
    }
    template <class T>
    void add(const T& arg) {
        if constexpr (std::is_convertible_v<const T&, std::string_view>) {
            add_text(arg);
        } else if constexpr (std::is_floating_point_v<T>) {
            add_double(static_cast<double>(arg));
        } else if constexpr (std::is_integral_v<T>) {
            char digits[24];
            add_text(std::is_signed_v<T> || arg <= 0x7fffffffffffffff
                         ? decimal(digits, static_cast<std::int64_t>(arg))
                         : decimal(digits, static_cast<std::uint64_t>(arg)));
        } else if constexpr (requires { typename T::mapped_type; }) {
            for (const auto& [key, value] : arg) {
                add(key);
                add(value);
            }
        } else {
            for (const auto& item : arg) add(item);
        }
    }

    static std::string_view decimal(char (&digits)[24], std::uint64_t number) noexcept {
        std::size_t at = sizeof digits;
        do {
            digits[--at] = static_cast<char>('0' + number % 10);
            number /= 10;
        } while (number > 0);
        return {digits + at, sizeof digits - at};
    }
    static std::string_view decimal(char (&digits)[24], std::int64_t number) noexcept {
        if (number >= 0) return decimal(digits, static_cast<std::uint64_t>(number));
        const std::string_view text = decimal(digits, 0 - static_cast<std::uint64_t>(number));
        digits[sizeof digits - text.size() - 1] = '-';
        return {text.data() - 1, text.size() + 1};
    }
    void head(char kind, std::size_t number) {
        char digits[24];
        text_ += kind;
        const std::string_view text = decimal(digits, static_cast<std::uint64_t>(number));
        text_.append(text.data(), text.size());
        text_.append("\r\n", 2);
    }
    void add_text(std::string_view text) {
        head('$', text.size());
        text_.append(text.data(), text.size());
        text_.append("\r\n", 2);
    }
    void add_double(double number);
    /// A server gives no answer to that, and whoever waits for it would get the next one's.
    [[noreturn, gnu::cold]] static void refuse_no_words();

    std::string text_;
};

/// Of a command as it goes over the wire.
inline std::string_view first_word(std::string_view wire) noexcept {
    const std::size_t length = wire.find('$');
    const std::size_t from = wire.find('\n', length) + 1;
    return wire.substr(from, wire.find('\r', from) - from);
}

/// BLPOP and its like: the server answers nothing before something happens.
bool waits_at_server(std::string_view wire) noexcept;

/// What of a command errors name: "SET name", and "AUTH" for what nobody is to read in a log.
std::string name_of_command(std::string_view wire);

}  // namespace weft::redis::detail

#if WEFT_BODIES || defined(WEFT_REDIS_SOURCE)
#include <charconv>
#include <stdexcept>

namespace weft::redis::detail {

WEFT_INLINE void Wire::add_double(double number) {
    char text[64];
    // (Not printf, which writes the decimal sign of the user's language.)
    const char* const end = std::to_chars(text, text + sizeof text, number).ptr;
    add_text({text, static_cast<std::size_t>(end - text)});
}
[[noreturn, gnu::cold]] WEFT_INLINE void Wire::refuse_no_words() {
    throw std::invalid_argument("weft: redis: a command without a word");
}

[[gnu::cold]] WEFT_INLINE bool waits_at_server(std::string_view wire) noexcept {
    const auto is = [](std::string_view word, std::string_view upper) {
        if (word.size() != upper.size()) return false;
        for (std::size_t at = 0; at < word.size(); ++at) {
            const char letter = word[at];
            if ((letter >= 'a' && letter <= 'z' ? letter - 32 : letter) != upper[at]) return false;
        }
        return true;
    };
    const std::string_view name = first_word(wire);
    for (const std::string_view each : {"BLPOP", "BRPOP", "BRPOPLPUSH", "BLMOVE", "BLMPOP",
                                        "BZPOPMIN", "BZPOPMAX", "BZMPOP", "WAIT", "WAITAOF"})
        if (is(name, each)) return true;
    if (!is(name, "XREAD") && !is(name, "XREADGROUP")) return false;
    // (Among the options, which come before the names of streams.)
    while (!wire.empty()) {
        const std::size_t end = wire.find("\r\n");
        const std::string_view word = wire.substr(0, end);
        if (is(word, "BLOCK")) return true;
        if (is(word, "STREAMS") || end == wire.npos) return false;
        wire.remove_prefix(end + 2);
    }
    return false;
}

[[gnu::cold]] WEFT_INLINE std::string name_of_command(std::string_view wire) {
    std::string name;
    constexpr std::size_t longest = 60;
    for (int words = 0; words < 2; ++words) {
        const std::size_t length_at = wire.find('$');
        if (length_at == wire.npos) break;
        std::size_t size = 0;
        std::size_t at = length_at + 1;
        while (at < wire.size() && wire[at] != '\r')
            size = size * 10 + static_cast<std::size_t>(wire[at++] - '0');
        wire.remove_prefix(at + 2);
        if (words > 0) name += ' ';
        for (const char letter : wire.substr(0, std::min(size, longest)))
            name += letter >= ' ' && letter != 127 ? letter : '?';
        if (size > longest) name += "...";
        wire.remove_prefix(std::min(size, wire.size()));
        std::string upper = name;
        for (char& letter : upper)
            if (letter >= 'a' && letter <= 'z') letter = static_cast<char>(letter - 32);
        if (upper == "AUTH" || upper == "HELLO") break;
    }
    return name;
}

}  // namespace weft::redis::detail
#endif
