// SPDX-License-Identifier: MIT
// Children that start in place: those of task_group(eager, ...), and all tasks of a run with
// RunOptions::eager_tasks.
#include <weft/runtime/loop.hpp>
#include <weft/sync/event.hpp>
#include <weft/task/context_var.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/as_completed.hpp>
#include <weft/together/exception_group.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/race.hpp>
#include <weft/together/task_group.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace eager_children_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::eager;
using weft::TaskGroup;
using weft::TaskOptions;

namespace {

Coro<void> logs(std::string& log, char begin, char end, int turns = 1) {
    log += begin;
    for (int i = 0; i < turns; ++i) co_await weft::yield();
    log += end;
}
Coro<void> fails() {
    throw std::runtime_error("at once");
    co_return;
}
Coro<void> waits(std::string& log) {
    try {
        co_await weft::sleep(24h);
    } catch (const weft::CancelledError&) {
        log += 'x';
        throw;
    }
}
/// How many errors end the block; 0: none.
Coro<std::size_t> errors_of(Coro<void> block) {
    try {
        co_await std::move(block);
    } catch (const weft::ExceptionGroup& errors) {
        co_return errors.exceptions().size();
    }
    co_return 0;
}
Coro<void> tree(int depth, int& leaves, int& alive, int& most) {
    most = std::max(most, ++alive);
    if (depth == 0) {
        ++leaves;
    } else {
        auto body = [&, depth](TaskGroup& group) -> Coro<void> {
            group.create_task(tree(depth - 1, leaves, alive, most));
            group.create_task(tree(depth - 1, leaves, alive, most));
            co_return;
        };
        co_await weft::task_group(eager, body);
    }
    --alive;
}
weft::RunOptions eager_run(bool debug = false) {
    weft::RunOptions options;
    options.eager_tasks = true;
    options.debug = debug;
    options.virtual_time = true;
    return options;
}

}  // namespace

WEFT_TEST_CASE("a child of an eager group takes its first step inside create_task",
               "[eager_children]") {
    std::string log;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(logs(log, 'a', 'A'));
        log += '1';
        auto fn = [&] { return logs(log, 'b', 'B', 0); };
        group.create_task(fn);
        log += '2';
        group.create_task(logs(log, 'c', 'C'), TaskOptions("named"));
        log += '3';
        group.create_task(logs(log, 'd', 'D'), TaskOptions().eager(false));
        log += '4';
        auto by_value = [](std::string* to, char c) { return logs(*to, c, '.', 0); };
        group.create_task(by_value, &log, 'e');
        co_return;
    };
    co_await weft::task_group(eager, body);
    REQUIRE(log == "a1bB2c34e.ACdD");
}

WEFT_TEST_CASE("an eager child is the current task in its first step, its creator after it",
               "[eager_children]") {
    weft::AnyTask inside;
    bool same = false;
    bool back = false;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        const weft::AnyTask creator = weft::current_task();
        auto child = [&]() -> Coro<void> {
            inside = weft::current_task();
            co_await weft::yield();
        };
        auto task = group.create_task(child);
        same = inside == task;
        back = weft::current_task() == creator;
        co_return;
    };
    co_await weft::task_group(eager, body);
    REQUIRE(same);
    REQUIRE(back);
}

WEFT_TEST_CASE("an eager child has a copy of its creator's context", "[eager_children]") {
    weft::ContextVar<int> var("var", 0);
    var.set(1);
    int seen = 0;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        auto child = [&]() -> Coro<void> {
            seen = var.get();
            var.set(2);
            co_return;
        };
        group.create_task(child);
        co_return;
    };
    co_await weft::task_group(eager, body);
    REQUIRE(seen == 1);
    REQUIRE(var.get() == 1);
}

WEFT_TEST_CASE("an eager child that fails at once strikes its creator later, not inside",
               "[eager_children]") {
    std::string log;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(waits(log));
        group.create_task(fails());
        log += '1';
        group.create_task(logs(log, 'a', 'A', 0));
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            log += '2';
            throw;
        }
    };
    const std::size_t errors = co_await errors_of(weft::task_group(eager, body));
    REQUIRE(errors == 1);
    REQUIRE((log == "1aA2x" || log == "1aAx2"));
}

WEFT_TEST_CASE("an eager child that cancels its own group is cancelled and does not hang",
               "[eager_children]") {
    std::string log;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        auto child = [&]() -> Coro<void> {
            group.cancel();
            co_await waits(log);
        };
        group.create_task(child);
        log += '1';
        co_await weft::sleep(1h);
        log += '!';
    };
    co_await weft::task_group(eager, body);
    REQUIRE(log == "1x");
}

WEFT_TEST_CASE("a group that fails refuses eager children and destroys them unrun",
               "[eager_children]") {
    std::string log;
    bool refused = false;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(fails());
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            log += 'c';
        }
        try {
            group.create_task(logs(log, 'a', 'A'));
        } catch (const weft::RuntimeError&) {
            refused = true;
        }
    };
    const std::size_t errors = co_await errors_of(weft::task_group(eager, body));
    REQUIRE(errors == 1);
    REQUIRE(refused);
    REQUIRE(log == "c");
}

WEFT_TEST_CASE("a cancel in an eager child's first step strikes the creator at its next await",
               "[eager_children]") {
    std::string log;
    auto parent = [&]() -> Coro<void> {
        const weft::AnyTask self = weft::current_task();
        auto body = [&](TaskGroup& group) -> Coro<void> {
            auto child = [&]() -> Coro<void> {
                self.cancel();
                log += 'a';
                co_await waits(log);
            };
            group.create_task(child);
            log += 'b';
            co_await weft::yield();
            log += '!';
        };
        co_await weft::task_group(eager, body);
        log += '!';
    };
    auto task = weft::create_task(parent);
    bool cancelled = false;
    try {
        co_await task;
    } catch (const weft::CancelledError&) {
        cancelled = true;
    }
    REQUIRE(cancelled);
    REQUIRE(task.cancelled());
    REQUIRE(log == "abx");
}

WEFT_TEST_CASE("a tree of eager groups is alive along one branch at a time", "[eager_children]") {
    int leaves = 0;
    int alive = 0;
    int most = 0;
    co_await tree(10, leaves, alive, most);
    REQUIRE(leaves == 1024);
    REQUIRE(alive == 0);
    REQUIRE(most == 11);
}

WEFT_TEST_CASE("an eager child of start may be ready, or fail, in its first step",
               "[eager_children]") {
    int port = 0;
    std::string text;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        auto serve = [](weft::TaskStatus<int> status) -> Coro<void> {
            status.started(7);
            co_return;
        };
        port = co_await group.start<int>(serve);
        auto broken = [](weft::TaskStatus<int>) -> Coro<void> {
            throw std::runtime_error("no port");
            co_return;
        };
        try {
            co_await group.start<int>(broken);
        } catch (const std::runtime_error& error) {
            text = error.what();
        }
    };
    co_await weft::task_group(eager, body);
    REQUIRE(port == 7);
    REQUIRE(text == "no port");
}

TEST_CASE("with RunOptions::eager_tasks every task starts where it is created",
          "[eager_children]") {
    for (const bool debug : {false, true}) {
        std::string log;
        auto main = [&]() -> Coro<void> {
            auto a = weft::create_task(logs(log, 'a', 'A'));
            log += '1';
            auto fn = [&] { return logs(log, 'b', 'B', 0); };
            auto b = weft::create_task(fn);
            log += '2';
            auto c = weft::create_task(logs(log, 'c', 'C'), TaskOptions().eager(false));
            log += '3';
            auto d = weft::get_running_loop().create_task(logs(log, 'd', 'D'));
            log += '4';
            auto body = [&](TaskGroup& group) -> Coro<void> {
                group.create_task(logs(log, 'e', 'E', 0));
                group.create_task(logs(log, 'f', 'F', 0), TaskOptions("f"));
                co_return;
            };
            co_await weft::task_group(body);
            auto nested = [&]() -> Coro<void> {
                auto inner = weft::create_task(logs(log, 'g', 'G', 0));
                co_await inner;
            };
            co_await weft::create_task(nested);
            co_await a;
            co_await b;
            co_await c;
            co_await d;
        };
        weft::run(main, eager_run(debug));
        CAPTURE(log);
        REQUIRE(log.substr(0, 15) == "a1bB23d4eEfFgGA");
        REQUIRE(log.size() == 18);
    }
}

TEST_CASE("with RunOptions::eager_tasks a callback's tasks start in place too",
          "[eager_children]") {
    std::string log;
    auto main = [&]() -> Coro<void> {
        weft::get_running_loop().call_soon([&] {
            auto task = weft::create_task(logs(log, 'a', 'A'));
            log += '1';
        });
        co_await weft::sleep(1s);
    };
    weft::run(main, eager_run());
    REQUIRE(log == "a1A");
}

TEST_CASE("with RunOptions::eager_tasks combinators, failures and leftovers are what they are",
          "[eager_children]") {
    std::string log;
    auto main = [&]() -> Coro<void> {
        auto one = []() -> Coro<int> { co_return 1; };
        auto two = []() -> Coro<int> {
            co_await weft::yield();
            co_return 2;
        };
        const auto both = co_await weft::gather(one(), two());
        log += std::to_string(std::get<0>(both) + std::get<1>(both));
        auto slow = [&]() -> Coro<int> {
            co_await waits(log);
            co_return 0;
        };
        const auto winner = co_await weft::race(two(), slow());
        log += std::to_string(winner.value());
        std::vector<Coro<int>> list;
        list.push_back(one());
        list.push_back(two());
        auto completed = weft::as_completed(std::move(list));
        while (auto task = co_await completed.next()) log += std::to_string(task.result());
        auto failing = weft::create_task(fails());
        try {
            co_await failing;
        } catch (const std::runtime_error&) {
            log += 'f';
        }
        weft::Event never;
        auto left = weft::create_task(waits(log));
    };
    weft::run(main, eager_run());
    REQUIRE(log == "3x212fx");
}

}  // namespace eager_children_test
