// SPDX-License-Identifier: MIT
// UringRing: the ring itself: the ladder of its set-up, what the kernel grants, and how it is
// entered and waited for.
#pragma once

#include <liburing.h>

#include <cerrno>
#include <cstdint>
#include <ctime>

#include "../../base/clock.hpp"
#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../base/std_parts.hpp"
#include "../backend.hpp"
#include "quiet_write.hpp"
#include "uring_flags.hpp"
#include "uring_submission.hpp"

namespace weft::detail {

/// Invariants: an entry loses no submission: what the kernel did not take stays in the queue. At
/// most one timer of ours is armed, and `timer_due_` is when it ends.
class UringRing {
public:
    /// Sets up the ring and says in `info` what the kernel grants. One that others are to wait on
    /// does without DEFER_TASKRUN: such a ring does not become readable by work that it puts off,
    /// and an eventfd in its place misses what other eventfds bring (seen on 6.18).
    /// Throws:   std::system_error (io_uring_setup and what follows it). The caller falls back.
    [[gnu::cold]] UringRing(unsigned entries, bool pollable, BackendInfo& info,
                            std::uint64_t& kernel_entries)
        : entered_(kernel_entries), pollable_(pollable) {
        set_up(entries);
        try {
            require_operations();
            // A filter may allow the ring and refuse its use: better to know now.
            const int entered = ::io_uring_submit_and_get_events(&ring_);
            if (entered < 0 && !is_interruption(-entered))
                throw_system_error(-entered, "io_uring_enter");
            const auto rung = [&info](bool granted, const char* feature) {
                return grant(info, granted, feature);
            };
            rung((ring_.flags & uring_setup_defer_taskrun) != 0, "defer_taskrun");
            rung((ring_.flags & uring_setup_single_issuer) != 0, "single_issuer");
            rung((ring_.flags & uring_setup_coop_taskrun) != 0, "coop_taskrun");
            if (rung(linux_5_19_, "poll_first")) poll_first_ = uring_recvsend_poll_first;
            cqe_skip_ = rung((ring_.features & IORING_FEAT_CQE_SKIP) != 0, "cqe_skip");
            waits_until_ = rung((ring_.features & IORING_FEAT_EXT_ARG) != 0, "ext_arg");
            writes_quietly_ = rung(kernel_writes_quietly(), "nosignal");
            file_calls_ = rung(file_calls_ != 0, "file_calls") ? file_calls_ : 0;
            if (!uring_feature_disabled("registered_ring") &&
                ::io_uring_register_ring_fd(&ring_) == 1) {
                rung(true, "registered_ring");
            }
        } catch (...) {
            ::io_uring_queue_exit(&ring_);
            throw;
        }
    }
    UringRing(const UringRing&) = delete;
    UringRing& operator=(const UringRing&) = delete;
    [[gnu::cold]] ~UringRing() { ::io_uring_queue_exit(&ring_); }

    /// Notes a feature that the kernel has, unless it is switched off.
    [[gnu::cold]] static bool grant(BackendInfo& info, bool granted, const char* feature) {
        const bool on = granted && !uring_feature_disabled(feature);
        if (on) {
            info.features = concat({info.features, info.features.empty() ? "" : ",", feature});
        }
        return on;
    }

    io_uring* get() noexcept { return &ring_; }
    io_uring* operator->() noexcept { return &ring_; }

    /// Readable while there are completions; -1: it was not made for that.
    int pollable() const noexcept { return pollable_ ? ring_.ring_fd : -1; }

    bool linux_5_19() const noexcept { return linux_5_19_; }
    bool linux_6_0() const noexcept { return linux_6_0_; }
    /// Can a write be told not to raise SIGPIPE (6.18)?
    bool writes_quietly() const noexcept { return writes_quietly_; }
    /// Has the kernel an operation for this call on a file (or is it old enough to be required)?
    bool has_call(OpCode code) const noexcept {
        return (file_calls_ >> static_cast<unsigned>(code) & 1) != 0 || code < OpCode::ftruncate ||
               code == OpCode::statx;
    }
    /// The flag of a receive that waits before it tries, where the kernel has it.
    std::uint16_t poll_first() const noexcept { return poll_first_; }

    /// The kernel has something that it does, or tells, in an entry alone.
    bool has_deferred() const noexcept { return (sq_flags() & (uring_sq_taskrun | overflow)) != 0; }
    /// There are more completions than the queue has room for.
    bool keeps_back() const noexcept { return (sq_flags() & overflow) != 0; }
    bool takes_more() const noexcept {
        return (sq_flags() & uring_sq_taskrun) != 0 &&
               ::io_uring_cq_ready(&ring_) <= ring_.cq.ring_entries / 2;
    }
    bool has_events() const noexcept {
        return ::io_uring_sq_ready(&ring_) > 0 || ::io_uring_cq_ready(&ring_) > 0 || has_deferred();
    }

    /// Null: the submission queue is full. (io_uring_get_sqe for rings without a thread of the
    /// kernel's and with entries of the usual size.)
    io_uring_sqe* next_entry() noexcept {
        io_uring_sq& queue = ring_.sq;
        const unsigned tail = queue.sqe_tail;
        if (tail - *queue.khead >= queue.ring_entries) [[unlikely]]
            return nullptr;
        queue.sqe_tail = tail + 1;
        return &queue.sqes[tail & queue.ring_mask];
    }
    io_uring_sqe* free_entry() {
        io_uring_sqe* entry = next_entry();
        if (!entry) {
            enter(::io_uring_submit(&ring_));
            entry = next_entry();
        }
        return entry;  // null: the kernel takes nothing until completions were collected
    }

    /// A cancel's own completion says nothing that the operation's does not.
    void prepare_unattended(io_uring_sqe& entry) noexcept {
        ::io_uring_sqe_set_data(&entry, nullptr);
        if (cqe_skip_) entry.flags |= IOSQE_CQE_SKIP_SUCCESS;
    }

    /// Submits, and collects what there is.
    void look() { enter(::io_uring_submit_and_get_events(&ring_)); }

    /// Submits, and sleeps until a completion or the timeout.
    void wait(Nanoseconds timeout) {
        if (waits_until_ || timeout == no_deadline) [[likely]] {
            __kernel_timespec limit = timespec_of(timeout);
            io_uring_cqe* first = nullptr;
            enter(::io_uring_submit_and_wait_timeout(
                &ring_, &first, 1, timeout == no_deadline ? nullptr : &limit, nullptr));
        } else {
            wait_with_timer(timeout);
        }
    }

    // As user_data, where no operation's address is.
    static constexpr std::uint64_t timer_mark = 1;
    static constexpr std::uint64_t helper_mark = 2;  // what the helper threads have finished

    /// The completion of `timer_mark`. False: it has only made way for an earlier one.
    [[gnu::cold, gnu::noinline]] bool timer_ended(int result) noexcept {
        if (result == -ECANCELED) return false;
        timer_due_ = no_deadline;
        return true;
    }

private:
    static constexpr unsigned overflow = IORING_SQ_CQ_OVERFLOW;

    unsigned sq_flags() const noexcept { return IO_URING_READ_ONCE(*ring_.sq.kflags); }

    [[gnu::cold]] void set_up(unsigned entries) {
        check_disabled_features();
        entries = std::min(std::max(wanted_entries(entries), 2U), 4096U);
        const auto flag = [](const char* feature, unsigned bits) {
            return uring_feature_disabled(feature) ? 0U : bits;
        };
        const unsigned single = flag("single_issuer", uring_setup_single_issuer);
        const unsigned defer =
            single && !pollable_ ? flag("defer_taskrun", uring_setup_defer_taskrun) : 0U;
        const unsigned coop = flag("coop_taskrun", uring_setup_coop_taskrun);
        const unsigned notify = (coop | defer) ? uring_setup_taskrun_flag : 0U;
        const unsigned ladder[] = {single | defer | coop | notify | uring_setup_submit_all,
                                   coop | (coop ? notify : 0U) | uring_setup_submit_all,
                                   uring_setup_submit_all, 0U};
        int result = -EINVAL;
        for (const unsigned flags : ladder) {
            io_uring_params params{};
            // Many completions may arrive for one batch of submissions. A full queue is handled,
            // but at the price of an extra entry; a tiny ring asks for just that.
            params.flags = flags | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
            params.cq_entries = entries < 64 ? entries * 2 : entries * 16;
            result = ::io_uring_queue_init_params(entries, &ring_, &params);
            if (result == 0) return keep_off_standard_ends();
            // (Refused for whatever reason: the next rung.)
        }
        throw_system_error(-result, "io_uring_setup");
    }

    [[gnu::cold]] void keep_off_standard_ends() noexcept {
        ring_.ring_fd = ring_.enter_ring_fd = not_standard(Fd(ring_.ring_fd)).release();
    }
    [[gnu::cold]] void require_operations() {
        if ((ring_.features & IORING_FEAT_NODROP) == 0) {
            throw_system_error(ENOSYS, "io_uring without IORING_FEAT_NODROP");
        }
        io_uring_probe* const probe = ::io_uring_get_probe_ring(&ring_);
        if (!probe) throw_system_error(ENOSYS, "io_uring without IORING_REGISTER_PROBE");
        constexpr int needed[] = {IORING_OP_READ,     IORING_OP_WRITE,        IORING_OP_RECV,
                                  IORING_OP_SEND,     IORING_OP_ACCEPT,       IORING_OP_CONNECT,
                                  IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL, IORING_OP_CLOSE,
                                  IORING_OP_OPENAT,   IORING_OP_FSYNC,        IORING_OP_READV,
                                  IORING_OP_WRITEV,   IORING_OP_FALLOCATE,    IORING_OP_STATX};
        bool all = true;
        for (const int code : needed) all = all && ::io_uring_opcode_supported(probe, code);
        // POLL_FIRST cannot be probed for; it came with the release that brought IORING_OP_SOCKET.
        constexpr int op_socket = 45;
        linux_5_19_ = ::io_uring_opcode_supported(probe, op_socket) != 0;
        // Nor can multishot receives; they came with this one.
        constexpr int op_send_zc = 47;
        linux_6_0_ = ::io_uring_opcode_supported(probe, op_send_zc) != 0;
        for (const auto& call : uring_file_calls) {
            if (::io_uring_opcode_supported(probe, call.uring))
                file_calls_ |= 1U << static_cast<unsigned>(call.code);
        }
        ::io_uring_free_probe(probe);
        if (!all) throw_system_error(ENOSYS, "io_uring without an operation that weft needs");
    }

    static __kernel_timespec timespec_of(Nanoseconds delay) noexcept {
        return {delay / 1'000'000'000, delay % 1'000'000'000};
    }

    // --- waits of kernels before 5.11, which take no limit ---
    //
    // A timer ends them. liburing has one too, which ends with the first completion as well, and
    // that is its trouble: with some luck it is ended by the one of an earlier wait, nothing else
    // is there, and the wait goes on without any limit. This one ends when its time has come; an
    // older one that is early enough is left to do.

    [[gnu::cold, gnu::noinline]] void wait_with_timer(Nanoseconds timeout) {
        enter(arm_timer(timeout) ? ::io_uring_submit_and_wait(&ring_, 1)
                                 : ::io_uring_submit_and_get_events(&ring_));
    }
    /// False: there is no room in the ring, so this turn must not sleep.
    [[gnu::cold]] bool arm_timer(Nanoseconds timeout) {
        const Nanoseconds wanted = deadline_after(monotonic_now(), timeout);
        if (timer_due_ <= wanted) return true;
        if (::io_uring_sq_space_left(&ring_) < 2) enter(::io_uring_submit(&ring_));
        if (::io_uring_sq_space_left(&ring_) < 2) return false;
        if (timer_due_ != no_deadline) {
            io_uring_sqe& removal = *::io_uring_get_sqe(&ring_);
            ::io_uring_prep_timeout_remove(&removal, timer_mark, 0);
            ::io_uring_sqe_set_data(&removal, nullptr);
        }
        timer_limit_ = timespec_of(timeout);
        io_uring_sqe& timer = *::io_uring_get_sqe(&ring_);
        ::io_uring_prep_timeout(&timer, &timer_limit_, 0, 0);
        ::io_uring_sqe_set_data(&timer, reinterpret_cast<void*>(timer_mark));
        timer_due_ = wanted;
        return true;
    }

    /// Looks at what an entry into the kernel said. None of these answers loses a submission: what
    /// was not taken stays in the queue.
    [[gnu::noinline]] void enter(int result) {
        ++entered_;
        if (result >= 0 || is_interruption(-result)) return;  // (the loop looks at its clock)
        switch (-result) {
            case ETIME:  // nothing before the deadline
            case EBUSY:  // completions must be collected first
                return;
            case EAGAIN:  // no memory for a request now; completions will free some
                return pause_between_refusals();
            default:
                throw_system_error(-result, "io_uring_enter");
        }
    }

    /// One refusal after the other: the loop would do nothing but ask.
    [[gnu::cold, gnu::noinline]] void pause_between_refusals() noexcept {
        constexpr int most_in_a_row = 16;
        refused_ = entered_ == last_refused_ + 1 ? refused_ + 1 : 0;
        last_refused_ = entered_;
        if (refused_ < most_in_a_row) return;
        refused_ = most_in_a_row;
        const timespec pause{0, 1'000'000};
        ::nanosleep(&pause, nullptr);
    }

    io_uring ring_{};
    std::uint64_t last_refused_ = 0;  // value of `entered_` then
    int refused_ = 0;                 // in a row
    std::uint64_t& entered_;          // counts system calls
    const bool pollable_;
    std::uint32_t file_calls_ = 0;  // bits by OpCode: optional ones that the kernel has
    bool linux_5_19_ = false;
    bool linux_6_0_ = false;
    bool cqe_skip_ = false;
    bool writes_quietly_ = false;
    bool waits_until_ = false;      // the kernel takes a time with the wait (5.11)
    std::uint16_t poll_first_ = 0;  // the flag, where the kernel has it
    Nanoseconds timer_due_ = no_deadline;
    __kernel_timespec timer_limit_{};  // the kernel reads it when it takes the timer
};

}  // namespace weft::detail
