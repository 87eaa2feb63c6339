// SPDX-License-Identifier: MIT
// staggered_race: attempts one after the other, the next one on failure or delay.
#include <weft/testing/catch.hpp>
#include <weft/together/staggered_race.hpp>
#include <weft/together/task_group.hpp>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "children.hpp"
#include "probe.hpp"

namespace staggered_race_test {

using namespace children;

namespace {

/// What each attempt does, and when each began.
struct Plan {
    struct Step {
        weft::Duration takes;
        bool succeeds;
    };
    std::vector<Step> steps;
    std::vector<long> began{};
    std::vector<int> cancelled{};

    Coro<int> run(int number) {
        const auto start = weft::get_running_loop().time();
        began.push_back((start - epoch) / 1ms);
        const Step step = steps[static_cast<std::size_t>(number)];
        try {
            co_await weft::sleep(step.takes);
        } catch (const weft::CancelledError&) {
            cancelled.push_back(number);
            throw;
        }
        if (!step.succeeds) throw std::runtime_error(std::to_string(number));
        co_return number;
    }
    auto attempts() {
        epoch = weft::get_running_loop().time();
        std::vector<Coro<int>> list;
        for (std::size_t i = 0; i < steps.size(); ++i) list.push_back(run(static_cast<int>(i)));
        return list;
    }
    weft::TimePoint epoch{};
};

}  // namespace

WEFT_TEST_CASE("a fast first attempt wins, and no other begins", "[staggered_race]") {
    Plan plan{{{100ms, true}, {100ms, true}}};
    auto winner = co_await weft::staggered_race(plan.attempts(), 250ms);
    REQUIRE(winner.index() == 0);
    REQUIRE(*winner == 0);
    REQUIRE(plan.began == std::vector<long>{0});
}

WEFT_TEST_CASE("the next attempt begins after the delay, and the first success wins",
               "[staggered_race]") {
    Plan plan{{{1s, true}, {100ms, true}, {1s, true}}};
    auto winner = co_await weft::staggered_race(plan.attempts(), 250ms);
    REQUIRE(winner.index() == 1);
    REQUIRE(plan.began == std::vector<long>{0, 250});
    REQUIRE(plan.cancelled == std::vector<int>{0});
    REQUIRE(weft::all_tasks().size() == 1);
    REQUIRE(weft::get_running_loop().armed_timers() == 0);
}

WEFT_TEST_CASE("a failure of the latest attempt starts the next one at once", "[staggered_race]") {
    Plan plan{{{100ms, false}, {50ms, false}, {100ms, true}}};
    auto winner = co_await weft::staggered_race(plan.attempts(), 250ms);
    REQUIRE(winner.index() == 2);
    REQUIRE(plan.began == std::vector<long>{0, 100, 150});
}

WEFT_TEST_CASE("a failure of an earlier attempt does not", "[staggered_race]") {
    Plan plan{{{300ms, false}, {400ms, true}, {1s, true}}};
    auto winner = co_await weft::staggered_race(plan.attempts(), 250ms);
    REQUIRE(winner.index() == 1);
    REQUIRE(plan.began == std::vector<long>{0, 250, 500});
}

WEFT_TEST_CASE("without a delay an attempt begins when the one before has failed",
               "[staggered_race]") {
    Plan plan{{{1h, false}, {1h, false}, {1s, true}, {1s, true}}};
    auto winner = co_await weft::staggered_race(plan.attempts());
    REQUIRE(winner.index() == 2);
    REQUIRE(plan.began == std::vector<long>{0, 3'600'000, 7'200'000});
}

WEFT_TEST_CASE("when all attempts fail the errors come as one group, in order",
               "[staggered_race]") {
    Plan plan{{{700ms, false}, {100ms, false}, {10ms, false}}};
    auto reports = probe::collect_reports(weft::get_running_loop());
    const auto end = co_await end_of(weft::staggered_race(plan.attempts(), 250ms));
    REQUIRE(end == "{0,1,2}");
    REQUIRE(reports->empty());
    const auto none = co_await end_of(weft::staggered_race(std::vector<Coro<int>>(), 1s));
    REQUIRE(none == "weft: a race of nobody");
}

WEFT_TEST_CASE("cancelling a staggered race cancels the attempts that run and starts no other",
               "[staggered_race]") {
    Plan plan{{{1h, true}, {1h, true}, {1h, true}}};
    auto task = weft::create_task(weft::staggered_race(plan.attempts(), 1s));
    co_await weft::sleep(1500ms);
    task.cancel();
    const auto end = co_await end_of(task);
    REQUIRE(end == "c");
    REQUIRE(plan.began.size() == 2);
    REQUIRE(plan.cancelled == std::vector<int>{0, 1});
    REQUIRE(weft::get_running_loop().armed_timers() == 0);
}

WEFT_TEST_CASE(
    "a staggered race that ends by force as its next attempt is due awaits those that run",
    "[staggered_race]") {
    int running = 0;
    int outlived = 0;
    auto cleans_up = [&]() -> Coro<int> {
        ++running;
        const auto ends = [&] { --running; };
        const probe::AtExit at_exit(ends);
        bool cancelled = false;
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            cancelled = true;
        }
        if (cancelled) co_await weft::sleep(10s);
        co_return 0;
    };
    auto races = [&]() -> Coro<void> {
        const auto look = [&] { outlived = running; };  // what they refer to would go now
        const probe::AtExit at_exit(look);
        const std::vector attempts{cleans_up, cleans_up};
        co_await weft::staggered_race(attempts, 2s);
    };
    auto body = [&](weft::TaskGroup& group) -> Coro<void> {
        group.create_task(races);
        co_await weft::sleep(2s);
        throw std::runtime_error("body");
    };
    const auto end = co_await end_of(weft::task_group(body));
    REQUIRE(end == "{body}");
    REQUIRE(running == 0);
    REQUIRE(outlived == 0);
}

WEFT_TEST_CASE("attempts that win in the same instant lose no result", "[staggered_race]") {
    int alive = 0;
    auto makes = [&](weft::Duration takes) -> Coro<probe::Alive> {
        co_await weft::sleep(takes);
        co_return probe::Alive(alive);
    };
    std::vector<Coro<probe::Alive>> attempts;
    attempts.push_back(makes(500ms));
    attempts.push_back(makes(250ms));
    {
        auto winner = co_await weft::staggered_race(std::move(attempts), 250ms);
        REQUIRE(winner.index() == 0);
        REQUIRE(alive == 1);
    }
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("attempts may be callables", "[staggered_race]") {
    auto call = []() -> Coro<int> { return gives(4); };
    const std::vector attempts{call, call};
    auto winner = co_await weft::staggered_race(attempts, 1s);
    REQUIRE(*winner == 4);
}

}  // namespace staggered_race_test
