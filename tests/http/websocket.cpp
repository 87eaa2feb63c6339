// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <weft/http/websocket.hpp>
#include <weft/streams/memory_stream.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/together/gather.hpp>

#include "awaiting.hpp"
#include "cut_everywhere.hpp"
#include "descriptors.hpp"
#include "probe.hpp"

namespace websocket_test {
namespace {

using namespace std::chrono_literals;
using weft::Coro;
using weft::Stream;
using weft::Task;
using weft::http::WebSocket;
using weft::http::WebSocketClosed;
using weft::http::WebSocketCode;
using weft::http::WebSocketError;
using weft::http::WebSocketMessage;
using weft::http::WebSocketOptions;
using weft::http::WebSocketWriter;

struct Pair {
    explicit Pair(std::size_t capacity = 64 * 1024, WebSocketOptions options = quiet())
        : Pair(weft::memory_stream(capacity), options) {}
    Pair(weft::StreamPair streams, WebSocketOptions options)
        : client(std::move(streams.near), WebSocket::Role::client, options),
          server(std::move(streams.far), WebSocket::Role::server, options) {}
    static WebSocketOptions quiet() {
        WebSocketOptions options;
        options.ping_interval = 0s;
        return options;
    }
    WebSocket client;
    WebSocket server;
};

Coro<std::string> next(WebSocket& socket) {
    auto message = co_await socket.recv();
    co_return message ? message->data : std::string("(end)");
}
Coro<void> send(WebSocket& socket, std::string text) { co_await socket.send(text); }
Coro<void> close(WebSocket& socket, std::uint16_t code = WebSocketCode::normal,
                 std::string reason = {}) {
    co_await socket.close(code, std::move(reason));
}
Coro<std::string> all_of(WebSocket& socket) {
    std::string text;
    auto messages = socket.messages();
    while (auto message = co_await messages.next()) text += message->data + '|';
    co_return text;
}
/// What it throws: "closed 1000", "broken 1006", "other: ...".
template <class T>
Coro<std::string> failure_of(Coro<T> coro) {
    try {
        (void)co_await std::move(coro);
    } catch (const WebSocketClosed& error) {
        co_return "closed " + std::to_string(error.code());
    } catch (const WebSocketError& error) {
        co_return "broken " + std::to_string(error.code());
    } catch (const std::exception& error) {
        co_return std::string("other: ") + error.what();
    }
    co_return "none";
}
Coro<std::string> failure_of(Coro<void> coro) {
    try {
        co_await std::move(coro);
    } catch (const WebSocketClosed& error) {
        co_return "closed " + std::to_string(error.code());
    } catch (const WebSocketError& error) {
        co_return "broken " + std::to_string(error.code());
    } catch (const std::exception& error) {
        co_return std::string("other: ") + error.what();
    }
    co_return "none";
}

Coro<void> round_trips(WebSocket& one, WebSocket& other) {
    for (const std::size_t size : {0u, 1u, 125u, 126u, 65535u, 65536u, 300'000u}) {
        Task<void> sending = weft::create_task(send(one, std::string(size, 'x')));
        auto message = co_await other.recv();
        co_await sending;
        REQUIRE(message);
        CHECK(message->is_text);
        CHECK(message->data == std::string(size, 'x'));
        const std::string bytes(size, '\xff');
        auto answer = [&]() -> Coro<void> { co_await other.send_binary(bytes); };
        Task<void> answering = weft::create_task(answer());
        auto back = co_await one.recv();
        co_await answering;
        REQUIRE(back);
        CHECK(!back->is_text);
        CHECK(back->data == bytes);
    }
    co_await weft::gather(close(one), close(other));
}

WEFT_TEST_CASE("messages of every length go both ways, in memory and over a socket") {
    Pair pair(1000);
    co_await round_trips(pair.client, pair.server);
    support::Pair sockets = support::unix_pair(SOCK_STREAM | SOCK_NONBLOCK);
    Pair over(weft::StreamPair(Stream(std::move(sockets.a)), Stream(std::move(sockets.b))),
              Pair::quiet());
    co_await round_trips(over.server, over.client);
}

WEFT_TEST_CASE("messages of several senders go out whole, and none inside of one in parts") {
    Pair pair(7);
    std::string expected;
    std::vector<Task<void>> senders;
    WebSocketWriter writer = co_await pair.client.start_text();
    for (char name = 'a'; name < 'f'; ++name) {
        senders.push_back(weft::create_task(send(pair.client, std::string(200, name))));
        expected += std::string(200, name) + '|';
    }
    Task<std::string> receiving = weft::create_task(all_of(pair.server));
    co_await writer.write("one ");
    const weft::Duration round_trip = co_await pair.client.ping();  // control frames do go between
    CHECK(round_trip >= 0s);
    co_await writer.write("message");
    co_await writer.finish();
    for (Task<void>& sender : senders) co_await sender;
    co_await pair.client.close();
    const std::string got = co_await receiving;
    CHECK(got == "one message|" + expected);
}

WEFT_TEST_CASE("a message is received as it comes, and no more of it is kept than is read ahead") {
    WebSocketOptions options = Pair::quiet();
    options.max_message = UINT64_MAX;
    Pair pair(1000, options);
    const std::string part(50'000, 'p');
    auto produce = [&]() -> Coro<void> {
        WebSocketWriter writer = co_await pair.client.start_binary();
        for (int round = 0; round < 20; ++round) co_await writer.write(part);
        co_await writer.finish("end");
    };
    Task<void> producing = weft::create_task(produce());
    co_await support::turns(1000);
    CHECK(!producing.done());
    CHECK(pair.server.state().inbox_bytes < options.read_ahead + 20'000);
    std::size_t size = 0;
    std::size_t largest = 0;
    std::string last;
    for (bool ends = false; !ends;) {
        auto fragment = co_await pair.server.recv_fragment();
        REQUIRE(fragment);
        CHECK(!fragment->is_text);
        size += fragment->data.size();
        largest = std::max(largest, fragment->data.size());
        ends = fragment->is_last;
        if (!fragment->data.empty()) last = fragment->data;
    }
    co_await producing;
    CHECK(size == 20 * part.size() + 3);
    CHECK(last.substr(last.size() - 3) == "end");
    CHECK(largest < options.read_ahead + 20'000);
}

WEFT_TEST_CASE("a message that recv_fragment has begun is not taken for a whole one") {
    Pair pair;
    WebSocketWriter writer = co_await pair.client.start_text();
    co_await writer.write("one");
    auto fragment = co_await pair.server.recv_fragment();
    REQUIRE(fragment);
    CHECK(fragment->data == "one");
    co_await writer.write("two");
    co_await support::turns(3);
    const std::string refused = co_await failure_of(next(pair.server));
    CHECK(refused.find("in the middle of a message") != std::string::npos);
    co_await writer.finish();
}

WEFT_TEST_CASE("a peer that sends and is not received is slowed down") {
    Pair pair(1000);
    auto flood = [&]() -> Coro<void> {
        for (int round = 0; round < 10'000; ++round) co_await pair.client.send("a short message");
    };
    Task<void> flooding = weft::create_task(flood());
    co_await support::turns(20'000);
    CHECK(!flooding.done());
    CHECK(pair.server.state().inbox_bytes < pair.server.state().options.read_ahead + 100'000);
    for (int round = 0; round < 10'000; ++round) {
        const std::string text = co_await next(pair.server);
        if (text != "a short message") FAIL(text);
    }
    co_await flooding;
}

WEFT_TEST_CASE("a cancelled recv loses no message, wherever it is cancelled") {
    for (int step = 0; step < 12; ++step) {
        Pair pair(5);
        Task<void> sending = weft::create_task(send(pair.client, "first message"));
        Task<std::string> receiving = weft::create_task(next(pair.server));
        co_await support::turns(step);
        receiving.cancel();
        co_await receiving.wait();
        std::string got;
        if (!receiving.cancelled()) got = receiving.result() + '|';
        Task<void> second = weft::create_task(send(pair.client, "second"));
        Task<std::string> rest = weft::create_task(all_of(pair.server));
        co_await sending;
        co_await second;
        co_await pair.client.close();
        got += co_await rest;
        CHECK(got == "first message|second|");
    }
}

WEFT_TEST_CASE("a cancelled send has sent nothing, or sends the whole message") {
    bool never = false;
    bool always = false;
    for (int step = 0; step < 12; ++step) {
        Pair pair(100);
        std::optional<WebSocketWriter> other;
        if (step < 3) other.emplace(co_await pair.client.start_text());  // it waits for its turn
        Task<void> sending = weft::create_task(send(pair.client, std::string(1000, 'x')));
        co_await support::turns(step);
        sending.cancel();
        co_await sending.wait();
        CHECK(sending.cancelled());
        Task<std::string> receiving = weft::create_task(all_of(pair.server));
        if (other) co_await other->finish("y");
        co_await pair.client.send("end");
        co_await pair.client.close();
        const std::string got = co_await receiving;
        const bool is_whole = got == std::string(1000, 'x') + "|end|";
        const bool is_nothing = got == "y|end|" || got == "end|";
        CHECK((is_whole || is_nothing));
        always = always || is_whole;
        never = never || is_nothing;
    }
    CHECK(always);
    CHECK(never);
}

WEFT_TEST_CASE("a ping is answered although nobody receives, and takes how long it takes") {
    Pair pair;
    const weft::Duration one = co_await pair.client.ping();
    const weft::Duration other = co_await pair.server.ping();
    CHECK(one >= 0s);
    CHECK(other >= 0s);
    Task<weft::Duration> waiting = weft::create_task(pair.client.ping());
    pair.server.abort();
    const std::string failure = co_await failure_of([&]() -> Coro<void> { co_await waiting; }());
    CHECK((failure == "broken 1006" || failure.find("memory stream") != std::string::npos));
}

WEFT_TEST_CASE("a silent peer is asked whether it is there, and given up in time") {
    const weft::TimePoint begin = weft::get_running_loop().time();
    weft::StreamPair streams = weft::memory_stream();
    WebSocket socket(std::move(streams.near), WebSocket::Role::server);
    const std::string failure = co_await failure_of(next(socket));
    CHECK(failure.find("has not answered a ping") != std::string::npos);
    CHECK(weft::get_running_loop().time() - begin == 40s);
    const std::string asked = co_await streams.far.read_exactly(2);
    CHECK(asked == std::string("\x89\x08"));
    CHECK(socket.close_code() == WebSocketCode::abnormal);
}

WEFT_TEST_CASE("a peer that answers pings stays, and one that talks is not asked") {
    WebSocketOptions options;
    Pair pair(1000, options);
    Task<std::string> waiting = weft::create_task(next(pair.server));
    co_await weft::sleep(1h);
    CHECK(!waiting.done());
    CHECK(pair.server.state().pongs > 50);
    const std::uint64_t asked = pair.server.state().pings;
    for (int second = 0; second < 100; second += 10) {
        co_await pair.client.send("still here");
        co_await weft::sleep(10s);
    }
    CHECK(pair.server.state().pings <= asked + 1);
    co_await waiting;
    co_await pair.client.close();
}

WEFT_TEST_CASE("a program that does not receive is not told that its peer is silent") {
    WebSocketOptions options;
    options.read_ahead = 10;
    Pair pair(10, options);
    Task<void> sending = weft::create_task(send(pair.client, std::string(1000, 'x')));
    co_await support::turns(100);
    pair.client.state().stop_timers();
    co_await weft::sleep(10min);
    const std::string got = co_await next(pair.server);
    CHECK(got == std::string(1000, 'x'));
    co_await sending;
}

WEFT_TEST_CASE("a close is answered, and both sides know code and reason") {
    for (const bool by_client : {true, false}) {
        Pair pair;
        WebSocket& one = by_client ? pair.client : pair.server;
        WebSocket& other = by_client ? pair.server : pair.client;
        co_await one.send("before");
        Task<void> closing = weft::create_task(close(one, 4001, "because"));
        const std::string before = co_await next(other);
        const std::string end = co_await next(other);
        const std::string again = co_await next(other);
        co_await closing;
        CHECK(before == "before");
        CHECK(end == "(end)");
        CHECK(again == "(end)");
        CHECK(other.close_code() == 4001);
        CHECK(other.close_reason() == "because");
        CHECK(one.close_code() == 4001);
        CHECK(one.stream().is_closed());
        const std::string late = co_await failure_of(send(other, "late"));
        CHECK(late == "closed 4001");
        const std::string own = co_await failure_of(send(one, "late"));
        CHECK(own == "closed 4001");
        co_await other.close();
        CHECK(other.stream().is_closed());
    }
}

WEFT_TEST_CASE("both sides may close at the same time") {
    Pair pair;
    co_await weft::gather(close(pair.client, 4001), close(pair.server, 4002));
    CHECK(pair.client.close_code() == 4002);
    CHECK(pair.server.close_code() == 4001);
}

WEFT_TEST_CASE("a peer that does not answer a close is waited for in bounds") {
    const weft::TimePoint begin = weft::get_running_loop().time();
    weft::StreamPair streams = weft::memory_stream();
    WebSocket socket(std::move(streams.near), WebSocket::Role::client, Pair::quiet());
    Task<std::string> receiving = weft::create_task(next(socket));
    co_await socket.close(WebSocketCode::going_away);
    CHECK(weft::get_running_loop().time() - begin == 10s);
    const std::string end = co_await receiving;
    CHECK(end == "(end)");
    CHECK(socket.close_code() == WebSocketCode::abnormal);
}

WEFT_TEST_CASE("a peer that neither reads nor answers cannot hold a close up") {
    weft::StreamPair streams = weft::memory_stream(10);
    WebSocket socket(std::move(streams.near), WebSocket::Role::server, Pair::quiet());
    Task<void> sending = weft::create_task(send(socket, std::string(1000, 'x')));
    co_await support::turns(3);
    co_await socket.close();
    const std::string failure = co_await failure_of([&]() -> Coro<void> { co_await sending; }());
    CHECK(failure.find("memory stream") != std::string::npos);
}

WEFT_TEST_CASE("a cancelled close has said goodbye, and the rest goes on without it") {
    Pair pair;
    Task<void> closing = weft::create_task(close(pair.client, 4001));
    closing.cancel();
    co_await closing.wait();
    closing = weft::create_task(close(pair.client, 4001));
    co_await weft::yield();
    closing.cancel();
    co_await closing.wait();
    CHECK(closing.cancelled());
    const std::string end = co_await next(pair.server);
    CHECK(end == "(end)");
    CHECK(pair.server.close_code() == 4001);
    co_await pair.client.close();
    CHECK(pair.client.stream().is_closed());
}

WEFT_TEST_CASE("a WebSocket that goes says that it goes away") {
    Pair pair;
    { const WebSocket gone = std::move(pair.client); }
    const std::string end = co_await next(pair.server);
    CHECK(end == "(end)");
    CHECK(pair.server.close_code() == WebSocketCode::going_away);
    const std::string moved =
        co_await failure_of([&]() -> Coro<void> { co_await pair.client.send("x"); }());
    CHECK(moved.find("moved from") != std::string::npos);
}

WEFT_TEST_CASE("a receiver whose WebSocket goes finds the end") {
    Pair pair;
    std::optional<WebSocket> client(std::move(pair.client));
    Task<std::string> receiving = weft::create_task(next(*client));
    co_await weft::yield();
    client.reset();
    const std::string end = co_await receiving;
    CHECK(end == "(end)");
}

WEFT_TEST_CASE("a message in parts that is given up ends the WebSocket") {
    Pair pair;
    {
        WebSocketWriter writer = co_await pair.server.start_text();
        co_await writer.write("half");
    }
    const std::string end = co_await next(pair.client);
    CHECK(end == "(end)");
    CHECK(pair.client.close_code() == WebSocketCode::internal_error);
}

WEFT_TEST_CASE("a connection that is cut is an error behind what has come whole") {
    Pair pair;
    co_await pair.client.send("whole");
    co_await support::turns(3);
    pair.client.abort();
    const std::string first = co_await next(pair.server);
    CHECK(first == "whole");
    const std::string failure = co_await failure_of(next(pair.server));
    CHECK(failure != "none");
    const std::string sending = co_await failure_of(send(pair.server, "x"));
    CHECK(sending != "none");
    co_await pair.server.close();
}

WEFT_TEST_CASE("a peer that pings and does not read the answers fills no memory") {
    weft::StreamPair streams = weft::memory_stream(4096);
    WebSocket socket(std::move(streams.near), WebSocket::Role::client, Pair::quiet());
    std::string pings;
    for (int round = 0; round < 100; ++round) pings += "\x89\x7d" + std::string(125, 'p');
    for (int round = 0; round < 20; ++round) co_await streams.far.write(pings);
    co_await support::turns(10);
    CHECK(socket.state().out.size() < 10'000);
}

WEFT_TEST_CASE("what may not be sent is an error of the caller's") {
    Pair pair;
    const std::string text = co_await failure_of(send(pair.client, "\xff"));
    CHECK(text.find("no UTF-8") != std::string::npos);
    for (const int each : {0, 999, 1005, 1006, 5000}) {
        const auto code = static_cast<std::uint16_t>(each);
        const std::string refused =
            co_await failure_of([&]() -> Coro<void> { co_await pair.client.close(code); }());
        CHECK(refused.find("may not be sent") != std::string::npos);
    }
    const std::string reason = co_await failure_of(
        [&]() -> Coro<void> { co_await pair.client.close(1000, std::string(124, 'x')); }());
    CHECK(reason.find("123 bytes") != std::string::npos);
    WebSocketWriter writer = co_await pair.client.start_text();
    co_await writer.write("\xce");  // a character may be cut
    const std::string part = co_await failure_of(writer.write("x"));
    CHECK(part.find("no UTF-8") != std::string::npos);
    co_await writer.finish("\xba");
    const std::string got = co_await next(pair.server);
    CHECK(got == "\xce\xba");
    Task<std::string> receiving = weft::create_task(next(pair.server));
    co_await weft::yield();
    const std::string second = co_await failure_of(next(pair.server));
    CHECK(second.find("two tasks receive") != std::string::npos);
    co_await pair.client.send("x");
    co_await receiving;
}

Coro<void> conversation(int& alive) {
    Pair pair(64);
    const probe::Alive here(alive);
    auto echo = [](WebSocket& socket, int& count) -> Coro<void> {
        const probe::Alive there(count);
        while (auto message = co_await socket.recv()) co_await socket.send(message->data);
    };
    Task<void> echoing = weft::create_task(echo(pair.server, alive));
    co_await pair.client.send("short");
    (void)co_await pair.client.recv();
    Task<void> sending = weft::create_task(send(pair.client, std::string(500, 'x')));
    (void)co_await pair.client.recv();
    co_await sending;
    co_await pair.client.ping();
    co_await pair.client.close();
    co_await echoing;
}

TEST_CASE("a conversation can be cut off, or cancelled, at every step") {
    const std::size_t turns = support::cut_everywhere(&conversation);
    CHECK(turns > 5);
}

}  // namespace
}  // namespace websocket_test
