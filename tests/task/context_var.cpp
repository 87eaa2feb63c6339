// SPDX-License-Identifier: MIT
// ContextVar: copied at creation, private afterwards, in tasks and in callbacks.
#include <weft/deadline/clean_up.hpp>
#include <weft/task/context_var.hpp>
#include <weft/task/future.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "probe.hpp"

namespace context_var_test {

using namespace std::chrono_literals;
using weft::ContextVar;
using weft::Coro;
using weft::EventLoop;

namespace {

const ContextVar<std::string> user("user");
const ContextVar<int> number("number", 1);

Coro<std::string> reads() {
    co_await weft::yield();
    co_return user.get("-");
}

}  // namespace

WEFT_TEST_CASE("a variable has its value, its default, the caller's, or none", "[context]") {
    REQUIRE(number.get() == 1);
    REQUIRE(number.get(5) == 5);
    REQUIRE(user.get("nobody") == "nobody");
    const std::string what = probe::message_of<weft::LookupError>([] { (void)user.get(); });
    REQUIRE(what == "the context variable 'user' has no value");
    number.set(2);
    user.set("ada");
    REQUIRE(number.get() == 2);
    REQUIRE(number.get(5) == 2);
    REQUIRE(user.get() == "ada");
    co_await weft::yield();
    REQUIRE(user.get() == "ada");
    const std::string called = co_await reads();  // a call, not a task
    REQUIRE(called == "ada");
}

WEFT_TEST_CASE("reset puts back what was there, once, and only where it was set", "[context]") {
    const ContextVar<int> other("other");
    auto first = number.set(2);
    auto second = number.set(3);
    number.reset(second);
    REQUIRE(number.get() == 2);
    number.reset(first);
    REQUIRE(number.get() == 1);
    const std::string used = probe::message_of<weft::RuntimeError>([&] { number.reset(first); });
    REQUIRE(used == "weft: reset of 'number': the context token was used already");
    auto token = number.set(4);
    const std::string wrong = probe::message_of<weft::RuntimeError>([&] { other.reset(token); });
    REQUIRE(wrong == "weft: reset of 'other': the context token is of another variable");
    std::string elsewhere;
    auto body = [&]() -> Coro<void> {
        elsewhere = probe::message_of<weft::RuntimeError>([&] { number.reset(token); });
        co_return;
    };
    co_await weft::create_task(body);
    REQUIRE(elsewhere == "weft: reset of 'number': the context token was made in another task");
    number.reset(token);
    REQUIRE(number.get() == 1);
}

WEFT_TEST_CASE("variables are copied when a task is created", "[context]") {
    user.set("before");
    auto task = weft::create_task(reads());
    auto eager = weft::create_task(reads(), weft::TaskOptions("", true));
    user.set("after");
    const std::string seen = co_await task;
    const std::string seen_eagerly = co_await eager;
    REQUIRE(seen == "before");
    REQUIRE(seen_eagerly == "before");
    REQUIRE(user.get() == "after");
}

WEFT_TEST_CASE("a child cannot change its parent's, nor its sibling's", "[context]") {
    user.set("parent");
    auto body = [](std::string name) -> Coro<std::string> {
        const std::string inherited = user.get();
        user.set(name);
        co_await weft::yield();
        auto grandchild = weft::create_task(reads());
        co_return inherited + ' ' + co_await grandchild + ' ' + user.get();
    };
    auto one = weft::create_task(body, std::string("one"));
    auto two = weft::create_task(body, std::string("two"));
    const std::string first = co_await one;
    const std::string second = co_await two;
    REQUIRE(first == "parent one one");
    REQUIRE(second == "parent two two");
    REQUIRE(user.get() == "parent");
}

WEFT_TEST_CASE("a callback runs in the context of whoever scheduled it", "[context]") {
    EventLoop& loop = weft::get_running_loop();
    std::vector<std::string> seen;
    auto look = [&](const char* where) { seen.push_back(where + user.get("-")); };
    auto future = loop.create_future<void>();
    auto schedules = [&](std::string name) -> Coro<void> {
        user.set(name);
        loop.call_soon([&] { look("soon "); });
        loop.call_later(1s, [&] { look("later "); });
        future.add_done_callback([&](const weft::Future<void>&) { look("done "); });
        user.set("changed afterwards");
        co_return;
    };
    co_await weft::create_task(schedules, std::string("ada"));
    loop.call_soon([&] { look("bare "); });
    user.set("whoever sets the future");
    future.set_result();
    co_await weft::sleep(2s);
    REQUIRE(seen == std::vector<std::string>{"soon ada", "bare -", "done ada", "later ada"});
}

WEFT_TEST_CASE("what a callback sets goes with it", "[context]") {
    EventLoop& loop = weft::get_running_loop();
    std::vector<std::string> seen;
    auto sets = [&](std::string name) {
        seen.push_back(user.get("-"));
        user.set(name);
        seen.push_back(user.get());
        loop.call_soon([&] { seen.push_back(user.get()); });
        auto task = weft::create_task(reads());
        task.add_done_callback(
            [&](weft::Future<std::string> done) { seen.push_back("task " + done.result()); });
    };
    loop.call_soon([&] { sets("without a context"); });
    co_await weft::sleep(1s);
    REQUIRE(user.get("-") == "-");
    user.set("parent");
    loop.call_soon([&] { sets("with a context"); });
    co_await weft::sleep(1s);
    REQUIRE(user.get() == "parent");
    REQUIRE(seen == std::vector<std::string>{"-", "without a context", "without a context",
                                             "task without a context", "parent", "with a context",
                                             "with a context", "task with a context"});
}

WEFT_TEST_CASE("clean-up and what it calls see the variables of their task", "[context]") {
    user.set("ada");
    auto body = []() -> Coro<std::string> { co_return co_await reads(); };
    const auto seen = co_await weft::clean_up(1s, body);
    REQUIRE(seen == "ada");
}

TEST_CASE("what is set outside of a loop is where its tasks begin", "[context]") {
    auto token = user.set("main");
    REQUIRE(user.get() == "main");
    const std::string seen = weft::testing::run(reads());
    REQUIRE(seen == "main");
    weft::testing::run([]() -> Coro<void> {
        user.set("inside");
        co_return;
    });
    REQUIRE(user.get() == "main");
    user.reset(token);
    REQUIRE(user.get("-") == "-");
}

TEST_CASE("each thread has its own values", "[context]") {
    auto token = user.set("this thread");
    std::string seen;
    std::thread other([&] {
        seen = user.get("-");
        user.set("other thread");
        seen += ' ' + weft::testing::run(reads());
    });
    other.join();
    REQUIRE(seen == "- other thread");
    REQUIRE(user.get() == "this thread");
    user.reset(token);
}

WEFT_TEST_CASE("values live as long as somebody has them, and no longer", "[context]") {
    int alive = 0;
    const ContextVar<std::shared_ptr<probe::Alive>> object("object");
    auto body = [&]() -> Coro<void> {
        object.set(std::make_shared<probe::Alive>(alive));
        auto child = [&]() -> Coro<int> {
            co_await weft::sleep(1s);
            co_return object.get() ? 1 : 0;
        };
        auto inherits = weft::create_task(child);
        object.set(nullptr);
        REQUIRE(alive == 1);
        const int found = co_await inherits;
        REQUIRE(found == 1);
    };
    co_await weft::create_task(body);
    co_await weft::yield();
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("a task that uses no variable has nothing of them", "[context]") {
    // Debug mode keeps with each task where it was created, so there the context alone is missing.
    const bool debug = weft::get_running_loop().debug();
    const auto has_nothing = [debug](const auto& task) {
        const auto* const extras =
            static_cast<const weft::detail::TaskCore*>(task.core())->extras();
        return debug ? extras && !extras->context.get() : !extras;
    };
    auto task = weft::create_task(reads());
    co_await weft::yield();
    REQUIRE(has_nothing(task));
    co_await task;
    auto child = weft::create_task(reads());
    user.set("ada");
    auto inherits = weft::create_task(reads());
    REQUIRE(has_nothing(child));
    const auto* const extras = static_cast<weft::detail::TaskCore*>(inherits.core())->extras();
    REQUIRE(extras != nullptr);
    REQUIRE(extras->context.get() != nullptr);
    co_await child;
    co_await inherits;
}

TEST_CASE("what one run of a Runner sets holds for the next, and for nobody else", "[context]") {
    number.set(3);  // the thread's own, as at the beginning of a program
    {
        weft::Runner runner(weft::testing::options());
        const auto next = []() -> Coro<int> {
            const int before = number.get();
            number.set(before + 10);
            co_await weft::yield();
            co_return before;
        };
        const auto fails = []() -> Coro<void> {
            number.set(50);
            throw std::runtime_error("from main");
            co_return;
        };
        CHECK(runner.run(next) == 3);
        CHECK(runner.run(next) == 13);
        CHECK_THROWS(runner.run(fails));
        CHECK(runner.run(next) == 50);
        CHECK(weft::testing::run(next) == 3);
    }
    CHECK(number.get() == 3);
    number.set(1);
}

}  // namespace context_var_test
