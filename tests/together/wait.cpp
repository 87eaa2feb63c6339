// SPDX-License-Identifier: MIT
// wait: done and pending tasks, for all three conditions, and hands off everything else.
#include <weft/testing/catch.hpp>
#include <weft/together/wait.hpp>

#include <string>
#include <vector>

#include "children.hpp"
#include "probe.hpp"

namespace wait_test {

using namespace children;
using weft::Task;

namespace {

std::vector<Task<int>> start(std::initializer_list<weft::Duration> delays) {
    std::vector<Task<int>> tasks;
    int number = 0;
    for (const auto delay : delays) tasks.push_back(weft::create_task(gives(number++, delay)));
    return tasks;
}

}  // namespace

WEFT_TEST_CASE("wait returns when all are completed, and tells done from pending", "[wait]") {
    auto tasks = start({3s, 1s, 2s});
    const auto began = weft::get_running_loop().time();
    auto found = co_await weft::wait(tasks);
    REQUIRE(weft::get_running_loop().time() - began == 3s);
    REQUIRE(found.done == tasks);
    REQUIRE(found.pending.empty());
}

WEFT_TEST_CASE("a task that is passed twice to wait counts once, whenever it ends", "[wait]") {
    auto tasks = start({3s, 1s});
    auto thrice = std::vector{tasks[0], tasks[0], tasks[1], tasks[0]};
    auto found = co_await weft::wait(thrice, weft::first_completed);
    REQUIRE(found.done == std::vector{tasks[1]});
    REQUIRE(found.pending == std::vector{tasks[0]});
    auto all = co_await weft::wait(thrice);
    REQUIRE(all.done == tasks);
    REQUIRE(all.pending.empty());
    auto late = co_await weft::wait(thrice, 1s);
    REQUIRE(late.done == tasks);
}

WEFT_TEST_CASE("wait for the first completed leaves the others pending", "[wait]") {
    auto tasks = start({3s, 1s, 2s});
    auto found = co_await weft::wait(tasks, weft::first_completed);
    REQUIRE(found.done == std::vector{tasks[1]});
    REQUIRE(found.pending == std::vector{tasks[0], tasks[2]});
    auto again = co_await weft::wait(found.pending, weft::first_completed);
    REQUIRE(again.done == std::vector{tasks[2]});
}

WEFT_TEST_CASE("first_completed reports everything that is done when the waiter resumes",
               "[wait]") {
    auto tasks = start({1s, 1s, 5s, 1s});
    auto found = co_await weft::wait(tasks, weft::first_completed);
    REQUIRE(found.done.size() == 3);
    REQUIRE(found.pending.size() == 1);
}

WEFT_TEST_CASE("first_exception returns at a failure and ignores cancelled tasks", "[wait]") {
    auto tasks = start({5s});
    auto cancelled = weft::create_task(gives(0, 1h));
    auto failing = weft::create_task(fails("x", 2s));
    tasks.push_back(cancelled);
    tasks.push_back(failing);
    weft::get_running_loop().call_later(1s, [&] { cancelled.cancel(); });
    const auto began = weft::get_running_loop().time();
    auto found = co_await weft::wait(tasks, weft::first_exception);
    REQUIRE(weft::get_running_loop().time() - began == 2s);
    REQUIRE(found.done == std::vector{cancelled, failing});
    REQUIRE(found.pending == std::vector{tasks[0]});
    REQUIRE(failing.exception());
}

WEFT_TEST_CASE("first_exception without a failure waits for all", "[wait]") {
    auto tasks = start({1s, 2s});
    auto found = co_await weft::wait(tasks, weft::first_exception);
    REQUIRE(found.done == tasks);
}

WEFT_TEST_CASE("wait never raises a timeout and never cancels its tasks", "[wait]") {
    auto tasks = start({1s, 3s});
    auto found = co_await weft::wait(tasks, 2s);
    REQUIRE(found.done == std::vector{tasks[0]});
    REQUIRE(found.pending == std::vector{tasks[1]});
    REQUIRE(tasks[1].cancelling() == 0);
    auto none = co_await weft::wait(found.pending, weft::first_completed, 0s);
    REQUIRE(none.done.empty());
    auto rest = co_await weft::wait(found.pending, weft::first_completed, 1h);
    REQUIRE(rest.pending.empty());
    REQUIRE(weft::get_running_loop().armed_timers() == 0);
}

WEFT_TEST_CASE("waiting for nothing is an error", "[wait]") {
    const auto end = co_await end_of(weft::wait(std::vector<Task<int>>()));
    REQUIRE(end == "weft: wait for nothing");
    const auto empty = co_await end_of(weft::wait(std::vector<Task<int>>(1)));
    REQUIRE(empty == "weft: an empty handle: it refers to no task or future");
}

WEFT_TEST_CASE("cancelling the waiter leaves the tasks alone", "[wait]") {
    auto tasks = start({5s, 6s});
    auto waiter = weft::create_task(weft::wait(tasks, weft::all_completed, 1h));
    co_await turns(2);
    waiter.cancel();
    const auto end = co_await end_of(waiter);
    REQUIRE(end == "c");
    REQUIRE(tasks[0].cancelling() == 0);
    REQUIRE(weft::get_running_loop().armed_timers() == 2);
    const int value = co_await tasks[1];
    REQUIRE(value == 1);
}

WEFT_TEST_CASE("tasks that are done already end a wait without a suspension", "[wait]") {
    auto tasks = start({0s, 1h});
    co_await tasks[0];
    bool other = false;
    weft::get_running_loop().call_soon([&] { other = true; });
    auto found = co_await weft::wait(tasks, weft::first_completed);
    REQUIRE(found.done.size() == 1);
    REQUIRE_FALSE(other);
    co_await weft::yield();  // the callback refers to this frame
    tasks[1].cancel();
}

WEFT_TEST_CASE("an unhandled failure in a set of done tasks is still reported", "[wait]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    {
        std::vector<Task<int>> tasks;
        tasks.push_back(weft::create_task(fails("unseen")));
        auto found = co_await weft::wait(tasks);
        REQUIRE(found.done.size() == 1);
    }
    REQUIRE(probe::count_with(reports, "unseen") == 1);
}

WEFT_TEST_CASE("waiting again and again for one task leaves nothing behind in it", "[wait]") {
    // asyncio has kept a callback for every wait (CPython issue 117348's kin): each costs a turn.
    auto slow = weft::create_task(sleeps());
    std::vector<weft::AnyFuture> both;
    both.push_back(slow);
    both.push_back(weft::AnyFuture());
    for (int i = 0; i < 1000; ++i) {
        auto quick = weft::create_task(sleeps(1ms));
        both[1] = quick;
        auto found = co_await weft::wait(both, weft::first_completed);
        REQUIRE(found.done.size() == 1);
    }
    REQUIRE(slow.core()->waiters.empty());
    slow.cancel();
}

WEFT_TEST_CASE("futures, tasks and handles of any type can be waited for", "[wait]") {
    auto future = weft::get_running_loop().create_future<int>();
    weft::get_running_loop().call_later(2s, [&] { future.set_result(1); });
    auto other = weft::get_running_loop().create_future<int>();
    other.set_result(2);
    std::vector<weft::Future<int>> futures{future, other};
    auto found = co_await weft::wait(futures);
    REQUIRE(found.done.size() == 2);
}

}  // namespace wait_test
