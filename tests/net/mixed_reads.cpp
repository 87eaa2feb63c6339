// SPDX-License-Identifier: MIT
// Low-level reads on the number of a stream that receives on its own, and ends of Unix streams.
// rungs: all
#include <weft/net/io.hpp>
#include <weft/net/stream.hpp>
#include <weft/task/run.hpp>
#include <weft/testing/catch.hpp>

#include <sys/socket.h>

#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "awaiting.hpp"
#include "stream_pairs.hpp"

namespace mixed_reads_test {

using support::End;
using support::ending;
using support::every_transport;
using support::failure;
using support::Failure;
using support::stream_pair;
using support::StreamPair;
using support::turns;
using weft::Chunk;
using weft::Coro;
using weft::create_task;
using weft::Stream;
namespace io = weft::io;

namespace {

Coro<std::string> read_text(Stream& from) {
    const Chunk chunk = co_await from.read_chunk();
    co_return std::string(chunk.view());
}

/// What a second reader is told.
std::string two_readers(const Stream& stream, const std::string& first) {
    return "recv fd " + std::to_string(stream.fd()) + ": two tasks read from one stream; '" +
           first + "' waits already";
}

void put(Stream& to, const std::string& text) {
    REQUIRE(::send(to.fd(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
}

}  // namespace

WEFT_TEST_CASE("a low-level read behind a reader of chunks is refused, and takes nothing") {
    for (const auto transport : every_transport) {
        StreamPair ends = stream_pair(transport);
        const int fd = ends.near.fd();
        auto reading = create_task(read_text, std::ref(ends.near));
        co_await turns(3);
        char byte = 0;
        const Failure received =
            co_await failure([&] { return io::recv(fd, weft::MutableBuffer(&byte, 1)); });
        CHECK(received.error == EBUSY);
        CHECK(received.names("recv fd "));
        const Failure read =
            co_await failure([&] { return io::read(fd, weft::MutableBuffer(&byte, 1)); });
        CHECK(read.error == EBUSY);
        CHECK(read.names("read fd "));
        put(ends.far, "hello");
        const std::string text = co_await reading;
        CHECK(text == "hello");
        // The other direction, and readiness, are nobody's.
        const std::size_t sent = co_await io::send(fd, "x");
        CHECK(sent == 1);
        const short ready = co_await io::poll(fd, POLLOUT);
        CHECK((ready & POLLOUT) != 0);
    }
}

WEFT_TEST_CASE("a refusal is an error however often it is asked for in one step") {
    StreamPair ends = stream_pair();
    auto reading = create_task(read_text, std::ref(ends.near));
    co_await turns(3);
    int refused = 0;
    char byte = 0;
    for (int count = 0; count < 500; ++count) {
        const Failure received = co_await failure(
            [&] { return io::recv(ends.near.fd(), weft::MutableBuffer(&byte, 1)); });
        refused += received.error == EBUSY;
    }
    CHECK(refused == 500);
    // Taken back and cancelled in the turn in which it waits to be told.
    for (int count = 0; count < 200; ++count) {
        auto other = create_task([&]() -> Coro<void> {
            for (int number = 0; number < 70; ++number) {
                const Failure received = co_await failure(
                    [&] { return io::recv(ends.near.fd(), weft::MutableBuffer(&byte, 1)); });
                if (received.error != EBUSY) throw weft::RuntimeError("not refused");
            }
        });
        co_await turns(count % 4);
        other.cancel();
        const End end = co_await ending(other);
        CHECK((end == End::value || end == End::cancelled));
    }
    put(ends.far, "x");
    const std::string text = co_await reading;
    CHECK(text == "x");
}

WEFT_TEST_CASE("a reader of chunks behind low-level reads comes after them; nobody after it") {
    for (const auto transport : every_transport) {
        StreamPair ends = stream_pair(transport);
        const int fd = ends.near.fd();
        auto first = create_task(support::recv_some, fd, std::size_t{1}, 0);
        auto second = create_task(support::recv_some, fd, std::size_t{1}, 0);
        co_await turns(2);
        auto third = create_task(read_text, std::ref(ends.near));
        co_await turns(2);
        char byte = 0;
        const Failure late =
            co_await failure([&] { return io::recv(fd, weft::MutableBuffer(&byte, 1)); });
        CHECK(late.error == EBUSY);
        put(ends.far, "abcd");
        const std::string a = co_await first;
        const std::string b = co_await second;
        const std::string rest = co_await third;
        CHECK(a + b + rest == "abcd");
        CHECK(rest == "cd");
    }
}

WEFT_TEST_CASE("while a line is waited for, other reads are refused, and nothing is lost") {
    for (const bool in_chunks : {false, true}) {
        for (const auto transport : every_transport) {
            StreamPair ends = stream_pair(transport);
            if (in_chunks) {
                put(ends.far, "chunk");
                const std::string text = co_await read_text(ends.near);
                CHECK(text == "chunk");
            }
            put(ends.far, "ab");
            auto line = create_task([&]() -> Coro<std::string> { return ends.near.read_line(); },
                                    weft::TaskOptions("line"));
            co_await turns(4);
            std::string buffer(8, '\0');
            const auto refused = [&](auto read) -> Coro<std::string> {
                std::string what = "not refused";
                try {
                    co_await read();
                } catch (const weft::RuntimeError& error) {
                    what = error.what();
                }
                co_return what;
            };
            const std::string expected = two_readers(ends.near, "line");
            const auto reads_line = [&] { return ends.near.read_line(); };
            const auto reads_some = [&]() -> Coro<void> {
                co_await ends.near.read(weft::MutableBuffer(buffer.data(), buffer.size()));
            };
            const auto reads_chunk = [&]() -> Coro<void> { (void)co_await ends.near.read_chunk(); };
            const std::string of_line = co_await refused(reads_line);
            CHECK(of_line == expected);
            const std::string of_some = co_await refused(reads_some);
            CHECK(of_some == expected);
            const std::string of_chunk = co_await refused(reads_chunk);
            CHECK(of_chunk == expected);
            put(ends.far, "c\nrest\n");
            const std::string whole = co_await line;
            CHECK(whole == "abc\n");

            // Once it is cancelled the stream is free again.
            const std::string rest = co_await ends.near.read_line();
            CHECK(rest == "rest\n");
            auto waits = create_task([&]() -> Coro<std::string> { return ends.near.read_line(); });
            co_await turns(3);
            waits.cancel();
            co_await waits.wait();
            put(ends.far, "x\n");
            const std::string after = co_await ends.near.read_line();
            CHECK(after == "x\n");
        }
    }
}

TEST_CASE("a stream whose line was waited for in a loop that is gone is read on in another") {
    std::optional<StreamPair> ends;
    weft::run([&]() -> Coro<void> {
        ends.emplace(stream_pair());
        (void)create_task([&]() -> Coro<std::string> { return ends->near.read_line(); });
        co_await turns(3);
    });
    weft::run([&]() -> Coro<void> {
        put(ends->far, "line\n");
        const std::string line = co_await ends->near.read_line();
        CHECK(line == "line\n");
    });
}

TEST_CASE("a stream whose reader never gave up is read on in the next loop, at the same address") {
    StreamPair ends = stream_pair();
    auto never_gives_up = [&]() -> Coro<void> {
        for (;;) {
            try {
                (void)co_await ends.near.read_line();
            } catch (const weft::CancelledError&) {
            }
        }
    };
    std::string line;
    for (const bool again : {false, true}) {
        weft::EventLoop loop(weft::testing::options());
        auto body = [&]() -> Coro<void> {
            if (again) {
                put(ends.far, "line\n");
                line = co_await ends.near.read_line();
            } else {
                (void)create_task(never_gives_up);
                co_await turns(3);
            }
        };
        loop.run_until_complete(body());
    }
    CHECK(line == "line\n");
}

WEFT_TEST_CASE("a low-level read in line is served when the reader of chunks before it is closed") {
    StreamPair ends = stream_pair();
    auto reading = create_task(read_text, std::ref(ends.near));
    co_await turns(3);
    co_await ends.near.close();
    const End end = co_await ending(reading);
    CHECK(end == End::closed);
    // The number's next owner is not refused for what stood there before.
    StreamPair next = stream_pair();
    put(next.far, "new");
    const std::string text = co_await support::recv_some(next.near.fd(), 8);
    CHECK(text == "new");
}

WEFT_TEST_CASE("two readers of chunks at once: the second is refused, also after a cancel") {
    for (const auto transport : every_transport) {
        StreamPair ends = stream_pair(transport);
        auto first = create_task(read_text, std::ref(ends.near), weft::TaskOptions("first"));
        co_await turns(3);
        auto second = create_task(read_text, std::ref(ends.near));
        co_await second.wait();
        std::string what;
        try {
            (void)std::move(second).result();
        } catch (const weft::RuntimeError& error) {
            what = error.what();
        }
        CHECK(what == two_readers(ends.near, "first"));
        first.cancel();
        auto third = create_task(read_text, std::ref(ends.near));
        put(ends.far, "x");
        const End end = co_await ending(first);
        CHECK(end == End::cancelled);
        const std::string text = co_await third;
        CHECK(text == "x");
    }
}

// --- the end ---

namespace {

/// Data and the end, at once, at a reader that waits.
Coro<std::string> both_at_once(StreamPair& ends, bool closes) {
    auto reading = create_task(read_text, std::ref(ends.near));
    co_await turns(3);
    put(ends.far, "data");
    if (closes) {
        Stream gone = std::move(ends.far);
    } else {
        co_await ends.far.write_eof();
    }
    std::string text = co_await reading;
    const Chunk end = co_await ends.near.read_chunk();
    if (!end.empty()) text += "and more";
    co_return text;
}

}  // namespace

WEFT_TEST_CASE("an end that comes together with data reaches a reader of chunks") {
    for (const auto transport : every_transport) {
        for (const bool closes : {false, true}) {
            CAPTURE(transport == support::Transport::tcp, closes);
            StreamPair ends = stream_pair(transport);
            const std::string text = co_await both_at_once(ends, closes);
            CHECK(text == "data");
        }
    }
}

WEFT_TEST_CASE("an end that another thread sends reaches a reader of chunks, 500 rounds") {
    for (const auto transport : every_transport) {
        for (int round = 0; round < 250; ++round) {
            StreamPair ends = stream_pair(transport);
            co_await ends.far.write("first");
            std::string text = co_await read_text(ends.near);
            auto reading = create_task(read_text, std::ref(ends.near));
            if (round % 2) co_await turns(2);
            std::thread sender([fd = ends.far.fd()] {
                ::send(fd, "data", 4, MSG_NOSIGNAL);
                ::shutdown(fd, SHUT_WR);
            });
            text = co_await reading;
            const Chunk end = co_await ends.near.read_chunk();
            sender.join();
            REQUIRE(text == "data");
            REQUIRE(end.empty());
        }
    }
}

WEFT_TEST_CASE("an end that comes with data that nobody waits for is there afterwards") {
    for (const auto transport : every_transport) {
        StreamPair ends = stream_pair(transport);
        auto reading = create_task(read_text, std::ref(ends.near));
        co_await turns(3);
        reading.cancel();
        co_await reading.wait();
        put(ends.far, "data");
        co_await ends.far.write_eof();
        co_await turns(5);
        const std::string text = co_await read_text(ends.near);
        CHECK(text == "data");
        const std::string end = co_await read_text(ends.near);
        CHECK(end.empty());
    }
}

}  // namespace mixed_reads_test
