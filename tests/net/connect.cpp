// SPDX-License-Identifier: MIT
// open_connection to a host of several addresses: which is tried when, and who wins (SEMANTICS
// 114).
// program: own header-only
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "../support/descriptors.hpp"

namespace connect_test {

namespace {

using namespace std::chrono_literals;
using support::BusyListener;
using weft::Address;
using weft::Coro;
using weft::Server;
using weft::Stream;

/// What "many.test" resolves to. (Lookups that nobody waits for any more may run until the process
/// ends: it outlives them.)
class Found {
public:
    Found& operator=(std::vector<Address> addresses) {
        const std::lock_guard lock(mutex_);
        addresses_ = std::move(addresses);
        return *this;
    }
    std::vector<Address> now() {
        const std::lock_guard lock(mutex_);
        return addresses_;
    }

private:
    std::mutex mutex_;
    std::vector<Address> addresses_;
};
Found& found = *new Found;

}  // namespace

// Nobody else's names are asked for here.
extern "C" int getaddrinfo(const char*, const char*, const addrinfo*, addrinfo** result) {
    const std::vector<Address> addresses = found.now();
    *result = nullptr;
    for (std::size_t index = addresses.size(); index > 0; --index) {
        const Address& address = addresses[index - 1];
        auto* const one = static_cast<addrinfo*>(std::calloc(1, sizeof(addrinfo)));
        auto* const room = static_cast<sockaddr*>(std::calloc(1, sizeof(sockaddr_storage)));
        std::memcpy(room, address.data(), address.size());
        one->ai_family = address.family();
        one->ai_addr = room;
        one->ai_addrlen = address.size();
        one->ai_next = *result;
        *result = one;
    }
    return 0;
}
extern "C" void freeaddrinfo(addrinfo* list) noexcept {
    while (list) {
        addrinfo* const next = list->ai_next;
        std::free(list->ai_addr);
        std::free(list);
        list = next;
    }
}

namespace {

Coro<void> silent(Stream client) {
    char buffer[8];
    co_await client.read(buffer);
}

weft::TimePoint now() { return weft::get_running_loop().time(); }

std::vector<std::string> texts(const std::vector<Address>& addresses) {
    std::vector<std::string> result;
    for (const Address& address : addresses) result.push_back(address.to_string());
    return result;
}

std::vector<Address> parsed(const std::vector<std::string>& list) {
    std::vector<Address> result;
    for (const std::string& text : list) result.push_back(Address::parse(text));
    return result;
}

/// Nothing listens there.
Address refusing(const char* ip) { return Address::ip(ip, 1); }

std::size_t tasks() { return weft::all_tasks().size(); }

}  // namespace

TEST_CASE("families take turns, each in the resolver's order, and the first one's begins") {
    using List = std::vector<std::string>;
    const auto ordered = [](const List& list) {
        return texts(weft::detail::with_families_in_turn(parsed(list)));
    };
    const std::string a = "[::a]:1", b = "[::b]:1", c = "[::c]:1";
    const std::string x = "1.0.0.1:1", y = "1.0.0.2:1", z = "1.0.0.3:1";
    CHECK(ordered(List{a, b, c, x, y, z}) == List{a, x, b, y, c, z});
    CHECK(ordered(List{x, y, a}) == List{x, a, y});
    CHECK(ordered(List{a, b, c, x}) == List{a, x, b, c});
    CHECK(ordered(List{a, x, y, z}) == List{a, x, y, z});
    CHECK(ordered(List{x, a, b}) == List{x, a, b});
    CHECK(ordered(List{a, b}) == List{a, b});
    CHECK(ordered(List{x}) == List{x});
    CHECK(weft::detail::with_families_in_turn({}).empty());
}

WEFT_TEST_CASE("an address that does not answer keeps the next one waiting for 250 ms, no more") {
    const BusyListener busy(support::tcp_listener(0));
    Server server = co_await weft::start_server(&silent, "127.0.0.1", 0);
    found = {busy.listener.address, busy.listener.address, server.address()};
    const std::size_t before = tasks();
    const weft::TimePoint began = now();
    Stream stream = co_await weft::open_connection("many.test", 1);
    const auto took = now() - began;
    CHECK((took >= 500ms && took < 600ms));
    CHECK(stream.peer_address() == server.address());
    CHECK(tasks() <= before + 1);  // the handler; the losers have ended
    co_await server.shutdown(0s);
}

WEFT_TEST_CASE("an address that fails does not keep the next one waiting") {
    Server server = co_await weft::start_server(&silent, "127.0.0.1", 0);
    found = {refusing("127.0.0.1"), refusing("127.0.0.2"), server.address()};
    const weft::TimePoint began = now();
    Stream stream = co_await weft::open_connection("many.test", 1);
    CHECK(now() - began < 100ms);
    CHECK(stream.peer_address() == server.address());
    co_await server.shutdown(0s);
}

WEFT_TEST_CASE("when no address answers, the error names the host and what was wrong with each") {
    found = {refusing("127.0.0.1"), Address::unix_path("/no/such"), refusing("127.0.0.2")};
    std::string text;
    try {
        co_await weft::open_connection("many.test", 77);
    } catch (const std::system_error& error) {
        text = error.what();
        CHECK(error.code() == std::errc::connection_refused);
    }
    const std::string refused = std::system_category().message(ECONNREFUSED);
    CHECK(text == "connect many.test:77 (tried 127.0.0.1:1: " + refused + ", unix:/no/such: " +
                      std::system_category().message(ENOENT) + ", 127.0.0.2:1): " + refused);
}

WEFT_TEST_CASE(
    "an address that does not answer within its attempt_timeout is ETIMEDOUT, and named") {
    const BusyListener busy(support::tcp_listener(0));
    const BusyListener local(support::unix_listener(0));
    weft::ConnectOptions options;
    options.attempt_timeout = 3s;
    for (const Address& address : {busy.listener.address, local.listener.address}) {
        const weft::TimePoint began = now();
        std::string text;
        try {
            co_await weft::open_connection(address, options);
        } catch (const std::system_error& error) {
            text = error.what();
            CHECK(error.code() == std::errc::timed_out);
        }
        CHECK((now() - began >= 3s && now() - began < 3100ms));
        CHECK(text.find("connect " + address.to_string()) == 0);
    }
    // Of several each has its own, and the error says which did not answer.
    found = {busy.listener.address, refusing("127.0.0.1")};
    const weft::TimePoint began = now();
    std::string text;
    try {
        co_await weft::open_connection("many.test", 77, options);
    } catch (const std::system_error& error) {
        text = error.what();
    }
    CHECK((now() - began >= 3s && now() - began < 3100ms));
    CHECK(text.find(busy.listener.address.to_string() + ": " +
                    std::system_category().message(ETIMEDOUT)) != std::string::npos);
}

WEFT_TEST_CASE("a cancel within the attempt_timeout is a cancel, and a connection in time is one") {
    const BusyListener busy(support::tcp_listener(0));
    weft::ConnectOptions options;
    options.attempt_timeout = 3s;
    for (const auto after : {0s, 1s, 3s}) {
        weft::Task<Stream> connecting =
            weft::create_task(weft::open_connection(busy.listener.address, options));
        co_await weft::sleep(after);
        connecting.cancel();
        co_await connecting.wait();
        CHECK((connecting.cancelled() || after == 3s));
    }
    Server server = co_await weft::start_server(&silent, "127.0.0.1", 0);
    Stream stream = co_await weft::open_connection(server.address(), options);
    co_await weft::sleep(10s);
    CHECK(stream.peer_address() == server.address());
    co_await server.shutdown(0s);
}

WEFT_TEST_CASE("a slow address may still win when later ones fail") {
    std::optional<BusyListener> busy(support::tcp_listener(0));
    found = {busy->listener.address, refusing("127.0.0.1")};
    weft::Task<Stream> connecting = weft::create_task(weft::open_connection("many.test", 1));
    co_await weft::sleep(10s);
    CHECK_FALSE(connecting.done());
    // There is room now. (The kernel tries again after a second of its own.)
    busy->fillers.clear();
    while (support::Fd(
        ::accept4(busy->listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK))) {
        break;
    }
    Stream stream = co_await std::move(connecting);
    CHECK(stream.peer_address() == busy->listener.address);
}

WEFT_TEST_CASE("a cancel ends all attempts before it goes on") {
    const BusyListener busy(support::tcp_listener(0));
    found = {busy.listener.address, busy.listener.address, busy.listener.address};
    const std::size_t before = tasks();
    weft::Task<Stream> connecting = weft::create_task(weft::open_connection("many.test", 1));
    // (The lookup is another thread's, for which this loop's time does not wait.)
    while (tasks() < before + 2) co_await weft::yield();
    co_await weft::sleep(400ms);
    CHECK(tasks() == before + 3);
    connecting.cancel();
    co_await connecting.wait();
    CHECK(connecting.cancelled());
    CHECK(tasks() == before);
}

WEFT_TEST_CASE("connections come from the address that was asked for, with the options wanted") {
    Server server = co_await weft::start_server(&silent, "127.0.0.1", 0);
    weft::ConnectOptions options;
    options.local_address = Address::ip("127.0.0.3", 0);
    options.no_delay = false;
    options.keep_alive = true;
    Stream stream = co_await weft::open_connection(server.address(), options);
    Address local = stream.local_address();
    CHECK(local.port() != 0);
    local.set_port(0);
    CHECK(local == *options.local_address);
    const auto option = [&](int level, int name) {
        int value = 0;
        socklen_t size = sizeof value;
        support::checked(::getsockopt(stream.fd(), level, name, &value, &size), "getsockopt");
        return value != 0;
    };
    CHECK_FALSE(option(IPPROTO_TCP, TCP_NODELAY));
    CHECK(option(SOL_SOCKET, SO_KEEPALIVE));
    std::string text;
    options.local_address = Address::ip("192.0.2.1", 0);
    try {
        co_await weft::open_connection(server.address(), options);
    } catch (const std::system_error& error) {
        text = error.what();
    }
    CHECK(text.find("bind 192.0.2.1:0") == 0);
    co_await server.shutdown(0s);
}

TEST_CASE("a race of attempts may be destroyed or cancelled after any turn") {
    const weft::testing::DescriptorCensus before;
    const auto scenario = []() -> Coro<void> {
        Server server = co_await weft::start_server(&silent, "127.0.0.1", 0);
        found = {refusing("127.0.0.2"), server.address(), server.address()};
        weft::ConnectOptions options;
        options.attempt_delay = 0s;
        Stream stream = co_await weft::open_connection("many.test", 1, options);
        co_await server.shutdown(0s);
    };
    weft::testing::kill_at_every_step(scenario);
    weft::testing::cancel_at_every_step(scenario, [](weft::Task<void>&) {});
    const std::string leaked = before.leaked();
    CHECK(leaked == "");
}

}  // namespace connect_test
