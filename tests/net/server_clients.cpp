// SPDX-License-Identifier: MIT
// A server and the clients that servers are afraid of: slow ones, rude ones, silent ones, and very
// many of them (SEMANTICS 8, 28, 86, 87, 89, 91).
#include <weft/net/connect.hpp>
#include <weft/net/server.hpp>
#include <weft/task/run.hpp>
#include <weft/testing/catch.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "../support/awaiting.hpp"
#include "../support/descriptors.hpp"
#include "../support/heap.hpp"
#include "../support/interleave.hpp"
#include "../support/stream_pairs.hpp"

namespace server_clients_test {

namespace {

using namespace std::chrono_literals;
using support::bytes_in_use;
using support::connected_to;
using support::Fd;
using support::has_sanitizer;
using support::stream_pair;
using support::StreamPair;
using support::turns;
using weft::Coro;
using weft::EventLoop;
using weft::Server;
using weft::Stream;

Coro<void> echo_lines(Stream client) {
    for (;;) {
        const std::string line = co_await client.read_line();
        if (line.empty()) co_return;
        co_await client.write(line);
    }
}

/// What the exception handler was told: the numbers of the errors.
struct Reports {
    Reports() {
        weft::get_running_loop().set_exception_handler([this](const weft::ExceptionContext& what) {
            try {
                std::rethrow_exception(what.exception);
            } catch (const std::system_error& error) {
                errors.push_back(error.code().value());
            } catch (const std::exception&) {
                errors.push_back(-1);
            }
        });
    }
    ~Reports() { weft::get_running_loop().set_exception_handler({}); }
    std::vector<int> errors;
};

Coro<bool> is_served(const Server& server) {
    const Fd client = connected_to(server.address());
    support::put(client.get(), "hello\n");
    const std::string answer = co_await support::read_some(client.get(), 6);
    co_return answer == "hello\n";
}

}  // namespace

// --- slow, rude and silent ones ---

WEFT_TEST_CASE("clients that send a byte at a time are served, and keep nobody waiting") {
    Server server = co_await weft::start_server(&echo_lines, "127.0.0.1", 0);
    const std::string line = "a line in very small pieces\n";
    std::vector<Fd> slow;
    while (slow.size() < 30) slow.push_back(connected_to(server.address()));
    for (std::size_t sent = 0; sent < line.size(); ++sent) {
        for (const Fd& client : slow) support::put(client.get(), line.substr(sent, 1));
        co_await turns(2);
        if (sent % 9 == 0) {
            const bool served = co_await is_served(server);
            CHECK(served);
        }
    }
    for (const Fd& client : slow) {
        const std::string answer = co_await support::read_exactly(client.get(), line.size());
        REQUIRE(answer == line);
    }
    slow.clear();
    co_await server.shutdown(1s);
}

WEFT_TEST_CASE("a client that resets in the middle of a write ends its own handler alone") {
    const Reports reports;
    auto send_much = [](Stream client) -> Coro<void> {
        const std::string line = co_await client.read_line();
        const std::string much(line == "much\n" ? 20'000'000 : 5, '.');
        co_await client.write(much);
    };
    Server server = co_await weft::start_server(send_much, "127.0.0.1", 0);
    Fd good = connected_to(server.address());
    for (int count = 0; count < 3; ++count) {
        Fd rude = connected_to(server.address());
        support::put(rude.get(), "much\n");
        const std::string beginning = co_await support::read_exactly(rude.get(), 100'000);
        CHECK(beginning.size() == 100'000);
        support::reset_on_close(rude.get());
        rude.reset();
        while (server.connections() > 1) co_await weft::yield();
    }
    REQUIRE(reports.errors.size() == 3);
    for (const int error : reports.errors) CHECK((error == ECONNRESET || error == EPIPE));
    support::put(good.get(), "a little\n");
    const std::string answer = co_await support::read_exactly(good.get(), 5);
    CHECK(answer == ".....");
    co_await server.shutdown(1s);
}

WEFT_TEST_CASE("a peer that has said all it will still gets the whole answer") {
    const std::string much(3'000'000, 'x');
    auto answer_at_the_end = [&much](Stream client) -> Coro<void> {
        const std::string all = co_await client.read_all(1'000'000);
        CHECK(all == "everything");
        co_await client.write(much);
    };
    Server server = co_await weft::start_server(answer_at_the_end, "127.0.0.1", 0);
    const Fd client = connected_to(server.address());
    support::put(client.get(), "everything");
    support::checked(::shutdown(client.get(), SHUT_WR), "shutdown");
    const std::string answer = co_await support::read_exactly(client.get(), much.size());
    CHECK(answer == much);
    const std::string end = co_await support::read_some(client.get(), 1);
    CHECK(end.empty());
    co_await server.shutdown(1s);
}

WEFT_TEST_CASE("peers that never read cost what the kernel holds for them, and no memory of ours") {
    std::uint64_t most_written = 0;
    auto flood = [&most_written](Stream client) -> Coro<void> {
        static const std::string piece(64 * 1024, '!');
        for (;;) {
            co_await client.write(piece);
            most_written = std::max(most_written, client.written());
        }
    };
    Server server = co_await weft::start_server(flood, "127.0.0.1", 0);
    weft::get_running_loop().set_exception_handler([](const weft::ExceptionContext&) {});
    std::vector<Fd> silent;
    silent.push_back(connected_to(server.address()));
    co_await weft::sleep(1s);
    const std::size_t before = bytes_in_use();
    while (silent.size() < 10) silent.push_back(connected_to(server.address()));
    co_await weft::sleep(100s);
    CHECK(server.connections() == 10);
    CHECK(most_written < 64'000'000);
    if (!has_sanitizer) CHECK(bytes_in_use() - before < 256 * 1024);
    co_await server.shutdown(0s);
    weft::get_running_loop().set_exception_handler({});
}

WEFT_TEST_CASE("empty writes between messages send nothing and wait for nothing") {
    auto handler = [](Stream client) -> Coro<void> {
        for (int count = 0; count < 3; ++count) {
            co_await client.write("");
            co_await client.write("x");
        }
        co_await client.write("");
    };
    Server server = co_await weft::start_server(handler, "127.0.0.1", 0);
    const Fd client = connected_to(server.address());
    const std::string all = co_await support::read_exactly(client.get(), 10);
    CHECK(all == "xxx");
    co_await server.shutdown(0s);
}

// --- numbers that come again ---

WEFT_TEST_CASE("a stream closed under its reader and the next one of its number do not mix") {
    int reused = 0;
    for (int round = 0; round < 60; ++round) {
        const auto transport = support::every_transport[static_cast<std::size_t>(round) % 2];
        const bool in_chunks = round % 4 < 2;
        StreamPair old = stream_pair(transport);
        auto read = [&]() -> Coro<int> {
            try {
                if (in_chunks) {
                    const weft::Chunk chunk = co_await old.near.read_chunk();
                    co_return chunk.empty() ? 0 : 1;
                }
                char buffer[16];
                const std::size_t count = co_await old.near.read(buffer);
                co_return count == 0 ? 0 : 1;
            } catch (const std::system_error& error) {
                co_return error.code().value();
            }
        };
        weft::Task<int> reading = weft::create_task(read);
        co_await turns(round % 3);
        const int number = old.near.fd();
        co_await old.near.close();
        // In the same step: the number is free, and the reader has not run yet.
        StreamPair next = stream_pair(transport);
        reused += next.near.fd() == number || next.far.fd() == number;
        if (round % 8 < 4) co_await old.far.close();
        co_await next.far.write("new");
        std::string got(3, '\0');
        if (in_chunks) {
            const weft::Chunk chunk = co_await next.near.read_chunk();
            got = std::string(chunk.view());
        } else {
            co_await next.near.read_exactly(weft::MutableBuffer(got.data(), got.size()));
        }
        CHECK(got == "new");
        const int ended = co_await reading;
        // (One that has not begun finds the stream closed.)
        CHECK((ended == ECANCELED || (ended == EBADF && round % 3 == 0)));
    }
    CHECK(reused > 20);
}

// --- very many ---

TEST_CASE("a flood on one connection keeps neither a thousand others nor a timer waiting") {
    // Real time, since virtual time stands still while something is ready. Turns are counted.
    constexpr std::size_t others = 1'000;
    weft::run([]() -> Coro<void> {
        EventLoop& loop = weft::get_running_loop();
        bool over = false;
        StreamPair flood = stream_pair();
        auto pour = [&]() -> Coro<void> {
            const std::string drops(4096, '~');
            while (!over) co_await flood.far.write(drops);
        };
        weft::TimerHandle timer;
        std::uint64_t overdue = 0;
        auto drink = [&]() -> Coro<void> {
            char mouthful[64];
            while (!over) {
                co_await flood.near.read(mouthful);
                if (timer.when() <= loop.time()) ++overdue;
            }
        };
        std::size_t served = 0;
        auto take_one = [&](Fd& fd) -> Coro<void> {
            Stream stream(std::move(fd));
            char byte;
            for (int round = 0; round < 3; ++round) {
                served += co_await stream.read(weft::MutableBuffer(&byte, 1));
            }
        };
        std::vector<Fd> ours(others);
        std::vector<Fd> theirs(others);
        std::vector<weft::Task<void>> tasks;
        for (std::size_t index = 0; index < others; ++index) {
            support::Pair pair = support::unix_pair();
            ours[index] = std::move(pair.a);
            theirs[index] = std::move(pair.b);
            tasks.push_back(weft::create_task(take_one, std::ref(ours[index])));
        }
        timer = loop.call_later(1ms, [] {});
        auto pouring = weft::create_task(pour);
        auto drinking = weft::create_task(drink);
        co_await turns(5);
        int ticks = 0;
        std::uint64_t most_overdue = 0;
        for (std::size_t round = 1; round <= 3; ++round) {
            for (const Fd& fd : theirs) support::put(fd.get(), "x");
            overdue = 0;
            bool fired = false;
            timer = loop.call_later(1ms, [&] {
                fired = true;
                most_overdue = std::max(most_overdue, overdue);
                timer = loop.call_later(1h, [] {});
            });
            while (served < round * others || !fired) {
                // (Turns in which others were still waited for.)
                if (served < round * others) ++ticks;
                co_await weft::yield();
                if (ticks > 100'000) break;
            }
        }
        timer.cancel();
        over = true;
        CHECK(served == 3 * others);
        // A turn of epoll takes 64 events.
        CHECK(ticks < 300);
        // Reads that went on although the timer was due: a few steps of 64.
        CHECK(most_overdue < 400);
        co_await flood.near.close();
        co_await drinking.wait();
        co_await pouring.wait();
        (void)pouring.exception();
        for (const auto& task : tasks) co_await task;
    });
}

WEFT_TEST_CASE("connections that come and go leave neither memory nor descriptors behind") {
    constexpr int rounds = has_sanitizer ? 500 : 5'000;
    constexpr int warm = rounds / 5;
    Server server = co_await weft::start_server(&echo_lines, "127.0.0.1", 0);
    std::optional<weft::testing::DescriptorCensus> census;
    std::size_t before = 0;
    for (int round = 0; round < rounds; ++round) {
        if (round == warm) {
            before = bytes_in_use();
            census.emplace();
        }
        Stream client = co_await weft::open_connection(server.address());
        if (round % 4 == 0) {
            co_await client.write("hello\n");
            const std::string answer = co_await client.read_line();
            if (answer != "hello\n") FAIL("no answer in round " << round);
        }
        // Its port is free again at once.
        support::reset_on_close(client.fd());
        if (round % 2 == 0) co_await client.write("");
        weft::get_running_loop().set_exception_handler([](const weft::ExceptionContext&) {});
    }
    while (server.connections() > 0) co_await weft::yield();
    const std::string leaked = census->leaked();
    CHECK(leaked == "");
    if (!has_sanitizer) CHECK(bytes_in_use() < before + 64 * 1024);
    weft::get_running_loop().set_exception_handler({});
    co_await server.shutdown(0s);
}

namespace {

/// One client that does something foolish at some moment, and is cancelled at some other.
Coro<void> misbehave(weft::Address to, support::Dice& dice) {
    Stream stream = co_await weft::open_connection(to);
    for (unsigned step = dice.below(4); step > 0; --step) {
        switch (dice.below(4)) {
            case 0:
                co_await stream.write("a line\n");
                break;
            case 1:
                co_await stream.write("half a li");
                break;
            case 2:
                co_await stream.read_line();
                break;
            default:
                co_await turns(static_cast<int>(dice.below(3)));
        }
    }
    if (dice.one_in(2)) support::reset_on_close(stream.fd());
}

}  // namespace

WEFT_TEST_CASE("a storm of clients that are cancelled, reset and cut off leaves nothing behind") {
    constexpr int rounds = has_sanitizer ? 40 : 400;
    weft::get_running_loop().set_exception_handler([](const weft::ExceptionContext&) {});
    support::Dice dice(7);
    for (int round = 0; round < rounds; ++round) {
        weft::ServerOptions options;
        options.connection_limit = dice.below(3) * 3;
        std::optional<Server> server =
            co_await weft::start_server(&echo_lines, "127.0.0.1", 0, options);
        std::vector<weft::Task<void>> clients;
        for (int count = 0; count < 8; ++count) {
            clients.push_back(weft::create_task(misbehave, server->address(), std::ref(dice)));
        }
        co_await turns(static_cast<int>(dice.below(8)));
        for (weft::Task<void>& client : clients) {
            if (dice.one_in(3)) client.cancel();
            if (dice.one_in(4)) co_await weft::yield();
        }
        switch (dice.below(4)) {
            case 0:
                server->abort_clients();
                server->close();
                break;
            case 1:
                co_await server->shutdown(std::chrono::milliseconds(dice.below(20)));
                break;
            case 2:
                server->close_clients();
                server.reset();
                break;
            default:
                server->close();
        }
        for (weft::Task<void>& client : clients) {
            client.cancel();
            co_await client.wait();
            if (!client.cancelled()) (void)client.exception();
        }
        if (server) co_await server->wait_closed();
    }
    weft::get_running_loop().set_exception_handler({});
}

}  // namespace server_clients_test
