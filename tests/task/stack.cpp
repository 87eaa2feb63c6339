// SPDX-License-Identifier: MIT
// The stack stays flat in loops of awaits and in long wake-up chains, at every optimisation level.
// labels: threads
// builds: -O0 -O2
#include <weft/runtime/loop.hpp>
#include <weft/task/future.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <pthread.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "small_stack.hpp"

namespace stack_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::EventLoop;
using weft::Future;
using weft::Task;

using support::on_small_stack;

namespace {

#if WEFT_ASAN || defined(__SANITIZE_THREAD__)
constexpr int long_loop =
    100'000;  // what grows by 80 bytes a time, as it would here, has had its stack by then
#else
constexpr int long_loop = 1'000'000;
#endif
constexpr std::size_t long_chain = 100'000;

Coro<int> ready(int value) { co_return value; }

Coro<int> nested(int value) { co_return co_await ready(value) + co_await ready(1); }

Coro<void> fails() {
    throw std::runtime_error("at once");
    co_return;
}

Coro<void> suspends_once() { co_await weft::yield(); }

}  // namespace

TEST_CASE("a million children that complete at once use no stack", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        long sum = 0;
        for (int i = 0; i < long_loop; ++i) sum += co_await ready(1);
        REQUIRE(sum == long_loop);
    });
}

TEST_CASE("a million children that complete at once after a suspension use no stack", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        long sum = 0;
        co_await suspends_once();
        for (int i = 0; i < long_loop / 2; ++i) sum += co_await nested(1);
        REQUIRE(sum == long_loop);
    });
}

TEST_CASE("a million awaits of a done future use no stack", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        auto future = weft::get_running_loop().create_future<int>();
        future.set_result(1);
        long sum = 0;
        for (int i = 0; i < long_loop; ++i) sum += co_await future;
        REQUIRE(sum == long_loop);
    });
}

TEST_CASE("a hundred thousand children that throw at once use no stack", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        int caught = 0;
        for (int i = 0; i < long_loop / 10; ++i) {
            try {
                co_await fails();
            } catch (const std::runtime_error&) {
                ++caught;
            }
        }
        REQUIRE(caught == long_loop / 10);
    });
}

TEST_CASE("children that complete at once mixed with ones that suspend use no stack", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        auto body = []() -> Coro<void> {
            for (int i = 0; i < long_loop / 3; ++i) {
                if (i % 3 == 0) co_await suspends_once();
                co_await ready(i);
            }
        };
        co_await body();
        co_await body();
    });
}

TEST_CASE("a million eager tasks that complete at once use no stack", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        long sum = 0;
        for (int i = 0; i < long_loop / 4; ++i) {
            sum += co_await weft::create_task(ready(1), weft::TaskOptions("", true));
        }
        REQUIRE(sum == long_loop / 4);
    });
}

TEST_CASE("a chain of tasks, each waking the next through a future, uses no stack", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        EventLoop& loop = weft::get_running_loop();
        std::vector<Future<int>> links;
        std::vector<Task<void>> tasks;
        for (std::size_t i = 0; i <= long_chain; ++i) links.push_back(loop.create_future<int>());
        auto body = [&](std::size_t i) -> Coro<void> {
            const int value = co_await links[i];
            links[i + 1].set_result(value + 1);
        };
        for (std::size_t i = 0; i < long_chain; ++i) tasks.push_back(weft::create_task(body, i));
        co_await weft::yield();
        links[0].set_result(0);
        const int last = co_await links[long_chain];
        REQUIRE(last == static_cast<int>(long_chain));
    });
}

TEST_CASE("a chain of tasks, each awaiting the next, unwinds without the stack", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        auto start = weft::get_running_loop().create_future<int>();
        std::vector<Task<int>> tasks(long_chain);
        auto body = [&](std::size_t i) -> Coro<int> {
            if (i + 1 == long_chain) co_return co_await start;
            co_return 1 + co_await tasks[i + 1];
        };
        for (std::size_t i = 0; i < long_chain; ++i) tasks[i] = weft::create_task(body, i);
        co_await weft::yield();
        start.set_result(1);
        const int sum = co_await tasks[0];
        REQUIRE(sum == static_cast<int>(long_chain));
    });
}

namespace {

/// Where the stack is, seen from a coroutine that has just gone on.
[[gnu::noinline]] std::uintptr_t stack_here() {
    return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
}

Coro<int> ends_after(int levels, std::vector<std::uintptr_t>& ways_up) {
    if (levels == 0) {
        co_await weft::yield();
    } else {
        co_await ends_after(levels - 1, ways_up);
    }
    ways_up.push_back(stack_here());
    co_return levels;
}

}  // namespace

TEST_CASE("a chain of coroutines that end in one step, each awaiting the next, uses no stack",
          "[stack]") {
    constexpr int levels = 100;
    std::vector<std::uintptr_t> ways_up;
    on_small_stack([&]() -> Coro<void> {
        const int top = co_await ends_after(levels, ways_up);
        REQUIRE(top == levels);
    });
    // On the innermost level's way up and on the outermost one's.
    REQUIRE(ways_up.size() == levels + 1);
    CHECK(ways_up.front() == ways_up.back());
}

TEST_CASE("a chain of futures set in each other's callbacks uses no stack", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        EventLoop& loop = weft::get_running_loop();
        std::vector<Future<void>> links;
        for (std::size_t i = 0; i <= long_chain; ++i) links.push_back(loop.create_future<void>());
        for (std::size_t i = 0; i < long_chain; ++i) {
            links[i].add_done_callback([&links, i](Future<void>) { links[i + 1].set_result(); });
        }
        links[0].set_result();
        co_await links[long_chain];
        REQUIRE(links[long_chain / 2].done());
    });
}

TEST_CASE("a chain of callbacks, each scheduling the next, uses no stack", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        EventLoop& loop = weft::get_running_loop();
        auto end = loop.create_future<void>();
        struct Next {
            EventLoop* loop;
            Future<void> end;
            std::size_t left;
            void operator()() {
                if (left == 0) return end.set_result();
                loop->call_soon(Next{loop, end, left - 1});
            }
        };
        loop.call_soon(Next{&loop, end, long_chain});
        co_await end;
        REQUIRE(end.done());
    });
}

TEST_CASE("cancelling a chain of tasks, each awaiting the next, uses no stack", "[stack]") {
    on_small_stack([]() -> Coro<void> {
        std::vector<Task<void>> tasks(long_chain);
        auto body = [&](std::size_t i) -> Coro<void> {
            if (i + 1 == long_chain) co_await weft::sleep(1h);
            if (i + 1 < long_chain) co_await tasks[i + 1];
        };
        for (std::size_t i = 0; i < long_chain; ++i) tasks[i] = weft::create_task(body, i);
        co_await weft::yield();
        tasks[0].cancel();
        co_await tasks[0].wait();
        REQUIRE(tasks[0].cancelled());
        REQUIRE(tasks[long_chain - 1].cancelled());
    });
}

TEST_CASE("closing a loop over a chain of tasks, each awaiting the next, uses no stack",
          "[stack]") {
    std::vector<Task<void>> tasks(long_chain);
    on_small_stack([&tasks]() -> Coro<void> {
        auto body = [&](std::size_t i) -> Coro<void> {
            if (i + 1 == long_chain) co_await weft::sleep(1h);
            if (i + 1 < long_chain) co_await tasks[i + 1];
        };
        for (std::size_t i = 0; i < long_chain; ++i) tasks[i] = weft::create_task(body, i);
        co_await weft::yield();
    });
    REQUIRE(tasks[0].cancelled());
    REQUIRE(tasks[long_chain - 1].cancelled());
}

}  // namespace stack_test
