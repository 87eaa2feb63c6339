// SPDX-License-Identifier: MIT
// all: gather's results, or the first error when the siblings are gone.
#include <weft/testing/catch.hpp>
#include <weft/together/gather.hpp>

#include <string>
#include <tuple>
#include <vector>

#include "children.hpp"
#include "probe.hpp"

namespace all_test {

using namespace children;

WEFT_TEST_CASE("all gives the results like gather", "[all]") {
    auto results = co_await weft::all(gives(1, 2s), gives(2, 1s), weft::sleep(1s));
    REQUIRE(std::get<0>(results) == 1);
    REQUIRE(std::get<1>(results) == 2);
    std::vector<Coro<int>> list;
    for (int i = 0; i < 5; ++i) list.push_back(gives(i, 1s));
    const auto range = co_await weft::all(std::move(list));
    REQUIRE(range == std::vector<int>{0, 1, 2, 3, 4});
}

WEFT_TEST_CASE("the first error of all cancels the siblings, awaits their clean-up, then raises",
               "[all]") {
    std::string log;
    const auto began = weft::get_running_loop().time();
    const auto end = co_await end_of(
        weft::all(cleans_up(log, 'a', 1s), fails("first", 1s), cleans_up(log, 'b', 3s)));
    REQUIRE(end == "first");
    REQUIRE(log == "ab");
    REQUIRE(weft::get_running_loop().time() - began == 4s);
    REQUIRE(weft::all_tasks().size() == 1);
}

WEFT_TEST_CASE("all cancels tasks and futures that were passed to it too", "[all]") {
    auto task = weft::create_task(sleeps());
    auto future = weft::get_running_loop().create_future<int>();
    const auto end = co_await end_of(weft::all(task, future, fails("x", 1s)));
    REQUIRE(end == "x");
    REQUIRE(task.cancelled());
    REQUIRE(future.cancelled());
}

WEFT_TEST_CASE("all with an error that is there already starts no coroutine", "[all]") {
    auto failed = weft::create_task(fails("done"));
    co_await failed.wait();
    bool began = false;
    auto child = [&]() -> Coro<void> {
        began = true;
        co_return;
    };
    const auto end = co_await end_of(weft::all(child, failed, child));
    REQUIRE(end == "done");
    REQUIRE_FALSE(began);
}

WEFT_TEST_CASE("errors of the siblings' clean-up do not replace the first, and are not reported",
               "[all]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    const auto end = co_await end_of(weft::all(fails_at_cancel("second"), fails("first", 1s)));
    REQUIRE(end == "first");
    REQUIRE(reports->empty());
}

WEFT_TEST_CASE("a cancelled child of all is an error and cancels the siblings", "[all]") {
    auto child = weft::create_task(sleeps());
    auto sibling = weft::create_task(sleeps());
    weft::get_running_loop().call_later(1s, [&] { child.cancel(); });
    const auto end = co_await end_of(weft::all(child, sibling));
    REQUIRE(end == "c");
    REQUIRE(sibling.cancelled());
    REQUIRE(weft::current_task().cancelling() == 0);
}

WEFT_TEST_CASE("cancelling all cancels every child and waits for them", "[all]") {
    std::string log;
    auto body = [&]() -> Coro<void> {
        co_await weft::all(cleans_up(log, 'a', 2s), cleans_up(log, 'b', 1s), weft::sleep(1h));
    };
    auto task = weft::create_task(body);
    co_await turns(3);
    task.cancel();
    const auto end = co_await end_of(task);
    REQUIRE(end == "c");
    REQUIRE(log == "ba");
}

WEFT_TEST_CASE("a cancel while all waits for clean-up does not cut it short, and strikes later",
               "[all]") {
    std::string log;
    bool hit = false;
    auto body = [&]() -> Coro<std::string> {
        const auto end = co_await end_of(weft::all(cleans_up(log, 'a', 5s), fails("x", 1s)));
        hit = co_await struck();
        co_return end;
    };
    auto task = weft::create_task(body);
    co_await weft::sleep(3s);
    task.cancel();
    const auto end = co_await task;
    REQUIRE(end == "x");
    REQUIRE(log == "a");
    REQUIRE(hit);
}

}  // namespace all_test
