// SPDX-License-Identifier: MIT
// Url: where a request goes.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "../base/config.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <arpa/inet.h>

#include <optional>
#include <stdexcept>

#include "../base/error.hpp"
#include "detail/text.hpp"
#endif

namespace weft::http {

/// `text` as a part of a path or a query: all but letters, digits and `-._~` becomes `%XX`.
std::string percent_encoded(std::string_view text);
/// `name=value&other=value`, percent-encoded.
std::string query_string(
    std::initializer_list<std::pair<std::string_view, std::string_view>> fields);

/// An absolute URL of http, https, ws or wss, taken apart. With `+unix` behind the scheme the host
/// is the percent-encoded path of a Unix socket: `http+unix://%2Frun%2Fdocker.sock/info`.
///
/// Blanks and what is no ASCII are percent-encoded in path and query; control characters are
/// refused, and so is a host that is none: a name, an IPv4 address, or an IPv6 address in brackets.
/// Names in other scripts are to be given as their `xn--` form.
/// Source:   RFC 3986.
class Url {
public:
    /// Throws:   std::invalid_argument, with the text and what is wrong with it.
    explicit Url(std::string_view text);

    /// "http", "https", "ws", "wss", with "+unix" behind it; in small letters.
    const std::string& scheme() const noexcept { return scheme_; }
    bool is_secure() const noexcept { return scheme_ == "https" || scheme_ == "wss"; }
    bool is_unix() const noexcept { return scheme_.ends_with("+unix"); }
    bool is_websocket() const noexcept { return scheme_.starts_with("ws"); }
    /// In small letters; an IPv6 address without its brackets; the path of a Unix socket.
    const std::string& host() const noexcept { return host_; }
    std::uint16_t port() const noexcept { return port_; }
    /// Begins with a slash.
    const std::string& path() const noexcept { return path_; }
    /// What is behind the question mark.
    const std::string& query() const noexcept { return query_; }
    /// Before the @, decoded.
    const std::string& user() const noexcept { return user_; }
    const std::string& password() const noexcept { return password_; }

    /// What a request asks for: path and query.
    std::string target() const;
    /// What its Host field says: the port where it is not the scheme's own, IPv6 in brackets.
    std::string authority() const;
    /// Both in one, without user and password: for errors, and for proxies.
    std::string to_string() const;
    /// Do both lead to the same server, in the same way?
    bool is_same_origin(const Url& other) const noexcept {
        return scheme_ == other.scheme_ && host_ == other.host_ && port_ == other.port_;
    }

    /// What `reference`, absolute or not, means in a document of this URL.
    /// Throws:   std::invalid_argument.
    /// Source:   RFC 3986, section 5.2.
    Url resolve(std::string_view reference) const;

private:
    Url() noexcept {}
    void take_authority(std::string_view authority, std::string_view whole);
    void take_host(std::string_view host, std::string_view whole);
    void take_path(std::string_view path);
    [[noreturn, gnu::cold]] static void refuse(std::string_view whole, std::string_view why);

    std::string scheme_;
    std::string host_;
    std::string path_;
    std::string query_;
    std::string user_;
    std::string password_;
    std::uint16_t port_ = 0;
    bool has_query_ = false;
    bool is_ipv6_ = false;
};

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
namespace detail {

constexpr bool is_unreserved(char c) noexcept {
    const char small = lower(c);
    return (small >= 'a' && small <= 'z') || is_digit(c) ||
           std::string_view("-._~").find(c) != std::string_view::npos;
}
inline void append_percent(std::string& text, char c) {
    constexpr char digits[] = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    text.push_back('%');
    text.push_back(digits[byte >> 4]);
    text.push_back(digits[byte & 15]);
}
/// What may not stand in a path or query is encoded; what is encoded already stays.
inline std::string cleaned(std::string_view text) {
    constexpr std::string_view others = "!$&'()*+,;=:@/?%[]|";
    std::string out;
    for (const char c : text) {
        if (is_unreserved(c) || others.find(c) != std::string_view::npos) {
            out.push_back(c);
        } else {
            append_percent(out, c);
        }
    }
    return out;
}
inline std::uint16_t port_of(std::string_view scheme) noexcept {
    return scheme == "https" || scheme == "wss" ? 443 : 80;
}
/// RFC 3986, section 5.2.4.
inline std::string without_dots(std::string_view path) {
    std::string out;
    while (!path.empty()) {
        const std::size_t end = path.find('/', 1);
        const std::string_view segment = path.substr(0, end);  // with the slash before it
        path.remove_prefix(segment.size());
        if (segment == "/." || segment == "/..") {
            if (segment == "/..") out.resize(out.empty() ? 0 : out.rfind('/'));
            if (path.empty()) out.push_back('/');
        } else {
            out.append(segment);
        }
    }
    return out;
}

}  // namespace detail

WEFT_INLINE std::string percent_encoded(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (detail::is_unreserved(c)) {
            out.push_back(c);
        } else {
            detail::append_percent(out, c);
        }
    }
    return out;
}
WEFT_INLINE std::string query_string(
    std::initializer_list<std::pair<std::string_view, std::string_view>> fields) {
    std::string out;
    for (const auto& [name, value] : fields) {
        if (!out.empty()) out.push_back('&');
        out.append(percent_encoded(name)).append("=").append(percent_encoded(value));
    }
    return out;
}

/// (What is before an @ is a secret.)
WEFT_INLINE void Url::refuse(std::string_view whole, std::string_view why) {
    const std::size_t at = whole.rfind('@');
    if (at != std::string_view::npos) whole.remove_prefix(at);
    throw std::invalid_argument(weft::detail::concat(
        {"weft: not a URL: \"", at == std::string_view::npos ? "" : "...", whole, "\": ", why}));
}

WEFT_INLINE Url::Url(std::string_view text) {
    for (const char c : text) {
        if (static_cast<unsigned char>(c) < 0x20 || c == '\x7f')
            refuse("...", "it has a control character");
    }
    const std::size_t colon = text.find("://");
    if (colon == std::string_view::npos) refuse(text, "it has no scheme: http://...");
    for (const char c : text.substr(0, colon)) scheme_.push_back(detail::lower(c));
    const std::string_view plain = std::string_view(scheme_).substr(0, scheme_.find('+'));
    const bool is_known = plain == "http" || plain == "https" || plain == "ws" || plain == "wss";
    if (!is_known ||
        (plain.size() < scheme_.size() && scheme_ != "http+unix" && scheme_ != "ws+unix"))
        refuse(text, "its scheme is none of http, https, ws, wss, http+unix and ws+unix");
    const std::string_view rest = text.substr(colon + 3, text.find('#') - (colon + 3));
    const std::size_t end = rest.find_first_of("/?");
    take_authority(rest.substr(0, end), text);
    take_path(end == std::string_view::npos ? std::string_view() : rest.substr(end));
}

WEFT_INLINE void Url::take_authority(std::string_view authority, std::string_view whole) {
    if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
        const std::string_view info = authority.substr(0, at);
        authority.remove_prefix(at + 1);
        const std::size_t colon = info.find(':');
        const auto user = detail::percent_decoded(info.substr(0, colon));
        const auto password = detail::percent_decoded(
            colon == std::string_view::npos ? std::string_view() : info.substr(colon + 1));
        if (!user || !password) refuse("...", "a percent sign before the @ that encodes nothing");
        user_ = *user;
        password_ = *password;
    }
    port_ = is_unix() ? 0 : detail::port_of(scheme_);
    const std::size_t bracket = authority.rfind(']');
    const std::size_t colon = authority.rfind(':');
    if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
        if (is_unix()) refuse(whole, "a port, or a colon that is not encoded, with a Unix socket");
        const std::string_view digits = authority.substr(colon + 1);
        authority = authority.substr(0, colon);
        const std::optional<std::uint64_t> number = detail::number_of(digits);
        if (!digits.empty()) {
            if (!number || *number > 0xFFFF || digits.size() > 5) refuse(whole, "a bad port");
            port_ = static_cast<std::uint16_t>(*number);
        }
    }
    take_host(authority, whole);
}

WEFT_INLINE void Url::take_host(std::string_view host, std::string_view whole) {
    if (host.empty()) refuse(whole, "it has no host");
    if (is_unix()) {
        const auto path = detail::percent_decoded(host);
        if (!path) refuse(whole, "a percent sign in the host that encodes nothing");
        host_ = *path;
        return;
    }
    if (host.front() == '[') {
        if (host.back() != ']') refuse(whole, "a bracket that is not closed");
        host_ = host.substr(1, host.size() - 2);
        in6_addr address;
        if (::inet_pton(AF_INET6, host_.c_str(), &address) != 1)
            refuse(whole, "no IPv6 address in the brackets");
        is_ipv6_ = true;
        return;
    }
    for (const char c : host) {
        if (!detail::is_unreserved(c)) refuse(whole, "a host with a character that no name has");
        host_.push_back(detail::lower(c));
    }
}

WEFT_INLINE void Url::take_path(std::string_view path) {
    const std::size_t mark = path.find('?');
    has_query_ = mark != std::string_view::npos;
    query_ = has_query_ ? detail::cleaned(path.substr(mark + 1)) : std::string();
    path_ = detail::without_dots(detail::cleaned(path.substr(0, mark)));
    if (path_.empty()) path_ = "/";
}

WEFT_INLINE std::string Url::target() const {
    return weft::detail::concat({path_, has_query_ ? "?" : "", query_});
}
WEFT_INLINE std::string Url::authority() const {
    if (is_unix()) return "localhost";
    const bool named = port_ != detail::port_of(scheme_);
    return weft::detail::concat({is_ipv6_ ? "[" : "", host_, is_ipv6_ ? "]" : "", named ? ":" : "",
                                 named ? weft::detail::decimal(port_) : std::string()});
}
WEFT_INLINE std::string Url::to_string() const {
    return weft::detail::concat(
        {scheme_, "://", is_unix() ? percent_encoded(host_) : authority(), target()});
}

WEFT_INLINE Url Url::resolve(std::string_view reference) const {
    reference = reference.substr(0, reference.find('#'));
    for (const char c : reference) {
        if (static_cast<unsigned char>(c) < 0x20 || c == '\x7f')
            refuse("...", "it has a control character");
    }
    const std::size_t colon = reference.find(':');
    if (colon != std::string_view::npos && colon < reference.find_first_of("/?"))
        return Url(reference);
    if (reference.starts_with("//")) return Url(weft::detail::concat({scheme_, ":", reference}));
    Url to(*this);
    if (reference.empty()) return to;
    if (reference.front() == '?') {
        to.take_path(weft::detail::concat({path_, reference}));
    } else if (reference.front() == '/') {
        to.take_path(reference);
    } else {
        const std::string_view folder = std::string_view(path_).substr(0, path_.rfind('/') + 1);
        to.take_path(weft::detail::concat({folder, reference}));
    }
    return to;
}
#endif

}  // namespace weft::http
