// SPDX-License-Identifier: MIT
// How a server takes connections that come faster than its loop turns (SEMANTICS 8, 90).
// rungs: all
#include <weft/net/connect.hpp>
#include <weft/net/io.hpp>
#include <weft/net/server.hpp>
#include <weft/net/stream.hpp>
#include <weft/testing/catch.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../support/awaiting.hpp"
#include "../support/descriptors.hpp"

namespace accept_test {

using support::connected_to;
using support::Fd;
using support::turns;
using weft::Coro;
using weft::Server;
using weft::Stream;

namespace {

Coro<void> echo(Stream client) {
    char buffer[64];
    while (const std::size_t count = co_await client.read(buffer))
        co_await client.write(weft::ConstBuffer(buffer, count));
}

/// Blocking calls, in one step: the connections wait in the kernel's queue.
std::vector<Fd> crowd(const Server& server, std::size_t count) {
    std::vector<Fd> clients;
    while (clients.size() < count) clients.push_back(connected_to(server.address()));
    return clients;
}

bool has_no_delay(int fd) {
    int on = 0;
    socklen_t size = sizeof on;
    support::checked(::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &size), "getsockopt");
    return on != 0;
}

}  // namespace

WEFT_TEST_CASE("connections that wait are taken together, not one a turn", "[accept]") {
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    co_await turns(3);
    const std::vector<Fd> clients = crowd(server, 100);
    co_await turns(4);
    CHECK(server.connections() == 100);
    for (const Fd& client : clients) {
        support::put(client.get(), "hello");
        const std::string answer = co_await support::read_some(client.get(), 5);
        REQUIRE(answer == "hello");
    }
}

WEFT_TEST_CASE("a crowd of connections is taken in shares, and others have their turns",
               "[accept]") {
    constexpr std::size_t count = 300;
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    co_await turns(3);
    const std::vector<Fd> clients = crowd(server, count);
    std::size_t before = 0;
    std::size_t most = 0;
    int needed = 0;
    for (; before < count && needed < 100; ++needed) {
        co_await weft::yield();
        const std::size_t now = server.connections();
        most = std::max(most, now - before);
        before = now;
    }
    CHECK(before == count);
    CHECK(most < count);
    CHECK(needed < 10);
}

WEFT_TEST_CASE("a server closed in front of a crowd serves whom it has taken and refuses the rest",
               "[accept]") {
    for (int moment = 0; moment < 6; ++moment) {
        std::optional<Server> server = co_await weft::start_server(&echo, "127.0.0.1", 0);
        co_await turns(3);
        std::vector<Fd> clients = crowd(*server, 280);
        co_await turns(moment);
        server->close();
        const std::size_t taken = server->connections();
        clients.clear();
        co_await server->wait_closed();
        CHECK(server->connections() == 0);
        CHECK(taken <= 280);
        server.reset();
    }
}

WEFT_TEST_CASE("both ends of a connection send small messages at once", "[accept]") {
    std::optional<Stream> served;
    auto keep = [&](Stream client) -> Coro<void> {
        served.emplace(std::move(client));
        co_return;
    };
    Server server = co_await weft::start_server(keep, "127.0.0.1", 0);
    Stream client = co_await weft::open_connection(server.address());
    while (!served) co_await weft::yield();
    CHECK(has_no_delay(client.fd()));
    CHECK(has_no_delay(served->fd()));
}

}  // namespace accept_test
