// SPDX-License-Identifier: MIT
// EventLoop: runs, turns and steps. A turn runs what is ready, then meets the world
// (loop_world.hpp).
#pragma once

#include <pthread.h>

#include <cassert>
#include <coroutine>
#include <new>
#include <string>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/frame_allocator.hpp"
#include "../go_on.hpp"
#include "../task_core.hpp"
#include "event_loop.hpp"
#include "loop_groups.hpp"
#include "ready_queue.hpp"

namespace weft {

/// Marks the loop as this thread's running one, and puts things right however the run ends.
struct EventLoop::RunScope {
    explicit RunScope(EventLoop& on) : loop(on) {
        if (loop.closed_) loop.refuse_closed("run");
        if (detail::running_loop) detail::throw_loop_runs();
        if (!::pthread_equal(loop.thread_, ::pthread_self()))
            detail::throw_runtime_error("run: this event loop was made on another thread");
        if (loop.others_wait_) loop.end_wait();
        loop.running_ = true;
        loop.last_progress_ = detail::monotonic_now();
        detail::running_loop = &loop;
    }
    RunScope(const RunScope&) = delete;
    RunScope& operator=(const RunScope&) = delete;
    ~RunScope() {
        loop.running_ = false;
        loop.special_.stopping = loop.special_.over = false;
        detail::running_loop = nullptr;
        // A step may have thrown (a parameter's destructor, say): what was to run after it still
        // is.
        loop.current_ = nullptr;
        if (loop.rest_) [[unlikely]]
            loop.stop_chain();
    }
    EventLoop& loop;
    const detail::Interlude interlude;  // in the child of a fork, perhaps, at a coroutine's end
};

/// Waits like a done-callback, but is told at once: the turn is the run's last. Nothing else runs
/// in it: other tasks may refer to what was in the coroutine's frame, and whether they are to go on
/// is decided by whoever has called.
struct EventLoop::EndOfRun final : detail::CallbackNode, detail::FutureWaiter {
    explicit EndOfRun(detail::FutureCore& of) noexcept
        : CallbackNode(&ended), FutureWaiter(this), future(of) {
        if (!future.done()) future.waiters.push_back(*this);
    }
    EndOfRun(const EndOfRun&) = delete;
    EndOfRun& operator=(const EndOfRun&) = delete;
    ~EndOfRun() {
        if (next) future.waiters.erase(*this);
    }
    static void ended(CallbackNode& node, Verb verb) noexcept {
        detail::FutureCore& future = static_cast<EndOfRun&>(node).future;
        if (verb == Verb::drop) return future.release();
        future.loop->special_.over = true;
        future.loop->stop_chain();
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
    run_turns();
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

[[gnu::cold]] WEFT_INLINE void EventLoop::run_until_done(detail::FutureCore& future) {
    if (future.loop != this)
        detail::throw_runtime_error(
            {"run: ", detail::text_of(future), " is of another event loop"});
    RunScope scope(*this);
    if (future.done()) return;
    const EndOfRun end(future);
    run_turns();
    if (!future.done())
        detail::throw_runtime_error(
            {"run: the event loop was stopped before ", detail::text_of(future), " was done"});
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

/// Its coroutine has left an outcome, or is gone. Returns the one task that has waited for it, if
/// there is one: ready, and for the caller to queue before anything else becomes ready.
[[gnu::always_inline]] inline detail::TaskCore* EventLoop::finish(
    detail::TaskCore& task, detail::FutureCore::State state, detail::GroupCore* owner) noexcept {
    current_ = nullptr;  // destructors and handlers run outside of tasks
    if (debug()) [[unlikely]]
        report_swallowed(task);
    task.state = state;
    detail::TaskCore* heir = nullptr;
    if (owner) {
        heir = leave_group(task, *owner);
    } else if (task.listed) {
        detail::IntrusiveList<detail::TaskCore, detail::AllTasksTag>::erase_for_good(task);
    }
    if (detail::FutureWaiter* const only = task.waiters.pop_only()) {
        queue(std::exchange(heir, nullptr));
        if (only->target->is_callback()) {
            tell(*only);
        } else {
            heir = static_cast<detail::TaskCore*>(only->target);
            heir->waiting_on = nullptr;
        }
    } else if (!task.waiters.empty()) [[unlikely]] {
        queue(std::exchange(heir, nullptr));
        tell_all(task);
    }
    if (--task.refs > 0 || task.is_held_and_watched()) return heir;
    const detail::FutureCore::Typed& typed = *task.typed;
    if (typed.plain_size > 0 && task.ended_plainly()) [[likely]] {
        detail::release_frame(reinterpret_cast<char*>(&task) - typed.core_offset, typed.plain_size);
        return heir;
    }
    // Destructors may make others ready, who come after.
    queue(heir);
    typed.destroy(task);
    return nullptr;
}

/// The same where it may take its time: what stands in the turn as a part of it is large.
[[gnu::cold, gnu::noinline]] WEFT_INLINE detail::TaskCore* EventLoop::finish_apart(
    detail::TaskCore& task, detail::FutureCore::State state, detail::GroupCore* owner) noexcept {
    return finish(task, state, owner);
}

/// It never ran, or is destroyed where it stands.
[[gnu::cold, gnu::noinline]] WEFT_INLINE void EventLoop::end_unfinished(
    detail::TaskCore& task) noexcept {
    current_ = nullptr;
    task.waiting_on = nullptr;
    detail::GroupCore* const owner = task.owner();
    task.root.destroy();
    if (detail::TaskExtras* const extras = task.extras();
        extras && !extras->cancel_message.empty()) {
        task.typed->set_cancelled(
            task, std::make_exception_ptr(CancelledError(std::move(extras->cancel_message))));
    }
    queue(finish_apart(task, detail::FutureCore::State::cancelled, owner));
}

/// After a last step, see `run_step`.
template <EventLoop::Place place>
[[gnu::always_inline]] inline detail::TaskCore* EventLoop::finish_step(
    detail::TaskCore& task, std::uintptr_t over) noexcept {
    const auto state = static_cast<detail::FutureCore::State>(task.outcome_kind());
    auto* const owner = reinterpret_cast<detail::GroupCore*>(over & ~detail::task_is_over);
    if constexpr (place == Place::turn) {
        return finish(task, state, owner);
    } else {
        return finish_apart(task, state, owner);
    }
}

/// A step of a task that has suspended before. Leaves `current_` to its caller, which knows what
/// comes next; returns who goes on, see `finish`.
template <EventLoop::Place place>
[[gnu::always_inline]] inline detail::TaskCore* EventLoop::run_task(detail::TaskCore& task,
                                                                    std::coroutine_handle<> at) {
    assert(task.started() && !task.waiting_on && !task.done());
    current_ = &task;
    const std::uintptr_t over = detail::run_step(at);
    if (!over) [[likely]]
        return nullptr;
    return finish_step<place>(task, over);
}

/// From here on the list of all tasks has it, or its group's.
inline void EventLoop::list(detail::TaskCore& task) noexcept {
    task.listed = true;
    detail::GroupCore* const owner = task.owner();
    if (!owner) {
        tasks_.push_back(task);
    } else if (!owner->linked()) {
        groups_.push_back(*owner);
    }
}

/// Like `run_task`. The task counts as not started until its first suspension.
template <EventLoop::Place place>
[[gnu::always_inline]] inline detail::TaskCore* EventLoop::run_first_step(detail::TaskCore& task) {
    assert(!task.started() && !task.listed && !task.done());
    current_ = &task;
    if (const std::uintptr_t over = detail::run_step(task.root))
        return finish_step<place>(task, over);
    list(task);
    return nullptr;
}

WEFT_INLINE void EventLoop::add_eager(detail::TaskCore& task) {
    const detail::Interlude interlude;
    run_in_place(task);
}

WEFT_INLINE void EventLoop::begin(detail::TaskCore& task) {
    if (!starts_in_place()) return add(task);
    try {
        add_eager(task);
    } catch (...) {
        task.release();  // the handle that its maker does not get
        throw;
    }
}

/// The rest of `run_in_place`, where it is not simply done. Outside of tasks, like every end.
[[gnu::noinline]] WEFT_INLINE void EventLoop::end_first_step(detail::TaskCore& task,
                                                             std::uintptr_t over) noexcept {
    if (!over) return list(task);
    detail::TaskCore* const outer = std::exchange(current_, nullptr);
    queue(finish_step<Place::apart>(task, over));
    current_ = outer;
}

[[gnu::noinline]] WEFT_INLINE void EventLoop::run_instead(detail::TaskCore& task) noexcept {
    // Later: as a step that has a name, or one that is looked at.
    if (debug() || task.is_left) [[unlikely]]
        return wake(task);
    task.waiting_on = nullptr;
    queue(run_task<Place::turn>(task, task.coroutine));
}

/// See Strike.
[[gnu::cold, gnu::noinline]] WEFT_INLINE detail::TaskCore* EventLoop::run_struck(
    detail::TaskCore& task) {
    task.is_left = false;
    detail::resumes_leftover = task.must_cancel;
    current_ = &task;
    const std::uintptr_t over = detail::run_step(task.coroutine);
    detail::resumes_leftover = false;
    if (!over) return nullptr;
    return finish_step<Place::apart>(task, over);
}

template <EventLoop::Place place>
[[gnu::always_inline]] inline detail::TaskCore* EventLoop::run_node(detail::ReadyNode& node) {
    ++step_;
    detail::ready_awaits_left = ready_awaits_per_step;
    std::coroutine_handle<> at = node.coroutine;
    if (node.is_special()) [[unlikely]] {
        if (node.is_callback()) {
            current_ = nullptr;
            auto& callback = static_cast<detail::CallbackNode&>(node);
            callback.act(callback, detail::ReadyNode::Verb::run);
            return nullptr;
        }
        auto& task = static_cast<detail::TaskCore&>(node);
        if (node.is_ended()) [[unlikely]] {
            current_ = nullptr;
            tell_group_now(task, detail::ReadyNode::Verb::run);
            return nullptr;
        }
        if (node.is_unstarted()) [[likely]] {
            if (!task.must_cancel) [[likely]]
                return run_first_step<place>(task);
            task.must_cancel = false;
            end_unfinished(task);
            return nullptr;
        }
        task.pass_gate();
        if (task.is_left) [[unlikely]]
            return run_struck(task);
        at = task.coroutine;
    }
    return run_task<place>(static_cast<detail::TaskCore&>(node), at);
}

/// A step outside of the turn's chain.
[[gnu::cold, gnu::noinline]] WEFT_INLINE void EventLoop::run_apart(detail::ReadyNode& node) {
    queue(run_node<Place::apart>(node));
}

[[gnu::always_inline]] inline void EventLoop::run_chain(detail::ReadyNode* node) {
    if (debug()) [[unlikely]]
        return run_watched(node);
    while (node) {
        rest_ = node->next_ready;
        // A chain that does not fit into the first cache would wait for memory at each step.
        if (rest_) __builtin_prefetch(rest_->next_ready);
        detail::TaskCore* const heir = run_node<Place::turn>(*node);
        node = rest_;  // (or none: the run is over)
        if (!heir) continue;
        // Where the turn would end here and the next one find the heir and nothing else, that turn
        // begins at once: nobody who could tell is there.
        if (!node && ready_.empty() && !special_.any() && inbox_->empty()) {
            heir->next_ready = nullptr;
            node = heir;
        } else {
            ready_.push(*heir);
        }
    }
    current_ = nullptr;
}

/// One turn's, no more.
[[gnu::noinline]] WEFT_INLINE void EventLoop::run_ready() {
    special_.over = true;
    run_chain(ready_.take_all());
    special_.over = false;
}

/// The same in debug mode, with a look at the clock around each step; and while the loop ends.
[[gnu::cold, gnu::noinline]] WEFT_INLINE void EventLoop::run_watched(detail::ReadyNode* node) {
    while (node) {
        rest_ = node->next_ready;
        // (Before: it may be gone afterwards.)
        std::string who;
        try {
            if (debug() && !node->is_callback()) who = static_cast<detail::TaskCore&>(*node).name();
        } catch (const std::bad_alloc&) {
            // Nameless in a report, should there be one; what is queued must run.
        }
        if (ending_ && node->is_suspended()) {
            auto& task = static_cast<detail::TaskCore&>(*node);
            detail::resumes_leftover = task.is_left && task.must_cancel;
            task.is_left = false;
        }
        const detail::Nanoseconds began = debug() ? detail::monotonic_now() : 0;
        run_apart(*node);
        detail::resumes_leftover = false;
        current_ = nullptr;
        if (debug()) report_slow(began, who);
        node = rest_;
    }
}

/// Turns until the run is over, or the loop is stopped; at least one.
[[gnu::noinline]] WEFT_INLINE void EventLoop::run_turns() {
    for (bool over = false; !over;) {
        // 1. What was ready when the turn began, in order. What it makes ready waits for the next.
        do {
            run_chain(ready_.take_all());
        } while (!special_.any() && !ready_.empty() && inbox_->empty());  // quiet turns
        over = special_.stopping || special_.over;
        if (ready_.empty() || !nothing_else()) meet_the_world(over || in_a_hurry());
    }
}

/// One turn, the same.
WEFT_INLINE void EventLoop::turn(bool hurry) {
    run_ready();
    meet_the_world(hurry || in_a_hurry());
}

}  // namespace weft
