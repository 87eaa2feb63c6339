// SPDX-License-Identifier: MIT
// EventLoop: where a turn meets the world: the kernel, other threads and time, which may be
// virtual.
#pragma once

#include <exception>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/std_parts.hpp"
#include "../context.hpp"
#include "../timer_heap.hpp"
#include "event_loop.hpp"
#include "inbox.hpp"
#include "loop_callbacks.hpp"

namespace weft {

/// The rest of a turn.
WEFT_INLINE void EventLoop::meet_the_world(bool hurry) {
    // 2. and 3. New operations go to the kernel in one batch, in the same entry that collects
    //    completions and, when nothing else is to do, sleeps until the next deadline.
    if (hurry) {
        if ((backend_->outstanding() > 0 && backend_->has_work()) || looks_) backend_->turn(0);
        looks_ = false;
    } else if (virtual_time_) {
        advance_virtual_time();
    } else {
        detail::Nanoseconds timeout = detail::no_deadline;
        if (!timers_.empty()) {
            timeout = std::max<detail::Nanoseconds>(timers_.first_deadline() - read_clock(), 0);
            hurry = timeout == 0;
        }
        enter_kernel(timeout);
    }

    // 4. Completions are queued by now; then what other threads posted, then due timers.
    if (!inbox_->empty()) queue_posts();
    if (!timers_.empty() && !late_timers_.queued) fire_timers(hurry);
    if (backend_->outstanding() == 0 && timers_.empty()) special_.world = false;
    if (hang_limit_ > 0) [[unlikely]]
        check_progress();
}

/// A turn that did not sleep and in which a step has read the clock does not read it again: a timer
/// that has come due since then is found by the next turn.
WEFT_INLINE void EventLoop::fire_timers(bool hurry) {
    const bool is_read = hurry && newest_reading_ > 0;
    const detail::Nanoseconds now =
        is_read ? newest_reading_ : (virtual_time_ ? virtual_now_ : detail::monotonic_now());
    newest_reading_ = 0;
    fire_due(now);
}

/// Callbacks run before the tasks that are woken in the same turn, whatever the order of the
/// deadlines: a task that a callback cancels must not have run because of its own deadline.
WEFT_INLINE void EventLoop::fire_due(detail::Nanoseconds now) {
    detail::ReadyNode* const last = ready_.last();
    before_woken_ = last;
    while (!timers_.empty() && timers_.first_deadline() <= now) {
        if (before_woken_ != last && timers_.first().waits_for_callbacks) [[unlikely]]
            return fire_after_callbacks(now);
        detail::Timer& timer = timers_.pop();
        timer.on_due(timer);
    }
}

/// A callback that was due first may move the deadline, or make what it guards complete. What is
/// left fires when those callbacks have run, and before the tasks that are woken.
[[gnu::cold]] WEFT_INLINE void EventLoop::fire_after_callbacks(detail::Nanoseconds now) noexcept {
    late_timers_.now = now;
    late_timers_.set_before = timers_.next_number();
    late_timers_.queued = true;
    push_due(late_timers_);
}
WEFT_INLINE void EventLoop::LateTimers::run(detail::CallbackNode& node, Verb verb) noexcept {
    auto& late = static_cast<LateTimers&>(node);
    late.queued = false;
    if (verb == Verb::run) late.loop->fire_late();
}
/// It is those callbacks' turn by now, so others that come between deadlines run at once: all that
/// was due takes one turn. What they set is for the next look.
[[gnu::cold]] WEFT_INLINE void EventLoop::fire_late() noexcept {
    late_timers_.running = true;
    while (!timers_.empty() && timers_.first_deadline() <= late_timers_.now &&
           timers_.first_number() < late_timers_.set_before) {
        detail::Timer& timer = timers_.pop();
        timer.on_due(timer);
    }
    late_timers_.running = false;
}

/// Time jumps only when nothing can happen without it: no task is ready, and what the kernel still
/// has, or another thread may do, stayed silent for a moment of real time (loopback traffic arrives
/// at once). While something works that ends by itself, a thread's job or an operation on a file,
/// time passes as it really does: nothing is late because of it, and what never ends holds up no
/// deadline. A limit of Duration::max() is none, and time does not jump to its end while anything
/// else may happen.
[[gnu::cold]] WEFT_INLINE void EventLoop::advance_virtual_time() {
    if (backend_->has_work()) backend_->turn(0);
    if (!ready_.empty()) return;
    if (timers_.empty() || timers_.first_deadline() == detail::no_deadline)
        return enter_kernel(detail::no_deadline);
    if (works_elsewhere()) {
        const detail::Nanoseconds left = timers_.first_deadline() - virtual_now_ - waited_;
        if (left > 0) {
            const detail::Nanoseconds began = detail::monotonic_now();
            enter_kernel(left);
            waited_ += detail::monotonic_now() - began;
            return;  // what has come is more than a deadline, which the next turn finds
        }
    } else if (backend_->outstanding() + thread_waits_ > 0) {
        waited_ = 0;
        const bool is_limit = timers_.first_deadline() < detail::longest_delay;
        if (!is_limit) return enter_kernel(detail::no_deadline);
        enter_kernel(virtual_grace_);
        if (!ready_.empty() || !inbox_->empty() || works_elsewhere()) return;
    }
    virtual_now_ = std::max(virtual_now_, timers_.first_deadline());
    waited_ = 0;
}

/// Real time that was waited counts as soon as somebody looks at the clock while there is still
/// something to be waited for. Where that has ended before, it took no time: so what is measured
/// around a thread's job alone is exact.
[[gnu::cold, gnu::noinline]] WEFT_INLINE detail::Nanoseconds EventLoop::virtual_now()
    const noexcept {
    if (waited_ > 0) {
        if (works_elsewhere()) virtual_now_ += waited_;
        waited_ = 0;
    }
    return virtual_now_;
}

WEFT_INLINE void EventLoop::enter_kernel(detail::Nanoseconds timeout) {
    arm_wake_up();
    if (timeout == 0) return backend_->turn(0);
    if (busy_poll_ > 0) {
        spin(std::min(timeout, busy_poll_));
        if (!ready_.empty() || !inbox_->empty()) return;
    }
    const bool is_stuck = hang_limit_ == 0 && timeout == detail::no_deadline &&
                          backend_->outstanding() == 0 && circles_step_ != step_;
    if (is_stuck) timeout = silence_before_look;
    if (hang_limit_ > 0) timeout = std::min(timeout, hang_limit_);
    // A post that arrives from here on writes to the eventfd, which the backend watches.
    if (!inbox_->prepare_to_sleep()) return;
    backend_->turn(timeout);
    inbox_->woke_up();
    if (is_stuck && ready_.empty() && inbox_->empty()) [[unlikely]]
        report_circle();
}

WEFT_INLINE void EventLoop::spin(detail::Nanoseconds limit) {
    const detail::Nanoseconds end = detail::monotonic_now() + limit;
    backend_->turn(0);
    while (ready_.empty() && inbox_->empty() && detail::monotonic_now() < end) {
        if (backend_->has_work()) backend_->turn(0);
    }
}

WEFT_INLINE void EventLoop::arm_wake_up() noexcept {
    if (wake_up_.state != detail::Operation::State::idle) return;
    wake_up_.fd = inbox_->event_fd();
    wake_up_.address = &wake_up_.count;
    wake_up_.length = sizeof wake_up_.count;
    wake_up_.background = true;
    if (backend_->start(wake_up_)) wake_up_.complete(wake_up_.result);
}

// The posts themselves are found in the inbox; reading the eventfd was all that mattered.
WEFT_INLINE void EventLoop::wake_up_arrived(detail::Operation&) noexcept {}

/// Posts run as one callback of the turn, in the order in which they came.
WEFT_INLINE void EventLoop::queue_posts() noexcept {
    if (posts_queued_) return;
    posts_queued_ = true;
    ready_.push(posts_);
}

WEFT_INLINE void EventLoop::PostBatch::run(detail::CallbackNode& node, Verb verb) noexcept {
    EventLoop& loop = *static_cast<PostBatch&>(node).loop;
    loop.posts_queued_ = false;
    if (verb == Verb::run) loop.run_posts(loop.inbox_->take_all());  // or else close() does
}

[[gnu::noinline]] WEFT_INLINE void EventLoop::run_posts(detail::TakenPosts posts) noexcept {
    detail::UsedPosts used;
    posts.for_each([&](detail::Post& post) {
        detail::ContextRef none;
        const detail::AmbientScope scope(none);
        try {
            post.act(post, detail::Post::Verb::run);
        } catch (...) {
            call_exception_handler(
                {"exception in a callback posted by another thread", std::current_exception(), {}});
        }
        used.add(post);
    });
}

}  // namespace weft
