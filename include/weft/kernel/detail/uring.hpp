// SPDX-License-Identifier: MIT
// UringBackend: operations as io_uring submissions, one kernel entry a turn.
// Long because: starting, cancelling and completing work on the same lists.
#pragma once

#include <liburing.h>
#include <sys/socket.h>

#include <cassert>
#include <cerrno>
#include <cstdint>

#include "../../base/error.hpp"
#include "../../base/std_parts.hpp"
#include "../backend.hpp"
#include "attempt.hpp"
#include "helper.hpp"
#include "uring_cancels.hpp"
#include "uring_direct.hpp"
#include "uring_lanes.hpp"
#include "uring_lent_buffers.hpp"
#include "uring_pinned.hpp"
#include "uring_ring.hpp"
#include "uring_submission.hpp"

namespace weft::detail {

/// Invariants: an operation that was started and has not completed is in the submission queue or
/// with the kernel (in its lane, or in `others_` if it has none), or in exactly one of the lists
/// `queued_`, `held_`, `starved_`, `in_vain_` and `finished_`, or with the helper. One that the
/// kernel has and that is to be cancelled is in `cancels_`, also if it has a lane, and not in
/// `others_`.
class UringBackend final : public Backend, private UringBits {
public:
    /// Throws:   std::system_error (io_uring_setup and what follows it). The caller falls back.
    [[gnu::cold]] UringBackend(unsigned entries, bool pollable)
        : lent_(buffers_), ring_(entries, pollable, info_, kernel_entries_) {
        if (!uring_feature_disabled("buffer_ring") && ring_.linux_5_19() &&
            lent_.set_up(*ring_.get())) {
            lends_buffers_ = true;
            UringRing::grant(info_, true, "buffer_ring");
            if (UringRing::grant(info_, ring_.linux_6_0(), "multishot")) lent_.allow_multishot();
        }
        if (!UringRing::grant(info_, direct_.allow(*ring_.get()), "direct")) direct_.forbid();
    }
    [[gnu::cold, gnu::noinline]] ~UringBackend() override { direct_.end(ring_.get()); }

    bool start(Operation& op) noexcept override {
        // Messages whose way is free go straight into the submission queue; `start_otherwise` knows
        // the rest.
        const unsigned direction =
            static_cast<unsigned>(op.code) - static_cast<unsigned>(OpCode::recv);
        UringLanes::Lanes* const lanes = lanes_.find(op.fd);
        if (direction > UringLanes::out || !lanes || !queued_.empty() || op.only_tries())
            [[unlikely]]
            return start_otherwise(op);
        Operation*& lane = lanes->of[direction];
        if (lane) [[unlikely]]
            return start_otherwise(op);
        if (direction == UringLanes::out && (lanes->sent_in == turns_ || lanes->at_once > 0) &&
            send_at_once(op, *lanes))
            return true;
        io_uring_sqe* const entry = ring_.next_entry();
        if (!entry) [[unlikely]]
            return start_otherwise(op);
        ++count_of(op);
        lane = &op;
        op.backend_bits = UringLanes::bit_of(direction);
        op.state = Operation::State::in_flight;
        prepare_message(*entry, op, ring_.poll_first());
        entry->flags = lanes->entry_flags;
        return false;
    }

    [[gnu::noinline]] void cancel(Operation& op) noexcept override {
        if (op.code == OpCode::close) return;  // a descriptor is closed or it leaks
        if (op.backend_bits == with_helper) return cancel_helped(op);
        if (op.state == Operation::State::idle || op.cancelling) return;
        if (op.backend_bits == postponed) return;  // completed, waits in `finished_`
        op.cancelling = true;
        ++cancelling_;
        const bool waits = op.state == Operation::State::queued;
        assert(is_held(op) && "it was started, and nobody has it");
        if (op.linked()) op.unlink();
        if (waits || UringCancels::take_back(ring_, op)) return finish(op, -ECANCELED);
        cancels_.add(op);
    }

    [[gnu::cold]] void end_standing() noexcept override {
        const auto end = [this](Operation& op) {
            if (op.code == OpCode::recv_pooled) cancel(op);
        };
        held_.for_each(end);
        queued_.for_each(end);
        starved_.for_each(end);
        others_.for_each(end);
        lanes_.for_each([&](const UringLanes::Lanes& lanes) {
            if (lanes.of[UringLanes::in]) end(*lanes.of[UringLanes::in]);
        });
    }

    [[gnu::cold]] void postpone(Operation& op) noexcept override {
        ++count_of(op);
        op.state = Operation::State::in_flight;
        op.backend_bits = postponed;
        // A row of sends goes on when it is told of this one, which is in the next turn.
        if (op.code == OpCode::send) {
            if (UringLanes::Lanes* const lanes = lanes_.find(op.fd)) lanes->sent_in = turns_ + 1;
        }
        finished_.push_back(op);
    }
    void forget(int fd) noexcept override {
        if (UringLanes::Lanes* const lanes = lanes_.find(fd))
            UringDirect::leave(ring_.get(), *lanes, fd);
    }

    [[gnu::cold]] bool is_sending(int fd) noexcept override {
        const UringLanes::Lanes* const lanes = lanes_.find(fd);
        return lanes && lanes->of[UringLanes::out];
    }

    [[gnu::cold]] std::uint8_t pin(void* memory, std::size_t size) noexcept override {
        return pinned_.pin(ring_.get(), memory, size);
    }
    [[gnu::cold]] void unpin(std::uint8_t number) noexcept override {
        pinned_.unpin(ring_.get(), number);
    }

    bool has_work() const noexcept override {
        return !queued_.empty() || !cancels_.empty() || !starved_.empty() || !finished_.empty() ||
               must_watch_helper() || ring_.has_events();
    }

    void turn(Nanoseconds timeout) override {
        ++turns_;
        if (lent_.are_short()) lent_.lend();
        if (!starved_.empty()) [[unlikely]]
            timeout = feed_starved(timeout);
        cancels_.begin_turn(ring_);
        if (!finished_.empty()) [[unlikely]]
            timeout = 0;
        fill_submissions();
        // (A cancel is answered in the entry that takes it there, as a rule.)
        if (timeout < shortest_sleep || !queued_.empty() || cancels_.have_news() ||
            must_watch_helper() || ::io_uring_cq_ready(ring_.get()) > 0) {
            // The kernel keeps completions back (deferred work, overflow) until it is asked.
            if (::io_uring_sq_ready(ring_.get()) > 0 || ring_.has_deferred()) {
                ring_.look();
                // (It has done a few of them. A turn that has other work to do takes more along.)
                for (int more = 0;
                     timeout < shortest_sleep && more < most_more && ring_.takes_more(); ++more)
                    ring_.look();
            }
        } else {
            ring_.wait(cancels_.limit(timeout));
            if (::io_uring_cq_ready(ring_.get()) == 0) cancels_.heard_nothing();
        }
        // What is postponed from here on waits for the next turn.
        Operation* const last = finished_.empty() ? nullptr : &finished_.back();
        reap();
        if (last) [[unlikely]]
            tell_finished(*last);
    }

    [[gnu::cold]] int pollable() override { return ring_.pollable(); }
    [[gnu::cold]] Nanoseconds begin_wait(Nanoseconds timeout) override {
        if (has_work()) turn(0);
        const bool hurries = !queued_.empty() || cancels_.have_news() || !starved_.empty() ||
                             !finished_.empty() || ring_.has_events();
        return hurries ? 0 : cancels_.limit(timeout);
    }
    [[gnu::cold]] void end_wait() noexcept override {
        if (!ring_.has_events()) cancels_.heard_nothing();
    }

private:
    // Since Linux 6.13 an entry does 20 pieces of deferred work. A loop that sleeps lets its tasks
    // run between them, while what they need is in the cache; one that is busy would have to share
    // its turns among them, and fall behind those who ask.
    static constexpr int most_more = 12;

    static bool is_busy(const Operation& op) noexcept {
        if (op.code == OpCode::read || op.code == OpCode::write || op.code == OpCode::readv ||
            op.code == OpCode::writev)
            return !op.at_own_position();
        return is_file_call(op.code) || op.code == OpCode::close;
    }

    /// The rest of `start`.
    [[gnu::noinline]] bool start_otherwise(Operation& op) noexcept {
        if (op.only_tries()) [[unlikely]]
            return try_once(op);
        if (op.flags & read_cached_first) [[unlikely]] {
            if (read_at_once(op)) return true;
        }
        if (op.code == OpCode::recv_pooled && !lent_) [[unlikely]] {
            // Without a ring of buffers it takes its own along, and keeps it while it waits.
            op.address = buffers_.take();
            op.result = -ENOMEM;
            if (!op.address) return true;
        }
        ++count_of(op);
        return put_in_line(op);
    }

    /// Whoever sends again right after a send has several messages to send: each would wait for a
    /// turn of its own, and what comes in meanwhile would be faster. So its sends are tried at
    /// once, also the first ones of the next rows. (One call more for each message is too much for
    /// those who wait for an answer in between.) False: it is to be submitted.
    [[gnu::noinline]] bool send_at_once(Operation& op, UringLanes::Lanes& lanes) noexcept {
        constexpr std::uint16_t most_alone = 16;
        if (op.expect_wait) return false;
        lanes.at_once =
            lanes.sent_in == turns_ ? most_alone : static_cast<std::uint16_t>(lanes.at_once - 1);
        ++kernel_entries_;
        const ssize_t sent = ::send(op.fd, op.address, op.length,
                                    static_cast<int>(op.flags) | MSG_DONTWAIT | MSG_NOSIGNAL);
        const bool waits = sent < 0 && (errno == EAGAIN || is_interruption(errno));
        op.result = sent >= 0 ? static_cast<int>(sent) : -errno;
        lanes.sent_in = turns_;
        if (waits || op.sent_in_part()) {  // full: the kernel waits better
            lanes.sent_in = 0;
            lanes.at_once = 0;
        }
        return !waits;
    }

    /// One call is faster than a way through the ring and back, if the page cache has it.
    bool read_at_once(Operation& op) noexcept {
        if (op.code != OpCode::read && op.code != OpCode::readv) return false;
        const UringLanes::Lanes* const lanes = op.at_own_position() ? lanes_.find(op.fd) : nullptr;
        // (The position may be theirs to move.)
        const bool others_first =
            lanes && (lanes->of[UringLanes::in] || lanes->of[UringLanes::out]);
        ++kernel_entries_;
        const ssize_t got = others_first ? -1 : read_cached(op);
        if (got < 0 && op.flags != read_cached_only) {
            op.flags = read_past_cache;
            return false;
        }
        op.result = got < 0 ? -EAGAIN : static_cast<int>(got);
        return true;
    }

    /// It does not wait, so there is nothing that the ring could do better.
    [[gnu::cold, gnu::noinline]] bool try_once(Operation& op) noexcept {
        const UringLanes::Lanes* const lanes = lanes_.find(op.fd);
        const bool receives = op.code == OpCode::recv;
        Operation* const first =
            lanes ? lanes->of[receives ? UringLanes::in : UringLanes::out] : nullptr;
        ++kernel_entries_;
        op.result = !first                                        ? attempt_once(op)
                    : receives && would_wait_for_ever(op, *first) ? -EBUSY
                                                                  : -EAGAIN;
        return true;
    }

    /// True: refused.
    [[gnu::noinline]] bool put_in_line(Operation& op) noexcept {
        op.backend_bits = as_itself;
        if (is_file_call(op.code) && !ring_.has_call(op.code)) return hand_over(op);
        if (op.code == OpCode::close) forget(op.fd);
        if (op.code == OpCode::close && is_helped() && end_helped(op.fd)) {
            end_users(op);
            return hand_over(op, true);
        }
        Operation** const lane = lanes_.choose(op);
        if (op.code == OpCode::recv_pooled) op.backend_bits |= pooled;
        if (op.code == OpCode::write && op.offset == current_position) {
            op.flags = ring_.writes_quietly() ? write_quiet : way_to_write(op.fd);
            if (op.flags == write_by_hand) op.backend_bits |= as_poll;
        }
        if (!lane && op.code == OpCode::shutdown) return shut_down_now(op);  // (of no descriptor)
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
            if (op.code == OpCode::shutdown) return shut_down_now(op);
            *lane = &op;
        } else if (is_busy(op)) {
            ++busy_;
        }
        // A close has to end others first, which is the batch's work.
        io_uring_sqe* entry = nullptr;
        if (queued_.empty() && op.code != OpCode::close) entry = ring_.next_entry();
        if (entry) {
            launch(*entry, op);
        } else {
            enqueue(op);
        }
        assert(is_held(op) && "nobody would ever complete or cancel it");
        return false;
    }
    /// The call never waits, and the ring would give it to a thread.
    [[gnu::cold, gnu::noinline]] bool shut_down_now(Operation& op) noexcept {
        --count_of(op);
        ++kernel_entries_;
        op.result = attempt_once(op);
        return true;
    }
    bool is_held(Operation& op) noexcept {
        return op.linked() || (UringLanes::has_lane(op) && *lanes_.of(op) == &op);
    }

    /// Behind a receive that stands on its own: it ends with the connection, and takes all there
    /// is.
    [[gnu::cold]] bool would_wait_for_ever(const Operation& op, const Operation& first) noexcept {
        bool stands = first.stands() && !first.cancelling;
        if (!stands && held_standing_) {
            held_.for_each([&](const Operation& other) {
                stands = stands || (other.fd == op.fd && other.stands());
            });
        }
        if (op.stands()) held_standing_ = true;
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
        if (!UringLanes::has_lane(op)) {
            if (is_busy(op)) --busy_;
        } else if (Operation** const lane = lanes_.of(op); *lane == &op) {
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
        let_next_go(fd, &lanes_.find(fd)->of[in ? UringLanes::in : UringLanes::out]);
        if (in) op.complete(result);
    }

    void let_next_go(int fd, Operation** lane) noexcept {
        held_.for_each([&](Operation& other) {
            // (Whoever is held has a lane.)
            if (*lane || other.fd != fd || lanes_.of(other) != lane) return;
            other.unlink();
            *lane = &other;
            enqueue(other);
        });
    }

    void fill_submissions() {
        if (!watch_helper()) [[unlikely]]
            return;
        while (!queued_.empty()) {
            Operation& op = queued_.front();
            if (op.code == OpCode::close) [[unlikely]] {
                end_users(op);
                if (!cancels_.fill(ring_)) return;  // they go before the close
            }
            if (op.code == OpCode::shutdown) [[unlikely]] {
                op.unlink();  // its turn in its lane has come
                ++kernel_entries_;
                finish(op, attempt_once(op));
                continue;
            }
            io_uring_sqe* const entry = ring_.free_entry();
            if (!entry) return;
            op.unlink();
            launch(*entry, op);
        }
        cancels_.fill(ring_);
    }

    /// Writes the submission. The kernel sees it with the next entry; until then `take_back` can
    /// undo it.
    void launch(io_uring_sqe& entry, Operation& op) noexcept {
        op.state = Operation::State::in_flight;
        if (!UringLanes::has_lane(op)) others_.push_back(op);
        prepare(entry, op);
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
        in_vain_.for_each(end);
        const UringLanes::Lanes* const lanes = lanes_.find(close.fd);
        for (const unsigned direction : {UringLanes::in, UringLanes::out}) {
            if (lanes && lanes->of[direction]) cancel(*lanes->of[direction]);
        }
    }

    void prepare(io_uring_sqe& entry, Operation& op) noexcept {
        if ((op.backend_bits & what_it_is) == as_poll) {
            prepare_readiness(entry, op);
        } else {
            if (op.code == OpCode::recv_pooled) {
                lent_.prepare(entry, op, ring_.poll_first());
            } else {
                prepare_plain(entry, op, ring_.poll_first());
            }
            if ((op.backend_bits & once_refused) && is_message(op)) [[unlikely]]
                make_nonblocking(entry);
        }
        ::io_uring_sqe_set_data(&entry, &op);
    }

    /// What has come by now. (liburing's loop would look at the kernel's end of the queue anew, and
    /// for larger completions, at each.)
    void reap() noexcept {
        const io_uring_cq& queue = ring_->cq;
        const unsigned first = *queue.khead;
        const unsigned end = io_uring_smp_load_acquire(queue.ktail);
        for (unsigned at = first; at != end; ++at) {
            const io_uring_cqe* const cqe = &queue.cqes[at & queue.ring_mask];
            if (cqe->user_data <= UringRing::helper_mark) [[unlikely]] {
                if (cqe->user_data == UringRing::helper_mark) helper_has_news();
                // (It may have waited for nothing but a lost cancel.)
                if (cqe->user_data == UringRing::timer_mark && ring_.timer_ended(cqe->res))
                    cancels_.heard_nothing();
                continue;
            }
            Operation& op = *reinterpret_cast<Operation*>(cqe->user_data);
            const bool itself = op.backend_bits == lane_in || op.backend_bits == lane_out;
            // (Whoever is being cancelled is linked.)
            if (itself && cqe->res >= 0 && !op.linked() && held_.empty()) [[likely]] {
                --count_of(op);
                UringLanes::Lanes& lanes = lanes_.at(op);
                assert(*lanes_.of(op) == &op);
                lanes.of[op.backend_bits >> 3] = nullptr;
                if (op.backend_bits == lane_out) count_send(op, lanes);
                op.more = (cqe->flags & uring_cqe_sock_nonempty) != 0;
                op.complete(cqe->res);
            } else if (op.backend_bits == (lane_in | pooled) && cqe->res > 0 &&
                       (cqe->flags & chunk_and_more) == chunk_and_more) [[likely]] {
                deliver_chunk(op, cqe->res, cqe->flags);
            } else {
                arrived(op, cqe->res, cqe->flags);
            }
        }
        ::io_uring_cq_advance(ring_.get(), end - first);
    }

    void count_send(const Operation& op, UringLanes::Lanes& lanes) noexcept {
        lanes.sent_in = turns_;
        // (A Stream's ask for the whole. Of all others nobody knows whether their close is told.)
        if (op.flags == MSG_WAITALL && ++lanes.sends == UringDirect::worth_it) [[unlikely]]
            direct_.enter(ring_.get(), lanes, op.fd);
    }

    [[gnu::noinline]] void arrived(Operation& op, int result, unsigned flags) noexcept {
        if (op.backend_bits & pooled) {
            if (!pooled_arrived(op, result, flags)) return;
        }
        if (op.linked()) op.unlink();  // others_, cancels_ or asked_: nothing left to cancel
        if (result < 0 && is_interruption(-result)) result = -EINTR;
        const std::uint8_t was = op.backend_bits & what_it_is;
        op.backend_bits ^= was;
        if (result == -ECANCELED && !op.cancelling) [[unlikely]]
            return was_not_begun(op);
        if (was == as_poll) {
            // Ready, or an error that the operation itself will name.
            if (op.cancelling) return finish(op, -ECANCELED);
            return op.code == OpCode::write && op.flags == write_by_hand ? write_now(op)
                                                                         : enqueue(op);
        }
        const bool waits_by_itself =
            op.code == OpCode::poll || op.code == OpCode::connect || is_file_call(op.code);
        if (result == -EINTR || (result == -EAGAIN && !waits_by_itself)) {
            // An O_NONBLOCK file answers EAGAIN instead of waiting; nothing has happened yet.
            if (op.cancelling) return finish(op, -ECANCELED);
            op.backend_bits |= result == -EAGAIN ? as_poll : as_retry;
            return enqueue(op);
        }
        if (result == -EINVAL && op.code == OpCode::poll && !op.cancelling) [[unlikely]]
            return wait_in_vain(op);
        if (op.code == OpCode::openat) after_open(op, result);
        if (was == as_retry && op.code == OpCode::connect && result == -EISCONN) result = 0;
        op.more = (flags & uring_cqe_sock_nonempty) != 0;
        finish(op, result);
    }

    [[gnu::cold, gnu::noinline]] void write_now(Operation& op) noexcept {
        kernel_entries_ += 3;
        const int result = attempt(op, traits_of(op.fd));
        if (result != would_block) return finish(op, result);
        op.backend_bits |= as_poll;
        enqueue(op);
    }

    /// The kernel refuses polls of files that cannot be waited for, where nothing holds that was
    /// asked for. What never happens to them (POLLHUP) is waited for until the wait is cancelled.
    [[gnu::cold, gnu::noinline]] void wait_in_vain(Operation& op) noexcept {
        op.state = Operation::State::queued;
        in_vain_.push_back(op);
    }

    /// Nobody has asked for it: that is a kernel which could not make the thread that was to do the
    /// work (io_wq_enqueue), because of a signal in that moment, or for good.
    [[gnu::cold, gnu::noinline]] void was_not_begun(Operation& op) noexcept {
        if (is_message(op)) {
            // Once it is ready it needs no thread, and then it does not ask for one.
            op.backend_bits |= once_refused | as_poll;
            return enqueue(op);
        }
        if ((op.backend_bits & all_times_refused) != all_times_refused) {
            op.backend_bits = static_cast<std::uint8_t>(op.backend_bits + once_refused);
            return enqueue(op);
        }
        // (The helper does in place what ends and what it cannot make a thread for either.)
        if (UringLanes::has_lane(op) || !is_busy(op)) return finish(op, -EAGAIN);
        if (hand_over(op)) {
            ++count_of(op);  // it has just been taken off
            return finish(op, op.result);
        }
        --busy_;  // it is in there already
    }
    static bool is_message(const Operation& op) noexcept {
        return (op.code == OpCode::send || op.code == OpCode::recv) && !(op.flags & MSG_WAITALL);
    }
    // --- what the kernel has no operation for, or this one not yet ---

    /// True: refused. (It is counted already.)
    [[gnu::noinline]] bool hand_over(Operation& op, bool waits_for_others = false) noexcept {
        int error = 0;
        if (!helper_) [[unlikely]]
            error = file_support().make_helper(helper_);
        op.backend_bits = with_helper;
        if (error == 0) error = helper_->hand_over(op, waits_for_others);
        if (error != 0) {
            --count_of(op);
            op.backend_bits = as_itself;
            op.result = -error;
            return true;
        }
        ++busy_;
        return false;
    }
    bool is_helped() const noexcept { return helper_ && helper_->count() > 0; }
    bool must_watch_helper() const noexcept { return is_helped() && !watching_helper_; }
    /// A poll, as long as the helper has something. False: there is no room in the queue.
    bool watch_helper() {
        if (!must_watch_helper()) return true;
        io_uring_sqe* const entry = ring_.free_entry();
        if (!entry) return false;
        watching_helper_ = true;
        ::io_uring_prep_poll_add(entry, helper_->event_fd(), POLLIN);
        entry->user_data = UringRing::helper_mark;
        return true;
    }
    [[gnu::noinline]] void helper_has_news() noexcept {
        watching_helper_ = false;
        OperationList done;
        helper_->collect(done);
        while (!done.empty()) finish_helped(done.pop_front());
    }
    void finish_helped(Operation& op) noexcept {
        op.backend_bits = as_itself;
        finish(op, op.result);
    }
    [[gnu::cold]] void cancel_helped(Operation& op) noexcept {
        if (op.cancelling) return;
        op.cancelling = true;  // if it runs, its result is the answer
        ++cancelling_;
        if (!helper_->take_back(op)) return;
        op.result = -ECANCELED;
        finish_helped(op);
    }
    /// True: something runs on `fd`.
    [[gnu::cold]] bool end_helped(int fd) noexcept {
        OperationList taken;
        const bool running = helper_->end_all_on(fd, taken);
        while (!taken.empty()) {
            Operation& op = taken.pop_front();
            op.result = -ECANCELED;
            finish_helped(op);
        }
        return running;
    }

    // --- receives into buffers of the pool ---

    static constexpr unsigned chunk_and_more = IORING_CQE_F_BUFFER | IORING_CQE_F_MORE;

    /// From a receive that goes on.
    void deliver_chunk(Operation& op, int result, unsigned flags) noexcept {
        Block& block = lent_.take(flags);
        const auto size = static_cast<std::uint32_t>(result);
        block.fill(size);
        lent_.count_bytes(size);
        op.address = &block;
        op.result = result;
        op.more = (flags & uring_cqe_sock_nonempty) != 0;
        op.on_complete(op);
    }

    /// True: that was the end of the submission, and the rest of `arrived` goes for it too.
    bool pooled_arrived(Operation& op, int result, unsigned flags) noexcept {
        if (flags & IORING_CQE_F_BUFFER) {
            Block& block = lent_.take(flags);
            op.address = &block;
            if (result <= 0) block.release();
        }
        if (result > 0 && (op.backend_bits & what_it_is) != as_poll) {
            const auto size = static_cast<std::uint32_t>(result);
            static_cast<Block*>(op.address)->fill(size);
            lent_.count_bytes(size);
        }
        if (flags & IORING_CQE_F_MORE) {
            op.more = (flags & uring_cqe_sock_nonempty) != 0;
            op.result = result;
            op.on_complete(op);
            return false;
        }
        if (result != -ENOBUFS || !lent_) return true;
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
    [[gnu::noinline]] void keep_or_return(Operation& op, int result) noexcept {
        if (!lent_ && result <= 0) static_cast<Block*>(op.address)->release();
    }

    /// Oldest first, as many as there are buffers. Returns how long the turn may sleep.
    [[gnu::cold, gnu::noinline]] Nanoseconds feed_starved(Nanoseconds timeout) noexcept {
        const bool stuck = timeout != 0 && queued_.empty() && !cancels_.waiting() &&
                           ::io_uring_sq_ready(ring_.get()) == 0;
        const LentBuffers::Supply supply = lent_.supply(stuck);
        if (supply == LentBuffers::Supply::none) finish(starved_.pop_front(), -ENOMEM);
        if (supply != LentBuffers::Supply::some) return 0;
        for (std::uint32_t count = lent_.count(); count > 0 && !starved_.empty(); --count) {
            enqueue(starved_.pop_front());
        }
        return starved_.empty() ? timeout : 0;
    }

    std::uint64_t turns_ = 1;
    LentBuffers lent_;  // before the ring, whose end it survives
    UringRing ring_;
    UringLanes lanes_;
    UringDirect direct_;
    OperationList queued_;
    UringCancels cancels_;
    OperationList others_;    // in flight without a lane
    OperationList held_;      // wait for the one in their lane
    OperationList finished_;  // postponed
    OperationList starved_;   // found no buffer
    OperationList in_vain_;   // wait for what will not happen
    UringPinned pinned_;
    HelperHolder helper_;
    bool watching_helper_ = false;
    bool held_standing_ = false;  // there was one that stands in `held_`
};

}  // namespace weft::detail