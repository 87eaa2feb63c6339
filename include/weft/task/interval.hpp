// SPDX-License-Identifier: MIT
// Interval: ticks at a steady pace, and what becomes of those that nobody came for in time.
#pragma once

#include <stdexcept>
#include <utility>

#include "../base/clock.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/loop.hpp"
#include "sleep.hpp"

namespace weft {
namespace detail {
class TickAwaiter;
}  // namespace detail

/// What comes after a tick that was taken too late. With a period of 10 ms, and somebody who was
/// busy from 0 to 35 ms, the ticks come at
enum class MissedTicks : unsigned char {
    burst,  ///< 0, then 35, 35, 35 (for 10, 20 and 30), 40: none is lost, and the pace is kept
    delay,  ///< 0, then 35, 45, 55: never less than a period apart
    skip,   ///< 0, then 35, 40, 50: what was missed is left out, and the pace is kept
};

/// A clock that ticks:
///
///     weft::Interval ticker(1s);
///     for (;;) {
///         co_await ticker.tick();  // the first time at once
///         co_await report();
///     }
///
/// The pace is that of the clock: the time that the work takes does not add up. One task at a time
/// waits for a tick.
class Interval {
public:
    /// The first tick is due now.
    /// Throws:   std::invalid_argument for a period that is NaN, too long, or not positive;
    ///           RuntimeError when no loop runs on this thread.
    template <class Rep, class Period>
    explicit Interval(std::chrono::duration<Rep, Period> period,
                      MissedTicks missed = MissedTicks::burst)
        : Interval(get_running_loop().time(), period, missed) {}
    /// The first tick is due at `start`, a point in time on the loop's clock.
    template <class Rep, class Period>
    Interval(TimePoint start, std::chrono::duration<Rep, Period> period,
             MissedTicks missed = MissedTicks::burst)
        : next_(detail::to_deadline(start)),
          period_(detail::to_nanoseconds(period)),
          missed_(missed) {
        if (period_ <= 0) detail::throw_bad_duration("weft: the period of an Interval is 0");
    }
    Interval(const Interval&) = delete;
    Interval& operator=(const Interval&) = delete;

    /// Suspends until the next tick is due, at least for one turn.
    /// Returns:  when it was due.
    /// Throws:   CancelledError.
    /// Cancel:   at once, and the tick is still to come.
    /// Lifetime: the Interval outlives the await.
    detail::TickAwaiter tick() noexcept;

    /// The next tick comes one period from now.
    void reset() { next_ = detail::deadline_after(get_running_loop().read_clock(), period_); }

    /// When the next tick is due.
    TimePoint next() const noexcept { return detail::to_time_point(next_); }
    Duration period() const noexcept { return Duration(period_); }
    MissedTicks missed_ticks() const noexcept { return missed_; }
    void set_missed_ticks(MissedTicks missed) noexcept { missed_ = missed; }

private:
    friend class detail::TickAwaiter;

    /// How late a tick may be found without being missed: a core that sleeps takes its time to wake
    /// up.
    detail::Nanoseconds tolerance() const noexcept {
        constexpr detail::Nanoseconds most = 5'000'000;
        return std::min(most, period_ / 10);
    }
    void advance(detail::Nanoseconds now) noexcept {
        const detail::Nanoseconds late = now - next_;
        const bool is_missed = late > tolerance();
        if (is_missed && missed_ == MissedTicks::delay) {
            next_ = detail::deadline_after(now, period_);
        } else if (is_missed && missed_ == MissedTicks::skip) {
            next_ = detail::deadline_after(next_, (late / period_ + 1) * period_);
        } else {
            next_ = detail::deadline_after(next_, period_);
        }
    }

    detail::Nanoseconds next_;
    detail::Nanoseconds period_;
    MissedTicks missed_;
};

namespace detail {

class [[nodiscard]] [[gnu::warn_unused]] TickAwaiter final : public SleepWait {
public:
    explicit TickAwaiter(Interval& interval) noexcept
        : SleepWait(interval.next_, Kind::deadline), interval_(interval) {}
    TimePoint await_resume() const {
        finish();
        const TimePoint due = interval_.next();
        interval_.advance(task().loop->read_clock());
        return due;
    }

private:
    Interval& interval_;
};

}  // namespace detail

inline detail::TickAwaiter Interval::tick() noexcept { return detail::TickAwaiter(*this); }

}  // namespace weft
