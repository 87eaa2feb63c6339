// SPDX-License-Identifier: MIT
// labels: smoke
// Coro and create_task(fn, args...): lazy, single use, and every frame, argument and callable
// destroyed in time.
#include <weft/runtime/loop.hpp>
#include <weft/task/coro.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <coroutine>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "probe.hpp"

namespace coro_test {

using namespace std::chrono_literals;
using probe::message_of;
using weft::Coro;
using weft::EventLoop;
using weft::Task;

namespace {

Coro<int> sets(bool& flag, int value) {
    flag = true;
    co_return value;
}

Coro<std::unique_ptr<int>> makes(int value) {
    co_await weft::yield();
    co_return std::make_unique<int>(value);
}

Coro<void> holds(probe::Alive, bool suspend) {
    if (suspend) co_await weft::sleep(1s);
}

Coro<int> throws_at_depth(int depth, int& alive, bool suspend) {
    const probe::Alive counted(alive);
    if (depth == 0) {
        if (suspend) co_await weft::yield();
        throw std::out_of_range("from the bottom");
    }
    co_return co_await throws_at_depth(depth - 1, alive, suspend) + 1;
}

Coro<int> counts_down(int depth) {
    if (depth == 0) {
        co_await weft::yield();
        co_return 0;
    }
    co_return 1 + co_await counts_down(depth - 1);
}

/// Copies throw; what a coroutine does with such an argument must leak nothing.
struct ThrowsOnMove {
    ThrowsOnMove() = default;
    ThrowsOnMove(ThrowsOnMove&&) { throw std::runtime_error("cannot be moved"); }
    ThrowsOnMove& operator=(ThrowsOnMove&&) = delete;
    ~ThrowsOnMove() = default;
};

Coro<void> takes_by_value(probe::Alive, ThrowsOnMove) { co_return; }

struct Service {
    int base = 40;
    Coro<int> add(int more) {
        co_await weft::yield();
        co_return base + more;
    }
};

}  // namespace

static_assert(!std::is_copy_constructible_v<Coro<int>>);
static_assert(!std::is_copy_assignable_v<Coro<int>>);
static_assert(std::is_nothrow_move_constructible_v<Coro<int>>);
static_assert(std::is_nothrow_move_assignable_v<Coro<int>>);

// --- lazy, once ---

WEFT_TEST_CASE("a coroutine does nothing before it is awaited", "[coro]") {
    bool ran = false;
    Coro<int> coro = sets(ran, 3);
    co_await weft::yield();
    REQUIRE_FALSE(ran);
    const int value = co_await std::move(coro);
    REQUIRE(ran);
    REQUIRE(value == 3);
}

WEFT_TEST_CASE("awaiting a coroutine starts it at once, without the loop", "[coro]") {
    bool ran = false;
    bool other = false;
    weft::get_running_loop().call_soon([&] { other = true; });
    const int value = co_await sets(ran, 1);
    REQUIRE(value == 1);
    REQUIRE_FALSE(other);
    co_await weft::yield();
    REQUIRE(other);
}

TEST_CASE("a coroutine that is dropped never runs and destroys its arguments", "[coro]") {
    int alive = 0;
    {
        auto coro = holds(probe::Alive(alive), true);
        REQUIRE(alive == 1);
        auto moved = std::move(coro);
        REQUIRE_FALSE(coro);
        REQUIRE(moved);
        REQUIRE(alive == 1);
    }
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("awaiting a coroutine twice is a named error", "[coro]") {
    bool ran = false;
    Coro<int> coro = sets(ran, 3);
    co_await std::move(coro);
    REQUIRE_FALSE(coro);
    std::string text;
    try {
        co_await std::move(coro);
    } catch (const weft::RuntimeError& error) {
        text = error.what();
    }
    REQUIRE(text.find("awaited twice") != std::string::npos);
}

WEFT_TEST_CASE("a task from a used coroutine is a named error", "[coro]") {
    bool ran = false;
    Coro<int> coro = sets(ran, 3);
    auto task = weft::create_task(std::move(coro));
    const std::string text =
        message_of<weft::RuntimeError>([&] { (void)weft::create_task(std::move(coro)); });
    REQUIRE(text.find("used already") != std::string::npos);
    co_await task;
}

// --- results and exceptions ---

WEFT_TEST_CASE("a move-only result passes through nested coroutines", "[coro]") {
    auto outer = [](int value) -> Coro<std::unique_ptr<int>> {
        auto made = co_await makes(value);
        ++*made;
        co_return made;
    };
    const auto result = co_await outer(4);
    REQUIRE(*result == 5);
}

WEFT_TEST_CASE("a coroutine can return a reference and a const object", "[coro]") {
    std::vector<int> numbers{1, 2, 3};
    auto back = [&]() -> Coro<int&> {
        co_await weft::yield();
        co_return numbers.back();
    };
    int& last = co_await back();
    REQUIRE(&last == &numbers.back());
    auto text = []() -> Coro<const std::string> { co_return "constant"; };
    const std::string seen = co_await text();
    REQUIRE(seen == "constant");
}

WEFT_TEST_CASE("an exception crosses ten frames and each is destroyed", "[coro]") {
    for (const bool suspend : {false, true}) {
        int alive = 0;
        std::string text;
        try {
            co_await throws_at_depth(10, alive, suspend);
        } catch (const std::out_of_range& error) {
            text = error.what();
        }
        REQUIRE(text == "from the bottom");
        REQUIRE(alive == 0);
    }
}

WEFT_TEST_CASE("a thousand nested coroutines return through one suspension", "[coro]") {
    const int depth = co_await counts_down(1000);
    REQUIRE(depth == 1000);
}

WEFT_TEST_CASE("a child's frame is gone when its await is over", "[coro]") {
    int alive = 0;
    auto body = [&](bool suspend) -> Coro<void> {
        co_await holds(probe::Alive(alive), suspend);
        REQUIRE(alive == 0);
    };
    co_await body(false);
    co_await body(true);
}

WEFT_TEST_CASE("a local's destructor that throws after co_return replaces the value", "[coro]") {
    struct Throws {
        ~Throws() noexcept(false) { throw std::runtime_error("from the destructor"); }
    };
    int alive = 0;
    auto body = [&](bool suspend) -> Coro<probe::Alive> {
        const Throws throws;
        if (suspend) co_await weft::yield();
        co_return probe::Alive(alive);
    };
    for (const bool suspend : {false, true}) {
        std::string text;
        try {
            co_await body(suspend);
        } catch (const std::runtime_error& error) {
            text = error.what();
        }
        REQUIRE(text == "from the destructor");
        REQUIRE(alive == 0);
    }
}

WEFT_TEST_CASE("a destructor that throws after co_return may be caught, and the coroutine goes on",
               "[coro]") {
    struct Throws {
        ~Throws() noexcept(false) { throw std::runtime_error("from the destructor"); }
    };
    int alive = 0;
    bool cleaned = false;
    auto body = [&]() -> Coro<probe::Alive> {
        const probe::AtExit clean([&] { cleaned = true; });
        try {
            const Throws throws;
            co_return probe::Alive(alive);
        } catch (const std::runtime_error&) {
        }
        co_await weft::sleep(1s);
        co_return probe::Alive(alive);
    };
    {
        const probe::Alive result = co_await body();
        REQUIRE(alive == 1);
        REQUIRE(cleaned);
    }
    cleaned = false;
    auto task = weft::create_task(body);
    co_await weft::yield();
    task.cancel();
    while (!task.done()) co_await weft::yield();
    REQUIRE(task.cancelled());
    REQUIRE(cleaned);
    REQUIRE(alive == 0);
}

namespace {

/// A coroutine of somebody else's: runs until it first suspends, and goes by itself.
struct Detached {
    struct promise_type {
        Detached get_return_object() noexcept { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept { std::terminate(); }
    };
};

}  // namespace

WEFT_TEST_CASE("a coroutine of another kind may await a Coro, at the end of one as well",
               "[coro]") {
    auto gives = [](int value) -> Coro<int> { co_return value; };
    int got = 0;
    auto awaits = [&](int value) -> Detached {
        const int result = co_await gives(value);
        got += result;
    };
    awaits(1);
    REQUIRE(got == 1);
    for (const bool suspends : {false, true}) {
        auto at_exit = [&] { awaits(10); };
        // Destroyed with the parameters, after the end.
        auto keeps = [](std::unique_ptr<probe::AtExit<decltype(at_exit)>>,
                        bool yields) -> Coro<int> {
            if (yields) co_await weft::yield();
            co_return 7;
        };
        auto parameter = std::make_unique<probe::AtExit<decltype(at_exit)>>(at_exit);
        const int result = co_await keeps(std::move(parameter), suspends);
        REQUIRE(result == 7);
    }
    REQUIRE(got == 21);
}

TEST_CASE("an argument that cannot be copied into the frame leaks nothing", "[coro]") {
    int alive = 0;
    REQUIRE_THROWS_AS(takes_by_value(probe::Alive(alive), ThrowsOnMove()), std::runtime_error);
    REQUIRE(alive == 0);
}

// --- create_task(fn, args...) ---

WEFT_TEST_CASE("create_task keeps the callable and its arguments until the end", "[coro]") {
    int alive = 0;
    Task<std::string> task;
    {
        const std::string text(100, 'x');
        auto body = [counted = probe::Alive(alive), text](
                        const std::string& more, const probe::Alive&) -> Coro<std::string> {
            co_await weft::sleep(1h);
            co_return text + more;
        };
        task = weft::create_task(std::move(body), std::string(50, 'y'), probe::Alive(alive));
    }
    co_await weft::sleep(1s);
    REQUIRE(alive == 2);
    const std::string result = co_await task;
    REQUIRE(result == std::string(100, 'x') + std::string(50, 'y'));
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("a cancelled task lets go of its callable and arguments", "[coro]") {
    int alive = 0;
    auto body = [counted = probe::Alive(alive)](probe::Alive) -> Coro<void> {
        co_await weft::sleep(1h);
    };
    auto task = weft::create_task(std::move(body), probe::Alive(alive));
    const int own = 1;  // `body` itself, moved from, still counts
    co_await weft::yield();
    task.cancel();
    co_await task.wait();
    REQUIRE(alive == own);
}

WEFT_TEST_CASE("create_task takes move-only arguments and std::ref", "[coro]") {
    int target = 0;
    auto body = [](std::unique_ptr<int> value, int& out) -> Coro<void> {
        co_await weft::yield();
        out = *value;
    };
    co_await weft::create_task(body, std::make_unique<int>(6), std::ref(target));
    REQUIRE(target == 6);
}

WEFT_TEST_CASE("create_task copies an lvalue argument", "[coro]") {
    std::string text = "before";
    auto body = [](const std::string& seen) -> Coro<std::string> {
        co_await weft::yield();
        co_return seen;
    };
    auto task = weft::create_task(body, text);
    text = "after";
    const std::string seen = co_await task;
    REQUIRE(seen == "before");
}

WEFT_TEST_CASE("create_task takes functions, function objects and member functions", "[coro]") {
    bool ran = false;
    const int from_function = co_await weft::create_task(sets, std::ref(ran), 1);
    REQUIRE(from_function == 1);
    const std::function<Coro<int>(int)> stored = [](int value) -> Coro<int> { co_return value; };
    const int from_object = co_await weft::create_task(stored, 2);
    REQUIRE(from_object == 2);
    Service service;
    const int from_member = co_await weft::create_task(&Service::add, &service, 2);
    REQUIRE(from_member == 42);
}

WEFT_TEST_CASE("a callable that throws instead of returning a Coro fails the task", "[coro]") {
    auto body = [](int) -> Coro<int> { throw std::runtime_error("before the first step"); };
    auto task = weft::create_task(body, 1);
    std::string text;
    try {
        co_await task;
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    REQUIRE(text == "before the first step");
}

WEFT_TEST_CASE("TaskOptions come last, after any arguments", "[coro]") {
    bool ran = false;
    auto nothing = []() -> Coro<void> { co_return; };
    auto one = weft::create_task(nothing, weft::TaskOptions("one"));
    auto two = weft::create_task(sets, std::ref(ran), 1, weft::TaskOptions("two"));
    auto three = weft::create_task(sets(ran, 1), weft::TaskOptions("three"));
    const weft::TaskOptions options("four");
    auto four = weft::create_task(sets, std::ref(ran), 1, options);
    auto five = weft::create_task(sets(ran, 1), options);
    REQUIRE(one.name() == "one");
    REQUIRE(two.name() == "two");
    REQUIRE(three.name() == "three");
    REQUIRE(four.name() == "four");
    REQUIRE(five.name() == "four");
    co_await five;
}

}  // namespace coro_test
