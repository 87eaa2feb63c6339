// SPDX-License-Identifier: MIT
// Context variables and combinators: each child has its own context.
#include <weft/task/context_var.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together.hpp>

#include <string>
#include <utility>
#include <vector>

#include "sync.hpp"

namespace own_context_test {

using weft::Coro;

namespace {

const weft::ContextVar<int> variable("variable", -1);

/// Sees what the parent has set, sets its own, and sees that after others have run.
Coro<int> child(int number) {
    const int before = variable.get();
    (void)variable.set(number);
    co_await support::some_turns(2);
    co_return variable.get() == number&& before == 100 ? 1 : 0;
}

}  // namespace

WEFT_TEST_CASE("111: each child of a combinator has its own context", "[context]") {
    (void)variable.set(100);
    const auto both = co_await weft::gather(child(1), child(2));
    REQUIRE(std::get<0>(both) + std::get<1>(both) == 2);
    const auto whole = co_await weft::all(child(1), child(2));
    REQUIRE(std::get<0>(whole) + std::get<1>(whole) == 2);
    const auto won = co_await weft::race(child(1), child(2));
    REQUIRE(won.index() < 2);
    REQUIRE(variable.get() == 100);
    const int shielded = co_await weft::shield(child(3));
    REQUIRE(shielded == 1);
    std::vector<weft::Task<int>> tasks;
    for (int i = 0; i < 3; ++i) tasks.push_back(weft::create_task(child(i)));
    int sum = 0;
    auto results = weft::as_completed(tasks);
    while (auto next = co_await results.next()) sum += next.result();
    REQUIRE(sum == 3);
    int in_group = 0;
    auto adds = [&](int number) -> Coro<void> { in_group += co_await child(number); };
    auto body = [&](weft::TaskGroup& group) -> Coro<void> {
        for (int i = 0; i < 3; ++i) {
            group.create_task(adds, i);
            group.create_task(adds(i), weft::TaskOptions("", true));
        }
        (void)variable.set(100);
        co_return;
    };
    co_await weft::task_group(body);
    REQUIRE(in_group == 6);
    REQUIRE(variable.get() == 100);
}

}  // namespace own_context_test
