// SPDX-License-Identifier: MIT
// Reads that end at one of several separators, at the end of the stream, or at once (SEMANTICS 85).
#include <weft/net/stream.hpp>
#include <weft/testing/catch.hpp>

#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <weft/weft.hpp>

#include "../support/stream_pairs.hpp"

namespace long_reads_test {

namespace {

using namespace std::chrono_literals;
using support::every_transport;
using support::stream_pair;
using weft::Coro;
using weft::Stream;

template <class Error, class T>
Coro<std::string> error_of(Coro<T> read) {
    try {
        co_await std::move(read);
    } catch (const Error& error) {
        co_return error.what();
    }
    co_return "no error";
}

Coro<void> send_slowly(Stream& to, std::string text) {
    for (const char& byte : text) {
        co_await to.write(weft::ConstBuffer(&byte, 1));
        co_await weft::sleep(1ms);
    }
    co_await to.write_eof();
}

/// The same by looking at every prefix.
std::size_t first_end(std::string_view text, const std::string (&separators)[3]) {
    for (std::size_t size = 1; size <= text.size(); ++size) {
        for (const std::string& separator : separators) {
            if (text.substr(0, size).ends_with(separator)) return size;
        }
    }
    return std::string_view::npos;
}

}  // namespace

WEFT_TEST_CASE("of several separators the one that ends first counts, however they begin") {
    for (const auto transport : every_transport) {
        auto pair = stream_pair(transport);
        co_await pair.far.write("a\r\nb\nc--d---");
        const std::string line = co_await pair.near.read_until("\r\n", "\n");
        CHECK(line == "a\r\n");
        const std::string second = co_await pair.near.read_until("\r\n", "\n");
        CHECK(second == "b\n");
        // "--" ends before "---" and before "c--d", which begins first.
        const std::string third = co_await pair.near.read_until("---", "c--d", "--");
        CHECK(third == "c--");
        const std::string fourth = co_await pair.near.read_until("---", "nothing");
        CHECK(fourth == "d---");
    }
}

WEFT_TEST_CASE("a separator that arrives byte by byte is found where it ends first") {
    auto pair = stream_pair();
    weft::Task<void> sending = weft::create_task(&send_slowly, std::ref(pair.far),
                                                 std::string("one\r\ntwo\n\rthree\r\r\n"));
    const std::string first = co_await pair.near.read_until("\r\n", "\n\r", "\r\r\n");
    CHECK(first == "one\r\n");
    const std::string second = co_await pair.near.read_until("\r\n", "\n\r", "\r\r\n");
    CHECK(second == "two\n\r");
    const std::string third = co_await pair.near.read_until("\r\n", "\n\r", "\r\r\n");
    CHECK(third == "three\r\r\n");
    const std::string end = co_await pair.near.read_until("\r\n", "\n\r");
    CHECK(end == "");
    co_await sending;
}

WEFT_TEST_CASE("separators are found as by a look at every prefix, 500 random texts") {
    std::mt19937 random(7);
    const auto text_of = [&](std::size_t most) {
        std::string text(1 + random() % most, 'a');
        for (char& byte : text) byte = static_cast<char>('a' + random() % 2);
        return text;
    };
    for (int round = 0; round < 500; ++round) {
        const std::string separators[3] = {text_of(4), text_of(4), text_of(6)};
        std::string text = text_of(30);
        const std::size_t end = first_end(text, separators);
        if (end == std::string::npos) continue;
        auto pair = stream_pair();
        // In two parts, cut anywhere.
        const std::size_t cut = random() % (text.size() + 1);
        co_await pair.far.write(text.substr(0, cut));
        weft::Task<std::string> reading =
            weft::create_task(pair.near.read_until(separators[0], separators[1], separators[2]));
        co_await weft::sleep(1ms);
        co_await pair.far.write(text.substr(cut));
        const std::string found = co_await reading;
        CAPTURE(text, cut, separators[0], separators[1], separators[2]);
        CHECK(found == text.substr(0, end));
    }
}

WEFT_TEST_CASE("without a separator, or over the limit, read_until says so and takes nothing") {
    auto pair = stream_pair();
    const std::string none =
        co_await error_of<weft::RuntimeError>(pair.near.read_until("", std::string()));
    CHECK(none == "read_until: the separator is empty");
    pair.near.set_limit(4);
    co_await pair.far.write("abcdefgh;");
    const std::string over =
        co_await error_of<weft::LimitOverrunError>(pair.near.read_until(";", "--"));
    CHECK(over.find("no separator within the limit of 4 bytes") != std::string::npos);
    pair.near.set_limit(64);
    const std::string all = co_await pair.near.read_until(";", "--");
    CHECK(all == "abcdefgh;");
}

// --- read_all ---

WEFT_TEST_CASE("read_all reads to the end, also what was buffered, and then nothing") {
    for (const auto transport : every_transport) {
        auto pair = stream_pair(transport);
        const std::string much(3'000'000, 'x');
        co_await pair.far.write("line\n");
        const std::string line = co_await pair.near.read_line();
        CHECK(line == "line\n");
        weft::Task<std::string> reading = weft::create_task(pair.near.read_all(10'000'000));
        co_await pair.far.write(much);
        co_await pair.far.write_eof();
        const std::string all = co_await reading;
        CHECK(all.size() == much.size());
        CHECK(all == much);
        const std::string end = co_await pair.near.read_all(10);
        CHECK(end == "");
    }
}

WEFT_TEST_CASE("read_all over its limit is an error, and the data stays readable") {
    auto pair = stream_pair();
    co_await pair.far.write("123456");
    co_await pair.far.write_eof();
    const std::string text = co_await error_of<weft::LimitOverrunError>(pair.near.read_all(5));
    CHECK(text.find("no end within the limit of 5 bytes") != std::string::npos);
    const std::string all = co_await pair.near.read_all(6);
    CHECK(all == "123456");
}

WEFT_TEST_CASE("a cancelled read_all loses nothing") {
    auto pair = stream_pair();
    co_await pair.far.write("first ");
    weft::Task<std::string> reading = weft::create_task(pair.near.read_all(100));
    co_await weft::sleep(1ms);
    reading.cancel();
    co_await reading.wait();
    CHECK(reading.cancelled());
    co_await pair.far.write("second");
    co_await pair.far.write_eof();
    const std::string all = co_await pair.near.read_all(100);
    CHECK(all == "first second");
}

// --- try_read ---

WEFT_TEST_CASE("try_read in a loop that only yields finds what has arrived, also between chunks") {
    for (const support::Transport transport : support::every_transport) {
        support::StreamPair pair = support::stream_pair(transport);
        const auto none =
            co_await weft::move_on_after(std::chrono::milliseconds(1), pair.near.read_chunk());
        CHECK(!none);  // and the receive stands
        for (const char* text : {"abc", "defg"}) {
            const std::string_view sent(text);
            REQUIRE(::send(pair.far.fd(), sent.data(), sent.size(), MSG_NOSIGNAL) ==
                    static_cast<ssize_t>(sent.size()));
            char buffer[16];
            std::optional<std::size_t> count;
            for (int turn = 0; turn < 100'000 && !count; ++turn) {
                count = pair.near.try_read(buffer);
                co_await weft::yield();
            }
            REQUIRE(count.has_value());
            CHECK(std::string_view(buffer, *count) == sent);
        }
    }
}

WEFT_TEST_CASE("try_read gives what there is, nothing, or the end, and never waits") {
    for (const auto transport : every_transport) {
        auto pair = stream_pair(transport);
        char buffer[16];
        CHECK_FALSE(pair.near.try_read(buffer).has_value());
        co_await pair.far.write("line\nrest");
        const std::string line = co_await pair.near.read_line();
        CHECK(line == "line\n");
        const std::optional<std::size_t> buffered = pair.near.try_read(buffer);
        REQUIRE(buffered == 4);
        CHECK(std::string_view(buffer, 4) == "rest");
        CHECK_FALSE(pair.near.try_read(buffer).has_value());
        co_await pair.far.write("x");
        co_await weft::sleep(1ms);
        CHECK(pair.near.try_read(buffer) == 1);
        co_await pair.far.write_eof();
        co_await weft::sleep(1ms);
        CHECK(pair.near.try_read(buffer) == 0);
        CHECK(pair.near.try_read(buffer) == 0);
        // A read that waits afterwards is told as ever.
        const std::size_t end = co_await pair.near.read(buffer);
        CHECK(end == 0);
    }
}

WEFT_TEST_CASE("try_read on a stream that is read in chunks takes from them") {
    auto pair = stream_pair();
    char buffer[4];
    co_await pair.far.write("chunk");
    { const weft::Chunk chunk = co_await pair.near.read_chunk(); }
    CHECK_FALSE(pair.near.try_read(buffer).has_value());
    weft::Task<weft::Chunk> reading = weft::create_task(
        [&]() -> Coro<weft::Chunk> { co_return co_await pair.near.read_chunk(); });
    co_await weft::sleep(1ms);
    reading.cancel();
    co_await reading.wait();
    co_await pair.far.write("abcdef");
    weft::Chunk first = co_await pair.near.read_chunk();
    CHECK(first.view() == "abcdef");
}

WEFT_TEST_CASE(
    "has_buffered tells whether the next read finds bytes, in lines, chunks and memory") {
    for (const auto transport : every_transport) {
        auto pair = stream_pair(transport);
        CHECK_FALSE(pair.near.has_buffered());
        co_await pair.far.write("one\ntwo\nthr");
        const std::string one = co_await pair.near.read_line();
        CHECK(one == "one\n");
        CHECK(pair.near.has_buffered());
        const std::string two = co_await pair.near.read_line();
        CHECK(two == "two\n");
        CHECK(pair.near.has_buffered());  // a part of a line: the next read_line waits
        co_await pair.far.write("ee\n");
        const std::string three = co_await pair.near.read_line();
        CHECK(three == "three\n");
        CHECK_FALSE(pair.near.has_buffered());

        co_await pair.far.write("chunk");
        { const weft::Chunk chunk = co_await pair.near.read_chunk(); }
        CHECK_FALSE(pair.near.has_buffered());
        co_await pair.far.write("four\nfive\n");
        const std::string four = co_await pair.near.read_line();
        CHECK(four == "four\n");
        CHECK(pair.near.has_buffered());
        co_await pair.near.close();
    }
    weft::StreamPair memory = weft::memory_stream();
    auto [reader, writer] = weft::split(std::move(memory.near));
    CHECK_FALSE(reader.has_buffered());
    co_await memory.far.write("one\n");
    CHECK(reader.has_buffered());
    const std::string line = co_await reader.read_line();
    CHECK(line == "one\n");
    CHECK_FALSE(reader.has_buffered());
}

WEFT_TEST_CASE("try_read of a closed stream, and beside another reader, is an error") {
    auto pair = stream_pair();
    char buffer[4];
    weft::Task<std::string> reading = weft::create_task(pair.near.read_line());
    co_await weft::sleep(1ms);
    CHECK_THROWS_AS(pair.near.try_read(buffer), weft::RuntimeError);
    reading.cancel();
    co_await reading.wait();
    co_await pair.near.close();
    CHECK_THROWS_AS(pair.near.try_read(buffer), std::system_error);
}

}  // namespace long_reads_test
