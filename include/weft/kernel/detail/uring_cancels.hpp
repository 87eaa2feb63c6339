// SPDX-License-Identifier: MIT
// UringCancels: operations that the kernel has and that are to end.
#pragma once

#include <liburing.h>

#include <cstdint>

#include "../../base/clock.hpp"
#include "../../base/std_parts.hpp"
#include "../operation.hpp"
#include "uring_ring.hpp"

namespace weft::detail {

/// A cancel finds nothing while its target is on the way from one queue of the kernel to the next;
/// then only another one ends it. So it is repeated after a sleep in which nothing came, or, in a
/// loop that does not sleep, after so many turns.
///
/// Invariants: an operation is in one of the two lists from its cancel to its completion, which
/// takes it out.
class UringCancels {
public:
    void add(Operation& op) noexcept { waiting_.push_back(op); }

    /// An operation that the kernel has not seen becomes one that does nothing. False: it has.
    [[gnu::cold, gnu::noinline]] static bool take_back(UringRing& ring,
                                                       const Operation& op) noexcept {
        const io_uring_sq& queue = ring->sq;
        for (unsigned at = *queue.khead; at != queue.sqe_tail; ++at) {
            io_uring_sqe& entry = queue.sqes[at & queue.ring_mask];
            if (entry.user_data != reinterpret_cast<std::uintptr_t>(&op)) continue;
            ::io_uring_prep_nop(&entry);
            ring.prepare_unattended(entry);
            return true;
        }
        return false;
    }

    bool empty() const noexcept { return waiting_.empty() && asked_.empty(); }
    /// Has the kernel still to be told of one?
    bool waiting() const noexcept { return !waiting_.empty(); }
    /// A cancel is answered in the entry that takes it there, as a rule: no sleep yet.
    bool have_news() const noexcept { return waiting() || (!asked_.empty() && turns_asked_ == 0); }

    void begin_turn(const UringRing& ring) noexcept {
        if (!asked_.empty()) [[unlikely]]
            ask_again(ring);
    }
    /// Writes them into the submission queue. False: there was no room for all.
    bool fill(UringRing& ring) { return waiting_.empty() || fill_all(ring); }
    /// How long a turn may sleep that may sleep for `timeout`.
    Nanoseconds limit(Nanoseconds timeout) const noexcept {
        return asked_.empty() ? timeout : std::min(timeout, patience);
    }
    void heard_nothing() noexcept { turns_asked_ = most_turns_asked; }

private:
    static constexpr Nanoseconds patience = 10'000'000;
    static constexpr int most_turns_asked = 64 * 64;

    /// A turn counts little while completions are kept back: the answer may be among them, and to
    /// ask again would put another one behind them, for each that is asked for.
    [[gnu::cold, gnu::noinline]] void ask_again(const UringRing& ring) noexcept {
        turns_asked_ += ring.keeps_back() ? 1 : 64;
        if (turns_asked_ <= most_turns_asked) return;
        while (!asked_.empty()) waiting_.push_back(asked_.pop_front());
    }
    [[gnu::noinline]] bool fill_all(UringRing& ring) {
        while (!waiting_.empty()) {
            io_uring_sqe* const entry = ring.free_entry();
            if (!entry) return false;
            Operation& op = waiting_.pop_front();
            if (asked_.empty()) turns_asked_ = 0;
            asked_.push_back(op);
            ::io_uring_prep_cancel(entry, &op, 0);
            ring.prepare_unattended(*entry);
        }
        return true;
    }

    OperationList waiting_;  // for the next batch
    OperationList asked_;    // the kernel was told
    int turns_asked_ = 0;    // since the first of `asked_` came, in parts of 64
};

}  // namespace weft::detail
