// SPDX-License-Identifier: MIT
// EventLoop: a cancel request and its way to what the task waits on.
#pragma once

#include <cstdint>
#include <new>
#include <string_view>
#include <utility>

#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../handle.hpp"
#include "../task_core.hpp"
#include "event_loop.hpp"
#include "loop_watches.hpp"

namespace weft {

WEFT_INLINE bool EventLoop::cancel(detail::TaskCore& task, std::string_view message) {
    check_thread("cancel");
    if (task.done()) return false;
    if (!message.empty() || task.extras()) task.make_extras().cancel_message = std::string(message);
    request_cancel(task);
    pass_on_cancel(task);
    return true;
}

WEFT_INLINE void EventLoop::request_cancel(detail::TaskCore& task) noexcept {
    if (task.cancel_requests < task.most_cancel_requests) ++task.cancel_requests;
    task.must_cancel = true;
    if (strikes()) [[unlikely]]
        strike(task);
}

/// A task that has not begun never will, and a clean-up comes to its end.
[[gnu::cold]] WEFT_INLINE bool EventLoop::strike(detail::TaskCore& task) noexcept {
    bool is_running = current_ == &task;
    for (const Interrupted* at = interrupted_; at; at = at->outer)
        is_running = is_running || at->task == &task;
    if (is_running || task.done() || !task.started() || task.in_clean_up) return false;
    task.is_left = struck_more_ = true;
    task.coroutine = detail::ReadyNode::at_gate(task.coroutine);  // to be looked at: see run_node
    return true;
}

[[gnu::cold]] WEFT_INLINE void EventLoop::strike_groups() noexcept {
    const auto strike_one = [this](detail::GroupCore& group) {
        group.tell(group, *current_, detail::ReadyNode::Verb::struck);
    };
    do {
        struck_more_ = false;
        groups_.for_each(strike_one);
        for_each_unlisted([&](detail::TaskCore& task) {
            if (detail::GroupCore* const group = task.owner()) strike_one(*group);
        });
    } while (struck_more_);
}

[[gnu::cold]] WEFT_INLINE void EventLoop::strike_again(detail::TaskCore& task) noexcept {
    const Strikes before = std::exchange(strikes_, Strikes::again);
    for (detail::TaskCore* at = &task; at && at->must_cancel && !at->is_left && strike(*at);)
        at = at->waiting_on ? at->waiting_on->cancel() : nullptr;
    strikes_ = before;
}

/// (Unless that has happened on the cancel's way.)
[[gnu::cold]] WEFT_INLINE void EventLoop::let_go(detail::TaskCore& task) noexcept {
    if (task.waiting_on) task.waiting_on->let_go();
}

[[gnu::noinline]] WEFT_INLINE void EventLoop::pass_on_cancel(detail::TaskCore& task) noexcept {
    // Brent's cycle detection: tasks may await each other in a circle, which nobody can leave
    // unless one of them is let go.
    const detail::CancelWay way(cancel_ways_);
    detail::TaskCore* at = &task;
    detail::TaskCore* from = nullptr;
    bool was_asked = false;
    detail::TaskCore* landmark = at;
    std::size_t steps = 0;
    std::size_t stretch = 1;
    while (at->waiting_on) {
        detail::TaskCore* const next = at->waiting_on->cancel();
        if (!next) return;
        if (next == at) [[unlikely]] {
            // It says that the cancel came back to it. That was no request more.
            if (--at->cancel_requests == 0 || (from && !was_asked)) at->must_cancel = false;
            return let_go(from ? *from : *at);
        }
        if (next == landmark) return let_go(*at);
        was_asked = next->must_cancel;
        request_cancel(*next);
        copy_cancel_message(*at, *next);
        from = at;
        at = next;
        if (++steps == stretch) {
            landmark = at;
            steps = 0;
            stretch *= 2;
        }
    }
}

[[gnu::cold]] WEFT_INLINE void EventLoop::copy_cancel_message(const detail::TaskCore& from,
                                                              detail::TaskCore& to) noexcept {
    const detail::TaskExtras* const extras = from.extras();
    if (!extras || extras->cancel_message.empty()) return;
    try {
        to.make_extras().cancel_message = extras->cancel_message;
    } catch (const std::bad_alloc&) {
        // The message is a courtesy; the cancel itself needs no memory.
    }
}

[[gnu::cold]] WEFT_INLINE void EventLoop::cancel_all(bool in_clean_up_too) noexcept {
    // To follow every chain of tasks from each of its members would take quadratic time.
    for_each_task([this, in_clean_up_too](detail::TaskCore& task) {
        if (task.in_clean_up && !in_clean_up_too) return;
        request_cancel(task);
        if (task.waiting_on) task.waiting_on->cancel();
    });
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void detail::throw_to_leftover() {
    running_loop->throw_cancelled();
}

/// What is scheduled is dropped unrun in the next turn: it may refer to what went with the main
/// coroutine. (The timers of tasks stay.)
[[gnu::cold]] WEFT_INLINE void EventLoop::drop_callbacks() noexcept {
    before_woken_ = ready_.last();
    timers_.fire_if(
        [](const detail::Timer& timer) { return timer.on_due == &detail::ScheduledCall::due; });
}

[[gnu::cold]] WEFT_INLINE void EventLoop::begin_end(bool in_clean_up_too) noexcept {
    if (std::exchange(ending_, true)) return;
    drop_callbacks();
    end_watches();
    for_each_task([in_clean_up_too](detail::TaskCore& task) {
        task.is_left = in_clean_up_too || !task.in_clean_up;
    });
    cancel_all(in_clean_up_too);
}

/// While `run` ends, after each turn: cancels the tasks that have appeared meanwhile. One that has
/// had its first step in this turn (`newest_before` to `newest_started`), and that nobody holds and
/// nobody awaits, is cancelled at once; others when nobody is left who was asked to end, and so
/// could still await them.
[[gnu::cold]] WEFT_INLINE void EventLoop::cancel_latecomers(std::uint32_t newest_before,
                                                            std::uint32_t newest_started) noexcept {
    // Somebody waits for it: the one that awaits it, or its group.
    const auto is_awaited = [](const detail::TaskCore& task) {
        return !task.waiters.empty() || task.owner();
    };
    const auto ends_by_itself = [](const detail::TaskCore& task) {
        const detail::TaskExtras* const extras = task.extras();
        return extras && extras->ends_by_itself;
    };
    // (The first one that is looked at says yes, as a rule.)
    const auto cleans_up = [&](const detail::TaskCore& task) {
        return task.cancel_requests > 0 || (task.in_clean_up && is_awaited(task));
    };
    bool some_clean_up = tasks_.any_of(cleans_up);
    if (!some_clean_up) {
        for_each_task([&](const detail::TaskCore& task) {
            some_clean_up = some_clean_up || cleans_up(task);
        });
    }
    if (some_clean_up && newest_before == newest_started) return;  // nobody has begun
    for_each_task([&](detail::TaskCore & task) __attribute__((cold)) {
        const std::uint32_t id = task.id();
        if (id > newest_started || ends_by_itself(task)) return;
        if (some_clean_up) {
            const bool is_forgotten = task.ref_count() == 1 && !is_awaited(task);
            if (id <= newest_before || !is_forgotten || task.cancel_requests > 0) return;
        }
        request_cancel(task);
        pass_on_cancel(task);
    });
}

/// Ends every wait of one task for another. True: there were some.
[[gnu::cold]] WEFT_INLINE bool EventLoop::let_go_of_tasks() noexcept {
    for_each_task([](detail::TaskCore& task) { let_go(task); });
    return !ready_.empty();
}

}  // namespace weft
