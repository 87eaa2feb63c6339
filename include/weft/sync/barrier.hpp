// SPDX-License-Identifier: MIT
// Barrier: a group of tasks wait for each other, again and again.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include "reserving_queue.hpp"

namespace weft {

class Barrier;

/// The barrier was reset or aborted, so those who wait for each other will not all come.
class BrokenBarrierError : public RuntimeError {
public:
    using RuntimeError::RuntimeError;
};

struct BarrierStatistics {
    BarrierStatistics(std::size_t arrived, std::size_t held_up) noexcept
        : waiters(arrived), blocked(held_up) {}
    std::size_t waiters;  ///< for the others to arrive
    std::size_t blocked;  ///< until those who were released have run
};

namespace detail {
class BarrierWait;
class BarrierAwaiter;
}  // namespace detail

/// The last of `parties` tasks to arrive releases all of them. Then the barrier drains: until each
/// of them has run, tasks that arrive for the next round are held up, and do not count yet.
///
/// Destroyed with tasks that wait, it wakes them with a RuntimeError. Those that it has released do
/// not need it any more, even if they have not run yet.
/// Thread:   loop thread only.
class Barrier : detail::ReservingQueue {
public:
    /// Throws:   std::invalid_argument for fewer than one.
    explicit Barrier(std::ptrdiff_t parties);
    ~Barrier();

    /// Waits until all parties have arrived. Returns the place in the order of arrival, 0 to
    /// parties - 1, a different one for each; the last to arrive mostly does not suspend.
    /// Throws:   BrokenBarrierError when it is aborted, or reset while this task waits;
    ///           RuntimeError when it is destroyed meanwhile; CancelledError.
    /// Cancel:   leaves, and one more has to come; after the release it returns.
    detail::BarrierAwaiter wait() noexcept;

    /// Ends the round: those who wait get a BrokenBarrierError. Those who arrived while the barrier
    /// drained belong to the next round and stay, also in the step in which the drain ends (the one
    /// of the last task that was released). After an `abort` the barrier can be used again.
    void reset() noexcept;
    /// Everybody who waits or comes later gets a BrokenBarrierError, until `reset`.
    void abort() noexcept;

    std::size_t parties() const noexcept { return parties_; }
    /// How many have arrived; 0 while it drains.
    std::size_t n_waiting() const noexcept { return draining() ? 0 : queued_; }
    bool broken() const noexcept { return aborted_; }
    BarrierStatistics statistics() const noexcept {
        return BarrierStatistics(n_waiting(), draining() ? queued_ : 0);
    }

private:
    friend class detail::BarrierWait;
    friend class detail::BarrierAwaiter;

    bool draining() const noexcept { return !settled(); }

    void release_first(std::size_t how_many) noexcept;
    void break_all() noexcept;
    void break_those_after_the_drain() noexcept;
    detail::BarrierWait& grant() noexcept;
    void one_has_left() noexcept;
    static std::uint64_t get_running_step() noexcept;

    std::size_t parties_;
    std::size_t queued_ = 0;        // arrived, or held up while it drains
    std::uint64_t drained_in_ = 0;  // the step in which the last drain has ended
    bool aborted_ = false;
};

namespace detail {

/// The node of a task that has arrived.
class BarrierWait final : public ReservedWait {
public:
    explicit BarrierWait(Barrier& barrier) noexcept;
    ~BarrierWait() {
        if (state() != State::idle) [[unlikely]]
            leave();
    }
    const char* what() const noexcept override { return "barrier"; }
    inline TaskCore* cancel() noexcept override;
    inline void grant_here(std::coroutine_handle<> handle) noexcept;
    void begin(std::coroutine_handle<> handle);
    std::size_t finish();

private:
    friend class weft::Barrier;
    Barrier& barrier() const noexcept;
    void leave() noexcept;

    std::size_t index_ = 0;
    bool broken_ = false;
    bool held_up_ = false;  // it arrived while the barrier drained
};

class [[nodiscard]] [[gnu::warn_unused]] BarrierAwaiter final : public LazyWait<BarrierWait> {
public:
    explicit BarrierAwaiter(Barrier& barrier) noexcept : barrier_(barrier) {}
    bool await_ready() { return may_go_on() && try_take(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    void begin_wait(std::coroutine_handle<> handle) { begin(barrier_).begin(handle); }
    void grant_here(std::coroutine_handle<> handle) noexcept { begin(barrier_).grant_here(handle); }
    bool try_take();
    std::size_t await_resume();

private:
    Barrier& barrier_;
};

}  // namespace detail

inline detail::BarrierWait& Barrier::grant() noexcept {
    --queued_;
    return static_cast<detail::BarrierWait&>(grant_first());
}

inline void Barrier::release_first(std::size_t how_many) noexcept {
    for (std::size_t index = 0; index < how_many; ++index) grant().index_ = index;
}

/// A task that was released has run. If it was the last one, the round of those that were held up
/// begins, and they may be enough for it.
inline void Barrier::one_has_left() noexcept {
    if (!settled()) return;
    if (queued_ >= parties_) return release_first(parties_);
    drained_in_ = get_running_step();
}

namespace detail {

inline BarrierWait::BarrierWait(Barrier& barrier) noexcept : ReservedWait(barrier) {}

inline Barrier& BarrierWait::barrier() const noexcept { return static_cast<Barrier&>(queue()); }

inline bool BarrierAwaiter::try_take() {
    if (barrier_.aborted_) throw BrokenBarrierError("weft: the barrier is broken");
    if (barrier_.draining() || barrier_.queued_ + 1 < barrier_.parties_) return false;
    barrier_.release_first(barrier_.queued_);
    return true;
}

[[gnu::cold]] inline void BarrierWait::grant_here(std::coroutine_handle<> handle) noexcept {
    ReservedWait::grant_here(handle);
    index_ = barrier().parties_ - 1;
}

inline void BarrierWait::begin(std::coroutine_handle<> handle) {
    if (!stop_here(handle)) return;
    held_up_ = barrier().draining();
    queue().push_back(*this);
    ++barrier().queued_;
}

inline TaskCore* BarrierWait::cancel() noexcept {
    if (state() == State::queued) --barrier().queued_;
    return ReservedWait::cancel();
}

inline std::size_t BarrierWait::finish() {
    const bool barrier_lives = granted_and_not_taken() && linked();
    finish_detachable();
    if (barrier_lives) barrier().one_has_left();
    if (broken_) throw BrokenBarrierError("weft: the barrier was reset or aborted");
    return index_;
}

/// The waiting coroutine is destroyed while it waits, or after the release and before it could run.
[[gnu::cold]] inline void BarrierWait::leave() noexcept {
    if (state() == State::queued) {
        --barrier().queued_;
    } else if (state() == State::granted && linked()) {
        unlink();
        barrier().one_has_left();
    }
}

inline std::size_t BarrierAwaiter::await_resume() {
    return began() ? wait().finish() : barrier_.parties_ - 1;
}

}  // namespace detail

inline Barrier::Barrier(std::ptrdiff_t parties) : parties_(static_cast<std::size_t>(parties)) {
    if (parties < 1) throw std::invalid_argument("Barrier: fewer than one party");
}

inline Barrier::~Barrier() {
    if (!settled()) [[unlikely]]
        forget_granted([](detail::ReservedWait&) {});
}

inline detail::BarrierAwaiter Barrier::wait() noexcept { return detail::BarrierAwaiter(*this); }

inline void Barrier::reset() noexcept {
    aborted_ = false;
    if (draining()) return;
    if (drained_in_ == get_running_step()) [[unlikely]]
        return break_those_after_the_drain();
    break_all();
}

inline void Barrier::abort() noexcept {
    aborted_ = true;
    break_all();
}

inline void Barrier::break_all() noexcept {
    while (queued_ > 0) grant().broken_ = true;
}

/// Those that were held up during the drain stand in front, and stay.
[[gnu::cold]] inline void Barrier::break_those_after_the_drain() noexcept {
    for_each_waiting([this](detail::ReservedWait& waiter) {
        auto& arrived = static_cast<detail::BarrierWait&>(waiter);
        if (arrived.held_up_) return;
        --queued_;
        arrived.broken_ = true;
        grant_out_of_turn(arrived);
    });
}

inline std::uint64_t Barrier::get_running_step() noexcept {
    const EventLoop* const loop = EventLoop::running();
    return loop ? loop->step() : 0;
}

}  // namespace weft
