// SPDX-License-Identifier: MIT
// io::close against everything that still uses the descriptor, and the number's next life.
#include <algorithm>

#include <weft/net/io.hpp>
#include <weft/testing/catch.hpp>

#include "stage.hpp"

namespace close_test {

using namespace support;
using weft::create_task;
namespace io = weft::io;

WEFT_TEST_CASE("close ends every operation on the descriptor with ECANCELED", "[close]") {
    for (int between = 0; between < 4; ++between) {
        CAPTURE(between);
        Pair ends = unix_pair();
        fill(ends.a.get());
        std::vector<weft::Task<long>> waiting;
        const int fd = ends.a.get();
        auto receive = [fd]() -> weft::Coro<long> {
            char byte;
            co_return static_cast<long>(co_await io::recv(fd, weft::MutableBuffer(&byte, 1)));
        };
        auto send = [fd]() -> weft::Coro<long> {
            co_return static_cast<long>(co_await io::send(fd, "x"));
        };
        auto poll = [fd]() -> weft::Coro<long> { co_return co_await io::poll(fd, POLLIN); };
        for (int index = 0; index < 3; ++index) {
            waiting.push_back(create_task(receive));
            waiting.push_back(create_task(send));
            waiting.push_back(create_task(poll));
        }
        co_await turns(1 + between);
        const std::string before = drain(ends.b.get());  // a send may already get through
        co_await io::close(std::move(ends.a));
        int closed = 0;
        int sent = 0;
        for (auto& task : waiting) {
            const End end = co_await ending(task);
            if (end == End::closed) ++closed;
            if (end == End::value) ++sent;
        }
        CHECK(closed + sent == 9);
        CHECK(closed >= 6);
        const std::string rest = co_await read_exactly(ends.b.get(), 100);
        const auto arrived = std::count(before.begin(), before.end(), 'x') +
                             std::count(rest.begin(), rest.end(), 'x');
        CHECK(arrived == sent);
    }
}

WEFT_TEST_CASE("a reader in the same turn as the close gets ECANCELED and the peer sees the end",
               "[close]") {
    for (const int flags : {0, O_NONBLOCK}) {
        for (int between = 0; between < 4; ++between) {
            CAPTURE(flags, between);
            Pair ends = pipe_pair(flags);
            const int fd = ends.a.get();
            auto reader = create_task(read_some(fd, 8));
            co_await turns(between);
            auto closer = create_task([fd]() -> weft::Coro<void> { co_await io::close(fd); });
            (void)ends.a.release();
            const End end = co_await ending(reader);
            CHECK(end == End::closed);
            co_await closer;
            const Failure broken = co_await failure([&] { return io::write(ends.b.get(), "x"); });
            CHECK(broken.error == EPIPE);
        }
    }
}

WEFT_TEST_CASE("a closed descriptor's reader never sees the next file of that number", "[close]") {
    // A read on O_NONBLOCK: the kernel may answer EAGAIN, which the backend turns into waiting.
    enum Way { plain, nonblocking, message };
    for (const Way way : {plain, nonblocking, message}) {
        for (int before = 1; before < 5; ++before) {
            for (int after = 0; after < 4; ++after) {
                CAPTURE(way, before, after);
                Pair old = way == message ? unix_pair() : pipe_pair(way ? O_NONBLOCK : 0);
                Pair fresh = unix_pair();
                put(fresh.b.get(), "for somebody else");
                const int fd = old.a.release();
                auto reader = create_task(way == message ? recv_some(fd, 64) : read_some(fd, 64));
                co_await turns(before);
                co_await io::close(fd);
                // The same number at once, with data in it.
                const int again = ::fcntl(fresh.a.get(), F_DUPFD_CLOEXEC, fd);
                const Fd reused(again);
                CHECK(again == fd);
                co_await turns(after);
                const End end = co_await ending(reader);
                CHECK(end == End::closed);
                if (end == End::value) continue;
                const std::string intact = co_await read_some(again, 64);
                CHECK(intact == "for somebody else");
            }
        }
    }
}

WEFT_TEST_CASE("data that arrives in the turn of a close is not read from the next file",
               "[close]") {
    for (const int flags : {0, O_NONBLOCK}) {
        for (int order = 0; order < 2; ++order) {
            CAPTURE(flags, order);
            Pair old = pipe_pair(flags);
            Pair fresh = unix_pair();
            put(fresh.b.get(), "for somebody else");
            const int fd = old.a.release();
            auto reader = create_task(read_some(fd, 64));
            co_await turns(3);
            if (order == 0) put(old.b.get(), "late");
            auto closer = create_task([fd]() -> weft::Coro<void> { co_await io::close(fd); });
            co_await weft::yield();
            if (order == 1) (void)::write(old.b.get(), "late", 4);
            co_await closer;
            const int again = ::fcntl(fresh.a.get(), F_DUPFD_CLOEXEC, fd);
            const Fd reused(again);
            const End end = co_await ending(reader);
            if (end == End::value) {
                CHECK(reader.result() == "late");
            } else {
                CHECK(end == End::closed);
            }
            const std::string intact = co_await read_some(again, 64);
            CHECK(intact == "for somebody else");
        }
    }
}

WEFT_TEST_CASE("a writer whose descriptor is closed never writes into the next file of that number",
               "[close]") {
    for (int before = 0; before < 4; ++before) {
        CAPTURE(before);
        Pair old = pipe_pair(before % 2 ? O_NONBLOCK : 0);
        fill(old.b.get());
        Pair fresh = unix_pair();
        const int fd = old.b.release();
        auto writer = create_task(write_all(fd, "wrong place"));
        co_await turns(1 + before);
        co_await io::close(fd);
        const Fd reused(::fcntl(fresh.a.get(), F_DUPFD_CLOEXEC, fd));
        CHECK(reused.get() == fd);
        const End end = co_await ending(writer);
        CHECK(end == End::closed);
        co_await turns(3);
        CHECK(drain(fresh.b.get()) == "");
    }
}

WEFT_TEST_CASE("a file operation of a closed descriptor does not reach the next file", "[close]") {
    for (int before = 0; before < 3; ++before) {
        for (int round = 0; round < 100; ++round) {
            Fd first = nameless_file("old");
            const Fd second = nameless_file("second");
            const int fd = first.get();
            const Fd watch(::fcntl(fd, F_DUPFD_CLOEXEC, 100));
            auto write = [fd]() -> weft::Coro<void> {
                std::size_t put = co_await io::write_at(fd, "NEW", 0);
                if (put != 3) throw std::system_error(EIO, std::system_category());
            };
            std::vector<weft::Task<void>> writers;
            for (int index = 0; index < 4; ++index) writers.push_back(create_task(write));
            co_await turns(before);
            auto closer = create_task([fd]() -> weft::Coro<void> { co_await io::close(fd); });
            (void)first.release();
            co_await closer;
            const Fd reused(::fcntl(second.get(), F_DUPFD_CLOEXEC, fd));
            CHECK(reused.get() == fd);
            int wrote = 0;
            for (auto& writer : writers) {
                const End end = co_await ending(writer);
                if (end == End::value) ++wrote;
                CHECK((end == End::value || end == End::closed ||
                       (before == 0 && end == End::failed)));
            }
            char text[16];
            const ssize_t size = ::pread(second.get(), text, sizeof text, 0);
            REQUIRE(std::string(text, static_cast<std::size_t>(size)) == "second");
            const ssize_t old = ::pread(watch.get(), text, sizeof text, 0);
            REQUIRE(std::string(text, static_cast<std::size_t>(old)) == (wrote ? "NEW" : "old"));
        }
    }
}

WEFT_TEST_CASE("a close is done although its task was cancelled, before or in the middle of it",
               "[close]") {
    for (int when = 0; when < 5; ++when) {
        CAPTURE(when);
        Pair ends = unix_pair();
        const int fd = ends.a.release();
        bool closed = false;
        bool struck = false;
        auto body = [&]() -> weft::Coro<void> {
            if (when == 0) weft::current_task().cancel();
            co_await io::close(fd);
            closed = true;
            try {
                co_await weft::yield();
            } catch (const weft::CancelledError&) {
                struck = true;
            }
        };
        auto task = create_task(body);
        co_await turns(when);
        if (when > 0) task.cancel();
        if (when > 0) task.cancel();
        co_await task.wait();
        CHECK(closed);
        if (when < 2) CHECK(struck);
        CHECK(::fcntl(fd, F_GETFD) == -1);
        const std::string end = co_await read_some(ends.b.get(), 1);
        CHECK(end == "");
    }
}

WEFT_TEST_CASE("closing twice is EBADF the second time, also in one turn", "[close]") {
    Pair ends = unix_pair();
    const int fd = ends.a.release();
    auto close = [fd]() -> weft::Coro<int> {
        const Failure failed = co_await failure([=] { return io::close(fd); });
        co_return failed.error;
    };
    auto first = create_task(close);
    auto second = create_task(close);
    const int a = co_await first;
    const int b = co_await second;
    CHECK(a == 0);
    CHECK(b == EBADF);
}

WEFT_TEST_CASE("an operation begun after the close in one turn fails", "[close]") {
    Pair ends = pipe_pair(O_NONBLOCK);
    const int fd = ends.a.release();
    auto closer = create_task([fd]() -> weft::Coro<void> { co_await io::close(fd); });
    auto reader = create_task(read_some(fd, 4));
    co_await closer;
    // EBADF, or ECANCELED where the close is still on its way.
    const End end = co_await ending(reader);
    CHECK((end == End::failed || end == End::closed));
    const Failure failed = co_await failure([&] { return io::poll(fd, POLLIN); });
    CHECK(failed.error == EBADF);
}

WEFT_TEST_CASE("close leaves operations on a duplicate of the descriptor alone", "[close]") {
    Pair ends = unix_pair();
    Fd duplicate(::fcntl(ends.a.get(), F_DUPFD_CLOEXEC, 3));
    auto other = create_task(recv_some(duplicate.get(), 8));
    auto reader = create_task(recv_some(ends.a.get(), 8));
    co_await turns(3);
    co_await io::close(std::move(ends.a));
    const End ended = co_await ending(reader);
    CHECK(ended == End::closed);
    co_await turns(3);
    CHECK_FALSE(other.done());
    put(ends.b.get(), "x");
    const std::string got = co_await std::move(other);
    CHECK(got == "x");
}

WEFT_TEST_CASE("a number that comes back a thousand times wakes its new reader each time",
               "[close]") {
    int number = -1;
    for (int round = 0; round < 1000; ++round) {
        Pair ends = round % 2 ? unix_pair() : pipe_pair(round % 3 ? O_NONBLOCK : 0);
        if (number < 0) number = ends.a.get();
        REQUIRE(ends.a.get() == number);
        auto reader = create_task(read_some(ends.a.get(), 8));
        co_await turns(2);
        put(ends.b.get(), "x");
        const std::string got = co_await std::move(reader);
        REQUIRE(got == "x");
        if (round % 2 == 0) {
            co_await io::close(std::move(ends.a));
        }
    }
}

}  // namespace close_test
