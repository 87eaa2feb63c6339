// SPDX-License-Identifier: MIT
// What a limit says: `max()` never, zero and less at once.
#include <weft/testing/catch.hpp>

#include <chrono>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <weft/weft.hpp>

namespace limits_test {
namespace {

using namespace std::chrono_literals;
using weft::Coro;
using weft::Duration;
using weft::TimePoint;

Coro<void> an_hour() { co_await weft::sleep(1h); }
Coro<bool> never() {
    co_await weft::sleep(1000h);
    co_return true;
}

/// A deadline in `limit`; the clock's own end for one that is longer than that.
TimePoint in(Duration limit) {
    const TimePoint now = weft::get_running_loop().time();
    return limit > 100'000h ? TimePoint::max() : now + limit;
}

/// Waits an hour, or for as long as it may.
struct Way {
    const char* name;
    std::function<Coro<bool>(Duration)> ended;
};

const std::vector<Way>& ways() {
    static const std::vector<Way> all = {
        {"wait_for",
         [](Duration limit) -> Coro<bool> {
             try {
                 co_await weft::wait_for(an_hour(), limit);
             } catch (const weft::TimeoutError&) {
                 co_return false;
             }
             co_return true;
         }},
        {"move_on_after",
         [](Duration limit) -> Coro<bool> {
             const bool ended = co_await weft::move_on_after(limit, an_hour());
             co_return ended;
         }},
        {"move_on_after around one operation",
         [](Duration limit) -> Coro<bool> {
             const bool ended = co_await weft::move_on_after(limit, weft::sleep(1h));
             co_return ended;
         }},
        {"timeout",
         [](Duration limit) -> Coro<bool> {
             try {
                 co_await weft::timeout(limit, an_hour);
             } catch (const weft::TimeoutError&) {
                 co_return false;
             }
             co_return true;
         }},
        {"timeout_at",
         [](Duration limit) -> Coro<bool> {
             try {
                 co_await weft::timeout_at(in(limit), an_hour);
             } catch (const weft::TimeoutError&) {
                 co_return false;
             }
             co_return true;
         }},
        {"Timeout, moved",
         [](Duration limit) -> Coro<bool> {
             weft::Timeout deadline(limit > Duration(0) ? limit : 1h);
             const auto moves_it = [&]() -> Coro<void> {
                 deadline.reschedule(in(limit));
                 co_await an_hour();
             };
             try {
                 co_await weft::timeout(deadline, moves_it);
             } catch (const weft::TimeoutError&) {
                 co_return false;
             }
             co_return true;
         }},
        {"CancelScope",
         [](Duration limit) -> Coro<bool> {
             weft::CancelScope scope(limit);
             co_await scope.run(an_hour);
             co_return !scope.cancelled_caught();
         }},
        {"CancelScope until a point in time",
         [](Duration limit) -> Coro<bool> {
             weft::CancelScope scope(in(limit));
             co_await scope.run(an_hour);
             co_return !scope.cancelled_caught();
         }},
        {"clean_up",
         [](Duration limit) -> Coro<bool> {
             const bool ended = co_await weft::clean_up(limit, an_hour);
             co_return ended;
         }},
        {"wait",
         [](Duration limit) -> Coro<bool> {
             std::vector<weft::Task<void>> tasks;
             tasks.push_back(weft::create_task(an_hour()));
             const auto found = co_await weft::wait(tasks, limit);
             tasks.front().cancel();
             co_return !found.done.empty();
         }},
        {"as_completed",
         [](Duration limit) -> Coro<bool> {
             std::vector<weft::Task<void>> tasks;
             tasks.push_back(weft::create_task(an_hour()));
             auto completed = weft::as_completed(tasks, limit);
             try {
                 (void)co_await completed.next();
             } catch (const weft::TimeoutError&) {
                 tasks.front().cancel();
                 co_return false;
             }
             co_return true;
         }},
        {"staggered_race",
         [](Duration delay) -> Coro<bool> {
             bool is_alone = true;
             std::vector<std::function<Coro<bool>()>> attempts;
             attempts.emplace_back([]() -> Coro<bool> {
                 co_await weft::sleep(1h);
                 co_return true;
             });
             attempts.emplace_back([&is_alone] {
                 is_alone = false;
                 return never();
             });
             co_await weft::staggered_race(attempts, delay);
             co_return is_alone;
         }},
        {"Pool's idle_timeout, where zero is none and less is refused",
         [](Duration limit) -> Coro<bool> {
             const auto make = []() -> Coro<int> { co_return 7; };
             if (limit < Duration(0)) {
                 CHECK_THROWS_AS(weft::Pool<int>(make, weft::Pool<int>::Options(1, limit)),
                                 std::invalid_argument);
             }
             if (limit <= Duration(0)) co_return false;
             weft::Pool<int> pool(make, weft::Pool<int>::Options(1, limit));
             { const auto lease = co_await pool.acquire(); }
             co_await weft::sleep(1h);
             const bool is_kept = pool.idle() == 1;
             co_await pool.close();
             co_return is_kept;
         }},
        {"retry's pauses, of which none is longer than the clock",
         [](Duration longest) -> Coro<bool> {
             weft::RetryOptions options(2);
             options.first = options.longest = longest;
             options.jitter = 0;
             int calls = 0;
             const auto fails = [&calls]() -> Coro<void> {
                 if (++calls == 1) throw std::runtime_error("once");
                 co_return;
             };
             bool is_refused = false;
             bool ended = false;
             try {
                 ended = co_await weft::move_on_after(1h, weft::retry(options, fails));
             } catch (const std::invalid_argument&) {
                 is_refused = true;
             }
             CHECK(is_refused == (longest < Duration(0)));
             co_return !ended && !is_refused;
         }},
    };
    return all;
}

WEFT_TEST_CASE("a limit of max() is none; of zero, and less, is over at once") {
    for (const Way& way : ways()) {
        INFO(way.name);
        for (const Duration limit : {Duration::max(), Duration::max() - 1ns, Duration(2h)}) {
            const bool ended = co_await way.ended(limit);
            CHECK(ended);
        }
        for (const Duration limit : {Duration(0), Duration(-1), Duration(-1h), Duration::min()}) {
            const bool ended = co_await way.ended(limit);
            CHECK_FALSE(ended);
        }
    }
}

WEFT_TEST_CASE("a time that is negative where zero is no limit is refused when connecting, too") {
    weft::ConnectOptions options;
    options.attempt_timeout = -1ns;
    std::string why;
    try {
        (void)co_await weft::open_connection(weft::Address::ip("127.0.0.1", 9), options);
    } catch (const std::invalid_argument& error) {
        why = error.what();
    }
    CHECK(why == "weft: ConnectOptions: a negative attempt_timeout");
}

WEFT_TEST_CASE("a limit may be of any kind, but not NaN") {
    const bool by_hours = co_await weft::move_on_after(std::chrono::hours::max(), an_hour());
    CHECK(by_hours);
    constexpr double endless = std::numeric_limits<double>::infinity();
    const bool by_fractions =
        co_await weft::move_on_after(std::chrono::duration<double>(endless), an_hour());
    CHECK(by_fractions);
    const std::chrono::duration<double> nonsense(std::numeric_limits<double>::quiet_NaN());
    CHECK_THROWS_AS(weft::move_on_after(nonsense, an_hour()), std::invalid_argument);
}

}  // namespace
}  // namespace limits_test
