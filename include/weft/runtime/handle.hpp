// SPDX-License-Identifier: MIT
// Handle, TimerHandle: what call_soon and call_later return; cancels the callback.
#pragma once

#include <cstdint>
#include <utility>

#include "../base/callback.hpp"
#include "../base/clock.hpp"
#include "../base/frame_allocator.hpp"
#include "context.hpp"
#include "detail/ready_queue.hpp"
#include "timer_heap.hpp"

namespace weft {
class EventLoop;

namespace detail {

/// A callback in the ready queue or behind a timer. The loop holds a reference while it is in
/// either, a Handle holds another.
struct ScheduledCall final : CallbackNode, Timer, Recycled {
    template <class F>
    ScheduledCall(EventLoop& on, F&& f)
        : CallbackNode(&run_or_drop),
          Timer(&due),
          loop(&on),
          of_the_end(is_ending(on)),
          fn(std::forward<F>(f)) {}

    void release() noexcept {
        if (--refs == 0) delete this;
    }
    static void run_or_drop(CallbackNode& node, Verb verb) noexcept;
    static void due(Timer& timer) noexcept;
    static bool is_ending(const EventLoop& loop) noexcept;

    EventLoop* loop;
    std::uint32_t refs = 1;  // the loop's
    bool cancelled = false;
    bool finished = false;
    bool of_the_end;  // scheduled while the loop ended: others do not run any more then
    ContextRef context;
    Callback<void()> fn;
};

}  // namespace detail

/// Refers to a scheduled callback; letting go of it changes nothing.
class Handle {
public:
    Handle() noexcept = default;
    explicit Handle(detail::ScheduledCall& call) noexcept : call_(&call) { ++call.refs; }
    Handle(Handle&& other) noexcept : call_(std::exchange(other.call_, nullptr)) {}
    Handle& operator=(Handle&& other) noexcept {
        std::swap(call_, other.call_);
        return *this;
    }
    ~Handle() {
        if (call_) call_->release();
    }

    /// The callback will not run, and what it captured is destroyed now. Idempotent.
    void cancel() noexcept;
    bool cancelled() const noexcept { return call_ && call_->cancelled; }

protected:
    detail::ScheduledCall* call_ = nullptr;
};

/// A Handle with a deadline.
class TimerHandle : public Handle {
public:
    using Handle::Handle;
    TimePoint when() const noexcept {
        return call_ ? detail::to_time_point(call_->deadline) : TimePoint();
    }
};

}  // namespace weft
