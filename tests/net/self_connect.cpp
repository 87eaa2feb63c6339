// SPDX-License-Identifier: MIT
// A connect to a port of this host that nobody listens on never connects a socket with itself.
// program: own
// rungs: all
#include <weft/testing/catch.hpp>

#include <dlfcn.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <weft/weft.hpp>

#include "../support/descriptors.hpp"

namespace self_connect_test {

namespace {

using support::Fd;
using weft::Address;
using weft::Coro;

// The kernel would give the port that is asked for to the socket that connects once in 28,000
// times. Here it does so every time: the next socket is bound there.
std::optional<Address> given;

}  // namespace

extern "C" int socket(int family, int type, int protocol) noexcept {
    using Socket = int (*)(int, int, int);
    static const auto libc = reinterpret_cast<Socket>(::dlsym(RTLD_NEXT, "socket"));
    const int fd = libc(family, type, protocol);
    if (fd >= 0 && given) {
        const int on = 1;
        ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (::bind(fd, given->data(), given->size()) != 0) return -1;
    }
    return fd;
}

namespace {

Address free_port(const std::string& ip) {
    const Fd probe = support::new_socket(Address::ip(ip, 0).family());
    const int on = 1;
    ::setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const Address any = Address::ip(ip, 0);
    support::checked(::bind(probe.get(), any.data(), any.size()), "bind");
    return Address::of_socket(probe.get());
}

bool has_ipv6() {
    const Fd probe(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const Address any = Address::ip("::1", 0);
    return probe && ::bind(probe.get(), any.data(), any.size()) == 0;
}

template <class T>
Coro<int> error_of(Coro<T> coro) {
    try {
        co_await std::move(coro);
    } catch (const std::system_error& error) {
        co_return error.code().value();
    }
    co_return 0;
}

Coro<void> connect_to(int fd, Address to) { co_await weft::io::connect(fd, to); }

}  // namespace

WEFT_TEST_CASE("a socket that the kernel has given the port it connects to is refused") {
    for (const std::string& ip : {support::own_host(), std::string("::1")}) {
        if (ip[0] == ':' && !has_ipv6()) continue;
        const Address port = free_port(ip);
        given = port;
        const Fd fd = support::new_socket(port.family());
        const int error = co_await error_of(connect_to(fd.get(), port));
        CHECK(error == ECONNREFUSED);
        // It is not connected any more, so that a server may have the port.
        CHECK(::send(fd.get(), "x", 1, MSG_NOSIGNAL) < 0);
        const int opened = co_await error_of(weft::open_connection(port));
        CHECK(opened == ECONNREFUSED);
        given.reset();
    }
}

WEFT_TEST_CASE("the address that stands for this host is seen through") {
    const Address port = free_port("127.0.0.1");
    given = port;
    const int error = co_await error_of(weft::open_connection("0.0.0.0", port.port()));
    given.reset();
    CHECK(error == ECONNREFUSED);
}

WEFT_TEST_CASE(
    "a connection from one port of this host to the same port of another address stays") {
    support::Listener listener = support::tcp_listener();
    Address from = Address::ip("127.0.0.2", listener.address.port());
    given = from;
    const Fd fd = support::new_socket(AF_INET);
    given.reset();
    co_await weft::io::connect(fd.get(), listener.address);
    CHECK(Address::of_peer(fd.get()) == listener.address);
    CHECK(Address::of_socket(fd.get()) == from);
}

WEFT_TEST_CASE("a datagram socket may be connected to itself") {
    const Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const Address any = Address::ip("127.0.0.1", 0);
    support::checked(::bind(fd.get(), any.data(), any.size()), "bind");
    co_await weft::io::connect(fd.get(), Address::of_socket(fd.get()));
    co_await weft::io::send(fd.get(), weft::ConstBuffer("me", 2));
    char buffer[4];
    const std::size_t count = co_await weft::io::recv(fd.get(), buffer);
    CHECK(count == 2);
}

}  // namespace self_connect_test
