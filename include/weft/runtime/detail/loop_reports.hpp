// SPDX-License-Identifier: MIT
// EventLoop: what it says about failures, misuse, slow steps and live tasks.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../report.hpp"
#include "event_loop.hpp"

namespace weft {

[[gnu::cold]] WEFT_INLINE void EventLoop::call_exception_handler(
    const ExceptionContext& context) noexcept {
    if (!handler_) return detail::print_report(context);
    // Out of its place while it runs: a handler may install another one, itself included.
    ExceptionHandler handler = std::move(handler_);
    handler_.reset();
    handler_replaced_ = false;
    try {
        handler(context);
    } catch (...) {
        detail::print_report(context);
        detail::print_report({"exception in the exception handler", std::current_exception(), {}});
    }
    if (!handler_replaced_) handler_ = std::move(handler);
}

namespace detail {
/// Names are a courtesy: the report itself must not be lost for want of memory for them.
[[gnu::cold, gnu::noinline]] inline void name_task(ExceptionContext& context,
                                                   const TaskCore& task) noexcept {
    try {
        context.task_name = task.name();
        context.created_at = text_of(task.created_at());
    } catch (const std::bad_alloc&) {
    }
}
}  // namespace detail

[[gnu::cold]] WEFT_INLINE void EventLoop::report_task(const char* message,
                                                      const detail::TaskCore& task) noexcept {
    ExceptionContext context{message, nullptr, {}};
    detail::name_task(context, task);
    call_exception_handler(context);
}

[[gnu::cold]] WEFT_INLINE void EventLoop::report_callback(const char* message,
                                                          const detail::FutureCore& of) noexcept {
    ExceptionContext context{message, std::current_exception(), {}};
    if (of.is_task) detail::name_task(context, static_cast<const detail::TaskCore&>(of));
    call_exception_handler(context);
}

[[gnu::cold]] WEFT_INLINE void EventLoop::report_unretrieved(detail::FutureCore& future) noexcept {
    ExceptionContext context{future.is_task ? "a task failed and nobody retrieved its exception"
                                            : "a future's exception was never retrieved",
                             future.typed->exception(future),
                             {}};
    if (future.is_task) detail::name_task(context, static_cast<detail::TaskCore&>(future));
    // A handle may outlive its loop.
    if (is_live(future.loop)) return future.loop->call_exception_handler(context);
    detail::print_report(context);
}

[[gnu::cold]] WEFT_INLINE void EventLoop::refuse_other_thread(const char* call) const {
    if (::pthread_equal(thread_, ::pthread_self())) return;
    detail::throw_runtime_error(
        {call, ": this event loop belongs to another thread (use call_soon_threadsafe)"});
}

/// A callback cannot await: somebody has resumed a coroutine in one, and its task does not hear of
/// what is thrown here. So it is reported, too.
[[gnu::cold, gnu::noinline]] WEFT_INLINE void EventLoop::refuse_outside() const {
    const char* const text =
        "weft: awaited outside of a task: an awaiter that is not weft's has resumed a coroutine "
        "itself; what calls it back is to set a Future, which the coroutine awaits";
    if (running_) const_cast<EventLoop*>(this)->call_exception_handler({text + 6, nullptr, {}});
    detail::throw_runtime_error(text);
}

[[gnu::cold]] WEFT_INLINE void EventLoop::list_debugged() noexcept {
    const detail::Locked lock(detail::debugged_loops.mutex);
    is_debugged_ = true;
    next_debugged_ = std::exchange(detail::debugged_loops.first, this);
}

[[gnu::cold]] WEFT_INLINE void EventLoop::unlist_debugged() noexcept {
    const detail::Locked lock(detail::debugged_loops.mutex);
    EventLoop** link = &detail::debugged_loops.first;
    while (*link && *link != this) link = &(*link)->next_debugged_;
    if (*link) *link = next_debugged_;
}

/// As far as loops in debug mode go.
[[gnu::cold]] WEFT_INLINE bool EventLoop::lives_elsewhere(const EventLoop* loop) noexcept {
    if (is_live(loop)) return false;
    const detail::Locked lock(detail::debugged_loops.mutex);
    const EventLoop* other = detail::debugged_loops.first;
    while (other && other != loop) other = other->next_debugged_;
    return other != nullptr;
}

[[gnu::cold]] WEFT_INLINE void EventLoop::refuse_foreign_handle(
    const detail::FutureCore& future) noexcept {
    if (lives_elsewhere(future.loop)) {
        detail::throw_runtime_error(
            {"weft: a handle of ", future.is_task ? detail::text_of(future) : "a future",
             " was let go: its event loop belongs to another thread (see ConcurrentFuture)"});
    }
}
namespace detail {
[[gnu::cold, gnu::noinline]] WEFT_INLINE bool FutureCore::still_held() const noexcept {
    EventLoop::refuse_foreign_handle(*this);
    return ref_count() > 0;
}
}  // namespace detail

[[gnu::cold, gnu::noinline]] WEFT_INLINE void EventLoop::refuse_closed(const char* call) const {
    detail::throw_runtime_error(
        {call, is_parents_ ? ": the event loop belongs to the parent of this forked process"
                           : ": the event loop is closed"});
}

[[gnu::cold]] WEFT_INLINE void EventLoop::report_slow(detail::Nanoseconds began,
                                                      const std::string& who) noexcept {
    const detail::Nanoseconds took = detail::monotonic_now() - began;
    if (took < slow_callback_duration.count()) return;
    try {
        const std::string text =
            detail::concat({"a step took ", detail::decimal(took / 1'000'000), " ms"});
        call_exception_handler({text, nullptr, who});
    } catch (const std::bad_alloc&) {
        call_exception_handler({"a step was slow", nullptr, {}});
    }
}

namespace detail {
[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string text_of(const FutureCore& future) {
    if (!future.is_task) return "the future";
    return concat({"the task '", static_cast<const TaskCore&>(future).name(), "'"});
}
[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string text_of_wait(const Suspension& wait) {
    const WaitInfo info = wait.describe();
    if (info.text) return info.text(wait);
    if (info.on && info.on->is_task) {
        const TaskCore& task = static_cast<const TaskCore&>(*info.on);
        // One step further, and no more: tasks may wait for each other in a circle.
        const WaitInfo inner = task.waiting_on ? task.waiting_on->describe() : WaitInfo();
        const std::string text =
            inner.text ? inner.text(*task.waiting_on) : std::string(inner.what);
        // (Of a lock it is the task that holds it.)
        const bool is_held = std::string_view(info.what) != "task";
        return concat({info.what, is_held ? " held by '" : " '", task.name(), "'",
                       text.empty() ? "" : " (", text, text.empty() ? "" : ")"});
    }
    return concat({info.what, info.fd >= 0 ? " fd " : "",
                   info.fd >= 0 ? std::string_view(decimal(info.fd)) : ""});
}
/// A task's line of `EventLoop::dump`.
[[gnu::cold, gnu::noinline]] inline std::string text_of_task(const TaskCore& task, bool running) {
    WaitInfo info;
    const char* state = "";
    if (running) {
        state = "running";
    } else if (!task.started()) {
        state = "not started";
    } else if (!task.waiting_on) {
        state = "ready";
    } else {
        info = task.waiting_on->describe();
        state = "waits on ";
    }
    const bool on_file = info.fd >= 0;
    const bool on_task = info.on && info.on->is_task;
    const CreatedAt created_at = task.created_at();
    return concat({"  ", task.name(), ": ", state, info.what, on_file ? " (descriptor " : "",
                   on_file ? std::string_view(decimal(info.fd)) : "", on_file ? ")" : "",
                   on_task ? " " : "",
                   on_task ? static_cast<const TaskCore*>(info.on)->name() : std::string(),
                   task.must_cancel ? ", cancel requested" : "", created_at ? ", created at " : "",
                   text_of(created_at), "\n"});
}
[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string text_of(const CreatedAt& at) {
    if (!at) return {};
    return concat({reinterpret_cast<const char*>(at.file_name), ":",
                   decimal(static_cast<std::uint32_t>(at.line))});
}
}  // namespace detail

[[gnu::cold]] WEFT_INLINE std::string EventLoop::dump() const {
    std::string text;
    auto& loop = const_cast<EventLoop&>(*this);  // which visits without changing
    loop.for_each_task([&](detail::TaskCore& task) {
        text.append(detail::text_of_task(task, &task == current_));
    });
    return text;
}

/// Debug mode, when a task has ended.
[[gnu::cold, gnu::noinline]] WEFT_INLINE void EventLoop::report_swallowed(
    const detail::TaskCore& task) noexcept {
    if (task.outcome_kind() != detail::OutcomeKind::value) return;
    if (!task.delivered || task.cancel_requests == 0) return;
    report_task("a task swallowed its cancellation", task);
}

/// Tasks that are there already create others.
[[gnu::cold]] WEFT_INLINE void EventLoop::set_debug(bool on) {
    special_.debug = on;
    if (on && !is_debugged_) list_debugged();
    if (on) for_each_task([](detail::TaskCore& task) { task.hands_on = true; });
}

/// At the end of a turn, in loops with a hang limit.
[[gnu::cold]] WEFT_INLINE void EventLoop::check_progress() {
    const detail::Nanoseconds now = detail::monotonic_now();
    if (step_ != progress_step_ || !ready_.empty() || !inbox_->empty()) {
        progress_step_ = step_;  // one that computes for long is progress too
        last_progress_ = now;
    } else if (now - last_progress_ >= hang_limit_) {
        const std::string circle = circle_of_tasks();
        detail::throw_runtime_error({"nothing happened for ",
                                     detail::decimal(hang_limit_ / 1'000'000), " ms; ", circle,
                                     circle.empty() ? "" : "; ", "the tasks are:\n", dump()});
    }
}

}  // namespace weft
