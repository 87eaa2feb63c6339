// SPDX-License-Identifier: MIT
// EpollBackend: the same operations where io_uring is refused; tried first, waited for when they
// would block.
// Long because: starting and the arrival of an event share the ways in which messages are tried.
#pragma once

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstdint>

#include "../../base/std_parts.hpp"
#include "../backend.hpp"
#include "attempt.hpp"
#include "epoll_files.hpp"
#include "epoll_set.hpp"

namespace weft::detail {

/// Invariants: an operation that was started and has not completed is in the `waiters` of its
/// descriptor, with the helper, or in `finished_`; which one, `backend_bits` says.
class EpollBackend final : public Backend {
public:
    /// Throws:   std::system_error (epoll_create1).
    [[gnu::cold]] EpollBackend() : set_(kernel_entries_), files_(set_, busy_, kernel_entries_) {
        lends_buffers_ = true;
    }
    [[gnu::cold, gnu::noinline]] ~EpollBackend() override = default;

    bool start(Operation& op) noexcept override {
        Descriptor* const known = set_.find(op.fd);
        // A socket usually takes a message; `attempt_first` knows the rest.
        if (op.code == OpCode::send && known && known->file.kind == FileTraits::Kind::socket &&
            known->waiters.empty() && !known->full) [[likely]] {
            const ssize_t sent = send_now(op, *known);
            // (An error that was reported once is not reported again: it must not be asked twice.)
            if (sent >= 0 || !is_temporary(errno)) [[likely]] {
                op.result = sent >= 0 ? static_cast<int>(sent) : -errno;
                return true;
            }
        } else if (op.code == OpCode::recv_pooled && known && !known->drained &&
                   known->file.kind == FileTraits::Kind::socket && known->waiters.empty()) {
            const int result = receive_chunk(op, *known);
            if (result != would_block) [[likely]] {
                op.result = result;
                return true;
            }
        } else if ((op.code == OpCode::recv || op.code == OpCode::recv_pooled) && known &&
                   (known->drained || (op.expect_wait && op.takes_datagram())) &&
                   (known->registered & EPOLLIN) && known->waiters.empty() && !op.only_tries())
            [[likely]] {
            // Its turn comes with an event, behind whoever waits already.
            ++count_of(op);
            wait_for_event(op, *known);
            return false;
        }
        return start_slowly(op);
    }
    [[gnu::noinline]] bool start_slowly(Operation& op) noexcept {
        const int result = attempt_first(op);
        if (result != would_block) {
            op.result = result;
            return true;
        }
        assert((op.backend_bits == EpollFiles::with_helper || op.linked()) &&
               "nobody would ever complete or cancel it");
        ++count_of(op);
        return false;
    }

    // (Cold as the ring's is: else g++ takes this one for what is meant in each await of a user's.)
    [[gnu::cold]] void postpone(Operation& op) noexcept override {
        ++count_of(op);
        op.state = Operation::State::in_flight;
        op.backend_bits = EpollFiles::retracted;
        finished_.push_back(op);
    }

    [[gnu::noinline]] void cancel(Operation& op) noexcept override {
        // Ours alone, unlike `state`, which the helper writes while it has the operation.
        if (op.backend_bits == EpollFiles::with_helper) {
            if (op.cancelling) return;
            if (files_.take_back(op)) {
                finish(op, -ECANCELED);
            } else {
                op.cancelling = true;  // it runs: its result is the answer
            }
            return;
        }
        if (op.backend_bits == EpollFiles::retracted) return;  // completed, waits in `finished_`
        if (op.state == Operation::State::idle) return;
        assert(op.linked() && "it was started, and nobody has it");
        op.unlink();
        finish(op, result_of_cancelled(op));
    }

    void forget(int fd) noexcept override {
        if (fd < 0) return;
        if (files_.end_all_on(fd, finished_)) files_.wait_for(fd);
        forget_registration(fd);
    }

    [[gnu::cold]] bool is_sending(int fd) noexcept override {
        Descriptor* const descriptor = set_.find(fd);
        return descriptor && has_queued(*descriptor, EPOLLOUT);
    }

    [[gnu::cold]] void end_standing() noexcept override {
        set_.for_each([this](Descriptor& descriptor) {
            descriptor.waiters.for_each([this](Operation& op) {
                if (op.code == OpCode::recv_pooled) cancel(op);
            });
        });
    }

    bool has_work() const noexcept override { return counts_[0] > 0; }

    void turn(Nanoseconds timeout) override {
        epoll_event events[EpollSet::events_per_turn];
        filled_ = 0;
        const bool sleeps = finished_.empty() && timeout >= shortest_sleep;
        const int count = set_.wait(events, sleeps ? timeout : 0);
        for (int index = 0; index < count; ++index) arrived(events[index]);
        if (set_.has_stale()) [[unlikely]]
            set_.renew([this](Descriptor& lost) { end_all(lost); });
        if (finished_.empty()) return;
        // What is postponed from here on waits for the next turn.
        const Operation& last = finished_.back();
        for (bool more = true; more;) {
            Operation& op = finished_.pop_front();
            more = &op != &last;
            finish(op, op.result);
        }
    }

    [[gnu::cold]] int pollable() override { return set_.pollable(); }
    [[gnu::cold]] Nanoseconds begin_wait(Nanoseconds timeout) override {
        // A turn of the loop does not look for what nobody waits for: the loop's own wake-up.
        if (outstanding() == 0 && background() > 0) turn(0);
        return finished_.empty() ? timeout : 0;
    }
    [[gnu::cold]] void end_wait() noexcept override {}

private:
    void forget_registration(int fd) noexcept {
        Descriptor* const descriptor = set_.find(fd);
        if (!descriptor) return;
        end_all(*descriptor);
        set_.forget(fd, *descriptor);
    }

    // Calls of a kind after each other are cheaper than in turns with others, so chunks are
    // received with their events, as long as the bytes are still in the cache when their readers
    // run.
    static constexpr std::size_t most_filled = 128 * 1024;

    // --- starting ---

    /// The result, or `would_block` when the operation waits from now on.
    int attempt_first(Operation& op) noexcept {
        if (is_file_call(op.code)) return files_.call(op);
        if (op.code == OpCode::close) return close_now(op);
        // (Readiness is the same for all kinds of files. Whoever waits for it may wait on a number
        // that others close, so what is known of it may be another file's.)
        Descriptor* const descriptor =
            op.code == OpCode::poll ? set_.place(op.fd) : set_.know(op.fd);
        if (!descriptor) [[unlikely]]
            return -errno;
        if (!descriptor->waiters.empty() && follows_chunks(op, *descriptor)) return -EBUSY;
        if (op.code == OpCode::read || op.code == OpCode::write) {
            // Such a descriptor would never be ready.
            if (!descriptor->file.allows(op.code)) return -EBADF;
            // (As read(2) says it of pipes and sockets; recv(2) would wait, or take a datagram.)
            if (op.code == OpCode::read && op.length == 0 &&
                (descriptor->file.kind == FileTraits::Kind::pipe ||
                 descriptor->file.kind == FileTraits::Kind::socket))
                return 0;
            if (descriptor->file.kind == FileTraits::Kind::file)
                return files_.read_or_write(op, descriptor->file);
        }
        if (op.only_tries()) [[unlikely]]
            return try_once(op, *descriptor);
        const bool plain = op.code == OpCode::recv || op.code == OpCode::send;
        const bool attempts =
            plain && descriptor->waiters.empty()
                ? !(op.code == OpCode::send ? descriptor->full : descriptor->drained)
                : may_attempt(op, *descriptor);
        if (attempts) {
            const int result = attempt(op, *descriptor);
            if (result != would_block) return result;
        }
        return arm(op, *descriptor);
    }
    [[gnu::cold]] int try_once(Operation& op, Descriptor& descriptor) noexcept {
        if (has_queued(descriptor, EpollSet::direction_of(op))) return -EAGAIN;
        ++kernel_entries_;
        return attempt_once(op);
    }
    static bool has_queued(Descriptor& descriptor, std::uint32_t direction) noexcept {
        bool queued = false;
        descriptor.waiters.for_each([&](Operation& other) {
            queued = queued || (EpollSet::direction_of(other) & direction);
        });
        return queued;
    }

    /// As on the ring, where the receive that it would come after ends with the connection.
    [[gnu::noinline]] static bool follows_chunks(const Operation& op, Descriptor& of) noexcept {
        if (op.code != OpCode::recv && op.code != OpCode::read && op.code != OpCode::recvmsg &&
            op.code != OpCode::recv_pooled)
            return false;
        bool chunks = false;
        of.waiters.for_each([&](const Operation& other) { chunks = chunks || other.stands(); });
        return chunks;
    }

    /// An attempt must not block and should not be known to fail. What stands before us in line
    /// goes first.
    bool may_attempt(Operation& op, Descriptor& descriptor) noexcept {
        if (op.code == OpCode::connect) return true;
        if (has_queued(descriptor, EpollSet::direction_of(op))) return false;
        switch (op.code) {
            case OpCode::recv:
            case OpCode::recv_pooled:
                return !descriptor.drained;
            case OpCode::send:
                return !descriptor.full;
            case OpCode::poll:
                return true;
            case OpCode::accept:
                if (op.expect_wait) return false;
                // A blocking accept could block even after an event (the peer may have gone).
                if (!descriptor.file.nonblocking) {
                    const int flags = ::fcntl(op.fd, F_GETFL);
                    kernel_entries_ += 2;
                    if (flags < 0 || ::fcntl(op.fd, F_SETFL, flags | O_NONBLOCK) < 0) return false;
                    descriptor.file.nonblocking = true;
                }
                return true;
            case OpCode::read:
                return descriptor.file.never_blocks() && !descriptor.drained;
            case OpCode::recvmsg:
                return descriptor.file.never_blocks() && !op.expect_wait;
            default:
                return descriptor.file.never_blocks();
        }
    }

    int close_now(Operation& op) noexcept {
        const bool in_use = files_.end_all_on(op.fd, finished_);
        forget_registration(op.fd);
        // Its close comes after what it does on the file now.
        if (in_use) return files_.hand_over(op, true);
        ++kernel_entries_;
        // EINTR: Linux has released the number all the same.
        return ::close(op.fd) == 0 || is_interruption(errno) ? 0 : -errno;
    }

    int arm(Operation& op, Descriptor& descriptor) noexcept {
        const std::uint32_t wanted = EpollSet::direction_of(op);
        // A bare wait for readiness does not rely on what was registered earlier.
        if ((wanted & ~descriptor.registered) != 0 || op.code == OpCode::poll) {
            bool is_new_file = false;
            const int error = set_.watch(op.fd, descriptor, wanted, is_new_file);
            if (is_new_file) end_all(descriptor);
            if (error == EPERM) return use_unwatched(op, descriptor);
            if (error != 0) return -error;
        }
        wait_for_event(op, descriptor);
        return would_block;
    }

    /// Files of kinds that epoll refuses (/dev/null, folders) are always ready.
    [[gnu::cold]] int use_unwatched(Operation& op, Descriptor& descriptor) noexcept {
        const int result = attempt(op, descriptor);
        if (result != would_block) return result;
        // No event will ever tell when to try again.
        if (op.code != OpCode::poll) return -EAGAIN;
        // What never happens to them (POLLHUP) is waited for until the wait is cancelled.
        wait_for_event(op, descriptor);
        return would_block;
    }

    static void wait_for_event(Operation& op, Descriptor& descriptor) noexcept {
        op.state = Operation::State::in_flight;
        op.backend_bits = EpollFiles::waiting;
        if (op.expect_wait && (op.code == OpCode::send || op.code == OpCode::sendmsg)) [[unlikely]]
            return descriptor.waiters.push_front(op);
        descriptor.waiters.push_back(op);
    }

    // --- attempts ---

    int attempt(Operation& op, Descriptor& descriptor) noexcept {
        // Messages come first and by the shortest way; `attempt` knows the rest.
        int result = would_block;
        if (op.code == OpCode::send) {
            const ssize_t sent = send_now(op, descriptor);
            if (sent >= 0) [[likely]]
                return static_cast<int>(sent);
            return is_interruption(errno) ? weft::detail::attempt(op, descriptor.file)
                                          : failed_call();
        }
        ++kernel_entries_;
        if (op.code == OpCode::recv_pooled) {
            result = receive_pooled(op);
        } else if (op.code == OpCode::recv && (op.flags & MSG_WAITALL) == 0) {
            const ssize_t got = receive_now(op);
            result = got >= 0                 ? static_cast<int>(got)
                     : is_interruption(errno) ? weft::detail::attempt(op, descriptor.file)
                                              : failed_call();
        } else {
            result = weft::detail::attempt(op, descriptor.file);
        }
        const bool reads =
            op.code == OpCode::recv || op.code == OpCode::recv_pooled || op.code == OpCode::read;
        // One read a wake: to ask again right away would mostly be a call that answers EAGAIN,
        // since messages tend to have the size that their reader expects. Level-triggered, so
        // nothing is missed: what is left makes the next wait return at once.
        if (reads && (result >= 0 || result == would_block))
            descriptor.drained = result == would_block || !op.takes_datagram();
        return result;
    }

    ssize_t send_now(const Operation& op, Descriptor& to) noexcept {
        ++kernel_entries_;
        const ssize_t sent = ::send(op.fd, op.address, op.length,
                                    static_cast<int>(op.flags) | MSG_DONTWAIT | MSG_NOSIGNAL);
        to.full = sent >= 0 ? static_cast<std::size_t>(sent) < op.length : errno == EAGAIN;
        return sent;
    }
    static ssize_t receive_now(const Operation& op) noexcept {
        return ::recv(op.fd, op.address, op.length, static_cast<int>(op.flags) | MSG_DONTWAIT);
    }
    int receive_chunk(Operation& op, Descriptor& descriptor) noexcept {
        ++kernel_entries_;
        const int result = receive_pooled(op);
        descriptor.drained = result != -ENOMEM;  // then nothing was tried
        if (result > 0) filled_ += static_cast<std::size_t>(result);
        return result;
    }
    /// The buffer is taken for the attempt alone: whoever waits has none.
    int receive_pooled(Operation& op) noexcept {
        Block* const block = buffers_.take();
        if (!block) [[unlikely]]
            return -ENOMEM;
        ssize_t got = 0;
        do {
            got = ::recv(op.fd, block->memory(), Block::capacity, MSG_DONTWAIT);
        } while (got < 0 && is_interruption(errno));
        if (got > 0) [[likely]] {
            block->fill(static_cast<std::uint32_t>(got));
            op.address = block;
            op.more = got == Block::capacity;
            return static_cast<int>(got);
        }
        const int result = got == 0 ? 0 : failed_call();
        block->release();
        return result;
    }
    static bool is_temporary(int error) noexcept {
        return error == EAGAIN || is_interruption(error);
    }
    static int failed_call() noexcept { return errno == EAGAIN ? would_block : -errno; }

    // --- events ---

    void arrived(const epoll_event& event) noexcept {
        if (event.data.u64 == EpollSet::helper_tag) return files_.collect(finished_);
        int fd = -1;
        Descriptor* const descriptor = set_.of(event, fd);
        if (!descriptor) return;
        const std::uint32_t ready =
            event.events & (EPOLLERR | EPOLLHUP) ? ~std::uint32_t{0} : event.events;
        if (ready & (EPOLLIN | EPOLLRDHUP)) descriptor->drained = false;
        if (ready & EPOLLOUT) descriptor->full = false;

        // The usual case: one that receives waits, and nothing that was completed earlier has to be
        // told before it.
        if (finished_.empty() && descriptor->waiters.has_one() && (ready & EPOLLIN)) [[likely]] {
            Operation& op = descriptor->waiters.front();
            if (op.code == OpCode::poll) [[unlikely]]
                return arrived_for_poll(fd, *descriptor, op, event.events);
            if (op.code == OpCode::recv_pooled) {
                int result = filled_ < most_filled ? receive_chunk(op, *descriptor) : -EAGAIN;
                if (result == would_block) [[unlikely]]
                    return;
                // Perhaps nobody reads any more: whoever does may have more luck.
                if (result == -ENOMEM) [[unlikely]]
                    result = -EAGAIN;
                op.unlink();
                if (ready & ~std::uint32_t{EPOLLIN}) [[unlikely]]
                    set_.drop_unwanted(fd, *descriptor, ready & ~std::uint32_t{EPOLLIN});
                return finish(op, result);
            }
            if (op.code == OpCode::recv && (op.flags & MSG_WAITALL) == 0) [[likely]] {
                ++kernel_entries_;
                const ssize_t got = receive_now(op);
                if (got >= 0 || !is_temporary(errno)) [[likely]] {
                    const int result = got >= 0 ? static_cast<int>(got) : -errno;
                    descriptor->drained = result >= 0 && !op.takes_datagram();
                    op.unlink();
                    if (ready & ~std::uint32_t{EPOLLIN}) [[unlikely]]
                        set_.drop_unwanted(fd, *descriptor, ready & ~std::uint32_t{EPOLLIN});
                    return finish(op, result);
                }
            }
        }
        arrived_for_several(fd, *descriptor, ready);
    }

    /// Nobody else could have taken meanwhile what the event tells of.
    [[gnu::noinline]] void arrived_for_poll(int fd, Descriptor& descriptor, Operation& op,
                                            std::uint32_t events) noexcept {
        const std::uint32_t wanted = EpollSet::poll_mask(op) | EPOLLERR | EPOLLHUP;
        if ((events & wanted) == 0) return arrived_for_several(fd, descriptor, events);
        op.unlink();
        if (events & ~wanted) set_.drop_unwanted(fd, descriptor, events & ~wanted);
        finish(op, static_cast<int>(events & wanted));
    }

    [[gnu::noinline]] void arrived_for_several(int fd, Descriptor& of,
                                               std::uint32_t ready) noexcept {
        Descriptor* const descriptor = &of;
        std::uint32_t blocked = 0;  // directions that came to their end in this event
        std::uint32_t served = 0;
        std::uint32_t waited_for = 0;  // by those whose turn is the next event
        descriptor->waiters.for_each([&](Operation& op) {
            const std::uint32_t direction = EpollSet::direction_of(op);
            if (!(direction & ready) || (direction & blocked)) {
                waited_for |= direction;
                return;
            }
            served |= direction;
            const int result = op.code == OpCode::recv_pooled ? -EAGAIN : attempt(op, *descriptor);
            if (result == would_block) {
                blocked |= direction;
                return;
            }
            // One read a wake: the next one sees the next event, and nobody else waits behind a
            // peer that sends without end.
            blocked |= direction;
            op.unlink();
            op.result = result;
            op.backend_bits = EpollFiles::retracted;
            finished_.push_back(op);
        });
        set_.drop_unwanted(fd, *descriptor, ready & ~(served | waited_for));
    }

    [[gnu::noinline]] void end_all(Descriptor& descriptor) noexcept {
        while (!descriptor.waiters.empty()) {
            Operation& op = descriptor.waiters.pop_front();
            finish(op, result_of_cancelled(op));
        }
    }

    void finish(Operation& op, int result) noexcept {
        --count_of(op);
        op.complete(result);
    }

    EpollSet set_;
    EpollFiles files_;
    OperationList finished_;  // completed, not told yet
    std::size_t filled_ = 0;  // bytes of chunks received since the turn began
};

}  // namespace weft::detail
