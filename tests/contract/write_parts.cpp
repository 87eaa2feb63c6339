// SPDX-License-Identifier: MIT
// A stream write whose socket takes one byte a call: many parts, one await.
// program: own
#include <weft/testing/catch.hpp>

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include <weft/weft.hpp>

namespace write_parts_test {

// In the place of libc's: the epoll backend's sends come through here.
extern "C" ssize_t send(int fd, const void* data, std::size_t size, int flags) {
    return ::syscall(SYS_sendto, fd, data, std::min<std::size_t>(size, 1), flags, nullptr, 0);
}

namespace {

weft::Coro<void> count_turns(const bool& stop, long& turns) {
    while (!stop) {
        ++turns;
        co_await weft::yield();
    }
}

weft::Coro<void> read_all(weft::Stream& stream, std::size_t size) {
    const std::string text = co_await stream.read_exactly(size);
    if (text != std::string(size, 'x')) throw weft::RuntimeError("the bytes are wrong");
}

}  // namespace

WEFT_TEST_CASE("a write in 20,000 parts uses no stack and starves nobody", "[stream]") {
    constexpr std::size_t size = 20'000;
    int ends[2];
    const int made = ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
    REQUIRE(made == 0);
    weft::Stream writer{weft::Fd(ends[0])};
    weft::Stream reader{weft::Fd(ends[1])};
    bool stop = false;
    long turns = 0;
    weft::Task<void> other = weft::create_task(count_turns(stop, turns));
    weft::Task<void> reading = weft::create_task(read_all(reader, size));

    const std::string text(size, 'x');
    co_await writer.write(text);
    co_await reading;
    stop = true;
    co_await other;

    REQUIRE(writer.written() == size);
    // 64 parts in a row and one that is told later, then everybody has a turn. (io_uring sends it
    // all by itself.)
    const bool in_parts = weft::get_running_loop().backend_info().name == "epoll";
    if (in_parts) REQUIRE(turns >= static_cast<long>(size / 65));
}

}  // namespace write_parts_test
