// SPDX-License-Identifier: MIT
// WaitQueue: the tasks that wait on a primitive, first in, first out; the nodes are the awaiters.
#pragma once

#include <coroutine>
#include <cstddef>

#include "../loop.hpp"
#include "intrusive_list.hpp"
#include "task_core.hpp"

namespace weft::detail {

class WaitQueue;

/// The awaiter of a primitive. It is in the primitive's queue until it is granted (whoever grants
/// has then given it what it waited for) or cancelled (then it got nothing and never will).
/// Granted and cancelled afterwards is granted: the await returns, the cancel strikes at the next
/// suspension.
///
/// A frame that is destroyed after the grant and before its resumption never looks at what it was
/// given: a derived class whose grant is worth something gives it back in its destructor, when
/// `granted_and_not_taken()`.
class QueueWait : public Suspension, public ListNode<> {
public:
    TaskCore* cancel() noexcept override;
    WaitInfo describe() const noexcept override { return {what_}; }
    bool await_cancelled() const noexcept { return state_ == State::cancelled; }

    /// See WaitQueue. (Public, for a friend would see a destructor that is not virtual.)
    void grant() noexcept {
        unlink();
        state_ = State::granted;
        task_->loop->wake(*task_);
    }

protected:
    enum class State : unsigned char {
        idle,       // not in a queue: nothing began, or `await_resume` has taken the grant
        queued,     //
        granted,    // out of the queue, its task is ready
        cancelled,  // the same, with nothing given
    };

    /// `what`: for dumps ("lock"). The links and the task are set when it waits: most awaiters
    /// never do, and these are more than half of what it takes to make one.
    explicit QueueWait(const char* what) noexcept : ListNode(Unset()), what_(what) {}
    /// The frame may be destroyed while it waits.
    ~QueueWait() {
        if (state_ == State::queued) unlink();
    }

    /// For `await_suspend`: the current task stops here. A cancel that is pending strikes at once;
    /// then the task is ready again and in no queue.
    void wait_in(WaitQueue& queue, std::coroutine_handle<> handle);
    /// For `await_resume`.
    void finish_wait() {
        if (state_ == State::cancelled) [[unlikely]]
            task_->loop->throw_cancelled();
        state_ = State::idle;
    }
    bool granted_and_not_taken() const noexcept { return state_ == State::granted; }

    TaskCore* task_;

private:
    const char* what_;
    State state_ = State::idle;
};

/// Its owner may be destroyed by a task that was woken: nothing here touches the queue after a
/// wake-up (which only puts the task into the ready queue, in any case).
class WaitQueue {
public:
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
    static void grant(QueueWait& waiter) noexcept { waiter.grant(); }
    void grant_all() noexcept {
        while (!empty()) grant_first();
    }
    template <class Visit>
    void for_each(Visit&& visit) {
        waiting_.for_each(visit);
    }

private:
    IntrusiveList<QueueWait> waiting_;
};

inline TaskCore* QueueWait::cancel() noexcept {
    if (state_ == State::queued) {
        unlink();
        state_ = State::cancelled;
        task_->loop->wake(*task_);
    }
    return nullptr;
}

inline void QueueWait::wait_in(WaitQueue& queue, std::coroutine_handle<> handle) {
    EventLoop& loop = get_running_loop();
    task_ = &loop.suspend(handle, *this);
    if (task_->must_cancel) [[unlikely]] {
        state_ = State::cancelled;
        return loop.wake(*task_);
    }
    state_ = State::queued;
    queue.push_back(*this);
}

}  // namespace weft::detail
