// SPDX-License-Identifier: MIT
// AsyncGenerator: items, ends, failures, cancels, clean-up, and the stack.
// builds: -O0 -O2
#include <weft/deadline/scope.hpp>
#include <weft/deadline/wait_for.hpp>
#include <weft/task/async_generator.hpp>
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <pthread.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "probe.hpp"

namespace async_generator_test {

using namespace std::chrono_literals;
using weft::AsyncGenerator;
using weft::CancelledError;
using weft::Coro;

namespace {

AsyncGenerator<int> count_to(int last) {
    for (int number = 1; number <= last; ++number) co_yield number;
}

AsyncGenerator<int> ticks(weft::Duration pause, int last, int& alive) {
    const probe::Alive local(alive);
    for (int number = 1; number <= last; ++number) {
        co_await weft::sleep(pause);
        co_yield number;
    }
}

}  // namespace

WEFT_TEST_CASE("a generator gives its items in order, and then nothing", "[generator]") {
    int alive = 0;
    std::vector<int> got;
    AsyncGenerator<int> numbers = count_to(3);
    while (auto item = co_await numbers.next()) got.push_back(*item);
    AsyncGenerator<int> slow = ticks(1s, 3, alive);
    while (auto item = co_await slow.next()) got.push_back(*item * 10);
    REQUIRE(got == std::vector<int>{1, 2, 3, 10, 20, 30});
    REQUIRE(alive == 0);
    const auto after = co_await slow.next();
    REQUIRE_FALSE(after);
}

WEFT_TEST_CASE("a generator runs only when it is asked", "[generator]") {
    std::string log;
    auto body = [&]() -> AsyncGenerator<int> {
        log += 'a';
        co_yield 1;
        log += 'b';
        co_yield 2;
        log += 'c';
    };
    AsyncGenerator<int> generator = body();
    REQUIRE(log.empty());
    co_await generator.next();
    co_await weft::yield();
    REQUIRE(log == "a");
    co_await generator.next();
    REQUIRE(log == "ab");
    const auto end = co_await generator.next();
    REQUIRE(log == "abc");
    REQUIRE_FALSE(end);
}

WEFT_TEST_CASE("items may be move-only, and references are not copied", "[generator]") {
    auto owners = []() -> AsyncGenerator<std::unique_ptr<int>> {
        auto kept = std::make_unique<int>(1);
        co_yield std::move(kept);
        co_await weft::yield();
        co_yield std::make_unique<int>(2);
    };
    int sum = 0;
    AsyncGenerator<std::unique_ptr<int>> pointers = owners();
    while (auto item = co_await pointers.next()) sum += **item;
    REQUIRE(sum == 3);

    auto lines = []() -> AsyncGenerator<const std::string&> {
        std::string buffer = "one";
        co_yield buffer;
        buffer = "two";
        co_await weft::yield();
        co_yield buffer;
        co_yield "three";  // a temporary of the yielding expression
    };
    std::string all;
    AsyncGenerator<const std::string&> texts = lines();
    while (const std::string* line = co_await texts.next()) all += *line + ' ';
    REQUIRE(all == "one two three ");
    std::vector<int> data{1, 2};
    auto elements = [&]() -> AsyncGenerator<int&> {
        for (int& element : data) co_yield element;
    };
    AsyncGenerator<int&> each = elements();
    while (int* element = co_await each.next()) *element *= 10;
    REQUIRE(data == std::vector<int>{10, 20});
}

WEFT_TEST_CASE("an exception comes out of next, once, and ends the generator", "[generator]") {
    for (const bool suspends : {false, true}) {
        auto fails = [&]() -> AsyncGenerator<int> {
            co_yield 1;
            if (suspends) co_await weft::yield();
            throw std::runtime_error("expected");
        };
        AsyncGenerator<int> generator = fails();
        const auto first = co_await generator.next();
        std::string what;
        try {
            co_await generator.next();
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
        const auto after = co_await generator.next();
        REQUIRE(first == 1);
        REQUIRE(what == "expected");
        REQUIRE_FALSE(after);
    }
}

WEFT_TEST_CASE("a destructor that throws at a generator's end comes out of next", "[generator]") {
    struct Throws {
        ~Throws() noexcept(false) { throw std::runtime_error("from the destructor"); }
    };
    auto throws_at_end = []() -> AsyncGenerator<int> {
        const Throws throws;
        co_yield 1;
        co_return;
    };
    AsyncGenerator<int> generator = throws_at_end();
    const auto first = co_await generator.next();
    REQUIRE(first == 1);
    std::string what;
    try {
        co_await generator.next();
    } catch (const std::runtime_error& error) {
        what = error.what();
    }
    REQUIRE(what == "from the destructor");
}

WEFT_TEST_CASE("a cancel strikes what the generator awaits", "[generator]") {
    int alive = 0;
    std::vector<int> got;
    bool ended = false;
    auto body = [&]() -> Coro<void> {
        AsyncGenerator<int> generator = ticks(1h, 9, alive);
        try {
            while (auto item = co_await generator.next()) got.push_back(*item);
        } catch (const CancelledError&) {
            ended = alive == 0;  // the generator was unwound first
            throw;
        }
    };
    auto task = weft::create_task(body);
    co_await weft::sleep(90min);
    task.cancel();
    co_await task.wait();
    REQUIRE(got == std::vector<int>{1});
    REQUIRE(ended);
    REQUIRE(task.cancelled());
}

WEFT_TEST_CASE("a generator that is left early destroys its locals", "[generator]") {
    int alive = 0;
    {
        AsyncGenerator<int> generator = ticks(1s, 9, alive);
        co_await generator.next();
        REQUIRE(alive == 1);
        AsyncGenerator<int> moved = std::move(generator);
        const auto second = co_await moved.next();
        REQUIRE(second == 2);
        AsyncGenerator<int> unused = ticks(1s, 9, alive);
    }
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("a deadline around next ends the generator, and what came before is kept",
               "[generator]") {
    int alive = 0;
    AsyncGenerator<int> generator = ticks(2s, 9, alive);
    const auto first = co_await weft::wait_for(generator.next(), 3s);
    REQUIRE(first == 1);
    bool timed_out = false;
    try {
        co_await weft::wait_for(generator.next(), 1s);
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    REQUIRE(timed_out);
    REQUIRE(alive == 0);
    const auto after = co_await generator.next();
    REQUIRE_FALSE(after);
    REQUIRE(weft::current_task().cancelling() == 0);
}

WEFT_TEST_CASE("two tasks that ask at once are a named error", "[generator]") {
    int alive = 0;
    AsyncGenerator<int> generator = ticks(1s, 9, alive);
    auto asks = [&]() -> Coro<void> { co_await generator.next(); };
    auto first = weft::create_task(asks);
    auto second = weft::create_task(asks);
    co_await first;
    std::string what;
    try {
        co_await second;
    } catch (const weft::RuntimeError& error) {
        what = error.what();
    }
    REQUIRE(what == "weft: the generator runs already, for another task or for itself");
    const auto next = co_await generator.next();
    REQUIRE(next == 2);
}

WEFT_TEST_CASE("one task may go on where another has stopped asking", "[generator]") {
    int alive = 0;
    AsyncGenerator<int> generator = ticks(1s, 9, alive);
    auto asks = [&]() -> Coro<int> {
        auto item = co_await generator.next();
        co_return *item;
    };
    int sum = 0;
    for (int round = 0; round < 3; ++round) sum = 10 * sum + co_await weft::create_task(asks);
    REQUIRE(sum == 123);
}

WEFT_TEST_CASE(
    "a generator that is destroyed while a task waits in it lives until that has its item",
    "[generator]") {
    int alive = 0;
    std::optional<AsyncGenerator<int>> generator(ticks(1s, 9, alive));
    auto asks = [&]() -> Coro<int> {
        auto item = co_await generator->next();
        co_return *item;
    };
    auto gets_it = weft::create_task(asks);
    co_await weft::yield();
    generator.reset();
    REQUIRE(alive == 1);
    const int item = co_await gets_it;
    REQUIRE(item == 1);
    REQUIRE(alive == 0);

    generator.emplace(ticks(1s, 9, alive));
    auto is_cancelled = weft::create_task(asks);
    co_await weft::yield();
    generator.reset();
    is_cancelled.cancel();
    co_await is_cancelled.wait();
    REQUIRE(is_cancelled.cancelled());
    REQUIRE(alive == 0);
}

// --- aclose ---

WEFT_TEST_CASE("aclose runs clean-up that awaits", "[generator]") {
    std::string log;
    auto body = [&]() -> AsyncGenerator<int> {
        bool closed = false;
        try {
            for (int number = 0;; ++number) co_yield number;
        } catch (const weft::GeneratorExit&) {
            closed = true;
        }
        co_await weft::sleep(1s);
        log += closed ? "closed" : "?";
    };
    AsyncGenerator<int> generator = body();
    co_await generator.next();
    co_await generator.aclose();
    REQUIRE(log == "closed");
    co_await generator.aclose();
    const auto after = co_await generator.next();
    REQUIRE_FALSE(after);

    // On every way out of a scope.
    log.clear();
    auto make = [&]() -> Coro<AsyncGenerator<int>> { co_return body(); };
    auto use = [](AsyncGenerator<int>& numbers) -> Coro<int> {
        while (auto item = co_await numbers.next()) {
            if (*item == 3) co_return *item;
        }
        co_return -1;
    };
    const int found = co_await weft::async_with(make(), use);
    REQUIRE(found == 3);
    REQUIRE(log == "closed");
}

WEFT_TEST_CASE("aclose of a generator that lets it go ends it at its co_yield", "[generator]") {
    int alive = 0;
    AsyncGenerator<int> generator = ticks(1s, 9, alive);
    co_await generator.next();
    co_await generator.aclose();
    REQUIRE(alive == 0);

    bool ran = false;
    auto never = [&](probe::Alive) -> AsyncGenerator<int> {
        ran = true;
        co_yield 1;
    };
    AsyncGenerator<int> unused = never(probe::Alive(alive));
    co_await unused.aclose();
    const auto item = co_await unused.next();
    REQUIRE_FALSE(item);
    REQUIRE_FALSE(ran);
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("a generator that yields although it was closed is a named error", "[generator]") {
    auto body = []() -> AsyncGenerator<int> {
        try {
            co_yield 1;
        } catch (const weft::GeneratorExit&) {
        }
        co_yield 2;
    };
    AsyncGenerator<int> generator = body();
    co_await generator.next();
    std::string what;
    try {
        co_await generator.aclose();
    } catch (const weft::RuntimeError& error) {
        what = error.what();
    }
    REQUIRE(what == "weft: the generator went on although it was closed");
}

// --- the stack ---

namespace {

Coro<void> a_million_items() {
    long sum = 0;
    AsyncGenerator<int> numbers = count_to(1'000'000);
    while (auto item = co_await numbers.next()) sum += *item;
    REQUIRE(sum == 500'000'500'000);

    // Resumed by the loop first, so that each item goes back by a transfer or in place.
    auto now_and_then = []() -> AsyncGenerator<int> {
        for (int number = 0; number < 1'000'000; ++number) {
            if (number % 1000 == 0) co_await weft::yield();
            co_yield 1;
        }
    };
    sum = 0;
    AsyncGenerator<int> mixed = now_and_then();
    while (auto item = co_await mixed.next()) sum += *item;
    REQUIRE(sum == 1'000'000);
}

}  // namespace

TEST_CASE("a million items use no more stack than one", "[generator]") {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 1 << 20);
    pthread_t thread;
    const auto run = [](void*) -> void* {
        weft::testing::run(a_million_items);
        return nullptr;
    };
    REQUIRE(pthread_create(&thread, &attributes, run, nullptr) == 0);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
}

}  // namespace async_generator_test
