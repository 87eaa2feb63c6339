// SPDX-License-Identifier: MIT
// Event: a flag that tasks wait for; setting it wakes all of them.
#pragma once

#include <coroutine>
#include <cstddef>

#include "detail/wait_queue.hpp"

namespace weft {

class Event;

struct EventStatistics {
    explicit EventStatistics(std::size_t waiting) noexcept : waiters(waiting) {}
    std::size_t waiters;
};

namespace detail {

class EventWait final : public QueueWait {
public:
    const char* what() const noexcept override { return "event"; }
    using QueueWait::wait_in;
    void finish() { finish_wait(); }
};

class [[nodiscard]] EventAwaiter final : public LazyWait<EventWait> {
public:
    explicit EventAwaiter(Event& event) noexcept : event_(event) {}
    bool await_ready() const noexcept { return may_go_on() && try_take(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    bool try_take() const noexcept;
    void begin_wait(std::coroutine_handle<> handle);
    void grant_here(std::coroutine_handle<> handle) noexcept { begin().grant_here(handle); }
    void await_resume() { finish(); }

private:
    Event& event_;
};

}  // namespace detail

/// Destroyed with tasks that wait, it wakes them with a RuntimeError. Those whom `set` has woken
/// are free of it already.
/// Thread:   loop thread only.
class Event {
public:
    Event() noexcept = default;

    /// Wakes every task that waits now, even if it is cleared before they run.
    void set() noexcept {
        set_ = true;
        queue_.grant_all();
    }
    void clear() noexcept { set_ = false; }
    bool is_set() const noexcept { return set_; }

    /// Does not suspend when it is set, unless its step has had its share (see BasicQueue).
    /// Throws:   RuntimeError when the event is destroyed meanwhile; CancelledError.
    /// Cancel:   leaves the queue; after `set` it returns, and the cancel strikes at the next
    ///           suspension.
    auto wait() noexcept { return detail::EventAwaiter(*this); }

    EventStatistics statistics() const noexcept { return EventStatistics(queue_.count()); }

private:
    friend class detail::EventAwaiter;
    bool set_ = false;
    detail::WaitQueue queue_;
};

inline bool detail::EventAwaiter::try_take() const noexcept { return event_.is_set(); }
inline void detail::EventAwaiter::begin_wait(std::coroutine_handle<> handle) {
    begin().wait_in(event_.queue_, handle);
}

}  // namespace weft
