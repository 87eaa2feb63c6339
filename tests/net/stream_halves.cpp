// SPDX-License-Identifier: MIT
// Writes of several parts, lines and chunks one after the other, halves, options.
// rungs: all
#include <weft/testing/catch.hpp>

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/weft.hpp>
#include "../support/stream_pairs.hpp"

namespace stream_halves_test {
namespace {

using namespace std::chrono_literals;
using support::Transport;
using weft::ConstBuffer;
using weft::Coro;
using weft::Stream;
using weft::StreamPair;

constexpr int sockets_and_memory = 3;
StreamPair pair_of(int kind) {
    if (kind == 0) return weft::memory_stream(5000);
    support::StreamPair pair =
        support::stream_pair(kind == 1 ? Transport::tcp : Transport::unix_pair);
    return StreamPair(std::move(pair.near), std::move(pair.far));
}

Coro<void> write(Stream& to, std::string text) { co_await to.write(text); }
Coro<void> write_many(Stream& to, const std::vector<std::string>& texts) {
    std::vector<ConstBuffer> parts;
    for (const std::string& each : texts) parts.emplace_back(each);
    co_await to.write_parts(parts);
}
Coro<int> error_of(Coro<void> coro) {
    try {
        co_await std::move(coro);
    } catch (const std::system_error& error) {
        co_return error.code().value();
    }
    co_return 0;
}

WEFT_TEST_CASE("the parts of a write arrive as one, empty ones included") {
    for (int kind = 0; kind < sockets_and_memory; ++kind) {
        StreamPair pair = pair_of(kind);
        const std::string body = "body";
        co_await pair.near.write("head ", "", body, "\n");
        const std::string line = co_await pair.far.read_line();
        co_await pair.near.write("", "");
        CHECK(line == "head body\n");
        CHECK(pair.near.written() == 10);
    }
}

WEFT_TEST_CASE("118: many large parts go out whole and in order among other writers") {
    for (int kind = 0; kind < sockets_and_memory; ++kind) {
        StreamPair pair = pair_of(kind);
        std::vector<std::string> texts;
        std::string whole;
        for (int index = 0; index < 1500; ++index) {
            texts.emplace_back(static_cast<std::size_t>(index * 7), static_cast<char>(index));
            whole += texts.back();
        }
        weft::Task<void> before = weft::create_task(write, std::ref(pair.near), "before");
        weft::Task<void> parts =
            weft::create_task(write_many, std::ref(pair.near), std::cref(texts));
        weft::Task<void> after = weft::create_task(write, std::ref(pair.near), "after");
        co_await weft::sleep(1ms);
        CHECK(!parts.done());
        CHECK(!after.done());
        const std::string got = co_await pair.far.read_exactly(whole.size() + 11);
        co_await before;
        co_await parts;
        co_await after;
        const bool as_written = got == "before" + whole + "after";
        CHECK(as_written);
        CHECK(pair.near.written() == whole.size() + 11);
    }
}

WEFT_TEST_CASE("a write of parts that is cut off says how far it came; a closed one ECANCELED") {
    for (int kind = 0; kind < sockets_and_memory; ++kind) {
        StreamPair pair = pair_of(kind);
        // (As they are: a TCP socket that has been read from makes room for megabytes more.)
        if (kind > 0) {
            pair.near.set_option(SOL_SOCKET, SO_SNDBUF, 1 << 17);
            pair.far.set_option(SOL_SOCKET, SO_RCVBUF, 1 << 17);
        }
        std::string whole;
        const std::vector<std::string> texts(100, std::string(80'000, 'x'));
        for (const std::string& each : texts) whole += each;
        std::vector<ConstBuffer> parts(texts.begin(), texts.end());
        const bool done = co_await weft::move_on_after(1s, pair.near.write_parts(parts));
        const auto sent = static_cast<std::size_t>(pair.near.written());
        CHECK(!done);
        CHECK(sent < whole.size());
        const std::string got = co_await pair.far.read_exactly(sent);
        const auto more = co_await weft::move_on_after(1ms, pair.far.read_exactly(1));
        CHECK(got == whole.substr(0, sent));
        CHECK(!more);
        weft::Task<int> writing = weft::create_task(error_of, write_many(pair.near, texts));
        co_await weft::sleep(1ms);
        co_await pair.near.close();
        const int error = co_await writing;
        CHECK(error == ECANCELED);
        const int closed = co_await error_of(write_many(pair.near, texts));
        CHECK(closed == EBADF);
    }
}

WEFT_TEST_CASE("lines and chunks come one after the other to the end; a chunk can be written on") {
    for (int kind = 0; kind < sockets_and_memory; ++kind) {
        StreamPair pair = pair_of(kind);
        StreamPair next = pair_of(kind);
        co_await pair.near.write("one\ntwo\nthree");
        co_await pair.near.close();
        std::string seen;
        {
            auto chunks = pair.far.chunks();
            while (std::optional<weft::Chunk> chunk = co_await chunks.next())
                co_await next.near.write(std::move(*chunk));
        }
        co_await next.near.close();
        auto lines = next.far.lines();
        while (std::optional<std::string> line = co_await lines.next()) seen += *line + "|";
        CHECK(seen == "one\n|two\n|three|");
    }
}

WEFT_TEST_CASE(
    "118: each half outlives its sibling, and the peer is told when the writing one goes") {
    for (int kind = 0; kind < sockets_and_memory; ++kind) {
        StreamPair pair = pair_of(kind);
        std::optional<weft::ReadStream> reader;
        {
            weft::StreamHalves halves = weft::split(std::move(pair.near));
            reader.emplace(std::move(halves.reader));
            weft::WriteStream writer = std::move(halves.writer);
            co_await writer.write("last ", "words\n");
        }
        const std::string all = co_await pair.far.read_all(100);
        co_await pair.far.write("answer\n");
        const std::string answer = co_await reader->read_line();
        CHECK(all == "last words\n");
        CHECK(answer == "answer\n");

        StreamPair other = pair_of(kind);
        std::optional<weft::WriteStream> writer;
        {
            weft::StreamHalves halves = weft::split(std::move(other.near));
            writer.emplace(std::move(halves.writer));
        }
        co_await writer->write("still here\n");
        const std::string line = co_await other.far.read_line();
        writer.reset();
        const std::string end = co_await other.far.read_line();
        CHECK(line == "still here\n");
        CHECK(end.empty());
    }
}

WEFT_TEST_CASE("a half knows who is at the other end") {
    StreamPair pair = pair_of(1);
    const weft::Address near = pair.near.local_address();
    const weft::Address far = pair.near.peer_address();
    const weft::StreamHalves halves = weft::split(std::move(pair.near));
    CHECK(halves.reader.peer_address() == far);
    CHECK(halves.writer.peer_address() == far);
    CHECK(halves.reader.local_address() == near);
    CHECK(halves.writer.local_address() == near);
    co_return;
}

WEFT_TEST_CASE("options of the socket are set and read, and refused by name where there is none") {
    StreamPair pair = pair_of(1);
    pair.near.set_no_delay();
    pair.near.set_keep_alive();
    CHECK(pair.near.option<int>(IPPROTO_TCP, TCP_NODELAY) != 0);
    CHECK(pair.near.option<int>(SOL_SOCKET, SO_KEEPALIVE) != 0);
    StreamPair memory = weft::memory_stream();
    int error = 0;
    try {
        memory.near.set_no_delay();
    } catch (const std::system_error& failure) {
        error = failure.code().value();
    }
    CHECK(error == EBADF);
    co_return;
}

}  // namespace
}  // namespace stream_halves_test
