// SPDX-License-Identifier: MIT
// CapacityLimiter: borrowers, a total that changes, and a cancel at every moment.
#include <weft/base/pointer_set.hpp>
#include <weft/sync/capacity_limiter.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "interleave.hpp"
#include "probe.hpp"
#include "sync.hpp"

namespace capacity_limiter_test {

using support::end_of;
using support::some_turns;
using weft::CapacityLimiter;
using weft::Coro;

namespace {

const std::string twice = "CapacityLimiter: this borrower has a token already";

Coro<void> borrows(CapacityLimiter& limiter, std::string& log, char name) {
    auto token = co_await limiter.scoped();
    log += name;
    co_await weft::yield();
}

std::vector<weft::Task<void>> borrowers(CapacityLimiter& limiter, std::string& log,
                                        const std::string& names) {
    std::vector<weft::Task<void>> tasks;
    for (const char name : names) {
        tasks.push_back(weft::create_task(borrows, std::ref(limiter), std::ref(log), name));
    }
    return tasks;
}

Coro<void> all(std::vector<weft::Task<void>>& tasks) {
    for (auto& task : tasks) co_await task.wait();
}

}  // namespace

WEFT_TEST_CASE("tokens are given out in the order of arrival", "[limiter]") {
    CapacityLimiter limiter(2);
    std::string log;
    auto tasks = borrowers(limiter, log, "abcd");
    co_await weft::yield();
    REQUIRE(log == "ab");
    REQUIRE(limiter.borrowed_tokens() == 2);
    REQUIRE(limiter.available_tokens() == 0);
    REQUIRE(limiter.statistics().waiters == 2);
    const auto who = limiter.statistics().tasks;
    REQUIRE(who.size() == 2);
    REQUIRE(who[0] == tasks[0]);
    REQUIRE(who[1] == tasks[1]);
    REQUIRE_FALSE(limiter.try_acquire());
    co_await all(tasks);
    REQUIRE(log == "abcd");
    REQUIRE(limiter.available_tokens() == 2);
}

WEFT_TEST_CASE("a borrower has one token at most", "[limiter]") {
    CapacityLimiter limiter(3);
    co_await limiter.acquire();
    REQUIRE(probe::message_of<weft::RuntimeError>([&] { (void)limiter.try_acquire(); }) == twice);
    auto again = [&]() -> Coro<void> { co_await limiter.acquire(); };
    std::string message;
    try {
        co_await again();
    } catch (const weft::RuntimeError& error) {
        message = error.what();
    }
    REQUIRE(message == twice);
    int other = 0;
    REQUIRE(limiter.try_acquire_on_behalf_of(&other));
    REQUIRE(limiter.borrowed_tokens() == 2);
    limiter.release_on_behalf_of(&other);
    limiter.release();
    REQUIRE(limiter.borrowed_tokens() == 0);
}

WEFT_TEST_CASE("a borrower that waits twice gets one token, and an error", "[limiter]") {
    CapacityLimiter limiter(1);
    int borrower = 0;
    co_await limiter.acquire();
    auto body = [&]() -> Coro<void> { co_await limiter.acquire_on_behalf_of(&borrower); };
    auto one = weft::create_task(body);
    auto two = weft::create_task(body);
    co_await weft::yield();
    limiter.set_total_tokens(5);
    limiter.release();
    co_await one.wait();
    co_await two.wait();
    REQUIRE(end_of(one) == "ok");
    REQUIRE(end_of(two) == twice);
    REQUIRE(limiter.borrowed_tokens() == 1);
    limiter.release_on_behalf_of(&borrower);
}

WEFT_TEST_CASE("65: releasing a token that one does not have is an error", "[limiter]") {
    CapacityLimiter limiter(1);
    const std::string message = "CapacityLimiter::release: this borrower has no token";
    REQUIRE(probe::message_of<weft::RuntimeError>([&] { limiter.release(); }) == message);
    int other = 0;
    REQUIRE(probe::message_of<weft::RuntimeError>([&] { limiter.release_on_behalf_of(&other); }) ==
            message);
    const probe::Reports reports = probe::collect_reports(weft::get_running_loop());
    {
        auto token = co_await limiter.scoped();
        auto moved = std::move(token);
        REQUIRE_FALSE(token);
        limiter.release();
    }
    REQUIRE(probe::count_with(reports, "a guard could not release") == 1);
}

WEFT_TEST_CASE("more tokens let waiting tasks go on, fewer wait until enough came back",
               "[limiter]") {
    CapacityLimiter limiter(1);
    std::string log;
    auto tasks = borrowers(limiter, log, "abcdef");
    co_await weft::yield();
    REQUIRE(log == "a");
    limiter.set_total_tokens(3);
    REQUIRE(limiter.borrowed_tokens() == 3);
    limiter.set_total_tokens(1);
    REQUIRE(limiter.available_tokens() == 0);
    co_await some_turns(1);
    REQUIRE(limiter.borrowed_tokens() == 2);  // a's came back, and was one too many
    limiter.set_total_tokens(CapacityLimiter::unlimited);
    co_await all(tasks);
    REQUIRE(log == "abcdef");
    REQUIRE(limiter.borrowed_tokens() == 0);
    REQUIRE(limiter.total_tokens() == CapacityLimiter::unlimited);
}

WEFT_TEST_CASE("64: granted and then cancelled: the token comes back", "[limiter]") {
    CapacityLimiter limiter(0);
    std::string log;
    auto tasks = borrowers(limiter, log, "abc");
    co_await weft::yield();
    tasks[1].cancel();
    limiter.set_total_tokens(1);
    tasks[0].cancel();
    co_await all(tasks);
    REQUIRE(log == "ac");
    REQUIRE(tasks[0].cancelled());
    REQUIRE(tasks[1].cancelled());
    REQUIRE(limiter.available_tokens() == 1);
}

TEST_CASE("the set of borrowers agrees with std::set", "[limiter]") {
    std::vector<int> items(400);
    for (unsigned seed = 0; seed < 20; ++seed) {
        support::Dice dice(seed);
        weft::detail::PointerSet set;
        std::set<const void*> model;
        for (int step = 0; step < 2'000; ++step) {
            const void* const item = &items[dice.below(1 + dice.below(400))];
            if (model.count(item) == 0 && dice.one_in(2)) {
                set.insert(item);
                model.insert(item);
            } else {
                REQUIRE(set.erase(item) == (model.erase(item) > 0));
            }
            REQUIRE(set.size() == model.size());
        }
        for (const int& item : items) REQUIRE(set.contains(&item) == (model.count(&item) > 0));
    }
}

}  // namespace capacity_limiter_test
