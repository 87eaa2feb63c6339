// SPDX-License-Identifier: MIT
// Whoever writes to a pipe or socket whose other end is gone gets EPIPE, and never a signal.
#include <signal.h>

#include <string>

#include <weft/net/io.hpp>
#include <weft/net/stream.hpp>
#include <weft/task/run.hpp>
#include <weft/testing/catch.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace broken_pipe_test {

using namespace support;
using weft::create_task;
namespace io = weft::io;

namespace {

volatile sig_atomic_t signals = 0;

/// Counts SIGPIPE while it lives.
class Counting {
public:
    Counting() {
        signals = 0;
        struct sigaction count {};
        count.sa_handler = [](int) { signals = signals + 1; };
        ::sigaction(SIGPIPE, &count, &before_);
    }
    Counting(const Counting&) = delete;
    Counting& operator=(const Counting&) = delete;
    ~Counting() { ::sigaction(SIGPIPE, &before_, nullptr); }

private:
    struct sigaction before_ {};
};

enum Kind { unix_stream, unix_packet, tcp, pipe, nonblocking_pipe, kinds };

Pair make(int kind) {
    Pair ends = kind == tcp           ? tcp_pair()
                : kind == unix_stream ? unix_pair()
                : kind == unix_packet ? unix_pair(SOCK_SEQPACKET)
                                      : pipe_pair(kind == nonblocking_pipe ? O_NONBLOCK : 0);
    return ends;
}

/// The errors of a write after the other end went: at once, and for one that waited for room.
weft::Coro<void> write_to_dead(int kind) {
    Pair gone = make(kind);
    if (kind == tcp) reset_on_close(gone.a.get());
    gone.a.reset();
    Failure failed;
    // (TCP learns of it from the answer to the first.)
    for (int tries = 0; tries < 3 && failed.error != EPIPE; ++tries)
        failed = co_await failure([&] { return io::write(gone.b.get(), "x"); });
    CHECK(failed.error == EPIPE);
    CHECK(failed.names("write"));

    Pair full = make(kind);
    fill(full.b.get());
    auto waits = create_task([&]() -> weft::Coro<int> {
        const Failure later = co_await failure([&] { return io::write(full.b.get(), "x"); });
        co_return later.error;
    });
    co_await turns(3);
    CHECK_FALSE(waits.done());
    full.a.reset();
    const int error = co_await waits;
    CHECK((error == EPIPE || error == ECONNRESET));
}

}  // namespace

TEST_CASE("a write to what has no other end is EPIPE and raises no signal", "[broken_pipe]") {
    for (int kind = 0; kind < kinds; ++kind) {
        CAPTURE(kind);
        const Counting counting;
        weft::RunOptions options;
        options.ignore_sigpipe = false;
        weft::run(write_to_dead(kind), options);
        CHECK(signals == 0);
    }
}

TEST_CASE("a SIGPIPE of the program's own is left to it", "[broken_pipe]") {
    const Counting counting;
    sigset_t broken_pipe;
    sigset_t before;
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
    ::raise(SIGPIPE);  // pending, as of a write before
    weft::RunOptions options;
    options.ignore_sigpipe = false;
    weft::run(write_to_dead(pipe), options);
    CHECK(signals == 0);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    CHECK(signals == 1);
}

}  // namespace broken_pipe_test
