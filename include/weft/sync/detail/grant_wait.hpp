// SPDX-License-Identifier: MIT
// GrantWait: an await that ends when somebody grants it; the half of a primitive's awaiter that
// does not know how the waiters are linked.
#pragma once

#include <coroutine>
#include <cstddef>
#include <new>
#include <string>

#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/ready_await.hpp"
#include "../../runtime/task_core.hpp"

namespace weft::detail {

class GrantWait;

/// How a primitive that is destroyed with tasks in its queue tells of it, in debug mode.
struct Abandoned {
    void count(const GrantWait& waiter) noexcept;
    void report() const noexcept;
    const char* name = nullptr;  // null: what the last one says that it waits for
    std::size_t waiters = 0;
    const GrantWait* last = nullptr;
};

/// It is in the primitive's queue until it is granted (whoever grants has then given it what it
/// waited for) or cancelled (then it got nothing and never will). Granted and cancelled afterwards
/// is granted: the await returns, the cancel strikes at the next suspension.
///
/// A frame that is destroyed after the grant and before its resumption never looks at what it was
/// given: a derived class whose grant is worth something gives it back in its destructor, when
/// `granted_and_not_taken()`. Where the primitive may be gone by then, see ReservingQueue.
class GrantWait : public Suspension {
public:
    enum class State : unsigned char {
        idle,       // not in a queue: nothing began, or `await_resume` has taken the grant
        queued,     //
        granted,    // its task is ready
        cancelled,  // the same, with nothing given
        abandoned,  // the same, because the primitive was destroyed
    };

    WaitInfo describe() const noexcept override { return {what()}; }
    /// For dumps and messages: "lock".
    virtual const char* what() const noexcept = 0;
    [[gnu::cold]] std::string await_object() const { return what(); }
    bool await_cancelled() const noexcept {
        return state_ == State::cancelled || (state_ == State::abandoned && task_->must_cancel);
    }
    /// For awaiters that give back (see GivesBack).
    bool holds_result() const noexcept { return state_ <= State::granted; }
    /// Nothing began, or what was granted is taken.
    bool is_over() const noexcept { return state_ == State::idle; }

    // For queues.

    TaskCore& task() const noexcept { return *task_; }
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
    /// Granted without having waited, see `wait_or_go_round`.
    void grant_here(std::coroutine_handle<> handle) noexcept {
        state_ = State::granted;
        task_ = &go_round(handle);
    }

protected:
    GrantWait() noexcept = default;
    ~GrantWait() = default;

    /// The wait has ended because what was waited for is gone. Throws what says so.
    inline virtual void throw_abandoned() const;
    /// The wait has ended by `turn_away`, and no cancel came with it.
    bool was_turned_away() const noexcept {
        return state_ == State::abandoned && !task_->must_cancel;
    }
    /// Out of its queue. What it waits in is gone for it (an end that was closed), and not for
    /// others.
    void turn_away() noexcept {
        state_ = State::abandoned;
        task_->loop->wake(*task_);
    }
    /// For `await_suspend`: the same before the wait has begun.
    void turn_away_at_once(std::coroutine_handle<> handle) {
        if (stop_here(handle)) turn_away();
    }

    /// For `await_suspend`: the current task stops here, and goes into a queue. False: a cancel was
    /// pending and strikes at once; the task is ready again.
    bool stop_here(std::coroutine_handle<> handle);
    /// Debug mode: nothing here may be touched by two threads.
    template <class Queue>
    static void check_same_loop(Queue& queue);
    /// For `await_resume`.
    void finish_wait() {
        check_leftover();
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

    State state_ = State::idle;
};

[[gnu::cold, gnu::noinline]] inline void GrantWait::grant_checked() noexcept {
    task_->loop->check_thread(what());
    state_ = State::granted;
    task_->loop->wake(*task_);
}

inline bool GrantWait::stop_here(std::coroutine_handle<> handle) {
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
[[gnu::cold, gnu::noinline]] void GrantWait::check_same_loop(Queue& queue) {
    if (!queue.empty() && queue.front().task_->loop != &get_running_loop())
        throw_runtime_error(
            {"weft: tasks of two event loops wait for the same ", queue.front().what()});
}

[[gnu::cold]] inline void GrantWait::throw_abandoned() const {
    throw_runtime_error({"weft: the ", what(), " was destroyed while a task waited for it"});
}

#if WEFT_BODIES
[[gnu::cold]] WEFT_INLINE void GrantWait::throw_not_granted() const {
    if (await_cancelled()) task_->loop->throw_cancelled();
    throw_abandoned();
    __builtin_unreachable();
}

[[gnu::cold]] WEFT_INLINE void GrantWait::abandon(Abandoned& told) noexcept {
    task_->loop->check_thread(what());
    if (state_ == State::queued) task_->loop->wake(*task_);
    state_ = State::abandoned;
    told.count(*this);
}

[[gnu::cold]] WEFT_INLINE void Abandoned::count(const GrantWait& waiter) noexcept {
    if (waiter.task().must_cancel) return;  // it leaves in any case
    ++waiters;
    last = &waiter;
}

/// Not one by one: a thousand waiters are one mistake.
[[gnu::cold]] WEFT_INLINE void Abandoned::report() const noexcept {
    if (waiters == 0 || !last->task().loop->debug()) return;
    EventLoop& loop = *last->task().loop;
    try {
        const std::string_view what = name ? name : last->what();
        const std::string text =
            concat({what.find_first_of("aeiou") == 0 ? "an " : "a ", what, " was destroyed while ",
                    decimal(static_cast<long long>(waiters)),
                    waiters > 1 ? " tasks waited for it" : " task waited for it"});
        loop.call_exception_handler({text, nullptr, last->task().name()});
    } catch (const std::bad_alloc&) {
        loop.call_exception_handler({"an object was destroyed with waiters", nullptr, {}});
    }
}
#endif

}  // namespace weft::detail
