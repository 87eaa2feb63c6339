// SPDX-License-Identifier: MIT
// gather(eager, ...): children that take their first step where they are started; and gather as a
// block, which is a Coro wherever one is asked for.
#include <weft/deadline/wait_for.hpp>
#include <weft/task/context_var.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/task_group.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "children.hpp"

namespace gather_eager_test {

using namespace children;
using weft::eager;
using weft::EventLoop;
using weft::gather;

namespace {

Coro<int> logs(std::string& log, char begin, char end, int turns = 1) {
    log += begin;
    for (int i = 0; i < turns; ++i) co_await weft::yield();
    log += end;
    co_return begin;
}
Coro<int> gives(int value) { co_return value; }
Coro<int> fails(const char* text) {
    throw std::runtime_error(text);
    co_return 0;
}
Coro<int> sleeps(std::string& log) {
    try {
        co_await weft::sleep(24h);
    } catch (const weft::CancelledError&) {
        log += 'x';
        throw;
    }
    co_return 0;
}
Coro<int> fib(int n) {
    if (n < 2) co_return n;
    const auto both = co_await gather(eager, fib(n - 1), fib(n - 2));
    co_return std::get<0>(both) + std::get<1>(both);
}

}  // namespace

WEFT_TEST_CASE("eager children take their first steps in order, before the gather waits",
               "[gather_eager]") {
    std::string log;
    weft::get_running_loop().call_soon([&] { log += '-'; });
    const auto results =
        co_await gather(eager, logs(log, 'a', 'A'), logs(log, 'b', 'B', 0), logs(log, 'c', 'C'));
    REQUIRE(log == "abBc-AC");
    REQUIRE(std::get<0>(results) == 'a');
    REQUIRE(std::get<2>(results) == 'c');
}

WEFT_TEST_CASE("a gather of eager children that end at once takes no turn", "[gather_eager]") {
    bool other = false;
    weft::get_running_loop().call_soon([&] { other = true; });
    const auto results = co_await gather(eager, gives(1), gives(2));
    REQUIRE(std::get<0>(results) + std::get<1>(results) == 3);
    const bool ran = other;
    REQUIRE_FALSE(ran);
    const auto all_of_them = co_await weft::all(eager, gives(3), gives(4));
    REQUIRE(std::get<1>(all_of_them) == 4);
    REQUIRE_FALSE(other);
    co_await weft::yield();
}

WEFT_TEST_CASE("each eager child is its own current task, in its own context", "[gather_eager]") {
    static weft::ContextVar<int> variable("variable", 0);
    const weft::AnyTask self = weft::current_task();
    variable.set(1);
    std::vector<weft::AnyTask> seen;
    auto child = [&](int value) -> Coro<int> {
        seen.push_back(weft::current_task());
        const int inherited = variable.get();
        variable.set(value);
        co_await weft::yield();
        seen.push_back(weft::current_task());
        co_return inherited * 10 + variable.get();
    };
    const auto results = co_await gather(eager, child(2), child(3));
    REQUIRE(std::get<0>(results) == 12);
    REQUIRE(std::get<1>(results) == 13);
    const int mine = variable.get();
    REQUIRE(mine == 1);
    const weft::AnyTask now = weft::current_task();
    REQUIRE(now == self);
    REQUIRE(seen.size() == 4);
    REQUIRE(seen[0] == seen[2]);
    REQUIRE(seen[1] == seen[3]);
    REQUIRE_FALSE(seen[0] == seen[1]);
    REQUIRE_FALSE(seen[0] == self);
}

WEFT_TEST_CASE("the first error of eager children is thrown, and the others go on",
               "[gather_eager]") {
    std::string log;
    std::string thrown;
    try {
        co_await gather(eager, logs(log, 'a', 'A'), fails("first"), fails("second"));
    } catch (const std::runtime_error& error) {
        thrown = error.what();
    }
    REQUIRE(thrown == "first");
    REQUIRE(log == "a");
    co_await weft::yield();
    co_await weft::yield();
    REQUIRE(log == "aA");
}

WEFT_TEST_CASE("all cancels eager children that wait when another has failed in its first step",
               "[gather_eager]") {
    std::string log;
    std::string thrown;
    try {
        co_await weft::all(eager, sleeps(log), fails("failed"), sleeps(log));
    } catch (const std::runtime_error& error) {
        thrown = error.what();
    }
    REQUIRE(thrown == "failed");
    REQUIRE(log == "xx");
}

WEFT_TEST_CASE("with return_exceptions each outcome of eager children sits in its slot",
               "[gather_eager]") {
    const auto settled = co_await gather(eager, weft::return_exceptions, gives(1), fails("failed"));
    REQUIRE(std::get<0>(settled).value() == 1);
    REQUIRE_FALSE(std::get<1>(settled).has_value());
}

WEFT_TEST_CASE("cancelling a gather cancels eager children that have suspended", "[gather_eager]") {
    std::string log;
    auto body = [&]() -> Coro<void> { co_await gather(eager, sleeps(log), gives(1), sleeps(log)); };
    auto task = weft::create_task(body);
    co_await weft::yield();
    task.cancel();
    co_await task.wait();
    REQUIRE(task.cancelled());
    REQUIRE(log == "xx");
}

WEFT_TEST_CASE("a cancel that is pending strikes eager children at their first suspension",
               "[gather_eager]") {
    std::string log;
    auto body = [&]() -> Coro<void> {
        weft::current_task().cancel();
        co_await gather(eager, sleeps(log), logs(log, 'a', 'A', 0));
    };
    auto task = weft::create_task(body);
    co_await task.wait();
    REQUIRE(task.cancelled());
    REQUIRE(log == "aAx");
}

WEFT_TEST_CASE("an eager child may keep its own handle and be awaited by it", "[gather_eager]") {
    weft::AnyTask kept;
    auto child = [&]() -> Coro<int> {
        kept = weft::current_task();
        co_return 7;
    };
    const auto results = co_await gather(eager, child, gives(1));
    REQUIRE(std::get<0>(results) == 7);
    REQUIRE(kept.done());
    const bool failed = kept.exception() != nullptr;
    REQUIRE_FALSE(failed);
}

WEFT_TEST_CASE("all_tasks in an eager child has the tasks around it", "[gather_eager]") {
    std::size_t count = 0;
    auto innermost = [&]() -> Coro<int> {
        count = weft::all_tasks().size();
        co_return 0;
    };
    auto middle = [&]() -> Coro<int> {
        const auto results = co_await gather(eager, innermost, gives(1));
        co_return std::get<0>(results);
    };
    co_await gather(eager, middle, gives(1));
    REQUIRE(count == 3);
    const std::size_t after = weft::all_tasks().size();
    REQUIRE(after == 1);
}

WEFT_TEST_CASE("a tree of eager children goes depth first", "[gather_eager]") {
    const std::size_t before = weft::all_tasks().size();
    const int result = co_await fib(15);
    REQUIRE(result == 610);
    const std::size_t after = weft::all_tasks().size();
    REQUIRE(after == before);
}

TEST_CASE("in debug mode an eager child that swallows its cancel is named", "[gather_eager]") {
    auto options = weft::testing::options();
    options.debug = true;
    EventLoop loop(options);
    loop.slow_callback_duration = 1h;  // (a machine that stands still is none of it)
    std::vector<std::string> reports;
    loop.set_exception_handler(
        [&](const weft::ExceptionContext& context) { reports.emplace_back(context.message); });
    auto swallows = []() -> Coro<int> {
        try {
            co_await weft::sleep(24h);
        } catch (...) {
        }
        co_return 1;
    };
    auto body = [&]() -> Coro<void> { co_await gather(eager, swallows, gives(2)); };
    auto task = loop.create_task(body());
    loop.run_once();
    task.cancel();
    loop.run_until_complete([&]() -> Coro<void> { co_await task.wait(); }());
    // (The gather itself returned its results, and kept the request for its next suspension.)
    REQUIRE_FALSE(reports.empty());
    REQUIRE(reports.front() == "a task swallowed its cancellation");
}

// --- the block ---

TEST_CASE("a gather that is dropped destroys its coroutines and has started none",
          "[gather_eager]") {
    auto token = std::make_shared<int>(0);
    auto keeps = [](std::shared_ptr<int> kept) -> Coro<int> { co_return *kept; };
    {
        auto dropped = gather(keeps(token), keeps(token));
        auto moved = std::move(dropped);
        REQUIRE(token.use_count() == 3);
        REQUIRE(static_cast<bool>(moved));
        REQUIRE_FALSE(static_cast<bool>(dropped));
    }
    REQUIRE(token.use_count() == 1);
}

WEFT_TEST_CASE("a gather is a coroutine for whatever takes one", "[gather_eager]") {
    auto coro = [](Coro<std::tuple<int, int>> both) -> Coro<int> {
        const auto values = co_await std::move(both);
        co_return std::get<0>(values) + std::get<1>(values);
    };
    int sum = co_await coro(gather(gives(1), gives(2)));
    REQUIRE(sum == 3);
    const auto both = co_await weft::create_task(gather(gives(1), gives(2)));
    REQUIRE(std::get<1>(both) == 2);
    const auto nested = co_await gather(gather(gives(1), gives(2)), gives(3));
    REQUIRE(std::get<1>(std::get<0>(nested)) == 2);
    const auto in_time = co_await weft::wait_for(gather(gives(1), gives(2)), 1s);
    REQUIRE(std::get<0>(in_time) == 1);
    std::string log;
    bool timed_out = false;
    try {
        co_await weft::wait_for(gather(sleeps(log), gives(2)), 1s);
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    REQUIRE(timed_out);
    REQUIRE(log == "x");
    const int requests = weft::current_task().cancelling();
    REQUIRE(requests == 0);
    co_await weft::yield();  // nothing is left to strike
    auto body = [&](weft::TaskGroup& group) -> Coro<void> {
        auto task = group.create_task(gather(gives(4), gives(5)));
        const auto values = co_await task;
        sum = std::get<1>(values);
    };
    co_await weft::task_group(body);
    REQUIRE(sum == 5);
}

TEST_CASE("a loop that is destroyed unwinds a gather and its children, begun or not",
          "[gather_eager]") {
    auto token = std::make_shared<int>(0);
    for (const int turns : {0, 1, 2, 3}) {
        EventLoop loop(weft::testing::options());
        loop.set_exception_handler([](const weft::ExceptionContext&) {});
        auto stubborn = [](std::shared_ptr<int>) -> Coro<int> {
            for (;;) {
                try {
                    co_await weft::sleep(24h);
                } catch (const weft::CancelledError&) {
                }
            }
        };
        auto body = [&]() -> Coro<void> {
            co_await weft::yield();
            co_await gather(stubborn(token), gives(1), stubborn(token));
        };
        auto task = loop.create_task(body());
        for (int turn = 0; turn < turns; ++turn) loop.run_once();
        loop.close();
        REQUIRE(task.done());
        REQUIRE(token.use_count() == 1);
    }
}

}  // namespace gather_eager_test
