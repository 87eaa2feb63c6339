// SPDX-License-Identifier: MIT
// TaskGroup::start: waits until the child says that it is ready.
#include <weft/testing/catch.hpp>
#include <weft/together/task_group.hpp>

#include <memory>
#include <string>
#include <utility>

#include "children.hpp"
#include "probe.hpp"

namespace task_group_start_test {

using namespace children;
using weft::Task;
using weft::task_group;
using weft::TaskGroup;
using weft::TaskStatus;

WEFT_TEST_CASE("start waits until the child is ready and returns what it says", "[task_group]") {
    std::string log;
    auto serve = [&](TaskStatus<int> status, int port) -> Coro<void> {
        co_await weft::sleep(2s);
        status.started(port + 1);
        co_await weft::sleep(3s);
        log += 's';
    };
    auto body = [&](TaskGroup& group) -> Coro<void> {
        const auto began = weft::get_running_loop().time();
        const int port = co_await group.start<int>(serve, 80);
        REQUIRE(port == 81);
        REQUIRE(weft::get_running_loop().time() - began == 2s);
        log += 'b';
    };
    co_await task_group(body);
    REQUIRE(log == "bs");
}

WEFT_TEST_CASE("start without a value, and with one that can only be moved", "[task_group]") {
    auto plain = [](TaskStatus<> status) -> Coro<int> {
        co_await weft::yield();
        status.started();
        co_return 1;
    };
    auto moves = [](TaskStatus<std::unique_ptr<int>> status) -> Coro<void> {
        status.started(std::make_unique<int>(4));
        co_return;
    };
    auto body = [&](TaskGroup& group) -> Coro<int> {
        co_await group.start(plain);
        auto four = co_await group.start<std::unique_ptr<int>>(moves);
        co_return *four;
    };
    const int value = co_await task_group(body);
    REQUIRE(value == 4);
}

WEFT_TEST_CASE("start raises what the child raised before it was ready, and the group goes on",
               "[task_group]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    auto serve = [](TaskStatus<> status) -> Coro<void> {
        co_await weft::sleep(1s);
        throw std::runtime_error("bind");
        status.started();
    };
    auto body = [&](TaskGroup& group) -> Coro<std::string> {
        auto sibling = group.create_task(gives(1, 5s));
        const auto end = co_await end_of(group.start(serve));
        co_await sibling;
        co_return end;
    };
    const auto end = co_await task_group(body);
    REQUIRE(end == "bind");
    REQUIRE(reports->empty());
}

WEFT_TEST_CASE("a child that fails after it was ready fails the group", "[task_group]") {
    for (const bool at_once : {true, false}) {
        auto serve = [&](TaskStatus<> status) -> Coro<void> {
            status.started();
            if (!at_once) co_await weft::sleep(1s);
            throw std::runtime_error("later");
        };
        bool ready = false;
        auto body = [&](TaskGroup& group) -> Coro<void> {
            co_await group.start(serve);
            ready = true;
            co_await weft::sleep(1h);
        };
        const auto end = co_await end_of(task_group(body));
        REQUIRE(end == "{later}");
        REQUIRE(ready);
        REQUIRE(weft::current_task().cancelling() == 0);
    }
}

WEFT_TEST_CASE("a child that returns without being ready is an error of start", "[task_group]") {
    auto serve = [](TaskStatus<int>) -> Coro<void> {
        weft::current_task().set_name("listener");
        co_await weft::yield();
    };
    auto body = [&](TaskGroup& group) -> Coro<std::string> {
        co_return co_await end_of(group.start<int>(serve));
    };
    const auto end = co_await task_group(body);
    REQUIRE(end ==
            "start: the task 'listener' ended without saying that it is ready "
            "(TaskStatus::started)");
}

WEFT_TEST_CASE("a child says once that it is ready", "[task_group]") {
    auto serve = [](TaskStatus<> status) -> Coro<void> {
        status.started();
        status.started();
        co_return;
    };
    auto body = [&](TaskGroup& group) -> Coro<void> { co_await group.start(serve); };
    std::string what;
    try {
        co_await task_group(body);
    } catch (const weft::ExceptionGroup& group) {
        what = weft::detail::is_a<weft::InvalidStateError>(group.exceptions().front()) ? "state"
                                                                                       : "other";
    }
    REQUIRE(what == "state");
}

WEFT_TEST_CASE("cancelling a start cancels the child and waits for it", "[task_group]") {
    std::string log;
    auto serve = [&](TaskStatus<>) -> Coro<void> { co_await cleans_up(log, 'a', 2s); };
    auto body = [&](TaskGroup& group) -> Coro<void> { co_await group.start(serve); };
    auto task = weft::create_task(task_group(body));
    co_await turns(3);
    task.cancel();
    const auto end = co_await end_of(task);
    REQUIRE(end == "c");
    REQUIRE(log == "a");
}

WEFT_TEST_CASE("a start that was ready in spite of its cancel returns, then the cancel strikes",
               "[task_group]") {
    std::string log;
    auto serve = [&](TaskStatus<int> status) -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
        }
        status.started(7);
        co_await weft::sleep(1s);
    };
    auto body = [&](TaskGroup& group) -> Coro<void> {
        const int value = co_await group.start<int>(serve);
        log += std::to_string(value);
        const bool hit = co_await struck();
        log += hit ? "!" : ".";
    };
    auto task = weft::create_task(task_group(body));
    co_await turns(3);
    task.cancel();
    co_await end_of(task);
    REQUIRE(log == "7!");
}

WEFT_TEST_CASE("a group that fails cancels a child that is not ready yet", "[task_group]") {
    auto serve = [](TaskStatus<>) -> Coro<void> { co_await weft::sleep(1h); };
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(fails("sibling", 1s));
        co_await group.start(serve);
    };
    const auto end = co_await end_of(task_group(body));
    REQUIRE(end == "{sibling}");
    REQUIRE(weft::current_task().cancelling() == 0);
}

}  // namespace task_group_start_test
