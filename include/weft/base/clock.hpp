// SPDX-License-Identifier: MIT
// Durations and deadlines: user durations of any std::chrono kind become nanoseconds, checked.
#pragma once

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <type_traits>

#include "std_parts.hpp"

namespace weft {

/// CLOCK_MONOTONIC. A loop under test may run on virtual time; its `time()` has the same type.
using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = std::chrono::nanoseconds;

namespace detail {

/// Nanoseconds on the loop's clock.
using Nanoseconds = std::int64_t;
inline constexpr Nanoseconds no_deadline = std::numeric_limits<Nanoseconds>::max();

// The largest delay accepted: 146 years, so that `now + delay` cannot overflow.
inline constexpr Nanoseconds longest_delay = std::numeric_limits<Nanoseconds>::max() / 2;

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_bad_duration(const char* why) {
    throw std::invalid_argument(why);
}

enum class TooLong : bool { refused, taken };

template <TooLong longer, class Rep, class Period>
constexpr Nanoseconds converted(std::chrono::duration<Rep, Period> d) {
    constexpr bool is_taken = longer == TooLong::taken;
    if constexpr (std::is_floating_point_v<Rep>) {
        const auto ns =
            std::chrono::duration<long double, std::nano>(
                std::chrono::duration<long double, Period>(static_cast<long double>(d.count())))
                .count();
        if (ns != ns) throw_bad_duration("weft: the duration is not a number");
        if (ns > static_cast<long double>(longest_delay)) {
            if (!is_taken) throw_bad_duration("weft: the duration is too long");
            return longest_delay;
        }
        if (ns <= 0) return 0;
        // std::ceil is not constexpr before C++23.
        const auto whole = static_cast<Nanoseconds>(ns);
        return static_cast<long double>(whole) < ns ? whole + 1 : whole;
    } else {
        if (d <= d.zero()) return 0;
        // Exact for periods that are no whole number of nanoseconds too: the product has 128 bits,
        // and the estimate keeps it within them.
        const long double estimate =
            static_cast<long double>(d.count()) * Period::num / Period::den * 1'000'000'000.0L;
        if (estimate > static_cast<long double>(longest_delay)) {
            if (!is_taken) throw_bad_duration("weft: the duration is too long");
            return longest_delay;
        }
        __extension__ using Wide = unsigned __int128;
        const Wide product = static_cast<Wide>(d.count()) * Wide{Period::num} * 1'000'000'000;
        return static_cast<Nanoseconds>((product + (Period::den - 1)) / Wide{Period::den});
    }
}

/// An option of which 0 says that there is no limit. Less would be none too, and is rather
/// somebody's difference of two times: `why` names it.
inline void refuse_negative(Duration limit, const char* why) {
    if (limit < Duration::zero()) throw_bad_duration(why);
}

/// Rounds up: a sleep never ends before the time asked for. Negative is zero.
/// Throws:   std::invalid_argument when the duration is NaN or too long to represent. A silent
///           wrap-around would be a timer in the past, or one that never fires.
template <class Rep, class Period>
constexpr Nanoseconds to_nanoseconds(std::chrono::duration<Rep, Period> d) {
    return converted<TooLong::refused>(d);
}

/// The same for what something may take at most: what is too long, `Duration::max()` for instance,
/// is no limit. (146 years are none.)
/// Throws:   std::invalid_argument for NaN.
template <class Rep, class Period>
constexpr Nanoseconds to_limit(std::chrono::duration<Rep, Period> d) {
    return converted<TooLong::taken>(d);
}

/// Far deadlines stay far: time that has passed (or jumped) must not make them wrap around.
constexpr Nanoseconds deadline_after(Nanoseconds now, Nanoseconds delay) noexcept {
    return delay < no_deadline - now ? now + delay : no_deadline - 1;
}

/// A point in time as the loop keeps it. Points before the clock's epoch are simply due, and the
/// last one, which `current_deadline` and `next_deadline` return for "none", never is.
constexpr Nanoseconds to_deadline(TimePoint tp) noexcept {
    return std::max<Nanoseconds>(Duration(tp.time_since_epoch()).count(), 0);
}

constexpr Nanoseconds to_limit(TimePoint tp) noexcept { return to_deadline(tp); }

inline TimePoint to_time_point(Nanoseconds ns) noexcept {
    return TimePoint(std::chrono::duration_cast<Clock::duration>(std::chrono::nanoseconds(ns)));
}

/// When a limit that begins at `now` ends: a point that a timer can be set to.
inline TimePoint end_of_limit(TimePoint now, Duration limit) {
    const Nanoseconds end = deadline_after(to_limit(now), to_limit(limit));
    return to_time_point(end < longest_delay ? end : longest_delay);
}

inline Nanoseconds monotonic_now() noexcept {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
        .count();
}

}  // namespace detail
}  // namespace weft
