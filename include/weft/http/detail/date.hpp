// SPDX-License-Identifier: MIT
// The dates of HTTP (RFC 9110, 5.6.7): written, read, and that of this second.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "../../base/config.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <ctime>
#endif

namespace weft::http::detail {

/// "Sun, 06 Nov 1994 08:49:37 GMT"
std::string date_text(std::int64_t seconds_since_1970);
/// The form above, the only one that is still sent. (A date in an obsolete one is as good as none.)
std::optional<std::int64_t> date_of(std::string_view text) noexcept;
/// What the Date field says now; made once a second and thread.
std::string_view date_now();

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
inline constexpr std::string_view day_names = "SunMonTueWedThuFriSat";
inline constexpr std::string_view month_names = "JanFebMarAprMayJunJulAugSepOctNovDec";

WEFT_INLINE std::string date_text(std::int64_t seconds) {
    const auto time = static_cast<std::time_t>(seconds);
    std::tm parts{};
    if (!::gmtime_r(&time, &parts)) return {};
    std::string text;
    const auto two_digits = [&text](int number) {
        text.push_back(static_cast<char>('0' + number / 10 % 10));
        text.push_back(static_cast<char>('0' + number % 10));
    };
    text.append(day_names.substr(static_cast<std::size_t>(parts.tm_wday) * 3, 3)).append(", ");
    two_digits(parts.tm_mday);
    text.push_back(' ');
    text.append(month_names.substr(static_cast<std::size_t>(parts.tm_mon) * 3, 3)).push_back(' ');
    two_digits((parts.tm_year + 1900) / 100);
    two_digits((parts.tm_year + 1900) % 100);
    text.push_back(' ');
    two_digits(parts.tm_hour);
    text.push_back(':');
    two_digits(parts.tm_min);
    text.push_back(':');
    two_digits(parts.tm_sec);
    return text.append(" GMT");
}

WEFT_INLINE std::optional<std::int64_t> date_of(std::string_view text) noexcept {
    constexpr std::string_view form = "???, 00 ??? 0000 00:00:00 GMT";
    if (text.size() != form.size()) return std::nullopt;
    for (std::size_t index = 0; index < form.size(); ++index) {
        const bool digit = text[index] >= '0' && text[index] <= '9';
        if (form[index] == '0' ? !digit : form[index] != '?' && text[index] != form[index])
            return std::nullopt;
    }
    const auto number = [text](std::size_t at, std::size_t count) {
        int value = 0;
        for (std::size_t index = at; index < at + count; ++index)
            value = value * 10 + (text[index] - '0');
        return value;
    };
    const std::size_t month = month_names.find(text.substr(8, 3));
    if (month == std::string_view::npos || month % 3 != 0) return std::nullopt;
    std::tm parts{};
    parts.tm_mday = number(5, 2);
    parts.tm_mon = static_cast<int>(month / 3);
    parts.tm_year = number(12, 4) - 1900;
    parts.tm_hour = number(17, 2);
    parts.tm_min = number(20, 2);
    parts.tm_sec = number(23, 2);
    return static_cast<std::int64_t>(::timegm(&parts));
}

WEFT_INLINE std::string_view date_now() {
    thread_local std::int64_t second = -1;
    thread_local std::string text;
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != second) {
        text = date_text(now.tv_sec);
        second = now.tv_sec;
    }
    return text;
}
#endif

}  // namespace weft::http::detail
