// SPDX-License-Identifier: MIT
// settle: how an await ends, as a value; our own cancel is not swallowed.
#include <weft/deadline/move_on_after.hpp>
#include <weft/deadline/timeout.hpp>
#include <weft/deadline/wait_for.hpp>
#include <weft/queue/queue.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/race.hpp>
#include <weft/together/settle.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

#include "children.hpp"
#include "probe.hpp"

namespace settle_test {

using namespace children;
using probe::message_of;

WEFT_TEST_CASE("settle gives a value, of coroutines, tasks, futures, operations and functions",
               "[settle]") {
    auto one = co_await weft::settle(gives(1, 1s));
    auto two = co_await weft::settle(weft::create_task(gives(2, 1s)));
    auto future = weft::create_future<int>();
    future.set_result(3);
    auto three = co_await weft::settle(future);
    auto four = co_await weft::settle(weft::sleep(1s, 4));
    auto five = co_await weft::settle([] { return gives(5, 1s); });
    auto nothing = co_await weft::settle(weft::sleep(1s));
    REQUIRE(*one + *two + *three + *four + *five == 15);
    REQUIRE(nothing.has_value());
    int object = 0;
    auto refers = [&]() -> weft::Coro<int&> { co_return object; };
    auto reference = co_await weft::settle(refers());
    const bool same = *reference == &object;
    REQUIRE(same);
    auto unique = []() -> weft::Coro<std::unique_ptr<int>> { co_return std::make_unique<int>(6); };
    auto move_only = co_await weft::settle(unique());
    REQUIRE(**move_only == 6);
}

WEFT_TEST_CASE("settle gives an error", "[settle]") {
    auto failed = co_await weft::settle(fails("broken", 1s));
    REQUIRE_FALSE(failed.has_value());
    REQUIRE_FALSE(failed.cancelled());
    const std::string text = message_of<std::runtime_error>([&] { failed.value(); });
    REQUIRE(text == "broken");
    auto late = co_await weft::settle(weft::wait_for(weft::sleep(1h), 1s));
    REQUIRE_FALSE(late.has_value());
}

WEFT_TEST_CASE("settle gives the cancel of the task that is awaited", "[settle]") {
    auto task = weft::create_task(gives(1, 1h));
    task.cancel();
    auto end = co_await weft::settle(task);
    REQUIRE(end.cancelled());
    REQUIRE_FALSE(end.has_value());
    REQUIRE(weft::current_task().cancelling() == 0);
}

WEFT_TEST_CASE("settle throws the cancel of its own task, whatever it awaits", "[settle]") {
    int went_on = 0;
    auto forever = weft::create_future<int>();
    auto settles = [&](int what) -> weft::Coro<void> {
        if (what == 0) (void)co_await weft::settle(gives(1, 1h));
        if (what == 1) (void)co_await weft::settle(weft::sleep(1h));
        if (what == 2) (void)co_await weft::settle(weft::create_task(gives(1, 1h)));
        if (what == 3) (void)co_await weft::settle(weft::wait_for(weft::sleep(1h), 2h));
        ++went_on;
    };
    for (int what = 0; what < 4; ++what) {
        auto task = weft::create_task(settles, what);
        co_await weft::sleep(1s);
        task.cancel();
        co_await task.wait();
        CHECK(task.cancelled());
        auto not_begun = weft::create_task([&, what]() -> weft::Coro<void> {
            weft::current_task().cancel();
            co_await settles(what);
        });
        co_await not_begun.wait();
        CHECK(not_begun.cancelled());
    }
    REQUIRE(went_on == 0);
}

WEFT_TEST_CASE("a deadline around a settle is the deadline's", "[settle]") {
    auto in_time = co_await weft::move_on_after(1s, [] { return weft::settle(gives(1, 1h)); });
    REQUIRE_FALSE(in_time.has_value());
    bool late = false;
    try {
        co_await weft::timeout(1s, []() -> weft::Coro<void> {
            (void)co_await weft::settle(weft::sleep(1h));
            throw std::runtime_error("went on");
        });
    } catch (const weft::TimeoutError&) {
        late = true;
    }
    REQUIRE(late);
    auto inside = co_await weft::settle(weft::timeout(1s, gives(1, 1h)));
    REQUIRE_FALSE(inside.has_value());
    REQUIRE(weft::current_task().cancelling() == 0);
}

WEFT_TEST_CASE("settle is lossless", "[settle]") {
    weft::Queue<int> queue;
    int got = 0;
    auto settles = [&]() -> weft::Coro<void> {
        auto item = co_await weft::settle(queue.get());
        got = *item;
        co_await weft::yield();
        got = -1;
    };
    auto task = weft::create_task(settles);
    co_await weft::sleep(1s);
    queue.put_nowait(5);
    task.cancel();
    co_await task.wait();
    REQUIRE(task.cancelled());
    REQUIRE(got == 5);
}

WEFT_TEST_CASE("a race of settled children ends with the first to end, however that is",
               "[settle]") {
    bool cleaned = false;
    auto goes_on = [&]() -> weft::Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            cleaned = true;
            throw;
        }
    };
    auto first = co_await weft::race(weft::settle(fails("broken", 1s)), weft::settle(goes_on()));
    REQUIRE(first.index() == 0);
    const std::string text = message_of<std::runtime_error>([&] { std::get<0>(first).value(); });
    REQUIRE(text == "broken");
    REQUIRE(cleaned);
    auto both = co_await weft::gather(weft::settle(gives(1, 2s)), weft::settle(fails("no", 1s)));
    REQUIRE(*std::get<0>(both) == 1);
    REQUIRE_FALSE(std::get<1>(both).has_value());
}

}  // namespace settle_test
