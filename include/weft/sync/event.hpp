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

class [[nodiscard]] [[gnu::warn_unused]] EventAwaiter final : public OpenWait {
public:
    explicit EventAwaiter(Gate& gate) noexcept : OpenWait(gate) {}
    const char* what() const noexcept override { return "event"; }
};

}  // namespace detail

/// Destroyed with tasks that wait, it wakes them with a RuntimeError. Those whom `set` has woken
/// are free of it already.
/// Thread:   loop thread only.
class Event {
public:
    Event() noexcept = default;

    /// Wakes every task that waits now, even if it is cleared before they run. Takes the same time
    /// however many they are.
    void set() noexcept { gate_.open(); }
    void clear() noexcept { gate_.close(); }
    bool is_set() const noexcept { return gate_.is_open(); }

    /// Does not suspend when it is set, unless its step has had its share (see BasicQueue).
    /// Throws:   RuntimeError when the event is destroyed meanwhile; CancelledError.
    /// Cancel:   leaves the queue; after `set` it returns, and the cancel strikes at the next
    ///           suspension.
    auto wait() noexcept { return detail::EventAwaiter(gate_); }

    EventStatistics statistics() const noexcept { return EventStatistics(gate_.count()); }

private:
    detail::Gate gate_;
};

}  // namespace weft
