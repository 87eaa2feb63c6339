// SPDX-License-Identifier: MIT
// UringBackend: operations as io_uring submissions, one kernel entry a turn.
// Long because: set-up, submission and completion work on one state.
#pragma once

#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../../base/error.hpp"
#include "../../base/std_parts.hpp"
#include "../backend.hpp"
#include "uring_flags.hpp"
#include "uring_unix_ends.hpp"

namespace weft::detail {

class UringBackend final : public Backend {
public:
    /// Throws:   std::system_error (io_uring_setup and what follows it). The caller falls back.
    [[gnu::cold]] explicit UringBackend(unsigned entries) {
        set_up(entries);
        try {
            require_operations();
            // A filter may allow the ring and refuse its use: better to know now.
            const int entered = ::io_uring_submit_and_get_events(&ring_);
            if (entered < 0 && entered != -EINTR) throw_system_error(-entered, "io_uring_enter");
        } catch (...) {
            ::io_uring_queue_exit(&ring_);
            throw;
        }
        const auto rung = [this](bool granted, const char* feature) {
            const bool on = granted && !uring_feature_disabled(feature);
            if (on) info_.features.append(info_.features.empty() ? "" : ",").append(feature);
            return on;
        };
        rung((ring_.flags & uring_setup_defer_taskrun) != 0, "defer_taskrun");
        rung((ring_.flags & uring_setup_single_issuer) != 0, "single_issuer");
        rung((ring_.flags & uring_setup_coop_taskrun) != 0, "coop_taskrun");
        if (rung(linux_5_19_, "poll_first")) poll_first_ = uring_recvsend_poll_first;
        cqe_skip_ = rung((ring_.features & IORING_FEAT_CQE_SKIP) != 0, "cqe_skip");
        waits_until_ = rung((ring_.features & IORING_FEAT_EXT_ARG) != 0, "ext_arg");
        if (!uring_feature_disabled("registered_ring") &&
            ::io_uring_register_ring_fd(&ring_) == 1) {
            rung(true, "registered_ring");
        }
        if (!uring_feature_disabled("buffer_ring") && set_up_buffers()) {
            rung(true, "buffer_ring");
            multishot_ = rung(linux_6_0_, "multishot");
        }
        info_.name = "uring";
    }

    [[gnu::cold]] ~UringBackend() override {
        ::io_uring_queue_exit(&ring_);
        for (Block* const block : lent_) {
            if (block) block->release();
        }
        std::free(lent_ring_);
    }

    bool start(Operation& op) noexcept override {
        if (op.code == OpCode::recv_pooled && !lent_ring_) [[unlikely]] {
            // Without a ring of buffers it takes its own along, and keeps it while it waits.
            op.address = take_buffer();
            op.result = -ENOMEM;
            if (!op.address) return true;
        }
        ++count_of(op);
        // Messages whose way is free go straight into the submission queue; `put_in_line` knows the
        // rest.
        const bool receives = op.code == OpCode::recv;
        const auto index = static_cast<std::size_t>(op.fd);
        if ((receives || op.code == OpCode::send) && index < lanes_.size()) [[likely]] {
            Operation*& lane = receives ? lanes_[index].in : lanes_[index].out;
            if (!lane && queued_.empty()) [[likely]] {
                if (io_uring_sqe* const entry = ::io_uring_get_sqe(&ring_)) [[likely]] {
                    lane = &op;
                    op.backend_bits = receives ? lane_in : lane_out;
                    op.state = Operation::State::in_flight;
                    prepare_message(*entry, op);
                    return false;
                }
            }
        }
        return put_in_line(op);
    }

    void cancel(Operation& op) noexcept override {
        if (op.state == Operation::State::idle || op.cancelling) return;
        if (op.backend_bits == postponed) return;  // completed, waits in `finished_`
        if (op.code == OpCode::close) return;      // a descriptor is closed or it leaks
        op.cancelling = true;
        ++cancelling_;
        const bool waits = op.state == Operation::State::queued;
        if (op.linked()) op.unlink();
        if (waits || take_back(op)) return finish(op, -ECANCELED);
        cancels_.push_back(op);
    }

    [[gnu::cold]] void end_standing() noexcept override {
        const auto end = [this](Operation& op) {
            if (op.code == OpCode::recv_pooled) cancel(op);
        };
        held_.for_each(end);
        queued_.for_each(end);
        starved_.for_each(end);
        others_.for_each(end);
        for (std::size_t index = 0; index < lanes_.size(); ++index) {
            if (lanes_[index].in) end(*lanes_[index].in);
        }
    }

    /// (`start` completes nothing but refusals.)
    [[gnu::cold]] void postpone(Operation& op) noexcept override {
        ++count_of(op);
        op.state = Operation::State::in_flight;
        op.backend_bits = postponed;
        finished_.push_back(op);
    }
    void forget(int) noexcept override {}

    bool has_work() const noexcept override {
        return !queued_.empty() || !cancels_.empty() || !starved_.empty() || !asked_.empty() ||
               !finished_.empty() || ::io_uring_sq_ready(&ring_) > 0 ||
               ::io_uring_cq_ready(&ring_) > 0 || has_deferred();
    }

    void turn(Nanoseconds timeout) override {
        if (lent_count_ < lend_) lend_buffers();
        if (!starved_.empty()) [[unlikely]]
            timeout = feed_starved(timeout);
        if (!asked_.empty()) [[unlikely]]
            ask_again();
        if (!finished_.empty()) [[unlikely]]
            timeout = 0;
        fill_submissions();
        // (A cancel is answered in the entry that takes it there, as a rule.)
        if (timeout == 0 || !queued_.empty() || !cancels_.empty() || asks_first() ||
            ::io_uring_cq_ready(&ring_) > 0) {
            // The kernel keeps completions back (deferred work, overflow) until it is asked.
            if (::io_uring_sq_ready(&ring_) > 0 || has_deferred()) {
                enter(::io_uring_submit_and_get_events(&ring_));
                // (It has done a few of them. A turn that has other work to do takes more along.)
                for (int more = 0; timeout == 0 && more < most_more && takes_more(); ++more)
                    enter(::io_uring_submit_and_get_events(&ring_));
            }
        } else {
            if (!asked_.empty()) timeout = std::min(timeout, patience);
            if (waits_until_ || timeout == no_deadline) [[likely]] {
                __kernel_timespec limit = timespec_of(timeout);
                io_uring_cqe* first = nullptr;
                enter(::io_uring_submit_and_wait_timeout(
                    &ring_, &first, 1, timeout == no_deadline ? nullptr : &limit, nullptr));
            } else {
                wait_with_timer(timeout);
            }
            if (::io_uring_cq_ready(&ring_) == 0) turns_asked_ = most_turns_asked;
        }
        // What is postponed from here on waits for the next turn.
        Operation* const last = finished_.empty() ? nullptr : &finished_.back();
        reap();
        if (last) [[unlikely]]
            tell_finished(*last);
    }

private:
    // What the submission in flight for an operation is, in Operation::backend_bits.
    static constexpr std::uint8_t as_itself = 0;
    static constexpr std::uint8_t as_poll = 1;   // waits for readiness after an EAGAIN
    static constexpr std::uint8_t as_retry = 2;  // was interrupted and goes again
    static constexpr std::uint8_t what_it_is = 3;
    // And the lane that the operation belongs to.
    static constexpr std::uint8_t lane_in = 4;
    static constexpr std::uint8_t lane_out = 8;
    static constexpr std::uint8_t pooled = 16;     // receives into a buffer of the pool
    static constexpr std::uint8_t postponed = 32;  // complete, see `postpone`
    // How often the kernel did not begin it, see `was_not_begun`.
    static constexpr std::uint8_t once_refused = 64;
    static constexpr std::uint8_t all_times_refused = 192;

    static constexpr std::size_t largest_tracked = std::size_t{1} << 24;
    static constexpr unsigned overflow = IORING_SQ_CQ_OVERFLOW;
    // Since Linux 6.13 an entry does 20 pieces of deferred work. A loop that sleeps lets its tasks
    // run between them, while what they need is in the cache; one that is busy would have to share
    // its turns among them, and fall behind those who ask.
    static constexpr int most_more = 12;

    /// The kernel has something that it does, or tells, in an entry alone.
    bool has_deferred() const noexcept { return (sq_flags() & (uring_sq_taskrun | overflow)) != 0; }
    bool takes_more() const noexcept {
        return (sq_flags() & uring_sq_taskrun) != 0 &&
               ::io_uring_cq_ready(&ring_) <= ring_.cq.ring_entries / 2;
    }
    unsigned sq_flags() const noexcept { return IO_URING_READ_ONCE(*ring_.sq.kflags); }

    static bool is_busy(const Operation& op) noexcept {
        return op.code == OpCode::openat || op.code == OpCode::fsync || op.code == OpCode::close ||
               ((op.code == OpCode::read || op.code == OpCode::write) &&
                op.offset != current_position);
    }

    [[gnu::cold]] void set_up(unsigned entries) {
        check_disabled_features();
        entries = std::min(std::max(wanted_entries(entries), 2U), 4096U);
        const auto flag = [](const char* feature, unsigned bits) {
            return uring_feature_disabled(feature) ? 0U : bits;
        };
        const unsigned single = flag("single_issuer", uring_setup_single_issuer);
        const unsigned defer = single ? flag("defer_taskrun", uring_setup_defer_taskrun) : 0U;
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
            if (result == 0) return;
            if (result != -EINVAL) break;  // refused, not misunderstood
        }
        throw_system_error(-result, "io_uring_setup");
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
                                  IORING_OP_OPENAT,   IORING_OP_FSYNC};
        bool all = true;
        for (const int code : needed) all = all && ::io_uring_opcode_supported(probe, code);
        // POLL_FIRST cannot be probed for; it came with the release that brought IORING_OP_SOCKET.
        constexpr int op_socket = 45;
        linux_5_19_ = ::io_uring_opcode_supported(probe, op_socket) != 0;
        // Nor can multishot receives; they came with this one.
        constexpr int op_send_zc = 47;
        linux_6_0_ = ::io_uring_opcode_supported(probe, op_send_zc) != 0;
        ::io_uring_free_probe(probe);
        if (!all) throw_system_error(ENOSYS, "io_uring without an operation that weft needs");
    }

    /// Reads of one descriptor are served in the order in which they were asked for, and so are
    /// writes. The kernel would wake the newest waiter first, so it gets one a direction at a time.
    struct Lanes {
        Operation* in = nullptr;
        Operation* out = nullptr;
    };

    /// Where the operation's descriptor keeps the one that the kernel has; null for those that may
    /// go side by side (polls, reads at an offset), which are in `others_` while in flight.
    Operation** choose_lane(Operation& op) noexcept {
        bool in = false;
        switch (op.code) {
            case OpCode::recv:
            case OpCode::recv_pooled:
            case OpCode::accept:
                in = true;
                break;
            case OpCode::send:
            case OpCode::connect:
                break;
            case OpCode::read:
            case OpCode::write:
                if (op.offset != current_position) return nullptr;
                in = op.code == OpCode::read;
                break;
            default:
                return nullptr;
        }
        const auto index = static_cast<std::size_t>(op.fd);
        if (index >= lanes_.size() && !make_lanes(op.fd)) return nullptr;
        op.backend_bits = in ? lane_in : lane_out;
        return in ? &lanes_[index].in : &lanes_[index].out;
    }
    Operation** lane_of(const Operation& op) noexcept {
        Lanes& lanes = lanes_[static_cast<std::size_t>(op.fd)];
        return op.backend_bits & lane_in ? &lanes.in : &lanes.out;
    }
    static bool has_lane(const Operation& op) noexcept {
        return (op.backend_bits & (lane_in | lane_out)) != 0;
    }
    [[gnu::cold]] bool make_lanes(int fd) noexcept {
        const auto index = static_cast<std::size_t>(fd);
        if (fd < 0 || index > largest_tracked) return false;  // EBADF, or a very unusual limit
        try {
            lanes_.resize(std::max(index + 1, lanes_.size() * 2));
        } catch (const std::bad_alloc&) {
            return false;
        }
        return true;
    }

    /// True: refused.
    [[gnu::noinline]] bool put_in_line(Operation& op) noexcept {
        op.backend_bits = as_itself;
        Operation** const lane = choose_lane(op);
        if (op.code == OpCode::recv_pooled) op.backend_bits |= pooled;
        if (lane) {
            if (*lane) [[unlikely]] {
                if ((op.backend_bits & lane_in) && would_wait_for_ever(op, **lane)) {
                    --count_of(op);
                    op.result = -EBUSY;
                    return true;
                }
                op.state = Operation::State::queued;
                held_.push_back(op);
                return false;
            }
            *lane = &op;
        } else if (is_busy(op)) {
            ++busy_;
        }
        // A close has to end others first, which is the batch's work.
        io_uring_sqe* entry = nullptr;
        if (queued_.empty() && op.code != OpCode::close) entry = ::io_uring_get_sqe(&ring_);
        if (entry) {
            launch(*entry, op);
        } else {
            enqueue(op);
        }
        return false;
    }

    /// Behind a receive that stands on its own: it ends with the connection, and takes all there
    /// is.
    [[gnu::cold]] bool would_wait_for_ever(const Operation& op, const Operation& first) noexcept {
        bool stands = first.code == OpCode::recv_pooled && !first.cancelling;
        if (!stands && held_standing_) {
            held_.for_each([&](const Operation& other) {
                stands = stands || (other.fd == op.fd && other.code == OpCode::recv_pooled);
            });
        }
        if (op.code == OpCode::recv_pooled) held_standing_ = true;
        return stands;
    }

    void enqueue(Operation& op) noexcept {
        op.state = Operation::State::queued;
        queued_.push_back(op);
    }

    void finish(Operation& op, int result) noexcept {
        --count_of(op);
        if (op.backend_bits & pooled) [[unlikely]]
            keep_or_return(op, result);
        if (op.cancelling) [[unlikely]]
            --cancelling_;
        if (!has_lane(op)) {
            if (is_busy(op)) --busy_;
        } else if (Operation** const lane = lane_of(op); *lane == &op) {
            *lane = nullptr;
            if (!held_.empty()) [[unlikely]]
                return finish_before_others(op, result);
        }
        op.complete(result);
    }

    [[gnu::cold, gnu::noinline]] void finish_before_others(Operation& op, int result) noexcept {
        const int fd = op.fd;
        const bool in = (op.backend_bits & lane_in) != 0;
        // A send that was not taken whole goes on before the next one begins.
        if (!in) op.complete(result);
        Lanes& lanes = lanes_[static_cast<std::size_t>(fd)];
        let_next_go(fd, in ? &lanes.in : &lanes.out);
        if (in) op.complete(result);
    }

    void let_next_go(int fd, Operation** lane) noexcept {
        held_.for_each([&](Operation& other) {
            // (Whoever is held has a lane.)
            if (*lane || other.fd != fd || lane_of(other) != lane) return;
            other.unlink();
            *lane = &other;
            enqueue(other);
        });
    }

    io_uring_sqe* free_entry() {
        io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
        if (!entry) {
            enter(::io_uring_submit(&ring_));
            entry = ::io_uring_get_sqe(&ring_);
        }
        return entry;  // null: the kernel takes nothing until completions were collected
    }

    void fill_submissions() {
        while (!queued_.empty()) {
            Operation& op = queued_.front();
            if (op.code == OpCode::close) [[unlikely]] {
                end_users(op);
                if (!fill_cancels()) return;  // they go before the close
            }
            io_uring_sqe* const entry = free_entry();
            if (!entry) return;
            op.unlink();
            launch(*entry, op);
        }
        if (!cancels_.empty()) [[unlikely]]
            fill_cancels();
    }

    /// Writes the submission. The kernel sees it with the next entry; until then `take_back` can
    /// undo it.
    void launch(io_uring_sqe& entry, Operation& op) noexcept {
        op.state = Operation::State::in_flight;
        if (!has_lane(op)) others_.push_back(op);
        prepare(entry, op);
    }

    /// What liburing's functions do, without their going through the entry field by field.
    void prepare_message(io_uring_sqe& entry, Operation& op) noexcept {
        std::memset(&entry, 0, sizeof entry);
        entry.fd = op.fd;
        entry.addr = reinterpret_cast<std::uintptr_t>(op.address);
        entry.len = op.length;
        entry.user_data = reinterpret_cast<std::uintptr_t>(&op);
        if (op.code == OpCode::recv) {
            entry.opcode = IORING_OP_RECV;
            entry.msg_flags = op.flags;
            if (op.expect_wait) entry.ioprio = poll_first_;
        } else {
            entry.opcode = IORING_OP_SEND;
            entry.msg_flags = op.flags | MSG_NOSIGNAL;
        }
    }

    /// An operation that the kernel has not seen becomes one that does nothing. False: it has.
    [[gnu::cold, gnu::noinline]] bool take_back(const Operation& op) noexcept {
        const io_uring_sq& queue = ring_.sq;
        for (unsigned at = *queue.khead; at != queue.sqe_tail; ++at) {
            io_uring_sqe& entry = queue.sqes[at & queue.ring_mask];
            if (entry.user_data != reinterpret_cast<std::uintptr_t>(&op)) continue;
            ::io_uring_prep_nop(&entry);
            prepare_unattended(entry);
            return true;
        }
        return false;
    }

    bool fill_cancels() {
        while (!cancels_.empty()) {
            io_uring_sqe* const entry = free_entry();
            if (!entry) return false;
            Operation& op = cancels_.pop_front();
            if (asked_.empty()) turns_asked_ = 0;
            asked_.push_back(op);
            ::io_uring_prep_cancel(entry, &op, 0);
            prepare_unattended(*entry);
        }
        return true;
    }

    // A cancel finds nothing while its target is on the way from one queue of the kernel to the
    // next; then only another one ends it. So it is repeated after a sleep in which nothing came,
    // or, in a loop that does not sleep, after so many turns.
    static constexpr Nanoseconds patience = 10'000'000;
    static constexpr int most_turns_asked = 64;

    bool asks_first() const noexcept { return !asked_.empty() && turns_asked_ == 0; }
    [[gnu::cold, gnu::noinline]] void ask_again() noexcept {
        if (++turns_asked_ <= most_turns_asked) return;
        while (!asked_.empty()) cancels_.push_back(asked_.pop_front());
    }

    /// What was complete when the turn began, through `last`.
    [[gnu::cold, gnu::noinline]] void tell_finished(const Operation& last) noexcept {
        for (bool more = true; more;) {
            Operation& op = finished_.pop_front();
            more = &op != &last;
            --count_of(op);
            op.complete(op.result);
        }
    }

    /// Before a close: whoever still uses the number is cancelled, or the peer would never see the
    /// end, and the next file under this number would be mixed up with the old one. (The kernel's
    /// own cancel by descriptor also hits those who use a duplicate.)
    [[gnu::cold, gnu::noinline]] void end_users(const Operation& close) noexcept {
        const auto end = [&](Operation& op) {
            if (&op != &close && op.fd == close.fd) cancel(op);
        };
        held_.for_each(end);
        queued_.for_each(end);
        starved_.for_each(end);
        others_.for_each(end);
        const auto index = static_cast<std::size_t>(close.fd);
        if (close.fd < 0 || index >= lanes_.size()) return;
        if (lanes_[index].in) cancel(*lanes_[index].in);
        if (lanes_[index].out) cancel(*lanes_[index].out);
    }

    /// A cancel's own completion says nothing that the operation's does not.
    void prepare_unattended(io_uring_sqe& entry) noexcept {
        ::io_uring_sqe_set_data(&entry, nullptr);
        if (cqe_skip_) entry.flags |= IOSQE_CQE_SKIP_SUCCESS;
    }

    void prepare(io_uring_sqe& entry, Operation& op) noexcept {
        if ((op.backend_bits & what_it_is) == as_poll) {
            const bool in =
                op.code != OpCode::write && op.code != OpCode::send && op.code != OpCode::connect;
            ::io_uring_prep_poll_add(&entry, op.fd, in ? POLLIN : POLLOUT);
        } else {
            prepare_itself(entry, op);
            if ((op.backend_bits & once_refused) && is_message(op)) [[unlikely]]
                make_nonblocking(entry);
        }
        ::io_uring_sqe_set_data(&entry, &op);
    }

    void prepare_itself(io_uring_sqe& entry, Operation& op) noexcept {
        switch (op.code) {
            case OpCode::read:
                ::io_uring_prep_read(&entry, op.fd, op.address, op.length, op.offset);
                break;
            case OpCode::write:
                ::io_uring_prep_write(&entry, op.fd, op.address, op.length, op.offset);
                break;
            case OpCode::recv:
            case OpCode::send:
                prepare_message(entry, op);
                break;
            case OpCode::recv_pooled:
                prepare_pooled(entry, op);
                break;
            case OpCode::accept:
                ::io_uring_prep_accept(&entry, op.fd, static_cast<sockaddr*>(op.address),
                                       reinterpret_cast<socklen_t*>(op.offset),
                                       static_cast<int>(op.flags | SOCK_CLOEXEC));
                break;
            case OpCode::connect:
                ::io_uring_prep_connect(&entry, op.fd, static_cast<const sockaddr*>(op.address),
                                        op.length);
                break;
            case OpCode::poll:
                ::io_uring_prep_poll_add(&entry, op.fd, op.flags);
                break;
            case OpCode::close:
                ::io_uring_prep_close(&entry, op.fd);
                break;
            case OpCode::openat:
                ::io_uring_prep_openat(&entry, op.fd, static_cast<const char*>(op.address),
                                       static_cast<int>(op.flags), op.length);
                break;
            case OpCode::fsync:
                ::io_uring_prep_fsync(&entry, op.fd, op.flags ? IORING_FSYNC_DATASYNC : 0U);
                break;
        }
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

    static constexpr std::uint64_t timer_mark = 1;  // as user_data, where no operation's address is

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
    [[gnu::cold, gnu::noinline]] void timer_ended(int result) noexcept {
        if (result == -ECANCELED) return;  // it has made way for an earlier one
        timer_due_ = no_deadline;
        turns_asked_ = most_turns_asked;  // it may have waited for nothing but a lost cancel
    }

    /// Looks at what an entry into the kernel said. None of these answers loses a submission: what
    /// was not taken stays in the queue.
    void enter(int result) {
        ++kernel_entries_;
        if (result >= 0) return;
        switch (-result) {
            case ETIME:   // nothing before the deadline
            case EINTR:   // a signal: the loop looks at its clock and comes back
            case EAGAIN:  // no memory for a request now; completions will free some
            case EBUSY:   // completions must be collected first
                return;
            default:
                throw_system_error(-result, "io_uring_enter");
        }
    }

    /// What has come by now. (liburing's loop would look at the kernel's end of the queue anew, and
    /// for larger completions, at each.)
    void reap() noexcept {
        const io_uring_cq& queue = ring_.cq;
        const unsigned first = *queue.khead;
        const unsigned end = io_uring_smp_load_acquire(queue.ktail);
        for (unsigned at = first; at != end; ++at) {
            const io_uring_cqe* const cqe = &queue.cqes[at & queue.ring_mask];
            if (cqe->user_data <= timer_mark) [[unlikely]] {
                if (cqe->user_data == timer_mark) timer_ended(cqe->res);
                continue;
            }
            Operation& op = *reinterpret_cast<Operation*>(cqe->user_data);
            const bool itself = op.backend_bits == lane_in || op.backend_bits == lane_out;
            // (Whoever is being cancelled is linked.)
            if (itself && cqe->res >= 0 && !op.linked() && held_.empty()) [[likely]] {
                --count_of(op);
                Operation*& lane = *lane_of(op);
                if (lane == &op) lane = nullptr;
                op.more = (cqe->flags & uring_cqe_sock_nonempty) != 0;
                op.complete(cqe->res);
            } else if (op.backend_bits == (lane_in | pooled) && cqe->res > 0 &&
                       (cqe->flags & chunk_and_more) == chunk_and_more) [[likely]] {
                deliver_chunk(op, cqe->res, cqe->flags);
            } else {
                arrived(op, cqe->res, cqe->flags);
            }
        }
        ::io_uring_cq_advance(&ring_, end - first);
    }

    [[gnu::noinline]] void arrived(Operation& op, int result, unsigned flags) noexcept {
        if (op.backend_bits & pooled) {
            if (!pooled_arrived(op, result, flags)) return;
        }
        if (op.linked()) op.unlink();  // others_, cancels_ or asked_: nothing left to cancel
        const std::uint8_t was = op.backend_bits & what_it_is;
        op.backend_bits ^= was;
        if (result == -ECANCELED && !op.cancelling) [[unlikely]]
            return was_not_begun(op);
        if (was == as_poll) {
            // Ready, or an error that the operation itself will name.
            if (op.cancelling) return finish(op, -ECANCELED);
            return enqueue(op);
        }
        const bool waits_by_itself = op.code == OpCode::poll || op.code == OpCode::connect;
        if (result == -EINTR || (result == -EAGAIN && !waits_by_itself)) {
            // An O_NONBLOCK file answers EAGAIN instead of waiting; nothing has happened yet.
            if (op.cancelling) return finish(op, -ECANCELED);
            op.backend_bits |= result == -EAGAIN ? as_poll : as_retry;
            return enqueue(op);
        }
        if (was == as_retry && op.code == OpCode::connect && result == -EISCONN) result = 0;
        op.more = (flags & uring_cqe_sock_nonempty) != 0;
        finish(op, result);
    }

    /// Nobody has asked for it: that is a kernel which could not make the thread that was to do the
    /// work (io_wq_enqueue), because of a signal in that moment, or for good.
    [[gnu::cold, gnu::noinline]] void was_not_begun(Operation& op) noexcept {
        if (is_message(op)) {
            // Once it is ready it needs no thread, and then it does not ask for one.
            op.backend_bits |= once_refused | as_poll;
            return enqueue(op);
        }
        if ((op.backend_bits & all_times_refused) == all_times_refused) return finish(op, -EAGAIN);
        op.backend_bits = static_cast<std::uint8_t>(op.backend_bits + once_refused);
        enqueue(op);
    }
    static bool is_message(const Operation& op) noexcept {
        return (op.code == OpCode::send || op.code == OpCode::recv) && !(op.flags & MSG_WAITALL);
    }
    static void make_nonblocking(io_uring_sqe& message) noexcept {
        message.msg_flags |= MSG_DONTWAIT;
        message.ioprio = 0;  // without the poll before it: that was made
    }

    // --- receives into buffers of the pool ---
    //
    // Some buffers are lent to the kernel, in a ring of their own, and it takes one when data
    // arrives: an idle connection has none. The ring is a queue, so all that are in it are used in
    // turn, and it is kept so short that what is written into them stays in the cache. Who finds it
    // empty (ENOBUFS) is starved and tries again when buffers have come back.

    static constexpr std::uint32_t most_lent = 128;
    static constexpr std::uint32_t least_lent = 64;
    static constexpr std::uint32_t hot_bytes = 1024 * 1024;
    static constexpr int patience_turns = 16;

    /// False: the kernel has no such thing.
    [[gnu::cold]] bool set_up_buffers() {
        void* memory = nullptr;
        constexpr std::size_t page = 4096;  // what the kernel wants it to be aligned to
        if (::posix_memalign(&memory, page, most_lent * sizeof(io_uring_buf)) != 0) return false;
        std::memset(memory, 0, most_lent * sizeof(io_uring_buf));
        io_uring_buf_reg how{};
        how.ring_addr = reinterpret_cast<std::uintptr_t>(memory);
        how.ring_entries = most_lent;
        if (!linux_5_19_ || ::io_uring_register_buf_ring(&ring_, &how, 0) != 0) {
            std::free(memory);
            return false;
        }
        lent_ring_ = static_cast<io_uring_buf_ring*>(memory);
        for (std::uint32_t number = 0; number < most_lent; ++number) {
            free_numbers_[number] = static_cast<std::uint16_t>(number);
        }
        return true;
    }

    /// Fills the ring up. What readers hold counts, or their slowness would make the hot set grow;
    /// but what they held already when everybody starved (`held_for_long_`) does not.
    [[gnu::noinline]] void lend_buffers() noexcept {
        const std::uint32_t held = buffers_ ? buffers_->out() - lent_count_ : 0;
        held_for_long_ = std::min(held_for_long_, held);
        const std::uint32_t wanted = lend_ - std::min(lend_, held - held_for_long_);
        int added = 0;
        for (; lent_count_ < wanted; ++added) {
            Block* const block = take_buffer();
            if (!block) break;
            const std::uint16_t number = free_numbers_[most_lent - ++lent_count_];
            lent_[number] = block;
            ::io_uring_buf_ring_add(lent_ring_, block->memory(), Block::capacity, number,
                                    static_cast<int>(most_lent - 1), added);
        }
        if (added > 0) ::io_uring_buf_ring_advance(lent_ring_, added);
    }

    Block& take_lent(unsigned flags) noexcept {
        const auto number = static_cast<std::uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT);
        free_numbers_[most_lent - lent_count_--] = number;
        return *std::exchange(lent_[number], nullptr);
    }

    // Operation::flags of a pooled receive, asked for once: is it multishot?
    static constexpr std::uint32_t receives_once = 1;
    static constexpr std::uint32_t receives_again = 2;

    /// TCP tells its end in any case; on Unix sockets the kernel is tried first.
    [[gnu::noinline]] std::uint32_t kind_of_receive(int fd) const noexcept {
        if (!lent_ring_ || !multishot_) return receives_once;
        int family = 0;
        socklen_t size = sizeof family;
        if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) return receives_once;
        if (family == AF_INET || family == AF_INET6) return receives_again;
        return family == AF_UNIX && keeps_unix_ends() ? receives_again : receives_once;
    }

    void prepare_pooled(io_uring_sqe& entry, Operation& op) noexcept {
        std::memset(&entry, 0, sizeof entry);
        entry.opcode = IORING_OP_RECV;
        entry.fd = op.fd;
        if (op.flags == 0) op.flags = kind_of_receive(op.fd);
        const bool stands = op.flags == receives_again;
        if (op.expect_wait && !stands) entry.ioprio = poll_first_;
        if (!lent_ring_) {
            entry.addr =
                reinterpret_cast<std::uintptr_t>(static_cast<Block*>(op.address)->memory());
            entry.len = Block::capacity;
            return;
        }
        if (lend_ == 0) {  // the first of this loop
            lend_ = least_lent;
            lend_buffers();
        }
        entry.flags = IOSQE_BUFFER_SELECT;
        if (stands) {
            entry.ioprio |= static_cast<std::uint16_t>(uring_recv_multishot);
        } else {
            entry.len = Block::capacity;
        }
    }

    static constexpr unsigned chunk_and_more = IORING_CQE_F_BUFFER | IORING_CQE_F_MORE;

    /// From a receive that goes on.
    void deliver_chunk(Operation& op, int result, unsigned flags) noexcept {
        Block& block = take_lent(flags);
        const auto size = static_cast<std::uint32_t>(result);
        block.fill(size);
        average_size_ = average_size_ - average_size_ / 8 + size / 8;
        op.address = &block;
        op.result = result;
        op.more = (flags & uring_cqe_sock_nonempty) != 0;
        op.on_complete(op);
    }

    /// True: that was the end of the submission, and the rest of `arrived` goes for it too.
    bool pooled_arrived(Operation& op, int result, unsigned flags) noexcept {
        if (flags & IORING_CQE_F_BUFFER) {
            Block& block = take_lent(flags);
            op.address = &block;
            if (result <= 0) block.release();
        }
        if (result > 0 && (op.backend_bits & what_it_is) != as_poll) {
            const auto size = static_cast<std::uint32_t>(result);
            static_cast<Block*>(op.address)->fill(size);
            average_size_ = average_size_ - average_size_ / 8 + size / 8;
        }
        if (flags & IORING_CQE_F_MORE) {
            op.more = (flags & uring_cqe_sock_nonempty) != 0;
            op.result = result;
            op.on_complete(op);
            return false;
        }
        if (result != -ENOBUFS || !lent_ring_) return true;
        if (op.linked()) op.unlink();
        if (op.cancelling) {
            finish(op, -ECANCELED);
            return false;
        }
        op.state = Operation::State::queued;
        starved_.push_back(op);
        return false;
    }

    /// An operation that took its own buffer along and got nothing gives it back.
    void keep_or_return(Operation& op, int result) noexcept {
        if (!lent_ring_ && result <= 0) static_cast<Block*>(op.address)->release();
    }

    /// Oldest first, as many as there are buffers. Returns how long the turn may sleep.
    [[gnu::cold, gnu::noinline]] Nanoseconds feed_starved(Nanoseconds timeout) noexcept {
        // Few bytes in each: more buffers stay in the cache just as well.
        while (lend_ < most_lent && 2 * lend_ * average_size_ <= hot_bytes) lend_ *= 2;
        while (lend_ > least_lent && lend_ * average_size_ > 2 * hot_bytes) lend_ /= 2;
        lend_buffers();
        if (lent_count_ == 0) {
            // Readers hold them all. If they do not get to run, or hold them for long, there must
            // be others: they may be waiting for just those who starve.
            const bool stuck = timeout != 0 && queued_.empty() && cancels_.empty() &&
                               ::io_uring_sq_ready(&ring_) == 0;
            if (!stuck && ++turns_without_ < patience_turns) return 0;
            if (buffers_) held_for_long_ = buffers_->out();
            lend_buffers();
            if (lent_count_ == 0) {
                finish(starved_.pop_front(), -ENOMEM);
                return 0;
            }
        }
        turns_without_ = 0;
        for (std::uint32_t count = lent_count_; count > 0 && !starved_.empty(); --count) {
            enqueue(starved_.pop_front());
        }
        return starved_.empty() ? timeout : 0;
    }

    io_uring ring_{};
    OperationList queued_;
    OperationList cancels_;   // in flight, and to be cancelled in the next batch
    OperationList asked_;     // in flight, and the kernel was told to cancel them
    OperationList others_;    // in flight without a lane
    OperationList held_;      // wait for the one in their lane
    OperationList finished_;  // postponed
    std::vector<Lanes> lanes_;
    OperationList starved_;  // found no buffer
    io_uring_buf_ring* lent_ring_ = nullptr;
    Block* lent_[most_lent] = {};  // by number: the kernel has it
    std::uint16_t free_numbers_[most_lent] = {};
    std::uint32_t lent_count_ = 0;
    std::uint32_t lend_ = 0;  // so many should be lent; 0 before the first pooled receive
    std::uint32_t held_for_long_ = 0;
    std::uint32_t average_size_ = 0;  // of what arrives in one
    int turns_without_ = 0;
    bool waits_until_ = false;  // the kernel takes a time with the wait (5.11)
    Nanoseconds timer_due_ = no_deadline;
    __kernel_timespec timer_limit_{};  // the kernel reads it when it takes the timer
    int turns_asked_ = 0;              // since the first of `asked_` came
    bool held_standing_ = false;       // there was a recv_pooled in `held_`
    bool multishot_ = false;
    bool linux_5_19_ = false;
    bool linux_6_0_ = false;
    std::uint16_t poll_first_ = 0;  // the flag, where the kernel has it
    bool cqe_skip_ = false;
};

}  // namespace weft::detail
