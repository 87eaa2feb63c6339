// SPDX-License-Identifier: MIT
// retry, RateLimiter, Singleflight, map_limit and context variables, cut off after every turn.
#include <weft/deadline/move_on_after.hpp>
#include <weft/patterns/map_limit.hpp>
#include <weft/patterns/rate_limiter.hpp>
#include <weft/patterns/retry.hpp>
#include <weft/patterns/singleflight.hpp>
#include <weft/task/context_var.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cut_everywhere.hpp"
#include "probe.hpp"

namespace step_kill_patterns_test {

using namespace std::chrono_literals;
using probe::Alive;
using support::cut_everywhere;
using weft::Coro;

namespace {

Coro<void> retries(int& alive) {
    const Alive counted(alive);
    int calls = 0;
    auto fails = [&](const Alive& argument) -> Coro<int> {
        const Alive local(argument);
        co_await weft::sleep(1s);
        if (++calls < 4) throw std::runtime_error("expected");
        co_return calls;
    };
    const int made = co_await weft::retry(weft::RetryOptions(9, 1s), fails, counted);
    if (made != 4) throw std::logic_error("wrong number of calls");
}

Coro<void> limited(int& alive) {
    // Shared: a task that is cut off may be gone later than the one that began it.
    auto limiter = std::make_shared<weft::RateLimiter>(2, 2);
    auto works = [](Alive, std::shared_ptr<weft::RateLimiter> on,
                    std::uint32_t tokens) -> Coro<void> {
        co_await on->acquire(tokens);
        co_await weft::yield();
    };
    std::vector<weft::Task<void>> tasks;
    for (std::uint32_t i = 0; i < 5; ++i) {
        tasks.push_back(weft::create_task(works, Alive(alive), limiter, 1 + i % 2));
    }
    co_await weft::move_on_after(700ms, limiter->acquire());
    tasks[3].cancel();
    for (auto& task : tasks) co_await task.wait();
}

Coro<void> shared_calls(int& alive) {
    using Flights = weft::Singleflight<int, std::shared_ptr<Alive>>;
    auto flights = std::make_shared<Flights>();
    auto call = [](Alive counted) -> Coro<std::shared_ptr<Alive>> {
        co_await weft::sleep(1s);
        co_return std::make_shared<Alive>(counted);
    };
    auto asks = [call](std::shared_ptr<Flights> in, int key, Alive counted) -> Coro<void> {
        co_await in->run(key, call, counted);
    };
    for (int round = 0; round < 2; ++round) {
        std::vector<weft::Task<void>> tasks;
        for (int i = 0; i < 4; ++i) {
            tasks.push_back(weft::create_task(asks, flights, i % 2, Alive(alive)));
        }
        co_await weft::yield();
        tasks[0].cancel();
        if (round == 1) tasks[2].cancel();
        for (auto& task : tasks) co_await task.wait();
    }
}

const weft::ContextVar<std::shared_ptr<Alive>> object("object");

Coro<void> contexts(int& alive) {
    object.set(std::make_shared<Alive>(alive));
    auto child = [&alive]() -> Coro<void> {
        auto token = object.set(std::make_shared<Alive>(alive));
        co_await weft::sleep(1s);
        object.reset(token);
        weft::get_running_loop().call_later(1s, [] { object.set(nullptr); });
    };
    for (int round = 0; round < 3; ++round) {
        auto task = weft::create_task(child);
        co_await weft::yield();
        co_await task;
    }
}

/// Items, arguments and results are counted; some calls clean up, one swallows its cancel, and in
/// the second round one fails while others run.
Coro<void> maps(int& alive) {
    for (const bool fails : {false, true}) {
        std::vector<std::unique_ptr<Alive>> items;
        for (int i = 0; i < 7; ++i) items.push_back(std::make_unique<Alive>(alive));
        int calls = 0;
        auto fn = [&](std::unique_ptr<Alive>& item,
                      const Alive& shared) -> Coro<std::unique_ptr<Alive>> {
            const Alive local(shared);
            const int call = calls++;
            if (call == 1) co_return std::move(item);  // without a stop
            bool cancelled = false;
            try {
                co_await weft::sleep((1 + call % 3) * 1s);
            } catch (const weft::CancelledError&) {
                cancelled = true;
            }
            if (cancelled) co_await weft::yield();
            if (cancelled && call != 3) throw weft::CancelledError();
            if (fails && call == 4) throw std::runtime_error("expected");
            co_return std::move(item);
        };
        std::string end;
        try {
            auto results = co_await weft::map_limit(std::move(items), 3, fn, Alive(alive));
            for (auto& result : results) end += result ? 'r' : '-';
        } catch (const std::runtime_error& error) {
            end = error.what();
        }
        if (end != (fails ? "expected" : "rrrrrrr")) throw std::logic_error("map_limit: " + end);
    }
}

}  // namespace

TEST_CASE("a map with a limit can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(maps) > 8);
}
TEST_CASE("retries can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(retries) > 5);
}
TEST_CASE("waiting for a rate can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(limited) > 4);
}
TEST_CASE("shared calls can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(shared_calls) > 4);
}
TEST_CASE("tasks with context variables can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(contexts) > 4);
}

}  // namespace step_kill_patterns_test
