// SPDX-License-Identifier: MIT
// create_task takes any work: functions that return an operation, a generator's next item, gathers;
// on a loop of one's own too. And the parts of TaskOptions and RunOptions.
#include <weft/testing/catch.hpp>
#include <weft/testing/run.hpp>
#include <weft/weft.hpp>

#include <coroutine>
#include <string>
#include <utility>
#include <vector>

#include "probe.hpp"

namespace start_anything_test {

using namespace std::chrono_literals;
using weft::Coro;

namespace {

Coro<int> twice(int value) {
    co_await weft::sleep(1s);
    co_return 2 * value;
}
weft::AsyncGenerator<int> count(int to) {
    for (int value = 1; value <= to; ++value) {
        co_await weft::sleep(1s);
        co_yield value;
    }
}

}  // namespace

WEFT_TEST_CASE("create_task takes a function that returns an operation", "[start]") {
    weft::Lock lock;
    weft::Queue<int> queue;
    queue.put_nowait(3);
    auto sleeping = weft::create_task([] { return weft::sleep(1s); });
    auto locking = weft::create_task([&] { return lock.acquire(); }, weft::TaskOptions("locks"));
    auto getting =
        weft::create_task([&] { return weft::wait_for([&] { return queue.get(); }, 1s); });
    auto doubled = weft::create_task([](int value) { return weft::sleep(1s, value); }, 4);
    co_await sleeping;
    co_await locking;
    REQUIRE(lock.locked());
    REQUIRE(locking.name() == "locks");
    const int item = co_await getting;
    const int value = co_await doubled;
    REQUIRE(item == 3);
    REQUIRE(value == 4);
}

WEFT_TEST_CASE("a cancel reaches the operation that a task of a function awaits", "[start]") {
    weft::Lock lock;
    co_await lock.acquire();
    auto locking = weft::create_task([&] { return lock.acquire(); });
    co_await weft::yield();
    locking.cancel();
    co_await locking.wait();
    REQUIRE(locking.cancelled());
    lock.release();
    REQUIRE_FALSE(lock.locked());
}

WEFT_TEST_CASE("create_task takes the next item of a generator, and a gather", "[start]") {
    auto numbers = count(2);
    auto first = weft::create_task(numbers.next());
    const auto item = co_await first;
    REQUIRE(*item == 1);
    auto both = weft::create_task(weft::gather(twice(1), twice(2)));
    const auto results = co_await both;
    REQUIRE(std::get<0>(results) + std::get<1>(results) == 6);
}

WEFT_TEST_CASE("a group takes what create_task takes", "[start]") {
    weft::Lock lock;
    auto body = [&](weft::TaskGroup& group) -> Coro<void> {
        group.create_task([&] { return lock.acquire(); });
        group.create_task([] { return weft::sleep(1s); });
        co_return;
    };
    co_await weft::task_group(body);
    REQUIRE(lock.locked());
}

WEFT_TEST_CASE("combinators take functions that return an operation", "[start]") {
    auto both = co_await weft::gather([] { return weft::sleep(1s, 1); }, twice(2));
    REQUIRE(std::get<0>(both) + std::get<1>(both) == 5);
    auto first =
        co_await weft::race([] { return weft::sleep(1s, 1); }, [] { return weft::sleep(2s, 2); });
    REQUIRE(*first == 1);
}

WEFT_TEST_CASE("a loop's own create_task takes a function and arguments", "[start]") {
    weft::EventLoop& loop = weft::get_running_loop();
    auto plain = loop.create_task(&twice, 4);
    auto named = loop.create_task(&twice, 5, weft::TaskOptions("five"));
    auto text = std::string("captured");
    auto lambda = loop.create_task([text]() -> Coro<std::size_t> { co_return text.size(); });
    REQUIRE(named.name() == "five");
    const int sum = co_await plain + co_await named;
    const std::size_t size = co_await lambda;
    REQUIRE(sum == 18);
    REQUIRE(size == 8);
}

WEFT_TEST_CASE("TaskOptions are told by the names of their parts", "[start]") {
    bool began = false;
    auto body = [&]() -> Coro<void> {
        began = true;
        co_await weft::sleep(1s);
    };
    auto eager = weft::create_task(body, weft::TaskOptions().name("at once").eager());
    REQUIRE(began);
    REQUIRE(eager.name() == "at once");
    weft::TaskOptions options;
    options.name("later").eager(false);
    REQUIRE(options.name() == "later");
    REQUIRE_FALSE(options.is_eager());
    began = false;
    auto later = weft::create_task(body, options);
    REQUIRE_FALSE(began);
    co_await eager;
    co_await later;
}

WEFT_TEST_CASE("create_future makes a future of the running loop", "[start]") {
    auto future = weft::create_future<int>();
    auto nothing = weft::create_future();
    weft::get_running_loop().call_later(1s, [&] {
        future.set_result(1);
        nothing.set_result();
    });
    const int value = co_await future;
    co_await nothing;
    REQUIRE(value == 1);
}

TEST_CASE("create_future without a loop says so", "[start]") {
    const std::string text =
        probe::message_of<weft::RuntimeError>([] { (void)weft::create_future<int>(); });
    REQUIRE(text == "weft: no running event loop on this thread; weft::run(main()) runs one");
}

WEFT_TEST_CASE(
    "an await outside of a task is refused, and reported since its task does not hear of it",
    "[start]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    std::string text;
    // As if somebody had resumed a coroutine in a callback.
    weft::get_running_loop().call_soon([&] {
        text = probe::message_of<weft::RuntimeError>([] {
            auto sleep = weft::sleep(1s);
            sleep.await_suspend(std::noop_coroutine());
        });
    });
    co_await weft::yield();
    REQUIRE(text.find("weft: awaited outside of a task: an awaiter that is not weft's") == 0);
    REQUIRE(probe::count_with(reports, "awaited outside of a task") == 1);
}

TEST_CASE("an exception handler among the RunOptions hears what nobody awaits", "[start]") {
    std::vector<std::string> heard;
    weft::RunOptions options;
    options.exception_handler = [&](const weft::ExceptionContext& context) {
        heard.push_back(context.task_name);
    };
    auto fails = []() -> Coro<void> {
        throw std::runtime_error("unheard of");
        co_return;
    };
    auto body = [&]() -> Coro<void> {
        (void)weft::create_task(fails, weft::TaskOptions("fails"));
        co_await weft::sleep(1s);
    };
    weft::testing::run(body, options);
    weft::testing::run(body, options);  // copies share it
    REQUIRE(heard == std::vector<std::string>{"fails", "fails"});
}

}  // namespace start_anything_test
