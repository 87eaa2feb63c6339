// SPDX-License-Identifier: MIT
// Waits for readiness: on what epoll refuses, for what never happens, and on numbers that others
// close.
#include <poll.h>

#include <string>
#include <vector>

#include <weft/deadline/move_on_after.hpp>
#include <weft/net/io.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace readiness_test {

using namespace support;
using weft::create_task;
namespace io = weft::io;

namespace {

weft::Coro<short> poll_once(int fd, short events) { co_return co_await io::poll(fd, events); }

Fd opened(const char* path, int flags) {
    return Fd(checked(::open(path, flags | O_CLOEXEC), path));
}

/// Waits as one does who was given a number by a library.
weft::Coro<bool> is_told(int fd, int peer) {
    auto wait = create_task(poll_once(fd, POLLIN));
    co_await turns(3);
    const bool early = wait.done();
    put(peer, "x");
    const auto told = co_await weft::move_on_after(std::chrono::seconds(5), wait);
    co_return !early && told && (*told & POLLIN) != 0;
}

}  // namespace

WEFT_TEST_CASE("a wait for what never happens to a file ends with its cancel, whatever the file",
               "[readiness]") {
    const char* const paths[] = {"/dev/null", "/dev/zero", "/proc/self/status", "/", "/proc"};
    const short masks[] = {0, POLLHUP, POLLRDHUP, POLLPRI, POLLERR, POLLHUP | POLLPRI};
    for (const char* path : paths) {
        for (const short mask : masks) {
            CAPTURE(path, mask);
            const Fd fd = opened(path, O_RDONLY);
            auto wait = create_task(poll_once(fd.get(), mask));
            co_await turns(4);
            CHECK_FALSE(wait.done());
            wait.cancel();
            const End end = co_await ending(wait);
            CHECK(end == End::cancelled);
        }
    }
}

WEFT_TEST_CASE("a wait for what never happens to a file ends with the file's close",
               "[readiness]") {
    Fd fd = opened("/dev/null", O_RDWR);
    auto wait = create_task(poll_once(fd.get(), POLLHUP));
    co_await turns(2);
    co_await io::close(std::move(fd));
    const End end = co_await ending(wait);
    CHECK(end == End::closed);
}

WEFT_TEST_CASE("files are always readable and writable", "[readiness]") {
    const Fd file = nameless_file("x");
    const Fd null = opened("/dev/null", O_RDWR);
    for (const int fd : {file.get(), null.get()}) {
        const short masks[] = {POLLIN, POLLOUT, POLLIN | POLLHUP, POLLRDNORM, POLLWRNORM};
        for (const short mask : masks) {
            CAPTURE(fd, mask);
            const short ready = co_await io::poll(fd, mask);
            CHECK((ready & mask) == (mask & ~POLLHUP));
        }
    }
}

WEFT_TEST_CASE("a wait on a number that is no descriptor is EBADF", "[readiness]") {
    for (const int fd : {-1, 999'999}) {
        const short masks[] = {0, POLLIN, POLLHUP};
        for (const short mask : masks) {
            CAPTURE(fd, mask);
            const Failure failed = co_await failure([&] { return io::poll(fd, mask); });
            CHECK(failed.error == EBADF);
        }
    }
}

WEFT_TEST_CASE("a wait for a kind of data that is not there sleeps, whatever else is there",
               "[readiness]") {
    // (The ring does not tell either: nothing of that kind ever comes on such a socket.)
    const short masks[] = {POLLPRI, POLLRDBAND, POLLMSG};
    for (const short mask : masks) {
        CAPTURE(mask);
        Pair ends = tcp_pair();
        put(ends.b.get(), "plain");
        co_await weft::wait_readable(ends.a.get());
        auto wait = create_task(poll_once(ends.a.get(), mask));
        co_await turns(3);
        CHECK_FALSE(wait.done());
        const std::uint64_t before = weft::get_running_loop().kernel_entries();
        const auto nothing = co_await weft::move_on_after(std::chrono::milliseconds(20), wait);
        CHECK_FALSE(nothing);
        // It has slept, and not looked again and again.
        CHECK(weft::get_running_loop().kernel_entries() - before < 50);
    }
}

WEFT_TEST_CASE("a wait works on a number that others have closed and that came again",
               "[readiness]") {
    int number = -1;
    for (int round = 0; round < 5; ++round) {
        CAPTURE(round);
        Pair ends = round % 2 ? pipe_pair() : unix_pair();
        const int fd = ::fcntl(ends.a.get(), F_DUPFD_CLOEXEC, number < 0 ? 200 : number);
        CHECK((number < 0 || fd == number));
        number = fd;
        const bool told = co_await is_told(fd, ends.b.get());
        CHECK(told);
        ::close(fd);  // as a C library does it: nobody is told
    }
}

WEFT_TEST_CASE("a wait works on a number that came again while the old file lives under another",
               "[readiness]") {
    std::vector<Fd> alive;
    int number = -1;
    for (int round = 0; round < 5; ++round) {
        CAPTURE(round);
        Pair ends = unix_pair();
        const int fd = ::fcntl(ends.a.get(), F_DUPFD_CLOEXEC, number < 0 ? 200 : number);
        CHECK((number < 0 || fd == number));
        number = fd;
        const bool told = co_await is_told(fd, ends.b.get());
        CHECK(told);
        // What arrived stays, so that the old file goes on being readable.
        alive.push_back(std::move(ends.a));
        alive.push_back(std::move(ends.b));
        ::close(fd);
    }
    // And nobody is woken for it any more.
    co_await turns(3);
    const std::uint64_t before = weft::get_running_loop().kernel_entries();
    co_await weft::sleep(std::chrono::milliseconds(20));
    CHECK(weft::get_running_loop().kernel_entries() - before < 20);
}

WEFT_TEST_CASE("a wait that was cancelled before its number was closed leaves nothing behind",
               "[readiness]") {
    Pair old = unix_pair();
    Pair fresh = unix_pair();
    const int number = ::fcntl(old.a.get(), F_DUPFD_CLOEXEC, 200);
    auto first = create_task(poll_once(number, POLLIN));
    co_await turns(3);
    first.cancel();
    co_await first.wait();
    checked(::dup3(fresh.a.get(), number, O_CLOEXEC), "dup3");
    put(old.b.get(), "x");  // the old file lives, and is readable
    const bool told = co_await is_told(number, fresh.b.get());
    CHECK(told);
    ::close(number);
}

WEFT_TEST_CASE("what reads a number after a library's wait on it knows the new file",
               "[readiness]") {
    Pair old = unix_pair();
    const int number = ::fcntl(old.a.get(), F_DUPFD_CLOEXEC, 200);
    const bool told = co_await is_told(number, old.b.get());
    CHECK(told);
    Pair fresh = pipe_pair();
    checked(::dup3(fresh.a.get(), number, O_CLOEXEC), "dup3");
    put(fresh.b.get(), "from a pipe");
    co_await weft::wait_readable(number);
    const std::string text = co_await read_some(number, 64);
    CHECK(text == "from a pipe");
    ::close(number);
}

}  // namespace readiness_test
