// SPDX-License-Identifier: MIT
// A loop as a guest: another one sleeps on its descriptor and its deadline, and lets it take turns.
// labels: threads
// rungs: all
#include <weft/weft.hpp>

#include <poll.h>

#include <optional>
#include <string>
#include <thread>

#include <weft/testing/catch.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"
#include "probe.hpp"

namespace guest_test {

using namespace std::chrono_literals;
using namespace support;
using weft::Coro;
using weft::EventLoop;
using weft::Task;
namespace io = weft::io;

namespace {

bool is_readable(int fd, int timeout_ms) {
    pollfd entry{fd, POLLIN, 0};
    int count = 0;
    do {
        count = ::poll(&entry, 1, timeout_ms);
    } while (count < 0 && errno == EINTR);
    return count > 0;
}

/// The loop that sleeps: poll(2) and nothing else. Gives up on a guest that does not tell.
struct Host {
    explicit Host(EventLoop& of) : guest(of), fd(of.fd()) {}

    /// How long it may sleep; -1: for ever.
    int timeout_ms() {
        const weft::TimePoint deadline = guest.next_deadline();
        if (deadline == weft::TimePoint::max()) return -1;
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - guest.time());
        return left.count() < 0 ? 0 : static_cast<int>(left.count());
    }
    /// False: it slept for 10 seconds, or came back 500 times, and the task is not done.
    template <class T>
    bool run(const Task<T>& task) {
        for (turns = 0; turns < 500 && !task.done(); ++turns) {
            const int timeout = timeout_ms();
            if (!is_readable(fd, timeout < 0 ? 10'000 : timeout) && timeout < 0) return false;
            guest.run_once();
        }
        return task.done();
    }
    /// Until it may sleep for as long as it likes.
    bool settle() {
        for (turns = 0; turns < 100; ++turns) {
            if (timeout_ms() != 0 && !is_readable(fd, 0)) return true;
            guest.run_once();
        }
        return false;
    }

    EventLoop& guest;
    const int fd;
    int turns = 0;
};

Coro<std::string> reads(int fd) { co_return co_await recv_some(fd, 64); }

Coro<int> talks_to_itself(int a, int b) {
    int rounds = 0;
    for (; rounds < 20; ++rounds) {
        auto other = weft::create_task(reads(b));
        co_await weft::yield();
        co_await io::send(a, "hello");
        const std::string got = co_await other;
        if (got != "hello") break;
    }
    co_return rounds;
}

Coro<int> uses_files() {
    const weft::Fd file = co_await io::open("/tmp", O_TMPFILE | O_RDWR);
    co_await io::write_at(file.get(), "text", 0);
    co_await io::fsync(file.get());
    char text[8];
    co_return static_cast<int>(co_await io::read_at(file.get(), text, 0));
}

Coro<int> cancels(int fd) {
    int cancelled = 0;
    for (int round = 0; round < 5; ++round) {
        auto reader = weft::create_task(reads(fd));
        co_await weft::yield();
        co_await weft::sleep(1ms);
        reader.cancel();
        co_await reader.wait();
        cancelled += reader.cancelled() ? 1 : 0;
    }
    const std::optional<std::string> got = co_await weft::move_on_after(2ms, reads(fd));
    co_return cancelled + (got ? 100 : 0);
}

Coro<int> asks_a_thread() {
    co_return co_await weft::to_thread([] { return 42; });
}

}  // namespace

TEST_CASE("a guest does all its work while its host sleeps for it", "[guest]") {
    EventLoop loop;
    Host host(loop);
    const Pair ends = unix_pair();
    const auto result = [&](Coro<int> body) {
        Task<int> task = loop.create_task(std::move(body));
        const bool done = host.run(task);
        CHECK(done);
        return done ? task.result() : -1;
    };
    CHECK(result(talks_to_itself(ends.a.get(), ends.b.get())) == 20);
    CHECK(result(uses_files()) == 4);
    CHECK(result(cancels(ends.a.get())) == 5);
    CHECK(result(asks_a_thread()) == 42);
    CHECK(host.settle());
}

TEST_CASE("a guest's descriptor is readable only while there is something to do", "[guest]") {
    EventLoop loop;
    Host host(loop);
    const Pair ends = unix_pair();
    Task<std::string> task = loop.create_task(reads(ends.a.get()));
    for (int round = 0; round < 3; ++round) {
        CHECK(host.settle());
        CHECK(loop.next_deadline() == weft::TimePoint::max());
        CHECK_FALSE(is_readable(host.fd, 0));
        // A post wakes it, and when that has run, it sleeps again.
        int runs = 0;
        loop.call_soon_threadsafe([&] { ++runs; });
        CHECK(is_readable(host.fd, 5'000));
        CHECK(host.settle());
        CHECK(runs == 1);
        CHECK(host.turns < 5);
    }
    put(ends.b.get(), "x");
    CHECK(is_readable(host.fd, 5'000));
    CHECK(host.run(task));
    CHECK(host.turns < 5);
    CHECK(task.result() == "x");
}

TEST_CASE("a guest's deadline is its first timer's, and now when something is ready", "[guest]") {
    EventLoop loop;
    Host host(loop);
    const auto is_now = [&] {
        const weft::TimePoint deadline = loop.next_deadline();
        return deadline <= loop.time();
    };
    CHECK(host.settle());
    CHECK(loop.next_deadline() == weft::TimePoint::max());
    auto far = loop.call_later(1h, [] {});
    CHECK(loop.next_deadline() == far.when());
    auto near = loop.call_later(30min, [] {});
    CHECK(loop.next_deadline() == near.when());
    near.cancel();
    CHECK(loop.next_deadline() == far.when());
    auto soon = loop.call_soon([] {});
    CHECK(is_now());
    loop.run_once();
    CHECK(loop.next_deadline() == far.when());
    bool due = false;
    auto passed = loop.call_later(0ms, [&] { due = true; });
    CHECK(is_now());
    loop.run_once();
    loop.run_once();
    CHECK(due);
}

TEST_CASE("what was begun from outside of a turn is with the kernel when the host sleeps",
          "[guest]") {
    EventLoop loop;
    Host host(loop);
    const Pair ends = unix_pair();
    Task<std::string> task = loop.create_task(reads(ends.a.get()));
    CHECK(host.settle());
    task.cancel();  // by a callback of the host's
    CHECK(host.run(task));
    CHECK(task.cancelled());
    CHECK(host.turns < 5);
}

TEST_CASE("posts of other threads wake a host that sleeps", "[guest]") {
    EventLoop loop;
    Host host(loop);
    weft::Future<int> answer = loop.create_future<int>();
    const auto waits = [&]() -> Coro<int> { co_return co_await answer; };
    int rounds = 0;
    std::thread other([&loop, &rounds, &answer, remote = loop.remote()]() mutable {
        for (int round = 0; round < 200; ++round) remote.call_soon_threadsafe([&] { ++rounds; });
        remote.call_soon_threadsafe([&] { answer.set_result(rounds); });
        (void)loop;
    });
    Task<int> task = loop.create_task(waits);
    CHECK(host.run(task));
    other.join();
    CHECK(task.result() == 200);
}

TEST_CASE("what other threads write to an eventfd wakes a host that sleeps, each time", "[guest]") {
    EventLoop loop;
    Host host(loop);
    const weft::Fd event(checked(::eventfd(0, EFD_CLOEXEC), "eventfd"));
    const auto counts = [&]() -> Coro<std::uint64_t> {
        std::uint64_t sum = 0;
        while (sum < 20) {
            std::uint64_t count = 0;
            co_await io::read(event.get(), weft::MutableBuffer(&count, sizeof count));
            sum += count;
            // The other thread writes again only when this was seen.
            loop.call_soon_threadsafe([] {});
        }
        co_return sum;
    };
    Task<std::uint64_t> task = loop.create_task(counts);
    std::thread other([&] {
        const std::uint64_t one = 1;
        for (int round = 0; round < 20; ++round) {
            checked(static_cast<int>(::write(event.get(), &one, sizeof one)), "write");
            std::this_thread::yield();
        }
    });
    CHECK(host.run(task));
    other.join();
    CHECK(task.result() == 20);
}

TEST_CASE("a guest's descriptor is asked for while nothing is under way", "[guest]") {
    EventLoop loop;
    const Pair ends = unix_pair();
    Task<std::string> task = loop.create_task(reads(ends.a.get()));
    loop.run_once();
    loop.run_once();
    if (loop.backend_info().name == "epoll") {
        CHECK(loop.fd() >= 0);
    } else {
        CHECK(probe::message_of<weft::RuntimeError>([&] { (void)loop.fd(); }) ==
              "fd: the event loop has operations under way");
    }
    put(ends.b.get(), "x");
    CHECK(loop.run_until_complete(std::move(task)) == "x");
    const std::string reason = loop.backend_info().reason;
    Host host(loop);
    CHECK(loop.backend_info().reason == reason);
    Task<int> after = loop.create_task(uses_files());
    CHECK(host.run(after));
}

TEST_CASE("a guest goes on being told when a library closes numbers behind its back", "[guest]") {
    EventLoop loop;
    Host host(loop);
    const Pair old = unix_pair();
    const int number = ::fcntl(old.a.get(), F_DUPFD_CLOEXEC, 300);
    const auto readable = [](int fd) -> Coro<void> { co_await weft::wait_readable(fd); };
    Task<void> first = loop.create_task(readable(number));
    CHECK(host.settle());
    ::close(number);  // the file lives on under its other number
    put(old.b.get(), "x");
    CHECK(host.run(first));
    const Pair fresh = unix_pair();
    Task<void> second = loop.create_task(readable(fresh.a.get()));
    CHECK(host.settle());
    put(fresh.b.get(), "x");
    CHECK(host.run(second));
    CHECK(loop.fd() == host.fd);
}

TEST_CASE("a guest may be run as a loop of its own, before and after", "[guest]") {
    EventLoop loop;
    CHECK(loop.run_until_complete(asks_a_thread()) == 42);
    Host host(loop);
    Task<int> task = loop.create_task(asks_a_thread());
    CHECK(host.run(task));
    CHECK(host.settle());
    CHECK(loop.run_until_complete(uses_files()) == 4);
    CHECK(loop.run_until_complete(asks_a_thread()) == 42);
    CHECK(host.settle());
}

TEST_CASE("a guest is asked for its deadline from outside, and while it is open", "[guest]") {
    EventLoop loop;
    const auto asks = [&]() -> Coro<std::string> {
        co_return probe::message_of<weft::RuntimeError>([&] { (void)loop.next_deadline(); });
    };
    CHECK(loop.run_until_complete(asks()) == "next_deadline: the event loop is running");
    loop.close();
    CHECK(probe::message_of<weft::RuntimeError>([&] { (void)loop.fd(); }) ==
          "fd: the event loop is closed");
    CHECK(probe::message_of<weft::RuntimeError>([&] { (void)loop.next_deadline(); }) ==
          "next_deadline: the event loop is closed");
}

}  // namespace guest_test
