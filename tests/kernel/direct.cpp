// SPDX-License-Identifier: MIT
// Streams that the ring holds in a table of its own: whoever closes them, they are closed.
#include <weft/testing/catch.hpp>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

#include <weft/weft.hpp>
#include "../support/descriptors.hpp"

namespace direct_test {
namespace {

using support::Pair;
using weft::Coro;
using weft::Fd;
using weft::Stream;

/// How many files the rings of this process hold by themselves.
int held_by_rings() {
    int held = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
        std::ifstream info(entry.path());
        bool in_table = false;
        for (std::string line; std::getline(info, line);) {
            if (line.rfind("UserBufs:", 0) == 0) in_table = false;
            held += in_table ? 1 : 0;
            if (line.rfind("UserFiles:", 0) == 0) in_table = true;
        }
    }
    return held;
}
bool ring_holds_streams() {
    return weft::get_running_loop().backend_info().features.find("direct") != std::string::npos;
}

/// What the peer sees now: 0 the end, -errno an error.
int seen_by(const Fd& peer) {
    char byte = 0;
    const ssize_t got = ::recv(peer.get(), &byte, 1, MSG_DONTWAIT);
    return got < 0 ? -errno : static_cast<int>(got);
}

/// A stream that is worth a place in the table, and has a reader's operation behind it.
Coro<Stream> talkative(Pair& pair, bool in_chunks) {
    Stream stream(std::move(pair.a));
    char byte = 'x';
    for (int message = 0; message < 40; ++message) {
        // (The ring takes turns: a send right behind a send does not go through it.)
        co_await stream.write(weft::ConstBuffer(&byte, 1));
        support::put(pair.b.get(), "y");
        if (in_chunks) {
            (void)co_await stream.read_chunk();
        } else {
            (void)co_await stream.read(weft::MutableBuffer(&byte, 1));
        }
    }
    (void)support::drain(pair.b.get());
    co_return stream;
}

WEFT_TEST_CASE("a stream that talks is held by the ring as long as it is open, and no longer") {
    for (const bool in_chunks : {false, true}) {
        for (const bool closes : {false, true}) {
            Pair pair = support::unix_pair();
            std::optional<Stream> stream = co_await talkative(pair, in_chunks);
            const int held = held_by_rings();
            CHECK(held == (ring_holds_streams() ? 1 : 0));
            if (closes) co_await stream->close();
            stream.reset();
            if (in_chunks && !closes) co_await weft::sleep(std::chrono::milliseconds(1));
            CHECK(seen_by(pair.b) == 0);
            CHECK(held_by_rings() == 0);
        }
    }
}

WEFT_TEST_CASE("an abort of a stream that the ring holds is seen by the peer at once") {
    Pair pair = support::tcp_pair();
    Stream stream = co_await talkative(pair, false);
    stream.abort();
    CHECK(seen_by(pair.b) == -ECONNRESET);
    CHECK(held_by_rings() == 0);
}

WEFT_TEST_CASE("bytes for a number that is used again go to the new connection") {
    Pair old = support::unix_pair();
    std::optional<Stream> stream = co_await talkative(old, false);
    const int number = stream->fd();
    stream.reset();
    Pair fresh = support::unix_pair();
    for (const bool again : {false, true}) {
        CHECK((again || fresh.a.get() == number));
        Stream next = co_await talkative(fresh, false);
        co_await next.write("new");
        CHECK(support::drain(fresh.b.get()) == "new");
        CHECK(seen_by(old.b) == 0);
        fresh = support::unix_pair();
    }
}

WEFT_TEST_CASE("a reader that waits when its stream is closed is ended, and the peer sees it") {
    Pair pair = support::unix_pair();
    Stream stream = co_await talkative(pair, false);
    char byte = 0;
    auto read = [&]() -> Coro<int> {
        try {
            co_await stream.read(weft::MutableBuffer(&byte, 1));
        } catch (const std::system_error& error) {
            co_return error.code().value();
        }
        co_return 0;
    };
    weft::Task<int> reading = weft::create_task(read);
    co_await weft::sleep(std::chrono::milliseconds(1));
    co_await stream.close();
    const int error = co_await reading;
    CHECK(error == ECANCELED);
    CHECK(seen_by(pair.b) == 0);
}

WEFT_TEST_CASE("where the table has no room for a number its stream goes on without") {
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    rlimit few = before;
    few.rlim_cur = 3;
    Pair pair = support::unix_pair();
    ::setrlimit(RLIMIT_NOFILE, &few);
    {
        Stream stream = co_await talkative(pair, false);
        co_await stream.write("still");
    }
    ::setrlimit(RLIMIT_NOFILE, &before);
    CHECK(support::drain(pair.b.get()) == "still");
    CHECK(held_by_rings() == 0);
}

WEFT_TEST_CASE("a forked child that closes its copies leaves the parent's streams alone") {
    Pair pair = support::unix_pair();
    Stream stream = co_await talkative(pair, false);
    const pid_t child = ::fork();
    if (child == 0) {
        Stream mine(std::move(stream));
        { const Stream gone(std::move(mine)); }
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    co_await stream.write("alive");
    CHECK(support::drain(pair.b.get()) == "alive");
    stream = Stream(Fd());
    CHECK(seen_by(pair.b) == 0);
}

WEFT_TEST_CASE(
    "a descriptor of the program's own, whose close nobody tells of, is never the ring's") {
    Pair pair = support::unix_pair();
    char byte = 'x';
    for (int message = 0; message < 40; ++message) {
        (void)co_await weft::io::send(pair.a.get(), weft::ConstBuffer(&byte, 1), MSG_WAITALL);
        support::put(pair.b.get(), "y");
        (void)co_await weft::io::recv(pair.a.get(), weft::MutableBuffer(&byte, 1));
    }
    CHECK(held_by_rings() == 0);
    (void)support::drain(pair.b.get());
    ::close(pair.a.release());
    CHECK(seen_by(pair.b) == 0);
}

TEST_CASE(
    "a stream that another loop of the thread closes is closed, and its number free for others") {
    for (const bool goes : {false, true}) {
        weft::EventLoop first(weft::testing::options());
        weft::EventLoop second(weft::testing::options());
        Pair old = support::unix_pair();
        std::optional<Stream> stream = first.run_until_complete(talkative(old, false));
        const int number = stream->fd();
        second.run_until_complete([&]() -> Coro<void> {
            if (goes) {
                // (It goes while somebody waits, so that an operation closes it.)
                char byte = 0;
                auto read = [&]() -> Coro<void> {
                    (void)co_await stream->read(weft::MutableBuffer(&byte, 1));
                };
                weft::Task<void> reading = weft::create_task(read);
                co_await weft::sleep(std::chrono::milliseconds(1));
                stream.reset();
                co_await weft::sleep(std::chrono::milliseconds(1));
                CHECK_THROWS_AS(reading.result(), std::system_error);
            } else {
                co_await stream->close();
            }
        }());
        CHECK(seen_by(old.b) == 0);
        CHECK(held_by_rings() == 0);
        Pair fresh = support::unix_pair();
        CHECK(fresh.a.get() == number);
        std::optional<Stream> next = first.run_until_complete(talkative(fresh, false));
        first.run_until_complete([&]() -> Coro<void> { co_await next->write("new"); }());
        CHECK(support::drain(fresh.b.get()) == "new");
    }
}

TEST_CASE("a stream that outlives its loop is closed where it goes, at once") {
    Pair pair = support::unix_pair();
    std::optional<Stream> stream = weft::run(talkative(pair, false));
    CHECK(held_by_rings() == 0);
    CHECK(seen_by(pair.b) == -EAGAIN);
    stream.reset();
    CHECK(seen_by(pair.b) == 0);
}

}  // namespace
}  // namespace direct_test
