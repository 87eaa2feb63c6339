// SPDX-License-Identifier: MIT
// Tasks that an event, a latch, a watch or a broadcast has let through, between that and their run:
// nobody has looked at them, and what they waited for may go.
#include <weft/deadline/clean_up.hpp>
#include <weft/deadline/move_on_after.hpp>
#include <weft/deadline/wait_for.hpp>
#include <weft/queue/watch.hpp>
#include <weft/sync/event.hpp>
#include <weft/sync/latch.hpp>
#include <weft/task/async_generator.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/race.hpp>

#include <chrono>
#include <coroutine>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "probe.hpp"
#include "sync.hpp"

namespace gate_test {

using namespace std::chrono_literals;
using support::contains;
using support::end_of;
using support::some_turns;
using weft::CancelledError;
using weft::Coro;
using weft::Event;
using weft::Task;

namespace {

Coro<void> all_ended(std::vector<Task<void>> tasks) {
    for (auto& task : tasks) co_await task.wait();
}

Coro<void> waits(Event& event) { co_await event.wait(); }

Coro<void> then_yields(Event& event, bool& returned) {
    co_await event.wait();
    returned = true;
    co_await weft::yield();
}

/// Begins to wait, and destroys the awaiter before its task runs again: when the event was set, or
/// when it was not.
class WaitsInVain {
public:
    WaitsInVain(Event& event, bool sets) noexcept : event_(event), sets_(sets) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
        auto& task = static_cast<weft::detail::TaskCore&>(*weft::current_task().core());
        const std::unique_ptr<weft::detail::EventAwaiter> awaiter(
            new weft::detail::EventAwaiter(event_.wait()));
        awaiter->await_suspend(handle);
        if (sets_) {
            event_.set();
            event_.clear();
        } else {
            weft::get_running_loop().wake(task);
        }
    }
    void await_resume() const noexcept {}

private:
    Event& event_;
    bool sets_;
};

/// Swallows every cancel.
Coro<void> insists(Event& event) {
    for (;;) {
        try {
            co_await event.wait();
            event.clear();
        } catch (const CancelledError&) {
        }
    }
}

/// Sets the event when its frame is destroyed.
struct SetsAtItsEnd {
    explicit SetsAtItsEnd(Event& which) noexcept : event(which) {}
    SetsAtItsEnd(const SetsAtItsEnd&) = delete;
    SetsAtItsEnd& operator=(const SetsAtItsEnd&) = delete;
    ~SetsAtItsEnd() { event.set(); }
    Event& event;
};
Coro<void> insists_and_sets(Event& event) {
    const SetsAtItsEnd sets(event);
    co_await insists(event);
}

}  // namespace

WEFT_TEST_CASE("66: an event may go between set and the tasks' run, whenever they were woken",
               "[gate]") {
    auto event = std::make_unique<Event>();
    auto pulse = [&]() -> Coro<void> {
        event->set();
        event->clear();
        co_return;
    };
    auto go = [&]() -> Coro<void> {
        event.reset();
        co_return;
    };
    Task<void> first = weft::create_task(waits(*event));
    Task<void> second = weft::create_task(waits(*event));
    co_await weft::yield();
    // All of these run before the first two do, which are woken now.
    Task<void> third = weft::create_task(waits(*event));
    auto pulses = weft::create_task(pulse);
    Task<void> too_late = weft::create_task(waits(*event));
    auto goes = weft::create_task(go);
    event->set();
    event->clear();
    for (const Task<void>& task : {first, second, third, too_late}) co_await task.wait();
    REQUIRE(end_of(first) == "ok");
    REQUIRE(end_of(second) == "ok");
    REQUIRE(end_of(third) == "ok");
    REQUIRE(contains(end_of(too_late), "event was destroyed"));
    co_await pulses;
    co_await goes;
}

WEFT_TEST_CASE("66: a cancel between set and the task's run strikes at its next suspension",
               "[gate]") {
    for (const bool goes : {false, true}) {
        auto event = std::make_unique<Event>();
        bool returned[3] = {};
        std::vector<Task<void>> tasks;
        for (bool& flag : returned) tasks.push_back(weft::create_task(then_yields(*event, flag)));
        co_await weft::yield();
        event->set();
        tasks[1].cancel();
        if (goes) event.reset();
        tasks[2].cancel();
        co_await all_ended(tasks);
        REQUIRE(end_of(tasks[0]) == "ok");
        REQUIRE(tasks[1].cancelled());
        REQUIRE(tasks[2].cancelled());
        for (const bool flag : returned) REQUIRE(flag);
    }
}

WEFT_TEST_CASE("28: whoever leaves the queue, first, last or in between, the others are woken",
               "[gate]") {
    constexpr unsigned count = 4;
    for (unsigned leaving = 0; leaving < 1u << count; ++leaving) {
        Event event;
        std::vector<unsigned> order;
        std::vector<unsigned> expected;
        auto notes = [&](unsigned id) -> Coro<void> {
            co_await event.wait();
            order.push_back(id);
        };
        std::vector<Task<void>> tasks;
        for (unsigned id = 0; id < count; ++id) tasks.push_back(weft::create_task(notes, id));
        co_await weft::yield();
        for (unsigned id = 0; id < count; ++id) {
            if ((leaving >> id & 1) != 0) {
                tasks[id].cancel();
            } else {
                expected.push_back(id);
            }
        }
        REQUIRE(event.statistics().waiters == expected.size());
        auto one_more = weft::create_task(notes, count);
        co_await weft::yield();
        expected.push_back(count);
        event.set();
        REQUIRE(event.statistics().waiters == 0);
        co_await one_more;
        co_await all_ended(tasks);
        REQUIRE(order == expected);
    }
}

WEFT_TEST_CASE("an awaiter that is destroyed before its task runs is in nobody's way", "[gate]") {
    for (const bool sets : {false, true}) {
        Event event;
        auto in_vain = [&]() -> Coro<void> { co_await WaitsInVain(event, sets); };
        auto first = weft::create_task(waits(event));
        auto second = weft::create_task(in_vain);
        auto third = weft::create_task(waits(event));
        co_await weft::yield();
        REQUIRE(event.statistics().waiters == (sets ? 1 : 2));
        event.set();
        co_await first;
        co_await second;
        co_await third;
    }
}

TEST_CASE("an event that is set while a loop destroys what waits for it wakes nobody", "[gate]") {
    for (int setter = 0; setter < 4; ++setter) {
        Event event;
        weft::EventLoop loop(weft::testing::options());
        const probe::Reports reports = probe::collect_reports(loop);
        for (int i = 0; i < 4; ++i)
            (void)loop.create_task(i == setter ? insists_and_sets(event) : insists(event));
        loop.run_once();
        loop.close();
        REQUIRE(probe::count_with(reports, "refused to end") == 4);
        REQUIRE(event.statistics().waiters == 0);
        REQUIRE(event.is_set());
    }
}

TEST_CASE("a deadline between set and the task's run changes nothing", "[gate]") {
    const auto past_a_deadline = []() -> Coro<void> {
        // The clock is the real one: it passes the deadline within the step that sets the event.
        using Clock = std::chrono::steady_clock;
        Event event;
        auto may_be_late = [&]() -> Coro<bool> {
            const bool in_time = co_await weft::move_on_after(20ms, event.wait());
            co_return in_time;
        };
        auto must_not_be = [&]() -> Coro<void> { co_await weft::wait_for(event.wait(), 20ms); };
        for (bool slow_machine = true; slow_machine;) {
            const auto start = Clock::now();
            auto moves_on = weft::create_task(may_be_late);
            auto throws = weft::create_task(must_not_be);
            co_await weft::yield();
            slow_machine = Clock::now() - start > 10ms;
            event.set();
            while (Clock::now() - start < 30ms) {
            }
            const bool in_time = co_await moves_on;
            co_await throws.wait();
            event.clear();
            if (slow_machine) continue;
            REQUIRE(in_time);
            REQUIRE(end_of(throws) == "ok");
        }
    };
    weft::run(past_a_deadline);
}

WEFT_TEST_CASE("a race keeps what it won while others run and the watch goes", "[gate]") {
    auto watch = std::make_unique<weft::Watch<int>>(1);
    auto takes_its_time = []() -> Coro<void> {
        bool cancelled = false;
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            cancelled = true;
        }
        if (cancelled) co_await some_turns(5);
    };
    auto races = [&]() -> Coro<int> {
        auto receiver = watch->subscribe();
        auto winner = co_await weft::race(receiver.next(), takes_its_time());
        co_return *std::get<0>(winner);
    };
    auto follows = [&]() -> Coro<int> {
        auto receiver = watch->subscribe();
        int sum = 0;
        while (auto value = co_await receiver.next()) sum += *value;
        co_return sum;
    };
    auto before = weft::create_task(follows);
    auto race = weft::create_task(races);
    auto after = weft::create_task(follows);
    co_await some_turns(3);
    watch->set(2);
    co_await some_turns(3);
    REQUIRE_FALSE(race.done());
    watch->set(3);
    co_await weft::yield();
    watch.reset();
    const int seen_before = co_await before;
    const int seen_after = co_await after;
    const int won = co_await race;
    REQUIRE(seen_before == 5);
    REQUIRE(seen_after == 5);
    REQUIRE(won == 3);  // the latest value when it looks
}

WEFT_TEST_CASE("a dump tells who waits for an event from who was woken by it", "[gate]") {
    Event event;
    auto task = weft::create_task(waits(event), weft::TaskOptions("guest"));
    co_await weft::yield();
    REQUIRE(contains(weft::get_running_loop().dump(), "guest: waits on event"));
    event.set();
    REQUIRE(contains(weft::get_running_loop().dump(), "guest: waits on its turn"));
    co_await task;
}

WEFT_TEST_CASE("a latch of nothing is open", "[gate]") {
    weft::Latch latch(0);
    REQUIRE(latch.try_wait());
    co_await latch.wait();
}

WEFT_TEST_CASE("a clean-up around an event ends although the event goes", "[gate]") {
    auto event = std::make_unique<Event>();
    bool in_time = false;
    auto cleans = [&]() -> Coro<void> {
        auto wait = [&] { return event->wait(); };
        in_time = co_await weft::clean_up(1s, wait);
    };
    auto go = [&]() -> Coro<void> {
        event.reset();
        co_return;
    };
    auto cleaning = weft::create_task(cleans);
    auto waiting = weft::create_task(waits(*event));
    co_await weft::yield();
    event->set();
    auto goes = weft::create_task(go);
    co_await cleaning;
    co_await waiting;
    co_await goes;
    REQUIRE(in_time);
}

TEST_CASE("two loops of one thread may use an event one after the other", "[gate]") {
    auto event = std::make_unique<Event>();
    auto pulse = [&]() -> Coro<void> {
        event->set();
        event->clear();
        co_return;
    };
    weft::EventLoop one(weft::testing::options());
    weft::EventLoop other(weft::testing::options());
    auto late = one.create_task(waits(*event));
    one.run_once();
    one.run_until_complete(pulse());  // it is woken, and runs with the next turn of its loop
    {
        auto early = other.create_task(waits(*event));
        other.run_once();
        event->set();
        other.run_until_complete(early);
    }
    event.reset();
    one.run_until_complete(late);
    REQUIRE(end_of(late) == "ok");
}

TEST_CASE("a generator that outlives its loop may have been woken by an event", "[gate]") {
    auto makes = [](Event& event) -> weft::AsyncGenerator<int> {
        for (;;) {
            try {
                co_await event.wait();
                event.clear();
            } catch (const CancelledError&) {
            }
            co_yield 1;
        }
    };
    auto consumes = [](weft::AsyncGenerator<int>& numbers) -> Coro<void> {
        for (;;) {
            auto number = co_await numbers.next();
            if (!number) break;
        }
    };
    auto sets = [](Event& event) -> Coro<void> {
        for (;;) {
            event.set();
            try {
                co_await weft::yield();
            } catch (const CancelledError&) {
            }
        }
    };
    Event event;
    auto numbers = makes(event);
    {
        weft::EventLoop loop(weft::testing::options());
        const probe::Reports reports = probe::collect_reports(loop);
        (void)loop.create_task(consumes(numbers));
        (void)loop.create_task(sets(event));
        loop.run_once();
        loop.close();
        REQUIRE(probe::count_with(reports, "refused to end") == 2);
    }
    const auto gone = std::move(numbers);
    REQUIRE(event.statistics().waiters == 0);
}

}  // namespace gate_test
