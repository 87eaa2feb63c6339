// SPDX-License-Identifier: MIT
// Condition: tasks that hold a lock wait for each other's news about what the lock protects.
#pragma once

#include <coroutine>
#include <cstddef>
#include <limits>
#include <new>
#include <source_location>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/intrusive_list.hpp"
#include "../base/owned.hpp"
#include "../base/std_parts.hpp"
#include "../task/coro.hpp"
#include "lock.hpp"
#include "wait_queue.hpp"

namespace weft {

class Condition;

struct ConditionStatistics {
    ConditionStatistics(LockStatistics of_lock, std::size_t waiting) noexcept
        : lock(std::move(of_lock)), waiters(waiting) {}
    LockStatistics lock;
    std::size_t waiters;  ///< for a notification; those who have it and wait for the lock are there
};

namespace detail {
struct NotifiedTag {};
class ConditionWait;
}  // namespace detail

/// A lock, and a queue of tasks that wait for a change of what the lock protects:
///
///     auto guard = co_await changed.scoped();
///     while (items.empty()) co_await changed.wait();
///
/// Several conditions may share a lock.
///
/// Destroyed with tasks that wait for a notification, a condition over a lock that it was given
/// wakes them with a RuntimeError, each once it has the lock. A condition with a lock of its own
/// wakes them at once and without it, also those that were notified and wait for the lock; to
/// release a guard of that lock does nothing then. Debug mode reports both.
/// Thread:   loop thread only.
class Condition {
public:
    using Guard = Lock::Guard;

    /// With a lock of its own, which is allocated.
    Condition() : own_(new Lock), lock_(own_.get()) {}
    /// Lifetime: `lock` outlives the condition.
    explicit Condition(Lock& lock) noexcept : lock_(&lock) {}
    Condition(const Condition&) = delete;
    Condition& operator=(const Condition&) = delete;
    ~Condition();

    // --- the lock ---

    /// Waits for the lock.
    /// Cancel:   as for Lock.
    auto acquire(std::source_location place = std::source_location::current()) noexcept {
        return lock_->acquire(place);
    }
    /// Waits for the lock; the guard releases it.
    /// Cancel:   as for Lock.
    auto scoped(std::source_location place = std::source_location::current()) noexcept {
        return lock_->scoped(place);
    }
    [[nodiscard]] bool try_acquire(
        const std::source_location& place = std::source_location::current()) noexcept {
        return lock_->try_acquire(place);
    }
    /// Throws:   RuntimeError when it is not locked.
    void release() { lock_->release(); }
    bool locked() const noexcept { return lock_->locked(); }

    // --- the condition ---

    /// Releases the lock, waits for a notification, and takes the lock again before it returns or
    /// throws. (Only when the lock itself is destroyed does it throw without it.)
    /// Throws:   RuntimeError when the lock is not locked, or the condition is destroyed meanwhile;
    ///           CancelledError.
    /// Cancel:   waits for the lock, then throws; if the task was notified already, the next task
    ///           is notified in its place. Once the lock is granted it returns, and the cancel
    ///           strikes at the next suspension. A cancel that is pending already strikes before
    ///           the lock is released.
    detail::ConditionWait wait(
        std::source_location place = std::source_location::current()) noexcept;

    /// Waits until `pred(args...)` is true, asked now and after each notification, always with the
    /// lock. Returns what it returned then.
    /// Throws:   what `wait` throws; what `pred` throws.
    /// Cancel:   like `wait`.
    template <class Pred, class... Args>
    auto wait_for(Pred pred, Args... args)
        -> Coro<std::remove_cvref_t<std::invoke_result_t<Pred&, Args&...>>>;

    /// Notifies the `count` tasks that wait longest; each goes on once it has the lock.
    /// Throws:   RuntimeError when the lock is not locked.
    void notify(std::size_t count = 1);
    /// Throws:   RuntimeError when the lock is not locked.
    void notify_all() { notify(std::numeric_limits<std::size_t>::max()); }

    ConditionStatistics statistics() const noexcept {
        return ConditionStatistics(lock_->statistics(), waiting_.count());
    }

private:
    friend class detail::ConditionWait;

    void notify_first() noexcept;
    void let_go() noexcept;
    void lose_lock() noexcept;

    detail::Owned<Lock> own_;  // apart, since guards may outlive it: see lose_lock
    Lock* lock_;
    detail::IntrusiveList<detail::ConditionWait, detail::NotifiedTag> notified_;
    detail::WaitQueue waiting_;  // of ConditionWaits
};

namespace detail {

/// A task that waits for a condition. It stands first in the condition's queue; once it is notified
/// or cancelled, in the lock's. So a notified task wakes up once, with the lock, and its place in
/// the lock's queue is the one it had when it was notified.
class [[nodiscard]] [[gnu::warn_unused]] ConditionWait final : public LockWait,
                                                               ListNode<NotifiedTag> {
public:
    ConditionWait(Condition& condition, const std::source_location& place) noexcept;
    ~ConditionWait() {
        if (state() != State::idle) [[unlikely]]
            leave();
    }

    bool await_ready() const;
    void await_suspend(std::coroutine_handle<> handle);
    /// True with the lock, like the throw in its place.
    bool await_cancelled() const noexcept {
        told_ = cancelled_;
        return cancelled_ || LockWait::await_cancelled();
    }
    void await_resume() {
        if (notice().linked()) notice().unlink();
        if (orphaned_) [[unlikely]]
            throw_orphaned();
        told_ = true;  // (also by the throw at the end of `run`: see check_leftover)
        finish_wait();
        if (cancelled_) [[unlikely]]
            task_->loop->throw_cancelled();
    }

    bool holds_result() const noexcept {
        return LockWait::holds_result() && !orphaned_ && !cancelled_;
    }
    /// The next task is notified in place of this one; the lock stays ours, as after every `wait`.
    void give_back() noexcept;

    inline TaskCore* cancel() noexcept override;
    WaitInfo describe() const noexcept override {
        return for_lock_ ? LockWait::describe() : WaitInfo{"condition"};
    }
    const Holder* awaited_holder(std::size_t index) const noexcept override {
        return for_lock_ ? LockWait::awaited_holder(index) : nullptr;
    }

private:
    friend class weft::Condition;
    friend class IntrusiveList<ConditionWait, NotifiedTag>;
    ListNode<NotifiedTag>& notice() noexcept { return *this; }
    /// It goes to the lock's queue; it is in no other.
    void ask_for_lock() noexcept;
    void leave() noexcept;
    void lose_lock(Abandoned& told) noexcept;
    [[noreturn]] void throw_orphaned();

    Condition* condition_;    // valid before the notification, and as long as we are in its list
    bool for_lock_ = false;   // in the lock's queue, or out of it with the lock
    bool cancelled_ = false;  // before the lock was ours again: the wait failed
    bool orphaned_ = false;
    mutable bool told_ = false;  // the task was told that it is cancelled, and has the lock
};

}  // namespace detail

/// The lock is locked.
inline void Condition::notify_first() noexcept {
    auto& waiter = static_cast<detail::ConditionWait&>(waiting_.front());
    static_cast<detail::QueueWait&>(waiter).unlink();
    notified_.push_back(waiter);
    waiter.ask_for_lock();
}

namespace detail {

inline ConditionWait::ConditionWait(Condition& condition,
                                    const std::source_location& place) noexcept
    : LockWait(*condition.lock_, place), condition_(&condition) {}

inline bool ConditionWait::await_ready() const {
    if (!lock().locked()) throw_runtime_error("Condition::wait: the lock is not locked");
    return false;
}

inline void ConditionWait::await_suspend(std::coroutine_handle<> handle) {
    if (!stop_here(handle)) {
        // Nothing began: the lock is still held.
        return;
    }
    condition_->waiting_.push_back(*this);
    lock().release();
}

inline void ConditionWait::ask_for_lock() noexcept {
    for_lock_ = true;
    const bool was_free = !lock().locked();
    queue().push_back(*this);
    if (was_free) {
        lock().pass_on();
    } else if (task_->loop->debug()) {
        report_deadlock(*task_);
    }
}

[[gnu::cold]] inline TaskCore* ConditionWait::cancel() noexcept {
    if (state() != State::queued || cancelled_) return nullptr;
    cancelled_ = true;
    if (!for_lock_) {
        static_cast<QueueWait&>(*this).unlink();
        ask_for_lock();
    } else if (notice().linked()) {
        notice().unlink();
        if (!condition_->waiting_.empty()) condition_->notify_first();
    }
    return nullptr;
}

[[gnu::cold]] inline void ConditionWait::give_back() noexcept {
    const bool was_notified = notice().linked();
    if (was_notified) notice().unlink();
    leave_queue();
    if (was_notified && !condition_->waiting_.empty()) condition_->notify_first();
}

/// The waiting coroutine is destroyed.
[[gnu::cold]] inline void ConditionWait::leave() noexcept {
    if (told_ && state() == State::granted) {
        leave_queue();
        return;
    }
    if (state() == State::queued && !for_lock_) {
        static_cast<QueueWait&>(*this).unlink();
        set_state(State::idle);
        return;
    }
    const bool takes_notification_along = notice().linked() && !cancelled_;
    if (notice().linked()) notice().unlink();
    if (takes_notification_along && (state() == State::queued || state() == State::granted) &&
        !condition_->waiting_.empty()) {
        condition_->notify_first();
    }
}

}  // namespace detail

inline Condition::~Condition() {
    if (!notified_.empty() || !waiting_.empty() || (own_ && own_->locked())) [[unlikely]]
        let_go();
}

inline detail::ConditionWait Condition::wait(std::source_location place) noexcept {
    return detail::ConditionWait(*this, place);
}

template <class Pred, class... Args>
auto Condition::wait_for(Pred pred, Args... args)
    -> Coro<std::remove_cvref_t<std::invoke_result_t<Pred&, Args&...>>> {
    static_assert(!detail::is_coro<std::remove_cvref_t<std::invoke_result_t<Pred&, Args&...>>>,
                  "weft: the predicate of a wait_for is an ordinary function");
    for (;;) {
        auto answer = pred(args...);
        if (answer) co_return answer;
        co_await wait();
    }
}

inline void Condition::notify(std::size_t count) {
    if (!lock_->locked()) [[unlikely]]
        detail::throw_runtime_error("Condition::notify: the lock is not locked");
    while (count-- > 0 && !waiting_.empty()) notify_first();
}

[[gnu::cold]] inline void detail::ConditionWait::lose_lock(Abandoned& told) noexcept {
    if (for_lock_ && state() == State::queued) {
        queue().erase(*this);
    } else {
        static_cast<QueueWait&>(*this).unlink();
    }
    orphaned_ = true;
    abandon(told);
}

[[gnu::cold]] inline void detail::ConditionWait::throw_orphaned() {
    const bool with_lock = state() != State::abandoned;
    if (with_lock || LockWait::await_cancelled()) finish_wait();
    throw_runtime_error(
        with_lock ? "weft: the condition was destroyed while a task waited for it"
                  : "weft: the condition was destroyed with its lock while a task waited for it");
}

[[gnu::cold]] inline void Condition::let_go() noexcept {
    if (own_) return lose_lock();
    while (!notified_.empty())
        notified_.pop_front();  // they are notified, and do not need the condition any more
    detail::Abandoned told{"condition"};
    while (!waiting_.empty()) {
        auto& waiter = static_cast<detail::ConditionWait&>(waiting_.front());
        told.count(waiter);
        static_cast<detail::QueueWait&>(waiter).unlink();
        waiter.orphaned_ = true;
        waiter.ask_for_lock();
    }
    told.report();
}

/// The tasks that wait have guards of the lock most likely, and these cannot be found. So the lock
/// is kept, empty, for as long as the thread lives: the program's mistake costs some memory, and a
/// guard that is released later does not touch memory that was freed.
[[gnu::cold]] inline void Condition::lose_lock() noexcept {
    detail::Abandoned told{"condition with its lock"};
    while (!notified_.empty()) notified_.pop_front().lose_lock(told);
    while (!waiting_.empty()) {
        static_cast<detail::ConditionWait&>(waiting_.front()).lose_lock(told);
    }
    told.report();
    own_->lose_owner();
    static thread_local std::vector<detail::Owned<Lock>> ownerless;
    try {
        ownerless.push_back(std::move(own_));
    } catch (const std::bad_alloc&) {
        (void)own_.release();  // then it is never freed at all
    }
}

}  // namespace weft
