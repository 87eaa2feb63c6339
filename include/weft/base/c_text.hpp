// SPDX-License-Identifier: MIT
// CText: a text for a C function, to which a zero byte is its end.
#pragma once

#include <cerrno>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>

#include "config.hpp"
#include "error.hpp"

namespace weft {
namespace detail {

/// For the texts of errors: in quotes, what cannot be printed as \xHH, and what is very long cut.
std::string in_quotes(std::string_view text);

[[noreturn]] void throw_zero_byte(std::string_view call, std::string_view text);

/// The one place where texts are checked that become C strings: a host, a path, the name of an
/// interface. What follows a zero byte would not be seen by the kernel, so that "good\0evil", which
/// a filter has let pass for one of its halves, would be the other.
/// Throws:   std::system_error (EINVAL) that names `call` and the text.
inline void refuse_zero_byte(std::string_view call, std::string_view text) {
    if (text.find('\0') != std::string_view::npos) [[unlikely]]
        throw_zero_byte(call, text);
}

template <class P>
concept HasNativeText = requires(const P& path) {
    { path.native() } -> std::same_as<const std::string&>;
};

}  // namespace detail

/// A parameter that is handed to a C function: from a string literal or another `const char*`, from
/// a std::string or a std::filesystem::path. A zero byte inside the latter two is refused by the
/// function that takes it.
/// Lifetime: refers to the text, which outlives the await.
class CText {
public:
    CText(const char* text) noexcept : text_(text) {}
    CText(const std::string& text) noexcept : text_(text.c_str()), size_(text.size()) {}
    template <detail::HasNativeText P>
    CText(const P& path) noexcept : CText(path.native()) {}

    /// Throws:   std::system_error (EINVAL), which names `call`, for a zero byte inside.
    const char* checked_for(std::string_view call) const {
        if (size_ != no_size) detail::refuse_zero_byte(call, {text_, size_});
        return text_;
    }

private:
    static constexpr std::size_t no_size = ~std::size_t{0};  // a C string has no zero inside

    const char* text_;
    std::size_t size_ = no_size;
};

#if WEFT_BODIES
[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string detail::in_quotes(std::string_view text) {
    constexpr std::size_t longest = 256;
    constexpr char digits[] = "0123456789abcdef";
    std::string result("\"", 1);
    for (const char each : text.substr(0, longest)) {
        const auto byte = static_cast<unsigned char>(each);
        if (byte < 0x20 || byte == 0x7f) {
            const char code[] = {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
            result.append(code, sizeof code);
        } else {
            if (each == '"' || each == '\\') result.append("\\", 1);
            result.append(&each, 1);
        }
    }
    if (text.size() > longest) result.append("...", 3);
    result.append("\"", 1);
    return result;
}

[[noreturn, gnu::cold, gnu::noinline]] WEFT_INLINE void detail::throw_zero_byte(
    std::string_view call, std::string_view text) {
    throw_system_error(EINVAL, concat({call, " ", in_quotes(text), " (a zero byte in a text)"}));
}
#endif

}  // namespace weft
