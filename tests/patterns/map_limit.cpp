// SPDX-License-Identifier: MIT
// map_limit: order, limit, laziness, failures and cancels.
#include <weft/patterns/map_limit.hpp>
#include <weft/task/context_var.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/exception_group.hpp>

#include <algorithm>
#include <iterator>
#include <memory>
#include <numeric>
#include <ranges>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "awaiting.hpp"
#include "probe.hpp"

namespace map_limit_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::map_limit;

namespace {

/// Counts the calls that run.
struct Load {
    Coro<int> call(int item, weft::Duration time = 1s) {
        const probe::Alive counted(running);
        if (running > most) most = running;
        ++calls;
        co_await weft::sleep(time);
        co_return item * 10;
    }
    int running = 0;
    int most = 0;
    int calls = 0;
};

std::vector<int> numbers(int count) {
    std::vector<int> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    return all;
}

}  // namespace

WEFT_TEST_CASE("results come in the order of the range, whichever call ends first", "[map_limit]") {
    Load load;
    auto later_is_faster = [&](int item) { return load.call(item, 1s * (10 - item)); };
    const std::vector<int> results = co_await map_limit(numbers(10), 3, later_is_faster);
    REQUIRE(results == std::vector<int>{0, 10, 20, 30, 40, 50, 60, 70, 80, 90});
}

WEFT_TEST_CASE("no more calls run at a time than the limit, and as many as that", "[map_limit]") {
    const weft::TimePoint began = weft::get_running_loop().time();
    Load load;
    auto call = [&](int item) { return load.call(item); };
    co_await map_limit(numbers(10), 4, call);
    REQUIRE(load.most == 4);
    REQUIRE(load.calls == 10);
    REQUIRE(weft::get_running_loop().time() - began == 3s);
    co_await map_limit(numbers(3), 1'000'000'000, call);
    REQUIRE(load.calls == 13);
}

WEFT_TEST_CASE("items are taken when there is somebody for them, and one task serves many",
               "[map_limit]") {
    int made = 0;
    std::size_t most_tasks = 0;
    auto items = std::views::iota(0, 100) | std::views::transform([&](int item) {
                     ++made;
                     return std::to_string(item);
                 });
    int ended = 0;
    auto call = [&](const std::string& item) -> Coro<int> {
        most_tasks = std::max(most_tasks, weft::all_tasks().size());
        REQUIRE(made <= ended + 4);
        co_await weft::sleep(1s);
        ++ended;
        co_return std::stoi(item);
    };
    const std::size_t tasks_before = weft::all_tasks().size();
    const std::vector<int> results = co_await map_limit(items, 4, call);
    REQUIRE(results == numbers(100));
    REQUIRE(made == 100);
    REQUIRE(most_tasks <= tasks_before + 4);
}

WEFT_TEST_CASE("a range that can be read once, and items that cannot be copied", "[map_limit]") {
    std::istringstream text("5 6 7 8");
    struct Words {
        explicit Words(std::istream& of) : in(&of) {}
        std::istream_iterator<int> begin() const { return std::istream_iterator<int>(*in); }
        std::istream_iterator<int> end() const { return {}; }
        std::istream* in;
    };
    auto call = [](const int& item) -> Coro<int> {
        co_await weft::sleep(1s);
        co_return item;
    };
    const std::vector<int> read = co_await map_limit(Words(text), 2, call);
    REQUIRE(read == std::vector<int>{5, 6, 7, 8});

    std::vector<std::unique_ptr<int>> owned;
    for (int i = 0; i < 5; ++i) owned.push_back(std::make_unique<int>(i));
    auto pass_on = [](std::unique_ptr<int>& item) -> Coro<std::unique_ptr<int>> {
        co_await weft::yield();
        co_return std::move(item);
    };
    const auto moved = co_await map_limit(std::move(owned), 2, pass_on);
    REQUIRE(moved.size() == 5);
    REQUIRE(*moved[4] == 4);
}

WEFT_TEST_CASE("references, nothing, and no items", "[map_limit]") {
    std::vector<int> values = numbers(3);
    auto same = [](int& item) -> Coro<int&> {
        co_await weft::yield();
        co_return item;
    };
    const std::vector<int*> pointers = co_await map_limit(std::span<int>(values), 2, same);
    REQUIRE(pointers == std::vector<int*>{&values[0], &values[1], &values[2]});

    int sum = 0;
    auto add = [](int item, int& to) -> Coro<void> {
        co_await weft::yield();
        to += item;
    };
    co_await map_limit(numbers(5), 2, add, std::ref(sum));
    REQUIRE(sum == 10);

    Load load;
    auto call = [&](int item) { return load.call(item); };
    const std::vector<int> none = co_await map_limit(std::vector<int>(), 2, call);
    REQUIRE(none.empty());
    REQUIRE(load.calls == 0);
}

WEFT_TEST_CASE(
    "the first failure cancels the rest, waits for their clean-up and is thrown as it is",
    "[map_limit]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    int begun = 0;
    int running = 0;
    int cleaned_up = 0;
    auto call = [&](int item) -> Coro<int> {
        ++begun;
        const probe::Alive counted(running);
        if (item == 1) {
            co_await weft::sleep(1s);
            throw std::out_of_range("one");
        }
        bool cancelled = false;
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            cancelled = true;
        }
        co_await weft::sleep(1s);
        ++cleaned_up;
        if (cancelled) throw weft::CancelledError();
        co_return item;
    };
    const weft::TimePoint began = weft::get_running_loop().time();
    std::string what;
    try {
        co_await map_limit(numbers(100), 3, call);
    } catch (const std::out_of_range& error) {
        what = error.what();
    }
    REQUIRE(what == "one");
    REQUIRE(weft::get_running_loop().time() - began == 2s);
    REQUIRE(begun == 3);
    REQUIRE(cleaned_up == 2);
    REQUIRE(running == 0);
    REQUIRE(reports->empty());
    REQUIRE(weft::current_task().cancelling() == 0);
}

WEFT_TEST_CASE("several failures come as a group", "[map_limit]") {
    auto call = [](int item) -> Coro<void> {
        co_await weft::sleep(1s);
        throw std::runtime_error(std::to_string(item));
    };
    std::size_t failures = 0;
    try {
        co_await map_limit(numbers(10), 3, call);
    } catch (const weft::ExceptionGroup& errors) {
        failures = errors.exceptions().size();
    }
    REQUIRE(failures == 3);
}

WEFT_TEST_CASE("a failure without a suspension, of a call or of the range", "[map_limit]") {
    int calls = 0;
    auto call = [&](int item) -> Coro<void> {
        ++calls;
        if (item == 2) throw std::out_of_range("two");
        co_return;
    };
    auto awaited = [&] { return map_limit(numbers(9), 3, call); };
    bool thrown = false;
    try {
        co_await awaited();
    } catch (const std::out_of_range&) {
        thrown = true;
    }
    REQUIRE(thrown);
    REQUIRE(calls == 3);

    auto broken = std::views::iota(0, 9) | std::views::transform([](int item) {
                      if (item == 4) throw std::domain_error("four");
                      return item % 2;
                  });
    thrown = false;
    try {
        co_await map_limit(broken, 2, call);
    } catch (const std::domain_error&) {
        thrown = true;
    }
    REQUIRE(thrown);
}

WEFT_TEST_CASE("a call that ends with a cancel of its own is not a missing result", "[map_limit]") {
    int finished = 0;
    auto call = [&](int item) -> Coro<int> {
        co_await weft::sleep(1s);
        if (item == 1) throw weft::CancelledError();
        co_await weft::sleep(1s);
        ++finished;
        co_return item;
    };
    bool cancelled = false;
    try {
        co_await map_limit(numbers(6), 2, call);
    } catch (const weft::CancelledError&) {
        cancelled = true;
    }
    REQUIRE(cancelled);
    REQUIRE(finished == 0);
    REQUIRE(weft::current_task().cancelling() == 0);
    co_await weft::sleep(1s);  // nothing strikes later
}

WEFT_TEST_CASE("a cancel is passed on and waits, and no further item is taken", "[map_limit]") {
    int begun = 0;
    int cleaned_up = 0;
    bool swallow = false;
    auto call = [&](int item) -> Coro<int> {
        ++begun;
        bool cancelled = false;
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            cancelled = true;
        }
        co_await weft::sleep(1s);
        ++cleaned_up;
        if (cancelled && !swallow) throw weft::CancelledError();
        co_return item;
    };
    for (const bool swallows : {false, true}) {
        swallow = swallows;
        begun = cleaned_up = 0;
        auto task = weft::create_task(map_limit(numbers(100), 3, call));
        co_await support::turns(3);
        task.cancel();
        co_await task.wait();
        REQUIRE(task.cancelled());
        REQUIRE(begun == 3);
        REQUIRE(cleaned_up == 3);
    }
}

WEFT_TEST_CASE("a failure during a cancel is thrown, and the cancel strikes again", "[map_limit]") {
    auto call = [](int) -> Coro<int> {
        bool cancelled = false;
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            cancelled = true;
        }
        if (cancelled) throw std::domain_error("clean-up");
        co_return 0;
    };
    bool failed = false;
    auto body = [&]() -> Coro<void> {
        try {
            co_await map_limit(numbers(100), 1, call);
        } catch (const std::domain_error&) {
            failed = true;
        }
        co_await weft::sleep(1h);
    };
    auto task = weft::create_task(body);
    co_await support::turns(3);
    task.cancel();
    co_await task.wait();
    REQUIRE(failed);
    REQUIRE(task.cancelled());
}

WEFT_TEST_CASE("0 at a time is refused", "[map_limit]") {
    Load load;
    auto call = [&](int item) { return load.call(item); };
    bool refused = false;
    try {
        co_await map_limit(numbers(3), 0, call);
    } catch (const std::invalid_argument&) {
        refused = true;
    }
    REQUIRE(refused);
}

WEFT_TEST_CASE("111: each item has its own context", "[map_limit]") {
    static const weft::ContextVar<int> variable("item", -1);
    (void)variable.set(100);
    auto call = [](int item) -> Coro<int> {
        const int before = variable.get();
        (void)variable.set(item);
        co_await weft::yield();
        REQUIRE(variable.get() == item);
        co_return before;
    };
    for (const std::size_t most : {1U, 3U}) {
        const std::vector<int> seen = co_await map_limit(numbers(10), most, call);
        REQUIRE(seen == std::vector<int>(10, 100));
        REQUIRE(variable.get() == 100);
    }
}

}  // namespace map_limit_test
