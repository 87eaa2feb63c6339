// SPDX-License-Identifier: MIT
// What task_group returns: a block that lives in the frame which awaits it, and that is a Coro
// wherever one is asked for.
#include <weft/deadline/move_on_after.hpp>
#include <weft/deadline/timeout.hpp>
#include <weft/deadline/wait_for.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/ensure_future.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/race.hpp>
#include <weft/together/shield.hpp>
#include <weft/together/task_group.hpp>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "children.hpp"

namespace group_block_test {

using namespace children;
using weft::EventLoop;
using weft::Task;
using weft::task_group;
using weft::TaskGroup;

namespace {

Coro<void> adds(int& to, int value) {
    co_await weft::yield();
    to += value;
}
Coro<int> two_children(TaskGroup& group, int& sum) {
    group.create_task(adds(sum, 1));
    group.create_task(adds(sum, 2));
    co_return 5;
}
auto block(int& sum) { return task_group(&two_children, std::ref(sum)); }

}  // namespace

TEST_CASE("a block that is dropped has run nothing and destroys its arguments", "[group_block]") {
    auto token = std::make_shared<int>(0);
    bool ran = false;
    auto body = [&ran](TaskGroup&, std::shared_ptr<int>) -> Coro<void> {
        ran = true;
        co_return;
    };
    {
        auto dropped = task_group(body, token);
        REQUIRE(static_cast<bool>(dropped));
        REQUIRE(token.use_count() == 2);
    }
    REQUIRE(token.use_count() == 1);
    REQUIRE_FALSE(ran);
}

WEFT_TEST_CASE("a block can be moved before it is awaited, and is awaited once", "[group_block]") {
    int sum = 0;
    auto first = block(sum);
    auto second = std::move(first);
    REQUIRE_FALSE(static_cast<bool>(first));
    const int result = co_await std::move(second);
    REQUIRE(result == 5);
    REQUIRE(sum == 3);
    std::string refused;
    try {
        co_await std::move(first);
    } catch (const weft::RuntimeError& error) {
        refused = error.what();
    }
    REQUIRE(refused.find("weft: a coroutine was awaited twice") == 0);
    refused.clear();
    try {
        co_await weft::create_task(std::move(second));
    } catch (const weft::RuntimeError& error) {
        refused = error.what();
    }
    REQUIRE(refused.find("weft: a coroutine was awaited twice") == 0);
}

WEFT_TEST_CASE("a block that has a name is awaited in place, once", "[group_block]") {
    int sum = 0;
    auto named = block(sum);
    const int result = co_await named;
    REQUIRE(result == 5);
    std::string refused;
    try {
        co_await named;
    } catch (const weft::RuntimeError& error) {
        refused = error.what();
    }
    REQUIRE(refused.find("weft: a coroutine was awaited twice") == 0);
    auto one = []() -> Coro<int> { co_return 1; };
    auto both = weft::gather(one(), one());
    const auto values = co_await both;
    REQUIRE(std::get<0>(values) + std::get<1>(values) == 2);
}

WEFT_TEST_CASE("a block is a coroutine for whatever takes one", "[group_block]") {
    int sum = 0;
    Coro<int> coro = block(sum);
    int result = co_await std::move(coro);
    REQUIRE(result == 5);
    result = co_await weft::create_task(block(sum));
    REQUIRE(result == 5);
    result = co_await weft::create_task(block(sum), weft::TaskOptions("named"));
    REQUIRE(result == 5);
    result = co_await weft::get_running_loop().create_task(Coro<int>(block(sum)));
    REQUIRE(result == 5);
    result = co_await weft::ensure_future(block(sum));
    REQUIRE(result == 5);
    result = co_await weft::shield(block(sum));
    REQUIRE(result == 5);
    const auto both = co_await weft::gather(block(sum), block(sum));
    REQUIRE(std::get<1>(both) == 5);
    const auto won = co_await weft::race(block(sum), weft::sleep(1s));
    REQUIRE(std::get<0>(won) == 5);
    result = co_await weft::wait_for(block(sum), 1s);
    REQUIRE(result == 5);
    const std::optional<int> in_time = co_await weft::move_on_after(1s, block(sum));
    REQUIRE(in_time == 5);
    auto makes = [&] { return block(sum); };
    result = co_await weft::create_task(makes);
    REQUIRE(result == 5);
    result = co_await weft::timeout(1s, makes);
    REQUIRE(result == 5);
    result = co_await weft::wait_for(makes, 1s);
    REQUIRE(result == 5);
    const auto made = co_await weft::gather(makes, makes);
    REQUIRE(std::get<0>(made) == 5);
    REQUIRE(sum == 3 * 16);
}

TEST_CASE("a block is a coroutine for run and for a loop", "[group_block]") {
    int sum = 0;
    REQUIRE(weft::run(block(sum)) == 5);
    REQUIRE(weft::run([&] { return block(sum); }) == 5);
    EventLoop loop(weft::testing::options());
    REQUIRE(loop.run_until_complete(Coro<int>(block(sum))) == 5);
    REQUIRE(sum == 9);
}

WEFT_TEST_CASE("a group in a group's child is a block too", "[group_block]") {
    int sum = 0;
    auto outer = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(block(sum));
        auto child = group.create_task(block(sum), weft::TaskOptions("inner"));
        const int result = co_await child;
        sum += result;
    };
    co_await task_group(outer);
    REQUIRE(sum == 11);
}

WEFT_TEST_CASE("the body runs in the awaiting task, whether it suspends or not", "[group_block]") {
    const weft::AnyTask self = weft::current_task();
    bool same = true;
    auto quick = [&](TaskGroup&) -> Coro<void> {
        same = same && weft::current_task() == self;
        co_return;
    };
    co_await task_group(quick);
    auto slow = [&](TaskGroup&) -> Coro<void> {
        co_await weft::yield();
        same = same && weft::current_task() == self;
    };
    co_await task_group(slow);
    const weft::AnyTask after = weft::current_task();
    REQUIRE(same);
    REQUIRE(after == self);
}

WEFT_TEST_CASE("a block whose children have ended before a late body goes on with its end",
               "[group_block]") {
    std::string log;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task([&]() -> Coro<void> {
            log += 'a';
            co_return;
        });
        co_await weft::sleep(1s);
        weft::get_running_loop().call_soon([&] { log += 'c'; });
        log += 'b';
    };
    co_await task_group(body);
    REQUIRE(log == "ab");
    co_await weft::yield();
    REQUIRE(log == "abc");
}

WEFT_TEST_CASE("a body that throws before it is a coroutine ends the group like one that fails",
               "[group_block]") {
    auto body = [](TaskGroup& group) -> Coro<void> {
        group.create_task([]() -> Coro<void> { co_await weft::sleep(24h); });
        throw std::runtime_error("no coroutine");
    };
    std::string text;
    try {
        co_await task_group(body);
    } catch (const weft::ExceptionGroup& group) {
        text = std::to_string(group.exceptions().size());
    }
    REQUIRE(text == "1");
}

WEFT_TEST_CASE("a deadline around a block ends it like a coroutine", "[group_block]") {
    bool cleaned_up = false;
    auto child = [&]() -> Coro<void> {
        try {
            co_await weft::sleep(24h);
        } catch (...) {
            cleaned_up = true;
            throw;
        }
    };
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(child);
        co_return;
    };
    bool timed_out = false;
    try {
        co_await weft::wait_for(task_group(body), 1s);
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    REQUIRE(timed_out);
    REQUIRE(cleaned_up);
    cleaned_up = false;
    const bool in_time = co_await weft::move_on_after(1s, task_group(body));
    REQUIRE_FALSE(in_time);
    REQUIRE(cleaned_up);
    // One that ends itself quietly is in time.
    auto quiet = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(child);
        co_await weft::yield();
        group.cancel();
        co_await weft::sleep(24h);
    };
    const bool quietly = co_await weft::move_on_after(1s, task_group(quiet));
    REQUIRE(quietly);
    const int requests = static_cast<int>(weft::current_task().cancelling());
    REQUIRE(requests == 0);
}

// --- children in the group's list ---

WEFT_TEST_CASE("all_tasks has the children of a group, begun or not", "[group_block]") {
    std::size_t before = 0;
    std::size_t begun = 0;
    std::size_t after = 0;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        for (int i = 0; i < 3; ++i)
            group.create_task([]() -> Coro<void> { co_await weft::sleep(1s); });
        before = weft::all_tasks().size();
        co_await weft::yield();
        begun = weft::all_tasks().size();
        co_await weft::sleep(2s);
        after = weft::all_tasks().size();
    };
    co_await task_group(body);
    REQUIRE(before == 4);
    REQUIRE(begun == 4);
    REQUIRE(after == 1);
}

TEST_CASE("a loop that is destroyed unwinds a group and its children, begun or not",
          "[group_block]") {
    auto token = std::make_shared<int>(0);
    for (const int turns : {0, 1, 2, 3}) {
        EventLoop loop(weft::testing::options());
        auto stubborn = [](std::shared_ptr<int> /*kept*/) -> Coro<void> {
            for (;;) {
                try {
                    co_await weft::sleep(24h);
                } catch (const weft::CancelledError&) {
                }
            }
        };
        auto fails = [](std::shared_ptr<int>) -> Coro<void> {
            throw std::runtime_error("failed");
            co_return;
        };
        auto body = [&](TaskGroup& group) -> Coro<void> {
            group.create_task(stubborn, token);
            group.create_task(fails, token);
            group.create_task(stubborn, token);
            co_await weft::sleep(24h);
        };
        auto task = loop.create_task(Coro<void>(task_group(body)));
        loop.set_exception_handler([](const weft::ExceptionContext&) {});
        for (int turn = 0; turn < turns; ++turn) loop.run_once();
        loop.close();
        REQUIRE(task.done());
        REQUIRE(token.use_count() == 1);
    }
}

}  // namespace group_block_test
