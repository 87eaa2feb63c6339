// SPDX-License-Identifier: MIT
// EventLoop as a guest: another loop sleeps, and calls run_once.
#pragma once

#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/options.hpp"
#include "../../base/owned.hpp"
#include "../../base/std_parts.hpp"
#include "../../kernel/choose.hpp"
#include "event_loop.hpp"
#include "inbox.hpp"

namespace weft {

[[gnu::cold]] WEFT_INLINE int EventLoop::fd() {
    check_open("fd");
    if (backend_->pollable() < 0) make_pollable();
    return backend_->pollable();
}

/// A backend that can be waited on in the place of the one there is, which must not be in use.
[[gnu::cold]] WEFT_INLINE void EventLoop::make_pollable() {
    const bool listens = wake_up_.state != detail::Operation::State::idle;
    if (running_ || backend_->outstanding() > 0 || backend_->background() > (listens ? 1U : 0U))
        detail::throw_runtime_error("fd: the event loop has operations under way");
    if (listens) backend_->cancel(wake_up_);
    while (backend_->background() > 0) backend_->turn(detail::no_deadline);
    detail::Owned<detail::Backend> fresh =
        detail::choose_backend(BackendKind::uring, ring_entries_, true);
    fresh->explain(fresh->info().name, backend_->info().reason);
    backend_ = std::move(fresh);
}

[[gnu::cold]] WEFT_INLINE TimePoint EventLoop::next_deadline() {
    check_open("next_deadline");
    if (running_) detail::throw_runtime_error("next_deadline: the event loop is running");
    const detail::Nanoseconds now = peek_clock();
    detail::Nanoseconds timeout = detail::no_deadline;
    if (!timers_.empty() && timers_.first_deadline() != detail::no_deadline) {
        timeout = std::max<detail::Nanoseconds>(timers_.first_deadline() - now, 0);
    }
    if (in_a_hurry() || !hand_over(timeout)) return detail::to_time_point(now);
    if (timeout == detail::no_deadline) return TimePoint::max();
    return detail::to_time_point(detail::deadline_after(now, timeout));
}

/// What `enter_kernel` does before it sleeps. False: there is no time to sleep.
[[gnu::cold]] WEFT_INLINE bool EventLoop::hand_over(detail::Nanoseconds& timeout) {
    // What completes here is told as in a turn.
    struct Restore {
        EventLoop* const outer;
        ~Restore() { detail::running_loop = outer; }
    } const restore{std::exchange(detail::running_loop, this)};
    detail::Nanoseconds limit = timeout;
    do {
        arm_wake_up();
        others_wait_ = true;
        limit = backend_->begin_wait(timeout);
    } while (wake_up_.state == detail::Operation::State::idle && limit > 0);
    timeout = limit;
    return limit > 0 && ready_.empty() && inbox_->prepare_to_sleep();
}

[[gnu::cold]] WEFT_INLINE void EventLoop::end_wait() noexcept {
    others_wait_ = false;
    inbox_->woke_up();
    backend_->end_wait();
}

}  // namespace weft
