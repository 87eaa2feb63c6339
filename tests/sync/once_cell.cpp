// SPDX-License-Identifier: MIT
// OnceCell: made once, by one task; failures and cancels let the next one try.
#include <weft/sync/once_cell.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "probe.hpp"
#include "sync.hpp"

namespace once_cell_test {

using namespace std::chrono_literals;
using support::end_of;
using support::some_turns;
using weft::CancelledError;
using weft::Coro;
using weft::OnceCell;

static_assert(!std::is_move_constructible_v<OnceCell<int>>);

namespace {

Coro<std::string> makes(int& made, int fail_until) {
    co_await weft::sleep(1s);
    if (++made < fail_until) throw std::runtime_error("attempt " + std::to_string(made));
    co_return "value " + std::to_string(made);
}

Coro<std::string> asks(OnceCell<std::string>& cell, int& made, int fail_until) {
    co_return co_await cell.get_or_init(makes, std::ref(made), fail_until);
}

std::vector<weft::Task<std::string>> askers(OnceCell<std::string>& cell, int& made,
                                            int fail_until) {
    std::vector<weft::Task<std::string>> tasks;
    for (int i = 0; i < 4; ++i) {
        tasks.push_back(weft::create_task(asks, std::ref(cell), std::ref(made), fail_until));
    }
    return tasks;
}

}  // namespace

WEFT_TEST_CASE("the first to ask makes the value, the others wait for it", "[once_cell]") {
    OnceCell<std::string> cell;
    int made = 0;
    REQUIRE(cell.get() == nullptr);
    auto tasks = askers(cell, made, 0);
    co_await weft::yield();
    REQUIRE(cell.statistics().initialising);
    REQUIRE(cell.statistics().waiters == 3);
    for (auto& task : tasks) {
        const std::string value = co_await task;
        REQUIRE(value == "value 1");
    }
    REQUIRE(made == 1);
    REQUIRE(cell.is_set());
    // Now without a suspension, and it is the same object.
    std::string& value = co_await cell.get_or_init(makes, std::ref(made), 0);
    REQUIRE(&value == cell.get());
    REQUIRE(made == 1);
}

WEFT_TEST_CASE("when the initialiser fails, its task gets the error and the next one tries",
               "[once_cell]") {
    OnceCell<std::string> cell;
    int made = 0;
    auto tasks = askers(cell, made, 3);
    for (auto& task : tasks) co_await task.wait();
    REQUIRE(end_of(tasks[0]) == "attempt 1");
    REQUIRE(end_of(tasks[1]) == "attempt 2");
    REQUIRE(end_of(tasks[2]) == "ok");
    REQUIRE(end_of(tasks[3]) == "ok");
    REQUIRE(made == 3);
    REQUIRE(*cell.get() == "value 3");
}

WEFT_TEST_CASE("when the initialiser is cancelled the next one tries", "[once_cell]") {
    OnceCell<std::string> cell;
    int made = 0;
    auto tasks = askers(cell, made, 0);
    co_await weft::yield();
    tasks[0].cancel();
    tasks[1].cancel();  // waits: leaves the queue
    for (auto& task : tasks) co_await task.wait();
    REQUIRE(tasks[0].cancelled());
    REQUIRE(tasks[1].cancelled());
    REQUIRE(end_of(tasks[2]) == "ok");
    REQUIRE(end_of(tasks[3]) == "ok");
    REQUIRE(made == 1);
}

WEFT_TEST_CASE("28: its turn came and then it is cancelled: the turn goes to the next one",
               "[once_cell]") {
    OnceCell<std::string> cell;
    int made = 0;
    auto tasks = askers(cell, made, 2);
    co_await weft::sleep(1s);
    co_await weft::yield();  // the first attempt fails now; the second one's turn is granted
    REQUIRE(made == 1);
    REQUIRE(end_of(tasks[0]) == "attempt 1");
    tasks[1].cancel();
    for (auto& task : tasks) co_await task.wait();
    REQUIRE(tasks[1].cancelled());
    REQUIRE(end_of(tasks[2]) == "ok");
    REQUIRE(made == 2);
}

WEFT_TEST_CASE("a value that was set is there for all, and setting it twice is an error",
               "[once_cell]") {
    OnceCell<std::unique_ptr<int>> cell;
    cell.set(std::make_unique<int>(5));
    auto never = []() -> Coro<std::unique_ptr<int>> { co_return nullptr; };
    auto& value = co_await cell.get_or_init(never);
    REQUIRE(*value == 5);
    REQUIRE(probe::message_of<weft::InvalidStateError>([&] { cell.set(nullptr); }) ==
            "OnceCell::set: it is set, or a task is making the value");

    OnceCell<std::string> other;
    int made = 0;
    auto task = weft::create_task(asks, std::ref(other), std::ref(made), 0);
    co_await weft::yield();
    REQUIRE_THROWS_AS(other.set("mine"), weft::InvalidStateError);
    co_await task;
}

WEFT_TEST_CASE("an initialiser that does not suspend needs no turn of the loop", "[once_cell]") {
    OnceCell<int> cell;
    auto at_once = []() -> Coro<int> { co_return 3; };
    bool others_ran = false;
    auto other = [&]() -> Coro<void> {
        others_ran = true;
        co_return;
    };
    auto task = weft::create_task(other);
    const int value = co_await cell.get_or_init(at_once);
    REQUIRE(value == 3);
    REQUIRE_FALSE(others_ran);
    co_await task;
}

}  // namespace once_cell_test
