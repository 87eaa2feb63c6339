// SPDX-License-Identifier: MIT
// Children of a group that wait for the group's own task: nobody could end first.
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/task_group.hpp>

#include <optional>
#include <string>
#include <vector>

#include "children.hpp"

namespace task_group_circles_test {

using namespace children;
using weft::Task;
using weft::TaskGroup;

namespace {

/// Awaits the task that the handle refers to by then.
Coro<void> awaits(const std::optional<Task<void>>& task) {
    co_await weft::yield();
    co_await *task;
}
/// The same by way of `links` other tasks.
Coro<void> awaits_behind(const std::optional<Task<void>>& task, int links) {
    if (links == 0) {
        co_await awaits(task);
    } else {
        auto next = weft::create_task(awaits_behind(task, links - 1));
        co_await next;
    }
}
Coro<void> gathers(const std::optional<Task<void>>& task, bool last) {
    co_await weft::yield();
    if (last) {
        co_await weft::gather(sleeps(), *task);
    } else {
        co_await weft::gather(*task, sleeps());
    }
}
Coro<void> nests(const std::optional<Task<void>>& task, int depth) {
    co_await weft::task_group([&](TaskGroup& group) -> Coro<void> {
        for (int i = 0; i < 2; ++i) {
            group.create_task(depth > 0 ? nests(task, depth - 1) : awaits(task));
        }
        co_return;
    });
}

/// A group of the children that `add(group)` starts; its task is cancelled by `ends`.
template <class Add, class End>
Coro<std::string> circle(std::optional<Task<void>>& parent, Add add, End ends) {
    auto body = [&](TaskGroup& group) -> Coro<void> {
        add(group);
        co_return;
    };
    auto scope = [&]() -> Coro<void> { co_await weft::task_group(body); };
    parent = weft::create_task(scope);
    co_await turns(12);
    REQUIRE_FALSE(parent->done());
    ends();
    co_await turns(40);
    REQUIRE(parent->done());
    const std::string end = co_await end_of(*parent);
    REQUIRE(weft::all_tasks().size() == 1);
    co_return end;
}

}  // namespace

WEFT_TEST_CASE("children that wait for the group's own task end when that is cancelled",
               "[task_group]") {
    for (const int children : {1, 2, 3, 10}) {
        std::optional<Task<void>> parent;
        auto add = [&](TaskGroup& group) {
            for (int i = 0; i < children; ++i) group.create_task(awaits(parent));
        };
        const std::string end = co_await circle(parent, add, [&] { parent->cancel(); });
        REQUIRE(end == "c");
        REQUIRE(parent->cancelling() == 1);
    }
}

WEFT_TEST_CASE("the same behind chains of other tasks", "[task_group]") {
    for (int links = 1; links < 6; ++links) {
        for (const int children : {1, 2, 3}) {
            std::optional<Task<void>> parent;
            auto add = [&](TaskGroup& group) {
                for (int i = 0; i < children; ++i) {
                    group.create_task(awaits_behind(parent, links + i));
                }
            };
            const std::string end = co_await circle(parent, add, [&] { parent->cancel(); });
            REQUIRE(end == "c");
            REQUIRE(parent->cancelling() == 1);
        }
    }
}

WEFT_TEST_CASE("the same in groups in groups", "[task_group]") {
    for (const int depth : {0, 1, 2}) {
        std::optional<Task<void>> parent;
        auto add = [&](TaskGroup& group) {
            group.create_task(nests(parent, depth));
            group.create_task(nests(parent, depth));
        };
        const std::string end = co_await circle(parent, add, [&] { parent->cancel(); });
        REQUIRE(end == "c");
        REQUIRE(parent->cancelling() == 1);
    }
}

WEFT_TEST_CASE("the same where the group's task is one of several that a child gathers",
               "[task_group]") {
    for (const bool last : {false, true}) {
        for (const int children : {1, 2, 3}) {
            std::optional<Task<void>> parent;
            auto add = [&](TaskGroup& group) {
                for (int i = 0; i < children; ++i) group.create_task(gathers(parent, last));
            };
            const std::string end = co_await circle(parent, add, [&] { parent->cancel(); });
            REQUIRE(end == "c");
            REQUIRE(parent->cancelling() == 1);
        }
    }
}

WEFT_TEST_CASE("one of the waiting children is cancelled, and with it all", "[task_group]") {
    for (const std::size_t which : {0u, 1u, 2u}) {
        std::optional<Task<void>> parent;
        std::vector<Task<void>> all;
        auto add = [&](TaskGroup& group) {
            for (int i = 0; i < 3; ++i) all.push_back(group.create_task(awaits(parent)));
        };
        const std::string end = co_await circle(parent, add, [&] { all[which].cancel(); });
        REQUIRE(end == "c");
        REQUIRE(parent->cancelling() == 1);
    }
}

WEFT_TEST_CASE("a sibling's failure ends children that wait for the group's own task",
               "[task_group]") {
    for (const bool in_body : {false, true}) {
        std::optional<Task<void>> parent;
        bool struck_later = true;
        auto body = [&](TaskGroup& group) -> Coro<void> {
            for (int i = 0; i < 3; ++i) group.create_task(awaits(parent));
            group.create_task(fails("x", 1s));
            if (in_body) co_await weft::sleep(1h);
        };
        auto scope = [&]() -> Coro<void> {
            std::exception_ptr error;
            try {
                co_await weft::task_group(body);
            } catch (const weft::ExceptionGroup&) {
                error = std::current_exception();
            }
            struck_later = co_await struck();  // nobody else has asked
            if (error) std::rethrow_exception(error);
        };
        parent = weft::create_task(scope);
        co_await weft::sleep(2s);
        REQUIRE(parent->done());
        const std::string end = co_await end_of(*parent);
        REQUIRE(end == "{x}");
        REQUIRE_FALSE(struck_later);
        REQUIRE(parent->cancelling() == 0);
        REQUIRE(weft::all_tasks().size() == 1);
    }
}

WEFT_TEST_CASE("tasks outside that wait for a group's task twice wait for its clean-up",
               "[task_group]") {
    std::string log;
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(cleans_up(log, 'a', 5s));
        group.create_task(cleans_up(log, 'b', 6s));
        co_return;
    };
    auto scope = [&]() -> Coro<void> { co_await weft::task_group(body); };
    auto parent = weft::create_task(scope);
    auto outside = [&](char mark) -> Coro<void> {
        try {
            co_await parent;
        } catch (const weft::CancelledError&) {
        }
        log += mark;
    };
    auto both = [&]() -> Coro<void> { co_await weft::gather(outside('1'), outside('2')); };
    auto task = weft::create_task(both);
    co_await turns(4);
    task.cancel();
    co_await turns(4);
    task.cancel();
    co_await task.wait();
    REQUIRE(log == "ab12");
}

}  // namespace task_group_circles_test
