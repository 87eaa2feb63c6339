// SPDX-License-Identifier: MIT
// A Stream that goes, moves or is closed while its own wait is pending or granted: the wait ends,
// with an error or its result, and nothing touches freed memory (SEMANTICS 87, 97).
// rungs: all
#include <weft/deadline/move_on_after.hpp>
#include <weft/net/stream.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "../support/awaiting.hpp"
#include "../support/descriptors.hpp"

namespace stream_gone_test {

using support::End;
using support::ending;
using support::turns;
using weft::Coro;
using weft::Stream;

namespace {

// --- the table: every way to wait on a stream. A new one joins by one line. ---

struct Wait {
    const char* name;
    Coro<void> (*on)(Stream&);
    bool reads = true;
};

Coro<void> reads_some(Stream& stream) {
    char buffer[8];
    co_await stream.read(buffer);
}
Coro<void> reads_exactly(Stream& stream) {
    char buffer[8];
    co_await stream.read_exactly(buffer);
}
Coro<void> reads_count(Stream& stream) { (void)co_await stream.read_exactly(8); }
Coro<void> reads_line(Stream& stream) { (void)co_await stream.read_line(); }
Coro<void> reads_until(Stream& stream) { (void)co_await stream.read_until("never", "\n"); }
Coro<void> reads_all(Stream& stream) { (void)co_await stream.read_all(1000); }
Coro<void> reads_chunk(Stream& stream) { (void)co_await stream.read_chunk(); }
Coro<void> writes(Stream& stream) {
    const std::string much(8 << 20, 'x');
    co_await stream.write(much);
}

const Wait waits[] = {
    {"read", &reads_some},
    {"read_exactly into a buffer", &reads_exactly},
    {"read_exactly of a count", &reads_count},
    {"read_line", &reads_line},
    {"read_until", &reads_until},
    {"read_all", &reads_all},
    {"read_chunk", &reads_chunk},
    {"write", &writes, false},
};

struct Ends {
    Ends() {
        support::Pair pair = support::unix_pair();
        own.emplace(std::move(pair.a));
        peer.emplace(std::move(pair.b));
    }
    std::optional<Stream> own;
    std::optional<Stream> peer;
};

}  // namespace

WEFT_TEST_CASE("a wait on a stream that is destroyed ends, and the peer sees the end",
               "[stream_gone]") {
    for (const Wait& wait : waits) {
        INFO(wait.name);
        Ends ends;
        weft::Task<void> task = weft::create_task(wait.on, std::ref(*ends.own));
        co_await turns(3);
        CHECK_FALSE(task.done());
        ends.own.reset();
        const End end = co_await ending(task);
        CHECK(end == End::closed);
        const std::string rest = co_await ends.peer->read_all(16 << 20);
        CHECK(rest.empty() == wait.reads);
    }
}

WEFT_TEST_CASE("a wait on a stream that another one is moved to ends", "[stream_gone]") {
    for (const Wait& wait : waits) {
        INFO(wait.name);
        Ends ends;
        Ends others;
        weft::Task<void> task = weft::create_task(wait.on, std::ref(*ends.own));
        co_await turns(3);
        *ends.own = std::move(*others.own);
        const End end = co_await ending(task);
        CHECK(end == End::closed);
        co_await others.peer->write("still there");
        char buffer[11];
        co_await ends.own->read_exactly(buffer);
    }
}

WEFT_TEST_CASE("a wait on a stream that is closed ends", "[stream_gone]") {
    for (const Wait& wait : waits) {
        INFO(wait.name);
        Ends ends;
        weft::Task<void> task = weft::create_task(wait.on, std::ref(*ends.own));
        co_await turns(3);
        co_await ends.own->close();
        const End end = co_await ending(task);
        CHECK(end == End::closed);
    }
}

WEFT_TEST_CASE("a wait on a stream that moves goes on", "[stream_gone]") {
    for (const Wait& wait : waits) {
        INFO(wait.name);
        Ends ends;
        weft::Task<void> task = weft::create_task(wait.on, std::ref(*ends.own));
        co_await turns(3);
        Stream moved = std::move(*ends.own);
        ends.own.reset();
        co_await ends.peer->write("12345678\n");
        if (wait.reads) {
            co_await ends.peer->write_eof();
        } else {
            co_await ends.peer->read_exactly(8 << 20);
        }
        const End end = co_await ending(task);
        CHECK(end == End::value);
    }
}

WEFT_TEST_CASE("a wait that has its result when the stream goes ends at once, one way or the other",
               "[stream_gone]") {
    for (const Wait& wait : waits) {
        for (int before = 0; before < 3; ++before) {
            INFO(wait.name << ", " << before);
            Ends ends;
            weft::Task<void> task = weft::create_task(wait.on, std::ref(*ends.own));
            co_await turns(3);
            co_await ends.peer->write("12345678\n");
            co_await turns(before);
            ends.own.reset();
            const End end = co_await ending(task);
            CHECK((end == End::closed || end == End::value));
        }
    }
}

WEFT_TEST_CASE("a read that was begun as an object outlives its stream", "[stream_gone]") {
    Ends ends;
    Coro<std::string> line = ends.own->read_line();
    ends.own.reset();
    int error = 0;
    try {
        co_await std::move(line);
    } catch (const std::system_error& failed) {
        error = failed.code().value();
    }
    CHECK((error == EBADF || error == ECANCELED));
}

}  // namespace stream_gone_test
