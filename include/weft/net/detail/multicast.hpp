// SPDX-License-Identifier: MIT
// Socket options that take more than a number: groups of receivers, by address and interface.
#pragma once

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>

#include "../../base/c_text.hpp"
#include "../../base/error.hpp"
#include "../address.hpp"

namespace weft::detail {

template <class Value>
void set_option(int fd, int level, int name, const Value& value, const char* what) {
    if (::setsockopt(fd, level, name, &value, sizeof value) != 0)
        throw_system_error(errno, concat({"setsockopt ", what}));
}

[[gnu::cold]] inline unsigned interface_index(const std::string& name) {
    if (name.empty()) return 0;
    refuse_zero_byte("interface", name);
    const unsigned index = ::if_nametoindex(name.c_str());
    if (index == 0) throw_system_error(errno, concat({"interface '", name, "'"}));
    return index;
}

/// Joins or leaves, which differ in the number of the option alone.
[[gnu::cold]] inline void change_group(int fd, const Address& group, const std::string& interface,
                                       bool join) {
    const unsigned index = interface_index(interface);
    int result = 0;
    if (group.family() == AF_INET) {
        ip_mreqn request{};
        request.imr_multiaddr = reinterpret_cast<const sockaddr_in*>(group.data())->sin_addr;
        request.imr_ifindex = static_cast<int>(index);
        result = ::setsockopt(fd, IPPROTO_IP, join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP,
                              &request, sizeof request);
    } else if (group.family() == AF_INET6) {
        ipv6_mreq request{};
        request.ipv6mr_multiaddr = reinterpret_cast<const sockaddr_in6*>(group.data())->sin6_addr;
        // (An address with a scope names its interface.)
        const auto* const address = reinterpret_cast<const sockaddr_in6*>(group.data());
        request.ipv6mr_interface = index != 0 ? index : address->sin6_scope_id;
        result = ::setsockopt(fd, IPPROTO_IPV6, join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP, &request,
                              sizeof request);
    } else {
        errno = EAFNOSUPPORT;
        result = -1;
    }
    if (result != 0) {
        throw_system_error(errno,
                           concat({join ? "join group " : "leave group ", group.to_string()}));
    }
}

}  // namespace weft::detail
