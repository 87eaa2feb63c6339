// SPDX-License-Identifier: MIT
// Address: where a socket is: an IPv4 or IPv6 address with a port, or a Unix path.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "../base/c_text.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"

#if WEFT_BODIES
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#endif

namespace weft {
namespace detail {
class DatagramReceive;
class DatagramSend;
/// What errors of a connection name: "recv fd 7 (127.0.0.1:80)", with the peer where it has an IP
/// address. `fd` is what it was when that went wrong. errno stays.
std::string connection_text(std::string_view call, int fd);
}  // namespace detail

/// The address of a socket, in the form that the kernel knows. A value: it is copied and compared.
class Address {
public:
    /// No address (family AF_UNSPEC).
    Address() noexcept { std::memset(&unix_, 0, sizeof unix_); }  // (the largest of them)
    Address(const Address& other) noexcept { copy(other); }
    Address& operator=(const Address& other) noexcept {
        if (this != &other) copy(other);
        return *this;
    }

    /// From numbers as text: "127.0.0.1", "::1". No name is looked up, except that of an interface:
    /// an IPv6 address may have a scope, by name or by number ("fe80::1%eth0", "fe80::1%2").
    /// Throws:   std::system_error: EINVAL when `ip` is not a numeric address, ENODEV when there is
    ///           no interface of that name.
    static Address ip(std::string_view ip, std::uint16_t port);

    /// Does `ip` look like an address in numbers, so that no name has to be looked up?
    static bool is_numeric(std::string_view ip) noexcept {
        return Address().set_ip(ip) != Numeric::no;
    }

    /// A Unix socket's path. A leading zero byte means the abstract namespace, where names may have
    /// more of them.
    /// Throws:   std::system_error: ENAMETOOLONG over 107 bytes; EINVAL for an empty path (the
    ///           kernel would take it for an abstract name) and for one with a zero byte inside.
    static Address unix_path(std::string_view path);

    /// From what `to_string` gives: "127.0.0.1:80", "[fe80::1%2]:80", "unix:/run/x", "unix:@x".
    /// Throws:   std::system_error (EINVAL) for anything else, and as `ip` and `unix_path` do.
    static Address parse(std::string_view text);

    static Address from(const sockaddr* address, socklen_t size) noexcept {
        Address copy;
        copy.size_ = size < sizeof copy.unix_ ? size : static_cast<socklen_t>(sizeof copy.unix_);
        std::memcpy(&copy.unix_, address, copy.size_);
        return copy;
    }

    /// The address a socket is bound to.
    /// Throws:   std::system_error (getsockname).
    static Address of_socket(int fd);

    /// The address that a socket is connected to, or was until its peer reset the connection (who
    /// logs whom it serves asks then, too).
    /// Throws:   std::system_error (getpeername).
    /// Source:   getpeername(2); SO_PEERNAME, which knows it for longer.
    static Address of_peer(int fd);

    int family() const noexcept { return any_.sa_family; }
    /// 0 where there is none.
    std::uint16_t port() const noexcept {
        if (family() == AF_INET) return ntohs(v4_.sin_port);
        if (family() == AF_INET6) return ntohs(v6_.sin6_port);
        return 0;
    }
    /// Does nothing to an address that has none.
    void set_port(std::uint16_t port) noexcept {
        if (family() == AF_INET) v4_.sin_port = htons(port);
        if (family() == AF_INET6) v6_.sin6_port = htons(port);
    }
    /// "127.0.0.1:80", "[::1]:80", "unix:/run/x", "unix:@x" for an abstract name, "" for no
    /// address. The scope of an IPv6 address is shown by its number ("[fe80::1%2]:80").
    std::string to_string() const;

    /// The same place: family, address, port and scope, or path.
    friend bool operator==(const Address& left, const Address& right) noexcept {
        return left.is_same(right);
    }

    sockaddr* data() noexcept { return &any_; }
    const sockaddr* data() const noexcept { return &any_; }
    socklen_t size() const noexcept { return size_; }
    /// For calls that fill an address: room, and where they write its size.
    socklen_t* size_for_filling() noexcept {
        size_ = sizeof unix_;
        return &size_;
    }

private:
    friend class detail::DatagramReceive;
    friend class detail::DatagramSend;
    friend std::string detail::connection_text(std::string_view call, int fd);
    /// No address, in memory that is not cleared: to clear it, and to copy it whole, costs more
    /// than all else that is done for a datagram.
    struct Unset {};
    explicit Address(Unset) noexcept { any_.sa_family = AF_UNSPEC; }
    /// As a rule in two instructions.
    void copy(const Address& other) noexcept {
        size_ = other.size_;
        std::memcpy(&v6_, &other.v6_, sizeof v6_);
        if (size_ > sizeof v6_) [[unlikely]]
            unix_ = other.unix_;
    }

    /// False: it never had one, or that is forgotten (errno is getpeername's).
    bool set_peer(int fd) noexcept;
    bool set_peer_of_reset(int fd) noexcept;

    enum class Numeric : std::uint8_t { yes, no, unknown_interface };

    Numeric set_ip(std::string_view text) noexcept;
    bool is_same(const Address& other) const noexcept;
    /// Of a Unix address, without the zero byte at the end of a path.
    std::string_view path() const noexcept {
        constexpr std::size_t before = offsetof(sockaddr_un, sun_path);
        std::string_view path(unix_.sun_path, size_ > before ? size_ - before : 0);
        const bool abstract = !path.empty() && path.front() == '\0';
        while (!abstract && !path.empty() && path.back() == '\0') path.remove_suffix(1);
        return path;
    }

    union {
        sockaddr any_;
        sockaddr_in v4_;
        sockaddr_in6 v6_;
        sockaddr_un unix_;
    };
    socklen_t size_ = 0;
};

#if WEFT_BODIES
namespace detail {

/// The whole of `text` in decimal digits, up to `most`. False: it is something else.
[[gnu::cold]] inline bool parse_number(std::string_view text, std::uint32_t most,
                                       std::uint32_t& number) noexcept {
    std::uint64_t value = 0;
    for (const char digit : text) {
        if (digit < '0' || digit > '9') return false;
        value = 10 * value + static_cast<unsigned>(digit - '0');
        if (value > most) return false;
    }
    number = static_cast<std::uint32_t>(value);
    return !text.empty();
}

/// As a C string in `room`. False: it does not fit, or has a zero byte inside, so that it is none.
template <std::size_t Size>
[[gnu::cold]] bool to_c_string(std::string_view text, char (&room)[Size]) noexcept {
    if (text.size() >= Size || text.find('\0') != std::string_view::npos) return false;
    std::memcpy(room, text.data(), text.size());
    room[text.size()] = '\0';
    return true;
}

[[noreturn, gnu::cold, gnu::noinline]] inline void refuse_address(std::string_view text,
                                                                  std::string_view why, int error) {
    throw_system_error(error, concat({"address ", in_quotes(text), " ", why}));
}

}  // namespace detail

/// Leaves the port alone.
[[gnu::cold]] WEFT_INLINE Address::Numeric Address::set_ip(std::string_view text) noexcept {
    const std::size_t percent = text.find('%');
    char digits[INET6_ADDRSTRLEN];
    if (!detail::to_c_string(text.substr(0, percent), digits)) return Numeric::no;
    if (percent == std::string_view::npos && ::inet_pton(AF_INET, digits, &v4_.sin_addr) == 1) {
        v4_.sin_family = AF_INET;
        size_ = sizeof(sockaddr_in);
        return Numeric::yes;
    }
    if (::inet_pton(AF_INET6, digits, &v6_.sin6_addr) != 1) return Numeric::no;
    v6_.sin6_family = AF_INET6;
    size_ = sizeof(sockaddr_in6);
    if (percent == std::string_view::npos) return Numeric::yes;
    const std::string_view scope = text.substr(percent + 1);
    if (detail::parse_number(scope, UINT32_MAX, v6_.sin6_scope_id)) return Numeric::yes;
    char name[IF_NAMESIZE];
    if (scope.empty() || !detail::to_c_string(scope, name)) return Numeric::no;
    v6_.sin6_scope_id = ::if_nametoindex(name);
    return v6_.sin6_scope_id != 0 ? Numeric::yes : Numeric::unknown_interface;
}

[[gnu::cold]] WEFT_INLINE Address Address::ip(std::string_view ip, std::uint16_t port) {
    detail::refuse_zero_byte("address", ip);
    Address address;
    const Numeric numeric = address.set_ip(ip);
    if (numeric == Numeric::no) detail::refuse_address(ip, "is not numeric", EINVAL);
    if (numeric == Numeric::unknown_interface) {
        detail::refuse_address(ip, "names no interface of this host", ENODEV);
    }
    address.set_port(port);
    return address;
}

[[gnu::cold]] WEFT_INLINE Address Address::unix_path(std::string_view path) {
    const bool abstract = !path.empty() && path.front() == '\0';
    if (!abstract) detail::refuse_zero_byte("Unix socket path", path);
    Address address;
    const int error = path.empty()                                   ? EINVAL
                      : path.size() >= sizeof address.unix_.sun_path ? ENAMETOOLONG
                                                                     : 0;
    if (error != 0) {
        detail::throw_system_error(error,
                                   detail::concat({"Unix socket path ", detail::in_quotes(path)}));
    }
    address.unix_.sun_family = AF_UNIX;
    std::memcpy(address.unix_.sun_path, path.data(), path.size());
    address.size_ =
        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
    return address;
}

[[gnu::cold]] WEFT_INLINE Address Address::parse(std::string_view text) {
    constexpr std::string_view unix_mark = "unix:";
    if (text.substr(0, unix_mark.size()) == unix_mark) {
        const std::string_view path = text.substr(unix_mark.size());
        if (path.empty() || path.front() != '@') return unix_path(path);
        return unix_path(detail::concat({std::string_view("", 1), path.substr(1)}));
    }
    const std::size_t colon = text.rfind(':');
    std::string_view host = text.substr(0, colon);
    const bool in_brackets = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    if (in_brackets) host = host.substr(1, host.size() - 2);
    std::uint32_t port = 0;
    if (colon == std::string_view::npos ||
        !detail::parse_number(text.substr(colon + 1), UINT16_MAX, port) ||
        in_brackets != (host.find(':') != std::string_view::npos)) {
        detail::refuse_address(text, "is none of IP:PORT, [IPv6]:PORT and unix:PATH", EINVAL);
    }
    return ip(host, static_cast<std::uint16_t>(port));
}

[[gnu::cold]] WEFT_INLINE Address Address::of_socket(int fd) {
    Address address;
    if (::getsockname(fd, address.data(), address.size_for_filling()) != 0) {
        detail::throw_system_error(errno, detail::fd_text("getsockname", fd));
    }
    return address;
}

[[gnu::cold]] WEFT_INLINE bool Address::set_peer_of_reset(int fd) noexcept {
    // (One that still connects has a peer in this sense as well, and is none yet.)
    constexpr unsigned char tcp_is_over = 7;  // TCP_CLOSE; tcp_info begins with the state
    unsigned char state = 0;
    socklen_t size = sizeof state;
    if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &state, &size) != 0 || state != tcp_is_over)
        return false;
    int family = 0;
    size = sizeof family;
    if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) return false;
    // It refuses more room than the address has.
    size_ = family == AF_INET ? sizeof v4_ : sizeof v6_;
    return ::getsockopt(fd, SOL_SOCKET, SO_PEERNAME, &any_, &size_) == 0;
}

[[gnu::cold]] WEFT_INLINE bool Address::set_peer(int fd) noexcept {
    if (::getpeername(fd, data(), size_for_filling()) == 0) return true;
    const int error = errno;
    if (error == ENOTCONN && set_peer_of_reset(fd)) return true;
    errno = error;
    return false;
}

[[gnu::cold]] WEFT_INLINE Address Address::of_peer(int fd) {
    Address address;
    if (!address.set_peer(fd)) {
        const int error = errno;
        detail::throw_system_error(error, detail::fd_text("getpeername", fd));
    }
    return address;
}

[[gnu::cold]] WEFT_INLINE std::string detail::connection_text(std::string_view call, int fd) {
    const int error = errno;
    std::string text = fd_text(call, fd);
    Address peer;
    if (fd >= 0 && peer.set_peer(fd) && peer.port() != 0) {
        text += " (";
        text += peer.to_string();
        text += ')';
    }
    errno = error;
    return text;
}

[[gnu::cold]] WEFT_INLINE bool Address::is_same(const Address& other) const noexcept {
    if (family() != other.family() || port() != other.port()) return false;
    if (family() == AF_INET) return v4_.sin_addr.s_addr == other.v4_.sin_addr.s_addr;
    if (family() == AF_INET6) {
        return v6_.sin6_scope_id == other.v6_.sin6_scope_id &&
               std::memcmp(&v6_.sin6_addr, &other.v6_.sin6_addr, sizeof v6_.sin6_addr) == 0;
    }
    return path() == other.path();
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string Address::to_string() const {
    char text[INET6_ADDRSTRLEN];
    if (family() == AF_INET) {
        ::inet_ntop(AF_INET, &v4_.sin_addr, text, sizeof text);
        return detail::concat({text, ":", detail::decimal(port())});
    }
    if (family() == AF_INET6) {
        ::inet_ntop(AF_INET6, &v6_.sin6_addr, text, sizeof text);
        const std::uint32_t scope = v6_.sin6_scope_id;
        return detail::concat({"[", text, scope != 0 ? "%" : "",
                               scope != 0 ? std::string_view(detail::decimal(scope)) : "",
                               "]:", detail::decimal(port())});
    }
    if (family() == AF_UNIX) {
        const std::string_view shown = path();
        if (!shown.empty() && shown.front() == '\0') {
            return detail::concat({"unix:@", shown.substr(1)});
        }
        // (A path in the working directory that looks like an abstract name.)
        const bool looks_abstract = !shown.empty() && shown.front() == '@';
        return detail::concat({"unix:", looks_abstract ? "./" : "", shown});
    }
    return {};
}
#endif

}  // namespace weft
