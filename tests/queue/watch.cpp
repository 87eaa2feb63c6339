// SPDX-License-Identifier: MIT
// Watch: receivers see that the value changed and what it is now.
#include <weft/queue/watch.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "probe.hpp"

namespace watch_test {

using probe::Alive;
using support::turns;
using weft::Coro;
using weft::Task;
using weft::Watch;

namespace {

Coro<void> follow(Watch<int>::Receiver receiver, std::vector<int>& seen) {
    while (auto value = co_await receiver.next()) seen.push_back(*value);
}

}  // namespace

WEFT_TEST_CASE("a receiver sees each change, or the last of several in one step", "[watch]") {
    Watch<int> watch(0);
    std::vector<int> seen;
    const auto task = weft::create_task(follow(watch.subscribe(), seen));
    co_await turns(2);
    REQUIRE(seen.empty());  // the value at the subscription is no news
    watch.set(1);
    co_await weft::yield();
    watch.set(2);
    watch.set(3);
    watch.update([](int& value) { ++value; });
    co_await weft::yield();
    REQUIRE(seen == std::vector<int>{1, 4});
    REQUIRE(watch.get() == 4);
    REQUIRE(watch.receivers() == 1);
}

WEFT_TEST_CASE("every receiver is woken, each sees for itself what is new", "[watch]") {
    Watch<std::string> watch(std::string("a"));
    auto early = watch.subscribe();
    watch.set("b");
    auto late = watch.subscribe();
    auto copy = early;
    REQUIRE(early.has_changed());
    REQUIRE_FALSE(late.has_changed());
    REQUIRE(early.get() == "b");
    REQUIRE(early.has_changed());  // a look is not yet an answer
    REQUIRE(early.get_and_mark() == "b");
    REQUIRE_FALSE(early.has_changed());
    REQUIRE(copy.has_changed());
    const bool changed = co_await copy.changed();
    REQUIRE(changed);
    auto waits = [](Watch<std::string>::Receiver& receiver) -> Coro<std::string> {
        const bool news = co_await receiver.changed();
        co_return news ? receiver.get() : "gone";
    };
    std::vector<Task<std::string>> tasks;
    for (auto* receiver : {&early, &late, &copy})
        tasks.push_back(weft::create_task(waits, std::ref(*receiver)));
    co_await weft::yield();
    watch.set("c");
    for (auto& task : tasks) {
        const std::string value = co_await task;
        REQUIRE(value == "c");
    }
}

WEFT_TEST_CASE("when the watch goes, its last change is still reported, then its end", "[watch]") {
    auto watch = std::make_unique<Watch<int>>(1);
    auto receiver = watch->subscribe();
    auto waiting = watch->subscribe();
    auto waits = [&]() -> Coro<bool> { co_return co_await waiting.changed(); };
    const auto task = weft::create_task(waits);
    co_await weft::yield();
    watch->set(2);
    watch.reset();
    const bool news = co_await receiver.changed();
    REQUIRE(news);
    REQUIRE(receiver.get() == 2);
    const bool more = co_await receiver.changed();
    REQUIRE_FALSE(more);
    REQUIRE(receiver.closed());
    REQUIRE(receiver.get() == 2);
    const bool told = co_await task;
    REQUIRE(told);
    const bool ended = co_await waiting.changed();
    REQUIRE_FALSE(ended);
}

WEFT_TEST_CASE("a receiver that waits learns that the watch went", "[watch]") {
    auto watch = std::make_unique<Watch<int>>(1);
    std::vector<int> seen;
    const auto task = weft::create_task(follow(watch->subscribe(), seen));
    co_await weft::yield();
    watch.reset();
    co_await weft::yield();
    REQUIRE(task.done());
    REQUIRE(seen.empty());
}

WEFT_TEST_CASE("a cancelled wait loses no change", "[watch]") {
    Watch<int> watch(0);
    auto receiver = watch.subscribe();
    bool news = false;
    auto waits = [&]() -> Coro<void> { news = co_await receiver.changed(); };
    auto cancelled = weft::create_task(waits);
    co_await weft::yield();
    cancelled.cancel();
    watch.set(1);
    co_await weft::yield();
    REQUIRE(cancelled.cancelled());
    REQUIRE(receiver.has_changed());
    co_await waits();
    REQUIRE(news);
    news = false;
    auto woken = weft::create_task(waits);
    co_await weft::yield();
    watch.set(2);
    woken.cancel();  // after the change: it is reported
    woken.cancel();
    co_await weft::yield();
    REQUIRE(news);
    REQUIRE_FALSE(receiver.has_changed());
}

WEFT_TEST_CASE("a waiter may destroy the watch, wait again and cancel others when it wakes",
               "[watch]") {
    auto watch = std::make_unique<Watch<int>>(0);
    std::string log;
    std::vector<Task<void>> others;
    auto first = [&](Watch<int>::Receiver receiver) -> Coro<void> {
        const bool news = co_await receiver.changed();
        for (auto& other : others) other.cancel();
        watch.reset();
        const bool more = co_await receiver.changed();
        log += news && !more ? "1" : "?";
    };
    auto other = [&](Watch<int>::Receiver receiver) -> Coro<void> {
        const bool news = co_await receiver.changed();
        log += news ? "o" : "?";
    };
    const auto task = weft::create_task(first, watch->subscribe());
    for (int i = 0; i < 2; ++i) others.push_back(weft::create_task(other, watch->subscribe()));
    co_await weft::yield();
    watch->set(1);
    co_await turns(2);
    REQUIRE(log == "1oo");
}

WEFT_TEST_CASE("an exception while the value changes tells nobody and keeps the value", "[watch]") {
    struct Value {
        explicit Value(int number) : value(number) {}
        Value(Value&& other) : value(other.value) {
            if (value < 0) throw std::runtime_error("negative");
        }
        int value;
    };
    Watch<Value> watch(Value(1));
    auto receiver = watch.subscribe();
    REQUIRE(probe::message_of<std::runtime_error>([&] { watch.set(Value(-1)); }) == "negative");
    REQUIRE(probe::message_of<std::runtime_error>([&] {
                watch.update([](Value&) { throw std::runtime_error("update"); });
            }) == "update");
    REQUIRE_FALSE(receiver.has_changed());
    REQUIRE(receiver.get().value == 1);
    watch.set(Value(2));
    const bool news = co_await receiver.changed();
    REQUIRE(news);
    REQUIRE(receiver.get().value == 2);
}

WEFT_TEST_CASE("whatever is set and cancelled, a receiver ends with the last value", "[watch]") {
    for (unsigned seed = 1; seed <= 1000; ++seed) {
        CAPTURE(seed);
        std::mt19937 random(seed);
        auto watch = std::make_unique<Watch<int>>(0);
        std::vector<Watch<int>::Receiver> receivers(3, watch->subscribe());
        std::vector<int> last(3);
        bool in_order = true;
        auto follows = [&](std::size_t index) -> Coro<void> {
            while (auto value = co_await receivers[index].next()) {
                in_order = in_order && *value > last[index];
                last[index] = *value;
            }
        };
        std::vector<Task<void>> tasks;
        for (std::size_t index = 0; index < 3; ++index)
            tasks.push_back(weft::create_task(follows, index));
        int value = 0;
        for (int step = 0; step < 20; ++step) {
            const std::size_t index = random() % 3;
            const auto action = random() % 4;
            if (action == 0) co_await weft::yield();
            if (action == 1) watch->set(++value);
            if (action == 2) tasks[index].cancel();
            if (action == 3 && tasks[index].done())
                tasks[index] = weft::create_task(follows, index);
        }
        for (std::size_t index = 0; index < 3; ++index) {
            co_await weft::yield();
            if (tasks[index].done()) tasks[index] = weft::create_task(follows, index);
        }
        co_await weft::yield();
        // A cancel that was pending may have struck one of them since.
        for (std::size_t index = 0; index < 3; ++index) {
            if (tasks[index].done()) tasks[index] = weft::create_task(follows, index);
        }
        watch.reset();
        for (auto& task : tasks) co_await task;
        REQUIRE(last == std::vector<int>(3, value));
        REQUIRE(in_order);
    }
}

WEFT_TEST_CASE("a value whose copy throws is reported again", "[watch]") {
    struct Value {
        explicit Value(int number) : value(number) {}
        Value(const Value& other) : value(other.value) {
            if (value < 0) throw std::runtime_error("negative");
        }
        int value;
    };
    Watch<Value> watch(Value(1));
    auto receiver = watch.subscribe();
    watch.update([](Value& value) { value.value = -1; });
    std::string message;
    try {
        (void)co_await receiver.next();
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    REQUIRE(message == "negative");
    watch.update([](Value& value) { value.value = 2; });
    const auto value = co_await receiver.next();
    REQUIRE(value->value == 2);
    REQUIRE_FALSE(receiver.has_changed());
}

TEST_CASE("cut off after every turn, watches leak nothing", "[watch]") {
    int alive = 0;
    const auto scenario = [&alive]() -> Coro<void> {
        auto watch = std::make_unique<Watch<std::shared_ptr<Alive>>>(nullptr);
        auto follows = [](Watch<std::shared_ptr<Alive>>::Receiver receiver) -> Coro<void> {
            while (auto value = co_await receiver.next()) co_await weft::yield();
        };
        std::vector<Task<void>> tasks;
        for (int i = 0; i < 3; ++i) tasks.push_back(weft::create_task(follows, watch->subscribe()));
        for (int i = 0; i < 3; ++i) {
            watch->set(std::make_shared<Alive>(alive));
            co_await turns(1 + i);
        }
        watch.reset();
        for (auto& task : tasks) co_await task;
    };
    REQUIRE(weft::testing::kill_at_every_step(scenario) > 3);
    REQUIRE(alive == 0);
    weft::testing::cancel_at_every_step(scenario,
                                        [](const Task<void>& task) { REQUIRE(task.done()); });
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("a watch tells how many receivers there are, and how many of them wait", "[watch]") {
    Watch<int> watch(1);
    auto waits = [](Watch<int>::Receiver receiver) -> Coro<void> { co_await receiver.next(); };
    const auto idle = watch.subscribe();
    auto waiting = weft::create_task(waits, watch.subscribe());
    co_await weft::yield();
    REQUIRE(watch.statistics().receivers == 2);
    REQUIRE(watch.statistics().waiters == 1);
    watch.set(2);
    REQUIRE(watch.statistics().waiters == 0);
    co_await waiting;
    REQUIRE(idle.has_changed());
}

}  // namespace watch_test
