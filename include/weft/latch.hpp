// SPDX-License-Identifier: MIT
// Latch: opens once a count has come down to zero, and stays open.
#pragma once

#include <coroutine>
#include <cstddef>
#include <stdexcept>

#include "detail/wait_queue.hpp"

namespace weft {

class Latch;

struct LatchStatistics {
    LatchStatistics(std::size_t to_come, std::size_t waiting) noexcept
        : count(to_come), waiters(waiting) {}
    std::size_t count;
    std::size_t waiters;
};

namespace detail {

class LatchWait final : public QueueWait {
public:
    const char* what() const noexcept override { return "latch"; }
    using QueueWait::wait_in;
    void finish() { finish_wait(); }
};

class [[nodiscard]] LatchAwaiter final : public LazyWait<LatchWait> {
public:
    LatchAwaiter(Latch& latch, std::size_t arrivals) noexcept
        : latch_(latch), arrivals_(arrivals) {}
    bool await_ready();
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    bool try_take() const noexcept;
    void begin_wait(std::coroutine_handle<> handle);
    void grant_here(std::coroutine_handle<> handle) noexcept { begin().grant_here(handle); }
    void await_resume() { finish(); }

private:
    Latch& latch_;
    std::size_t arrivals_;
};

}  // namespace detail

/// std::latch for tasks: "go on when all of them are ready". Destroyed with tasks that wait, it
/// wakes them with a RuntimeError; those for whom it has opened are free of it.
/// Thread:   loop thread only.
class Latch {
public:
    /// Throws:   std::invalid_argument for a negative count.
    explicit Latch(std::ptrdiff_t count) : count_(static_cast<std::size_t>(count)) {
        if (count < 0) throw std::invalid_argument("Latch: a negative count");
    }

    /// Throws:   RuntimeError when fewer than `arrivals` were left to come.
    void count_down(std::size_t arrivals = 1) {
        if (arrivals > count_) [[unlikely]]
            detail::throw_runtime_error("Latch::count_down: below zero");
        count_ -= arrivals;
        if (count_ == 0) queue_.grant_all();
    }
    /// It is open.
    bool try_wait() const noexcept { return count_ == 0; }

    /// Does not suspend when it is open, unless its step has had its share (see BasicQueue).
    /// Throws:   RuntimeError when the latch is destroyed meanwhile; CancelledError.
    /// Cancel:   leaves the queue; once it has opened, returns.
    auto wait() noexcept { return detail::LatchAwaiter(*this, 0); }
    /// Counts down and waits for the others.
    /// Throws:   what `count_down` and `wait` throw.
    /// Cancel:   like `wait`; the arrival counts in any case.
    auto arrive_and_wait(std::size_t arrivals = 1) noexcept {
        return detail::LatchAwaiter(*this, arrivals);
    }

    LatchStatistics statistics() const noexcept { return LatchStatistics(count_, queue_.count()); }

private:
    friend class detail::LatchAwaiter;
    std::size_t count_;
    detail::WaitQueue queue_;
};

inline bool detail::LatchAwaiter::await_ready() {
    if (arrivals_ > 0) latch_.count_down(arrivals_);
    return may_go_on() && try_take();
}
inline bool detail::LatchAwaiter::try_take() const noexcept { return latch_.try_wait(); }
inline void detail::LatchAwaiter::begin_wait(std::coroutine_handle<> handle) {
    begin().wait_in(latch_.queue_, handle);
}

}  // namespace weft
