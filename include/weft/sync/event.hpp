// SPDX-License-Identifier: MIT
// Event: a flag that tasks wait for; setting it wakes all of them.
#pragma once

#include <cstddef>

#include "gate.hpp"

namespace weft {

struct EventStatistics {
    explicit EventStatistics(std::size_t waiting) noexcept : waiters(waiting) {}
    std::size_t waiters;
};

namespace detail {
class EventAwaiter;
}  // namespace detail

/// A flag that tasks wait for. It stays set until it is cleared.
///
/// Destroyed with tasks that wait, it wakes them with a RuntimeError. Those whom `set` has woken do
/// not need it any more, even if they have not run yet.
/// Thread:   loop thread only.
class Event {
public:
    Event() noexcept = default;

    /// Wakes every task that waits now, even if it is cleared before they run. Takes the same time
    /// however many they are.
    void set() noexcept { gate_.open(); }
    void clear() noexcept { gate_.close(); }
    bool is_set() const noexcept { return gate_.is_open(); }

    /// Waits until it is set. When it is, it does not suspend, except where its task has made 128
    /// such awaits in one go (see BasicQueue).
    /// Throws:   RuntimeError when the event is destroyed meanwhile; CancelledError.
    /// Cancel:   leaves the queue; after `set` it returns, and the cancel strikes at the next
    ///           suspension.
    detail::EventAwaiter wait() noexcept;

    EventStatistics statistics() const noexcept { return EventStatistics(gate_.count()); }

private:
    detail::Gate gate_;
};

namespace detail {

class [[nodiscard]] [[gnu::warn_unused]] EventAwaiter final : public OpenWait {
public:
    explicit EventAwaiter(Gate& gate) noexcept : OpenWait(gate) {}
    const char* what() const noexcept override { return "event"; }
};

}  // namespace detail

inline detail::EventAwaiter Event::wait() noexcept { return detail::EventAwaiter(gate_); }

}  // namespace weft
