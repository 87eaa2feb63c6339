// SPDX-License-Identifier: MIT
// RateLimiter: so many per second, a few at once; who comes first is served first.
#pragma once

#include <cassert>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <new>
#include <stdexcept>

#include "../base/clock.hpp"
#include "../base/intrusive_list.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/ready_await.hpp"
#include "../runtime/task_core.hpp"
#include "../runtime/timer_heap.hpp"

namespace weft {

class RateLimiter;

namespace detail {

/// In the limiter's queue until it is served or cancelled. Served and cancelled afterwards is
/// served.
class [[nodiscard]] [[gnu::warn_unused]] RateAwaiter final : public Suspension, public ListNode<> {
public:
    RateAwaiter(RateLimiter& limiter, std::uint32_t tokens) noexcept
        : limiter_(&limiter), tokens_(tokens) {}
    ~RateAwaiter() {
        if (linked()) unlink();  // the frame is destroyed while it waits
    }

    bool await_ready() const { return may_go_on() && try_take(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    inline bool try_take() const;
    inline void begin_wait(std::coroutine_handle<> handle);
    /// The tokens are taken: a teardown keeps them, like one after the wait.
    void grant_here(std::coroutine_handle<> handle) noexcept { task_ = &go_round(handle); }
    bool await_cancelled() const noexcept { return cancelled_; }
    void await_resume() const {
        check_leftover();
        if (cancelled_) [[unlikely]]
            task_->loop->throw_cancelled();
    }

    bool holds_result() const noexcept { return !cancelled_; }
    inline void give_back() noexcept;

    inline TaskCore* cancel() noexcept override;
    WaitInfo describe() const noexcept override { return {"rate limiter"}; }

    std::uint32_t tokens() const noexcept { return tokens_; }
    void end_wait() noexcept {
        unlink();
        task_->loop->wake(*task_);
    }

private:
    RateLimiter* limiter_;
    TaskCore* task_ = nullptr;
    const std::uint32_t tokens_;
    bool cancelled_ = false;
};

}  // namespace detail

/// A bucket that holds `burst` tokens and gets `per_second` new ones each second; `acquire` takes
/// some out or waits until there are enough. It begins full.
///
/// No allocation to wait; one timer, however many wait.
/// Thread:   loop thread only. Immovable while somebody waits; outlives whoever does.
class RateLimiter : private detail::Timer {
public:
    /// Throws:   std::invalid_argument unless 0 < per_second <= 10^9 and burst >= 1.
    explicit RateLimiter(double per_second, std::uint32_t burst = 1) : Timer(&due), burst_(burst) {
        if (!(per_second > 0 && per_second <= 1e9) || burst < 1) {
            throw std::invalid_argument("weft: RateLimiter: a rate that makes no sense");
        }
        const double interval = 1e9 / per_second + 0.5;
        if (interval * burst > 1e18) {
            throw std::invalid_argument("weft: RateLimiter: the rate is too low");
        }
        interval_ = static_cast<detail::Nanoseconds>(interval);
    }
    ~RateLimiter() {
        assert(waiting_.empty());
        if (armed()) loop_->disarm(*this);
    }

    /// Takes `tokens` out, at once or when they are there and all who came before are served.
    /// Throws:   std::invalid_argument for more than the bucket can hold; CancelledError.
    /// Cancel:   lossless: nothing was taken, or the await returns.
    detail::RateAwaiter acquire(std::uint32_t tokens = 1) {
        require_possible(tokens);
        return detail::RateAwaiter(*this, tokens);
    }

    /// Without waiting. False: not enough, or somebody waits.
    bool try_acquire(std::uint32_t tokens = 1) {
        require_possible(tokens);
        return waiting_.empty() && take(tokens, get_running_loop().read_clock());
    }

    /// What could be taken now.
    std::uint32_t available() const {
        const detail::Nanoseconds missing = full_at_ - get_running_loop().read_clock();
        if (missing <= 0) return burst_;
        return burst_ - static_cast<std::uint32_t>((missing + interval_ - 1) / interval_);
    }
    std::size_t waiting() const noexcept {
        std::size_t waiters = 0;
        auto& queue = const_cast<Queue&>(waiting_);  // for_each visits without changing
        queue.for_each([&](detail::RateAwaiter&) { ++waiters; });
        return waiters;
    }

private:
    friend class detail::RateAwaiter;
    using Queue = detail::IntrusiveList<detail::RateAwaiter>;

    void require_possible(std::uint32_t tokens) const {
        if (tokens > burst_) {
            throw std::invalid_argument("weft: RateLimiter: more tokens than the bucket can hold");
        }
    }

    // One number says it all: when the bucket will be full. It lacks the tokens that arrive until
    // then.

    detail::Nanoseconds cost(std::uint32_t tokens) const noexcept { return tokens * interval_; }
    /// When `tokens` will be there.
    detail::Nanoseconds ready_at(std::uint32_t tokens) const noexcept {
        return full_at_ - cost(burst_ - tokens);
    }
    bool take(std::uint32_t tokens, detail::Nanoseconds now) noexcept {
        if (ready_at(tokens) > now) return false;
        full_at_ = (full_at_ > now ? full_at_ : now) + cost(tokens);
        return true;
    }

    /// Serves whom it can and sets the timer for the next. Never throws: with no memory for a timer
    /// the limit is what gives.
    void serve() noexcept {
        if (armed()) loop_->disarm(*this);
        while (!waiting_.empty()) {
            detail::RateAwaiter& first = waiting_.front();
            if (!take(first.tokens(), loop_->read_clock())) {
                try {
                    return loop_->arm(*this, ready_at(first.tokens()));
                } catch (const std::bad_alloc&) {
                    full_at_ += cost(first.tokens());
                }
            }
            first.end_wait();
        }
    }
    static void due(Timer& timer) noexcept { static_cast<RateLimiter&>(timer).serve(); }

    EventLoop* loop_ = nullptr;
    Queue waiting_;
    detail::Nanoseconds interval_ = 0;  // between two tokens
    detail::Nanoseconds full_at_ = 0;
    std::uint32_t burst_;
};

namespace detail {

inline bool RateAwaiter::try_take() const { return limiter_->try_acquire(tokens_); }

inline void RateAwaiter::begin_wait(std::coroutine_handle<> handle) {
    EventLoop& loop = get_running_loop();
    task_ = &loop.suspend(handle, *this);
    if (task_->must_cancel) [[unlikely]] {
        cancelled_ = true;
        return loop.wake(*task_);
    }
    limiter_->loop_ = &loop;
    limiter_->waiting_.push_back(*this);
    if (!limiter_->armed()) limiter_->serve();
}

inline void RateAwaiter::give_back() noexcept {
    limiter_->full_at_ -= limiter_->cost(tokens_);
    if (!limiter_->waiting_.empty()) limiter_->serve();
}

inline TaskCore* RateAwaiter::cancel() noexcept {
    if (!linked()) return nullptr;
    const bool first = &limiter_->waiting_.front() == this;
    cancelled_ = true;
    end_wait();
    if (first) limiter_->serve();  // the next one may want less
    return nullptr;
}

}  // namespace detail
}  // namespace weft
