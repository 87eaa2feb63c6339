// SPDX-License-Identifier: MIT
// task_group under cancels: from outside, from its own cancel(), and both; eager children; start.
#include <weft/task/future.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/task_group.hpp>

#include <functional>
#include <string>
#include <utility>

#include "children.hpp"
#include "probe.hpp"

namespace task_group_cancel_test {

using namespace children;
using weft::Task;
using weft::task_group;
using weft::TaskGroup;
using weft::TaskOptions;
using weft::TaskStatus;

namespace {

/// The end of the group of `body`, the task's cancel count, and "!" when a cancel is still to come.
template <class Body>
Coro<std::string> outcome(Body& body) {
    std::string text = co_await end_of(task_group(std::ref(body)));
    text += ' ' + std::to_string(weft::current_task().cancelling());
    if (co_await struck()) text += '!';
    co_return text;
}

}  // namespace

// --- cancels from outside ---

WEFT_TEST_CASE("an outer cancel of a waiting group cancels the children: CancelledError",
               "[task_group]") {
    std::string log;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(cleans_up(log, 'a', 1s));
        group.create_task(cleans_up(log, 'b', 2s));
        co_return;
    };
    auto task = weft::create_task(outcome(body));
    co_await turns(3);
    task.cancel("outer");
    const auto end = co_await task;
    REQUIRE(end == "c 1");
    REQUIRE(log == "ab");
}

WEFT_TEST_CASE("an outer cancel during the body strikes there and cancels the children",
               "[task_group]") {
    std::string log;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(cleans_up(log, 'a', 1s));
        co_await weft::sleep(1h);
    };
    auto task = weft::create_task(outcome(body));
    co_await turns(3);
    task.cancel();
    const auto end = co_await task;
    REQUIRE(end == "c 1");
    REQUIRE(log == "a");
}

WEFT_TEST_CASE("the message of an outer cancel comes out of a waiting group", "[task_group]") {
    std::string message;
    auto children_only = [](TaskGroup& group) -> Coro<void> {
        group.create_task(sleeps());
        co_return;
    };
    auto body = [&]() -> Coro<void> {
        try {
            co_await task_group(children_only);
        } catch (const weft::CancelledError& error) {
            message = error.message();
        }
    };
    auto task = weft::create_task(body);
    co_await turns(3);
    task.cancel("why");
    co_await task;
    REQUIRE(message == "why");
}

WEFT_TEST_CASE("outer cancel plus child error: the group of errors, and the cancel strikes again",
               "[task_group]") {
    for (const bool in_body : {false, true}) {
        auto body = [&](TaskGroup& group) -> Coro<void> {
            group.create_task(fails_at_cancel("child"));
            if (in_body) co_await weft::sleep(1h);
        };
        auto task = weft::create_task(outcome(body));
        co_await turns(3);
        task.cancel();
        const auto end = co_await task;
        REQUIRE(end == "{child} 1!");
    }
}

WEFT_TEST_CASE("an outer cancel in the same turn as a child's failure still surfaces",
               "[task_group]") {
    // CPython issues 86296 and 94398: the group swallowed it.
    for (const bool in_body : {false, true}) {
        auto future = weft::get_running_loop().create_future<void>();
        auto child = [&]() -> Coro<void> {
            co_await future;
            throw std::runtime_error("child");
        };
        auto body = [&](TaskGroup& group) -> Coro<void> {
            group.create_task(child);
            if (in_body) co_await weft::sleep(1h);
        };
        for (const int order : {0, 1, 2}) {
            future = weft::get_running_loop().create_future<void>();
            auto task = weft::create_task(outcome(body));
            co_await turns(4);
            future.set_result();
            co_await turns(order);  // before the failure, as it is told, and after
            task.cancel();
            const auto end = co_await task;
            CAPTURE(in_body);
            CAPTURE(order);
            REQUIRE(end == "{child} 1!");
        }
    }
}

WEFT_TEST_CASE("a second cancel while children clean up does not cut the clean-up short",
               "[task_group]") {
    std::string log;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(cleans_up(log, 'a', 5s));
        co_return;
    };
    auto task = weft::create_task(outcome(body));
    co_await turns(3);
    task.cancel();
    co_await weft::sleep(2s);
    task.cancel();
    const auto end = co_await task;
    REQUIRE(end == "c 2");
    REQUIRE(log == "a");
}

WEFT_TEST_CASE("a cancel that comes when the last child has ended strikes after the group",
               "[task_group]") {
    auto future = weft::get_running_loop().create_future<void>();
    auto child = [&]() -> Coro<void> { co_await future; };
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(child);
        co_return;
    };
    auto task = weft::create_task(outcome(body));
    co_await turns(4);
    future.set_result();
    co_await turns(1);  // the child has ended, and the group's task has not run yet
    task.cancel();
    const auto end = co_await task;
    REQUIRE(end == "v 1!");
}

WEFT_TEST_CASE("a group works in the clean-up of a cancelled task, and its errors add no cancel",
               "[task_group]") {
    auto inner = [](TaskGroup& group) -> Coro<void> {
        group.create_task(fails("late", 1s));
        co_await weft::sleep(1h);
    };
    auto body = [&]() -> Coro<std::string> {
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
        }
        co_return co_await outcome(inner);
    };
    auto task = weft::create_task(body);
    co_await turns(2);
    task.cancel();
    const auto end = co_await task;
    REQUIRE(end == "{late} 1");
}

WEFT_TEST_CASE("a group under a pending cancel is struck at its first suspension, as a cancel",
               "[task_group]") {
    bool ran = false;
    auto child = [&]() -> Coro<void> {
        ran = true;
        co_return;
    };
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(child);
        co_return;
    };
    auto cancels_itself = [&]() -> Coro<std::string> {
        weft::current_task().cancel();
        co_return co_await outcome(body);
    };
    const auto end = co_await weft::create_task(cancels_itself);
    REQUIRE(end == "c 1");
    REQUIRE_FALSE(ran);
}

WEFT_TEST_CASE("a third party's cancelled future in the body cancels the group, not the count",
               "[task_group]") {
    auto future = weft::get_running_loop().create_future<void>();
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(sleeps());
        co_await future;
    };
    weft::get_running_loop().call_later(1s, [&] { future.cancel(); });
    const auto end = co_await weft::create_task(outcome(body));
    REQUIRE(end == "c 0");
}

WEFT_TEST_CASE("a cancel goes down a chain of 20,000 groups in groups without recursion",
               "[task_group]") {
    struct Nest {
        static Coro<void> of(Task<void> inner) {
            auto body = [&](TaskGroup& group) -> Coro<void> {
                auto waits = [&]() -> Coro<void> { co_await inner; };
                co_await group.create_task(waits);
            };
            co_await task_group(std::ref(body));
        }
    };
    Task<void> task = weft::create_task(sleeps());
    for (int i = 0; i < 20'000; ++i) task = weft::create_task(Nest::of(std::move(task)));
    co_await turns(4);
    task.cancel();
    const auto end = co_await end_of(task);
    REQUIRE(end == "c");
}

// --- the group's own cancel ---

WEFT_TEST_CASE("cancel() on the group is silent and idempotent", "[task_group]") {
    std::string log;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(cleans_up(log, 'a'));
        co_await weft::sleep(1s);
        group.cancel();
        group.cancel();
        log += 'b';
        co_await weft::sleep(1h);
        log += 'x';
    };
    const auto end = co_await outcome(body);
    REQUIRE(end == "v 0");
    REQUIRE(log == "ba");
}

WEFT_TEST_CASE("cancel() from a child, in the body or while the group waits, is silent too",
               "[task_group]") {
    for (const bool in_body : {false, true}) {
        auto child = [](TaskGroup& group) -> Coro<void> {
            co_await weft::sleep(1s);
            group.cancel();
            group.cancel();
        };
        auto body = [&](TaskGroup& group) -> Coro<void> {
            group.create_task(sleeps());
            group.create_task(child, std::ref(group));
            if (in_body) co_await weft::sleep(1h);
        };
        const auto end = co_await outcome(body);
        REQUIRE(end == "v 0");
    }
}

WEFT_TEST_CASE("a foreign cancel after the group's own still surfaces", "[task_group]") {
    for (const bool in_body : {false, true}) {
        std::string log;
        TaskGroup* open = nullptr;
        auto body = [&](TaskGroup& group) -> Coro<void> {
            open = &group;
            group.create_task(cleans_up(log, 'a', 5s));
            if (in_body) co_await weft::sleep(1h);
        };
        auto task = weft::create_task(outcome(body));
        co_await turns(3);
        open->cancel();
        co_await weft::sleep(1s);
        task.cancel();
        const auto end = co_await task;
        REQUIRE(end == "c 1");
        REQUIRE(log == "a");
    }
}

WEFT_TEST_CASE("the group's own cancel and a foreign one in the same turn: the foreign one counts",
               "[task_group]") {
    TaskGroup* open = nullptr;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        open = &group;
        group.create_task(sleeps());
        co_await weft::sleep(1h);
    };
    for (const bool foreign_first : {false, true}) {
        auto task = weft::create_task(outcome(body));
        co_await turns(3);
        if (foreign_first) task.cancel();
        open->cancel();
        if (!foreign_first) task.cancel();
        const auto end = co_await task;
        REQUIRE(end == "c 1");
    }
}

WEFT_TEST_CASE("errors win over the group's own cancel", "[task_group]") {
    auto body = [](TaskGroup& group) -> Coro<void> {
        group.create_task(fails_at_cancel("child"));
        co_await weft::yield();
        group.cancel();
    };
    const auto end = co_await outcome(body);
    REQUIRE(end == "{child} 0");
}

WEFT_TEST_CASE("a cancelled group without suspension of its body takes its request back",
               "[task_group]") {
    auto body = [](TaskGroup& group) -> Coro<void> {
        group.create_task(sleeps());
        group.cancel();
        co_return;
    };
    const auto end = co_await outcome(body);
    REQUIRE(end == "v 0");
}

WEFT_TEST_CASE("a body with a result that its group's cancel ended has none: a RuntimeError",
               "[task_group]") {
    auto body = [](TaskGroup& group) -> Coro<int> {
        group.cancel();
        co_await weft::sleep(1h);
        co_return 1;
    };
    const auto end = co_await outcome(body);
    REQUIRE(end == "task_group: cancelled before the body returned its result 0");
    auto in_time = [](TaskGroup& group) -> Coro<int> {
        group.cancel();
        co_return 1;
    };
    const int value = co_await task_group(in_time);
    REQUIRE(value == 1);
}

WEFT_TEST_CASE("a child that won against the group's cancel and starts another is struck there",
               "[task_group]") {
    auto future = weft::get_running_loop().create_future<void>();
    std::string log;
    auto child = [&](TaskGroup& group) -> Coro<void> {
        co_await future;
        log += 'w';
        group.create_task(sleeps());
        log += 'x';
    };
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(child, std::ref(group));
        co_await turns(3);
        future.set_result();
        group.cancel();
        co_await weft::yield();  // as long as the body is there, results are returned
    };
    const auto end = co_await outcome(body);
    REQUIRE(end == "v 0");
    REQUIRE(log == "w");
}

// --- eager children ---

WEFT_TEST_CASE("an eager child that cancels its own group does not hang it", "[task_group]") {
    for (const bool goes_on : {false, true}) {
        auto child = [&](TaskGroup& group) -> Coro<void> {
            group.cancel();
            if (goes_on) co_await weft::sleep(24h);
        };
        auto body = [&](TaskGroup& group) -> Coro<void> {
            group.create_task(child, std::ref(group), TaskOptions("", true));
            co_await weft::sleep(1h);
        };
        const auto began = weft::get_running_loop().time();
        const auto end = co_await outcome(body);
        REQUIRE(end == "v 0");
        REQUIRE(weft::get_running_loop().time() == began);
    }
}

WEFT_TEST_CASE("an eager child that fails at once fails the group, after create_task returned",
               "[task_group]") {
    // CPython issues 128550, 128588: the creator was struck inside.
    std::string log;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        auto child = group.create_task(fails("eager"), TaskOptions("", true));
        log += child.done() ? 'd' : '-';
        group.create_task(cleans_up(log, 'x'));
        log += 'a';
        co_await weft::sleep(1h);
    };
    const auto end = co_await outcome(body);
    REQUIRE(end == "{eager} 0");
    REQUIRE(log == "da");
}

WEFT_TEST_CASE("eager children that are done at once keep no node", "[task_group]") {
    int ran = 0;
    auto child = [&]() -> Coro<void> {
        ++ran;
        co_return;
    };
    auto body = [&](TaskGroup& group) -> Coro<void> {
        for (int i = 0; i < 100; ++i) group.create_task(child, TaskOptions("", true));
        co_return;
    };
    bool other = false;
    weft::get_running_loop().call_soon([&] { other = true; });
    co_await task_group(body);
    REQUIRE(ran == 100);
    REQUIRE_FALSE(other);
    co_await weft::yield();  // the callback refers to this frame
}

}  // namespace task_group_cancel_test
