// SPDX-License-Identifier: MIT
// Socket operations raced with deadlines: no byte and no connection is lost, nothing leaks.
#include <weft/deadline/move_on_after.hpp>
#include <weft/deadline/timeout.hpp>
#include <weft/deadline/wait_for.hpp>
#include <weft/net/io.hpp>
#include <weft/net/stream.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "descriptors.hpp"
#include "stream_pairs.hpp"

namespace deadlines_test {

using namespace std::chrono_literals;
using namespace support;
using weft::Coro;
namespace io = weft::io;

namespace {

constexpr int rounds = 500;

/// The same numbers in every run.
class Dice {
public:
    int below(int limit) {
        state_ = state_ * 6364136223846793005U + 1442695040888963407U;
        return static_cast<int>((state_ >> 33) % static_cast<unsigned>(limit));
    }

private:
    std::uint64_t state_ = 42;
};

/// Does something in the timers' own pass, so that it meets a deadline there, in either order.
template <class Fn>
struct At : weft::detail::Timer {
    At(weft::Duration delay, Fn what) : Timer(&due), fn(std::move(what)) {
        weft::EventLoop& loop = weft::get_running_loop();
        loop.arm(*this, loop.read_clock() + delay.count());
    }
    ~At() {
        if (armed()) weft::get_running_loop().disarm(*this);
    }
    static void due(Timer& timer) noexcept { static_cast<At&>(timer).fn(); }
    Fn fn;
};

struct Tally {
    int completed = 0;
    int timed_out = 0;
    bool both() const { return completed > rounds / 10 && timed_out > rounds / 10; }
};

/// `read(fd, limit)` returns bytes, or nothing when the limit ended it. Bytes are sent around the
/// moment of the deadline; what the readers returned, one after the other, is what was sent.
template <class Read>
Coro<void> bytes_against_deadlines(Pair& ends, Read read) {
    Dice dice;
    Tally tally;
    std::string sent;
    std::string got;
    for (int round = 0; round < rounds; ++round) {
        const weft::Duration limit = 10ns + std::chrono::nanoseconds(dice.below(2));
        const auto send = [&] {
            const char letter = static_cast<char>('a' + round % 26);
            sent += letter;
            put(ends.b.get(), std::string(1, letter));
        };
        auto task = weft::create_task(read, ends.a.get(), limit);
        std::optional<At<decltype(send)>> by_timer;
        switch (dice.below(5)) {
            case 0:  // in the pass of the deadline or just before, and the socket has it first
                by_timer.emplace(10ns, send);
                co_await weft::yield();
                break;
            case 1:  // in the pass of the deadline, after it
                co_await weft::yield();
                by_timer.emplace(limit, send);
                break;
            case 2:  // in the turn of the deadline, by a task
                co_await weft::sleep(limit);
                send();
                break;
            case 3:  // while the reader begins
                co_await turns(dice.below(2));
                send();
                break;
            case 4:  // too late: without deferred completions whatever is sent before wins the race
                co_await task.wait();
                send();
                break;
        }
        co_await task.wait();
        const std::optional<std::string> text = std::move(task).result();
        text ? ++tally.completed : ++tally.timed_out;
        if (text) got += *text;
        if (by_timer && by_timer->armed()) co_await weft::sleep(1us);
        while (got.size() < sent.size()) {  // the next round begins with an empty socket
            const std::string left = co_await recv_some(ends.a.get(), 16);
            got += left;
        }
    }
    CAPTURE(tally.completed, tally.timed_out);
    CHECK(got == sent);
    CHECK(drain(ends.a.get()) == "");
    CHECK(tally.both());
    CHECK(weft::get_running_loop().armed_timers() == 0);
}

Coro<std::optional<std::string>> recv_or_move_on(int fd, weft::Duration limit) {
    std::string text(16, '\0');
    const auto got = co_await weft::move_on_after(limit, io::recv(fd, text));
    if (!got) co_return std::nullopt;
    text.resize(*got);
    co_return text;
}

Coro<std::optional<std::string>> recv_by_wait_for(int fd, weft::Duration limit) {
    std::optional<std::string> text;
    try {
        text = co_await weft::wait_for(recv_some(fd, 16), limit);
    } catch (const weft::TimeoutError&) {
    }
    co_return text;
}

Coro<std::optional<std::string>> recv_in_task(int fd, weft::Duration limit) {
    co_return co_await weft::move_on_after(limit, weft::create_task(recv_some(fd, 16)));
}

Coro<std::optional<std::string>> recv_under_nested_deadlines(int fd, weft::Duration limit) {
    std::optional<std::string> text;
    auto inner = [&]() -> Coro<void> {
        auto body = [&]() -> Coro<void> { text = co_await recv_or_move_on(fd, limit); };
        co_await weft::timeout(10ns, body);
    };
    try {
        co_await weft::timeout(11ns, inner);
    } catch (const weft::TimeoutError&) {
    }
    co_return text;
}

}  // namespace

WEFT_TEST_CASE("receives raced with deadlines lose no byte", "[deadlines]") {
    Pair ends = unix_pair();
    co_await bytes_against_deadlines(ends, recv_or_move_on);
}

WEFT_TEST_CASE("receives over TCP raced with deadlines lose no byte", "[deadlines]") {
    Pair ends = tcp_pair();
    co_await bytes_against_deadlines(ends, recv_or_move_on);
}

WEFT_TEST_CASE("coroutines that receive, raced with deadlines, lose no byte", "[deadlines]") {
    Pair ends = unix_pair();
    co_await bytes_against_deadlines(ends, recv_by_wait_for);
}

WEFT_TEST_CASE("tasks that receive, raced with deadlines, lose no byte", "[deadlines]") {
    Pair ends = unix_pair();
    co_await bytes_against_deadlines(ends, recv_in_task);
}

WEFT_TEST_CASE("receives under nested deadlines lose no byte", "[deadlines]") {
    Pair ends = unix_pair();
    co_await bytes_against_deadlines(ends, recv_under_nested_deadlines);
}

WEFT_TEST_CASE("accepts raced with deadlines lose no connection and leak none", "[deadlines]") {
    Listener listener = tcp_listener();
    Dice dice;
    Tally tally;
    std::vector<Fd> clients;
    int accepted = 0;
    auto accept = [&](weft::Duration limit) -> Coro<bool> {
        auto connection = co_await weft::move_on_after(limit, io::accept(listener.fd.get()));
        co_return connection.has_value();
    };
    for (int round = 0; round < rounds; ++round) {
        const weft::Duration limit = 10ns;
        auto task = weft::create_task(accept, limit);
        const auto connect = [&] { clients.push_back(connected_to(listener.address)); };
        std::optional<At<decltype(connect)>> by_timer;
        if (dice.below(2) == 0) {
            by_timer.emplace(limit, connect);  // before the deadline, in the same pass
            co_await weft::yield();
        } else {
            co_await weft::sleep(limit);
            if (dice.below(2) == 0) connect();
        }
        const bool got = co_await task;
        got ? ++tally.completed : ++tally.timed_out;
        accepted += got ? 1 : 0;
        if (by_timer && by_timer->armed()) co_await weft::sleep(1us);
    }
    while (accepted < static_cast<int>(clients.size())) {
        const io::Accepted connection = co_await io::accept(listener.fd.get());
        ++accepted;
    }
    CHECK(accepted == static_cast<int>(clients.size()));
    CHECK(tally.both());
}

WEFT_TEST_CASE("a line that a deadline cut is still whole for the next reader", "[deadlines]") {
    StreamPair streams = stream_pair();
    co_await streams.far.write("hello, ");
    bool timed_out = false;
    try {
        (void)co_await weft::wait_for(streams.near.read_line(), 1s);
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    co_await streams.far.write("world\n");
    const std::string line = co_await streams.near.read_line();
    REQUIRE(timed_out);
    REQUIRE(line == "hello, world\n");
}

}  // namespace deadlines_test
