// SPDX-License-Identifier: MIT
// Singleflight: one call for all who ask at the same time, and whose cancel ends it.
#include <weft/patterns/singleflight.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <stdexcept>
#include <string>
#include <vector>

#include "awaiting.hpp"
#include "probe.hpp"

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

}  // namespace singleflight_test
