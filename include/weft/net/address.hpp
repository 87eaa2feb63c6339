// SPDX-License-Identifier: MIT
// Address: where a socket is: an IPv4 or IPv6 address with a port, or a Unix path.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "../base/error.hpp"

namespace weft {

class Address {
public:
    /// No address (family AF_UNSPEC).
    Address() noexcept { std::memset(&unix_, 0, sizeof unix_); }  // (the largest of them)

    /// From numbers as text ("127.0.0.1", "::1"); no lookup.
    /// Throws:   std::system_error (EINVAL) when `ip` is not a numeric address.
    static Address ip(std::string_view ip, std::uint16_t port) {
        Address address;
        const std::string text(ip);
        if (::inet_pton(AF_INET, text.c_str(), &address.v4_.sin_addr) == 1) {
            address.v4_.sin_family = AF_INET;
            address.v4_.sin_port = htons(port);
            address.size_ = sizeof(sockaddr_in);
        } else if (::inet_pton(AF_INET6, text.c_str(), &address.v6_.sin6_addr) == 1) {
            address.v6_.sin6_family = AF_INET6;
            address.v6_.sin6_port = htons(port);
            address.size_ = sizeof(sockaddr_in6);
        } else {
            detail::throw_system_error(EINVAL,
                                       detail::concat({"'", text, "' is not a numeric address"}));
        }
        return address;
    }

    /// A Unix socket's path; a leading zero byte means the abstract namespace.
    /// Throws:   std::system_error (ENAMETOOLONG) over 107 bytes.
    static Address unix_path(std::string_view path) {
        Address address;
        if (path.size() >= sizeof address.unix_.sun_path) {
            detail::throw_system_error(ENAMETOOLONG, "Unix socket path");
        }
        address.unix_.sun_family = AF_UNIX;
        std::memcpy(address.unix_.sun_path, path.data(), path.size());
        const bool abstract = !path.empty() && path[0] == '\0';
        address.size_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() +
                                               (abstract ? 0 : 1));
        return address;
    }

    static Address from(const sockaddr* address, socklen_t size) noexcept {
        Address copy;
        copy.size_ = size < sizeof copy.unix_ ? size : static_cast<socklen_t>(sizeof copy.unix_);
        std::memcpy(&copy.unix_, address, copy.size_);
        return copy;
    }

    /// The address a socket is bound to.
    /// Throws:   std::system_error (getsockname).
    static Address of_socket(int fd) {
        Address address;
        address.size_ = sizeof address.unix_;
        if (::getsockname(fd, address.data(), &address.size_) != 0)
            detail::throw_system_error(errno, "getsockname");
        return address;
    }

    /// The address that a socket is connected to.
    /// Throws:   std::system_error (getpeername).
    static Address of_peer(int fd) {
        Address address;
        address.size_ = sizeof address.unix_;
        if (::getpeername(fd, address.data(), &address.size_) != 0)
            detail::throw_system_error(errno, "getpeername");
        return address;
    }

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
    /// address.
    [[gnu::cold, gnu::noinline]] std::string to_string() const {
        char text[INET6_ADDRSTRLEN];
        if (family() == AF_INET) {
            ::inet_ntop(AF_INET, &v4_.sin_addr, text, sizeof text);
            return detail::concat({text, ":", detail::decimal(port())});
        }
        if (family() == AF_INET6) {
            ::inet_ntop(AF_INET6, &v6_.sin6_addr, text, sizeof text);
            return detail::concat({"[", text, "]:", detail::decimal(port())});
        }
        if (family() == AF_UNIX) {
            constexpr std::size_t before = offsetof(sockaddr_un, sun_path);
            std::string_view path(unix_.sun_path, size_ > before ? size_ - before : 0);
            if (!path.empty() && path.front() == '\0')
                return detail::concat({"unix:@", path.substr(1)});
            while (!path.empty() && path.back() == '\0') path.remove_suffix(1);
            return detail::concat({"unix:", path});
        }
        return {};
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
    union {
        sockaddr any_;
        sockaddr_in v4_;
        sockaddr_in6 v6_;
        sockaddr_un unix_;
    };
    socklen_t size_ = 0;
};

}  // namespace weft
