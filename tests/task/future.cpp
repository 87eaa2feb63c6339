// SPDX-License-Identifier: MIT
// Future: its states, who gets the result, and what is reported when nobody looks.
// labels: smoke
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "probe.hpp"

namespace future_test {

using namespace std::chrono_literals;
using probe::message_of;
using weft::Coro;
using weft::EventLoop;
using weft::Future;
using weft::Task;

namespace {

std::exception_ptr failure(const char* what) {
    return std::make_exception_ptr(std::runtime_error(what));
}

bool contains(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

Coro<int> awaits(Future<int> future) { co_return co_await future; }

/// Leaves bytes that are no exception_ptr where the next future of this type will live.
template <class T, class... Args>
void dirty_the_memory(EventLoop& loop, Args&&... args) {
    for (int round = 0; round < 3; ++round) {
        Future<T> future = loop.create_future<T>();
        future.set_result(std::forward<Args>(args)...);
    }
}

}  // namespace

// --- empty handles ---

TEST_CASE("an empty handle is refused by name whatever is asked of it", "[future]") {
    const std::string refused = "weft: an empty handle: it refers to no task or future";
    const auto says = [](auto use) { return message_of<weft::RuntimeError>(use); };
    Future<int> future;
    CHECK(says([&] { (void)future.done(); }) == refused);
    CHECK(says([&] { (void)future.cancelled(); }) == refused);
    CHECK(says([&] { (void)future.result(); }) == refused);
    CHECK(says([&] { (void)Future<int>().result(); }) == refused);
    CHECK(says([&] { (void)future.exception(); }) == refused);
    CHECK(says([&] { future.set_result(1); }) == refused);
    CHECK(says([&] { future.set_exception(failure("x")); }) == refused);
    CHECK(says([&] { future.cancel(); }) == refused);
    CHECK(says([&] { (void)future.get_loop(); }) == refused);
    CHECK(says([&] { (void)future.add_done_callback([](Future<int>) {}); }) == refused);
    CHECK(says([&] { EventLoop().run_until_complete(future); }) == refused);
    Task<int> task;
    CHECK(says([&] { (void)task.done(); }) == refused);
    CHECK(says([&] { task.cancel(); }) == refused);
    CHECK(says([&] { (void)task.name(); }) == refused);
    CHECK(says([&] { task.set_name("x"); }) == refused);
    CHECK(says([&] { (void)task.cancelling(); }) == refused);
    CHECK(says([&] { (void)task.uncancel(); }) == refused);
    CHECK(says([] { weft::AnyTask().cancel(); }) == refused);
    CHECK(says([] { (void)weft::AnyFuture().done(); }) == refused);
}

WEFT_TEST_CASE("24: whoever awaits a future sees the message of the cancel that ended it",
               "[future]") {
    auto future = weft::get_running_loop().create_future<int>();
    const auto one = weft::create_task(awaits(future));
    const auto other = weft::create_task(awaits(future));
    co_await weft::yield();
    (void)one.cancel("enough");
    co_await other.wait();
    const std::string of_one = message_of<weft::CancelledError>([&] { (void)one.result(); });
    const std::string of_other = message_of<weft::CancelledError>([&] { (void)other.result(); });
    const std::string of_it = message_of<weft::CancelledError>([&] { (void)future.result(); });
    REQUIRE(of_one == "enough");
    REQUIRE(of_other == "enough");
    REQUIRE(of_it == "enough");
}

WEFT_TEST_CASE("24: of two cancels before a task runs, the later message is seen", "[future]") {
    auto future = weft::get_running_loop().create_future<int>();
    const auto task = weft::create_task(awaits(future));
    co_await weft::yield();
    (void)task.cancel("first");
    (void)task.cancel("second");
    co_await task.wait();
    const std::string message = message_of<weft::CancelledError>([&] { (void)task.result(); });
    REQUIRE(message == "second");
}

WEFT_TEST_CASE("awaiting an empty handle is a named error, and the task goes on", "[future]") {
    int refused = 0;
    const auto count = [&](auto await) -> Coro<void> {
        try {
            co_await await();
        } catch (const weft::RuntimeError& error) {
            if (contains(error.what(), "an empty handle")) ++refused;
        }
    };
    Task<int> task = weft::create_task([]() -> Coro<int> { co_return 7; });
    co_await count([&]() -> Coro<void> { (void)co_await Task<int>(); });
    co_await count([&]() -> Coro<void> { (void)co_await Future<int>(); });
    co_await count([&]() -> Coro<void> { co_await Future<void>().wait(); });
    const int value = co_await std::move(task);
    CHECK(value == 7);
    // An await of an rvalue takes the handle.
    co_await count([&]() -> Coro<void> { (void)co_await task; });
    co_await count([&]() -> Coro<void> { (void)co_await std::move(task); });
    CHECK(refused == 5);
}

// --- state ---

WEFT_TEST_CASE("a result cannot be set twice", "[future]") {
    EventLoop& loop = weft::get_running_loop();
    auto future = loop.create_future<int>();
    future.set_result(1);
    REQUIRE_THROWS_AS(future.set_result(2), weft::InvalidStateError);
    REQUIRE_THROWS_AS(future.set_exception(failure("late")), weft::InvalidStateError);
    REQUIRE(future.result() == 1);
    auto cancelled = loop.create_future<int>();
    cancelled.cancel();
    REQUIRE_THROWS_AS(cancelled.set_result(2), weft::InvalidStateError);
    co_return;
}

WEFT_TEST_CASE("what a future or a task refuses says which one, which call, and why", "[future]") {
    auto future = weft::create_future<int>();
    auto set = [&] { return message_of<weft::InvalidStateError>([&] { future.set_result(2); }); };
    future.set_result(1);
    REQUIRE(set() == "weft: set_result: the future is done already: it has a result");
    future = weft::create_future<int>();
    future.cancel();
    REQUIRE(set() == "weft: set_result: the future is done already: it was cancelled");
    future = weft::create_future<int>();
    future.set_exception(failure("x"));
    REQUIRE(set() == "weft: set_result: the future is done already: it has an exception");
    (void)future.exception();
    auto body = []() -> Coro<int> { co_return 1; };
    auto task = weft::create_task(body, weft::TaskOptions("fetch"));
    REQUIRE(message_of<weft::InvalidStateError>([&] { (void)task.result(); }) ==
            "weft: the result of the task 'fetch' is not there yet; await it");
    weft::Future<int> of_task = task;
    REQUIRE(message_of<weft::RuntimeError>([&] { of_task.set_exception(failure("y")); }) ==
            "weft: set_exception: the task 'fetch' gets its result from its coroutine alone");
    auto used = body();
    co_await std::move(used);
    REQUIRE(message_of<weft::RuntimeError>(
                [&] { (void)weft::create_task(std::move(used), weft::TaskOptions("again")); }) ==
            "weft: the coroutine of task 'again' was used already: it was awaited, or moved from");
    co_await task;
}

WEFT_TEST_CASE("reading before done is an InvalidStateError", "[future]") {
    auto future = weft::get_running_loop().create_future<int>();
    const std::string text = message_of<weft::InvalidStateError>([&] { (void)future.result(); });
    REQUIRE(contains(text, "not there yet"));
    REQUIRE_THROWS_AS(future.exception(), weft::InvalidStateError);
    REQUIRE_FALSE(future.done());
    co_return;
}

WEFT_TEST_CASE("cancel on a done future returns false and changes nothing", "[future]") {
    EventLoop& loop = weft::get_running_loop();
    auto value = loop.create_future<int>();
    value.set_result(5);
    REQUIRE_FALSE(value.cancel("too late"));
    REQUIRE_FALSE(value.cancelled());
    REQUIRE(value.result() == 5);
    auto failed = loop.create_future<int>();
    failed.set_exception(failure("first"));
    REQUIRE_FALSE(failed.cancel());
    const std::string text = message_of<std::runtime_error>([&] { (void)failed.result(); });
    REQUIRE(text == "first");
    auto cancelled = loop.create_future<int>();
    REQUIRE(cancelled.cancel("first"));
    REQUIRE_FALSE(cancelled.cancel("second"));
    const std::string message = message_of<weft::CancelledError>([&] { (void)cancelled.result(); });
    REQUIRE(message == "first");
    co_return;
}

WEFT_TEST_CASE("result and exception of a cancelled future throw CancelledError", "[future]") {
    EventLoop& loop = weft::get_running_loop();
    dirty_the_memory<long>(loop, 0x1234567812345678);
    auto future = loop.create_future<long>();
    REQUIRE(future.cancel());
    REQUIRE(future.cancelled());
    REQUIRE_THROWS_AS(future.result(), weft::CancelledError);
    REQUIRE_THROWS_AS(future.exception(), weft::CancelledError);
    REQUIRE_THROWS_AS(std::move(future).result(), weft::CancelledError);
    co_return;
}

WEFT_TEST_CASE("set_exception needs an exception", "[future]") {
    auto future = weft::get_running_loop().create_future<int>();
    REQUIRE_THROWS_AS(future.set_exception(nullptr), weft::InvalidStateError);
    REQUIRE_FALSE(future.done());
    co_return;
}

// --- unretrieved exceptions ---

WEFT_TEST_CASE("an exception that nobody retrieved is reported once", "[future]") {
    EventLoop& loop = weft::get_running_loop();
    auto reports = probe::collect_reports(loop);
    {
        auto future = loop.create_future<int>();
        auto copy = future;
        future.set_exception(failure("lost"));
        future = Future<int>();
        REQUIRE(reports->empty());
    }
    REQUIRE(reports->size() == 1);
    REQUIRE(contains(reports->front(), "never retrieved"));
    REQUIRE(contains(reports->front(), "lost"));
    co_return;
}

WEFT_TEST_CASE("nothing is reported after result, exception, an await or a cancel", "[future]") {
    EventLoop& loop = weft::get_running_loop();
    auto reports = probe::collect_reports(loop);
    for (int look = 0; look < 4; ++look) {
        auto future = loop.create_future<int>();
        future.set_exception(failure("seen"));
        if (look == 0) REQUIRE_THROWS(future.result());
        if (look == 1) REQUIRE(future.exception());
        if (look == 2) {
            bool thrown = false;
            try {
                co_await future;
            } catch (const std::runtime_error&) {
                thrown = true;
            }
            REQUIRE(thrown);
        }
        if (look == 3) REQUIRE_FALSE(future.cancel());
    }
    REQUIRE(reports->empty());
}

WEFT_TEST_CASE("waiting until done does not count as retrieving", "[future]") {
    EventLoop& loop = weft::get_running_loop();
    auto reports = probe::collect_reports(loop);
    {
        auto future = loop.create_future<int>();
        future.set_exception(failure("unseen"));
        co_await future.wait();
    }
    REQUIRE(reports->size() == 1);
}

// --- awaiting ---

WEFT_TEST_CASE("every task that awaits one future gets the value", "[future]") {
    auto future = weft::get_running_loop().create_future<int>();
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 5; ++i) tasks.push_back(weft::create_task(awaits(future)));
    co_await weft::yield();
    future.set_result(9);
    int sum = 0;
    for (auto& task : tasks) sum += co_await task;
    REQUIRE(sum == 45);
}

WEFT_TEST_CASE("every task that awaits one future gets the exception", "[future]") {
    auto future = weft::get_running_loop().create_future<int>();
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 5; ++i) tasks.push_back(weft::create_task(awaits(future)));
    co_await weft::yield();
    future.set_exception(failure("for all"));
    int caught = 0;
    for (auto& task : tasks) {
        try {
            co_await task;
        } catch (const std::runtime_error& error) {
            caught += error.what() == std::string("for all") ? 1 : 0;
        }
    }
    REQUIRE(caught == 5);
}

WEFT_TEST_CASE("a done future is awaited without a suspension", "[future]") {
    auto future = weft::get_running_loop().create_future<int>();
    future.set_result(1);
    bool other_ran = false;
    weft::get_running_loop().call_soon([&] { other_ran = true; });
    const int value = co_await future;
    REQUIRE(value == 1);
    REQUIRE_FALSE(other_ran);
    co_await weft::yield();
    REQUIRE(other_ran);
}

WEFT_TEST_CASE("a task that awaits itself gets a named error", "[future]") {
    Task<void> self;
    std::string by_await;
    std::string by_wait;
    auto body = [&]() -> Coro<void> {
        try {
            co_await self;
        } catch (const weft::RuntimeError& error) {
            by_await = error.what();
        }
        try {
            co_await self.wait();
        } catch (const weft::RuntimeError& error) {
            by_wait = error.what();
        }
    };
    self = weft::create_task(body, weft::TaskOptions("narcissus"));
    co_await self;
    REQUIRE(by_await == "weft: the task 'narcissus' cannot await itself");
    REQUIRE(by_wait == by_await);
}

WEFT_TEST_CASE("awaiting a future of another loop is a named error", "[future]") {
    EventLoop other(weft::testing::options());
    auto foreign = other.create_future<int>();
    std::string text;
    try {
        co_await foreign;
    } catch (const weft::RuntimeError& error) {
        text = error.what();
    }
    REQUIRE(contains(text, "another event loop"));
    // The refused await left nothing behind.
    foreign.set_result(1);
    const std::string run = message_of<weft::RuntimeError>(
        [&] { weft::get_running_loop().run_until_done(*foreign.core()); });
    REQUIRE(contains(run, "run: the future is of another event loop"));
}

WEFT_TEST_CASE("ending a wait by a cancel leaves the future to its other waiters", "[future]") {
    auto future = weft::get_running_loop().create_future<int>();
    auto wait = [&]() -> Coro<void> { co_await future.wait(); };
    auto waiter = weft::create_task(wait);
    auto other = weft::create_task(awaits(future));
    co_await weft::yield();
    waiter.cancel();
    co_await waiter.wait();
    REQUIRE(waiter.cancelled());
    REQUIRE_FALSE(future.done());
    future.set_result(4);
    const int value = co_await other;
    REQUIRE(value == 4);
}

}  // namespace future_test
