// SPDX-License-Identifier: MIT
// Notify: wakes one task or all; a notification of one that finds nobody waits for the next.
#pragma once

#include <coroutine>
#include <cstddef>
#include <utility>

#include "reserving_queue.hpp"

namespace weft {

class Notify;

struct NotifyStatistics {
    NotifyStatistics(bool has_permit, std::size_t waiting) noexcept
        : permit(has_permit), waiters(waiting) {}
    bool permit;
    std::size_t waiters;
};

namespace detail {
class NotifyWait;
class NotifyAwaiter;
}  // namespace detail

/// Tells a task to look again: an event that resets itself. A task that looks at some state, finds
/// nothing to do and awaits `notified()` misses no `notify_one` that came in between, because one
/// is kept.
///
/// Destroyed with tasks that wait, it wakes them with a RuntimeError. Those that were notified do
/// not need it any more, even if they have not run yet.
/// Thread:   loop thread only.
/// Source:   tokio::sync::Notify, whose semantics these are.
class Notify : detail::ReservingQueue {
public:
    Notify() noexcept = default;
    ~Notify();

    /// Wakes the longest waiting task, or keeps one permit for the next `notified()`. Permits do
    /// not add up.
    void notify_one() noexcept;
    /// Wakes those who wait now; keeps nothing for later.
    void notify_waiters() noexcept;

    /// Takes the permit, or waits.
    /// Throws:   RuntimeError when the object is destroyed meanwhile; CancelledError.
    /// Cancel:   lossless: leaves the queue, or returns with the notification.
    detail::NotifyAwaiter notified() noexcept;
    /// Takes the permit if there is one.
    [[nodiscard]] bool try_notified() noexcept { return std::exchange(permit_, false); }

    NotifyStatistics statistics() const noexcept { return NotifyStatistics(permit_, count()); }

private:
    friend class detail::NotifyWait;
    friend class detail::NotifyAwaiter;
    bool permit_ = false;  // then nobody waits
};

namespace detail {

/// The node of a task that waits for a notification.
class NotifyWait final : public ReservedWait {
public:
    explicit NotifyWait(Notify& notify) noexcept;
    ~NotifyWait() {
        // Not linked: the primitive is gone.
        if (granted_and_not_taken() && alone_ && linked()) [[unlikely]]
            give_back();
    }
    const char* what() const noexcept override { return "notify"; }
    using ReservedWait::wait_in_queue;
    void grant_here(std::coroutine_handle<> handle) noexcept {
        ReservedWait::grant_here(handle);
        alone_ = true;
    }
    void finish() { finish_detachable(); }

private:
    friend class weft::Notify;
    void give_back() noexcept;
    bool alone_ = false;  // it was notified by notify_one, and nobody else was
};

class [[nodiscard]] [[gnu::warn_unused]] NotifyAwaiter final : public LazyWait<NotifyWait> {
public:
    explicit NotifyAwaiter(Notify& notify) noexcept : notify_(notify) {}
    bool await_ready() noexcept { return may_go_on() && !is_behind_granted() && try_take(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    void begin_wait(std::coroutine_handle<> handle) { begin(notify_).wait_in_queue(handle); }
    void grant_here(std::coroutine_handle<> handle) noexcept { begin(notify_).grant_here(handle); }
    bool try_take() noexcept;
    bool is_behind_granted() const noexcept;
    void give_back() noexcept;
    void await_resume() { finish(); }

private:
    Notify& notify_;
};

}  // namespace detail

inline Notify::~Notify() {
    if (!settled()) [[unlikely]]
        forget_granted([](detail::ReservedWait&) {});
}

inline void Notify::notify_one() noexcept {
    if (empty()) {
        permit_ = true;
    } else {
        static_cast<detail::NotifyWait&>(grant_first()).alone_ = true;
    }
}

inline void Notify::notify_waiters() noexcept {
    while (!empty()) grant_first();
}

inline detail::NotifyAwaiter Notify::notified() noexcept { return detail::NotifyAwaiter(*this); }

inline detail::NotifyWait::NotifyWait(Notify& notify) noexcept : ReservedWait(notify) {}

/// The waiting coroutine is destroyed after it was notified and before it could run: the
/// notification goes to the next task.
[[gnu::cold]] inline void detail::NotifyWait::give_back() noexcept {
    static_cast<Notify&>(queue()).notify_one();
}

inline bool detail::NotifyAwaiter::try_take() noexcept { return notify_.try_notified(); }

inline bool detail::NotifyAwaiter::is_behind_granted() const noexcept { return !notify_.settled(); }

inline void detail::NotifyAwaiter::give_back() noexcept {
    if (!end_wait()) notify_.notify_one();
}

}  // namespace weft
