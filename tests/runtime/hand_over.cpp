// SPDX-License-Identifier: MIT
// A task's end and its sole waiter: it goes on at once where the next turn would consist of it
// alone, and nobody can tell. And tasks that have not suspended yet, which no list has.
#include <weft/runtime/loop.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace hand_over_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::EventLoop;
using weft::Task;

namespace {

Coro<void> ends() { co_return; }
Coro<void> logs(std::string& log, char letter) {
    log += letter;
    co_return;
}

bool lists(const std::vector<weft::AnyTask>& tasks, const weft::AnyFuture& task) {
    return std::find(tasks.begin(), tasks.end(), task) != tasks.end();
}

}  // namespace

WEFT_TEST_CASE("two waiters of one task go on in the order in which they began to wait",
               "[hand_over]") {
    std::string log;
    auto awaited = weft::create_task(ends());
    auto waits = [&](char letter) -> Coro<void> {
        co_await awaited;
        log += letter;
    };
    auto a = weft::create_task(waits, 'a');
    auto b = weft::create_task(waits, 'b');
    co_await a;
    co_await b;
    auto late = weft::create_task([&]() -> Coro<void> { co_await weft::yield(); });
    auto waits_late = [&](char letter) -> Coro<void> {
        co_await late;
        log += letter;
    };
    auto c = weft::create_task(waits_late, 'c');
    auto d = weft::create_task(waits_late, 'd');
    co_await c;
    co_await d;
    REQUIRE(log == "abcd");
}

WEFT_TEST_CASE("a waiter does not overtake what its task made ready before it ended",
               "[hand_over]") {
    std::string log;
    auto body = [&]() -> Coro<void> {
        weft::get_running_loop().call_soon([&] { log += 'a'; });
        static_cast<void>(weft::create_task(logs(log, 'b')));
        co_return;
    };
    auto task = weft::create_task(body);
    co_await task;
    log += 'c';
    REQUIRE(log == "abc");
}

WEFT_TEST_CASE("what a result's destructor makes ready comes after the waiter", "[hand_over]") {
    struct Schedules {
        explicit Schedules(std::string& to) noexcept : log(&to) {}
        Schedules(Schedules&& other) noexcept : log(std::exchange(other.log, nullptr)) {}
        Schedules& operator=(Schedules&&) = delete;
        ~Schedules() {
            if (log) weft::get_running_loop().call_soon([to = log] { *to += 'b'; });
        }
        std::string* log;
    };
    std::string log;
    weft::Future<void> done = weft::get_running_loop().create_future<void>();
    auto makes = [&]() -> Coro<Schedules> { co_return Schedules(log); };
    auto waits = [&](Task<Schedules> task) -> Coro<void> {
        auto wait = task.wait();
        task = {};
        co_await wait;
        log += 'a';
    };
    auto waiter = weft::create_task(waits, weft::create_task(makes));
    co_await waiter;
    co_await weft::yield();
    REQUIRE(log == "ab");
}

WEFT_TEST_CASE("a waiter does not overtake done-callbacks", "[hand_over]") {
    std::string log;
    auto task = weft::create_task(ends());
    const auto callback = task.add_done_callback([&](auto) { log += 'a'; });
    co_await task;
    log += 'b';
    REQUIRE(log == "ab");
}

TEST_CASE("stop ends a run before the waiter of a task goes on", "[hand_over]") {
    EventLoop loop(weft::testing::options());
    bool went_on = false;
    auto stops = [&]() -> Coro<void> {
        loop.stop();
        co_return;
    };
    auto waits = [&]() -> Coro<void> {
        auto task = weft::create_task(stops);
        co_await task;
        went_on = true;
    };
    auto task = loop.create_task(waits());
    loop.run_forever();
    REQUIRE_FALSE(went_on);
    REQUIRE_FALSE(task.done());
    loop.run_until_complete(task);
    REQUIRE(went_on);
}

TEST_CASE("a run ends with the turn in which what it runs for is done", "[hand_over]") {
    EventLoop loop(weft::testing::options());
    bool went_on = false;
    auto main = loop.create_task([]() -> Coro<void> { co_await weft::yield(); }());
    auto waits = [&]() -> Coro<void> {
        co_await main;
        went_on = true;
    };
    auto waiter = loop.create_task(waits());
    loop.run_until_complete(main);
    REQUIRE_FALSE(went_on);
    loop.run_until_complete(waiter);
    REQUIRE(went_on);
}

TEST_CASE("run_once runs one turn, and no waiter of a task that ends in it", "[hand_over]") {
    EventLoop loop(weft::testing::options());
    std::string log;
    auto waits = [&]() -> Coro<void> {
        auto task = weft::create_task(logs(log, 'a'));
        co_await task;
        log += 'b';
    };
    auto task = loop.create_task(waits());
    loop.run_once();
    REQUIRE(log == "");
    loop.run_once();
    REQUIRE(log == "a");
    loop.run_once();
    REQUIRE(log == "ab");
    REQUIRE(task.done());
}

TEST_CASE("a pair of tasks that hand over to each other starves neither posts nor timers",
          "[hand_over]") {
    EventLoop loop;
    bool over = false;
    auto spins = [&]() -> Coro<void> {
        while (!over) co_await weft::create_task(ends());
    };
    SECTION("a post") {
        auto body = [&]() -> Coro<void> {
            co_await weft::create_task(ends());
            loop.call_soon_threadsafe([&] { over = true; });
            co_await spins();
        };
        loop.run_until_complete(body());
    }
    SECTION("a timer") {
        auto body = [&]() -> Coro<void> {
            co_await weft::create_task(ends());
            loop.call_later(1ms, [&] { over = true; });
            co_await spins();
        };
        loop.run_until_complete(body());
    }
    REQUIRE(over);
}

TEST_CASE("in debug mode each step has a turn of its own", "[hand_over]") {
    auto options = weft::testing::options();
    options.debug = true;
    EventLoop loop(options);
    int slow = 0;
    loop.slow_callback_duration = weft::Duration(0);
    std::vector<std::string> names;
    loop.set_exception_handler([&](const weft::ExceptionContext& context) {
        ++slow;
        names.emplace_back(context.task_name);
    });
    auto waits = []() -> Coro<void> {
        co_await weft::create_task(ends(), weft::TaskOptions("inner"));
    };
    auto task = loop.create_task(waits(), weft::TaskOptions("outer"));
    loop.run_until_complete(task);
    REQUIRE(slow == 3);
    REQUIRE(names == std::vector<std::string>{"outer", "inner", "outer"});
}

WEFT_TEST_CASE("a waiter that goes on gets the exception of the task that has failed",
               "[hand_over]") {
    auto fails = []() -> Coro<void> {
        co_await weft::yield();
        throw std::runtime_error("failed");
    };
    std::string caught;
    auto waits = [&]() -> Coro<void> {
        try {
            co_await weft::create_task(fails);
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
    };
    co_await weft::create_task(waits);
    REQUIRE(caught == "failed");
}

WEFT_TEST_CASE("current_task is the waiter's once that goes on", "[hand_over]") {
    const weft::AnyTask self = weft::current_task();
    weft::AnyTask inner;
    auto body = [&]() -> Coro<void> {
        inner = weft::current_task();
        co_return;
    };
    auto task = weft::create_task(body);
    co_await task;
    const weft::AnyTask now = weft::current_task();
    REQUIRE(now == self);
    REQUIRE(inner == task);
}

// --- tasks that have not suspended yet ---

WEFT_TEST_CASE("all_tasks has those that have not begun and those in their first step",
               "[hand_over]") {
    std::vector<weft::AnyTask> seen;
    weft::AnyTask looks_itself;
    auto looks = [&]() -> Coro<void> {
        looks_itself = weft::current_task();
        seen = weft::all_tasks();
        co_return;
    };
    auto first = weft::create_task(looks);
    auto second = weft::create_task(ends());
    const std::vector<weft::AnyTask> before = weft::all_tasks();
    REQUIRE(before.size() == 3);
    REQUIRE(lists(before, weft::current_task()));
    REQUIRE(lists(before, first));
    REQUIRE(lists(before, second));
    co_await first;
    REQUIRE(looks_itself == first);
    REQUIRE(seen.size() == 3);
    REQUIRE(lists(seen, first));
    REQUIRE(lists(seen, second));
}

WEFT_TEST_CASE("all_tasks in an eager child has those whose first step it interrupts",
               "[hand_over]") {
    std::vector<weft::AnyTask> seen;
    auto innermost = [&]() -> Coro<void> {
        seen = weft::all_tasks();
        co_return;
    };
    auto middle = [&]() -> Coro<void> {
        static_cast<void>(weft::create_task(innermost, weft::TaskOptions("c", true)));
        co_await weft::yield();
    };
    auto outermost = [&]() -> Coro<void> {
        auto child = weft::create_task(middle, weft::TaskOptions("b", true));
        co_await child;
    };
    auto task = weft::create_task(outermost, weft::TaskOptions("a"));
    co_await task;
    std::vector<std::string> names;
    for (const auto& each : seen) names.push_back(each.name());
    std::sort(names.begin(), names.end());
    REQUIRE(names.size() == 4);
    REQUIRE(std::count(names.begin(), names.end(), "a") == 1);
    REQUIRE(std::count(names.begin(), names.end(), "b") == 1);
    REQUIRE(std::count(names.begin(), names.end(), "c") == 1);
    const std::vector<weft::AnyTask> after = weft::all_tasks();
    REQUIRE(after.size() == 1);
}

TEST_CASE("a loop that is destroyed with tasks that have not begun destroys their arguments",
          "[hand_over]") {
    auto token = std::make_shared<int>(0);
    {
        EventLoop loop(weft::testing::options());
        auto keeps = [](std::shared_ptr<int>) -> Coro<void> { co_return; };
        auto a = loop.create_task(keeps(token));
        auto b = loop.create_task(keeps(token));
        REQUIRE(token.use_count() == 3);
        REQUIRE(weft::all_tasks(loop).size() == 2);
    }
    REQUIRE(token.use_count() == 1);
}

}  // namespace hand_over_test
