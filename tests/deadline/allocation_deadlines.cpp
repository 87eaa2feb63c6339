// SPDX-License-Identifier: MIT
// Deadlines and generators allocate nothing, once warm: neither from the heap nor fresh frames.
// program: counting header-only
// sanitizers: no, frames are not recycled under them
#include <weft/deadline/move_on_after.hpp>
#include <weft/deadline/timeout.hpp>
#include <weft/deadline/wait_for.hpp>
#include <weft/net/io.hpp>
#include <weft/task/async_generator.hpp>
#include <weft/task/coro.hpp>
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <cstddef>
#include <cstdlib>
#include <new>

#include "counted_new.hpp"
#include "descriptors.hpp"

namespace allocation_deadlines_test {

using namespace std::chrono_literals;
using weft::Coro;

namespace {

Coro<void> one_turn() { co_await weft::yield(); }

}  // namespace

WEFT_TEST_CASE("a deadline around a single operation that does not fire allocates nothing",
               "[allocation]") {
    support::Pair pipe = support::pipe_pair();
    auto future = weft::get_running_loop().create_future<void>();
    char byte = 0;
    auto round = [&]() -> Coro<void> {
        future = weft::get_running_loop().create_future<void>();
        weft::get_running_loop().call_soon([&] { future.set_result(); });
        co_await weft::wait_for(future, 1h);
        weft::get_running_loop().call_soon([&] { support::put(pipe.b.get(), "x"); });
        co_await weft::wait_for(weft::io::read(pipe.a.get(), {&byte, 1}), 1h);
        co_await weft::move_on_after(1h, weft::sleep(1s));
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("a deadline that ends a single operation allocates nothing", "[allocation]") {
    support::Pair pipe = support::pipe_pair();
    char byte = 0;
    auto round = [&]() -> Coro<void> {
        co_await weft::move_on_after(1s, weft::io::read(pipe.a.get(), {&byte, 1}));
        co_await weft::move_on_after(1s, weft::sleep(1h));
        co_await weft::move_on_after(0s, weft::sleep(1h));
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("a deadline around a coroutine adds no frame to it", "[allocation]") {
    auto round = []() -> Coro<void> {
        co_await weft::timeout(1h, &one_turn);
        co_await weft::wait_for(one_turn(), 1h);
        auto body = [](weft::Timeout& timeout) -> Coro<void> {
            timeout.reschedule(weft::get_running_loop().time() + 2h);
            co_await weft::yield();
        };
        co_await weft::timeout(1h, body);
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("an item of a generator allocates nothing", "[allocation]") {
    auto endless = []() -> weft::AsyncGenerator<int> {
        for (int number = 0;; ++number) {
            if (number % 3 == 0) co_await weft::yield();
            co_yield number;
        }
    };
    weft::AsyncGenerator<int> numbers = endless();
    auto round = [&]() -> Coro<void> {
        for (int i = 0; i < 10; ++i) co_await numbers.next();
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

}  // namespace allocation_deadlines_test
