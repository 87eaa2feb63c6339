// SPDX-License-Identifier: MIT
// Heartbeat: when one who only listens asks whether the other end is still there.
#pragma once

#include "../base/clock.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/loop.hpp"

namespace weft {

/// A network that is cut does not say so, and who sends nothing does not notice. Counts since the
/// last sign of life, over all waits: those whose deadlines are shorter than the beat as well.
///
///     auto sign = co_await move_on_after(beat.patience(), stream.read_chunk());
///     if (sign) beat.heard();
///     else if (beat.should_ask()) co_await ask();
///     else throw ...;  // it was asked, and has said nothing
///
/// Thread:   loop thread only.
class Heartbeat {
public:
    /// Nothing and less, and `Duration::max()`: never.
    explicit Heartbeat(Duration every) noexcept : every_(every) {}

    bool is_on() const noexcept { return every_ > Duration(0); }
    /// How long the next sign may take. Never nothing: what has come while nobody waited counts.
    Duration patience() const {
        const Duration left = detail::end_of_limit(since_, every_) - get_running_loop().time();
        return std::max<Duration>(std::min(left, every_), std::chrono::milliseconds(1));
    }
    void heard() {
        since_ = get_running_loop().time();
        is_asked_ = false;
    }
    /// For whoever has waited in vain. False: it was asked already.
    bool should_ask() {
        since_ = get_running_loop().time();
        return !std::exchange(is_asked_, true);
    }

private:
    Duration every_;
    TimePoint since_{};
    bool is_asked_ = false;
};

}  // namespace weft
