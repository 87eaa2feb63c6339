// SPDX-License-Identifier: MIT
// WaitQueue: the tasks that wait on a primitive, first in, first out; the nodes are the awaiters.
#pragma once

#include <coroutine>
#include <cstddef>
#include <new>
#include <utility>

#include "../base/intrusive_list.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/ready_await.hpp"
#include "../runtime/task_core.hpp"
#include "detail/grant_wait.hpp"

namespace weft::detail {

class WaitQueue;

/// The awaiter of a primitive with a queue.
class QueueWait : public GrantWait, public ListNode<> {
public:
    inline TaskCore* cancel() noexcept override;

protected:
    /// Without links: they are set when it waits. Most awaiters never do, and these stores would be
    /// half of what it takes to make one. So `linked()` means nothing before.
    QueueWait() noexcept : ListNode(Unset()) {}
    /// The frame may be destroyed while it waits.
    ~QueueWait() {
        if (state() == State::queued) [[unlikely]]
            unlink();
    }

    void wait_in(WaitQueue& queue, std::coroutine_handle<> handle);
    /// If it waits still.
    [[gnu::cold]] void turn_away() noexcept {
        if (state() != State::queued) return;
        unlink();
        GrantWait::turn_away();
    }

private:
    void wait_in_checked(WaitQueue& queue, std::coroutine_handle<> handle);
};

/// Its owner may be destroyed by a task that was woken: nothing here touches the queue after a
/// wake-up (which only puts the task into the ready queue, in any case).
///
/// Destroyed with tasks in it, it wakes each of them with a RuntimeError (a task that is being
/// cancelled gets its CancelledError), and says so in debug mode.
class WaitQueue {
public:
    WaitQueue() noexcept = default;
    WaitQueue(const WaitQueue&) = delete;
    WaitQueue& operator=(const WaitQueue&) = delete;
    ~WaitQueue() {
        if (!empty()) [[unlikely]]
            abandon();
    }

    bool empty() const noexcept { return waiting_.empty(); }
    QueueWait& front() noexcept { return waiting_.front(); }
    /// Walks the queue.
    std::size_t count() const noexcept {
        std::size_t waiters = 0;
        const_cast<IntrusiveList<QueueWait>&>(waiting_).for_each([&](QueueWait&) { ++waiters; });
        return waiters;
    }

    void push_back(QueueWait& waiter) noexcept { waiting_.push_back(waiter); }

    /// The first one leaves the queue and its task becomes ready; the caller has given it, or gives
    /// it now, what it waited for.
    QueueWait& grant_first() noexcept {
        QueueWait& waiter = waiting_.front();
        grant(waiter);
        return waiter;
    }
    static void grant(QueueWait& waiter) noexcept {
        waiter.unlink();
        waiter.grant();
    }
    void forget_all() noexcept { waiting_.forget_all(); }
    /// Everybody is told that the primitive is gone.
    [[gnu::cold]] void abandon(Abandoned& told) noexcept {
        while (!empty()) waiting_.pop_front().abandon(told);
    }
    template <class Visit>
    void for_each(Visit&& visit) {
        waiting_.for_each(visit);
    }

private:
    void abandon() noexcept;

    IntrusiveList<QueueWait> waiting_;
};

/// An await that mostly finds what it wants at once. The node is made only when the task stops:
/// what it stores would be half the cost of taking a free lock.
///
/// A derived awaiter calls `begin(...)` in `await_suspend`, and `finish()` in `await_resume`.
template <class Wait>
class LazyWait {
public:
    LazyWait(const LazyWait&) = delete;
    LazyWait& operator=(const LazyWait&) = delete;

    bool await_cancelled() const noexcept { return began_ && wait_.await_cancelled(); }
    bool holds_result() const noexcept { return !began_ || wait_.holds_result(); }

protected:
    LazyWait() noexcept {}
    /// (The destructor of a wait that is over does nothing but set pointers to vtables.)
    ~LazyWait() {
        if (began_ && !wait_.is_over()) std::destroy_at(&wait_);
    }
    template <class... Args>
    Wait& begin(Args&&... args) noexcept {
        if constexpr (sizeof...(args) == 0) {
            ::new (static_cast<void*>(&wait_)) Wait;  // with `Wait()` it would be zeroed before
        } else {
            std::construct_at(&wait_, std::forward<Args>(args)...);
        }
        began_ = true;
        return wait_;
    }
    void finish() {
        if (began_) wait_.finish();
    }
    bool began() const noexcept { return began_; }
    /// For `give_back`. The node gives back what it was granted. False: there was no wait.
    bool end_wait() noexcept {
        if (!began_) return false;
        began_ = false;
        std::destroy_at(&wait_);
        return true;
    }
    Wait& wait() noexcept { return wait_; }

private:
    union {
        Wait wait_;
    };
    bool began_ = false;
};

inline TaskCore* QueueWait::cancel() noexcept {
    if (state() == State::queued) {
        unlink();
        set_state(State::cancelled);
        task_->loop->wake(*task_);
    }
    return nullptr;
}

inline void QueueWait::wait_in(WaitQueue& queue, std::coroutine_handle<> handle) {
    if (get_running_loop().debug()) [[unlikely]]
        return wait_in_checked(queue, handle);
    if (stop_here(handle)) queue.push_back(*this);
}

// As a whole out of line: what is left has no call in it, so that the coroutine which it becomes
// part of saves no register at each of its resumptions.
[[gnu::cold, gnu::noinline]] inline void QueueWait::wait_in_checked(
    WaitQueue& queue, std::coroutine_handle<> handle) {
    check_same_loop(queue);
    if (stop_here(handle)) queue.push_back(*this);
}

[[gnu::cold]] inline void WaitQueue::abandon() noexcept {
    Abandoned told;
    abandon(told);
    told.report();
}

}  // namespace weft::detail
