// SPDX-License-Identifier: MIT
// EventLoop: runs, turns and steps. A turn runs what is ready, then meets the world
// (loop_world.hpp).
#pragma once

#include <pthread.h>

#include <new>
#include <string>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../go_on.hpp"
#include "../task_core.hpp"
#include "event_loop.hpp"
#include "ready_queue.hpp"

namespace weft {

/// Marks the loop as this thread's running one, and puts things right however the run ends.
struct EventLoop::RunScope {
    explicit RunScope(EventLoop& on) : loop(on) {
        if (loop.closed_) loop.refuse_closed("run");
        if (detail::running_loop)
            detail::throw_runtime_error("run: an event loop is already running on this thread");
        if (!::pthread_equal(loop.thread_, ::pthread_self()))
            detail::throw_runtime_error("run: this event loop was made on another thread");
        loop.running_ = true;
        loop.last_progress_ = detail::monotonic_now();
        detail::running_loop = &loop;
    }
    RunScope(const RunScope&) = delete;
    RunScope& operator=(const RunScope&) = delete;
    ~RunScope() {
        loop.running_ = false;
        loop.stopping_ = false;
        detail::running_loop = nullptr;
    }
    EventLoop& loop;
    const detail::Interlude interlude;  // in the child of a fork, perhaps, at a coroutine's end
};

/// Waits like a done-callback. Nothing else runs in the turn in which the future ends: other tasks
/// may refer to what was in the coroutine's frame, and whether they are to go on is decided by
/// whoever has called.
struct EventLoop::EndOfRun : detail::CallbackNode, detail::FutureWaiter {
    explicit EndOfRun(detail::FutureCore& of) noexcept
        : CallbackNode(&ended), FutureWaiter(this), future(of) {
        if (!future.done()) future.waiters.push_back(*this);
    }
    ~EndOfRun() {
        if (next) future.waiters.erase(*this);
    }
    static void ended(CallbackNode& node, Verb verb) noexcept {
        auto& self = static_cast<EndOfRun&>(node);
        if (verb == Verb::ended) return self.future.loop->stop_chain();
        self.future.release();
    }
    detail::FutureCore& future;
};

[[gnu::cold]] WEFT_INLINE void EventLoop::stop_chain() noexcept {
    if (!rest_) return;
    detail::ReadyNode* last = rest_;
    while (last->next_ready) last = last->next_ready;
    ready_.push_chain_front(*std::exchange(rest_, nullptr), *last);
}

WEFT_INLINE void EventLoop::run_forever() {
    RunScope scope(*this);
    constexpr auto never = detail::FutureCore::State::pending;
    run_turns(never);
}

WEFT_INLINE void EventLoop::run_once() {
    RunScope scope(*this);
    turn(true);
}

WEFT_INLINE void EventLoop::run_once(const detail::FutureCore& future) {
    RunScope scope(*this);
    const EndOfRun end(const_cast<detail::FutureCore&>(future));
    run_ready();
    meet_the_world(future.done() || in_a_hurry());
}

WEFT_INLINE void EventLoop::run_until_done(detail::FutureCore& future) {
    if (future.loop != this) detail::throw_runtime_error("run: the future is of another loop");
    RunScope scope(*this);
    if (future.done()) return;
    const EndOfRun end(future);
    run_turns(future.state);
    if (!future.done())
        detail::throw_runtime_error("run: the event loop was stopped before the future was done");
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void EventLoop::wake_elsewhere(
    detail::TaskCore& task) noexcept {
    task.loop->wake(task);
}

WEFT_INLINE void EventLoop::tell(detail::FutureWaiter& waiter) noexcept {
    if (waiter.target->is_callback()) {
        auto& callback = static_cast<detail::CallbackNode&>(*waiter.target);
        callback.act(callback, detail::ReadyNode::Verb::ended);
    } else {
        wake(static_cast<detail::TaskCore&>(*waiter.target));
    }
}

WEFT_INLINE void EventLoop::complete(detail::FutureCore& future,
                                     detail::FutureCore::State state) noexcept {
    future.state = state;
    if (detail::FutureWaiter* const only = future.waiters.pop_only()) [[likely]]
        return tell(*only);
    if (!future.waiters.empty()) tell_all(future);
}

[[gnu::noinline]] WEFT_INLINE void EventLoop::tell_all(detail::FutureCore& future) noexcept {
    while (detail::FutureWaiter* const waiter = future.waiters.pop_front()) tell(*waiter);
}

/// Its coroutine has left an outcome, or is gone.
[[gnu::always_inline]] inline void EventLoop::finish(detail::TaskCore& task,
                                                     detail::FutureCore::State state) noexcept {
    current_ = nullptr;  // destructors and handlers run outside of tasks
    if (debug_) [[unlikely]]
        report_swallowed(task);
    detail::IntrusiveList<detail::TaskCore, detail::AllTasksTag>::erase_for_good(task);
    complete(task, state);
    task.release();
}

/// It never ran, or is destroyed where it stands.
[[gnu::cold, gnu::noinline]] WEFT_INLINE void EventLoop::end_unfinished(
    detail::TaskCore& task) noexcept {
    current_ = nullptr;
    task.waiting_on = nullptr;
    task.root.destroy();
    if (detail::TaskExtras* const extras = task.extras();
        extras && !extras->cancel_message.empty()) {
        task.typed->set_cancelled(
            task, std::make_exception_ptr(CancelledError(std::move(extras->cancel_message))));
    }
    finish(task, detail::FutureCore::State::cancelled);
}

/// Leaves `current_` to its caller, which knows what comes next.
[[gnu::always_inline]] inline void EventLoop::run_task(detail::TaskCore& task) {
    current_ = &task;
    if (task.waiting_on) [[unlikely]]
        std::exchange(task.waiting_on, nullptr)->resumed();
    const bool over = detail::run_step(task.coroutine);
    if (over) finish(task, static_cast<detail::FutureCore::State>(task.outcome_kind()));
}

WEFT_INLINE void EventLoop::add_eager(detail::TaskCore& task) {
    tasks_.push_back(task);
    detail::TaskCore* const outer = current_;
    const detail::Interlude interlude;
    task.start();
    run_task(task);
    current_ = outer;
}

[[gnu::noinline]] WEFT_INLINE void EventLoop::run_instead(detail::TaskCore& task) noexcept {
    if (debug_) [[unlikely]]
        return wake(task);  // later, as a step that has a name
    task.waiting_on = nullptr;
    run_task(task);
}

[[gnu::always_inline]] inline void EventLoop::run_node(detail::ReadyNode& node) {
    ++step_;
    detail::ready_awaits_left = ready_awaits_per_step;
    if (node.is_marked()) [[unlikely]] {
        if (node.is_callback()) {
            current_ = nullptr;
            auto& callback = static_cast<detail::CallbackNode&>(node);
            return callback.act(callback, detail::ReadyNode::Verb::run);
        }
        auto& task = static_cast<detail::TaskCore&>(node);
        task.start();
        if (task.must_cancel) [[unlikely]] {
            task.must_cancel = false;
            return end_unfinished(task);
        }
    }
    run_task(static_cast<detail::TaskCore&>(node));
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void EventLoop::run_late(
    detail::ReadyNode& callback) noexcept {
    run_node(callback);
}

[[gnu::always_inline]] inline void EventLoop::run_chain(detail::ReadyNode* node) {
    if (debug_) [[unlikely]]
        return run_watched(node);
    while (node) {
        detail::ReadyNode* const next = rest_ = node->next_ready;
        // A chain that does not fit into the first cache would wait for memory at each step.
        if (next) __builtin_prefetch(next->next_ready);
        run_node(*node);
        node = rest_;  // (or none: the run is over)
    }
    current_ = nullptr;
}

[[gnu::noinline]] WEFT_INLINE void EventLoop::run_ready() { run_chain(ready_.take_all()); }

/// The same in debug mode, with a look at the clock around each step; and while the loop ends.
[[gnu::cold, gnu::noinline]] WEFT_INLINE void EventLoop::run_watched(detail::ReadyNode* node) {
    while (node) {
        rest_ = node->next_ready;
        // (Before: it may be gone afterwards.)
        std::string who;
        try {
            if (debug_ && !node->is_callback()) who = static_cast<detail::TaskCore&>(*node).name();
        } catch (const std::bad_alloc&) {
            // Nameless in a report, should there be one; what is queued must run.
        }
        if (ending_ && !node->is_marked()) {
            auto& task = static_cast<detail::TaskCore&>(*node);
            detail::resumes_leftover = task.is_left && task.must_cancel;
            task.is_left = false;
        }
        const detail::Nanoseconds began = debug_ ? detail::monotonic_now() : 0;
        run_node(*node);
        detail::resumes_leftover = false;
        current_ = nullptr;
        if (debug_) report_slow(began, who);
        node = rest_;
    }
}

/// Turns until `end` is not pending any more, or the loop is stopped; at least one.
[[gnu::noinline]] WEFT_INLINE void EventLoop::run_turns(const detail::FutureCore::State& end) {
    for (;;) {
        // 1. What was ready when the turn began, in order. What it makes ready waits for the next.
        run_chain(ready_.take_all());
        const bool over = stopping_ || end != detail::FutureCore::State::pending;
        if (!ready_.empty() && nothing_else()) [[likely]] {
            if (over) return;
            continue;
        }
        meet_the_world(over || in_a_hurry());
        if (over) return;
    }
}

/// One turn, the same.
WEFT_INLINE void EventLoop::turn(bool hurry) {
    run_ready();
    meet_the_world(hurry || in_a_hurry());
}

}  // namespace weft
