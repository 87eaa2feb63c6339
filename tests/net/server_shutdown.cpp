// SPDX-License-Identifier: MIT
// A server owns its handlers: how it stops, and what becomes of its clients (SEMANTICS 89, 115).
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "../support/descriptors.hpp"

namespace server_shutdown_test {

namespace {

using namespace std::chrono_literals;
using support::connected_to;
using support::Fd;
using weft::Address;
using weft::Coro;
using weft::Server;
using weft::Stream;

/// Answers each line in capitals, well, with itself, and says goodbye at the end.
Coro<void> answer_lines(Stream client) {
    for (;;) {
        const std::string line = co_await client.read_line();
        if (line.empty()) break;
        co_await client.write(line);
    }
    co_await client.write("goodbye\n");
}

Coro<std::string> ask(Stream& stream, std::string line) {
    co_await stream.write(line);
    co_return co_await stream.read_line();
}

/// errno of a read's end: 0 for the end of the stream.
Coro<int> end_of(Stream& stream) {
    char buffer[64];
    try {
        while (co_await stream.read(buffer) > 0) {
        }
    } catch (const std::system_error& error) {
        co_return error.code().value();
    }
    co_return 0;
}

weft::TimePoint now() { return weft::get_running_loop().time(); }

}  // namespace

// --- close_clients, abort_clients ---

WEFT_TEST_CASE(
    "close_clients lets arrive what was written, and ends reads and writes of handlers") {
    std::vector<std::string> seen;
    auto handler = [&seen](Stream client) -> Coro<void> {
        co_await client.write("welcome\n");
        const std::string line = co_await client.read_line();
        seen.push_back(line);
        try {
            co_await client.write("too late\n");
        } catch (const std::system_error& error) {
            seen.push_back(std::to_string(error.code().value()));
        }
    };
    Server server = co_await weft::start_server(handler, "127.0.0.1", 0);
    Stream client = co_await weft::open_connection(server.address());
    co_await weft::sleep(1ms);
    server.close_clients();
    const std::string welcome = co_await client.read_line();
    CHECK(welcome == "welcome\n");
    const int end = co_await end_of(client);
    CHECK(end == 0);
    co_await weft::sleep(1ms);
    CHECK(seen == std::vector<std::string>{"", std::to_string(EPIPE)});
    CHECK(server.is_serving());
    Stream next = co_await weft::open_connection(server.address());
    const std::string again = co_await next.read_line();
    CHECK(again == "welcome\n");
    co_await server.shutdown(0s);
}

WEFT_TEST_CASE("abort_clients resets clients over TCP, and ends reads of handlers") {
    int handler_end = -1;
    auto handler = [&](Stream client) -> Coro<void> { handler_end = co_await end_of(client); };
    Server server = co_await weft::start_server(handler, "127.0.0.1", 0);
    Stream client = co_await weft::open_connection(server.address());
    co_await weft::sleep(1ms);
    server.abort_clients();
    const int end = co_await end_of(client);
    CHECK(end == ECONNRESET);
    co_await weft::sleep(1ms);
    CHECK((handler_end == 0 || handler_end == ECONNRESET));
    CHECK(server.connections() == 0);
}

WEFT_TEST_CASE("a stream that a handler has given away is still a client of the server's") {
    std::vector<Stream> kept;
    auto keep = [&kept](Stream client) -> Coro<void> {
        kept.push_back(std::move(client));
        co_return;
    };
    Server server = co_await weft::start_server(keep, "127.0.0.1", 0);
    Stream client = co_await weft::open_connection(server.address());
    co_await weft::sleep(1ms);
    REQUIRE(kept.size() == 1);
    CHECK(server.connections() == 0);
    server.close_clients();
    const int end = co_await end_of(client);
    CHECK(end == 0);
}

WEFT_TEST_CASE("the number of a closed connection may be somebody else's") {
    std::vector<Stream> kept;
    auto keep = [&kept](Stream client) -> Coro<void> {
        kept.push_back(std::move(client));
        co_return;
    };
    Server server = co_await weft::start_server(keep, "127.0.0.1", 0);
    Stream client = co_await weft::open_connection(server.address());
    co_await weft::sleep(1ms);
    REQUIRE(kept.size() == 1);
    const int number = kept[0].fd();
    co_await kept[0].close();
    support::Pair pair = support::unix_pair();
    CHECK((pair.a.get() == number || pair.b.get() == number));
    server.close_clients();
    server.abort_clients();
    support::put(pair.a.get(), "x");
    CHECK(support::drain(pair.b.get()) == "x");
    // And a stream may outlive its server.
    std::optional<Server> goes(std::move(server));
    Stream second = co_await weft::open_connection(goes->address());
    co_await weft::sleep(1ms);
    goes.reset();
    co_await weft::sleep(1ms);
    kept.clear();
}

// --- shutdown ---

WEFT_TEST_CASE(
    "a stopping server tells idle readers, who may still say goodbye, and takes no time") {
    Server server = co_await weft::start_server(&answer_lines, "127.0.0.1", 0);
    std::vector<Stream> clients;
    for (int number = 0; number < 10; ++number) {
        clients.push_back(co_await weft::open_connection(server.address()));
        const std::string answer = co_await ask(clients.back(), "hello\n");
        CHECK(answer == "hello\n");
    }
    const weft::TimePoint began = now();
    co_await server.shutdown(30s);
    CHECK(now() - began < 1s);
    CHECK(server.connections() == 0);
    CHECK_FALSE(server.is_serving());
    for (Stream& client : clients) {
        const std::string goodbye = co_await client.read_line();
        CHECK(goodbye == "goodbye\n");
        const int end = co_await end_of(client);
        CHECK(end == 0);
    }
}

WEFT_TEST_CASE("a stopping server lets a handler finish its answer within the grace") {
    auto slow = [](Stream client) -> Coro<void> {
        const std::string line = co_await client.read_line();
        co_await weft::sleep(5s);
        co_await client.write(line);
    };
    Server server = co_await weft::start_server(slow, "127.0.0.1", 0);
    Stream client = co_await weft::open_connection(server.address());
    co_await client.write("a question\n");
    co_await weft::sleep(1s);
    const weft::TimePoint began = now();
    co_await server.shutdown(30s);
    CHECK(now() - began < 5s);
    const std::string answer = co_await client.read_line();
    CHECK(answer == "a question\n");
}

WEFT_TEST_CASE(
    "a stopping server serves requests that have arrived, and who waits to be accepted") {
    Server server = co_await weft::start_server(&answer_lines, support::own_host(), 0);
    co_await weft::sleep(1ms);
    // Blocking calls in one step: none of them is accepted yet.
    std::vector<Fd> clients;
    for (int number = 0; number < 300; ++number) {
        clients.push_back(connected_to(server.address()));
        support::put(clients.back().get(), "one\ntwo\n");
    }
    // These ask when the server stops already.
    std::vector<Stream> later;
    for (int number = 0; number < 10; ++number) {
        later.emplace_back(connected_to(server.address()));
    }
    const weft::TimePoint began = now();
    weft::Task<void> stopping = weft::create_task(server.shutdown(30s));
    for (Stream& client : later) {
        const std::string answer = co_await ask(client, "late\n");
        CHECK(answer == "late\n");
        co_await client.write_eof();
    }
    co_await stopping;
    CHECK(now() - began < 1s);
    CHECK(server.connections() == 0);
    std::size_t served = 0;
    for (const Fd& client : clients) {
        served += support::drain(client.get()) == "one\ntwo\ngoodbye\n" ? 1U : 0U;
    }
    CHECK(served == clients.size());
    bool refused = false;
    try {
        co_await weft::open_connection(server.address());
    } catch (const std::system_error&) {
        refused = true;
    }
    CHECK(refused);
}

WEFT_TEST_CASE("who waits to be accepted and asks for nothing is told after half of the grace") {
    Server server = co_await weft::start_server(&answer_lines, "127.0.0.1", 0);
    co_await weft::sleep(1ms);
    const Fd client = connected_to(server.address());
    const weft::TimePoint began = now();
    co_await server.shutdown(30s);
    const auto took = now() - began;
    CHECK((took >= 15s && took < 16s));
    CHECK(support::drain(client.get()) == "goodbye\n");
}

WEFT_TEST_CASE("when the grace is over handlers are cancelled, and waited for") {
    int cancelled = 0;
    auto stubborn = [&cancelled](Stream client) -> Coro<void> {
        bool struck = false;
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            struck = true;
        }
        if (!struck) co_return;
        ++cancelled;
        co_await client.write("cancelled\n");
    };
    Server server = co_await weft::start_server(stubborn, "127.0.0.1", 0);
    Stream client = co_await weft::open_connection(server.address());
    co_await weft::sleep(1s);
    const weft::TimePoint began = now();
    co_await server.shutdown(5s);
    const auto took = now() - began;
    CHECK((took >= 5s && took < 6s));
    CHECK(cancelled == 1);
    const std::string line = co_await client.read_line();
    CHECK(line == "cancelled\n");
}

WEFT_TEST_CASE("a clean-up that waits for its client is ended by the abort") {
    auto waits = [](Stream client) -> Coro<void> {
        bool struck = false;
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            struck = true;
        }
        // A client that never reads.
        const std::string much(100'000'000, 'x');
        if (struck) co_await client.write(much);
    };
    Server server = co_await weft::start_server(waits, "127.0.0.1", 0);
    weft::get_running_loop().set_exception_handler([](const weft::ExceptionContext&) {});
    const Fd client = connected_to(server.address());
    co_await weft::sleep(1s);
    const weft::TimePoint began = now();
    co_await server.shutdown(5s);
    const auto took = now() - began;
    CHECK((took >= 6s && took < 7s));
    CHECK(server.connections() == 0);
    weft::get_running_loop().set_exception_handler({});
}

WEFT_TEST_CASE("a grace of nothing cancels at once, also handlers that have not begun") {
    int begun = 0;
    auto sleeps = [&begun](Stream) -> Coro<void> {
        ++begun;
        co_await weft::sleep(1h);
    };
    Server server = co_await weft::start_server(sleeps, "127.0.0.1", 0);
    const Fd first = connected_to(server.address());
    co_await weft::sleep(1s);
    CHECK(begun == 1);
    const Fd second = connected_to(server.address());
    const weft::TimePoint began = now();
    co_await server.shutdown(0s);
    CHECK(now() - began < 1s);
    CHECK(server.connections() == 0);
}

WEFT_TEST_CASE("a cancelled shutdown cancels the handlers at once and waits for them") {
    int cleaned = 0;
    auto cleans = [&cleaned](Stream) -> Coro<void> {
        bool struck = false;
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            struck = true;
        }
        if (struck) co_await weft::sleep(500ms);
        ++cleaned;
    };
    Server server = co_await weft::start_server(cleans, "127.0.0.1", 0);
    const Fd client = connected_to(server.address());
    co_await weft::sleep(1s);
    weft::Task<void> stopping = weft::create_task(server.shutdown(1h));
    co_await weft::sleep(1s);
    CHECK_FALSE(stopping.done());
    stopping.cancel();
    co_await stopping.wait();
    CHECK(stopping.cancelled());
    CHECK(cleaned == 1);
    CHECK(server.connections() == 0);
}

WEFT_TEST_CASE("a handler may start the shutdown as a task, and is refused to wait for it itself") {
    std::optional<Server> server;
    std::string refusal;
    weft::Task<void> stopping;
    auto quits = [&](Stream client) -> Coro<void> {
        co_await client.read_line();
        try {
            co_await server->shutdown(1s);
        } catch (const weft::RuntimeError& error) {
            refusal = error.what();
        }
        stopping = weft::create_task(server->shutdown(1s));
    };
    server.emplace(co_await weft::start_server(quits, "127.0.0.1", 0));
    weft::Task<void> serving = weft::create_task(server->serve_forever());
    Stream client = co_await weft::open_connection(server->address());
    co_await client.write("quit\n");
    co_await serving;
    co_await stopping;
    CHECK(refusal.find("a handler cannot wait") != std::string::npos);
    CHECK(server->connections() == 0);
}

WEFT_TEST_CASE("shutdown may be called twice, after close, and while the Server goes") {
    std::optional<Server> server(co_await weft::start_server(&answer_lines, "127.0.0.1", 0));
    Stream client = co_await weft::open_connection(server->address());
    weft::Task<void> first = weft::create_task(server->shutdown(10s));
    weft::Task<void> second = weft::create_task(server->shutdown(20s));
    co_await weft::yield();
    server.reset();
    co_await first;
    co_await second;
    Server closed = co_await weft::start_server(&answer_lines, "127.0.0.1", 0);
    closed.close();
    co_await closed.shutdown(1s);
}

TEST_CASE("a server that stops may be destroyed or cancelled after any turn") {
    const weft::testing::DescriptorCensus before;
    const auto scenario = []() -> Coro<void> {
        Server server = co_await weft::start_server(&answer_lines, "127.0.0.1", 0);
        Stream first = co_await weft::open_connection(server.address());
        const std::string answer = co_await ask(first, "hello\n");
        const Fd waits = connected_to(server.address());
        co_await server.shutdown(1s);
    };
    weft::testing::kill_at_every_step(scenario);
    weft::testing::cancel_at_every_step(scenario, [](weft::Task<void>&) {});
    const std::string leaked = before.leaked();
    CHECK(leaked == "");
}

}  // namespace server_shutdown_test
