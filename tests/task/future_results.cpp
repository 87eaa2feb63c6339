// SPDX-License-Identifier: MIT
// Future<T> for every kind of T, and handles that live longer than their loop.
// labels: smoke
#include <weft/queue/broadcast.hpp>
#include <weft/queue/watch.hpp>
#include <weft/sync/once_cell.hpp>
#include <weft/task/context_var.hpp>
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/race.hpp>
#include <weft/together/settle.hpp>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "probe.hpp"

namespace future_results_test {

using probe::message_of;
using weft::Coro;
using weft::EventLoop;
using weft::Future;
using weft::Task;

namespace {

/// Neither default-constructible nor assignable.
class Plain {
public:
    Plain(int number, std::string text) : number_(number), text_(std::move(text)) {}
    Plain(const Plain&) = default;
    Plain& operator=(const Plain&) = delete;
    int number() const { return number_; }
    const std::string& text() const { return text_; }

private:
    const int number_;
    std::string text_;
};

/// Its move constructor throws on demand.
class Awkward {
public:
    explicit Awkward(int number) : number_(number) {}
    Awkward(Awkward&& other) : number_(other.number_) {
        if (moves_left == 0) throw std::runtime_error("cannot be moved");
        --moves_left;
    }
    Awkward& operator=(Awkward&&) = delete;
    ~Awkward() = default;
    int number() const { return number_; }

    static inline int moves_left = 0;

private:
    int number_;
};

struct alignas(64) Wide {
    Wide() = default;
    int number = 1;
};

Coro<Awkward> make_awkward() {
    Awkward local(3);
    co_return std::move(local);
}

}  // namespace

WEFT_TEST_CASE("a move-only result goes to whoever takes it", "[future]") {
    auto future = weft::get_running_loop().create_future<std::unique_ptr<int>>();
    auto sets = [&]() -> Coro<void> {
        co_await weft::yield();
        future.set_result(std::make_unique<int>(5));
    };
    auto setter = weft::create_task(sets);
    const std::unique_ptr<int>& seen = co_await future;
    REQUIRE(*seen == 5);
    Future<std::unique_ptr<int>> copy = future;
    std::unique_ptr<int> taken = co_await std::move(copy);
    REQUIRE(*taken == 5);
    REQUIRE(future.result() == nullptr);
    co_await setter;
}

WEFT_TEST_CASE("taking a copyable result leaves it to the other handles", "[future]") {
    auto future = weft::get_running_loop().create_future<std::string>();
    future.set_result("a text too long for the small string buffer");
    Future<std::string> copy = future;
    const std::string taken = co_await std::move(copy);
    REQUIRE(taken == future.result());
    const std::string last = co_await std::move(future);
    REQUIRE(last == taken);
}

WEFT_TEST_CASE("a reference result is the object itself", "[future]") {
    EventLoop& loop = weft::get_running_loop();
    int object = 1;
    auto future = loop.create_future<int&>();
    future.set_result(object);
    int& awaited = co_await future;
    REQUIRE(&awaited == &object);
    int& taken = co_await std::move(future);
    REQUIRE(&taken == &object);
    auto returns = [&]() -> Coro<int&> { co_return object; };
    int& from_task = co_await weft::create_task(returns);
    REQUIRE(&from_task == &object);
    const std::string text = "const";
    auto constant = loop.create_future<const std::string&>();
    constant.set_result(text);
    REQUIRE(&constant.result() == &text);
}

WEFT_TEST_CASE("a result needs no default constructor and no assignment", "[future]") {
    auto future = weft::get_running_loop().create_future<Plain>();
    future.set_result(4, "built in place");
    REQUIRE(future.result().number() == 4);
    const Plain& seen = co_await future;
    REQUIRE(seen.text() == "built in place");
    auto returns = []() -> Coro<Plain> { co_return Plain(6, "from a task"); };
    const Plain result = co_await weft::create_task(returns);
    REQUIRE(result.text() == "from a task");
}

WEFT_TEST_CASE("a type may have an address operator of its own", "[future]") {
    struct Shy {
        explicit Shy(int of) : number(of) {}
        Shy* operator&() = delete;
        const Shy* operator&() const = delete;
        int number;
    };
    auto make = [](int number) -> Coro<Shy> { co_return Shy(number); };
    const Shy result = co_await weft::create_task(make, 1);
    REQUIRE(result.number == 1);
    const auto winner = co_await weft::race(make(2), make(3));
    REQUIRE(winner->number == 2);
    const auto settled = co_await weft::settle(make(4));
    REQUIRE(settled->number == 4);
    weft::OnceCell<Shy> cell;
    const Shy& once = co_await cell.get_or_init(make, 5);
    REQUIRE(once.number == 5);
    REQUIRE(cell.get()->number == 5);
    weft::Watch<Shy> watch(Shy(6));
    auto changes = watch.subscribe();
    watch.set(Shy(7));
    const std::optional<Shy> next = co_await changes.next();
    REQUIRE(next->number == 7);
    weft::Broadcast<Shy> news(1);
    auto listener = news.subscribe();
    news.send(Shy(8));
    const weft::Received<Shy> heard = co_await listener.recv();
    REQUIRE(heard->number == 8);
    const weft::ContextVar<Shy> variable("shy", Shy(9));
    variable.set(Shy(10));
    REQUIRE(variable.get().number == 10);
}

WEFT_TEST_CASE("an over-aligned result stands where it must", "[future]") {
    auto future = weft::get_running_loop().create_future<Wide>();
    future.set_result();
    const auto address = reinterpret_cast<std::uintptr_t>(&future.result());
    REQUIRE(address % alignof(Wide) == 0);
    co_return;
}

WEFT_TEST_CASE("a result whose constructor throws leaves the future open", "[future]") {
    auto future = weft::get_running_loop().create_future<Awkward>();
    Awkward::moves_left = 0;
    Awkward value(1);
    REQUIRE_THROWS_AS(future.set_result(std::move(value)), std::runtime_error);
    REQUIRE_FALSE(future.done());
    Awkward::moves_left = 1;
    future.set_result(std::move(value));
    REQUIRE(future.result().number() == 1);
    co_return;
}

WEFT_TEST_CASE("a task whose result cannot be moved into place fails with that error", "[future]") {
    Awkward::moves_left = 0;
    auto task = weft::create_task(make_awkward());
    co_await task.wait();
    REQUIRE_FALSE(task.cancelled());
    const std::string text = message_of<std::runtime_error>([&] { (void)task.result(); });
    REQUIRE(text == "cannot be moved");
}

WEFT_TEST_CASE("a child whose result cannot be moved out throws at the await", "[future]") {
    Awkward::moves_left = 1;  // into the outcome, not out of it
    std::string text;
    try {
        [[maybe_unused]] Awkward value = co_await make_awkward();
        text = "moved";
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    REQUIRE(text == "cannot be moved");
}

WEFT_TEST_CASE("a stored result is destroyed exactly once, with the last handle", "[future]") {
    int alive = 0;
    {
        auto future = weft::get_running_loop().create_future<probe::Alive>();
        future.set_result(alive);
        auto copy = future;
        { auto moved = std::move(future); }
        REQUIRE(alive == 1);
    }
    REQUIRE(alive == 0);
    co_return;
}

TEST_CASE("handles outlive their loop and can still be asked", "[future]") {
    Future<int> value;
    Future<int> pending;
    Task<int> finished;
    Task<int> cut_off;
    {
        EventLoop loop(weft::testing::options());
        value = loop.create_future<int>();
        value.set_result(1);
        pending = loop.create_future<int>();
        auto returns = []() -> Coro<int> { co_return 2; };
        finished = loop.create_task(returns());
        while (!finished.done()) loop.run_once();
        auto waits = [](Future<int> on) -> Coro<int> { co_return co_await on; };
        cut_off = loop.create_task(waits(loop.create_future<int>()));
        loop.run_once();
    }
    CHECK(value.result() == 1);
    CHECK(finished.result() == 2);
    CHECK(cut_off.cancelled());
    CHECK_THROWS_AS(cut_off.result(), weft::CancelledError);
    CHECK_FALSE(pending.done());
    pending.set_result(3);
    CHECK(pending.result() == 3);
}

TEST_CASE("cancel on a handle that outlives its loop touches nothing of the loop", "[future]") {
    Task<int> finished;
    Future<int> pending;
    auto loop = std::make_unique<EventLoop>(weft::testing::options());
    auto returns = []() -> Coro<int> { co_return 2; };
    finished = loop->create_task(returns());
    pending = loop->create_future<int>();
    while (!finished.done()) loop->run_once();
    loop.reset();
    CHECK_FALSE(finished.cancel());
    CHECK(finished.result() == 2);
    CHECK(pending.cancel());
    CHECK_FALSE(pending.cancel());
}

TEST_CASE("a done-callback of a future that outlives its loop is destroyed unrun", "[future]") {
    int alive = 0;
    bool ran = false;
    {
        auto loop = std::make_unique<EventLoop>(weft::testing::options());
        auto pending = loop->create_future<int>();
        auto done = loop->create_future<int>();
        done.set_result(1);
        const probe::Alive counted(alive);
        pending.add_done_callback([&ran, counted](Future<int>) { ran = true; });
        loop.reset();
        // Whether these are refused or dropped: no crash, and nothing is kept.
        try {
            pending.set_result(1);
        } catch (const weft::RuntimeError&) {
        }
        try {
            done.add_done_callback([&ran, counted](Future<int>) { ran = true; });
        } catch (const weft::RuntimeError&) {
        }
    }
    CHECK_FALSE(ran);
    CHECK(alive == 0);
}

TEST_CASE("a failure that outlives its loop is not lost and not a crash", "[future]") {
    probe::Reports reports;
    {
        Future<int> failed;
        EventLoop loop(weft::testing::options());
        reports = probe::collect_reports(loop);
        failed = loop.create_future<int>();
        failed.set_exception(std::make_exception_ptr(std::runtime_error("late")));
        loop.close();
        failed = Future<int>();
    }
    REQUIRE(reports->size() == 1);
}

TEST_CASE("what a done-callback of a closed loop captured is destroyed", "[future]") {
    int alive = 0;
    {
        Future<int> pending;
        Future<int> done;
        EventLoop loop(weft::testing::options());
        pending = loop.create_future<int>();
        done = loop.create_future<int>();
        done.set_result(1);
        const probe::Alive counted(alive);
        pending.add_done_callback([counted](Future<int>) {});
        loop.close();
        // Whether these are refused or dropped: nothing may be kept.
        try {
            pending.set_result(1);
        } catch (const weft::RuntimeError&) {
        }
        try {
            done.add_done_callback([counted](Future<int>) {});
        } catch (const weft::RuntimeError&) {
        }
    }
    REQUIRE(alive == 0);
}

}  // namespace future_results_test
