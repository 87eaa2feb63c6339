// SPDX-License-Identifier: MIT
// Latch: opens at zero, stays open, and a cancel at every moment.
#include <weft/sync/latch.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "probe.hpp"
#include "sync.hpp"

namespace latch_test {

using weft::Coro;
using weft::Latch;

namespace {

Coro<void> waits(Latch& latch) { co_await latch.wait(); }
Coro<void> arrives(Latch& latch) { co_await latch.arrive_and_wait(); }

}  // namespace

WEFT_TEST_CASE("a latch opens for all when the count is zero, and stays open", "[latch]") {
    Latch latch(3);
    auto one = weft::create_task(waits, std::ref(latch));
    auto two = weft::create_task(arrives, std::ref(latch));
    co_await weft::yield();
    REQUIRE(latch.statistics().count == 2);
    REQUIRE(latch.statistics().waiters == 2);
    latch.count_down();
    REQUIRE_FALSE(latch.try_wait());
    co_await latch.arrive_and_wait();
    REQUIRE(latch.try_wait());
    co_await one;
    co_await two;
    co_await latch.wait();
}

WEFT_TEST_CASE("a latch of zero is open, and one below zero is an error", "[latch]") {
    Latch open(0);
    co_await open.wait();
    REQUIRE(probe::message_of<weft::RuntimeError>([&] { open.count_down(); }) ==
            "Latch::count_down: below zero");
    Latch two(2);
    REQUIRE_THROWS_AS(two.count_down(3), weft::RuntimeError);
    REQUIRE(two.statistics().count == 2);
    two.count_down(2);
    REQUIRE(two.try_wait());
    REQUIRE(probe::message_of<std::invalid_argument>([] { const Latch none(-1); }) ==
            "Latch: a negative count");
}

WEFT_TEST_CASE("28: a cancelled wait leaves; one that was released returns", "[latch]") {
    Latch latch(1);
    auto before = weft::create_task(waits, std::ref(latch));
    auto after = weft::create_task(waits, std::ref(latch));
    co_await weft::yield();
    before.cancel();
    latch.count_down();
    after.cancel();
    co_await before.wait();
    co_await after.wait();
    REQUIRE(before.cancelled());
    REQUIRE_FALSE(after.cancelled());
}

WEFT_TEST_CASE("28: an arrival counts although its wait is cancelled", "[latch]") {
    Latch latch(2);
    auto cancels_itself = [&]() -> Coro<void> {
        weft::current_task().cancel();
        co_await latch.arrive_and_wait();
    };
    auto pending = weft::create_task(cancels_itself);
    co_await pending.wait();
    REQUIRE(pending.cancelled());
    REQUIRE(latch.statistics().count == 1);
    REQUIRE(latch.statistics().waiters == 0);
    co_await latch.arrive_and_wait();
}

}  // namespace latch_test
