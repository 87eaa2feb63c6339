// SPDX-License-Identifier: MIT
// race: the first success, losers that are cancelled and awaited, and no exception on the way.
// program: throws
#include <weft/base/fd.hpp>
#include <weft/net/io.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/race.hpp>

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "children.hpp"
#include "probe.hpp"
#include "thrown.hpp"

namespace race_test {

using namespace children;
using weft::Fd;

namespace {

struct Pipe {
    Pipe() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
        out = Fd(ends[0]);
        in = Fd(ends[1]);
    }
    Fd out;
    Fd in;
};

}  // namespace

WEFT_TEST_CASE("the first success of a race wins, and the winner tells its place", "[race]") {
    const auto began = weft::get_running_loop().time();
    auto winner = co_await weft::race(gives(1, 3s), gives(2, 1s), gives(3, 2s));
    REQUIRE(*winner == 2);
    REQUIRE(winner.index() == 1);
    REQUIRE(weft::get_running_loop().time() - began == 1s);
}

WEFT_TEST_CASE("a race of different results gives a variant, one alternative a child", "[race]") {
    auto text = []() -> Coro<std::string> { co_return "text"; };
    auto first = co_await weft::race(gives(1, 1s), text, sleeps());
    static_assert(std::is_same_v<decltype(first), std::variant<int, std::string, weft::Void>>);
    REQUIRE(first.index() == 1);
    REQUIRE(std::get<1>(first) == "text");
}

WEFT_TEST_CASE("a race of a range gives the winner and its place", "[race]") {
    std::vector<Coro<std::unique_ptr<int>>> list;
    auto makes = [](int value, weft::Duration after) -> Coro<std::unique_ptr<int>> {
        co_await weft::sleep(after);
        co_return std::make_unique<int>(value);
    };
    for (int i = 0; i < 10; ++i) list.push_back(makes(i, (10 - i) * 1s));
    auto winner = co_await weft::race(std::move(list));
    REQUIRE(**winner == 9);
    REQUIRE(winner.index() == 9);
    const auto end = co_await end_of(weft::race(std::vector<Coro<int>>()));
    REQUIRE(end == "weft: a race of nobody");
}

WEFT_TEST_CASE("losers are cancelled and awaited before a race returns", "[race]") {
    std::string log;
    const auto began = weft::get_running_loop().time();
    auto winner =
        co_await weft::race(cleans_up(log, 'a', 2s), gives(7, 1s), cleans_up(log, 'b', 1s));
    REQUIRE(*winner == 7);
    REQUIRE(log == "ba");
    REQUIRE(weft::get_running_loop().time() - began == 3s);
    REQUIRE(weft::all_tasks().size() == 1);
}

WEFT_TEST_CASE("an error does not end a race that another child can win", "[race]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    auto winner = co_await weft::race(fails("x"), gives(1, 1s), fails("y", 1s));
    REQUIRE(*winner == 1);
    REQUIRE(reports->empty());
}

WEFT_TEST_CASE("when all children of a race fail the errors come as one group, in order",
               "[race]") {
    auto cancelled = weft::create_task(gives(1, 1h));
    weft::get_running_loop().call_soon([&] { cancelled.cancel(); });
    const auto end = co_await end_of(weft::race(fails("a", 2s), fails("b", 1s), cancelled));
    REQUIRE(end == "{a,b,c}");
}

WEFT_TEST_CASE("a future that is done already wins, and nothing else starts", "[race]") {
    auto done = weft::create_task(gives(3));
    co_await done;
    bool began = false;
    auto child = [&]() -> Coro<int> {
        began = true;
        co_return 1;
    };
    auto winner = co_await weft::race(child, done, child);
    REQUIRE(*winner == 3);
    REQUIRE_FALSE(began);
}

// --- a loser that won the same instant ---

WEFT_TEST_CASE("the result of a loser that won the same instant is destroyed, a descriptor closed",
               "[race]") {
    int alive = 0;
    int fd = -1;
    auto opens = [&](probe::Alive) -> Coro<std::pair<Fd, probe::Alive>> {
        Fd opened(::dup(STDERR_FILENO));
        fd = opened.get();
        co_return std::pair(std::move(opened), probe::Alive(alive));
    };
    {
        auto winner = co_await weft::race(opens(probe::Alive(alive)), opens(probe::Alive(alive)));
        REQUIRE(winner.index() == 0);
        REQUIRE(winner->first.get() != fd);
        REQUIRE(::fcntl(fd, F_GETFD) == -1);
        REQUIRE(alive == 1);
    }
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("a loser that answers its cancel with a value loses all the same", "[race]") {
    auto winner = co_await weft::race(swallows(1), gives(2, 1s));
    REQUIRE(*winner == 2);
}

// --- operations, without exceptions ---

WEFT_TEST_CASE("a race of operations throws nothing inside, whoever wins", "[race]") {
    Pipe pipe;
    Pipe other;
    char bytes[8];
    char more[8];
    const std::size_t before = support::thrown;

    auto timed = co_await weft::race(weft::io::read(pipe.out.get(), weft::MutableBuffer(bytes, 8)),
                                     weft::sleep(1s), weft::wait_readable(other.out.get()));
    REQUIRE(timed.index() == 1);

    REQUIRE(::write(pipe.in.get(), "abc", 3) == 3);
    auto read = co_await weft::race(weft::io::read(pipe.out.get(), weft::MutableBuffer(bytes, 8)),
                                    weft::sleep(1h),
                                    weft::io::read(other.out.get(), weft::MutableBuffer(more, 8)));
    REQUIRE(read.index() == 0);
    REQUIRE(std::get<0>(read) == 3);

    auto future = weft::get_running_loop().create_future<int>();
    auto task = weft::create_task(gives(1, 1s));
    auto waits = co_await weft::race(future.wait(), task.wait(), weft::sleep(24h));
    REQUIRE(waits.index() == 1);
    REQUIRE(support::thrown == before);
    REQUIRE_FALSE(future.done());
    REQUIRE(weft::get_running_loop().armed_timers() == 0);

    // That the counter counts.
    auto loser = co_await weft::race(sleeps(), sleeps(1s));
    REQUIRE(loser.index() == 1);
    REQUIRE(support::thrown == before + 1);
}

WEFT_TEST_CASE("a losing read takes no bytes", "[race]") {
    Pipe pipe;
    char bytes[8] = {};
    for (int round = 0; round < 50; ++round) {
        auto lost = co_await weft::race(
            weft::io::read(pipe.out.get(), weft::MutableBuffer(bytes, 8)), weft::sleep(0s));
        REQUIRE(lost.index() == 1);
    }
    REQUIRE(::write(pipe.in.get(), "xyz", 3) == 3);
    const std::size_t got = co_await weft::io::read(pipe.out.get(), weft::MutableBuffer(bytes, 8));
    REQUIRE(std::string(bytes, got) == "xyz");
}

WEFT_TEST_CASE("a failing operation is an error of the race like any other", "[race]") {
    char byte;
    auto body = [&]() -> Coro<void> {
        co_await weft::race(weft::io::read(-1, weft::MutableBuffer(&byte, 1)), fails("b", 1s));
    };
    std::string first;
    try {
        co_await body();
    } catch (const weft::ExceptionGroup& group) {
        first = text_of(group.exceptions().at(0));
        REQUIRE(group.exceptions().size() == 2);
    }
    REQUIRE(first == "read fd -1 (closed): Bad file descriptor");
}

// --- cancel ---

WEFT_TEST_CASE("cancelling a race cancels the children and waits for them", "[race]") {
    std::string log;
    auto body = [&]() -> Coro<void> {
        co_await weft::race(cleans_up(log, 'a', 1s), cleans_up(log, 'b', 2s), weft::sleep(1h));
    };
    auto task = weft::create_task(body);
    co_await turns(3);
    task.cancel();
    const auto end = co_await end_of(task);
    REQUIRE(end == "c");
    REQUIRE(log == "ab");
}

WEFT_TEST_CASE("a race won in spite of its cancel gives the result, then the cancel strikes",
               "[race]") {
    bool hit = false;
    auto body = [&]() -> Coro<int> {
        auto winner = co_await weft::race(swallows(5), gives(1, 1h));
        hit = co_await struck();
        co_return *winner;
    };
    auto task = weft::create_task(body);
    co_await turns(3);
    task.cancel();
    const int value = co_await task;
    REQUIRE(value == 5);
    REQUIRE(hit);
}

WEFT_TEST_CASE("a race can be raced, gathered and given to a task", "[race]") {
    auto inner = co_await weft::race(weft::race(gives(1, 5s), gives(2, 1s)),
                                     weft::race(gives(3, 3s), gives(4, 4s)));
    REQUIRE(inner->index() == 1);
    REQUIRE(**inner == 2);
    auto both =
        co_await weft::gather(weft::race(gives(1), sleeps()), weft::race(gives(2), fails("x")));
    REQUIRE(std::get<0>(both).index() == 0);
    REQUIRE(*std::get<1>(both) == 2);
    auto task = weft::create_task(weft::race(gives(1), gives(2)));
    auto winner = co_await task;
    REQUIRE(*winner == 1);
}

}  // namespace race_test
