// SPDX-License-Identifier: MIT
// builds: -O0 -O2
// What g++ 12 breaks in expressions that contain co_await, row by row: ours must be safe, a user's
// is as listed.
// program: own header-only
#include <weft/runtime/loop.hpp>
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "probe.hpp"

namespace gcc12_test {

using namespace std::chrono_literals;
using probe::Alive;
using weft::Coro;
using weft::Task;

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ <= 12
// Aggregate temporaries, lambda closures included, of a co_await expression are destroyed twice.
constexpr bool aggregates_break = true;
// So is a coroutine that declares nothing, has no try block, and awaits in a condition.
constexpr bool bare_conditions_break = true;
#else
constexpr bool aggregates_break = false;
constexpr bool bare_conditions_break = false;
#endif

namespace {

/// An aggregate as a user might write one.
struct Request {
    int number = 0;
    Alive counted;
};

Coro<int> ready(int value) { co_return value; }

Coro<int> takes_request(const Request& request) {
    co_await weft::yield();
    co_return request.number;
}

Coro<int> takes_counted(Alive, int value) {
    co_await weft::yield();
    co_return value;
}

Coro<Alive> gives_counted(int& alive) {
    co_await weft::yield();
    co_return Alive(alive);
}

template <class Fn>
Coro<int> calls(Fn fn) {
    co_await weft::yield();
    co_return fn();
}

Coro<int> calls_function(std::function<int()> fn) {
    co_await weft::yield();
    co_return fn();
}

int take(Alive, int value) { return value; }

Coro<bool> one_less(int& left) {
    co_await weft::yield();
    co_return --left >= 0;
}

Coro<void> bare_while(int& left, int& count) {
    // weft-lint: fine, because it shows what breaks
    while (co_await one_less(left)) ++count;
}
Coro<void> bare_if(int& left, int& count) {
    // weft-lint: fine, because it shows what breaks
    if (co_await one_less(left)) ++count;
}
Coro<void> while_and_declaration(int& left, int& count) {
    bool more = true;
    while (more) {
        more = co_await one_less(left);
        if (more) ++count;
    }
}
Coro<void> declaration_and_while(int& left, int& count) {
    [[maybe_unused]] const int declared = 0;
    while (co_await one_less(left)) ++count;
}

/// Does `coro(left, count)` come to its end, with that count? Asked in a process of its own: where
/// it does not, it crashes, never ends, or is never resumed.
bool works(Coro<void> (*coro)(int&, int&), int expected) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        // The crash is not Catch2's to report.
        for (const int crash : {SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGTERM}) {
            (void)std::signal(crash, SIG_DFL);
        }
        ::alarm(30);
        int left = 3;
        int count = 0;
        weft::EventLoop loop;
        const Task<void> task = loop.create_task(coro(left, count));
        for (int turn = 0; turn < 50; ++turn) {
            loop.call_soon([] {});  // so that no turn waits
            loop.run_once();
        }
        ::_exit(task.done() && count == expected ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

// --- rows that our interface keeps safe, on every compiler ---

WEFT_TEST_CASE("create_task with non-trivial arguments in one expression with its await",
               "[gcc12]") {
    int alive = 0;
    {
        const int value = co_await weft::create_task(takes_counted, Alive(alive), 3);
        REQUIRE(value == 3);
    }
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("create_task of a coroutine with temporaries for arguments", "[gcc12]") {
    int alive = 0;
    const int value = co_await weft::create_task(takes_counted(Alive(alive), 4));
    REQUIRE(value == 4);
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("TaskOptions made inside the awaiting expression", "[gcc12]") {
    int alive = 0;
    const std::string name(100, 'n');
    const int value =
        co_await weft::create_task(takes_counted, Alive(alive), 5, weft::TaskOptions(name));
    REQUIRE(value == 5);
    const int again = co_await weft::create_task(takes_counted(Alive(alive), 6),
                                                 weft::TaskOptions(name + name, true));
    REQUIRE(again == 6);
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("a child awaited with temporaries that have constructors", "[gcc12]") {
    int alive = 0;
    const int value = co_await takes_counted(Alive(alive), 7);
    REQUIRE(value == 7);
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("an awaited value passed on with other temporaries", "[gcc12]") {
    int alive = 0;
    const int value = take(Alive(alive), co_await ready(1)) + take(Alive(alive), co_await ready(2));
    REQUIRE(value == 3);
    const int moved = take(co_await gives_counted(alive), co_await ready(4));
    REQUIRE(moved == 4);
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("sleep, yield and sleep_until beside non-trivial temporaries", "[gcc12]") {
    int alive = 0;
    auto pause = [](Alive, std::string) { return 1s; };
    co_await weft::sleep(pause(Alive(alive), std::string(100, 'x')));
    auto when = [](Alive) { return weft::get_running_loop().time() + 1s; };
    co_await weft::sleep_until(when(Alive(alive)));
    (co_await weft::yield(), take(Alive(alive), 0));
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("a future awaited straight from the function that makes it", "[gcc12]") {
    int alive = 0;
    auto make = [](Alive, std::string text) {
        auto future = weft::get_running_loop().create_future<std::string>();
        future.set_result(std::move(text));
        return future;
    };
    const std::string text = co_await make(Alive(alive), std::string(100, 'x'));
    REQUIRE(text == std::string(100, 'x'));
    co_await make(Alive(alive), std::string(100, 'y')).wait();
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("a lambda with non-trivial captures that is named first", "[gcc12]") {
    int alive = 0;
    {
        auto fn = [counted = Alive(alive), text = std::string(100, 'x')] {
            return static_cast<int>(text.size());
        };
        const int value = co_await calls(std::move(fn));
        REQUIRE(value == 100);
        auto body = [counted = Alive(alive)](int more) -> Coro<int> { co_return more; };
        const int from_task = co_await weft::create_task(std::move(body), 8);
        REQUIRE(from_task == 8);
    }
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("a lambda whose captures are trivial, unnamed", "[gcc12]") {
    int alive = 0;
    const int value = co_await calls([&alive] { return alive + 9; });
    REQUIRE(value == 9);
    const int from_task =
        co_await weft::create_task([&alive](int more) -> Coro<int> { co_return alive + more; }, 10);
    REQUIRE(from_task == 10);
}

WEFT_TEST_CASE("an aggregate that is named first", "[gcc12]") {
    int alive = 0;
    {
        const Request request{11, Alive(alive)};
        const int value = co_await takes_request(request);
        REQUIRE(value == 11);
    }
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("a coroutine built in one statement and awaited in the next", "[gcc12]") {
    int alive = 0;
    auto coro = takes_counted(Alive(alive), 12);
    const int value = co_await std::move(coro);
    REQUIRE(value == 12);
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("an exception through an await beside temporaries", "[gcc12]") {
    int alive = 0;
    auto fails = [](Alive) -> Coro<int> {
        co_await weft::yield();
        throw 1;
    };
    bool caught = false;
    try {
        (void)take(Alive(alive), co_await fails(Alive(alive)));
    } catch (int) {
        caught = true;
    }
    REQUIRE(caught);
    REQUIRE(alive == 0);
}

// --- rows that the compiler breaks for a user's own types: known, and checked both ways ---

WEFT_TEST_CASE("an unnamed lambda with a non-trivial capture", "[gcc12]") {
    int alive = 0;
    // weft-lint: fine, because it shows what breaks
    const int value = co_await calls([counted = Alive(alive)] { return 1; });
    REQUIRE(value == 1);
    REQUIRE((alive != 0) == aggregates_break);
}

WEFT_TEST_CASE("an unnamed lambda with a non-trivial capture turned into a std::function",
               "[gcc12]") {
    int alive = 0;
    // weft-lint: fine, because it shows what breaks
    const int value = co_await calls_function([counted = Alive(alive)] { return 1; });
    REQUIRE(value == 1);
    REQUIRE((alive != 0) == aggregates_break);
}

WEFT_TEST_CASE("an unnamed lambda with a non-trivial capture given to create_task", "[gcc12]") {
    int alive = 0;
    const int value = co_await weft::create_task(
        // weft-lint: fine, because it shows what breaks
        [counted = Alive(alive)](int more) -> Coro<int> { co_return more; }, 1);
    REQUIRE(value == 1);
    REQUIRE((alive != 0) == aggregates_break);
}

WEFT_TEST_CASE("an unnamed aggregate", "[gcc12]") {
    int alive = 0;
    // weft-lint: fine, because it shows what breaks
    const int value = co_await takes_request(Request{1, Alive(alive)});
    REQUIRE(value == 1);
    REQUIRE((alive != 0) == aggregates_break);
}

WEFT_TEST_CASE("a braced list for an aggregate parameter", "[gcc12]") {
    int alive = 0;
    // weft-lint: fine, because it shows what breaks
    const int value = co_await takes_request({1, Alive(alive)});
    REQUIRE(value == 1);
    REQUIRE((alive != 0) == aggregates_break);
}

WEFT_TEST_CASE("designated initialisers for an aggregate parameter", "[gcc12]") {
    int alive = 0;
    // weft-lint: fine, because it shows what breaks
    const int value = co_await takes_request({.number = 1, .counted = Alive(alive)});
    REQUIRE(value == 1);
    REQUIRE((alive != 0) == aggregates_break);
}

WEFT_TEST_CASE("an aggregate around an awaited value", "[gcc12]") {
    int alive = 0;
    {
        auto use = [](const Request& request) { return request.number; };
        // weft-lint: fine, because it shows what breaks
        const int value = use(Request{co_await ready(1), Alive(alive)});
        REQUIRE(value == 1);
    }
    REQUIRE((alive != 0) == aggregates_break);
}

WEFT_TEST_CASE("an awaited object or a default, by the conditional operator", "[gcc12]") {
    int alive = 0;
    bool awaits = true;
    {
        // weft-lint: fine, because it shows what breaks
        const Alive value = awaits ? co_await gives_counted(alive) : Alive(alive);
        awaits = false;
        // weft-lint: fine, because it shows what breaks
        const Alive other = awaits ? co_await gives_counted(alive) : Alive(alive);
    }
    REQUIRE((alive != 0) == aggregates_break);
}

TEST_CASE("an await in the condition of a coroutine that declares nothing", "[gcc12]") {
    REQUIRE(works(bare_while, 3) == !bare_conditions_break);
    REQUIRE(works(bare_if, 1) == !bare_conditions_break);
}

TEST_CASE("the same coroutine with a declaration", "[gcc12]") {
    REQUIRE(works(while_and_declaration, 3));
    REQUIRE(works(declaration_and_while, 3));
}

#if defined(__GNUC__) && !defined(__clang__)
// clang warns of it, and g++ says nothing at all.
namespace {

Coro<int> forgets_its_value(bool waits) {
    if (waits) co_await weft::yield();
    if (!waits) co_return 1;
}

template <class Awaited>
Coro<std::string> error_of(Awaited awaited) {
    try {
        co_await std::move(awaited);
    } catch (const weft::RuntimeError& error) {
        co_return error.what();
    }
    co_return "";
}

}  // namespace

WEFT_TEST_CASE("a coroutine that ends without the value that it owes is an error", "[gcc12]") {
    const std::string expected = "weft: a coroutine ended without co_return";
    const std::string child = co_await error_of(forgets_its_value(true));
    CHECK(child == expected);
    const std::string task = co_await error_of(weft::create_task(forgets_its_value(true)));
    CHECK(task == expected);
    const int value = co_await forgets_its_value(false);
    CHECK(value == 1);
}
#endif

}  // namespace gcc12_test
