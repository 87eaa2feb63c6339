// SPDX-License-Identifier: MIT
// Reads, writes, files and polls do what their man pages say, the same on both backends.
#include <weft/net/io.hpp>
#include <weft/testing/catch.hpp>

#include <sys/stat.h>

#include <climits>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace operations_test {

using namespace support;
using weft::create_task;
namespace io = weft::io;

WEFT_TEST_CASE(
    "a read returns what is there, waits while there is nothing, and returns 0 at the end",
    "[operations]") {
    for (const int flags : {0, O_NONBLOCK}) {
        for (const bool pipe : {true, false}) {
            CAPTURE(flags, pipe);
            Pair ends =
                pipe ? pipe_pair(flags) : unix_pair(SOCK_STREAM | (flags ? SOCK_NONBLOCK : 0));
            put(ends.b.get(), "there");
            const std::string now = co_await read_some(ends.a.get(), 64);
            CHECK(now == "there");
            auto later = create_task(read_some(ends.a.get(), 64));
            co_await turns(5);
            CHECK_FALSE(later.done());
            put(ends.b.get(), "later");
            const std::string text = co_await std::move(later);
            CHECK(text == "later");
            auto end = create_task(read_some(ends.a.get(), 64));
            co_await turns(3);
            co_await io::close(std::move(ends.b));
            const std::string nothing = co_await std::move(end);
            CHECK(nothing == "");
        }
    }
}

WEFT_TEST_CASE("more than a pipe holds goes through it in order", "[operations]") {
    for (const int flags : {0, O_NONBLOCK}) {
        CAPTURE(flags);
        Pair ends = pipe_pair(flags);
        std::string sent;
        while (sent.size() < 1'000'000) sent += std::to_string(sent.size()) + ",";
        auto writer = create_task(write_all(ends.b.get(), sent));
        const std::string got = co_await read_exactly(ends.a.get(), sent.size());
        co_await writer;
        CHECK(got == sent);
    }
}

WEFT_TEST_CASE("a write to a full pipe waits until the reader made room", "[operations]") {
    for (const int flags : {0, O_NONBLOCK}) {
        CAPTURE(flags);
        Pair ends = pipe_pair(flags);
        const std::size_t before = fill(ends.b.get());
        auto writer = create_task(write_all(ends.b.get(), "last"));
        co_await turns(5);
        CHECK_FALSE(writer.done());
        const std::string rest = co_await read_exactly(ends.a.get(), before);
        co_await writer;
        const std::string last = co_await read_some(ends.a.get(), 64);
        CHECK(last == "last");
    }
}

WEFT_TEST_CASE("a big write to a blocking pipe or socket never blocks the loop", "[operations]") {
    for (int which = 0; which < 3; ++which) {
        CAPTURE(which);
        Pair ends = which == 0 ? pipe_pair() : which == 1 ? unix_pair() : tcp_pair();
        if (which == 1) {
            const int small = 1;  // the kernel's minimum
            checked(::setsockopt(ends.b.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small),
                    "setsockopt");
        }
        const std::string sent(3'000'000, 'w');
        auto writer = create_task(write_all(ends.b.get(), sent));
        const std::string got = co_await read_exactly(ends.a.get(), sent.size());
        co_await writer;
        CHECK(got.size() == sent.size());
    }
}

WEFT_TEST_CASE("a file is read and written at an offset, and at its own position", "[operations]") {
    const Fd file = nameless_file("0123456789");
    std::string text(4, ' ');
    std::size_t count = co_await io::read_at(file.get(), text, 3);
    CHECK(count == 4);
    CHECK(text == "3456");
    count = co_await io::read_at(file.get(), text, 8);
    CHECK(count == 2);
    count = co_await io::read_at(file.get(), text, 100);
    CHECK(count == 0);
    // The position did not move; these two move it.
    const std::string first = co_await read_some(file.get(), 4);
    const std::string second = co_await read_some(file.get(), 4);
    CHECK(first + second == "01234567");
    co_await io::write(file.get(), "AB");
    co_await io::write_at(file.get(), "xyz", 1);
    count = co_await io::write_at(file.get(), "end", 20);
    CHECK(count == 3);
    const std::string rest = co_await read_some(file.get(), 64);
    CHECK(rest == std::string("\0\0\0\0\0\0\0\0\0\0end", 13));
    char all[64];
    const ssize_t size = ::pread(file.get(), all, sizeof all, 0);
    CHECK(std::string(all, static_cast<std::size_t>(size)) ==
          "0xyz4567AB" + std::string("\0\0\0\0\0\0\0\0\0\0end", 13));
}

WEFT_TEST_CASE("O_APPEND writes at the end", "[operations]") {
    Folder folder;
    const std::string path = folder.file("log");
    const Fd file = co_await io::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND);
    co_await io::write(file.get(), "one ");
    co_await io::write(file.get(), "two");
    std::string text(64, ' ');
    const std::size_t count = co_await io::read_at(file.get(), text, 0);
    CHECK(text.substr(0, count) == "one two");
}

WEFT_TEST_CASE("files of the kernel are read, although they have no size", "[operations]") {
    Fd file = co_await io::open("/proc/self/status", O_RDONLY);
    const std::string text = co_await read_some(file.get(), 4096);
    CHECK(text.substr(0, 5) == "Name:");
}

WEFT_TEST_CASE("/dev/null takes everything and gives nothing, /dev/zero gives zeros",
               "[operations]") {
    const Fd null = co_await io::open("/dev/null", O_RDWR);
    const std::string big(1'000'000, 'x');
    const std::size_t taken = co_await io::write(null.get(), big);
    CHECK(taken == big.size());
    const std::string nothing = co_await read_some(null.get(), 64);
    CHECK(nothing == "");
    const Fd zero = co_await io::open("/dev/zero", O_RDONLY);
    const std::string zeros = co_await read_some(zero.get(), 10'000);
    CHECK(zeros == std::string(10'000, '\0'));
}

WEFT_TEST_CASE("an eventfd is read once it was written", "[operations]") {
    for (const int flags : {0, int{EFD_NONBLOCK}}) {
        const Fd event(checked(::eventfd(0, EFD_CLOEXEC | flags), "eventfd"));
        auto reader = create_task(read_some(event.get(), 8));
        co_await turns(4);
        CHECK_FALSE(reader.done());
        const std::uint64_t three = 3;
        const std::size_t wrote =
            co_await io::write(event.get(), weft::ConstBuffer(&three, sizeof three));
        CHECK(wrote == 8);
        const std::string count = co_await std::move(reader);
        CHECK(count == std::string("\3\0\0\0\0\0\0\0", 8));
    }
}

WEFT_TEST_CASE("zero-length transfers return 0 at once and change nothing", "[operations]") {
    Pair pipe = pipe_pair();
    Pair pair = unix_pair();
    const Fd file = nameless_file("text");
    char none[1];
    const weft::MutableBuffer empty(none, 0);
    put(pipe.b.get(), "p");
    put(pair.b.get(), "s");
    std::size_t total = 0;
    total += co_await io::read(pipe.a.get(), empty);
    total += co_await io::read(pair.a.get(), empty);
    total += co_await io::recv(pair.a.get(), empty);
    total += co_await io::read(file.get(), empty);
    total += co_await io::read_at(file.get(), empty, 2);
    total += co_await io::write(pipe.b.get(), "");
    total += co_await io::write(pair.b.get(), "");
    total += co_await io::send(pair.b.get(), "");
    total += co_await io::write_at(file.get(), "", 2);
    CHECK(total == 0);
    CHECK(drain(pipe.a.get()) == "p");
    CHECK(drain(pair.a.get()) == "s");
    // Also a read of what has nothing, and one of a datagram, which stays.
    Pair datagrams = unix_pair(SOCK_DGRAM);
    total += co_await io::read(pipe.a.get(), empty);
    total += co_await io::read(pair.a.get(), empty);
    total += co_await io::read(datagrams.a.get(), empty);
    put(datagrams.b.get(), "d");
    total += co_await io::read(datagrams.a.get(), empty);
    CHECK(total == 0);
    CHECK(drain(datagrams.a.get()) == "d");
}

WEFT_TEST_CASE("open makes, truncates and refuses as its flags say, and sets close-on-exec",
               "[operations]") {
    Folder folder;
    const std::string path = folder.file("new");
    const Failure missing = co_await failure([&] { return io::open(path.c_str(), O_RDONLY); });
    CHECK(missing.error == ENOENT);
    CHECK(missing.names("open"));
    const mode_t mask = ::umask(0);
    Fd made = co_await io::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL, 0640);
    ::umask(mask);
    struct stat status {};
    checked(::fstat(made.get(), &status), "fstat");
    CHECK((status.st_mode & 0777) == 0640);
    CHECK((::fcntl(made.get(), F_GETFD) & FD_CLOEXEC) != 0);
    const Failure exists =
        co_await failure([&] { return io::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL); });
    CHECK(exists.error == EEXIST);
    put(made.get(), "content");
    const Fd again = co_await io::open(path.c_str(), O_WRONLY | O_TRUNC);
    checked(::fstat(made.get(), &status), "fstat");
    CHECK(status.st_size == 0);
    const Fd place = co_await io::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY);
    CHECK(place.get() >= 0);
    const Failure folder_write =
        co_await failure([&] { return io::open(folder.path().c_str(), O_WRONLY); });
    CHECK(folder_write.error == EISDIR);
    const Failure not_folder =
        co_await failure([&] { return io::open(path.c_str(), O_RDONLY | O_DIRECTORY); });
    CHECK(not_folder.error == ENOTDIR);
    const std::string long_path(PATH_MAX + 10, 'x');
    const Failure too_long =
        co_await failure([&] { return io::open(long_path.c_str(), O_RDONLY); });
    CHECK(too_long.error == ENAMETOOLONG);
}

WEFT_TEST_CASE("fsync and fdatasync reach files, and refuse what has no storage", "[operations]") {
    const Fd file = nameless_file("text");
    co_await io::fsync(file.get());
    co_await io::fdatasync(file.get());
    Pair pipe = pipe_pair();
    const Failure refused = co_await failure([&] { return io::fsync(pipe.a.get()); });
    CHECK(refused.error == EINVAL);
    CHECK(refused.names("fsync"));
    const Failure no_file = co_await failure([&] { return io::fdatasync(-1); });
    CHECK(no_file.error == EBADF);
}

WEFT_TEST_CASE("poll says what holds: in, out, both, hang-up, error", "[operations]") {
    Pair ends = unix_pair();
    short ready = co_await io::poll(ends.a.get(), POLLOUT);
    CHECK(ready == POLLOUT);
    put(ends.b.get(), "x");
    ready = co_await io::poll(ends.a.get(), POLLIN | POLLOUT);
    CHECK(ready == (POLLIN | POLLOUT));
    ready = co_await io::poll(ends.a.get(), POLLIN);
    CHECK(ready == POLLIN);
    ready = co_await io::poll(ends.a.get(), POLLRDNORM);
    CHECK(ready == POLLRDNORM);
    co_await io::close(std::move(ends.b));
    ready = co_await io::poll(ends.a.get(), POLLIN);
    CHECK((ready & (POLLIN | POLLHUP)) == (POLLIN | POLLHUP));
    Pair pipe = pipe_pair();
    co_await io::close(std::move(pipe.a));
    ready = co_await io::poll(pipe.b.get(), POLLOUT);
    CHECK((ready & POLLERR) != 0);
    const Fd file = nameless_file("text");
    ready = co_await io::poll(file.get(), POLLIN | POLLOUT);
    CHECK(ready == (POLLIN | POLLOUT));
}

WEFT_TEST_CASE("a waiting poll wakes for each kind of event that it asked for", "[operations]") {
    for (const short mask : {short{POLLIN}, short{POLLRDNORM}, short{POLLIN | POLLRDHUP}}) {
        CAPTURE(mask);
        Pair ends = unix_pair();
        auto task = create_task(
            [&]() -> weft::Coro<short> { co_return co_await io::poll(ends.a.get(), mask); });
        co_await turns(4);
        CHECK_FALSE(task.done());
        put(ends.b.get(), "x");
        const short ready = co_await std::move(task);
        CHECK((ready & mask) != 0);
    }
}

WEFT_TEST_CASE("a poll wakes when the peer shuts down its side, asked for or not", "[operations]") {
    // io_uring cannot be asked to leave POLLRDHUP out.
    for (const short mask : {short{POLLRDHUP}, short{0}, short{POLLOUT}}) {
        CAPTURE(mask);
        Pair ends = unix_pair();
        fill(ends.a.get());
        auto task = create_task(
            [&]() -> weft::Coro<short> { co_return co_await io::poll(ends.a.get(), mask); });
        co_await turns(4);
        CHECK_FALSE(task.done());
        checked(::shutdown(ends.b.get(), SHUT_WR), "shutdown");
        const short ready = co_await std::move(task);
        CHECK((ready & POLLRDHUP) != 0);
        CHECK((ready & POLLOUT) == 0);
    }
}

WEFT_TEST_CASE("several polls on one descriptor all wake", "[operations]") {
    Pair ends = tcp_pair();
    std::vector<weft::Task<short>> waiting;
    auto poll = [&](short mask) -> weft::Coro<short> {
        co_return co_await io::poll(ends.a.get(), mask);
    };
    for (int index = 0; index < 10; ++index) {
        const short mask = index % 2 ? POLLIN : POLLIN | POLLPRI;
        waiting.push_back(create_task(poll, mask));
    }
    co_await turns(3);
    put(ends.b.get(), "x");
    for (auto& task : waiting) {
        const short ready = co_await task;
        CHECK((ready & POLLIN) != 0);
    }
    CHECK(drain(ends.a.get()) == "x");
}

}  // namespace operations_test
