// SPDX-License-Identifier: MIT
// Connecting to a Unix socket whose queue is full, and giving up on it.
#include <weft/testing/catch.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include <weft/weft.hpp>

namespace connect_full_test {

namespace {

weft::Fd unix_socket(int flags) {
    return weft::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
}

weft::Coro<void> connect_to(int fd, weft::Address to) { co_await weft::io::connect(fd, to); }

}  // namespace

WEFT_TEST_CASE("a connect to a full queue, cancelled after any turn, is cancelled", "[cancel]") {
    const weft::Address at =
        weft::Address::unix_path(std::string(1, '\0') + "weft-full-" + std::to_string(::getpid()));
    const weft::Fd listener = unix_socket(0);
    const int bound = ::bind(listener.get(), at.data(), at.size());
    REQUIRE(bound == 0);
    const int listening = ::listen(listener.get(), 0);
    REQUIRE(listening == 0);
    std::vector<weft::Fd> fill;
    for (int error = 0; error == 0;) {
        fill.push_back(unix_socket(SOCK_NONBLOCK));
        error = ::connect(fill.back().get(), at.data(), at.size()) == 0 ? 0 : errno;
        REQUIRE((error == 0 || error == EAGAIN));
    }

    for (const int flags : {0, int{SOCK_NONBLOCK}}) {
        for (int turns = 0; turns < 20; ++turns) {
            CAPTURE(flags, turns);
            const weft::Fd socket = unix_socket(flags);
            weft::Task<void> task = weft::create_task(connect_to(socket.get(), at));
            for (int turn = 0; turn < turns; ++turn) co_await weft::yield();
            task.cancel();
            co_await task.wait();
            CHECK(task.cancelled());
        }
    }
}

}  // namespace connect_full_test
