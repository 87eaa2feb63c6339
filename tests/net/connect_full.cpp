// SPDX-License-Identifier: MIT
// Connecting to a socket whose queue is full, and giving up on it.
// rungs: all
#include <weft/testing/catch.hpp>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "descriptors.hpp"

namespace connect_full_test {

namespace {

weft::Fd unix_socket(int flags) {
    return weft::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
}

weft::Coro<void> connect_to(int fd, weft::Address to) { co_await weft::io::connect(fd, to); }

/// A listener whose queue is full, and those who fill it.
struct Full {
    Full()
        : at(weft::Address::unix_path(std::string(1, '\0') + "weft-full-" +
                                      std::to_string(::getpid()))),
          listener(unix_socket(SOCK_NONBLOCK)) {
        const int bound = ::bind(listener.get(), at.data(), at.size());
        REQUIRE(bound == 0);
        const int listening = ::listen(listener.get(), 0);
        REQUIRE(listening == 0);
        for (int error = 0; error == 0;) {
            fill.push_back(unix_socket(SOCK_NONBLOCK));
            error = ::connect(fill.back().get(), at.data(), at.size()) == 0 ? 0 : errno;
            REQUIRE((error == 0 || error == EAGAIN));
        }
    }
    weft::Address at;
    weft::Fd listener;
    std::vector<weft::Fd> fill;
};

/// errno of how it ended; 0: it did not fail.
int error_of(weft::Task<void> ended) {
    try {
        std::move(ended).result();
    } catch (const std::system_error& failed) {
        return failed.code().value();
    }
    return 0;
}

}  // namespace

WEFT_TEST_CASE("a connect to a full queue, cancelled after any turn, is cancelled", "[cancel]") {
    const Full full;
    for (const int flags : {0, int{SOCK_NONBLOCK}}) {
        for (int turns = 0; turns < 20; ++turns) {
            CAPTURE(flags, turns);
            const weft::Fd socket = unix_socket(flags);
            weft::Task<void> task = weft::create_task(connect_to(socket.get(), full.at));
            for (int turn = 0; turn < turns; ++turn) co_await weft::yield();
            task.cancel();
            co_await task.wait();
            CHECK(task.cancelled());
        }
    }
}

WEFT_TEST_CASE("a connect that pauses never connects the next socket under its number", "[close]") {
    for (const int flags : {0, int{SOCK_NONBLOCK}}) {
        for (int turns = 1; turns < 10; ++turns) {
            CAPTURE(flags, turns);
            const Full full;
            const int number = unix_socket(flags).release();
            weft::Task<void> task = weft::create_task(connect_to(number, full.at));
            for (int turn = 0; turn < turns; ++turn) co_await weft::yield();
            co_await weft::io::close(number);
            const weft::Fd next = unix_socket(flags);
            CHECK(next.get() == number);
            // From here on there is room.
            while (weft::Fd(::accept4(full.listener.get(), nullptr, nullptr, SOCK_CLOEXEC))) {
            }
            co_await task.wait();
            const int error = error_of(std::move(task));
            // The kernel may have connected the one that was closed, when it waits itself.
            CHECK((error == ECANCELED || error == 0));
            sockaddr_un peer{};
            socklen_t size = sizeof peer;
            const int asked = ::getpeername(next.get(), reinterpret_cast<sockaddr*>(&peer), &size);
            CHECK(asked == -1);
        }
    }
}

WEFT_TEST_CASE("a connect that pauses is told when its socket is closed", "[close]") {
    const Full full;
    const int number = unix_socket(0).release();
    weft::Task<void> task = weft::create_task(connect_to(number, full.at));
    co_await weft::sleep(std::chrono::milliseconds(5));
    CHECK_FALSE(task.done());
    co_await weft::io::close(number);
    co_await task.wait();
    const int error = error_of(std::move(task));
    CHECK(error == ECANCELED);
}

// The kernel tries again after a second, which is what this takes.
WEFT_TEST_CASE("a connect over TCP that waits is told that it is there, or that it was refused",
               "[connect]") {
    const support::BusyListener taken(support::tcp_listener(0));
    support::BusyListener gone(support::listen_at(weft::Address::ip(support::own_host(), 0), 0));
    const weft::Fd connects = support::new_socket(AF_INET);
    const weft::Fd refused = support::new_socket(AF_INET);
    auto first = weft::create_task(connect_to(connects.get(), taken.listener.address));
    auto second = weft::create_task(connect_to(refused.get(), gone.listener.address));
    for (int turn = 0; turn < 3; ++turn) co_await weft::yield();
    REQUIRE_FALSE(first.done());
    REQUIRE_FALSE(second.done());

    const weft::Fd made_room(::accept4(taken.listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    REQUIRE(made_room);
    gone.listener.fd.reset();
    co_await first.wait();
    co_await second.wait();
    const int connected = error_of(std::move(first));
    CHECK(connected == 0);
    const int failed = error_of(std::move(second));
    CHECK(failed == ECONNREFUSED);
    const weft::Address& to = taken.listener.address;
    const bool again = ::connect(connects.get(), to.data(), to.size()) == 0;
    const int error = errno;
    CHECK((!again && error == EISCONN));
}

}  // namespace connect_full_test
