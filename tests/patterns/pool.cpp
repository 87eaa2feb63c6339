// SPDX-License-Identifier: MIT
// Pool: limit, order, reuse, health, idle time, close, and nothing lost on the way.
#include <weft/deadline/move_on_after.hpp>
#include <weft/patterns/pool.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "cut_everywhere.hpp"
#include "probe.hpp"

namespace pool_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::EventLoop;
using weft::PoolClosed;
using weft::Task;

namespace {

struct Line {
    Line(int which, int& alive) : number(which), counted(alive) {}
    int number;
    bool broken = false;
    probe::Alive counted;
};
using Pool = weft::Pool<Line>;
using Options = weft::PoolOptions<Line>;

/// Makes lines in a second and closes them in another.
struct Exchange {
    auto maker() {
        return [this]() -> Coro<Line> {
            co_await weft::sleep(1s);
            if (failing) throw std::runtime_error("no line");
            co_return Line(++made, alive);
        };
    }
    Options options(std::size_t most, weft::Duration idle = 0s) {
        Options all(most, idle);
        all.close = [this](Line& line) -> Coro<void> {
            const int number = line.number;
            co_await weft::sleep(1s);
            closed.push_back(number);
        };
        return all;
    }
    int made = 0;
    int alive = 0;
    bool failing = false;
    std::vector<int> closed;
};

Coro<void> uses(Pool& pool, char name, std::string& log, weft::Duration time = 1s) {
    const auto lease = co_await pool.acquire();
    log += name;
    log += std::to_string(lease->number);
    co_await weft::sleep(time);
}

}  // namespace

WEFT_TEST_CASE("resources are made when needed, lent again, and never more than the limit",
               "[pool]") {
    Exchange exchange;
    Pool pool(exchange.maker(), exchange.options(2));
    REQUIRE(exchange.made == 0);
    std::string log;
    for (int i = 0; i < 3; ++i) co_await uses(pool, 'x', log);
    REQUIRE(log == "x1x1x1");
    log.clear();
    std::vector<Task<void>> tasks;
    for (const char name : {'a', 'b', 'c', 'd', 'e'}) {
        tasks.push_back(weft::create_task(uses(pool, name, log, 3s)));
    }
    co_await weft::sleep(1500ms);
    REQUIRE(pool.lent() == 2);
    REQUIRE(pool.waiting() == 3);
    for (auto& task : tasks) co_await task;
    REQUIRE(log == "a1b2c1d2e1");  // in the order in which they came
    REQUIRE(exchange.made == 2);
    REQUIRE(pool.idle() == 2);
    co_await pool.close();
    REQUIRE(exchange.alive == 0);
    REQUIRE(exchange.closed.size() == 2);
}

WEFT_TEST_CASE("a lease moves, gives back once, and its resource stays where it is", "[pool]") {
    Exchange exchange;
    Pool pool(exchange.maker(), exchange.options(2));
    auto first = co_await pool.acquire();
    const Line* const address = &*first;
    auto second = std::move(first);
    REQUIRE_FALSE(first);
    REQUIRE(&*second == address);
    first = co_await pool.acquire();
    REQUIRE(pool.lent() == 2);
    first = std::move(second);  // gives back what it held
    REQUIRE(pool.lent() == 1);
    REQUIRE(pool.idle() == 1);
    first.release();
    first.release();
    REQUIRE(pool.lent() == 0);
    REQUIRE(pool.idle() == 2);
    co_await pool.close();
}

WEFT_TEST_CASE("try_acquire lends what is there and nothing else", "[pool]") {
    Exchange exchange;
    Pool pool(exchange.maker(), exchange.options(2));
    auto lease = pool.try_acquire();
    REQUIRE_FALSE(lease);  // nothing is made for it
    {
        auto first = co_await pool.acquire();
        const auto second = co_await pool.acquire();
        lease = pool.try_acquire();
        REQUIRE_FALSE(lease);
        first.release();
        lease = pool.try_acquire();
        REQUIRE(lease->number == 1);
        REQUIRE(pool.lent() == 2);
        REQUIRE(pool.idle() == 0);

        // Who waits comes first.
        std::string log;
        auto waiter = weft::create_task(uses(pool, 'a', log));
        co_await weft::yield();
        lease.release();
        lease = pool.try_acquire();
        REQUIRE_FALSE(lease);
        co_await waiter;
        REQUIRE(log == "a1");
    }
    REQUIRE(exchange.made == 2);
    lease = pool.try_acquire();
    REQUIRE(lease);
    lease.discard();
    REQUIRE(pool.idle() == 1);
    co_await pool.close();
    lease = pool.try_acquire();
    REQUIRE_FALSE(lease);

    auto options = exchange.options(1);
    options.check = [](Line&) -> Coro<bool> { co_return true; };
    Pool checked(exchange.maker(), std::move(options));
    (void)co_await checked.acquire();
    REQUIRE(checked.idle() == 1);
    lease = checked.try_acquire();
    REQUIRE_FALSE(lease);
    co_await checked.close();
}

WEFT_TEST_CASE("a discarded resource is closed, and another one made in its place", "[pool]") {
    Exchange exchange;
    Pool pool(exchange.maker(), exchange.options(1));
    std::string log;
    auto lease = co_await pool.acquire();
    auto waiter = weft::create_task(uses(pool, 'a', log));
    co_await weft::yield();
    lease.discard();
    REQUIRE_FALSE(lease);
    co_await waiter;
    REQUIRE(log == "a2");
    REQUIRE(exchange.closed == std::vector<int>{1});
    co_await pool.close();
}

WEFT_TEST_CASE("idle resources are closed after their time, and no timer is left", "[pool]") {
    EventLoop& loop = weft::get_running_loop();
    Exchange exchange;
    Pool pool(exchange.maker(), exchange.options(3, 10s));
    REQUIRE(loop.armed_timers() == 0);
    {
        const auto one = co_await pool.acquire();
        const auto two = co_await pool.acquire();
        REQUIRE(loop.armed_timers() == 0);
    }
    REQUIRE(pool.idle() == 2);
    REQUIRE(loop.armed_timers() == 1);
    co_await weft::sleep(6s);
    std::string log;
    co_await uses(pool, 'a', log);  // the one that was given back last is younger now
    co_await weft::sleep(3s);
    REQUIRE(pool.idle() == 1);
    co_await weft::sleep(2s);
    REQUIRE(exchange.closed.size() == 1);
    REQUIRE(exchange.alive == 1);
    co_await uses(pool, 'b', log);
    co_await weft::sleep(12s);
    REQUIRE(log == "a1b1");
    REQUIRE(pool.idle() == 0);
    REQUIRE(exchange.alive == 0);
    REQUIRE(loop.armed_timers() == 0);
    co_await uses(pool, 'c', log);
    {
        const auto lease = co_await pool.acquire();
        REQUIRE(loop.armed_timers() == 0);  // the list is empty
    }
    co_await pool.close();
    REQUIRE(loop.armed_timers() == 0);
}

WEFT_TEST_CASE("a resource that fails its check is closed, and the next one is tried", "[pool]") {
    Exchange exchange;
    int checks = 0;
    Options options = exchange.options(3);
    options.check = [&](Line& line) -> Coro<bool> {
        ++checks;
        co_await weft::yield();
        if (line.number == 2) throw std::runtime_error("no answer");
        co_return !line.broken;
    };
    Pool pool(exchange.maker(), std::move(options));
    {
        auto one = co_await pool.acquire();
        auto two = co_await pool.acquire();
        auto three = co_await pool.acquire();
        three->broken = true;
        REQUIRE(checks == 0);
        one.release();
        two.release();
        three.release();
    }
    auto lease = co_await pool.acquire();
    REQUIRE(checks == 3);
    REQUIRE(lease->number == 1);
    lease->broken = true;
    lease.release();
    lease = co_await pool.acquire();
    REQUIRE(lease->number == 4);
    co_await weft::sleep(2s);
    REQUIRE(exchange.closed.size() == 3);
    lease.release();
    co_await pool.close();
    REQUIRE(exchange.alive == 0);
}

WEFT_TEST_CASE("a make that fails is its caller's error, and the next waiter is served", "[pool]") {
    Exchange exchange;
    Pool pool(exchange.maker(), exchange.options(1));
    std::string log;
    exchange.failing = true;
    auto first = weft::create_task(uses(pool, 'a', log));
    auto second = weft::create_task(uses(pool, 'b', log));
    co_await weft::sleep(500ms);
    REQUIRE(pool.waiting() == 1);
    bool failed = false;
    try {
        co_await first;
    } catch (const std::runtime_error&) {
        failed = true;
    }
    REQUIRE(failed);
    exchange.failing = false;
    co_await second;
    REQUIRE(log == "b1");
    co_await pool.close();
}

WEFT_TEST_CASE("a cancelled acquire loses nothing, whatever it was at", "[pool]") {
    Exchange exchange;
    Options options = exchange.options(1);
    options.check = [](Line&) -> Coro<bool> {
        co_await weft::sleep(1s);
        co_return true;
    };
    Pool pool(exchange.maker(), std::move(options));
    std::string log;
    {  // while it is made
        const auto none = co_await weft::move_on_after(500ms, pool.acquire());
        REQUIRE_FALSE(none.has_value());
    }
    auto user = weft::create_task(uses(pool, 'a', log, 5s));
    co_await weft::sleep(2s);
    {  // while it waits
        const auto none = co_await weft::move_on_after(500ms, pool.acquire());
        REQUIRE_FALSE(none.has_value());
        REQUIRE(pool.waiting() == 0);
    }
    // In the turn in which it gets the permit.
    auto waiter = weft::create_task(uses(pool, 'b', log));
    auto last = weft::create_task(uses(pool, 'c', log));
    co_await support::turns(2);
    co_await user;
    waiter.cancel();
    co_await waiter.wait();
    co_await last;
    REQUIRE(log.substr(0, 2) == "a1");
    REQUIRE(log.back() != 'b');
    {  // while it is checked: its state is unknown, so it is closed
        const auto none = co_await weft::move_on_after(500ms, pool.acquire());
        REQUIRE_FALSE(none.has_value());
        REQUIRE(pool.idle() == 0);
    }
    co_await uses(pool, 'd', log);
    REQUIRE(pool.lent() == 0);
    co_await pool.close();
    REQUIRE(exchange.alive == 0);
    REQUIRE(static_cast<int>(exchange.closed.size()) == exchange.made);
}

WEFT_TEST_CASE("a check that fails because it was cancelled ends the acquire", "[pool]") {
    Exchange exchange;
    Options options = exchange.options(1);
    options.check = [](Line&) -> Coro<bool> {
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
        }
        throw std::runtime_error("no answer");
    };
    Pool pool(exchange.maker(), std::move(options));
    std::string log;
    co_await uses(pool, 'a', log);
    auto acquiring = weft::create_task(uses(pool, 'b', log));
    co_await weft::sleep(1s);
    acquiring.cancel();
    co_await acquiring.wait();
    std::string thrown;
    try {
        acquiring.result();
    } catch (const std::runtime_error& error) {
        thrown = error.what();
    }
    REQUIRE(thrown == "no answer");
    REQUIRE(exchange.made == 1);
    REQUIRE(pool.idle() == 0);
    co_await pool.close();
    REQUIRE(exchange.alive == 0);
}

WEFT_TEST_CASE("close ends those who wait, and waits for leases and for the closing", "[pool]") {
    EventLoop& loop = weft::get_running_loop();
    Exchange exchange;
    Pool pool(exchange.maker(), exchange.options(1));
    std::string log;
    auto user = weft::create_task(uses(pool, 'a', log, 5s));
    std::vector<Task<void>> waiters;
    for (int i = 0; i < 3; ++i) waiters.push_back(weft::create_task(uses(pool, 'b', log)));
    co_await weft::sleep(2s);
    const weft::TimePoint began = loop.time();
    const bool at_once = co_await weft::move_on_after(1s, pool.close());
    REQUIRE_FALSE(at_once);
    int refused = 0;
    for (auto& waiter : waiters) {
        try {
            co_await waiter;
        } catch (const PoolClosed&) {
            ++refused;
        }
    }
    REQUIRE(refused == 3);
    REQUIRE(exchange.closed.empty());
    co_await pool.close();
    REQUIRE(loop.time() - began == 5s);  // four left of the lease, one to close
    REQUIRE(exchange.closed == std::vector<int>{1});
    REQUIRE(exchange.alive == 0);
    bool closed = false;
    try {
        (void)co_await pool.acquire();
    } catch (const PoolClosed&) {
        closed = true;
    }
    REQUIRE(closed);
    co_await user;
    co_await pool.close();
}

WEFT_TEST_CASE("a task that ends with a lease gives it back; options without sense are refused",
               "[pool]") {
    Exchange exchange;
    Pool pool(exchange.maker(), exchange.options(1));
    std::string log;
    auto user = weft::create_task(uses(pool, 'a', log, 1h));
    co_await weft::sleep(2s);
    user.cancel();
    co_await uses(pool, 'b', log);
    REQUIRE(log == "a1b1");
    REQUIRE_THROWS_AS(Pool(exchange.maker(), Options(0)), std::invalid_argument);
    REQUIRE_THROWS_AS(Pool(exchange.maker(), Options(1, -1s)), std::invalid_argument);
    co_await pool.close();
}

namespace {

Coro<void> pooled(int& alive) {
    auto make = [&alive]() -> Coro<Line> {
        co_await weft::sleep(1s);
        co_return Line(0, alive);
    };
    Options options(2, 3s);
    options.close = [](Line&) -> Coro<void> { co_await weft::sleep(1s); };
    options.check = [](Line&) -> Coro<bool> {
        co_await weft::yield();
        co_return true;
    };
    auto pool = std::make_shared<Pool>(make, std::move(options));
    auto works = [](std::shared_ptr<Pool> in, int number) -> Coro<void> {
        auto lease = co_await in->acquire();
        co_await weft::sleep(1s);
        if (number == 2) lease.discard();
    };
    std::vector<Task<void>> tasks;
    for (int i = 0; i < 5; ++i) tasks.push_back(weft::create_task(works, pool, i));
    for (auto& task : tasks) co_await task.wait();
    co_await weft::sleep(2s);
    co_await pool->close();
}

}  // namespace

TEST_CASE("a pool can be cut off after every turn", "[pool][step_kill]") {
    REQUIRE(support::cut_everywhere(pooled) > 8);
}

WEFT_TEST_CASE("options and pools need not name the type of the resource", "[pool]") {
    auto make = []() -> Coro<std::string> { co_return std::string("made"); };
    weft::Pool pool(make, weft::PoolOptions(1, 30s));
    weft::PoolOptions options;
    options.max_size = 2;
    weft::Pool<std::string> other(make, options);
    auto lease = co_await pool.acquire();
    auto another = co_await other.acquire();
    REQUIRE(*lease + *another == "mademade");
    REQUIRE_FALSE(pool.try_acquire());
}

TEST_CASE("what is idle in a pool is closed in time on the next loop too", "[pool]") {
    auto make = []() -> Coro<std::string> { co_return std::string("made"); };
    weft::Pool pool(make, weft::PoolOptions(2, 30s));
    auto lends = [&](std::size_t count) -> Coro<void> {
        std::vector<weft::PoolLease<std::string>> leases;
        while (leases.size() < count) leases.push_back(co_await pool.acquire());
    };
    weft::testing::run([&]() -> Coro<void> { co_await lends(2); });
    REQUIRE(pool.idle() == 2);
    weft::testing::run([&]() -> Coro<void> {
        co_await lends(1);
        co_await weft::sleep(31s);
    });
    CHECK(pool.idle() == 0);
}

}  // namespace pool_test
