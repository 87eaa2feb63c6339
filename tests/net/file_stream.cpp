// SPDX-License-Identifier: MIT
// Streams over what is no socket: pipes, terminals, files.
// rungs: all
#include <weft/testing/catch.hpp>

#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>
#include <utility>

#include <weft/weft.hpp>

namespace file_stream_test {
namespace {

using namespace std::chrono_literals;
using weft::Coro;
using weft::Fd;
using weft::Stream;

struct Pipe {
    Pipe() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::system_category());
        reader = Fd(ends[0]);
        writer = Fd(ends[1]);
    }
    Fd reader;
    Fd writer;
};

Coro<int> error_of(Coro<void> coro) {
    try {
        co_await std::move(coro);
    } catch (const std::system_error& error) {
        co_return error.code().value();
    }
    co_return 0;
}
Coro<void> write(Stream& to, std::string text) { co_await to.write(text); }
Coro<std::string> read_line(Stream& from) { co_return co_await from.read_line(); }
Coro<std::size_t> read(Stream& from) {
    char buffer[16];
    co_return co_await from.read(buffer);
}

WEFT_TEST_CASE("a Stream over a pipe reads lines, lengths and chunks, and finds the end") {
    Pipe pipe;
    Stream from(std::move(pipe.reader));
    Stream to(std::move(pipe.writer));
    co_await to.write("one\ntwo\n12345rest");
    co_await to.write_eof();
    const int after_end = co_await error_of(write(to, "x"));
    CHECK(after_end == EPIPE);
    co_await to.close();
    CHECK(to.is_closed());
    const std::string one = co_await from.read_line();
    const std::string two = co_await from.read_line();
    const std::string five = co_await from.read_exactly(5);
    const std::string rest(weft::Chunk(co_await from.read_chunk()).view());
    const weft::Chunk end = co_await from.read_chunk();
    CHECK(one == "one\n");
    CHECK(two == "two\n");
    CHECK(five == "12345");
    CHECK(rest == "rest");
    CHECK(end.empty());
    CHECK(to.written() == 17);
}

WEFT_TEST_CASE("a pipe's reader that is slow holds its writer up, and 1 MiB arrives whole") {
    Pipe pipe;
    Stream from(std::move(pipe.reader));
    Stream to(std::move(pipe.writer));
    const std::string text(1 << 20, 'x');
    weft::Task<void> writing = weft::create_task(write, std::ref(to), text);
    for (int turn = 0; turn < 5; ++turn) co_await weft::yield();
    CHECK(!writing.done());
    const std::string got = co_await from.read_exactly(text.size());
    co_await writing;
    CHECK(got == text);
}

WEFT_TEST_CASE("a pipe whose reader is gone is EPIPE for its writer, and no SIGPIPE") {
    Pipe pipe;
    Stream to(std::move(pipe.writer));
    pipe.reader.reset();
    const int error = co_await error_of(write(to, "x"));
    CHECK(error == EPIPE);
}

WEFT_TEST_CASE("close of a pipe's stream ends a read that waits with ECANCELED") {
    Pipe pipe;
    Stream from(std::move(pipe.reader));
    weft::Task<std::string> reading = weft::create_task(read_line, std::ref(from));
    co_await weft::yield();
    co_await from.close();
    const int error = co_await error_of(
        [](weft::Task<std::string> task) -> Coro<void> { co_await task; }(reading));
    CHECK(error == ECANCELED);
    CHECK(from.is_closed());
    const int closed =
        co_await error_of([](Stream& stream) -> Coro<void> { co_await read(stream); }(from));
    CHECK(closed == EBADF);
}

WEFT_TEST_CASE("a Stream over a pipe that goes ends a read that waits with ECANCELED") {
    Pipe pipe;
    weft::Task<std::string> reading;
    {
        Stream from(std::move(pipe.reader));
        reading = weft::create_task(
            [](Stream& stream) -> Coro<std::string> {
                return stream.read_line();  // (whose state the coroutine holds, and not the Stream)
            },
            std::ref(from));
        co_await weft::yield();
        co_await weft::yield();
    }
    const int error = co_await error_of(
        [](weft::Task<std::string> task) -> Coro<void> { co_await task; }(reading));
    CHECK(error == ECANCELED);
}

WEFT_TEST_CASE("a deadline around the read of a pipe strikes, and the pipe stays readable") {
    Pipe pipe;
    Stream from(std::move(pipe.reader));
    Stream to(std::move(pipe.writer));
    char buffer[16];
    std::string text;
    try {
        co_await weft::wait_for(from.read(buffer), 1s);
    } catch (const weft::TimeoutError& error) {
        text = error.what();
    }
    CHECK(text.starts_with("timed out: read fd "));
    const auto chunk = co_await weft::move_on_after(1s, from.read_chunk());
    CHECK(!chunk);
    co_await to.write("still there");
    const std::size_t count = co_await weft::wait_for(from.read(buffer), 1s);
    CHECK(std::string(buffer, count) == "still there");
}

WEFT_TEST_CASE("a second reader of a pipe is refused") {
    Pipe pipe;
    Stream from(std::move(pipe.reader));
    Stream to(std::move(pipe.writer));
    weft::Task<std::size_t> first = weft::create_task(read, std::ref(from));
    co_await weft::yield();
    bool refused = false;
    try {
        co_await read(from);
    } catch (const weft::RuntimeError&) {
        refused = true;
    }
    CHECK(refused);
    co_await to.write("abc");
    const std::size_t count = co_await first;
    CHECK(count == 3);
}

WEFT_TEST_CASE("try_read of a pipe takes what is there, finds nothing, finds the end") {
    Pipe pipe;
    Stream from(std::move(pipe.reader));
    Stream to(std::move(pipe.writer));
    char buffer[16];
    const auto nothing = from.try_read(buffer);
    co_await to.write("abc");
    const auto three = from.try_read(buffer);
    co_await to.close();
    const auto end = from.try_read(buffer);
    CHECK(!nothing);
    CHECK(three == 3);
    CHECK(end == 0);
}

/// A terminal without echo and line discipline, and the program's side of it.
struct Terminal {
    Terminal() : master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
        ::grantpt(master.get());
        ::unlockpt(master.get());
        slave = Fd(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
        termios settings{};
        ::tcgetattr(slave.get(), &settings);
        ::cfmakeraw(&settings);
        ::tcsetattr(slave.get(), TCSANOW, &settings);
    }
    Fd master;
    Fd slave;
};

WEFT_TEST_CASE(
    "a Stream over a terminal goes both ways, and the end of its other side is the end") {
    Terminal terminal;
    Stream near(std::move(terminal.master));
    Stream far(std::move(terminal.slave));
    weft::Task<std::string> reading = weft::create_task(read_line, std::ref(far));
    co_await weft::yield();
    co_await near.write("hello\n");
    const std::string hello = co_await reading;
    co_await far.write("answer\n");
    const std::string answer = co_await near.read_line();
    CHECK(hello == "hello\n");
    CHECK(answer == "answer\n");
    const int error = co_await error_of(near.write_eof());
    CHECK(error == EOPNOTSUPP);
    co_await far.close();
    const std::string end = co_await near.read_line();
    CHECK(end.empty());
}

WEFT_TEST_CASE("a Stream over a regular file reads it to the end and writes behind it") {
    char path[] = "/tmp/weft-test-XXXXXX";
    Fd file(::mkstemp(path));
    REQUIRE(file);
    const Fd other(::open(path, O_RDONLY | O_CLOEXEC));
    ::unlink(path);
    Stream stream(std::move(file));
    co_await stream.write("one\ntwo\n");
    Stream reader{Fd(::dup(other.get()))};
    const std::string all = co_await reader.read_all(100);
    CHECK(all == "one\ntwo\n");
}

}  // namespace
}  // namespace file_stream_test
