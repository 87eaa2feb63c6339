// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include <weft/weft.hpp>

namespace pipe_test {
namespace {

using weft::Coro;
using weft::Stream;

/// A FIFO in a folder of its own, and both gone afterwards.
struct Fifo {
    Fifo() {
        if (!::mkdtemp(folder)) throw std::system_error(errno, std::system_category());
        path = std::string(folder) + "/fifo";
        if (::mkfifo(path.c_str(), 0600) != 0)
            throw std::system_error(errno, std::system_category());
    }
    Fifo(const Fifo&) = delete;
    Fifo& operator=(const Fifo&) = delete;
    ~Fifo() {
        ::unlink(path.c_str());
        ::rmdir(folder);
    }
    char folder[32] = "/tmp/weft-test-XXXXXX";
    std::string path;
};

Coro<std::string> read_all(Stream& from) { co_return co_await from.read_all(100); }

WEFT_TEST_CASE(
    "a pipe carries more than it holds, is close-on-exec, and ends when its writer goes") {
    weft::Pipe pipe = weft::pipe();
    CHECK((::fcntl(pipe.reader.fd(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((::fcntl(pipe.writer.fd(), F_GETFD) & FD_CLOEXEC) != 0);
    const std::string text(300'000, 'x');
    weft::Task<void> writing = weft::create_task(
        [](Stream to, std::string what) -> Coro<void> { co_await to.write(what); },
        std::move(pipe.writer), text);
    const std::string got = co_await pipe.reader.read_all(text.size());
    co_await writing;
    CHECK(got == text);
}

WEFT_TEST_CASE("a FIFO that is read waits for its first writer, and ends with the last one") {
    const Fifo fifo;
    Stream from = co_await weft::open_fifo(fifo.path, O_RDONLY);
    char one[1];
    const auto nothing_yet = from.try_read(one);
    weft::Task<std::string> reading = weft::create_task(read_all, std::ref(from));
    for (int turn = 0; turn < 5; ++turn) co_await weft::yield();
    CHECK(!nothing_yet);
    CHECK(!reading.done());
    Stream to = co_await weft::open_fifo(fifo.path, O_WRONLY);
    co_await to.write("hello");
    co_await to.close();
    const std::string all = co_await reading;
    CHECK(all == "hello");
}

WEFT_TEST_CASE("a FIFO that is written waits for its reader") {
    const Fifo fifo;
    weft::Task<Stream> opening =
        weft::create_task([](const std::string& path) { return weft::open_fifo(path, O_WRONLY); },
                          std::cref(fifo.path));
    for (int turn = 0; turn < 5; ++turn) co_await weft::yield();
    CHECK(!opening.done());
    Stream from = co_await weft::open_fifo(fifo.path, O_RDONLY);
    Stream to = co_await std::move(opening);
    co_await to.write("hello\n");
    const std::string line = co_await from.read_line();
    CHECK(line == "hello\n");
}

}  // namespace
}  // namespace pipe_test
