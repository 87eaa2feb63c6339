// SPDX-License-Identifier: MIT
// labels: smoke
// What groups, deadlines, clean-up, generators and queues promise to each other.
#include <weft/deadline/clean_up.hpp>
#include <weft/deadline/move_on_after.hpp>
#include <weft/deadline/wait_for.hpp>
#include <weft/queue/queue.hpp>
#include <weft/sync/condition.hpp>
#include <weft/sync/semaphore.hpp>
#include <weft/task/async_generator.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/race.hpp>
#include <weft/together/shield.hpp>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>

#include "probe.hpp"

namespace together_test {

using namespace std::chrono_literals;
using weft::AsyncGenerator;
using weft::CancelledError;
using weft::Coro;
using weft::Queue;
using weft::Task;

namespace {

Coro<void> put_later(Queue<int>& queue, int item) {
    co_await weft::sleep(1ms);
    queue.put_nowait(item);
}

Coro<int> after_20_seconds(int value) {
    co_await weft::sleep(20s);
    co_return value;
}

Coro<void> for_ever() { co_await weft::sleep(1000h); }

AsyncGenerator<int> slow_numbers() {
    co_await weft::sleep(10s);
    co_yield 1;
}

Coro<void> take_one(AsyncGenerator<int>& numbers) {
    const auto number = co_await numbers.next();
    (void)number;
}

/// How often a task that awaits `start()` is struck by a cancel that comes with the end of it.
template <class Start>
Coro<int> strikes(Start start) {
    int count = 0;
    try {
        co_await start();
    } catch (const CancelledError&) {
        ++count;
    }
    try {
        co_await weft::sleep(1s);
    } catch (const CancelledError&) {
        ++count;
    }
    co_return count;
}

}  // namespace

// --- deadlines ---

WEFT_TEST_CASE("a deadline that was kept does not strike what its expression awaits next",
               "[deadlines]") {
    Queue<int> queue;
    auto putting = weft::create_task(put_later, std::ref(queue), 7);
    const int value = co_await after_20_seconds(co_await weft::wait_for(queue.get(), 10s));
    REQUIRE(value == 7);
    co_await putting;
    REQUIRE(weft::get_running_loop().armed_timers() == 0);
}

WEFT_TEST_CASE("a deadline with a name that was kept does not strike later awaits", "[deadlines]") {
    auto task = weft::create_task([]() -> Coro<void> { co_await weft::sleep(1ms); });
    auto other = weft::create_task(after_20_seconds, 9);
    auto timed = weft::move_on_after(10s, task);
    const bool in_time = co_await timed;
    REQUIRE(in_time);
    REQUIRE(weft::get_running_loop().armed_timers() == 1);  // the other's
    const int value = co_await other;
    REQUIRE(value == 9);
}

WEFT_TEST_CASE("operations with deadlines may be children of gather and race", "[deadlines]") {
    weft::Semaphore semaphore(0);
    Queue<int> queue;
    auto both = co_await weft::gather(weft::wait_for(weft::sleep(1ms), 10s), weft::sleep(2ms));
    (void)both;
    REQUIRE(weft::get_running_loop().armed_timers() == 0);
    auto first = co_await weft::race(weft::wait_for(semaphore.acquire(), 10s),
                                     weft::move_on_after(5s, weft::sleep(3ms)));
    REQUIRE(first.index() == 1);
    auto second = co_await weft::race(weft::wait_for(queue.get(), 10s), weft::sleep(3ms));
    REQUIRE(second.index() == 1);
    REQUIRE(weft::get_running_loop().armed_timers() == 0);
    co_await weft::sleep(20s);
}

// --- clean-up ---

WEFT_TEST_CASE("a clean-up whose await cannot begin throws what that threw", "[clean_up]") {
    auto numbers = slow_numbers();
    auto asking = weft::create_task(take_one, std::ref(numbers));
    co_await weft::sleep(1ms);
    std::string message;
    try {
        const bool ended = co_await weft::clean_up(5s, [&] { return numbers.aclose(); });
        (void)ended;
    } catch (const weft::RuntimeError& error) {
        message = error.what();
    }
    REQUIRE(message != "");

    weft::Condition condition;
    message.clear();
    try {
        const bool ended = co_await weft::clean_up(5s, [&] { return condition.wait(); });
        (void)ended;
    } catch (const weft::RuntimeError& error) {
        message = error.what();
    }
    REQUIRE(message != "");
    asking.cancel();
    co_await asking.wait();
}

TEST_CASE("when run ends, what a clean-up has started is left to its end like the clean-up",
          "[clean_up]") {
    int flushed = 0;
    auto flush = [&flushed]() -> Coro<void> {
        co_await weft::sleep(1s);
        ++flushed;
    };
    auto body = [&flush]() -> Coro<void> { co_await weft::gather(flush(), flush()); };
    auto task = [&body]() -> Coro<void> {
        const bool ended = co_await weft::clean_up(5s, body);
        (void)ended;
    };
    auto main = [&task]() -> Coro<void> {
        (void)weft::create_task(task);
        co_await weft::sleep(1ms);
    };
    weft::testing::run(main);
    REQUIRE(flushed == 2);
}

// --- generators, shield, queues ---

WEFT_TEST_CASE("closing a generator that never began does not run its body", "[async_generator]") {
    bool ran = false;
    auto make = [&ran]() -> AsyncGenerator<int> {
        ran = true;
        co_yield 1;
    };
    auto numbers = make();
    bool timed_out = false;
    try {
        const auto number = co_await weft::wait_for(numbers.next(), 0s);
        (void)number;
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    REQUIRE(timed_out);
    co_await numbers.aclose();
    REQUIRE_FALSE(ran);
}

WEFT_TEST_CASE("a cancel that meets the end of a shielded task strikes once", "[shield]") {
    for (const bool shielded : {false, true}) {
        auto inner = weft::create_task(for_ever());
        const auto await_it = [&inner, shielded]() -> Coro<void> {
            if (shielded) {
                co_await weft::shield(inner);
            } else {
                co_await inner;
            }
        };
        auto waiter = weft::create_task(strikes<decltype(await_it)>, await_it);
        co_await weft::sleep(1ms);
        inner.cancel();
        co_await weft::yield();
        waiter.cancel();
        const int count = co_await waiter;
        INFO("shielded: " << shielded);
        REQUIRE(count == 1);
    }
}

WEFT_TEST_CASE("a gather that is cancelled with every child done loses no item", "[gather]") {
    Queue<int> queue;
    auto other = weft::create_task(for_ever());
    int got = 0;
    const auto body = [&]() -> Coro<void> {
        auto results = co_await weft::gather(weft::return_exceptions, other, queue.get());
        got = std::get<1>(results).value();
    };
    auto task = weft::create_task(body);
    co_await weft::sleep(1ms);
    other.cancel();  // by somebody else, long before
    co_await weft::sleep(1ms);
    queue.put_nowait(5);
    task.cancel();  // the item is the child's already
    co_await task.wait();
    REQUIRE(got == 5);
}

WEFT_TEST_CASE("a queue that goes after its item was handed over is no reason for a report",
               "[queue]") {
    weft::EventLoop& loop = weft::get_running_loop();
    loop.set_debug(true);
    auto reports = probe::collect_reports(loop);
    auto queue = std::make_unique<Queue<int>>();
    const auto get = [&queue]() -> Coro<int> {
        const int item = co_await queue->get();
        co_return item;
    };
    auto task = weft::create_task(get);
    co_await weft::sleep(1ms);
    queue->put_nowait(7);
    queue.reset();
    const int item = co_await task;
    REQUIRE(item == 7);
    REQUIRE(reports->empty());
}

}  // namespace together_test
