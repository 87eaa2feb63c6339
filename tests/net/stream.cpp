// SPDX-License-Identifier: MIT
// timeout: 240
// Stream: what its comments promise (SEMANTICS 28, 29, 85 to 88).
// rungs: all
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>
#include <weft/weft.hpp>
#include "../support/awaiting.hpp"
#include "../support/stream_pairs.hpp"
#include "rounds.hpp"

namespace stream_test {

namespace {

using namespace std::chrono_literals;
using support::every_transport;
using support::stream_pair;
using support::StreamPair;
using support::Transport;
using weft::Coro;
using weft::Stream;

/// Sends the pieces one by one, so far apart that each arrives alone, and then the end.
Coro<void> send_pieces(Stream& to, std::vector<std::string> pieces) {
    for (const std::string& piece : pieces) {
        co_await weft::sleep(1ms);
        co_await to.write(piece);
    }
    co_await weft::sleep(1ms);
    co_await to.write_eof();
}

/// Everything up to the end.
Coro<std::string> read_all(Stream& from) {
    std::string all;
    char buffer[16384];
    for (;;) {
        const std::size_t count = co_await from.read(buffer);
        if (count == 0) co_return all;
        all.append(buffer, count);
    }
}

Coro<std::string> read_some(Stream& from, std::size_t most) {
    std::string text(most, '?');
    const std::size_t count = co_await from.read(text);
    text.resize(count);
    co_return text;
}

Coro<void> write_all(Stream& to, std::string_view text) { co_await to.write(text); }

/// The errno that the coroutine ends with; 0 for none.
template <class T>
Coro<int> error_of(Coro<T> coro) {
    try {
        co_await std::move(coro);
    } catch (const std::system_error& error) {
        co_return error.code().value();
    }
    co_return 0;
}

/// No two stretches of it are alike, so that a byte lost or moved shows.
std::string pattern(std::size_t size) {
    std::mt19937 random(20);
    std::string text(size, '\0');
    for (char& letter : text) letter = static_cast<char>('a' + random() % 26);
    return text;
}

// --- read ---

WEFT_TEST_CASE("read returns what has arrived, at most what was asked for, and 0 at the end") {
    StreamPair pair = stream_pair();
    co_await pair.far.write("hello");
    co_await pair.far.write_eof();
    const std::string first = co_await read_some(pair.near, 2);
    CHECK(first == "he");
    const std::string second = co_await read_some(pair.near, 100);
    CHECK(second == "llo");
    const std::string third = co_await read_some(pair.near, 100);
    CHECK(third == "");
    const std::string fourth = co_await read_some(pair.near, 100);
    CHECK(fourth == "");
}

WEFT_TEST_CASE("read takes first what an earlier read_line left over") {
    StreamPair pair = stream_pair();
    co_await pair.far.write("one\ntwo");
    const std::string line = co_await pair.near.read_line();
    CHECK(line == "one\n");
    const std::string piece = co_await read_some(pair.near, 2);
    CHECK(piece == "tw");
    co_await pair.far.write("three");
    const std::string last = co_await read_some(pair.near, 1);
    CHECK(last == "o");
    const std::string more = co_await read_some(pair.near, 100);
    CHECK(more == "three");
}

WEFT_TEST_CASE("a read into an empty buffer does not wait") {
    StreamPair pair = stream_pair();
    const std::size_t count = co_await pair.near.read(weft::MutableBuffer(nullptr, 0));
    CHECK(count == 0);
}

// --- read_exactly ---

WEFT_TEST_CASE("read_exactly joins short reads") {
    for (const Transport transport : every_transport) {
        StreamPair pair = stream_pair(transport);
        weft::Task<void> sending = weft::create_task(send_pieces(pair.far, {"ab", "c", "defg"}));
        const std::string five = co_await pair.near.read_exactly(5);
        CHECK(five == "abcde");
        char two[2];
        co_await pair.near.read_exactly(two);
        CHECK(std::string(two, 2) == "fg");
        co_await sending;
    }
}

WEFT_TEST_CASE("read_exactly of more than any buffer holds") {
    const std::string sent = pattern(1'000'000);
    StreamPair pair = stream_pair();
    weft::Task<void> sending = weft::create_task(write_all(pair.far, sent));
    const std::string got = co_await pair.near.read_exactly(sent.size());
    CHECK((got == sent));
    co_await sending;
}

WEFT_TEST_CASE("read_exactly of nothing does not wait") {
    StreamPair pair = stream_pair();
    const std::string nothing = co_await pair.near.read_exactly(0);
    CHECK(nothing == "");
}

WEFT_TEST_CASE("a read_exactly that the peer cuts short carries the bytes") {
    StreamPair pair = stream_pair();
    weft::Task<void> sending = weft::create_task(send_pieces(pair.far, {"ab", "c"}));
    std::string partial;
    std::size_t expected = 0;
    try {
        co_await pair.near.read_exactly(5);
    } catch (const weft::IncompleteReadError& error) {
        partial = error.partial();
        expected = error.expected();
    }
    CHECK(partial == "abc");
    CHECK(expected == 5);
    co_await sending;
}

// --- read_line, read_until ---

WEFT_TEST_CASE("a line is found however it is cut into packets") {
    for (const Transport transport : every_transport) {
        StreamPair pair = stream_pair(transport);
        weft::Task<void> sending =
            weft::create_task(send_pieces(pair.far, {"fi", "rst\nsec", "ond", "\n\n"}));
        const std::string first = co_await pair.near.read_line();
        CHECK(first == "first\n");
        const std::string second = co_await pair.near.read_line();
        CHECK(second == "second\n");
        const std::string empty = co_await pair.near.read_line();
        CHECK(empty == "\n");
        const std::string end = co_await pair.near.read_line();
        CHECK(end == "");
        co_await sending;
    }
}

WEFT_TEST_CASE("a separator that packets cut anywhere is found") {
    const std::string text = "head\r\n\r\r\n\r\nbody";
    for (std::size_t first = 0; first <= text.size(); ++first) {
        for (std::size_t second = first; second <= text.size(); ++second) {
            StreamPair pair = stream_pair();
            std::vector<std::string> pieces{
                text.substr(0, first), text.substr(first, second - first), text.substr(second)};
            weft::Task<void> sending = weft::create_task(send_pieces(pair.far, std::move(pieces)));
            const std::string head = co_await pair.near.read_until("\r\n\r\n");
            REQUIRE(head == "head\r\n\r\r\n\r\n");
            const std::string body = co_await read_all(pair.near);
            REQUIRE(body == "body");
            co_await sending;
        }
    }
}

WEFT_TEST_CASE("a separator that begins like itself is found byte by byte") {
    StreamPair pair = stream_pair();
    weft::Task<void> sending =
        weft::create_task(send_pieces(pair.far, {"a", "a", "a", "b", "a", "a", "b"}));
    const std::string first = co_await pair.near.read_until("aab");
    CHECK(first == "aaab");
    const std::string second = co_await pair.near.read_until("aab");
    CHECK(second == "aab");
    co_await sending;
}

WEFT_TEST_CASE("a line that the peer cuts short carries the bytes") {
    StreamPair pair = stream_pair();
    weft::Task<void> sending = weft::create_task(send_pieces(pair.far, {"no ", "end"}));
    std::string partial;
    std::size_t expected = 1;
    try {
        co_await pair.near.read_line();
    } catch (const weft::IncompleteReadError& error) {
        partial = error.partial();
        expected = error.expected();
    }
    CHECK(partial == "no end");
    CHECK(expected == 0);
    co_await sending;
}

WEFT_TEST_CASE("a line over the limit is an error that keeps the data readable") {
    StreamPair pair = stream_pair();
    pair.near.set_limit(8);
    weft::Task<void> sending =
        weft::create_task(send_pieces(pair.far, {"12345678", "9abc", "\nrest\n"}));
    bool refused = false;
    try {
        co_await pair.near.read_line();
    } catch (const weft::LimitOverrunError&) {
        refused = true;
    }
    CHECK(refused);
    const std::string skipped = co_await pair.near.read_exactly(13);
    CHECK(skipped == "123456789abc\n");
    const std::string rest = co_await pair.near.read_line();
    CHECK(rest == "rest\n");
    co_await sending;
}

WEFT_TEST_CASE("85: a line of just the limit is one, wherever its separator is cut") {
    const std::string sent = "0123456789\r\n";
    for (std::size_t cut = 1; cut < sent.size(); ++cut) {
        StreamPair pair = stream_pair();
        pair.near.set_limit(10);
        auto sending = weft::create_task(
            send_pieces(pair.far, {sent.substr(0, cut), sent.substr(cut), "01234567890"}));
        const std::string line = co_await pair.near.read_until("\r\n");
        CHECK(line == sent);
        bool refused = false;
        try {
            co_await pair.near.read_until("\r\n");
        } catch (const weft::LimitOverrunError&) {
            refused = true;
        } catch (const weft::IncompleteReadError&) {
        }
        CHECK_FALSE(refused);  // 11 bytes: the last one may begin the separator
        co_await sending;
    }
}

WEFT_TEST_CASE("a read of what a peer has only announced takes no memory for it") {
    StreamPair pair = stream_pair();
    co_await pair.far.write("a little");
    co_await pair.far.close();
    std::string partial;
    try {
        co_await pair.near.read_exactly(std::size_t{1} << 50);
    } catch (const weft::IncompleteReadError& error) {
        partial = error.partial();
    }
    CHECK(partial == "a little");
}

WEFT_TEST_CASE("a separator that has arrived but stands behind the limit is an error too") {
    StreamPair pair = stream_pair();
    pair.near.set_limit(4);
    co_await pair.far.write("1234\n12345\n");
    const std::string longest = co_await pair.near.read_line();
    CHECK(longest == "1234\n");
    for (int attempt = 0; attempt < 2; ++attempt) {
        bool refused = false;
        try {
            co_await pair.near.read_line();
        } catch (const weft::LimitOverrunError&) {
            refused = true;
        }
        CHECK(refused);
    }
    const std::string kept = co_await pair.near.read_exactly(6);
    CHECK(kept == "12345\n");
}

WEFT_TEST_CASE("an endless line is refused before it fills the memory") {
    StreamPair pair = stream_pair();
    const std::string endless(1'000'000, 'x');
    weft::Task<void> sending = weft::create_task(write_all(pair.far, endless));
    bool refused = false;
    try {
        co_await pair.near.read_line();
    } catch (const weft::LimitOverrunError&) {
        refused = true;
    }
    CHECK(refused);
    sending.cancel();
    co_await sending.wait();
    CHECK(pair.far.written() < 800'000);
}

WEFT_TEST_CASE("an empty separator is an error") {
    StreamPair pair = stream_pair();
    bool refused = false;
    try {
        co_await pair.near.read_until("");
    } catch (const weft::RuntimeError&) {
        refused = true;
    }
    CHECK(refused);
}

// --- cancelled reads ---

Coro<std::string> exactly(Stream& from, std::size_t count) {
    co_return co_await from.read_exactly(count);
}

/// Reads the whole of `sent` by reads of all kinds, each of which is cancelled after a few turns
/// if it has not ended by then, while a writer sends it in pieces of all sizes.
Coro<void> storm(Transport transport, std::uint32_t seed, int rounds) {
    constexpr std::size_t line_length = 41;
    std::mt19937 random(seed);
    StreamPair pair = stream_pair(transport);
    std::string sent = pattern(200'000);
    for (std::size_t at = line_length; at < sent.size(); at += line_length) sent[at] = '\n';

    bool writing = true;
    auto send_on = [&]() -> Coro<void> {
        std::mt19937 own(seed + 1);
        std::size_t at = 0;
        while (writing) {
            const std::size_t length = 1 + own() % 30;
            for (std::size_t left = length; left > 0;) {
                const std::size_t now = std::min(left, sent.size() - at);
                co_await pair.far.write(std::string_view(sent).substr(at, now));
                at = (at + now) % sent.size();
                left -= now;
            }
            for (auto turns = own() % 4; turns > 0; --turns) co_await weft::yield();
        }
        co_await pair.far.write_eof();
    };
    weft::Task<void> sending = weft::create_task(send_on);

    std::size_t position = 0;
    int cancelled = 0;
    const auto take = [&](const std::string& got) {
        for (const char letter : got) {
            if (letter != sent[position]) return false;
            position = (position + 1) % sent.size();
        }
        return true;
    };
    for (int round = 0; round < rounds; ++round) {
        weft::Task<std::string> reading;
        switch (random() % 4) {
            case 0:
                reading = weft::create_task(read_some(pair.near, 1 + random() % 50));
                break;
            case 1:
                reading = weft::create_task(exactly(pair.near, 1 + random() % 50));
                break;
            case 2:
                reading = weft::create_task(pair.near.read_line());
                break;
            default:
                reading = weft::create_task(pair.near.read_until("\n"));
                break;
        }
        for (auto turns = random() % 5; turns > 0 && !reading.done(); --turns) {
            co_await weft::yield();
        }
        reading.cancel();
        co_await reading.wait();
        if (reading.cancelled()) {
            ++cancelled;
        } else {
            REQUIRE(take(reading.result()));
        }
    }
    CHECK(cancelled > rounds / 100);
    CHECK(cancelled < rounds);
    writing = false;
    const std::string rest = co_await read_all(pair.near);
    CHECK(take(rest));
    co_await sending;
    // What came after the last round was compared letter by letter; and nothing is missing.
    CHECK(position == pair.far.written() % sent.size());
}

WEFT_TEST_CASE("cancelled reads of a byte stream lose no byte") {
    for (const Transport transport : every_transport) {
        for (std::uint32_t seed = 0; seed < 4; ++seed)
            co_await storm(transport, seed, support::rounds(2500));
    }
}

/// Keeps the streams until both it and its creator have ended.
Coro<void> send_from_far(std::shared_ptr<StreamPair> pair, std::vector<std::string> pieces) {
    co_await send_pieces(pair->far, std::move(pieces));
}

TEST_CASE("a read_exactly and a read_line cancelled after any turn leave the bytes readable") {
    for (const Transport transport : every_transport) {
        std::string got;
        bool reading_on = false;
        const auto scenario = [&]() -> Coro<void> {
            got.clear();
            reading_on = false;
            const auto pair = std::make_shared<StreamPair>(stream_pair(transport));
            auto sending = weft::create_task(
                send_from_far(pair, std::vector<std::string>{"12", "34", "5\n6", "7\n"}));
            try {
                got += co_await pair->near.read_exactly(3);
                got += co_await pair->near.read_line();
            } catch (const weft::CancelledError&) {
                // Goes on, so that the rest can be looked at.
            }
            reading_on = true;
            got += co_await read_all(pair->near);
            co_await sending;
        };
        const std::size_t steps =
            weft::testing::cancel_at_every_step(scenario, [&](weft::Task<void>& task) {
                // One that was cancelled had not begun, or was reading on for the comparison.
                if (!task.cancelled()) REQUIRE(got == "12345\n67\n");
            });
        CHECK(reading_on);
        CHECK(steps > 5);
    }
}

// --- write ---

WEFT_TEST_CASE("10 MiB against a slow reader: the writer waits, and every byte arrives") {
    const std::string sent = pattern(10 * 1024 * 1024);
    for (const Transport transport : every_transport) {
        StreamPair pair = stream_pair(transport);
        const int small = 64 * 1024;
        ::setsockopt(pair.far.fd(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        ::setsockopt(pair.near.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        weft::Task<void> sending = weft::create_task(write_all(pair.far, sent));
        co_await weft::sleep(1s);
        CHECK(!sending.done());
        CHECK(pair.far.written() < 1024 * 1024);

        std::string got;
        got.reserve(sent.size());
        std::string buffer(256 * 1024, '\0');
        for (int reads = 0; got.size() < sent.size(); ++reads) {
            if (reads % 16 == 0) co_await weft::sleep(10ms);
            const std::size_t count = co_await pair.near.read(buffer);
            REQUIRE(count > 0);
            got.append(buffer, 0, count);
            REQUIRE(pair.far.written() < got.size() + 1024 * 1024);
        }
        co_await sending;
        CHECK((got == sent));
        CHECK(pair.far.written() == sent.size());
    }
}

WEFT_TEST_CASE("written() of a cancelled write is what the peer received") {
    const std::string sent = pattern(2'000'000);
    for (const Transport transport : every_transport) {
        for (unsigned turns = 0; turns < 30; ++turns) {
            StreamPair pair = stream_pair(transport);
            std::string got;
            auto drain = [&]() -> Coro<void> { got = co_await read_all(pair.near); };
            weft::Task<void> sending = weft::create_task(write_all(pair.far, sent));
            weft::Task<void> reading = weft::create_task(drain);
            for (unsigned turn = 0; turn < turns; ++turn) co_await weft::yield();
            sending.cancel();
            co_await sending.wait();
            co_await pair.far.write_eof();
            co_await reading;
            REQUIRE(got.size() == pair.far.written());
            REQUIRE((got == sent.substr(0, got.size())));
            if (!sending.cancelled()) REQUIRE(got.size() == sent.size());
        }
    }
}

WEFT_TEST_CASE("an empty write is done at once") {
    StreamPair pair = stream_pair();
    co_await pair.far.write("");
    CHECK(pair.far.written() == 0);
}

TEST_CASE("a write to a dead peer is an error and no SIGPIPE, even where SIGPIPE kills") {
    struct sigaction before {};
    struct sigaction deadly {};
    deadly.sa_handler = SIG_DFL;
    ::sigaction(SIGPIPE, &deadly, &before);
    weft::RunOptions options;
    options.ignore_sigpipe = false;
    const auto body = []() -> Coro<void> {
        for (const Transport transport : every_transport) {
            StreamPair pair = stream_pair(transport);
            co_await pair.near.close();
            int error = 0;
            // Over TCP the first write is what makes the peer say that it is gone.
            for (int writes = 0; writes < 10 && error == 0; ++writes) {
                error = co_await error_of(write_all(pair.far, "anybody?"));
                co_await weft::sleep(1ms);
            }
            CHECK((error == EPIPE || error == ECONNRESET));
            // It stays an error.
            const int again = co_await error_of(write_all(pair.far, "anybody?"));
            CHECK((again == EPIPE || again == ECONNRESET));
        }
    };
    weft::testing::run(body, options);
    ::sigaction(SIGPIPE, &before, nullptr);
}

WEFT_TEST_CASE("a peer that dies ends a write that waits") {
    const std::string sent(64'000'000, 'x');  // more than the kernel keeps at both ends
    for (const Transport transport : every_transport) {
        StreamPair pair = stream_pair(transport);
        weft::Task<int> sending = weft::create_task(error_of(write_all(pair.far, sent)));
        co_await weft::sleep(1s);
        CHECK(!sending.done());
        co_await pair.near.close();
        const int error = co_await sending;
        CHECK((error == EPIPE || error == ECONNRESET));
    }
}

WEFT_TEST_CASE("write_eof ends one direction; the other goes on") {
    for (const Transport transport : every_transport) {
        StreamPair pair = stream_pair(transport);
        co_await pair.near.write("question");
        co_await pair.near.write_eof();
        const std::string question = co_await read_all(pair.far);
        CHECK(question == "question");
        co_await pair.far.write("answer");
        co_await pair.far.write_eof();
        const std::string answer = co_await read_all(pair.near);
        CHECK(answer == "answer");
    }
}

WEFT_TEST_CASE("one task reads while another writes, both ways, more than the sockets hold") {
    const std::string sent = pattern(3'000'000);
    for (const Transport transport : every_transport) {
        StreamPair pair = stream_pair(transport);
        auto send = [&](Stream& to) -> Coro<void> {
            co_await to.write(sent);
            co_await to.write_eof();
        };
        auto first = weft::create_task(send, std::ref(pair.near));
        auto second = weft::create_task(send, std::ref(pair.far));
        auto third = weft::create_task(read_all(pair.near));
        const std::string at_far = co_await read_all(pair.far);
        const std::string at_near = co_await third;
        co_await first;
        co_await second;
        CHECK((at_near == sent));
        CHECK((at_far == sent));
    }
}

WEFT_TEST_CASE(
    "write_eof comes behind the writes that have begun, and a cancelled one tells nothing") {
    const std::string sent = pattern(3'000'000);
    for (const Transport transport : every_transport) {
        StreamPair pair = stream_pair(transport);
        auto send = [&](Stream& to) -> Coro<void> { co_await to.write(sent); };
        auto first = weft::create_task(send, std::ref(pair.near));
        auto second = weft::create_task(send, std::ref(pair.near));
        co_await weft::yield();
        auto given_up = weft::create_task(pair.near.write_eof());
        co_await weft::yield();
        CHECK(!given_up.done());
        given_up.cancel();
        co_await given_up.wait();
        CHECK(given_up.cancelled());
        auto end = weft::create_task(pair.near.write_eof());
        const std::string got = co_await read_all(pair.far);
        CHECK((got == sent + sent));
        co_await first;
        co_await second;
        co_await end;
    }
}

WEFT_TEST_CASE("write_eof behind a write whose stream is closed ends like that") {
    StreamPair pair = stream_pair();
    const std::string sent = pattern(3'000'000);
    auto send = [&](Stream& to) -> Coro<void> { co_await to.write(sent); };
    auto writing = weft::create_task(send, std::ref(pair.near));
    co_await weft::yield();
    auto end = weft::create_task(pair.near.write_eof());
    co_await weft::yield();
    co_await pair.near.close();
    for (const auto& task : {writing, end}) {
        int error = 0;
        try {
            co_await task;
        } catch (const std::system_error& failed) {
            error = failed.code().value();
        }
        CHECK(error == ECANCELED);
    }
}

// --- close, move ---

WEFT_TEST_CASE("a Stream that was moved from is refused by name") {
    StreamPair pair = stream_pair();
    const Stream other = std::move(pair.near);
    const std::string expected = "weft: an empty Stream: it was moved from";
    CHECK(pair.near.is_closed());
    char byte = 0;
    int refused = 0;
    const auto refuses = [&](auto use) -> Coro<void> {
        try {
            (void)co_await use();
        } catch (const weft::RuntimeError& error) {
            refused += error.what() == expected;
        }
    };
    co_await refuses([&] { return pair.near.read(weft::MutableBuffer(&byte, 1)); });
    co_await refuses([&] { return pair.near.read_chunk(); });
    co_await refuses([&] { return pair.near.read_line(); });
    co_await refuses([&] { return pair.near.read_exactly(std::size_t{1}); });
    co_await refuses([&] { return pair.near.write("x"); });
    co_await refuses([&] { return pair.near.close(); });
    CHECK(refused == 6);
}

WEFT_TEST_CASE("close ends a waiting read, and the peer sees the end") {
    for (const Transport transport : every_transport) {
        StreamPair pair = stream_pair(transport);
        weft::Task<int> reading = weft::create_task(error_of(pair.near.read_line()));
        co_await weft::sleep(1ms);
        CHECK(!reading.done());
        co_await pair.near.close();
        CHECK(pair.near.is_closed());
        const int error = co_await reading;
        CHECK(error == ECANCELED);
        const std::string rest = co_await read_all(pair.far);
        CHECK(rest == "");
    }
}

WEFT_TEST_CASE("close ends a read of several receives the same way at every moment") {
    const auto error_of = [](auto read) -> Coro<int> {
        try {
            (void)co_await read();
        } catch (const std::system_error& error) {
            co_return error.code().value();
        }
        co_return 0;
    };
    for (int arrives = 0; arrives < 5; ++arrives) {
        for (int closes = 0; closes < 8; ++closes) {
            INFO("the data after " << arrives << " turns, the close after " << closes);
            StreamPair pair = stream_pair();
            StreamPair lines = stream_pair();
            auto count = weft::create_task(
                error_of, [&near = pair.near] { return near.read_exactly(std::size_t{10}); });
            auto line =
                weft::create_task(error_of, [&near = lines.near] { return near.read_line(); });
            auto sends = weft::create_task([&]() -> Coro<void> {
                co_await support::turns(arrives);
                // (Too late, it finds the ends closed.)
                co_await support::failure([&] { return pair.far.write("begun"); });
                co_await support::failure([&] { return lines.far.write("begun"); });
            });
            co_await support::turns(closes + 1);
            co_await pair.near.close();
            co_await lines.near.close();
            const int count_error = co_await count;
            const int line_error = co_await line;
            CHECK(count_error == ECANCELED);
            CHECK(line_error == ECANCELED);
            co_await sends;
        }
    }
}

WEFT_TEST_CASE("close ends a waiting write, and the peer gets what was written") {
    const std::string sent = pattern(4'000'000);
    StreamPair pair = stream_pair();
    weft::Task<int> sending = weft::create_task(error_of(write_all(pair.near, sent)));
    co_await weft::sleep(1ms);
    co_await pair.near.close();
    const int error = co_await sending;
    CHECK(error == ECANCELED);
    const std::string got = co_await read_all(pair.far);
    CHECK(got.size() == pair.near.written());
}

WEFT_TEST_CASE("close may be called again, and its stream no longer be read or written") {
    StreamPair pair = stream_pair();
    CHECK(!pair.near.is_closed());
    co_await pair.near.close();
    co_await pair.near.close();
    const int reading = co_await error_of(pair.near.read_line());
    CHECK(reading == EBADF);
    const int writing = co_await error_of(write_all(pair.near, "x"));
    CHECK(writing == EBADF);
}

WEFT_TEST_CASE("a cancelled close closes all the same") {
    StreamPair pair = stream_pair();
    weft::Task<void> closing = weft::create_task(pair.near.close());
    co_await weft::yield();
    closing.cancel();
    co_await closing.wait();
    CHECK(pair.near.is_closed());
    const std::string rest = co_await read_all(pair.far);
    CHECK(rest == "");
}

WEFT_TEST_CASE("a stream that goes away closes, and the peer sees the end") {
    for (const Transport transport : every_transport) {
        StreamPair pair = stream_pair(transport);
        { const Stream last = std::move(pair.near); }
        CHECK(pair.near.is_closed());
        const std::string rest = co_await read_all(pair.far);
        CHECK(rest == "");
    }
}

WEFT_TEST_CASE("a stream may move while a read waits") {
    StreamPair pair = stream_pair();
    auto keep = std::make_unique<Stream>(std::move(pair.near));
    char buffer[10];
    auto read = [&]() -> Coro<std::size_t> { co_return co_await keep->read(buffer); };
    weft::Task<std::size_t> reading = weft::create_task(read);
    co_await weft::sleep(1ms);
    Stream elsewhere = std::move(*keep);
    keep.reset();
    co_await pair.far.write("still here");
    const std::size_t count = co_await reading;
    CHECK(std::string(buffer, count) == "still here");
    co_await elsewhere.write("yes");
    const std::string answer = co_await pair.far.read_exactly(3);
    CHECK(answer == "yes");
}

// A coroutine that belongs to the stream (a line may need several reads) keeps to the stream.
WEFT_TEST_CASE("a stream may move while a read_line waits") {
    StreamPair pair = stream_pair();
    auto keep = std::make_unique<Stream>(std::move(pair.near));
    weft::Task<std::string> reading = weft::create_task(keep->read_line());
    co_await weft::sleep(1ms);
    Stream elsewhere = std::move(*keep);
    keep.reset();
    co_await pair.far.write("still ");
    co_await weft::sleep(1ms);
    co_await pair.far.write("here\n");
    const std::string line = co_await reading;
    CHECK(line == "still here\n");
}

WEFT_TEST_CASE("local_address is the address of the socket") {
    StreamPair pair = stream_pair(Transport::tcp);
    CHECK(pair.near.local_address().to_string().starts_with("127.0.0.1:"));
    CHECK(pair.near.local_address().port() != 0);
    co_return;
}

// --- teardown ---

TEST_CASE("two streams in conversation may be destroyed or cancelled after any turn") {
    for (const Transport transport : every_transport) {
        const weft::testing::DescriptorCensus before;
        const std::string text = pattern(600'000);
        const auto scenario = [&]() -> Coro<void> {
            const auto pair = std::make_shared<StreamPair>(stream_pair(transport));
            auto echo = [pair, &text]() -> Coro<void> {
                const std::string line = co_await pair->far.read_line();
                co_await pair->far.write(line);
                const std::string rest = co_await pair->far.read_exactly(text.size());
                co_await pair->far.write(rest);
                co_await pair->far.close();
            };
            auto send = [pair, &text]() -> Coro<void> { co_await pair->near.write(text); };
            weft::Task<void> echoing = weft::create_task(echo);
            co_await pair->near.write("hello\n");
            const std::string line = co_await pair->near.read_line();
            weft::Task<void> sending = weft::create_task(send);
            const std::string back = co_await read_all(pair->near);
            CHECK(back.size() == text.size());
            co_await sending;
            co_await echoing;
        };
        weft::testing::kill_at_every_step(scenario);
        weft::testing::cancel_at_every_step(scenario, [](weft::Task<void>&) {});
        const std::string leaked = before.leaked();
        CHECK(leaked == "");
    }
}

}  // namespace

}  // namespace stream_test
