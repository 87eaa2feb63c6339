// SPDX-License-Identifier: MIT
// gather and all: results in order, the first error, cancels, and what a child may be.
// labels: smoke
#include <weft/deadline/wait_for.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/as_completed.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/race.hpp>
#include <weft/together/shield.hpp>
#include <weft/together/staggered_race.hpp>

#include <array>
#include <list>
#include <memory>
#include <ranges>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "children.hpp"
#include "probe.hpp"

namespace gather_test {

using namespace children;
using weft::Future;
using weft::Task;

namespace {

template <class T>
std::vector<T> list_of(T one, T two) {
    std::vector<T> list;
    list.push_back(std::move(one));
    list.push_back(std::move(two));
    return list;
}

}  // namespace

// --- results ---

WEFT_TEST_CASE("gather gives results in argument order, whatever the order of the ends",
               "[gather]") {
    auto results = co_await weft::gather(gives(1, 3s), gives(2, 1s), gives(3, 2s));
    auto& [one, two, three] = results;
    REQUIRE(one == 1);
    REQUIRE(two == 2);
    REQUIRE(three == 3);
}

WEFT_TEST_CASE("gathered children run at the same time", "[gather]") {
    const auto began = weft::get_running_loop().time();
    co_await weft::gather(gives(1, 3s), gives(2, 1s), sleeps(2s));
    REQUIRE(weft::get_running_loop().time() - began == 3s);
}

WEFT_TEST_CASE("gather of a range gives a vector, in order", "[gather]") {
    std::vector<Coro<int>> list;
    for (int i = 0; i < 100; ++i) list.push_back(gives(i, (100 - i) * 1ms));
    const std::vector<int> results = co_await weft::gather(std::move(list));
    REQUIRE(results.size() == 100);
    for (int i = 0; i < 100; ++i) REQUIRE(results[static_cast<std::size_t>(i)] == i);
}

WEFT_TEST_CASE("an empty gather is done at once", "[gather]") {
    bool other = false;
    weft::get_running_loop().call_soon([&] { other = true; });
    auto nothing = co_await weft::gather();
    auto results = co_await weft::gather(std::vector<Task<int>>());
    auto slots = co_await weft::gather(weft::return_exceptions, std::vector<Coro<int>>());
    static_assert(std::is_same_v<decltype(nothing), std::tuple<>>);
    REQUIRE(results.empty());
    REQUIRE(slots.empty());
    REQUIRE_FALSE(other);
    co_await weft::yield();  // the callback refers to this frame
}

WEFT_TEST_CASE("a child without a result has a Void, one with a reference a pointer", "[gather]") {
    static int number = 5;
    auto refers = []() -> Coro<int&> { co_return number; };
    auto results = co_await weft::gather(sleeps(1s), refers);
    static_assert(std::is_same_v<decltype(results), std::tuple<weft::Void, int*>>);
    REQUIRE(std::get<1>(results) == &number);
}

WEFT_TEST_CASE("results that can only be moved are moved", "[gather]") {
    auto makes = [](int value) -> Coro<std::unique_ptr<int>> {
        co_return std::make_unique<int>(value);
    };
    auto pair = co_await weft::gather(makes(1), makes(2));
    auto list = co_await weft::gather(list_of(makes(3), makes(4)));
    auto slots = co_await weft::gather(weft::return_exceptions, makes(5), makes(6));
    REQUIRE(*std::get<1>(pair) == 2);
    REQUIRE(*list[1] == 4);
    REQUIRE(**std::get<0>(slots) == 5);
}

// --- what a child may be ---

WEFT_TEST_CASE("a child may be a coroutine, a task, a future, an operation or a callable",
               "[gather]") {
    auto future = weft::get_running_loop().create_future<std::string>();
    weft::get_running_loop().call_later(1s, [&] { future.set_result("f"); });
    auto task = weft::create_task(gives(2, 1s));
    std::string captured = "captured, and longer than what fits inside the object";
    auto callable = [captured]() -> Coro<std::string> {
        co_await weft::sleep(1s);
        co_return captured;
    };
    auto results =
        co_await weft::gather(gives(1), task, future, weft::sleep(1s), weft::yield(), callable,
                              weft::gather(gives(7), gives(8)), weft::shield(gives(9)));
    REQUIRE(std::get<0>(results) == 1);
    REQUIRE(std::get<1>(results) == 2);
    REQUIRE(std::get<2>(results) == "f");
    REQUIRE(std::get<5>(results) == captured);
    REQUIRE(std::get<6>(results) == std::tuple(7, 8));
    REQUIRE(std::get<7>(results) == 9);
    REQUIRE(future.result() == "f");
    REQUIRE(task.result() == 2);
}

WEFT_TEST_CASE("a range may be any container, of callables too", "[gather]") {
    std::list<Task<int>> tasks;
    tasks.push_back(weft::create_task(gives(1)));
    tasks.push_back(weft::create_task(gives(2)));
    auto from_list = co_await weft::gather(tasks);
    REQUIRE(from_list == std::vector<int>{1, 2});
    auto seven = []() -> Coro<int> { return gives(7); };
    std::array<decltype(seven), 2> callables{seven, seven};
    auto from_array = co_await weft::gather(callables);
    REQUIRE(from_array == std::vector<int>{7, 7});
}

WEFT_TEST_CASE("a view that makes its children as it is read is read once", "[gather]") {
    int made = 0;
    const auto makes = [&](int number) {
        ++made;
        return gives(number, number * 1s);
    };
    const auto odd = [](int number) { return number % 2 == 1; };
    const std::vector<int> numbers{1, 2, 3, 4, 5};
    auto sized = numbers | std::views::transform(makes);
    auto unsized = numbers | std::views::filter(odd) | std::views::transform(makes);
    const auto gathered = co_await weft::gather(sized);
    REQUIRE(gathered == numbers);
    REQUIRE(std::exchange(made, 0) == 5);
    const auto together = co_await weft::all(unsized);
    REQUIRE(together == std::vector<int>({1, 3, 5}));
    REQUIRE(std::exchange(made, 0) == 3);
    const auto settled = co_await weft::gather(weft::return_exceptions, unsized);
    REQUIRE(settled.size() == 3);
    REQUIRE(std::exchange(made, 0) == 3);
    const auto winner = co_await weft::race(unsized);
    REQUIRE(*winner == 1);
    REQUIRE(std::exchange(made, 0) == 3);
    const auto first = co_await weft::staggered_race(unsized, 1h);
    REQUIRE(*first == 1);
    REQUIRE(std::exchange(made, 0) == 3);
    auto completed = weft::as_completed(unsized);
    const auto next = co_await completed.next();
    REQUIRE(next.result() == 1);
    REQUIRE(made == 3);
}

WEFT_TEST_CASE("one future passed twice is awaited once and gives its result twice", "[gather]") {
    auto task = weft::create_task(gives(4, 1s));
    auto results = co_await weft::gather(task, task, gives(5));
    REQUIRE(results == std::tuple(4, 4, 5));
    const auto list = co_await weft::gather(std::vector<Task<int>>(3, task));
    REQUIRE(list == std::vector<int>{4, 4, 4});

    auto sleeper = weft::create_task(sleeps());
    auto gathers = weft::create_task(weft::gather(sleeper, sleeper));
    co_await turns(2);
    gathers.cancel();
    REQUIRE(sleeper.cancelling() == 1);
    const auto end = co_await end_of(gathers);
    REQUIRE(end == "c");
}

WEFT_TEST_CASE("an empty handle, a foreign future and the current task are refused", "[gather]") {
    weft::EventLoop other(weft::testing::options());
    auto foreign = other.create_future<int>();
    auto message = [](auto argument) -> Coro<std::string> {
        co_return co_await end_of(weft::gather(gives(1), std::move(argument)));
    };
    const std::string empty = co_await message(Future<int>());
    REQUIRE(empty == "weft: an empty handle: it refers to no task or future");
    const std::string of_other = co_await message(foreign);
    REQUIRE(of_other ==
            "weft: awaited the future of another event loop (Remote::spawn gives one "
            "that can be)");
    Task<std::string> self;
    auto body = [&]() -> Coro<std::string> {
        co_return co_await end_of(weft::gather(gives(1), self));
    };
    self = weft::create_task(body, weft::TaskOptions("narcissus"));
    const std::string of_self = co_await self;
    REQUIRE(of_self == "weft: the task 'narcissus' cannot await itself");
}

// --- errors ---

WEFT_TEST_CASE("the first error is raised at once, and the siblings go on", "[gather]") {
    auto sibling = weft::create_task(gives(1, 5s));
    const auto began = weft::get_running_loop().time();
    const auto end = co_await end_of(weft::gather(sibling, fails("late", 3s), fails("first", 1s)));
    REQUIRE(end == "first");
    REQUIRE(weft::get_running_loop().time() - began == 1s);
    REQUIRE_FALSE(sibling.done());
    const int value = co_await sibling;
    REQUIRE(value == 1);
}

WEFT_TEST_CASE("later siblings' errors count as retrieved", "[gather]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    const auto end = co_await end_of(weft::gather(fails("a", 1s), fails("b", 2s), fails("c", 1s)));
    REQUIRE(end == "a");
    co_await weft::sleep(5s);
    REQUIRE(weft::all_tasks().size() == 1);
    REQUIRE(reports->empty());
}

WEFT_TEST_CASE("an error that is there already is raised without waiting", "[gather]") {
    auto failed = weft::create_task(fails("done"));
    co_await failed.wait();
    bool other = false;
    weft::get_running_loop().call_soon([&] { other = true; });
    const auto end = co_await end_of(weft::gather(gives(1, 1s), failed));
    REQUIRE(end == "done");
    REQUIRE_FALSE(other);
    co_await weft::yield();  // the callback refers to this frame
}

WEFT_TEST_CASE("a cancelled child is an error of the gather, not a cancelled gather", "[gather]") {
    auto child = weft::create_task(sleeps());
    auto sibling = weft::create_task(gives(1, 5s));
    auto body = [&]() -> Coro<std::string> {
        const auto end = co_await end_of(weft::gather(child, sibling));
        co_return end + (weft::current_task().cancelling() == 0 ? " 0" : " 1");
    };
    auto gathers = weft::create_task(body);
    co_await turns(2);
    child.cancel();
    const auto end = co_await gathers;
    REQUIRE(end == "c 0");
    REQUIRE_FALSE(sibling.done());
}

WEFT_TEST_CASE("operations written into a gather that throws early end before it throws",
               "[gather]") {
    const auto began = weft::get_running_loop().time();
    auto failing = [&]() -> Coro<void> {
        co_await weft::gather(weft::sleep(1h), fails("early", 1s), weft::sleep(2h));
    };
    const auto end = co_await end_of(failing());
    REQUIRE(end == "early");
    REQUIRE(weft::get_running_loop().time() - began == 1s);
    REQUIRE(weft::all_tasks().size() == 1);
    REQUIRE(weft::get_running_loop().armed_timers() == 0);
}

// --- return_exceptions ---

WEFT_TEST_CASE("with return_exceptions each outcome sits in its slot", "[gather]") {
    auto cancelled = weft::create_task(sleeps());
    weft::get_running_loop().call_soon([&] { cancelled.cancel("by hand"); });
    auto slots = co_await weft::gather(weft::return_exceptions, gives(1, 2s), fails("b", 1s),
                                       cancelled, weft::sleep(1s));
    auto& [value, failed, gone, nothing] = slots;
    REQUIRE(value);
    REQUIRE(*value == 1);
    REQUIRE_FALSE(failed);
    REQUIRE(text_of(failed.exception()) == "b");
    REQUIRE_THROWS_AS(failed.value(), std::runtime_error);
    REQUIRE(gone.cancelled());
    REQUIRE_THROWS_AS(gone.value(), weft::CancelledError);
    REQUIRE(nothing.has_value());
}

WEFT_TEST_CASE("with return_exceptions errors in a range are not reported either", "[gather]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    {
        auto slots =
            co_await weft::gather(weft::return_exceptions, list_of(fails("a"), gives(2, 1s)));
        REQUIRE(text_of(slots[0].exception()) == "a");
        REQUIRE(slots[1].value() == 2);
    }
    REQUIRE(reports->empty());
}

// --- cancel ---

WEFT_TEST_CASE("cancelling a gather cancels every child and waits for them", "[gather]") {
    for (const bool slots : {false, true}) {
        std::string log;
        auto body = [&]() -> Coro<void> {
            if (slots) {
                co_await weft::gather(weft::return_exceptions, cleans_up(log, 'a', 1s),
                                      cleans_up(log, 'b', 3s), weft::sleep(1h));
            } else {
                co_await weft::gather(cleans_up(log, 'a', 1s), cleans_up(log, 'b', 3s),
                                      weft::sleep(1h));
            }
        };
        auto task = weft::create_task(body);
        co_await turns(3);
        task.cancel("stop");
        const auto end = co_await end_of(task);
        REQUIRE(end == "c");
        REQUIRE(log == "ab");
    }
}

WEFT_TEST_CASE("a gather that is awaited under a pending cancel starts no child", "[gather]") {
    bool began = false;
    auto child = [&]() -> Coro<void> {
        began = true;
        co_return;
    };
    auto body = [&]() -> Coro<void> {
        weft::current_task().cancel();
        co_await weft::gather(child, child, weft::sleep(1h));
    };
    const auto end = co_await end_of(weft::create_task(body));
    REQUIRE(end == "c");
    REQUIRE_FALSE(began);
}

WEFT_TEST_CASE("a cancel that comes when all children are done changes no result", "[gather]") {
    auto one = weft::get_running_loop().create_future<int>();
    bool hit = false;
    auto body = [&]() -> Coro<int> {
        auto results = co_await weft::gather(one, one);
        hit = co_await struck();
        co_return std::get<0>(results);
    };
    auto task = weft::create_task(body);
    co_await turns(2);
    one.set_result(6);
    task.cancel();
    const int value = co_await task;
    REQUIRE(value == 6);
    REQUIRE(hit);
    REQUIRE(task.cancel() == false);
}

WEFT_TEST_CASE("a gather whose children all swallow the cancel gives their results", "[gather]") {
    bool hit = false;
    auto body = [&]() -> Coro<int> {
        auto results = co_await weft::gather(swallows(1), swallows(2));
        hit = co_await struck();
        co_return std::get<0>(results) + std::get<1>(results);
    };
    auto task = weft::create_task(body);
    co_await turns(2);
    task.cancel();
    const int sum = co_await task;
    REQUIRE(sum == 3);
    REQUIRE(hit);
}

WEFT_TEST_CASE("an error of a child's clean-up wins over the cancel, which strikes later",
               "[gather]") {
    bool hit = false;
    auto body = [&]() -> Coro<std::string> {
        const auto end = co_await end_of(weft::gather(fails_at_cancel("dirty"), sleeps()));
        hit = co_await struck();
        co_return end;
    };
    auto task = weft::create_task(body);
    co_await turns(2);
    task.cancel();
    const auto end = co_await task;
    REQUIRE(end == "dirty");
    REQUIRE(hit);
}

WEFT_TEST_CASE("a cancel travels through gathers in gathers, with its message", "[gather]") {
    std::string message;
    auto leaf = [&]() -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError& error) {
            message += error.message();
            throw;
        }
    };
    auto task = weft::create_task(
        weft::gather(weft::gather(leaf, leaf), weft::race(leaf, weft::gather(leaf))));
    co_await turns(6);
    task.cancel("x");
    const auto end = co_await end_of(task);
    REQUIRE(end == "c");
    REQUIRE(message == "xxxx");
}

WEFT_TEST_CASE("a chain of 100,000 gathers in each other is cancelled without recursion",
               "[gather]") {
    struct Nest {
        static Coro<void> of(Task<void> inner) { co_await weft::gather(inner); }
    };
    Task<void> task = weft::create_task(sleeps());
    for (int i = 0; i < 100'000; ++i) task = weft::create_task(Nest::of(std::move(task)));
    co_await turns(3);
    task.cancel();
    const auto end = co_await end_of(task);
    REQUIRE(end == "c");
}

WEFT_TEST_CASE("a task that gathers its own waiter can still be cancelled", "[gather]") {
    Task<void> waiter;
    auto gathers = [&]() -> Coro<void> { co_await weft::gather(waiter, gives(1)); };
    Task<void> gatherer = weft::create_task(gathers);
    auto waits = [&]() -> Coro<void> { co_await gatherer; };
    waiter = weft::create_task(waits);
    co_await turns(3);
    waiter.cancel();
    const auto end = co_await end_of(waiter);
    REQUIRE(end == "c");
}

WEFT_TEST_CASE("9: a cancel that comes round a circle through a gather ends all of it",
               "[gather]") {
    // The first awaits the second, that the third, and that gathers both.
    for (std::size_t cancelled = 0; cancelled < 3; ++cancelled) {
        std::vector<Task<int>> tasks(3);
        const auto awaits = [&tasks](std::size_t one, std::size_t other) -> Coro<int> {
            std::vector<Future<int>> children{tasks[one]};
            if (other != one) children.push_back(tasks[other]);
            co_await weft::gather(std::move(children));
            co_return 1;
        };
        tasks[0] = weft::create_task(awaits, std::size_t{1}, std::size_t{1});
        tasks[1] = weft::create_task(awaits, std::size_t{2}, std::size_t{2});
        tasks[2] = weft::create_task(awaits, std::size_t{0}, std::size_t{1});
        co_await support::turns(3);
        tasks[cancelled].cancel();
        co_await support::turns(5);
        for (const auto& task : tasks) {
            REQUIRE(task.done());
            REQUIRE(task.cancelled());
        }
    }
}

WEFT_TEST_CASE("36: children are cancelled in their order, tasks and futures alike", "[gather]") {
    weft::EventLoop& loop = weft::get_running_loop();
    std::string log;
    const auto waits = [&log](Future<int> future, char name) -> Coro<int> {
        try {
            co_return co_await future;
        } catch (const weft::CancelledError&) {
            log += name;
            throw;
        }
    };
    auto first = loop.create_future<int>();
    auto second = loop.create_future<int>();
    auto child = weft::create_task(waits, first, 'a');
    auto watches = weft::create_task(waits, second, 'b');
    const auto gathers = [&]() -> Coro<void> {
        std::vector<Future<int>> both{child, second};
        co_await weft::gather(both);
    };
    auto outer = weft::create_task(gathers);
    co_await support::turns(3);
    outer.cancel();
    co_await outer.wait();
    co_await watches.wait();
    REQUIRE(log == "ab");
}

WEFT_TEST_CASE("a deadline around a gather says what its children wait for", "[gather]") {
    Task<void> other =
        weft::create_task([] { return weft::sleep_forever(); }, weft::TaskOptions("other"));
    const auto asleep = []() -> Coro<void> { co_await weft::sleep(1h); };
    const auto waits_for_other = [&]() -> Coro<void> { co_await other.wait(); };
    const auto nested = [&]() -> Coro<void> { co_await weft::all(asleep(), asleep()); };
    const auto body = [&]() -> Coro<void> {
        co_await weft::all(asleep(), waits_for_other(), nested());
    };
    std::string text;
    try {
        co_await weft::wait_for(body(), 1ms);
    } catch (const weft::TimeoutError& error) {
        text = error.what();
    }
    CHECK(text == "timed out: several children (sleep, task 'other')");
    other.cancel();
    co_await other.wait();
}

}  // namespace gather_test
