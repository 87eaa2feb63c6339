// SPDX-License-Identifier: MIT
// Address: what is taken for one, and that its text leads back to it.
#include <weft/testing/catch.hpp>

#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>

#include <weft/base/fd.hpp>
#include <weft/net/address.hpp>

#include "../support/descriptors.hpp"

namespace address_test {

namespace {

using weft::Address;
using weft::Fd;

std::uint32_t scope_of(const Address& address) {
    REQUIRE(address.family() == AF_INET6);
    return reinterpret_cast<const sockaddr_in6*>(address.data())->sin6_scope_id;
}

/// The code with which `Address::ip` refuses it; 0: it does not.
template <class Call>
int refusal(const Call& call) {
    try {
        (void)call();
    } catch (const std::system_error& error) {
        return error.code().value();
    }
    return 0;
}

std::string name_of_interface(unsigned index) {
    char name[IF_NAMESIZE] = "";
    ::if_indextoname(index, name);
    return name;
}

}  // namespace

TEST_CASE("the scope of an IPv6 address survives its text, by number and by name") {
    for (const char* const text : {"fe80::1%1", "fe80::1%4294967295", "ff02::1%7"}) {
        const Address address = Address::ip(text, 80);
        CHECK(address.to_string() == "[" + std::string(text) + "]:80");
        CHECK(Address::parse(address.to_string()) == address);
    }
    CHECK(scope_of(Address::ip("fe80::1%4294967295", 1)) == 4294967295U);
    CHECK(scope_of(Address::ip("fe80::1%0", 1)) == 0);
    CHECK(Address::ip("fe80::1%1", 1) != Address::ip("fe80::1%2", 1));
    const unsigned index = ::if_nametoindex("lo");
    if (index == 0) return;  // no network here, not even to oneself
    REQUIRE(name_of_interface(index) == "lo");
    CHECK(scope_of(Address::ip("fe80::1%lo", 1)) == index);
    CHECK(scope_of(Address::parse("[fe80::1%lo]:1")) == index);
}

TEST_CASE("what is no address in numbers is refused, and an interface that is not here is named") {
    for (const char* const text :
         {"", "%", "fe80::1%", "%lo", "127.0.0.1%lo", "127.0.0.1%1", "localhost", "127.0.0.1 ",
          "fe80::1%a-name-that-is-too-long", " ::1", "1.2.3", "[::1]", "127.0.0.1:80"}) {
        CAPTURE(text);
        CHECK(refusal([&] { return Address::ip(text, 80); }) == EINVAL);
    }
    for (const char* const scope : {"no-such-if", "4294967296", "1x", "-1", "1%1"}) {
        CAPTURE(scope);
        const std::string text = std::string("fe80::1%") + scope;
        CHECK(refusal([&] { return Address::ip(text, 80); }) == ENODEV);
    }
    CHECK(refusal([] { return Address::ip(std::string(100'000, '1'), 80); }) == EINVAL);
}

TEST_CASE("the text of an address leads back to it") {
    for (const char* const text :
         {"127.0.0.1:80", "0.0.0.0:0", "255.255.255.255:65535", "[::]:0", "[::1]:443",
          "[2001:db8::1]:8080", "[::ffff:1.2.3.4]:1", "unix:/run/x", "unix:relative", "unix:@name",
          "unix:./@no-abstract-name", "unix:/with:colons:80"}) {
        const Address address = Address::parse(text);
        CHECK(address.to_string() == text);
        CHECK(Address::parse(address.to_string()) == address);
    }
    CHECK(Address::unix_path("@here").to_string() == "unix:./@here");
    CHECK(Address().to_string().empty());
}

TEST_CASE("what is no text of an address is refused") {
    for (const char* const text :
         {"", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1",
          "127.0.0.1: 1", "127.0.0.1:1x", "::1:80", "[::1]", "[::1]80", "[127.0.0.1]:80", "[]:80",
          "localhost:80", "unix:", "Unix:/x", "[::1:80", "::1]:80"}) {
        CAPTURE(text);
        CHECK(refusal([&] { return Address::parse(text); }) == EINVAL);
    }
}

TEST_CASE("an empty or too long Unix path is refused, one of 107 bytes is not") {
    // The kernel would take the empty one for the abstract name that is empty.
    CHECK(refusal([] { return Address::unix_path(""); }) == EINVAL);
    CHECK(refusal([] { return Address::unix_path(std::string(108, 'x')); }) == ENAMETOOLONG);
    const std::string longest(107, 'x');
    CHECK(Address::unix_path(longest).to_string() == "unix:" + longest);
}

TEST_CASE("addresses are equal when they are the same place") {
    CHECK(Address::ip("127.0.0.1", 1) == Address::ip("127.0.0.1", 1));
    CHECK(Address::ip("127.0.0.1", 1) != Address::ip("127.0.0.1", 2));
    CHECK(Address::ip("127.0.0.1", 1) != Address::ip("127.0.0.2", 1));
    CHECK(Address::ip("::1", 1) != Address::ip("127.0.0.1", 1));
    CHECK(Address::unix_path("/x") == Address::unix_path("/x"));
    CHECK(Address::unix_path("/x") != Address::unix_path("/y"));
    CHECK(Address::unix_path("/x") != Address::unix_path({"\0/x", 3}));
    CHECK(Address() == Address());
}

TEST_CASE("the peer of a connection that was reset is still known, and who has none has none") {
    for (const char* const host : {"127.0.0.1", "::1"}) {
        const Address any = Address::ip(host, 0);
        const Fd listener(::socket(any.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (::bind(listener.get(), any.data(), any.size()) != 0) {
            std::printf("%s: nothing is tested, there is no such address here\n", host);
            continue;
        }
        REQUIRE(::listen(listener.get(), 1) == 0);
        const Address to = Address::of_socket(listener.get());
        Fd client(::socket(any.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
        CHECK(refusal([&] { return Address::of_peer(client.get()); }) == ENOTCONN);
        REQUIRE(::connect(client.get(), to.data(), to.size()) == 0);
        const Address visitor = Address::of_socket(client.get());
        const Fd served(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        CHECK(Address::of_peer(served.get()) == visitor);
        support::reset_on_close(client.get());
        client.reset();
        CHECK(::getpeername(served.get(), nullptr, nullptr) != 0);
        CHECK(Address::of_peer(served.get()) == visitor);
        CHECK(Address::of_peer(served.get()).size() == to.size());

        const Fd refused(::socket(any.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
        Address nobody = to;
        nobody.set_port(1);
        CHECK(::connect(refused.get(), nobody.data(), nobody.size()) != 0);
        CHECK(refusal([&] { return Address::of_peer(refused.get()); }) == ENOTCONN);
        CHECK(refusal([&] { return Address::of_peer(listener.get()); }) == ENOTCONN);
    }
    CHECK(refusal([] { return Address::of_peer(-1); }) == EBADF);
}

}  // namespace address_test
