// SPDX-License-Identifier: MIT
// Out of memory or of descriptors, in reads of chunks and in servers: an error, a pause, never an
// end.
// program: own
#include <weft/net/io.hpp>
#include <weft/net/server.hpp>
#include <weft/net/stream.hpp>
#include <weft/testing/catch.hpp>

#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "awaiting.hpp"
#include "descriptors.hpp"
#include "failing_new.hpp"
#include "stream_pairs.hpp"

// So many accept4 answer as the test says.
namespace {
int accept_error = 0;
int accept_errors_left = 1;
int accept_errors_told = 0;
}  // namespace

#include <dlfcn.h>

extern "C" int accept4(int fd, sockaddr* peer, socklen_t* size, int flags) {
    using Accept = int (*)(int, sockaddr*, socklen_t*, int);
    static const auto libc = reinterpret_cast<Accept>(::dlsym(RTLD_NEXT, "accept4"));
    if (accept_error != 0) {
        errno = accept_error;
        if (--accept_errors_left <= 0) accept_error = 0;
        ++accept_errors_told;
        return -1;
    }
    return libc(fd, peer, size, flags);
}

namespace {

using namespace std::chrono_literals;
using support::connected_to;
using support::Fd;
using support::stream_pair;
using support::StreamPair;
using support::turns;
using weft::Coro;
using weft::create_task;
using weft::Server;
using weft::Stream;

// UBSan's check of virtual calls opens a pipe of its own, and takes a failure for a bad pointer.
constexpr bool sanitizer_needs_descriptors = WEFT_ASAN != 0;

/// What the loop's exception handler was told; allocates nothing.
struct Reports {
    Reports() {
        weft::get_running_loop().set_exception_handler([this](const weft::ExceptionContext& what) {
            ++count;
            if (!what.exception) return;
            try {
                std::rethrow_exception(what.exception);
            } catch (const std::bad_alloc&) {
                ++no_memory;
            } catch (const std::system_error& error) {
                last_error = error.code().value();
            }
        });
    }
    ~Reports() { weft::get_running_loop().set_exception_handler({}); }
    int count = 0;
    int no_memory = 0;
    int last_error = 0;
};

Coro<void> echo(Stream client) {
    char buffer[64];
    for (;;) {
        const std::size_t count = co_await client.read(buffer);
        if (count == 0) co_return;
        co_await client.write(weft::ConstBuffer(buffer, count));
    }
}

/// Sends a word on a blocking socket that the loop does not know, and waits for the answer or for
/// the end of the connection.
Coro<std::string> ask(int fd) {
    if (::send(fd, "hello", 5, MSG_NOSIGNAL) != 5) co_return "";
    char answer[8];
    for (int turn = 0; turn < 10'000; ++turn) {
        const ssize_t got = ::recv(fd, answer, sizeof answer, MSG_DONTWAIT);
        if (got >= 0) co_return std::string(answer, static_cast<std::size_t>(got));
        if (errno != EAGAIN) co_return "";
        if (turn < 200) {
            co_await weft::yield();
        } else {
            co_await weft::sleep(1ms);
        }
    }
    co_return "no answer";
}

}  // namespace

WEFT_TEST_CASE(
    "no memory for a chunk is an error however often in one step, and then it is there") {
    for (const auto transport : support::every_transport) {
        StreamPair ends = stream_pair(transport);
        REQUIRE(::send(ends.far.fd(), "kept", 4, 0) == 4);
        co_await turns(2);
        weft::Chunk chunk;
        int refused = 0;
        shortage.set(1, 1'000'000);  // (the stream's part of the first read)
        for (int count = 0; count < 200 && chunk.empty(); ++count) {
            try {
                chunk = co_await ends.near.read_chunk();
            } catch (const std::system_error& error) {
                refused += error.code().value() == ENOMEM;
            } catch (const std::bad_alloc&) {
                // The message did not fit either.
                ++refused;
            }
        }
        shortage.end();
        // (A pool that has buffers needs no memory.)
        CHECK((refused == 200 || chunk.view() == "kept"));
        if (chunk.empty()) chunk = co_await ends.near.read_chunk();
        CHECK(chunk.view() == "kept");
    }
}

WEFT_TEST_CASE("a chunk's read that lacks memory can be cancelled and closed at every turn") {
    for (int turn = 0; turn < 6; ++turn) {
        StreamPair ends = stream_pair();
        auto reading = create_task([&]() -> Coro<void> {
            for (int count = 0; count < 300; ++count) {
                try {
                    const weft::Chunk chunk = co_await ends.near.read_chunk();
                } catch (const std::system_error&) {
                } catch (const std::bad_alloc&) {
                }
            }
        });
        co_await turns(1);
        shortage.set(0, 1'000'000);
        for (int count = 0; count < turn; ++count) co_await weft::yield();
        reading.cancel();
        co_await weft::yield();
        co_await weft::yield();
        shortage.end();
        co_await ends.near.close();
        reading.cancel();
        co_await reading.wait();
        CHECK(reading.done());
    }
}

WEFT_TEST_CASE("a server survives each single allocation that fails, and serves the next client") {
    const Reports reports;
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    long struck = 0;
    for (long after = 0; after < 40; ++after) {
        CAPTURE(after);
        {
            // Frames are to need memory, and not to be those of the client before.
            while (server.connections() > 0) co_await weft::yield();
            const Fd client = connected_to(server.address());
            weft::trim_frame_cache();
            shortage.set(after, 1);
            // (Not `turns`: a coroutine needs memory.)
            for (int turn = 0; turn < 8; ++turn) co_await weft::yield();
            shortage.end();
            struck += shortage.failed;
            const std::string answer = co_await ask(client.get());
            CHECK((answer == "hello" || answer.empty()));
        }
        const Fd next = connected_to(server.address());
        const std::string answer = co_await ask(next.get());
        REQUIRE(answer == "hello");
    }
    CHECK(struck > 0);
    CHECK(reports.no_memory > 0);
    server.close();
    co_await server.wait_closed();
    CHECK(server.connections() == 0);
}

WEFT_TEST_CASE("a server without any memory for a while pauses, reports it once, and goes on") {
    const Reports reports;
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    // The sizes that the frames have are used up, so that a new connection needs memory.
    std::vector<Fd> clients;
    for (int count = 0; count < 40; ++count) clients.push_back(connected_to(server.address()));
    shortage.set(0, 1'000'000);
    for (int turn = 0; turn < 100; ++turn) co_await weft::yield();
    const long failed = shortage.failed;
    shortage.end();
    CHECK(failed > 0);
    CHECK(failed < 50);  // it does not spin
    CHECK(reports.no_memory == 1);
    int lost = 0;
    for (const Fd& client : clients) {
        const std::string answer = co_await ask(client.get());
        CHECK((answer == "hello" || answer.empty()));
        lost += answer.empty();
    }
    // Those that were accepted without memory for them; the others waited in the kernel's queue.
    CHECK(lost <= 2);
    server.close();
    clients.clear();
    co_await server.wait_closed();
}

WEFT_TEST_CASE("a server out of descriptors pauses, reports it once, and serves who waited") {
    if (sanitizer_needs_descriptors) co_return;
    for (const std::size_t limit : {0U, 3U}) {  // with a limit it waits and accepts in another way
        CAPTURE(limit);
        const Reports reports;
        weft::ServerOptions options;
        options.connection_limit = limit;
        Server server = co_await weft::start_server(&echo, "127.0.0.1", 0, options);
        Fd client = connected_to(server.address());
        rlimit before{};
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
        const Fd probe(::dup(0));
        rlimit few = before;
        few.rlim_cur = static_cast<rlim_t>(probe.get());
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
        const std::uint64_t entries = weft::get_running_loop().kernel_entries();
        co_await weft::sleep(1s);
        CHECK(weft::get_running_loop().kernel_entries() - entries < 400);
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
        CHECK(reports.last_error == EMFILE);
        CHECK(reports.count == 1);
        const std::string answer = co_await ask(client.get());
        CHECK(answer == "hello");
        server.close();
        client.reset();
        co_await server.wait_closed();  // so that the next round finds no number that comes free
    }
}

WEFT_TEST_CASE("a server goes on after every answer that accept may give for a connection's sake") {
    // (The ring makes no call that could be caught here.)
    if (weft::get_running_loop().backend_info().name != "epoll") co_return;
    const Reports reports;
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    int expected = 0;
    for (const int error : {ECONNABORTED, EPROTO, EPERM, ENETDOWN, EHOSTUNREACH, ENETUNREACH,
                            EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
        CAPTURE(error);
        accept_error = error;
        const Fd client = connected_to(server.address());
        const std::string answer = co_await ask(client.get());
        CHECK(answer == "hello");
        CHECK(accept_errors_told == ++expected);
    }
    CHECK(reports.count == 4);  // a shortage is worth a report, a lost connection is not
    server.close();
}

WEFT_TEST_CASE("a server whose every accept is refused pauses and reports it once") {
    // (The ring accepts by itself, and asks for more with the call.)
    if (weft::get_running_loop().backend_info().name != "epoll") co_return;
    for (const int error : {EPERM, ECONNABORTED, EOPNOTSUPP, EPROTO}) {
        CAPTURE(error);
        const Reports reports;
        Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
        accept_errors_left = 1'000'000;
        accept_error = error;
        accept_errors_told = 0;
        const Fd client = connected_to(server.address());
        co_await weft::sleep(1s);
        CHECK(accept_errors_told < 60);
        CHECK(reports.count == 1);
        CHECK(reports.last_error == error);
        accept_errors_left = 1;
        accept_error = 0;
        const std::string answer = co_await ask(client.get());
        CHECK(answer == "hello");
        server.close();
    }
}
