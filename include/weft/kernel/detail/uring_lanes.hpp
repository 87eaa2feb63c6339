// SPDX-License-Identifier: MIT
// UringLanes: who is with the kernel, by descriptor and direction.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../base/table.hpp"
#include "../operation.hpp"

namespace weft::detail {

/// What the ring's side knows of an operation, in Operation::backend_bits.
struct UringBits {
    // What the submission in flight for it is.
    static constexpr std::uint8_t as_itself = 0;
    static constexpr std::uint8_t as_poll = 1;      // waits for readiness after an EAGAIN
    static constexpr std::uint8_t as_retry = 2;     // was interrupted and goes again
    static constexpr std::uint8_t with_helper = 3;  // is with the helper threads
    static constexpr std::uint8_t what_it_is = 3;
    // And the lane that the operation belongs to.
    static constexpr std::uint8_t lane_in = 4;
    static constexpr std::uint8_t lane_out = 8;
    static constexpr std::uint8_t pooled = 16;     // receives into a buffer of the pool
    static constexpr std::uint8_t postponed = 32;  // complete, see `Backend::postpone`
    // How often the kernel did not begin it, see `was_not_begun`.
    static constexpr std::uint8_t once_refused = 64;
    static constexpr std::uint8_t all_times_refused = 192;
};

/// Reads of one descriptor are served in the order in which they were asked for, and so are
/// writes. The kernel would wake the newest waiter first, so it gets one a direction at a time.
///
/// Invariants: a lane is null or holds the one operation of its direction that is queued or in
/// flight; who comes later is held back by the backend. An operation with a lane bit has a lane in
/// the table, which never shrinks.
class UringLanes {
public:
    /// Of one descriptor; two on a cache line.
    struct alignas(32) Lanes {
        Operation* of[2] = {nullptr, nullptr};  // in, out
        std::uint64_t sent_in = 0;              // the turn in which a send was completed last
        // Sends to be tried at once although they do not follow another: it has sent in a row.
        std::uint16_t at_once = 0;
        std::uint16_t sends = 0;       // of a stream's, see UringDirect
        std::uint8_t entry_flags = 0;  // IOSQE_FIXED_FILE: the ring holds it
    };
    enum : unsigned { in, out };

    /// Null: nothing was ever asked of this number.
    Lanes* find(int fd) noexcept {
        const auto index = static_cast<std::uint32_t>(fd);
        return index < lanes_.size() ? &lanes_[index] : nullptr;
    }
    /// The same for the number of an operation that has a lane.
    Lanes& at(const Operation& op) noexcept { return lanes_[static_cast<std::uint32_t>(op.fd)]; }
    static unsigned direction_of(const Operation& op) noexcept {
        return (op.backend_bits & UringBits::lane_in) != 0 ? in : out;
    }
    static constexpr std::uint8_t bit_of(unsigned direction) noexcept {
        return direction == in ? UringBits::lane_in : UringBits::lane_out;
    }

    /// Where the operation's descriptor keeps the one that the kernel has; null for those that may
    /// go side by side (polls, reads at an offset), which the backend lists.
    Operation** choose(Operation& op) noexcept {
        bool reads = false;
        switch (op.code) {
            case OpCode::recv:
            case OpCode::recv_pooled:
            case OpCode::recvmsg:
            case OpCode::accept:
                reads = true;
                break;
            case OpCode::send:
            case OpCode::sendmsg:
            case OpCode::shutdown:
            case OpCode::connect:
                break;
            case OpCode::read:
            case OpCode::write:
            case OpCode::readv:
            case OpCode::writev:
                if (op.offset != current_position) return nullptr;
                reads = op.code == OpCode::read || op.code == OpCode::readv;
                break;
            default:
                return nullptr;
        }
        if (static_cast<std::uint32_t>(op.fd) >= lanes_.size() && !make(op.fd)) return nullptr;
        op.backend_bits = bit_of(reads ? in : out);
        return of(op);
    }
    /// Of an operation that has one.
    Operation** of(const Operation& op) noexcept { return &at(op).of[direction_of(op)]; }
    static bool has_lane(const Operation& op) noexcept {
        return (op.backend_bits & (UringBits::lane_in | UringBits::lane_out)) != 0;
    }

    template <class Fn>
    void for_each(Fn fn) {
        for (Lanes& lanes : lanes_) fn(lanes);
    }

private:
    static constexpr std::size_t largest_tracked = std::size_t{1} << 24;

    [[gnu::cold]] bool make(int fd) noexcept {
        const auto index = static_cast<std::size_t>(fd);
        if (fd < 0 || index > largest_tracked) return false;  // EBADF, or a very unusual limit
        return lanes_.reach(index);
    }

    Table<Lanes> lanes_;
};

}  // namespace weft::detail
