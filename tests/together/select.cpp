// SPDX-License-Identifier: MIT
// select: the first branch to end; tasks that lose go on and keep what they get, operations that
// lose are cancelled and lose nothing.
#include <weft/queue/queue.hpp>
#include <weft/sync/event.hpp>
#include <weft/task/async_generator.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/select.hpp>
#include <weft/together/task_group.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

#include "children.hpp"
#include "probe.hpp"

namespace select_test {

using namespace children;
using probe::message_of;
using weft::AsyncGenerator;
using weft::Task;

namespace {

AsyncGenerator<int> count(int from, int to, weft::Duration pause, int* ended = nullptr) {
    for (int value = from; value < to; ++value) {
        co_await weft::sleep(pause);
        co_yield value;
    }
    if (ended) ++*ended;
}

}  // namespace

WEFT_TEST_CASE("generators that lose a select go on, and no item is lost", "[select]") {
    int ended = 0;
    AsyncGenerator<int> quick = count(0, 20, 1s, &ended);
    AsyncGenerator<int> slow = count(100, 110, 3s, &ended);
    std::string log;
    int sum = 0;
    auto first = weft::create_task(quick.next());
    auto second = weft::create_task(slow.next());
    bool both = true;
    while (both) {
        auto item = co_await weft::select(first, second);
        both = item->has_value();
        if (!both) continue;
        sum += **item;
        if (item.index() == 0) first = weft::create_task(quick.next());
        if (item.index() == 1) second = weft::create_task(slow.next());
    }
    REQUIRE(ended == 1);
    for (;;) {
        const auto item = co_await second;
        if (!item) break;
        sum += *item;
        second = weft::create_task(slow.next());
    }
    REQUIRE(ended == 2);
    REQUIRE(sum == 190 + 1045);
}

WEFT_TEST_CASE("select gives the result of the first to end, and tells which it was", "[select]") {
    auto slow = weft::create_task(gives(1, 2s));
    auto quick = weft::create_task(gives(2, 1s));
    const auto began = weft::get_running_loop().time();
    auto first = co_await weft::select(slow, quick);
    REQUIRE(first.index() == 1);
    REQUIRE(*first == 2);
    REQUIRE(weft::get_running_loop().time() - began == 1s);
    REQUIRE_FALSE(slow.done());
    REQUIRE(slow.cancelling() == 0);
    // One that is done wins at once.
    auto again = co_await weft::select(slow, quick);
    REQUIRE(again.index() == 1);
    const int value = co_await slow;
    REQUIRE(value == 1);
}

WEFT_TEST_CASE("branches of different types give a variant", "[select]") {
    auto text = weft::create_task([]() -> weft::Coro<std::string> {
        co_await weft::sleep(1s);
        co_return "text";
    });
    auto number = weft::create_task(gives(2, 2s));
    weft::Event never;
    auto first = co_await weft::select(number, text, never.wait());
    REQUIRE(first.index() == 1);
    REQUIRE(std::get<1>(first) == "text");
    auto second = co_await weft::select(number, weft::sleep(5s));
    REQUIRE(second.index() == 0);
    auto third = co_await weft::select(weft::sleep(1s), never.wait());
    REQUIRE(third.index() == 0);
}

WEFT_TEST_CASE("an operation that loses a select takes nothing", "[select]") {
    weft::Queue<int> queue;
    auto task = weft::create_task(gives(1, 1s));
    auto first = co_await weft::select(task, queue.get());
    REQUIRE(first.index() == 0);
    queue.put_nowait(7);
    // Both at once: the item stays in the queue.
    auto done = weft::create_task(gives(2, 0s));
    co_await done.wait();
    auto second = co_await weft::select(done, queue.get());
    REQUIRE(second.index() == 0);
    REQUIRE(queue.size() == 1);
    auto third = co_await weft::select(queue.get(), weft::sleep(1s, 0));
    REQUIRE(third.index() == 0);
    REQUIRE(*third == 7);
}

WEFT_TEST_CASE("a branch that fails ends the select with its error, the others go on", "[select]") {
    auto failing = weft::create_task(fails("branch", 1s));
    auto goes_on = weft::create_task(gives(3, 2s));
    std::string text;
    try {
        (void)co_await weft::select(goes_on, failing);
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    REQUIRE(text == "branch");
    REQUIRE(failing.done());
    REQUIRE_FALSE(goes_on.done());
    auto left = co_await weft::select(goes_on);
    REQUIRE(*left == 3);
}

WEFT_TEST_CASE("a branch that somebody cancels ends the select", "[select]") {
    auto task = weft::create_task(gives(1, 5s));
    auto other = weft::create_task(gives(2, 5s));
    weft::get_running_loop().call_later(1s, [task] { task.cancel(); });
    bool cancelled = false;
    try {
        (void)co_await weft::select(task, other);
    } catch (const weft::CancelledError&) {
        cancelled = true;
    }
    REQUIRE(cancelled);
    REQUIRE(weft::current_task().cancelling() == 0);
    REQUIRE_FALSE(other.done());
    other.cancel();
}

WEFT_TEST_CASE("a cancelled select leaves its tasks alone, with and without operations",
               "[select]") {
    auto branch = weft::create_task(gives(1, 10s));
    weft::Queue<int> queue;
    auto plain = [&]() -> weft::Coro<void> { (void)co_await weft::select(branch); };
    auto mixed = [&]() -> weft::Coro<void> { (void)co_await weft::select(branch, queue.get()); };
    auto one = weft::create_task(plain);
    auto two = weft::create_task(mixed);
    co_await weft::sleep(1s);
    one.cancel();
    two.cancel();
    co_await one.wait();
    co_await two.wait();
    REQUIRE(one.cancelled());
    REQUIRE(two.cancelled());
    REQUIRE(branch.cancelling() == 0);
    queue.put_nowait(1);
    REQUIRE(queue.size() == 1);
    const int value = co_await branch;
    REQUIRE(value == 1);
    REQUIRE(branch.core()->waiters.empty());
}

WEFT_TEST_CASE("an operation that won although the select was cancelled gives its result",
               "[select]") {
    weft::Queue<int> queue;
    auto branch = weft::create_task(gives(1, 10s));
    int got = 0;
    auto selects = [&]() -> weft::Coro<void> {
        auto first = co_await weft::select(branch, queue.get());
        got = *first;
        co_await weft::yield();
        got = -1;
    };
    auto task = weft::create_task(selects);
    co_await weft::sleep(1s);
    queue.put_nowait(5);
    task.cancel();
    co_await task.wait();
    REQUIRE(task.cancelled());
    REQUIRE(got == 5);
    branch.cancel();
}

WEFT_TEST_CASE("the failure of a branch that nobody has selected is reported", "[select]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    {
        auto quick = weft::create_task(gives(1, 1s));
        auto failing = weft::create_task(fails("later", 2s));
        (void)co_await weft::select(quick, failing);
        co_await failing.wait();
    }
    REQUIRE(probe::count_with(reports, "later") == 1);
}

WEFT_TEST_CASE("a thousand selects from one long branch leave nothing behind", "[select]") {
    auto slow = weft::create_task(gives(0, 1h));
    for (int round = 0; round < 1000; ++round) {
        auto quick = weft::create_task(gives(1, 1ms));
        auto first = co_await weft::select(slow, quick);
        REQUIRE(first.index() == 1);
    }
    REQUIRE(slow.core()->waiters.empty());
    slow.cancel();
}

WEFT_TEST_CASE("what select is given must be usable", "[select]") {
    Task<int> empty;
    std::string text;
    try {
        (void)co_await weft::select(empty);
    } catch (const weft::RuntimeError& error) {
        text = error.what();
    }
    REQUIRE_FALSE(text.empty());
}

}  // namespace select_test
