// SPDX-License-Identifier: MIT
// Ten thousand connections against cancelled accepts and connects: each is there exactly once.
#include <weft/net/io.hpp>
#include <weft/testing/catch.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"
#include "rounds.hpp"

namespace storm_connections_test {

using namespace support;
using weft::create_task;
namespace io = weft::io;

namespace {

constexpr int rounds = support::rounds(10'000);

class Dice {
public:
    int below(int limit) {
        state_ = state_ * 6364136223846793005U + 1442695040888963407U;
        return static_cast<int>((state_ >> 33) % static_cast<unsigned>(limit));
    }

private:
    std::uint64_t state_ = 7;
};

/// Which clients have been accepted, each of them by the number that it sent.
struct Ledger {
    int cancelled = 0;
    int accepted = 0;
    int twice = 0;
    int failed = 0;
    std::vector<bool> seen = std::vector<bool>(rounds);
};

weft::Coro<void> take(Ledger& ledger, io::Accepted connection) {
    int number = -1;
    const std::size_t got =
        co_await io::recv(connection.fd.get(), weft::MutableBuffer(&number, sizeof number));
    reset_on_close(connection.fd.get());
    if (got != sizeof number) {
        ++ledger.failed;
        co_return;
    }
    const auto index = static_cast<std::size_t>(number);
    if (ledger.seen[index]) ++ledger.twice;
    ledger.seen[index] = true;
    ++ledger.accepted;
}

weft::Coro<io::Accepted> accept_one(int fd) { co_return co_await io::accept(fd); }

weft::Coro<void> settle(Ledger& ledger, weft::Task<io::Accepted>& task) {
    co_await task.wait();
    if (task.cancelled()) {
        ++ledger.cancelled;
        co_return;
    }
    io::Accepted connection = std::move(task).result();
    co_await take(ledger, std::move(connection));
}

weft::Coro<void> accepts_against_cancel(const Listener& listener, std::size_t acceptors) {
    Dice dice;
    Ledger ledger;
    std::vector<Fd> clients;
    std::vector<weft::Task<io::Accepted>> tasks(acceptors);
    for (auto& task : tasks) task = create_task(accept_one(listener.fd.get()));
    for (int round = 0; round < rounds; ++round) {
        co_await turns(dice.below(3));
        for (auto& task : tasks) {
            if (dice.below(4) == 0) task.cancel();
        }
        Fd client = connected_to(listener.address);
        put(client.get(), std::string_view(reinterpret_cast<const char*>(&round), sizeof round));
        clients.push_back(std::move(client));
        co_await turns(dice.below(3));
        for (auto& task : tasks) {
            if (dice.below(3) == 0) task.cancel();
        }
        for (auto& task : tasks) {
            if (!task.done() && dice.below(2) == 0) continue;
            task.cancel();
            co_await settle(ledger, task);
            task = create_task(accept_one(listener.fd.get()));
        }
        // The queue must not run full: what waits there is taken without a cancel.
        while (round + 1 - ledger.accepted > 32) {
            for (auto& task : tasks) {
                co_await settle(ledger, task);
                task = create_task(accept_one(listener.fd.get()));
            }
        }
        if (clients.size() > 64) clients.erase(clients.begin(), clients.begin() + 16);
    }
    for (auto& task : tasks) {
        task.cancel();
        co_await settle(ledger, task);
    }
    pollfd more{listener.fd.get(), POLLIN, 0};
    while (::poll(&more, 1, 0) > 0) {
        io::Accepted connection = co_await io::accept(listener.fd.get());
        co_await take(ledger, std::move(connection));
    }
    CHECK(ledger.accepted == rounds);
    CHECK(ledger.twice == 0);
    CHECK(ledger.failed == 0);
    CHECK(ledger.cancelled > rounds / 100);
}

weft::Coro<void> connect_to(const Address& address, Fd& fd) {
    co_await io::connect(fd.get(), address);
}

weft::Coro<void> connects_against_cancel(const Listener& listener) {
    Dice dice;
    int connected = 0;
    int cancelled = 0;
    int served = 0;
    for (int round = 0; round < rounds; ++round) {
        Fd client = new_socket(listener.address.family(), dice.below(2) ? SOCK_NONBLOCK : 0);
        auto task = create_task(connect_to(listener.address, client));
        co_await turns(dice.below(4));
        task.cancel();
        const End end = co_await ending(task);
        REQUIRE((end == End::value || end == End::cancelled));
        if (end == End::value) {
            ++connected;
            sockaddr_storage peer{};
            socklen_t size = sizeof peer;
            REQUIRE(::getpeername(client.get(), reinterpret_cast<sockaddr*>(&peer), &size) == 0);
        } else {
            ++cancelled;
        }
        if (listener.address.family() == AF_INET) reset_on_close(client.get());
        client.reset();
        pollfd waiting{listener.fd.get(), POLLIN, 0};
        while (::poll(&waiting, 1, 0) > 0) {
            io::Accepted connection = co_await io::accept(listener.fd.get());
            ++served;
        }
    }
    CHECK(served >= connected);
    CHECK(connected > rounds / 100);
    CHECK(cancelled > rounds / 100);
}

}  // namespace

WEFT_TEST_CASE("each TCP connection that races cancelled accepts is accepted exactly once",
               "[storm]") {
    const Listener listener = tcp_listener();
    co_await accepts_against_cancel(listener, 1);
}

WEFT_TEST_CASE("each Unix connection that races three cancelled accepts is accepted exactly once",
               "[storm]") {
    const Listener listener = unix_listener();
    co_await accepts_against_cancel(listener, 3);
}

WEFT_TEST_CASE("an O_NONBLOCK listener loses no connection to a cancel", "[storm]") {
    const Listener listener = unix_listener();
    make_nonblocking(listener.fd.get());
    co_await accepts_against_cancel(listener, 2);
}

WEFT_TEST_CASE("a connect over TCP that races a cancel is connected or cancelled", "[storm]") {
    const Listener listener = tcp_listener();
    co_await connects_against_cancel(listener);
}

WEFT_TEST_CASE("a connect to a Unix socket that races a cancel is connected or cancelled",
               "[storm]") {
    const Listener listener = unix_listener();
    co_await connects_against_cancel(listener);
}

}  // namespace storm_connections_test
