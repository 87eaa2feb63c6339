// SPDX-License-Identifier: MIT
// WaitQueue: the tasks that wait on a primitive, first in, first out; the nodes are the awaiters.
#pragma once

#include <coroutine>
#include <cstddef>
#include <new>
#include <string>
#include <utility>

#include "../error.hpp"
#include "../loop.hpp"
#include "intrusive_list.hpp"
#include "ready_await.hpp"
#include "std_parts.hpp"
#include "task_core.hpp"

namespace weft::detail {

class WaitQueue;
class QueueWait;

/// How a primitive that is destroyed with tasks in its queue tells of it, in debug mode.
struct Abandoned {
    void count(const QueueWait& waiter) noexcept;
    void report() const noexcept;
    const char* name = nullptr;  // null: what the last one says that it waits for
    std::size_t waiters = 0;
    const QueueWait* last = nullptr;
};

/// The awaiter of a primitive. It is in the primitive's queue until it is granted (whoever grants
/// has then given it what it waited for) or cancelled (then it got nothing and never will).
/// Granted and cancelled afterwards is granted: the await returns, the cancel strikes at the next
/// suspension.
///
/// A frame that is destroyed after the grant and before its resumption never looks at what it was
/// given: a derived class whose grant is worth something gives it back in its destructor, when
/// `granted_and_not_taken()`. Where the primitive may be gone by then, see ReservingQueue.
class QueueWait : public Suspension, public ListNode<> {
public:
    enum class State : unsigned char {
        idle,       // not in a queue: nothing began, or `await_resume` has taken the grant
        queued,     //
        granted,    // its task is ready
        cancelled,  // the same, with nothing given
        abandoned,  // the same, because the primitive was destroyed
    };

    inline TaskCore* cancel() noexcept override;
    WaitInfo describe() const noexcept override { return {what()}; }
    /// For dumps and messages: "lock".
    virtual const char* what() const noexcept = 0;
    bool await_cancelled() const noexcept {
        return state_ == State::cancelled || (state_ == State::abandoned && task_->must_cancel);
    }

    /// For awaiters that give back (see GivesBack).
    bool holds_result() const noexcept { return state_ <= State::granted; }

    // For queues.

    TaskCore& task() const noexcept { return *task_; }
    /// For a queue that wakes the task of this one together with others.
    TaskCore& grant_unwoken() noexcept {
        state_ = State::granted;
        task_->waiting_on = nullptr;
        return *task_;
    }
    /// Out of the queue, or seen to otherwise. In debug mode the program ends here when this is not
    /// the thread of the waiting task's loop: two threads have touched the queue, and nobody can
    /// tell what is left of it.
    void grant() noexcept {
        if (task_->loop->debug()) [[unlikely]]
            return grant_checked();
        state_ = State::granted;
        EventLoop::wake_from_here(*task_);
    }
    /// The primitive goes, and has taken this one out of its queue: it waited there, or was granted
    /// and has not run.
    void abandon(Abandoned& told) noexcept;
    /// Granted without having waited, see `take_or_wait`.
    void grant_here(std::coroutine_handle<> handle) noexcept {
        state_ = State::granted;
        task_ = &go_round(handle);
    }

protected:
    /// Without links: they are set when it waits. Most awaiters never do, and these stores would be
    /// half of what it takes to make one. So `linked()` means nothing before.
    QueueWait() noexcept : ListNode(Unset()) {}
    /// The frame may be destroyed while it waits.
    ~QueueWait() {
        if (state_ == State::queued) [[unlikely]]
            unlink();
    }

    /// For `await_suspend`: the current task stops here. A cancel that is pending strikes at once;
    /// then the task is ready again and in no queue.
    void wait_in(WaitQueue& queue, std::coroutine_handle<> handle);
    /// The same up to the queue. False: a cancel was pending.
    bool stop_here(std::coroutine_handle<> handle);
    /// Debug mode: nothing here may be touched by two threads.
    template <class Queue>
    static void check_same_loop(Queue& queue);
    /// For `await_resume`.
    void finish_wait() {
        if (state_ > State::granted) [[unlikely]]
            throw_not_granted();
        state_ = State::idle;
    }
    State state() const noexcept { return state_; }
    void set_state(State state) noexcept { state_ = state; }
    bool granted_and_not_taken() const noexcept { return state_ == State::granted; }

    TaskCore* task_;

private:
    [[noreturn]] void throw_not_granted() const;
    void grant_checked() noexcept;
    void wait_in_checked(WaitQueue& queue, std::coroutine_handle<> handle);

    State state_ = State::idle;
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
    /// Those who wait now.
    void grant_all() noexcept {
        if (!empty()) grant_everyone();
    }
    void forget_all() noexcept { waiting_.forget_all(); }
    template <class Visit>
    void for_each(Visit&& visit) {
        waiting_.for_each(visit);
    }

private:
    void grant_everyone() noexcept;
    void grant_one_by_one() noexcept;
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
    ~LazyWait() {
        if (began_) std::destroy_at(&wait_);
    }
    template <class... Args>
    Wait& begin(Args&&... args) noexcept {
        std::construct_at(&wait_, std::forward<Args>(args)...);
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
    if (state_ == State::queued) {
        unlink();
        state_ = State::cancelled;
        task_->loop->wake(*task_);
    }
    return nullptr;
}

[[gnu::cold, gnu::noinline]] inline void QueueWait::grant_checked() noexcept {
    task_->loop->check_thread(what());
    state_ = State::granted;
    task_->loop->wake(*task_);
}

inline bool QueueWait::stop_here(std::coroutine_handle<> handle) {
    EventLoop& loop = get_running_loop();
    task_ = &loop.suspend(handle, *this);
    if (task_->must_cancel) [[unlikely]] {
        state_ = State::cancelled;
        loop.wake(*task_);
        return false;
    }
    state_ = State::queued;
    return true;
}

template <class Queue>
[[gnu::cold, gnu::noinline]] void QueueWait::check_same_loop(Queue& queue) {
    if (!queue.empty() && queue.front().task_->loop != &get_running_loop())
        throw_runtime_error("weft: tasks of two event loops wait for the same object");
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

/// The links of the ready queue are set here, half of what a push for each would cost, and from
/// both ends at once: each step waits for the next node to come from memory, and so two come at the
/// same time.
inline void WaitQueue::grant_everyone() noexcept {
    QueueWait* left = &waiting_.front();
    QueueWait* right = &waiting_.back();
    EventLoop& loop = *left->task().loop;
    if (loop.debug()) [[unlikely]]
        loop.check_thread(left->what());
    TaskCore& first = left->grant_unwoken();
    TaskCore& last = right->grant_unwoken();
    TaskCore* before = &first;
    TaskCore* after = &last;
    bool same_loop = last.loop == &loop;
    while (left != right && &waiting_.after(*left) != right) {
        left = &waiting_.after(*left);
        TaskCore& next = left->grant_unwoken();
        before->next_ready = &next;
        before = &next;
        same_loop &= next.loop == &loop;
        if (&waiting_.after(*left) == right) break;
        right = &waiting_.before(*right);
        TaskCore& previous = right->grant_unwoken();
        previous.next_ready = after;
        after = &previous;
        same_loop &= previous.loop == &loop;
    }
    if (!same_loop) [[unlikely]]
        return grant_one_by_one();
    before->next_ready = after;  // to itself for a moment, when there is one
    waiting_.forget_all();
    loop.wake_chain(first, last);
}

/// Of several loops of one thread, which debug mode refuses.
[[gnu::cold, gnu::noinline]] inline void WaitQueue::grant_one_by_one() noexcept {
    while (!empty()) grant_first();
}

[[gnu::cold]] inline void QueueWait::throw_not_granted() const {
    if (await_cancelled()) task_->loop->throw_cancelled();
    throw RuntimeError(std::string("weft: the ") + what() +
                       " was destroyed while a task waited for it");
}

[[gnu::cold]] inline void QueueWait::abandon(Abandoned& told) noexcept {
    task_->loop->check_thread(what());
    if (state_ == State::queued) task_->loop->wake(*task_);
    state_ = State::abandoned;
    told.count(*this);
}

[[gnu::cold]] inline void Abandoned::count(const QueueWait& waiter) noexcept {
    if (waiter.task().must_cancel) return;  // it leaves in any case
    ++waiters;
    last = &waiter;
}

/// Not one by one: a thousand waiters are one mistake.
[[gnu::cold]] inline void Abandoned::report() const noexcept {
    if (waiters == 0 || !last->task().loop->debug()) return;
    EventLoop& loop = *last->task().loop;
    try {
        const std::string text =
            concat({"a ", name ? name : last->what(), " was destroyed while ",
                    decimal(static_cast<long long>(waiters)),
                    waiters > 1 ? " tasks waited for it" : " task waited for it"});
        loop.call_exception_handler({text, nullptr, last->task().name()});
    } catch (const std::bad_alloc&) {
        loop.call_exception_handler({"an object was destroyed with waiters", nullptr, {}});
    }
}

[[gnu::cold]] inline void WaitQueue::abandon() noexcept {
    Abandoned told;
    while (!empty()) waiting_.pop_front().abandon(told);
    told.report();
}

}  // namespace weft::detail
