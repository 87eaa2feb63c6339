// SPDX-License-Identifier: MIT
// EventLoop: call_soon, call_later and the callbacks they schedule.
#pragma once

#include <exception>
#include <utility>

#include "../../base/owned.hpp"
#include "../../base/std_parts.hpp"
#include "../handle.hpp"
#include "event_loop.hpp"

namespace weft {

template <class F>
Handle EventLoop::call_soon(F&& fn) {
    check_open("call_soon");
    auto* const call = new detail::ScheduledCall(*this, std::forward<F>(fn));
    if (detail::ContextCore* const context = context_here()) [[unlikely]]
        call->context = detail::ContextRef(context);
    ready_.push(*call);
    return Handle(*call);
}

template <class F>
TimerHandle EventLoop::call_at_deadline(detail::Nanoseconds deadline, F&& fn) {
    check_open("call_at");
    detail::Owned<detail::ScheduledCall> call(
        new detail::ScheduledCall(*this, std::forward<F>(fn)));
    if (detail::ContextCore* const context = context_here()) [[unlikely]]
        call->context = detail::ContextRef(context);
    special_.world = true;
    timers_.insert(*call, deadline);
    return TimerHandle(*call.release());
}

inline void detail::ScheduledCall::run_or_drop(CallbackNode& node, Verb verb) noexcept {
    auto& call = static_cast<ScheduledCall&>(node);
    const bool comes_too_late = call.loop->is_ending() && !call.of_the_end;
    if (verb == Verb::run && !call.cancelled && !comes_too_late) {
        call.finished = true;
        const AmbientScope scope(call.context);
        try {
            call.fn();
        } catch (...) {
            call.loop->call_exception_handler(
                {"exception in a callback", std::current_exception(), {}});
        }
    }
    call.fn.reset();
    call.release();
}

/// Before the tasks that were woken by timers in this turn.
inline void EventLoop::push_due(detail::ReadyNode& callback) noexcept {
    if (late_timers_.running) [[unlikely]]
        return run_apart(callback);
    ready_.insert_after(before_woken_, callback);
    before_woken_ = &callback;
}

inline void detail::ScheduledCall::due(Timer& timer) noexcept {
    auto& call = static_cast<ScheduledCall&>(timer);
    call.loop->push_due(call);
}

inline bool detail::ScheduledCall::is_ending(const EventLoop& loop) noexcept {
    return loop.is_ending();
}

inline void Handle::cancel() noexcept {
    if (!call_ || call_->cancelled || call_->finished) return;
    call_->cancelled = true;
    call_->fn.reset();
    if (call_->armed()) {
        call_->loop->disarm(*call_);
        call_->release();
    }
}

}  // namespace weft
