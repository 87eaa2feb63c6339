// SPDX-License-Identifier: MIT
// Latch: opens once a count has come down to zero, and stays open.
#pragma once

#include <cstddef>
#include <stdexcept>

#include "gate.hpp"

namespace weft {

class Latch;

struct LatchStatistics {
    LatchStatistics(std::size_t to_come, std::size_t waiting) noexcept
        : count(to_come), waiters(waiting) {}
    std::size_t count;
    std::size_t waiters;
};

namespace detail {
class LatchAwaiter;
}  // namespace detail

/// std::latch for tasks: "go on when all of them are ready".
///
/// Destroyed with tasks that wait, it wakes them with a RuntimeError. Those for whom it has opened
/// do not need it any more, even if they have not run yet.
/// Thread:   loop thread only.
class Latch {
public:
    /// Throws:   std::invalid_argument for a negative count.
    explicit Latch(std::ptrdiff_t count);

    /// Throws:   RuntimeError when fewer than `arrivals` were left to come.
    void count_down(std::size_t arrivals = 1);
    /// True: it is open.
    bool try_wait() const noexcept { return gate_.is_open(); }

    /// Waits until it is open. When it is, it does not suspend, except where its task has made 128
    /// such awaits in one go (see BasicQueue).
    /// Throws:   RuntimeError when the latch is destroyed meanwhile; CancelledError.
    /// Cancel:   leaves the queue; once it has opened, returns.
    detail::LatchAwaiter wait() noexcept;
    /// Counts down and waits for the others.
    /// Throws:   what `count_down` and `wait` throw.
    /// Cancel:   like `wait`; the arrival counts in any case.
    detail::LatchAwaiter arrive_and_wait(std::size_t arrivals = 1) noexcept;

    LatchStatistics statistics() const noexcept { return LatchStatistics(count_, gate_.count()); }

private:
    friend class detail::LatchAwaiter;
    std::size_t count_;
    detail::Gate gate_;
};

namespace detail {

class [[nodiscard]] [[gnu::warn_unused]] LatchAwaiter final : public OpenWait {
public:
    inline LatchAwaiter(Latch& latch, std::size_t arrivals) noexcept;
    const char* what() const noexcept override { return "latch"; }
    inline bool await_ready();

private:
    Latch& latch_;
    std::size_t arrivals_;
};

}  // namespace detail

inline Latch::Latch(std::ptrdiff_t count) : count_(static_cast<std::size_t>(count)) {
    if (count < 0) throw std::invalid_argument("Latch: a negative count");
    if (count == 0) gate_.open();
}

inline void Latch::count_down(std::size_t arrivals) {
    if (arrivals > count_) [[unlikely]]
        detail::throw_runtime_error("Latch::count_down: below zero");
    count_ -= arrivals;
    if (count_ == 0) gate_.open();
}

inline detail::LatchAwaiter Latch::wait() noexcept { return detail::LatchAwaiter(*this, 0); }

inline detail::LatchAwaiter Latch::arrive_and_wait(std::size_t arrivals) noexcept {
    return detail::LatchAwaiter(*this, arrivals);
}

inline detail::LatchAwaiter::LatchAwaiter(Latch& latch, std::size_t arrivals) noexcept
    : OpenWait(latch.gate_), latch_(latch), arrivals_(arrivals) {}
inline bool detail::LatchAwaiter::await_ready() {
    if (arrivals_ > 0) latch_.count_down(arrivals_);
    return OpenWait::await_ready();
}

}  // namespace weft
