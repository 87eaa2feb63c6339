// SPDX-License-Identifier: MIT
// Semaphore, BoundedSemaphore: order, reserved permits, misuse, and a cancel at every moment.
#include <weft/sync/semaphore.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

#include <functional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "probe.hpp"
#include "sync.hpp"

namespace semaphore_test {

using support::some_turns;
using weft::BoundedSemaphore;
using weft::CancelledError;
using weft::Coro;
using weft::Semaphore;

static_assert(!std::is_copy_constructible_v<Semaphore>);
static_assert(!std::is_move_constructible_v<BoundedSemaphore>);

namespace {

Coro<void> uses_permit(Semaphore& semaphore, std::string& log, char name) {
    auto permit = co_await semaphore.scoped();
    log += name;
    co_await weft::yield();
}

}  // namespace

WEFT_TEST_CASE("68: a release reserves the permit for the task that waits longest", "[semaphore]") {
    Semaphore semaphore(1);
    std::string log;
    co_await semaphore.acquire();
    auto a = weft::create_task(uses_permit, std::ref(semaphore), std::ref(log), 'a');
    co_await weft::yield();
    semaphore.release();
    REQUIRE(semaphore.locked());
    REQUIRE_FALSE(semaphore.try_acquire());
    co_await uses_permit(semaphore, log, 'z');
    co_await a;
    REQUIRE(log == "az");
    REQUIRE_FALSE(semaphore.locked());
}

WEFT_TEST_CASE("68: permits are given out strictly in the order of arrival", "[semaphore]") {
    Semaphore semaphore(2);
    std::string log;
    auto churns = [&](char name) -> Coro<void> {
        for (int i = 0; i < 3; ++i) co_await uses_permit(semaphore, log, name);
    };
    std::vector<weft::Task<void>> tasks;
    for (const char name : {'a', 'b', 'c', 'd'}) tasks.push_back(weft::create_task(churns, name));
    for (auto& task : tasks) co_await task;
    REQUIRE(log == "abcdabcdabcd");
    REQUIRE(semaphore.statistics().available == 2);
}

WEFT_TEST_CASE("68: a permit that was granted to a task which is then cancelled returns",
               "[semaphore]") {
    Semaphore semaphore(0);
    std::string log;
    auto a = weft::create_task(uses_permit, std::ref(semaphore), std::ref(log), 'a');
    auto b = weft::create_task(uses_permit, std::ref(semaphore), std::ref(log), 'b');
    co_await weft::yield();
    semaphore.release();
    a.cancel();
    co_await b;
    REQUIRE(a.cancelled());
    REQUIRE(log == "ab");
    REQUIRE(semaphore.statistics().available == 1);
}

WEFT_TEST_CASE("64: a cancelled task leaves the queue, wherever in it it stands", "[semaphore]") {
    for (const std::size_t victim : {0u, 1u, 2u}) {
        Semaphore semaphore(0);
        std::string log;
        std::vector<weft::Task<void>> tasks;
        for (const char name : {'a', 'b', 'c'}) {
            tasks.push_back(
                weft::create_task(uses_permit, std::ref(semaphore), std::ref(log), name));
        }
        co_await weft::yield();
        tasks[victim].cancel();
        REQUIRE(semaphore.statistics().waiters == 2);
        semaphore.release();
        semaphore.release();
        REQUIRE(semaphore.statistics().waiters == 0);
        co_await some_turns(5);
        for (std::size_t i = 0; i < 3; ++i) REQUIRE(tasks[i].cancelled() == (i == victim));
        REQUIRE(log.size() == 2);
        REQUIRE(semaphore.statistics().available == 2);
    }
}

WEFT_TEST_CASE("28: a pending cancel strikes a wait for a permit, not a free one", "[semaphore]") {
    Semaphore semaphore(1);
    bool got = false;
    auto body = [&]() -> Coro<void> {
        weft::current_task().cancel();
        co_await semaphore.acquire();
        got = true;
        co_await semaphore.acquire();
    };
    auto task = weft::create_task(body);
    co_await task.wait();
    REQUIRE(got);
    REQUIRE(task.cancelled());
    REQUIRE(semaphore.statistics().waiters == 0);
}

WEFT_TEST_CASE("28: a permit is acquired inside clean-up", "[semaphore]") {
    Semaphore semaphore(0);
    std::string log;
    auto body = [&]() -> Coro<void> {
        bool cancelled = false;
        try {
            co_await semaphore.acquire();
        } catch (const CancelledError&) {
            cancelled = true;
        }
        if (cancelled) co_await uses_permit(semaphore, log, 'x');
    };
    auto task = weft::create_task(body);
    co_await weft::yield();
    task.cancel();
    co_await weft::yield();
    semaphore.release();
    co_await task;
    REQUIRE(log == "x");
}

WEFT_TEST_CASE("65: over-releasing a bounded semaphore is an error, of a plain one it is not",
               "[semaphore]") {
    BoundedSemaphore bounded(1);
    const auto release = [&] { bounded.release(); };
    const std::string message = "BoundedSemaphore::release: released too many times";
    REQUIRE(probe::message_of<weft::RuntimeError>(release) == message);
    REQUIRE(bounded.try_acquire());
    release();
    REQUIRE(probe::message_of<weft::RuntimeError>(release) == message);
    REQUIRE(bounded.statistics().available == 1);

    Semaphore plain(0);
    plain.release();
    plain.release();
    REQUIRE(plain.statistics().available == 2);
    REQUIRE(plain.try_acquire());
    co_return;
}

WEFT_TEST_CASE("65: a negative number of permits is an error", "[semaphore]") {
    const std::string message = "Semaphore: a negative number of permits";
    REQUIRE(probe::message_of<std::invalid_argument>([] { const Semaphore none(-1); }) == message);
    REQUIRE(probe::message_of<std::invalid_argument>([] { const BoundedSemaphore none(-1); }) ==
            message);
    co_return;
}

WEFT_TEST_CASE("65: a bounded semaphore without permits refuses a release, also with a waiter",
               "[semaphore]") {
    BoundedSemaphore none(0);
    std::string log;
    auto waits = weft::create_task(uses_permit, std::ref<Semaphore>(none), std::ref(log), 'a');
    co_await weft::yield();
    REQUIRE_THROWS_AS(none.release(), weft::RuntimeError);
    REQUIRE(none.statistics().waiters == 1);
    waits.cancel();
    co_await waits.wait();
    REQUIRE(log.empty());
}

WEFT_TEST_CASE("a permit's guard moves, and releases once", "[semaphore]") {
    Semaphore semaphore(1);
    {
        auto permit = co_await semaphore.scoped();
        auto moved = std::move(permit);
        REQUIRE(semaphore.locked());
        permit.release();
        REQUIRE(semaphore.locked());
        moved.release();
        moved.release();
        REQUIRE_FALSE(semaphore.locked());
    }
    REQUIRE(semaphore.statistics().available == 1);
}

}  // namespace semaphore_test
