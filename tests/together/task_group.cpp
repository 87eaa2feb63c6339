// SPDX-License-Identifier: MIT
// task_group: all children are awaited, failures come together, and nothing is kept that has ended.
// labels: smoke
#include <weft/testing/catch.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/task_group.hpp>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "children.hpp"
#include "probe.hpp"

namespace task_group_test {

using namespace children;
using weft::Task;
using weft::task_group;
using weft::TaskGroup;
using weft::TaskOptions;

// --- waiting ---

WEFT_TEST_CASE("a group waits for all children and returns what its body returns", "[task_group]") {
    int sum = 0;
    auto adds = [&](int value, weft::Duration after) -> Coro<void> {
        co_await weft::sleep(after);
        sum += value;
    };
    auto body = [&](TaskGroup& group) -> Coro<std::string> {
        group.create_task(adds, 1, 2s);
        group.create_task(adds(2, 1s));
        group.create_task(adds, 4, 3s, TaskOptions("last"));
        co_return "body";
    };
    const auto began = weft::get_running_loop().time();
    const std::string result = co_await task_group(body);
    REQUIRE(result == "body");
    REQUIRE(sum == 7);
    REQUIRE(weft::get_running_loop().time() - began == 3s);
}

WEFT_TEST_CASE("a group without children ends with its body", "[task_group]") {
    bool other = false;
    weft::get_running_loop().call_soon([&] { other = true; });
    co_await task_group([](TaskGroup&) -> Coro<void> { co_return; });
    const auto moved = co_await task_group(
        [](TaskGroup&, std::unique_ptr<int> number) -> Coro<std::unique_ptr<int>> {
            co_return number;
        },
        std::make_unique<int>(3));
    REQUIRE(*moved == 3);
    REQUIRE_FALSE(other);
    co_await weft::yield();  // the callback refers to this frame
}

WEFT_TEST_CASE("children may add more children, also when the body has ended", "[task_group]") {
    int ran = 0;
    std::function<Coro<void>(TaskGroup&, int)> spawns = [&](TaskGroup& group,
                                                            int depth) -> Coro<void> {
        ++ran;
        co_await weft::sleep(1s);
        if (depth > 0) {
            group.create_task(spawns, std::ref(group), depth - 1);
            group.create_task(spawns, std::ref(group), depth - 1);
        }
    };
    auto body = [&](TaskGroup& group) -> Coro<void> { co_await spawns(group, 4); };
    co_await task_group(body);
    REQUIRE(ran == 31);
}

WEFT_TEST_CASE("a group can be used by reference from a long-lived object", "[task_group]") {
    struct Service {
        TaskGroup& group;
        int served = 0;
        Coro<void> serve(int request) {
            co_await weft::sleep(request * 1s);
            served += request;
        }
        void on_request(int request) { group.create_task(&Service::serve, this, request); }
    };
    auto body = [](TaskGroup& group) -> Coro<int> {
        Service service{group};
        // From callbacks too: outside of any task.
        weft::get_running_loop().call_later(1s, [&] { service.on_request(2); });
        service.on_request(1);
        co_await weft::sleep(4s);
        co_return service.served;
    };
    const int served = co_await task_group(body);
    REQUIRE(served == 3);
}

WEFT_TEST_CASE("the handle of a child gives its result, in the body and afterwards",
               "[task_group]") {
    Task<int> kept;
    auto body = [&](TaskGroup& group) -> Coro<int> {
        auto child = group.create_task(gives(4, 1s));
        kept = group.create_task(gives(5, 2s));
        co_return co_await child;
    };
    const int value = co_await task_group(body);
    REQUIRE(value == 4);
    REQUIRE(kept.result() == 5);
}

// --- failures ---

WEFT_TEST_CASE("the first failure cancels siblings and body, and all errors come as one group",
               "[task_group]") {
    std::string log;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(fails("child", 1s));
        group.create_task(cleans_up(log, 'a', 2s));
        group.create_task(fails_at_cancel("clean-up"));
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            log += 'b';
            throw;
        }
    };
    const auto began = weft::get_running_loop().time();
    const auto end = co_await end_of(task_group(body));
    REQUIRE(end == "{child,clean-up}");
    REQUIRE(log == "ba");
    REQUIRE(weft::get_running_loop().time() - began == 3s);
    REQUIRE(weft::all_tasks().size() == 1);
    REQUIRE(weft::current_task().cancelling() == 0);
    const bool hit = co_await struck();
    REQUIRE_FALSE(hit);
}

WEFT_TEST_CASE("an exception of the body cancels the children and joins their errors",
               "[task_group]") {
    std::string log;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(fails_at_cancel("child"));
        group.create_task(cleans_up(log, 'a'));
        co_await weft::yield();
        throw std::runtime_error("body");
    };
    const auto end = co_await end_of(task_group(body));
    REQUIRE(end == "{child,body}");
    REQUIRE(log == "a");
}

WEFT_TEST_CASE("a body that answers its cancel with an error adds that error", "[task_group]") {
    auto body = [](TaskGroup& group) -> Coro<void> {
        group.create_task(fails("child", 1s));
        co_await fails_at_cancel("body");
    };
    const auto end = co_await end_of(task_group(body));
    REQUIRE(end == "{child,body}");
    REQUIRE(weft::current_task().cancelling() == 0);
}

WEFT_TEST_CASE("a failure that the body saw at its await is in the group once", "[task_group]") {
    // asyncio lists it twice.
    auto body = [](TaskGroup& group) -> Coro<void> {
        auto child = group.create_task(fails("child", 1s));
        co_await child;
    };
    const auto end = co_await end_of(task_group(body));
    REQUIRE(end == "{child}");
    const bool hit = co_await struck();
    REQUIRE_FALSE(hit);
}

WEFT_TEST_CASE("a failure counts although somebody else retrieves it", "[task_group]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    Task<int> kept;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        kept = group.create_task(fails("child"));
        co_await kept.wait();
    };
    const auto end = co_await end_of(task_group(body));
    REQUIRE(end == "{child}");
    REQUIRE(kept.exception());
    kept = Task<int>();
    REQUIRE(reports->empty());
}

WEFT_TEST_CASE("a child that is cancelled alone does not disturb the group", "[task_group]") {
    auto body = [](TaskGroup& group) -> Coro<int> {
        auto child = group.create_task(sleeps());
        auto sibling = group.create_task(gives(1, 2s));
        co_await weft::sleep(1s);
        child.cancel();
        co_await child.wait();
        co_return co_await sibling;
    };
    const int value = co_await task_group(body);
    REQUIRE(value == 1);
}

WEFT_TEST_CASE("a body that catches the cancel returns, and the errors are thrown all the same",
               "[task_group]") {
    auto body = [](TaskGroup& group) -> Coro<int> {
        group.create_task(fails("child", 1s));
        co_return co_await swallows(3);
    };
    const auto end = co_await end_of(task_group(body));
    REQUIRE(end == "{child}");
    REQUIRE(weft::current_task().cancelling() == 0);
}

// --- nested groups ---

WEFT_TEST_CASE("nested groups each see their own errors", "[task_group]") {
    auto inner = [](TaskGroup& group) -> Coro<void> {
        group.create_task(fails("inner", 1s));
        co_await weft::sleep(1h);
    };
    auto outer = [&](TaskGroup& group) -> Coro<std::string> {
        group.create_task(gives(1, 5s));
        const auto end = co_await end_of(task_group(inner));
        co_return end + (co_await struck() ? "!" : ".");
    };
    const auto end = co_await task_group(outer);
    REQUIRE(end == "{inner}.");
    REQUIRE(weft::current_task().cancelling() == 0);
}

WEFT_TEST_CASE("an error of the outer group passes through the inner one as a cancel",
               "[task_group]") {
    std::string seen;
    auto inner = [](TaskGroup& group) -> Coro<void> {
        group.create_task(sleeps());
        co_return;
    };
    auto outer = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(fails("outer", 1s));
        seen = co_await end_of(task_group(inner));
        throw weft::CancelledError();
    };
    const auto end = co_await end_of(task_group(outer));
    REQUIRE(seen == "c");
    REQUIRE(end == "{outer}");
    REQUIRE(weft::current_task().cancelling() == 0);
}

WEFT_TEST_CASE("inner and outer children that fail in the same instant keep their groups",
               "[task_group]") {
    auto inner = [](TaskGroup& group) -> Coro<void> {
        group.create_task(fails("inner", 1s));
        co_await weft::sleep(1h);
    };
    auto outer = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(fails("outer", 1s));
        co_await task_group(inner);
    };
    const auto end = co_await end_of(task_group(outer));
    REQUIRE(end == "{outer,{inner}}");
    REQUIRE(weft::current_task().cancelling() == 0);
    const bool hit = co_await struck();
    REQUIRE_FALSE(hit);
}

WEFT_TEST_CASE("groups of groups fail as a tree", "[task_group]") {
    std::function<Coro<void>(int)> tree = [&](int depth) -> Coro<void> {
        if (depth == 0) {
            co_await fails("leaf", 1s);
            co_return;
        }
        auto body = [&](TaskGroup& group) -> Coro<void> {
            group.create_task(tree, depth - 1);
            group.create_task(tree, depth - 1);
            co_return;
        };
        co_await task_group(body);
    };
    const auto end = co_await end_of(tree(2));
    REQUIRE(end == "{{leaf,leaf},{leaf,leaf}}");
}

// --- what is refused ---

WEFT_TEST_CASE("create_task on a finished or failing group is an error, the coroutine goes quietly",
               "[task_group]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    weft::current_task().set_name("boss");
    int alive = 0;
    auto child = [](probe::Alive) -> Coro<void> { co_return; };
    std::string refusal;
    auto late = [&](TaskGroup& group) -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            refusal = probe::message_of<weft::RuntimeError>(
                [&] { group.create_task(child(probe::Alive(alive))); });
            throw;
        }
    };
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(late, std::ref(group));
        group.create_task(fails("x"));
        co_return;
    };
    const auto end = co_await end_of(task_group(body));
    REQUIRE(end == "{x}");
    REQUIRE(refusal == "create_task: the task group of task 'boss' is shutting down");
    REQUIRE(alive == 0);

    std::string after_end;
    auto holder = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(gives(1));
        // Runs when the last child has ended and the group's task has not resumed yet.
        weft::get_running_loop().call_soon([&] {
            after_end = probe::message_of<weft::RuntimeError>(
                [&] { group.create_task(child(probe::Alive(alive))); });
        });
        co_return;
    };
    co_await task_group(holder);
    REQUIRE(after_end == "create_task: the task group of task 'boss' is finished");
    REQUIRE(alive == 0);
    REQUIRE(reports->empty());
}

WEFT_TEST_CASE("a child created while its creator fails is cancelled", "[task_group]") {
    bool ran = false;
    auto late = [&]() -> Coro<void> {
        ran = true;
        co_return;
    };
    Task<void> made;
    auto creator = [&](TaskGroup& group) -> Coro<void> {
        co_await weft::sleep(1s);
        made = group.create_task(late);
        throw std::runtime_error("creator");
    };
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(creator, std::ref(group));
        co_return;
    };
    // The failure is told before the child's first step or after; either way it is awaited.
    const auto end = co_await end_of(task_group(body));
    REQUIRE(end == "{creator}");
    REQUIRE(made.done());
    auto body_fails = [&](TaskGroup& group) -> Coro<void> {
        ran = false;
        made = group.create_task(late);
        throw std::runtime_error("body");
        co_return;
    };
    const auto second = co_await end_of(task_group(body_fails));
    REQUIRE(second == "{body}");
    REQUIRE(made.cancelled());
    REQUIRE_FALSE(ran);
}

WEFT_TEST_CASE("exponential spawners are stopped", "[task_group]") {
    // A child that makes two more before it ends, for ever (CPython issue 94398).
    int made = 0;
    std::function<Coro<void>(TaskGroup&)> spawner = [&](TaskGroup& group) -> Coro<void> {
        ++made;
        co_await weft::sleep(1s);
        group.create_task(spawner, std::ref(group));
        group.create_task(spawner, std::ref(group));
    };
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(spawner, std::ref(group));
        co_await weft::sleep(8500ms);
        throw std::runtime_error("enough");
    };
    const auto end = co_await end_of(task_group(body));
    REQUIRE(end == "{enough}");
    REQUIRE(made == 511);
    REQUIRE(weft::all_tasks().size() == 1);
}

}  // namespace task_group_test
