// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <cerrno>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include <weft/weft.hpp>
#include "../support/stream_pairs.hpp"

namespace copy_test {
namespace {

using namespace std::chrono_literals;
using weft::CopiedBytes;
using weft::Coro;
using weft::Stream;
using weft::StreamPair;

StreamPair pair_of(int kind) {
    if (kind == 0) return weft::memory_stream(5000);
    support::StreamPair pair = support::stream_pair(support::Transport::tcp);
    return StreamPair(std::move(pair.near), std::move(pair.far));
}
Coro<void> write_and_end(Stream& to, std::string text) {
    co_await to.write(text);
    co_await to.write_eof();
}
Coro<std::string> read_all(Stream& from) { co_return co_await from.read_all(1 << 20); }

WEFT_TEST_CASE("copy carries everything up to the end, and tells nobody of the end") {
    for (int kind = 0; kind < 2; ++kind) {
        StreamPair in = pair_of(kind);
        StreamPair out = pair_of(kind);
        const std::string text(300'000, 'x');
        weft::Task<void> writing = weft::create_task(write_and_end, std::ref(in.near), text);
        weft::Task<std::string> reading = weft::create_task(read_all, std::ref(out.far));
        const auto count = co_await weft::copy(in.far, out.near);
        co_await writing;
        co_await weft::sleep(1ms);
        CHECK(!reading.done());
        co_await out.near.close();
        const std::string got = co_await reading;
        CHECK(count == text.size());
        CHECK(got == text);
    }
}

WEFT_TEST_CASE("copy_bidirectional tells the end of one direction and goes on with the other") {
    for (int kind = 0; kind < 2; ++kind) {
        StreamPair client = pair_of(kind);
        StreamPair server = pair_of(kind);
        weft::Task<CopiedBytes> copying = weft::create_task(
            weft::copy_bidirectional, std::ref(client.far), std::ref(server.near));
        co_await write_and_end(client.near, "question");
        const std::string question = co_await server.far.read_all(100);
        CHECK(!copying.done());
        co_await write_and_end(server.far, "the answer");
        const std::string answer = co_await client.near.read_all(100);
        const CopiedBytes copied = co_await copying;
        CHECK(question == "question");
        CHECK(answer == "the answer");
        CHECK(copied.there == 8);
        CHECK(copied.back == 10);
    }
}

WEFT_TEST_CASE("an error of one direction of copy_bidirectional stops both") {
    StreamPair client = pair_of(0);
    StreamPair server = pair_of(0);
    weft::Task<CopiedBytes> copying =
        weft::create_task(weft::copy_bidirectional, std::ref(client.far), std::ref(server.near));
    co_await weft::sleep(1ms);
    client.near.abort();
    int error = 0;
    try {
        co_await copying;
    } catch (const std::system_error& failure) {
        error = failure.code().value();
    }
    CHECK(error == ECONNRESET);
    co_await server.near.write("free again\n");
    const std::string line = co_await server.far.read_line();
    CHECK(line == "free again\n");
}

WEFT_TEST_CASE("a cancel of copy_bidirectional stops both directions, which can be used again") {
    StreamPair client = pair_of(1);
    StreamPair server = pair_of(1);
    const auto nothing =
        co_await weft::move_on_after(1s, weft::copy_bidirectional(client.far, server.near));
    CHECK(!nothing);
    co_await client.near.write("late\n");
    const std::string late = co_await client.far.read_line();
    CHECK(late == "late\n");
}

WEFT_TEST_CASE("where an end cannot be told it is that of both directions") {
    weft::PtyOptions raw;
    raw.raw = true;
    weft::Pty pty = weft::open_pty(raw);
    Stream program(std::move(pty.slave));
    StreamPair remote = pair_of(0);
    weft::Task<CopiedBytes> copying =
        weft::create_task(weft::copy_bidirectional, std::ref(remote.far), std::ref(pty.master));
    co_await remote.near.write("typed");
    const std::string typed = co_await program.read_exactly(5);
    co_await remote.near.close();
    const CopiedBytes copied = co_await copying;
    CHECK(typed == "typed");
    CHECK(copied.there == 5);
}

Coro<void> ask_through(Stream& client) {
    co_await write_and_end(client, "question");
    const std::string answer = co_await read_all(client);
    if (answer != "the answer") throw std::runtime_error("the answer is wrong");
}
Coro<void> answer_through(Stream& server) {
    (void)co_await read_all(server);
    co_await write_and_end(server, "the answer");
}

TEST_CASE("a proxy whose task is cancelled, or whose loop goes, at any step leaves nothing open") {
    for (int kind = 0; kind < 2; ++kind) {
        const auto scenario = [kind]() -> Coro<void> {
            StreamPair client = pair_of(kind);
            StreamPair server = pair_of(kind);
            auto asking = ask_through(client.near);
            auto answering = answer_through(server.far);
            auto copying = weft::copy_bidirectional(client.far, server.near);
            auto all = weft::all(std::move(asking), std::move(answering), std::move(copying));
            co_await all;
        };
        const weft::testing::DescriptorCensus before;
        weft::testing::kill_at_every_step(scenario);
        weft::testing::cancel_at_every_step(scenario, [](const weft::Task<void>&) {});
        CHECK(before.leaked() == "");
    }
}

}  // namespace
}  // namespace copy_test
