// SPDX-License-Identifier: MIT
// CapacityLimiter: at most so many at a time, where it is known who, and the number can change.
#pragma once

#include <coroutine>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/pointer_set.hpp"
#include "../base/std_parts.hpp"
#include "../task/task.hpp"
#include "detail/guard.hpp"
#include "reserving_queue.hpp"

namespace weft {

class CapacityLimiter;

struct CapacityStatistics {
    CapacityStatistics(std::size_t has_borrowed, std::size_t in_total, std::size_t waiting,
                       std::vector<AnyTask> known) noexcept
        : borrowed(has_borrowed), total(in_total), waiters(waiting), tasks(std::move(known)) {}
    std::size_t borrowed;
    std::size_t total;
    std::size_t waiters;
    std::vector<AnyTask> tasks;  ///< those that have borrowed for themselves and still live
};

namespace detail {

class CapacityWait;
template <class Guard>
class CapacityAwaiter;

}  // namespace detail

/// A semaphore whose permits ("tokens") belong to somebody: the task that acquired, or whatever
/// address stands for the borrower (`..._on_behalf_of`).
///
/// A borrower has one token at most. To ask for a second is an error: a task that has a token and
/// waits for others, which cannot start for want of a token, would wait for ever.
///
/// FIFO with direct hand-off: a token that is given back goes to the task that waits longest.
/// Destroyed with tasks that wait, it wakes them with a RuntimeError.
/// Thread:   loop thread only.
/// Source:   trio.CapacityLimiter.
class CapacityLimiter : detail::ReservingQueue {
public:
    static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

    class Guard;  // movable; gives its token back once

    explicit CapacityLimiter(std::size_t total_tokens) noexcept : total_(total_tokens) {}

    /// Waits for a token for the current task.
    /// Throws:   RuntimeError when the task has one, or when the limiter is destroyed meanwhile;
    ///           CancelledError.
    /// Cancel:   lossless: leaves the queue, or returns with the token (and the cancel strikes at
    ///           the next suspension: hold it in a guard).
    detail::CapacityAwaiter<void> acquire() noexcept;
    /// `auto token = co_await limiter.scoped();` gives it back at the end of the scope.
    /// Cancel:   like `acquire`.
    detail::CapacityAwaiter<Guard> scoped() noexcept;
    /// For a borrower that is not the current task.
    /// Cancel:   like `acquire`.
    detail::CapacityAwaiter<void> acquire_on_behalf_of(const void* borrower) noexcept;
    /// For a borrower that is not the current task.
    /// Cancel:   like `acquire`.
    detail::CapacityAwaiter<Guard> scoped_on_behalf_of(const void* borrower) noexcept;
    /// Throws:   RuntimeError when the current task has a token, or there is no task.
    [[nodiscard]] bool try_acquire() { return try_acquire_on_behalf_of(self()); }
    /// Throws:   RuntimeError when the borrower has a token.
    [[nodiscard]] bool try_acquire_on_behalf_of(const void* borrower);

    /// Throws:   RuntimeError when the current task has no token, or there is no task.
    void release() { release_on_behalf_of(self()); }
    /// Throws:   RuntimeError when the borrower has no token.
    void release_on_behalf_of(const void* borrower);

    std::size_t total_tokens() const noexcept { return total_; }
    /// More: waiting tasks go on at once. Fewer than are borrowed: nobody gets one until enough
    /// came back.
    void set_total_tokens(std::size_t total);
    std::size_t borrowed_tokens() const noexcept { return borrowers_.size(); }
    std::size_t available_tokens() const noexcept {
        return total_ > borrowers_.size() ? total_ - borrowers_.size() : 0;
    }
    CapacityStatistics statistics() const;

private:
    friend class detail::CapacityWait;
    template <class>
    friend class detail::CapacityAwaiter;

    static const void* maker() noexcept;
    static const void* self() {
        const detail::TaskCore* const task = get_running_loop().current_task();
        if (!task) [[unlikely]]
            detail::throw_runtime_error(
                "CapacityLimiter: outside of a task there is no borrower but one that is named");
        return task;
    }

    bool give_back(const void* borrower) noexcept;
    void serve() noexcept;

    std::size_t total_;
    detail::PointerSet borrowers_;
};

/// Movable; gives its token back once.
/// Lifetime: the limiter outlives it.
class [[nodiscard]] CapacityLimiter::Guard {
public:
    Guard() noexcept {}
    Guard(CapacityLimiter& limiter, const void* borrower) noexcept
        : limiter_(&limiter), borrower_(borrower) {}
    Guard(Guard&& other) noexcept
        : limiter_(std::exchange(other.limiter_, nullptr)), borrower_(other.borrower_) {}
    Guard& operator=(Guard&& other) noexcept {
        Guard taken(std::move(other));
        std::swap(limiter_, taken.limiter_);
        std::swap(borrower_, taken.borrower_);
        return *this;
    }
    ~Guard() {
        if (!limiter_ || limiter_->give_back(borrower_)) return;
        detail::report_guard_failure(detail::thrown_by(
            [] { detail::throw_runtime_error("its token was released by somebody else"); }));
    }
    explicit operator bool() const noexcept { return limiter_ != nullptr; }
    /// Does nothing when it is empty.
    /// Throws:   RuntimeError when somebody else has released the token.
    void release() {
        if (limiter_) std::exchange(limiter_, nullptr)->release_on_behalf_of(borrower_);
    }

private:
    CapacityLimiter* limiter_ = nullptr;
    const void* borrower_ = nullptr;
};

namespace detail {

/// The node of a task that waits for a token.
class CapacityWait final : public ReservedWait {
public:
    CapacityWait(CapacityLimiter& limiter, const void* borrower) noexcept;
    ~CapacityWait() {
        if (granted_and_not_taken()) [[unlikely]]
            give_back();
    }
    const char* what() const noexcept override { return "token of a capacity limiter"; }
    using ReservedWait::wait_in_queue;
    void finish();
    bool holds_result() const noexcept { return ReservedWait::holds_result() && !refused_; }

private:
    friend class weft::CapacityLimiter;
    void give_back() noexcept;

    const void* borrower_;
    bool refused_ = false;  // the borrower has got a token meanwhile
};

/// What the calls that wait return; `Guard` is void for those without a guard. It holds a
/// CapacityWait, which is made only when the task has to wait.
template <class Guard>
class [[nodiscard]] [[gnu::warn_unused]] CapacityAwaiter final : public LazyWait<CapacityWait> {
public:
    /// `borrower`: null for the task that awaits.
    CapacityAwaiter(CapacityLimiter& limiter, const void* borrower) noexcept
        : limiter_(limiter), borrower_(borrower) {}
    bool await_ready() { return may_go_on() && !is_behind_granted() && try_take(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    void begin_wait(std::coroutine_handle<> handle) {
        begin(limiter_, borrower_).wait_in_queue(handle);
    }
    void grant_here(std::coroutine_handle<> handle) noexcept {
        begin(limiter_, borrower_).grant_here(handle);
    }
    bool try_take();
    bool is_behind_granted() const noexcept;
    void give_back() noexcept;
    Guard await_resume() {
        finish();
        if constexpr (!std::is_void_v<Guard>) return Guard(limiter_, borrower_);
    }

private:
    CapacityLimiter& limiter_;
    const void* borrower_;
};

}  // namespace detail

inline detail::CapacityAwaiter<void> CapacityLimiter::acquire() noexcept {
    return detail::CapacityAwaiter<void>(*this, maker());
}

inline detail::CapacityAwaiter<CapacityLimiter::Guard> CapacityLimiter::scoped() noexcept {
    return detail::CapacityAwaiter<Guard>(*this, maker());
}

inline detail::CapacityAwaiter<void> CapacityLimiter::acquire_on_behalf_of(
    const void* borrower) noexcept {
    return detail::CapacityAwaiter<void>(*this, borrower);
}

inline detail::CapacityAwaiter<CapacityLimiter::Guard> CapacityLimiter::scoped_on_behalf_of(
    const void* borrower) noexcept {
    return detail::CapacityAwaiter<Guard>(*this, borrower);
}

inline bool CapacityLimiter::try_acquire_on_behalf_of(const void* borrower) {
    if (borrowers_.contains(borrower)) [[unlikely]]
        detail::throw_runtime_error("CapacityLimiter: this borrower has a token already");
    if (!empty() || borrowers_.size() >= total_) return false;
    borrowers_.insert(borrower);
    return true;
}

inline void CapacityLimiter::release_on_behalf_of(const void* borrower) {
    if (!give_back(borrower)) [[unlikely]]
        detail::throw_runtime_error("CapacityLimiter::release: this borrower has no token");
}

inline void CapacityLimiter::set_total_tokens(std::size_t total) {
    borrowers_.reserve(std::min(total, borrowers_.size() + count()));
    total_ = total;
    serve();
}

inline CapacityStatistics CapacityLimiter::statistics() const {
    std::vector<AnyTask> tasks;
    if (EventLoop* const loop = EventLoop::running()) {
        loop->for_each_task([&](detail::TaskCore& task) {
            if (borrowers_.contains(&task)) tasks.emplace_back(task);
        });
    }
    return CapacityStatistics(borrowers_.size(), total_, count(), std::move(tasks));
}

/// The task that makes the call. It is the borrower also where a race or a gather then awaits the
/// call in a task of its own.
inline const void* CapacityLimiter::maker() noexcept {
    const EventLoop* const loop = EventLoop::running();
    return loop ? loop->current_task() : nullptr;
}

inline bool CapacityLimiter::give_back(const void* borrower) noexcept {
    if (!borrowers_.erase(borrower)) return false;
    serve();
    return true;
}

/// Gives free tokens to the tasks that wait longest. Needs no memory: there is room for as many
/// borrowers as have left, or as `set_total_tokens` has reserved for.
inline void CapacityLimiter::serve() noexcept {
    while (!empty() && borrowers_.size() < total_) {
        auto& waiter = static_cast<detail::CapacityWait&>(grant_first());
        waiter.refused_ = borrowers_.contains(waiter.borrower_);
        if (!waiter.refused_) borrowers_.insert(waiter.borrower_);
    }
}

namespace detail {

inline CapacityWait::CapacityWait(CapacityLimiter& limiter, const void* borrower) noexcept
    : ReservedWait(limiter), borrower_(borrower) {}

inline void CapacityWait::finish() {
    finish_wait();
    if (refused_) throw_runtime_error("CapacityLimiter: this borrower has a token already");
}

/// The waiting coroutine is destroyed after it was granted a token and before it could run.
[[gnu::cold]] inline void CapacityWait::give_back() noexcept {
    if (!refused_) static_cast<CapacityLimiter&>(queue()).give_back(borrower_);
}

template <class Guard>
bool CapacityAwaiter<Guard>::try_take() {
    if (!borrower_) borrower_ = CapacityLimiter::self();
    return limiter_.try_acquire_on_behalf_of(borrower_);
}

template <class Guard>
bool CapacityAwaiter<Guard>::is_behind_granted() const noexcept {
    return !limiter_.settled();
}

template <class Guard>
void CapacityAwaiter<Guard>::give_back() noexcept {
    if (!end_wait()) limiter_.give_back(borrower_);
}

}  // namespace detail
}  // namespace weft
