// SPDX-License-Identifier: MIT
// RateLimiter: so many per second, a few at once; who comes first is served first.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <new>
#include <stdexcept>

#include "../base/clock.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/ready_await.hpp"
#include "../runtime/task_core.hpp"
#include "../runtime/timer_heap.hpp"
#include "../sync/reserving_queue.hpp"

namespace weft {
namespace detail {
class RateAwaiter;
}  // namespace detail

/// A token bucket: it holds `burst` tokens and gets `per_second` new ones each second; `acquire`
/// takes some out or waits until there are enough. It begins full.
///
/// The long-run rate does not depend on how late the loop wakes tasks up. A waiting task is served
/// as of the moment at which its tokens were there, and not of the later one at which the loop came
/// to it; and tokens that arrive while a wake-up is late are not lost, although the bucket is full.
///
/// To wait allocates nothing, and there is one timer, however many tasks wait. Destroyed with tasks
/// that wait, it wakes them with a RuntimeError; those that were served do not need it any more.
/// Thread:   loop thread only.
class RateLimiter : detail::ReservingQueue, detail::Timer {
public:
    /// Throws:   std::invalid_argument unless 0 < per_second <= 10^9 and burst >= 1.
    explicit RateLimiter(double per_second, std::uint32_t burst = 1);
    ~RateLimiter();

    /// Takes `tokens` out of the bucket; waits until they are there, behind the tasks that came
    /// before.
    /// Throws:   std::invalid_argument for more than the bucket can hold; RuntimeError when the
    ///           limiter is destroyed meanwhile; CancelledError.
    /// Cancel:   lossless: nothing was taken, or the await returns.
    detail::RateAwaiter acquire(std::uint32_t tokens = 1);

    /// Takes `tokens` without waiting. False: there are not enough, or a task waits.
    /// Throws:   std::invalid_argument for more than the bucket can hold.
    bool try_acquire(std::uint32_t tokens = 1);

    /// The tokens in the bucket now.
    std::uint32_t available() const;
    std::size_t waiting() const noexcept { return count(); }

private:
    friend class detail::RateAwaiter;

    void require_possible(std::uint32_t tokens) const;
    detail::Nanoseconds cost(std::uint32_t tokens) const noexcept { return tokens * interval_; }
    /// When `tokens` will be there.
    detail::Nanoseconds ready_at(std::uint32_t tokens) const noexcept {
        return full_at_ - cost(burst_ - tokens);
    }
    bool take(std::uint32_t tokens, detail::Nanoseconds now) noexcept;
    void serve() noexcept;
    static void due(Timer& timer) noexcept { static_cast<RateLimiter&>(timer).serve(); }

    EventLoop* loop_ = nullptr;
    detail::Nanoseconds interval_ = 0;  // between two tokens
    // When the bucket will be full, if nothing is taken; this is its whole state.
    detail::Nanoseconds full_at_ = 0;
    detail::Nanoseconds lateness_ = 0;  // of the last wake-up
    std::uint32_t burst_;
};

namespace detail {

/// In the limiter's queue until it is served or cancelled; a cancel that comes after it was served
/// does not undo that. The tokens of a coroutine that is destroyed after it was served are not
/// given back, like those of one that is destroyed after the await.
class [[nodiscard]] [[gnu::warn_unused]] RateAwaiter final : public ReservedWait {
public:
    RateAwaiter(RateLimiter& limiter, std::uint32_t tokens) noexcept
        : ReservedWait(limiter), tokens_(tokens) {}
    ~RateAwaiter() {
        if (state() == State::queued) [[unlikely]]
            leave();
    }
    const char* what() const noexcept override { return "rate limiter"; }

    bool await_ready() const { return may_go_on() && !is_behind_granted() && try_take(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    bool try_take() const { return limiter().try_acquire(tokens_); }
    bool is_behind_granted() const noexcept { return !queue().settled(); }
    void begin_wait(std::coroutine_handle<> handle) {
        wait_in_queue(handle);
        if (state() != State::queued) return;
        limiter().loop_ = task().loop;
        arrived_at_ = task().loop->read_clock();
        if (!limiter().armed()) limiter().serve();
    }
    void await_resume() {
        if (state() == State::idle) return;
        const bool late = due_at_ > 0 && linked();
        finish_detachable();
        if (late) limiter().lateness_ = task().loop->peek_clock() - due_at_;
    }
    void give_back() noexcept {
        if (state() != State::idle && !linked()) return;  // the limiter is gone
        limiter().full_at_ -= limiter().cost(tokens_);
        if (!limiter().empty()) limiter().serve();
    }

    TaskCore* cancel() noexcept override {
        if (state() != State::queued) return nullptr;
        const bool was_first = &queue().front() == this;
        ReservedWait::cancel();
        if (was_first) limiter().serve();  // the next one may want less
        return nullptr;
    }

private:
    friend class weft::RateLimiter;
    RateLimiter& limiter() const noexcept { return static_cast<RateLimiter&>(queue()); }
    [[gnu::cold]] void leave() noexcept {
        const bool was_first = &queue().front() == this;
        leave_queue();
        if (was_first) limiter().serve();
    }

    const std::uint32_t tokens_;
    Nanoseconds arrived_at_ = 0;
    Nanoseconds due_at_ = 0;  // when its tokens were there; 0: it has not waited for them
};

}  // namespace detail

inline RateLimiter::RateLimiter(double per_second, std::uint32_t burst)
    : Timer(&due), burst_(burst) {
    if (!(per_second > 0 && per_second <= 1e9))
        throw std::invalid_argument("weft: RateLimiter: a rate that is not in 0 to 1e9 per second");
    if (burst < 1) throw std::invalid_argument("weft: RateLimiter: a burst of 0");
    const double interval = 1e9 / per_second + 0.5;
    if (interval * burst > 1e18) {
        throw std::invalid_argument("weft: RateLimiter: the rate is too low for the burst");
    }
    interval_ = static_cast<detail::Nanoseconds>(interval);
}

inline RateLimiter::~RateLimiter() {
    forget_granted([](detail::ReservedWait&) {});
    if (armed()) loop_->disarm(*this);
}

inline void RateLimiter::require_possible(std::uint32_t tokens) const {
    if (tokens > burst_) {
        throw std::invalid_argument(
            detail::concat({"weft: RateLimiter: ", detail::decimal(tokens),
                            " tokens at once, and the bucket holds ", detail::decimal(burst_)}));
    }
}

inline bool RateLimiter::try_acquire(std::uint32_t tokens) {
    require_possible(tokens);
    return empty() && take(tokens, get_running_loop().read_clock());
}

inline bool RateLimiter::take(std::uint32_t tokens, detail::Nanoseconds now) noexcept {
    if (ready_at(tokens) > now) return false;
    // Full for longer than the last wake-up was late: nobody wanted tokens, and those that came
    // beyond `burst` are lost.
    if (now - full_at_ > lateness_) {
        full_at_ = now;
        lateness_ = 0;
    }
    full_at_ += cost(tokens);
    return true;
}

inline std::uint32_t RateLimiter::available() const {
    const detail::Nanoseconds missing = full_at_ - get_running_loop().read_clock();
    if (missing <= 0) return burst_;
    return burst_ - static_cast<std::uint32_t>((missing + interval_ - 1) / interval_);
}

inline detail::RateAwaiter RateLimiter::acquire(std::uint32_t tokens) {
    require_possible(tokens);
    return detail::RateAwaiter(*this, tokens);
}

/// Serves the tasks whose tokens are there, and sets the timer for the next one. Never throws:
/// where there is no memory for the timer, that task is served at once, above the rate.
inline void RateLimiter::serve() noexcept {
    if (armed()) loop_->disarm(*this);
    while (!empty()) {
        auto& first = static_cast<detail::RateAwaiter&>(front());
        detail::Nanoseconds due_at = ready_at(first.tokens_);
        if (due_at > loop_->read_clock()) {
            try {
                return loop_->arm(*this, due_at);
            } catch (const std::bad_alloc&) {
                // served as if the tokens were there
            }
        }
        if (due_at < first.arrived_at_) due_at = first.arrived_at_;
        if (full_at_ < due_at) full_at_ = due_at;
        full_at_ += cost(first.tokens_);
        first.due_at_ = due_at;
        grant_first();
    }
}

}  // namespace weft
