// SPDX-License-Identifier: MIT
// TLS streams: what is said arrives, to the end, and nothing else does (SEMANTICS 116).
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/net/tls.hpp>
#include <weft/weft.hpp>

#include "../support/descriptors.hpp"
#include "../support/tls_peers.hpp"

namespace tls_test {

namespace {

using namespace std::chrono_literals;
using support::client_options;
using support::server_context;
using support::StreamPair;
using support::tls_pair;
using support::Transport;
using weft::Coro;
using weft::Stream;
using weft::Task;
using weft::TlsContext;
using weft::TlsFailure;
using weft::TlsOptions;

/// Answers each line with itself, and goes without a word.
Coro<void> answer_lines(Stream client) {
    for (;;) {
        const std::string line = co_await client.read_line();
        if (line.empty()) break;
        co_await client.write(line);
    }
}

Coro<std::string> ask(Stream& stream, std::string line) {
    co_await stream.write(line);
    co_return co_await stream.read_line();
}

WEFT_TEST_CASE("a client and a server with TLS talk, and agree upon TLS 1.3") {
    TlsContext secure = server_context();
    secure.set_alpn_protocols({"h2", "http/1.1"});
    std::string seen;
    auto handler = [&seen](Stream client) -> Coro<void> {
        const std::optional<weft::TlsInfo> info = weft::tls_info(client);
        seen = info ? info->server_name + " " + info->alpn : "plain";
        return answer_lines(std::move(client));
    };
    weft::Server server = co_await weft::start_server(handler, "127.0.0.1", 0, TlsOptions(secure));
    TlsOptions options = client_options();
    options.context->set_alpn_protocols({"http/1.1", "h2"});
    Stream stream = co_await weft::open_connection("127.0.0.1", server.port(), options);
    const std::string answer = co_await ask(stream, "over TLS\n");
    CHECK(answer == "over TLS\n");
    const std::optional<weft::TlsInfo> info = weft::tls_info(stream);
    REQUIRE(info);
    CHECK(info->version == "TLSv1.3");
    CHECK(info->cipher.substr(0, 4) == "TLS_");
    CHECK(info->alpn == "h2");
    CHECK(info->peer_subject == "CN=localhost");
    CHECK(info->peer_issuer == "CN=weft test root");
    CHECK(info->peer_certificate.find("BEGIN CERTIFICATE") != std::string::npos);
    CHECK(!info->resumed);
    CHECK(seen == "localhost h2");
    CHECK(stream.peer_address() == server.address());
    co_await stream.close();
    server.close();
    co_await server.wait_closed();
}

#ifdef NDEBUG
constexpr std::size_t body_size = 64 << 20;
#else
constexpr std::size_t body_size = 16 << 20;  // with every check it takes as long
#endif

WEFT_TEST_CASE("64 MiB go both ways at the same time, on every transport, and arrive whole") {
    std::string sent(body_size, '\0');
    for (std::size_t index = 0; index < sent.size(); ++index) {
        sent[index] = static_cast<char>(index * 2654435761u >> 13);
    }
    const auto write = [](Stream& stream, const std::string& text) -> Coro<void> {
        co_await stream.write(text);
        co_await stream.write_eof();
    };
    const auto read = [](Stream& stream) -> Coro<std::string> {
        return stream.read_all(body_size);
    };
    for (const Transport transport : support::every_transport) {
        StreamPair pair = co_await tls_pair(transport);
        Task<void> there = weft::create_task(write, std::ref(pair.near), std::cref(sent));
        Task<void> back = weft::create_task(write, std::ref(pair.far), std::cref(sent));
        Task<std::string> near = weft::create_task(read, std::ref(pair.near));
        const std::string far = co_await read(pair.far);
        const std::string received = co_await near;
        co_await there;
        co_await back;
        CHECK((far == sent));
        CHECK((received == sent));
        CHECK(pair.near.written() == sent.size());
    }
}

/// What a read ends with: its TlsError, errno of another error, or nothing for the end.
struct End {
    std::optional<TlsFailure> failure;
    int error = 0;
};
Coro<End> end_of(Stream& stream) {
    End end;
    char buffer[4096];
    try {
        while (co_await stream.read(buffer) > 0) {
        }
    } catch (const weft::TlsError& error) {
        end.failure = error.failure();
        end.error = error.code().value();
    } catch (const std::system_error& error) {
        end.error = error.code().value();
    }
    co_return end;
}
Coro<int> error_of(Coro<void> coro) {
    try {
        co_await std::move(coro);
    } catch (const std::system_error& error) {
        co_return error.code().value();
    }
    co_return 0;
}

/// Somebody on the way who can read neither, but may cut the connection or take his time.
struct Wire {
    std::size_t piece = 65536;             // bytes at a time
    std::size_t budget = std::size_t(-1);  // bytes that go through from far to near, and then a cut
};
Coro<void> carry(Stream& from, Stream& to, std::size_t& piece, std::size_t& budget) {
    std::string buffer(65536, '\0');
    try {
        for (;;) {
            const std::size_t most = piece;
            const std::size_t count = co_await from.read(weft::MutableBuffer(buffer.data(), most));
            if (count == 0) break;
            const std::size_t passed = std::min(count, budget);
            co_await to.write(weft::ConstBuffer(buffer.data(), passed));
            budget -= passed;
            if (budget == 0) break;
        }
        co_await to.write_eof();
    } catch (const std::system_error&) {
    }
}
/// Two TLS streams with a Wire between them, for as long as `body` runs.
template <class Body>
Coro<void> over_wire(Wire& wire, Body body) {
    StreamPair left = support::stream_pair();
    StreamPair right = support::stream_pair();
    std::size_t unlimited = std::size_t(-1);
    Task<void> there = weft::create_task(carry, std::ref(left.far), std::ref(right.far),
                                         std::ref(wire.piece), std::ref(unlimited));
    Task<void> back = weft::create_task(carry, std::ref(right.far), std::ref(left.far),
                                        std::ref(wire.piece), std::ref(wire.budget));
    StreamPair plain(std::move(left.near), std::move(right.near));
    {
        StreamPair pair =
            co_await tls_pair(std::move(plain), client_options(), TlsOptions(server_context()));
        co_await body(pair.near, pair.far);
    }
    there.cancel();
    back.cancel();
    co_await there.wait();
    co_await back.wait();
}

WEFT_TEST_CASE("a cut is an error, between records and within one, and keeps the bytes") {
    for (const std::size_t part : {0u, 3u, 20u}) {
        CAPTURE(part);
        Wire wire;
        const auto body = [&](Stream& near, Stream& far) -> Coro<void> {
            // (What comes first besides: the tickets of TLS 1.3.)
            co_await far.write("hello\n");
            const std::string hello = co_await near.read_line();
            CHECK(hello == "hello\n");
            co_await far.write("one\ntw");
            const std::string one = co_await near.read_line();
            CHECK(one == "one\n");
            wire.budget = part;
            if (part == 0) wire.budget = 1;
            co_await far.write("o\nthree\n");
            End end;
            try {
                (void)co_await near.read_line();
            } catch (const weft::TlsError& error) {
                end.failure = error.failure();
                end.error = error.code().value();
            }
            CHECK(end.failure == TlsFailure::cut_off);
            CHECK(end.error == ECONNRESET);
            char rest[16];
            const std::size_t count = co_await near.read(rest);
            CHECK(std::string(rest, count) == "tw");
            const End again = co_await end_of(near);
            CHECK(again.failure == TlsFailure::cut_off);
        };
        co_await over_wire(wire, body);
    }
}

WEFT_TEST_CASE("a peer whose bytes come one at a time is understood") {
    Wire wire;
    wire.piece = 1;
    const auto body = [](Stream& near, Stream& far) -> Coro<void> {
        const std::string text(300, 'x');
        co_await near.write(text);
        const std::string got = co_await far.read_exactly(text.size());
        CHECK(got == text);
        co_await far.write("answer\n");
        const std::string answer = co_await near.read_line();
        CHECK(answer == "answer\n");
    };
    co_await over_wire(wire, body);
}

WEFT_TEST_CASE("write_eof ends one direction, and the other goes on") {
    for (const weft::TlsVersion version : {weft::TlsVersion::tls_1_2, weft::TlsVersion::tls_1_3}) {
        TlsOptions server(server_context());
        server.context->set_minimum_version(version);
        StreamPair pair =
            co_await tls_pair(support::stream_pair(Transport::tcp), client_options(), server);
        co_await pair.near.write("question");
        co_await pair.near.write_eof();
        const std::string question = co_await pair.far.read_all(100);
        CHECK(question == "question");
        const std::string text(1 << 20, 'a');
        const auto write = [](Stream& stream, const std::string& what) -> Coro<void> {
            co_await stream.write(what);
            co_await stream.close();
        };
        Task<void> answering = weft::create_task(write, std::ref(pair.far), std::cref(text));
        const std::string answer = co_await pair.near.read_all(2 << 20);
        co_await answering;
        CHECK((answer == text));
        const int error = co_await error_of(
            [](Stream& stream) -> Coro<void> { co_await stream.write("x"); }(pair.near));
        CHECK(error == EPIPE);
    }
}

WEFT_TEST_CASE("a stream that is closed, or goes, says so; one that is aborted does not") {
    enum class Way { close, goes, abort };
    for (const Way way : {Way::close, Way::goes, Way::abort}) {
        StreamPair pair = co_await tls_pair();
        co_await pair.near.write("last words");
        char buffer[10];
        const std::size_t count = co_await pair.far.read(buffer);
        CHECK(count == 10);
        if (way == Way::close) co_await pair.near.close();
        if (way == Way::goes) Stream gone = std::move(pair.near);
        if (way == Way::abort) pair.near.abort();
        const End end = co_await end_of(pair.far);
        CHECK(end.error == (way == Way::abort ? ECONNRESET : 0));
    }
}

WEFT_TEST_CASE("what a client has written arrives, whatever the server says to who has left") {
    // (As its tickets, which come when they come: a reset that answers them is not to drop data.)
    for (const bool closes : {true, false}) {
        StreamPair pair = co_await tls_pair();
        pair.near.set_option(SOL_SOCKET, SO_SNDBUF, 1 << 20);
        const std::string much(300'000, 'm');
        co_await pair.near.write(much);
        Task<void> leaving = weft::create_task([closes, &pair]() -> Coro<void> {
            if (closes) co_await pair.near.close();
            const Stream gone = std::move(pair.near);
        });
        for (int turn = 0; turn < 5; ++turn) co_await weft::yield();
        co_await pair.far.write("a late word");
        const std::string got = co_await pair.far.read_all(1 << 20);
        CHECK(got.size() == much.size());
        co_await leaving;
    }
}

WEFT_TEST_CASE("close ends a read that waits, with ECANCELED, and the peer finds an end") {
    StreamPair pair = co_await tls_pair();
    Task<End> reading = weft::create_task(end_of, std::ref(pair.near));
    co_await weft::yield();
    co_await weft::yield();
    co_await pair.near.close();
    const End end = co_await reading;
    CHECK(end.error == ECANCELED);
    const End peer = co_await end_of(pair.far);
    CHECK(peer.error == 0);
}

WEFT_TEST_CASE("close gives up on a peer that does not read, after the limit, with what waits") {
    TlsOptions client = client_options();
    client.shutdown_timeout = 7s;
    StreamPair pair = co_await tls_pair(support::stream_pair(Transport::unix_pair), client,
                                        TlsOptions(server_context()));
    const std::string much(8 << 20, 'x');
    Task<int> writing =
        weft::create_task(error_of([](Stream& stream, const std::string& what) -> Coro<void> {
            co_await stream.write(what);
        }(pair.near, much)));
    for (int turn = 0; turn < 10; ++turn) co_await weft::yield();
    const weft::TimePoint began = weft::get_running_loop().time();
    co_await pair.near.close();
    const weft::Duration took = weft::get_running_loop().time() - began;
    CHECK(took >= 7s);
    CHECK(took < 8s);
    const int error = co_await writing;
    CHECK(error == ECANCELED);
    const End peer = co_await end_of(pair.far);
    CHECK(peer.error == ECONNRESET);
}

WEFT_TEST_CASE("cancels against data, on both sides of the records, lose no byte and double none") {
    constexpr std::size_t total = 1024 * 1024;
    std::string sent(total, '\0');
    for (std::size_t index = 0; index < total; ++index)
        sent[index] = static_cast<char>(index * 40503u >> 7);
    StreamPair pair = co_await tls_pair(Transport::unix_pair);
    int cancelled = 0;
    const auto write_all = [&](Stream& stream) -> Coro<void> {
        std::mt19937 random(7);
        while (stream.written() < total) {
            const std::size_t at = stream.written();
            const std::size_t count = std::min<std::size_t>(random() % 40'000 + 1, total - at);
            Task<void> writing = weft::create_task(
                [](Stream& to, weft::ConstBuffer what) -> Coro<void> { co_await to.write(what); },
                std::ref(stream), weft::ConstBuffer(sent.data() + at, count));
            for (unsigned turn = random() % 4; turn > 0; --turn) co_await weft::yield();
            writing.cancel();
            co_await writing.wait();
            cancelled += writing.cancelled();
        }
        co_await stream.write_eof();
    };
    Task<void> writing = weft::create_task(write_all, std::ref(pair.near));
    std::string got;
    std::mt19937 random(11);
    for (bool ended = false; !ended;) {
        std::string buffer(random() % 30'000 + 1, '\0');
        Task<std::size_t> reading = weft::create_task(
            [](Stream& from, std::string& into) -> Coro<std::size_t> {
                co_return co_await from.read(into);
            },
            std::ref(pair.far), std::ref(buffer));
        for (unsigned turn = random() % 4; turn > 0; --turn) co_await weft::yield();
        reading.cancel();
        co_await reading.wait();
        cancelled += reading.cancelled();
        if (reading.cancelled()) continue;
        const std::size_t count = std::move(reading).result();
        ended = count == 0;
        got.append(buffer, 0, count);
    }
    co_await writing;
    CHECK((got == sent));
    CHECK(cancelled > 10);
}

WEFT_TEST_CASE("TLS goes over memory, and over TLS") {
    weft::StreamPair memory = weft::memory_stream(1000);
    StreamPair plain(std::move(memory.near), std::move(memory.far));
    StreamPair outer =
        co_await tls_pair(std::move(plain), client_options(), TlsOptions(server_context()));
    StreamPair inner =
        co_await tls_pair(std::move(outer), client_options(), TlsOptions(server_context()));
    const std::string text(100'000, 'q');
    Task<void> writing = weft::create_task(
        [](Stream to, const std::string& what) -> Coro<void> {
            co_await to.write(what);
            co_await to.close();
        },
        std::move(inner.near), std::cref(text));
    const std::string got = co_await inner.far.read_all(1 << 20);
    co_await writing;
    CHECK((got == text));
    co_await inner.far.close();
}

WEFT_TEST_CASE("try_read finds what has arrived, and says nothing where nothing has") {
    StreamPair pair = co_await tls_pair(Transport::unix_pair);
    char buffer[3];
    std::optional<std::size_t> got = pair.near.try_read(buffer);
    CHECK(!got);
    co_await pair.far.write("abcd");
    std::string all;
    while (all.size() < 4) {
        got = pair.near.try_read(buffer);
        if (got) all.append(buffer, *got);
        co_await weft::sleep(1ms);
    }
    CHECK(all == "abcd");
    co_await pair.far.close();
    while (!(got = pair.near.try_read(buffer))) co_await weft::sleep(1ms);
    CHECK(*got == 0);
}

WEFT_TEST_CASE("a server that stops ends the reads of idle clients, who find an end and no cut") {
    const auto handler = [](Stream client) -> Coro<void> {
        for (;;) {
            const std::string line = co_await client.read_line();
            if (line.empty()) break;
            co_await client.write(line);
        }
        co_await client.write("goodbye\n");
    };
    std::vector<std::string> reports;
    weft::get_running_loop().set_exception_handler([&](const weft::ExceptionContext& context) {
        try {
            std::rethrow_exception(context.exception);
        } catch (const std::exception& error) {
            reports.push_back(error.what());
        }
    });
    weft::Server server =
        co_await weft::start_server(handler, "127.0.0.1", 0, TlsOptions(server_context()));
    // (A handshake that fails is reported, and the server goes on.)
    Stream rude = co_await weft::open_connection("127.0.0.1", server.port());
    const std::string who = " (" + rude.local_address().to_string() + ")";
    co_await rude.write("GET / HTTP/1.0\r\n\r\n");
    const End refused = co_await end_of(rude);
    CHECK(!refused.failure);
    CHECK(reports.size() == 1);
    CHECK(reports.at(0).find("http request") != std::string::npos);
    CHECK(reports.at(0).find(who) != std::string::npos);
    Stream idle = co_await weft::open_connection("127.0.0.1", server.port(), client_options());
    const std::string answer = co_await ask(idle, "hello\n");
    CHECK(answer == "hello\n");
    Task<void> stopping = weft::create_task(server.shutdown(10s));
    const std::string rest = co_await idle.read_all(100);
    CHECK(rest == "goodbye\n");
    co_await stopping;
    CHECK(reports.size() == 1);
    weft::get_running_loop().set_exception_handler({});
}

Coro<int> write_to(Stream& stream, const std::string& text) {
    return error_of([](Stream& to, const std::string& what) -> Coro<void> {
        co_await to.write(what);
    }(stream, text));
}

WEFT_TEST_CASE("close_clients says the end, behind what was written, and no client finds a cut") {
    const std::string much(24 << 20, 'm');  // more than the kernel keeps
    int busy_write = 0;
    int reads = 0;
    int late_writes = 0;
    weft::Event asked;
    const auto handler = [&](Stream client) -> Coro<void> {
        const std::string line = co_await client.read_line();
        if (line == "much\n") {
            asked.set();
            busy_write = co_await write_to(client, much);  // (its client does not read yet)
        }
        const End end = co_await end_of(client);
        if (end.error == 0) ++reads;
        const int late = co_await write_to(client, "too late");
        if (late == EPIPE) ++late_writes;
    };
    weft::Server server =
        co_await weft::start_server(handler, "127.0.0.1", 0, TlsOptions(server_context()));
    Stream idle = co_await weft::open_connection("127.0.0.1", server.port(), client_options());
    Stream busy = co_await weft::open_connection("127.0.0.1", server.port(), client_options());
    co_await idle.write("hello\n");
    co_await busy.write("much\n");
    co_await asked.wait();
    for (int turn = 0; turn < 5; ++turn) co_await weft::yield();
    server.close();
    server.close_clients();
    const End end = co_await end_of(idle);
    CHECK(!end.failure);
    CHECK(end.error == 0);
    const std::string got = co_await busy.read_all(much.size());
    CHECK((got == much.substr(0, got.size())));
    CHECK(got.size() > 0);
    CHECK(got.size() < much.size());
    co_await server.wait_closed();
    CHECK(busy_write == EPIPE);
    CHECK(reads == 2);
    CHECK(late_writes == 2);
}

WEFT_TEST_CASE("who ends clients that do not read waits for shutdown_timeout, or aborts them") {
    // Half a record is on its way: the end cannot be said before the rest of it is out. (Over a
    // Unix socket: one of TCP finds room for a little more whenever it asks.)
    const std::string much(1 << 20, 'm');
    struct Way {
        weft::Duration limit;
        bool aborts;
        weft::Duration takes;
    };
    for (const Way& way : {Way{30s, false, 30s}, Way{weft::Duration::max(), true, 1s},
                           Way{0s, false, 0s}, Way{-1s, false, 0s}}) {
        INFO(way.limit.count());
        weft::Event asked;
        int error = 0;
        const auto handler = [&](Stream client) -> Coro<void> {
            co_await client.read_line();
            // (Less than a record, so that none fits into the room that is left.)
            client.set_option(SOL_SOCKET, SO_SNDBUF, 4'096);
            asked.set();
            error = co_await write_to(client, much);
        };
        TlsOptions options(server_context());
        options.shutdown_timeout = way.limit;
        support::Listener listener = support::unix_listener();
        weft::Server server = co_await weft::start_server(handler, std::move(listener.fd), options);
        Stream plain(support::connected_to(listener.address));
        Stream silent = co_await weft::start_tls(std::move(plain), client_options());
        co_await silent.write("much\n");
        co_await asked.wait();
        co_await weft::sleep(1s);  // until the socket is full
        server.close();
        const weft::TimePoint begin = weft::get_running_loop().time();
        server.close_clients();
        if (way.aborts) {
            co_await weft::sleep(1s);
            CHECK(error == 0);
            server.abort_clients();
        }
        co_await server.wait_closed();
        CHECK(weft::get_running_loop().time() - begin == way.takes);
        CHECK(error != 0);
        const End end = co_await end_of(silent);
        CHECK((end.error != 0 || end.failure));
    }
}

TEST_CASE("a TLS server that ends its clients may be cancelled, or lose its loop, at every step") {
    const auto talk = [](std::uint16_t port, bool reads) -> Coro<void> {
        Stream stream = co_await weft::open_connection("127.0.0.1", port, client_options());
        const std::string answer = co_await ask(stream, "hello\n");
        if (!reads) co_return;
        (void)co_await end_of(stream);
    };
    const auto end = [](weft::Server& server) -> Coro<void> {
        while (server.connections() < 2) co_await weft::yield();
        for (int turn = 0; turn < 12; ++turn) co_await weft::yield();
        server.close();
        server.close_clients();
        co_await server.wait_closed();
    };
    const auto scenario = [&talk, &end]() -> Coro<void> {
        weft::get_running_loop().set_exception_handler([](const weft::ExceptionContext&) {});
        weft::Server server = co_await weft::start_server(&answer_lines, "127.0.0.1", 0,
                                                          TlsOptions(server_context()));
        auto first = talk(server.port(), true);
        auto second = talk(server.port(), false);
        auto ending = end(server);
        auto all = weft::gather(weft::return_exceptions, std::move(first), std::move(second),
                                std::move(ending));
        co_await all;
    };
    const weft::testing::DescriptorCensus before;
    weft::testing::kill_at_every_step(scenario);
    weft::testing::cancel_at_every_step(scenario, [](const weft::Task<void>&) {});
    CHECK(before.leaked() == "");
}

TEST_CASE("a conversation that is cancelled, or whose loop goes, at any step leaves nothing open") {
    const auto scenario = []() -> Coro<void> {
        StreamPair pair = co_await tls_pair(Transport::unix_pair);
        Task<void> answering = weft::create_task(answer_lines, std::move(pair.far));
        const std::string answer = co_await ask(pair.near, "hello\n");
        CHECK(answer == "hello\n");
        co_await pair.near.close();
        co_await answering;
    };
    const weft::testing::DescriptorCensus before;
    weft::testing::kill_at_every_step(scenario);
    weft::testing::cancel_at_every_step(scenario, [](const Task<void>&) {});
    CHECK(before.leaked() == "");
}

}  // namespace
}  // namespace tls_test
