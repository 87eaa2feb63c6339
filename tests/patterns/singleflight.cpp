// SPDX-License-Identifier: MIT
// Singleflight: one call for all who ask at the same time, and whose cancel ends it.
#include <weft/deadline/wait_for.hpp>
#include <weft/patterns/singleflight.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "awaiting.hpp"
#include "probe.hpp"
#include "sync.hpp"

namespace singleflight_test {

using namespace std::chrono_literals;
using weft::Coro;
using Flights = weft::Singleflight<std::string, int>;

namespace {

struct Service {
    Coro<int> ask(int question) {
        ++calls;
        const probe::Alive running(alive);
        co_await weft::sleep(1s);
        if (question < 0) throw std::runtime_error("no answer");
        co_return question + calls;
    }
    int calls = 0;
    int alive = 0;
};

Coro<int> asks(Flights& flights, Service& service, std::string key, int question) {
    return flights.run(std::move(key), &Service::ask, &service, question);
}

}  // namespace

WEFT_TEST_CASE("who asks for the same thing at the same time shares one call", "[singleflight]") {
    Flights flights;
    Service service;
    std::vector<weft::Task<int>> tasks;
    for (int i = 0; i < 5; ++i) {
        tasks.push_back(weft::create_task(asks(flights, service, "a", 10)));
    }
    auto other = weft::create_task(asks(flights, service, "b", 20));
    co_await weft::yield();
    REQUIRE(flights.size() == 2);
    int sum = 0;
    for (auto& task : tasks) sum += co_await task;
    const int alone = co_await other;
    REQUIRE(sum == 5 * (10 + 2));  // (both calls have begun by then)
    REQUIRE(alone == 22);
    REQUIRE(service.calls == 2);
    REQUIRE(flights.size() == 0);
}

WEFT_TEST_CASE("nothing is kept: who asks later makes a new call", "[singleflight]") {
    Flights flights;
    Service service;
    const int first = co_await flights.run("a", &Service::ask, &service, 1);
    const int second = co_await flights.run("a", &Service::ask, &service, 1);
    REQUIRE(first == 2);
    REQUIRE(second == 3);
    // In the very turn in which the first call ends, before its caller has run.
    auto caller = weft::create_task(asks(flights, service, "a", 1));
    co_await weft::sleep(1s - 1ns);
    auto late = weft::create_task([&]() -> Coro<int> {
        co_await weft::sleep(1ns);
        co_return co_await flights.run("a", &Service::ask, &service, 1);
    });
    const int third = co_await caller;
    const int fourth = co_await late;
    REQUIRE(third == 4);
    REQUIRE((fourth == 4 || fourth == 5));
    REQUIRE(flights.size() == 0);
}

WEFT_TEST_CASE("a failure is everybody's", "[singleflight]") {
    Flights flights;
    Service service;
    auto reports = probe::collect_reports(weft::get_running_loop());
    std::vector<weft::Task<int>> tasks;
    for (int i = 0; i < 3; ++i) {
        tasks.push_back(weft::create_task(asks(flights, service, "a", -1)));
    }
    int failures = 0;
    for (auto& task : tasks) {
        try {
            co_await task;
        } catch (const std::runtime_error&) {
            ++failures;
        }
    }
    REQUIRE(failures == 3);
    REQUIRE(service.calls == 1);
    REQUIRE(reports->empty());
    REQUIRE(flights.size() == 0);
}

WEFT_TEST_CASE("one caller's cancel leaves the call to the others, the first one's too",
               "[singleflight]") {
    Flights flights;
    Service service;
    auto first = weft::create_task(asks(flights, service, "a", 1));
    auto second = weft::create_task(asks(flights, service, "a", 1));
    co_await support::turns(2);
    first.cancel();
    const int value = co_await second;
    REQUIRE(value == 2);
    REQUIRE(first.cancelled());
    REQUIRE(service.calls == 1);
}

WEFT_TEST_CASE("when the last caller has gone the call is cancelled", "[singleflight]") {
    Flights flights;
    Service service;
    auto first = weft::create_task(asks(flights, service, "a", 1));
    auto second = weft::create_task(asks(flights, service, "a", 1));
    co_await support::turns(3);
    REQUIRE(service.alive == 1);
    first.cancel();
    co_await support::turns(3);
    REQUIRE(service.alive == 1);
    second.cancel();
    co_await second.wait();
    REQUIRE(flights.size() == 0);
    // Who asks now does not get the call that is being cancelled.
    const int value = co_await flights.run("a", &Service::ask, &service, 1);
    REQUIRE(value == 3);
    REQUIRE(service.alive == 0);
}

namespace {

/// A call whose clean-up takes a while; `over` is then true.
struct Careful {
    Coro<int> ask() {
        const probe::Alive running(alive);
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            struck = true;
        }
        co_await support::turns(3);
        over = true;
        if (struck) throw weft::CancelledError();
        co_return 1;
    }
    bool struck = false;
    bool over = false;
    int alive = 0;
};

}  // namespace

WEFT_TEST_CASE("99: the last caller that is cancelled goes on when the call's clean-up is over",
               "[singleflight]") {
    Flights flights;
    Careful careful;
    auto caller = [&]() -> Coro<int> { return flights.run("a", &Careful::ask, &careful); };
    auto first = weft::create_task(caller);
    auto second = weft::create_task(caller);
    co_await support::turns(3);
    first.cancel();
    co_await first.wait();
    REQUIRE_FALSE(careful.struck);
    second.cancel();
    co_await support::turns(2);
    REQUIRE(careful.struck);
    REQUIRE_FALSE(second.done());
    second.cancel();  // once more, in the clean-up
    co_await second.wait();
    REQUIRE(second.cancelled());
    REQUIRE(careful.alive == 0);
    REQUIRE(flights.size() == 0);
}

WEFT_TEST_CASE("99: a deadline around a call waits for the call's clean-up", "[singleflight]") {
    Flights flights;
    Careful careful;
    bool timed_out = false;
    try {
        co_await weft::wait_for(flights.run("a", &Careful::ask, &careful), 1s);
    } catch (const weft::TimeoutError&) {
        timed_out = careful.over;
    }
    REQUIRE(timed_out);
    REQUIRE(weft::current_task().cancelling() == 0);
    REQUIRE(flights.size() == 0);
}

WEFT_TEST_CASE("28: a call that completes although it was cancelled gives its value",
               "[singleflight]") {
    Flights flights;
    auto stubborn = []() -> Coro<int> {
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
        }
        co_return 7;
    };
    int got = 0;
    auto caller = [&]() -> Coro<void> {
        got = co_await flights.run("a", stubborn);
        co_await weft::yield();
    };
    auto task = weft::create_task(caller);
    co_await support::turns(3);
    task.cancel();
    co_await task.wait();
    REQUIRE(got == 7);
    REQUIRE(task.cancelled());
}

namespace {

/// Each key's call asks for the next of `keys`, the last one for the first; through a child, or in
/// place.
struct Circle {
    Coro<int> ask(int key) {
        const probe::Alive running(alive);
        if (!through_child)
            co_return co_await flights.run((key + 1) % keys, &Circle::ask, this, (key + 1) % keys);
        auto child = weft::create_task([this, key]() -> Coro<int> {
            return flights.run((key + 1) % keys, &Circle::ask, this, (key + 1) % keys);
        });
        co_return co_await child;
    }
    int keys = 2;
    bool through_child = false;
    int alive = 0;
    weft::Singleflight<int, int> flights;
};

}  // namespace

WEFT_TEST_CASE("calls that ask for each other end with those who wait from outside",
               "[singleflight]") {
    for (const int keys : {2, 3, 50}) {
        for (const bool through_child : {false, true}) {
            auto circle = std::make_unique<Circle>();
            circle->keys = keys;
            circle->through_child = through_child;
            const auto before = weft::all_tasks().size();
            auto other = weft::create_task([&]() -> Coro<int> {
                return circle->flights.run(keys / 2, &Circle::ask, circle.get(), keys / 2);
            });
            bool timed_out = false;
            try {
                co_await weft::wait_for(circle->flights.run(0, &Circle::ask, circle.get(), 0),
                                        20ms);
            } catch (const weft::TimeoutError&) {
                timed_out = true;
            }
            REQUIRE(timed_out);
            REQUIRE(circle->alive == keys);  // for the other one
            other.cancel();
            co_await other.wait();
            REQUIRE(other.cancelled());
            REQUIRE(circle->flights.size() == 0);
            REQUIRE(circle->alive == 0);
            co_await support::turns(2);
            REQUIRE(weft::all_tasks().size() == before);
            circle.reset();
        }
    }
}

WEFT_TEST_CASE("98: a singleflight that goes cancels its calls and waits for nobody",
               "[singleflight]") {
    auto flights = std::make_unique<Flights>();
    Careful careful;
    auto caller = [&]() -> Coro<int> { return flights->run("a", &Careful::ask, &careful); };
    auto first = weft::create_task(caller);
    auto second = weft::create_task(caller);
    co_await support::turns(3);
    flights.reset();
    co_await first.wait();
    REQUIRE(careful.over);
    co_await second.wait();
    const std::string gone =
        "weft: the singleflight was destroyed while a task waited for its call";
    REQUIRE(support::end_of(first) == gone);
    REQUIRE(support::end_of(second) == gone);
    // One that was to begin.
    auto other = std::make_unique<Flights>();
    auto late = other->run("a", &Careful::ask, &careful);
    other.reset();
    auto third = weft::create_task(std::move(late));
    co_await third.wait();
    REQUIRE(support::end_of(third) == gone);
}

}  // namespace singleflight_test
