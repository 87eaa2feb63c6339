// SPDX-License-Identifier: MIT
// Lock: one task at a time; handed from holder to waiter in the order of arrival.
#pragma once

#include <coroutine>
#include <cstddef>
#include <source_location>
#include <type_traits>
#include <utility>

#include "../task/task.hpp"
#include "detail/guard.hpp"
#include "detail/holder.hpp"
#include "reserving_queue.hpp"

namespace weft {

class Condition;
class Lock;

struct LockStatistics {
    LockStatistics(bool is_locked, std::size_t waiting, AnyTask holder) noexcept
        : locked(is_locked), waiters(waiting), owner(std::move(holder)) {}
    bool locked;
    std::size_t waiters;
    AnyTask owner;  ///< known in debug mode alone, where the lock was acquired by a task
};

namespace detail {

class ConditionWait;
class LockWait;
template <class Guard>
class LockAwaiter;

}  // namespace detail

/// A mutex for tasks. Holding it across a `co_await` is what it is for: between two awaits nobody
/// else runs.
///
/// FIFO with direct hand-off: a release gives it to the longest waiting task at once, so `locked()`
/// stays true and nobody who comes later can get in first.
///
/// A free lock is taken without suspending, except where the task has made 128 such awaits in one
/// go (see BasicQueue).
///
/// Debug mode keeps who holds it since where, and reports tasks that wait for each other's locks in
/// a circle when the circle closes. Destroyed with tasks that wait, it wakes them with a
/// RuntimeError.
/// Thread:   loop thread only.
class Lock : detail::ReservingQueue {
public:
    using Guard = detail::Guard<Lock>;

    Lock() noexcept = default;

    /// Waits until it is ours.
    /// Throws:   RuntimeError when the lock is destroyed meanwhile; CancelledError.
    /// Cancel:   lossless: leaves the queue, or returns with the lock (and the cancel strikes at
    ///           the next suspension: hold it in a guard).
    detail::LockAwaiter<void> acquire(
        std::source_location place = std::source_location::current()) noexcept;
    /// `auto guard = co_await lock.scoped();` releases at the end of the scope.
    /// Cancel:   like `acquire`.
    detail::LockAwaiter<Guard> scoped(
        std::source_location place = std::source_location::current()) noexcept;
    /// Takes it if it is free, and does not wait.
    [[nodiscard]] bool try_acquire(
        const std::source_location& place = std::source_location::current()) noexcept;

    /// Any task may release, not only the one that acquired.
    /// Throws:   RuntimeError when it is not locked.
    void release();

    bool locked() const noexcept { return !holder_.nobody(); }
    LockStatistics statistics() const noexcept;

private:
    friend class detail::LockWait;
    friend class detail::ConditionWait;
    friend class Condition;
    template <class>
    friend class detail::LockAwaiter;

    void pass_on() noexcept;
    void pass_on_named() noexcept;
    void lose_owner() noexcept;
    void release_named();
    bool try_acquire_named(detail::TaskCore* task, const std::source_location& place) noexcept;

    detail::Holder holder_;  // the queue is of LockWaits; when it is not empty, somebody holds
};

namespace detail {

/// The node of a task that waits for a lock, or for a condition and then for its lock.
class LockWait : public HeldWait {
public:
    inline const Holder* awaited_holder(std::size_t index) const noexcept override;
    const char* what() const noexcept override { return "lock"; }

protected:
    LockWait(Lock& lock, const std::source_location& place) noexcept;
    ~LockWait() {
        if (granted_and_not_taken()) [[unlikely]]
            give_back();
    }
    Lock& lock() const noexcept;

private:
    void give_back() noexcept;
};

class LockAcquire final : public LockWait {
public:
    LockAcquire(Lock& lock, const std::source_location& place) noexcept : LockWait(lock, place) {}
    void begin(std::coroutine_handle<> handle) { wait_for_holders(handle); }
    void finish() { finish_wait(); }
};

/// What `acquire` and `scoped` return; `Guard` is void for `acquire`. It holds a LockAcquire, which
/// is made only when the task has to wait.
template <class Guard>
class [[nodiscard]] [[gnu::warn_unused]] LockAwaiter final : public LazyWait<LockAcquire> {
public:
    LockAwaiter(Lock& lock, const std::source_location& place) noexcept
        : lock_(lock), place_(place) {}
    bool await_ready() noexcept { return may_go_on() && try_take(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    void begin_wait(std::coroutine_handle<> handle) { begin(lock_, place_).begin(handle); }
    void grant_here(std::coroutine_handle<> handle) noexcept {
        begin(lock_, place_).grant_here(handle);
    }
    bool try_take() noexcept;
    void give_back() noexcept;
    Guard await_resume() {
        finish();
        if constexpr (!std::is_void_v<Guard>) return Guard(lock_);
    }

private:
    Lock& lock_;
    std::source_location place_;
};

}  // namespace detail

inline detail::LockAwaiter<void> Lock::acquire(std::source_location place) noexcept {
    return detail::LockAwaiter<void>(*this, place);
}

inline detail::LockAwaiter<Lock::Guard> Lock::scoped(std::source_location place) noexcept {
    return detail::LockAwaiter<Guard>(*this, place);
}

inline bool Lock::try_acquire(const std::source_location& place) noexcept {
    const EventLoop* const loop = EventLoop::running();
    if (loop && loop->debug()) [[unlikely]]
        return try_acquire_named(loop->current_task(), place);
    if (!holder_.nobody()) return false;
    holder_.set_nameless();
    return true;
}

[[gnu::cold]] inline bool Lock::try_acquire_named(detail::TaskCore* task,
                                                  const std::source_location& place) noexcept {
    if (!holder_.nobody()) return false;
    holder_.set(task, place);
    return true;
}

inline void Lock::release() {
    if (!holder_.is_nameless()) [[unlikely]]
        return release_named();
    pass_on();
}

[[gnu::cold, gnu::noinline]] inline void Lock::release_named() {
    if (holder_.is_ownerless()) return;
    if (holder_.nobody()) detail::throw_runtime_error("Lock::release: the lock is not locked");
    detail::TaskCore* const named = holder_.forget();
    pass_on();
    if (named) named->release();
}

/// Hands the lock to the task that waits longest. Its caller has taken the last holder's name out.
inline void Lock::pass_on() noexcept {
    if (empty()) return holder_.set_nobody();
    if (front().task().loop->debug()) [[unlikely]]
        return pass_on_named();
    holder_.set_nameless();
    grant_first();
}

// As a whole out of line: what is left needs no register that outlives a call, so the coroutines
// that a release becomes part of save none.
[[gnu::cold, gnu::noinline]] inline void Lock::pass_on_named() noexcept {
    const auto& next = static_cast<detail::LockWait&>(front());
    holder_.set(&next.task(), next.place());
    grant_first();
}

/// For a condition that is destroyed with its own lock while guards of the lock exist: to release
/// such a lock does nothing from then on.
[[gnu::cold]] inline void Lock::lose_owner() noexcept {
    abandon();
    detail::TaskCore* const named = holder_.forget();
    holder_.set_ownerless();
    if (named) named->release();
}

inline LockStatistics Lock::statistics() const noexcept {
    detail::TaskCore* const owner = holder_.task();
    return LockStatistics(locked(), count(), owner ? AnyTask(*owner) : AnyTask());
}

inline detail::LockWait::LockWait(Lock& lock, const std::source_location& place) noexcept
    : HeldWait(lock, place) {}

inline Lock& detail::LockWait::lock() const noexcept { return static_cast<Lock&>(queue()); }

inline const detail::Holder* detail::LockWait::awaited_holder(std::size_t index) const noexcept {
    return index == 0 ? &lock().holder_ : nullptr;
}

/// The waiting coroutine is destroyed after it was granted the lock and before it could run.
[[gnu::cold]] inline void detail::LockWait::give_back() noexcept {
    if (lock().locked()) lock().release();
}

template <class Guard>
bool detail::LockAwaiter<Guard>::try_take() noexcept {
    return lock_.try_acquire(place_);
}

template <class Guard>
void detail::LockAwaiter<Guard>::give_back() noexcept {
    if (!end_wait() && lock_.locked()) lock_.release();
}

}  // namespace weft
