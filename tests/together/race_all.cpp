// SPDX-License-Identifier: MIT
// race_all: everything that succeeded comes back, on both backends.
#include <weft/base/fd.hpp>
#include <weft/net/io.hpp>
#include <weft/queue/queue.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/race_all.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <random>
#include <stdexcept>
#include <string>

#include "children.hpp"

namespace race_all_test {

using namespace children;
using weft::Fd;
using weft::MutableBuffer;

namespace {

struct Pair {
    Pair() {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
            throw std::runtime_error("socketpair");
        ours = Fd(ends[0]);
        theirs = Fd(ends[1]);
    }
    void send(char byte) const { REQUIRE(::write(theirs.get(), &byte, 1) == 1); }
    Fd ours;
    Fd theirs;
};

}  // namespace

WEFT_TEST_CASE("race_all gives the winner's value, and cancelled for who was cancelled", "[race]") {
    std::string log;
    auto ends = co_await weft::race_all(gives(1, 1s), cleans_up(log, 'a'), fails("x"), sleeps());
    REQUIRE(*std::get<0>(ends) == 1);
    REQUIRE(std::get<1>(ends).cancelled());
    REQUIRE(text_of(std::get<2>(ends).exception()) == "x");
    REQUIRE(std::get<3>(ends).cancelled());
    REQUIRE(log == "a");
}

WEFT_TEST_CASE("when all fail race_all returns the errors", "[race]") {
    auto ends = co_await weft::race_all(fails("x"), fails("y", 1s));
    REQUIRE(text_of(std::get<0>(ends).exception()) == "x");
    REQUIRE(text_of(std::get<1>(ends).exception()) == "y");
}

WEFT_TEST_CASE("race_all returns the bytes of every recv that took some", "[race]") {
    Pair a;
    Pair b;
    char first = 0;
    char second = 0;
    a.send('a');
    b.send('b');
    auto ends = co_await weft::race_all(weft::io::recv(a.ours.get(), MutableBuffer(&first, 1)),
                                        weft::io::recv(b.ours.get(), MutableBuffer(&second, 1)));
    int taken = 0;
    if (std::get<0>(ends)) REQUIRE(*std::get<0>(ends) == std::size_t(++taken > 0));
    if (std::get<1>(ends)) REQUIRE(*std::get<1>(ends) == std::size_t(++taken > 0));
    int left = 0;
    char byte = 0;
    if (::read(a.ours.get(), &byte, 1) == 1) ++left;
    if (::read(b.ours.get(), &byte, 1) == 1) ++left;
    REQUIRE(taken >= 1);
    REQUIRE(taken + left == 2);
}

WEFT_TEST_CASE("in random uses of race_all no byte and no item is lost", "[race]") {
    std::mt19937 random(41);
    Pair pairs[2];
    weft::Queue<int> queue;
    int sent[2] = {0, 0};
    int got[2] = {0, 0};
    int put = 0;
    int taken = 0;
    for (int round = 0; round < 1'000; ++round) {
        const auto feed = [&] {
            for (int i = 0; i < 2; ++i) {
                if (random() % 2) continue;
                pairs[i].send(static_cast<char>(sent[i]++ % 100));
            }
            if (random() % 2) queue.put_nowait(put++);
        };
        if (random() % 2) {
            feed();
        } else {
            weft::get_running_loop().call_soon(feed);
        }
        auto get = [&]() -> Coro<int> {
            const int item = co_await queue.get();
            co_return item;
        };
        char bytes[2] = {};
        auto ends = co_await weft::race_all(
            weft::io::recv(pairs[0].ours.get(), MutableBuffer(&bytes[0], 1)), get(),
            weft::io::recv(pairs[1].ours.get(), MutableBuffer(&bytes[1], 1)), weft::sleep(1ms));
        if (std::get<0>(ends)) REQUIRE(bytes[0] == static_cast<char>(got[0]++ % 100));
        if (std::get<2>(ends)) REQUIRE(bytes[1] == static_cast<char>(got[1]++ % 100));
        if (std::get<1>(ends)) REQUIRE(*std::get<1>(ends) == taken++);
    }
    for (int i = 0; i < 2; ++i) {
        char byte = 0;
        while (::read(pairs[i].ours.get(), &byte, 1) == 1)
            REQUIRE(byte == static_cast<char>(got[i]++ % 100));
        REQUIRE(got[i] == sent[i]);
    }
    REQUIRE(static_cast<std::size_t>(put - taken) == queue.size());
    REQUIRE(taken > 100);
}

WEFT_TEST_CASE("cancelling race_all cancels the children and waits for them", "[race]") {
    std::string log;
    auto body = [&]() -> Coro<void> {
        auto ends = co_await weft::race_all(cleans_up(log, 'a', 1s), cleans_up(log, 'b', 2s));
        (void)ends;
    };
    auto task = weft::create_task(body);
    co_await turns(3);
    task.cancel();
    const auto end = co_await end_of(task);
    REQUIRE(end == "c");
    REQUIRE(log == "ab");
}

WEFT_TEST_CASE("race_all that succeeds in spite of its cancel returns, then the cancel strikes",
               "[race]") {
    bool hit = false;
    auto body = [&]() -> Coro<int> {
        auto ends = co_await weft::race_all(swallows(5), gives(1, 1h));
        hit = co_await struck();
        co_return *std::get<0>(ends);
    };
    auto task = weft::create_task(body);
    co_await turns(3);
    task.cancel();
    const int value = co_await task;
    REQUIRE(value == 5);
    REQUIRE(hit);
}

}  // namespace race_all_test
