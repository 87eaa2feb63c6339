// SPDX-License-Identifier: MIT
// EpollBackend: the same operations where io_uring is refused; tried first, waited for when they
// would block.
// Long because: registration, waiting and the helper share one table of descriptors.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdint>
#include <new>
#include <vector>

#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../base/std_parts.hpp"
#include "../backend.hpp"
#include "attempt.hpp"
#include "helper_thread.hpp"

namespace weft::detail {

/// Level-triggered; a descriptor is registered when somebody first waits on it and stays so, since
/// adding and removing it around each wait would cost two system calls a message. An event that
/// nobody waits for takes that direction out of the registration.
class EpollBackend final : public Backend {
public:
    /// Throws:   std::system_error (epoll_create1).
    [[gnu::cold]] EpollBackend() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
        if (!epoll_) throw_system_error(errno, "epoll_create1");
        info_.name = "epoll";
    }

    bool start(Operation& op) noexcept override {
        Descriptor* const known = find(op.fd);
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
                   known->drained && (known->registered & EPOLLIN) && known->waiters.empty())
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
        ++count_of(op);
        return false;
    }

    void postpone(Operation& op) noexcept override {
        ++count_of(op);
        op.state = Operation::State::in_flight;
        op.backend_bits = retracted;
        finished_.push_back(op);
    }

    void cancel(Operation& op) noexcept override {
        // Ours alone, unlike `state`, which the helper writes while it has the operation.
        if (op.backend_bits == with_helper) {
            if (op.cancelling) return;
            if (helper_->take_back(op)) {
                --busy_;
                finish(op, -ECANCELED);
            } else {
                op.cancelling = true;  // it runs: its result is the answer
            }
            return;
        }
        if (op.backend_bits == retracted) return;  // completed, waits in `finished_`
        if (op.state == Operation::State::idle) return;
        op.unlink();
        finish(op, result_of_cancelled(op));
    }

    void forget(int fd) noexcept override {
        if (fd < 0) return;
        if (end_helped(fd)) helper_->wait_for(fd);
        forget_registration(fd);
    }

    [[gnu::cold]] void end_standing() noexcept override {
        for (const auto& descriptor : descriptors_) {
            if (!descriptor) continue;
            descriptor->waiters.for_each([this](Operation& op) {
                if (op.code == OpCode::recv_pooled) cancel(op);
            });
        }
    }

    bool has_work() const noexcept override { return counts_[0] > 0; }

    void turn(Nanoseconds timeout) override {
        epoll_event events[events_per_turn];
        filled_ = 0;
        const int count = wait(events, finished_.empty() ? timeout : 0);
        for (int index = 0; index < count; ++index) arrived(events[index]);
        if (finished_.empty()) return;
        // What is postponed from here on waits for the next turn.
        const Operation& last = finished_.back();
        for (bool more = true; more;) {
            Operation& op = finished_.pop_front();
            more = &op != &last;
            finish(op, op.result);
        }
    }

private:
    void forget_registration(int fd) noexcept {
        Descriptor* const descriptor = find(fd);
        if (!descriptor) return;
        end_all(*descriptor);
        if (descriptor->registered) {
            // The number is still open, but perhaps a duplicate of it is too, and then close(2)
            // would leave the registration behind.
            ++kernel_entries_;
            ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
        }
        const std::uint32_t generation = descriptor->generation + 1;
        descriptor->reset();
        descriptor->generation = generation;
    }

    // So few that what an event brings into the cache is still there when its task runs: with 500
    // connections 7 % of an echo, more than the calls that it takes.
    static constexpr int events_per_turn = 64;
    // Calls of a kind after each other are cheaper than in turns with others, so chunks are
    // received with their events, as long as the bytes are still in the cache when their readers
    // run.
    static constexpr std::size_t most_filled = 128 * 1024;

    // Operation::backend_bits: who has it.
    static constexpr std::uint8_t waiting = 0;
    static constexpr std::uint8_t with_helper = 1;
    static constexpr std::uint8_t retracted = 2;

    struct Descriptor {
        void reset() noexcept {
            registered = 0;
            file = FileTraits();
            drained = false;
            full = false;
        }

        OperationList waiters;
        std::uint32_t registered = 0;  // EPOLLIN | EPOLLOUT as the kernel has it; 0: not added
        std::uint32_t generation = 0;  // an event of an earlier life of the number is stale
        FileTraits file;
        bool drained = false;  // was read from: wait for an event before the next attempt
        bool full = false;     // has not taken a message whole: the same
    };

    // --- descriptors ---

    Descriptor* find(int fd) noexcept {
        const auto index = static_cast<std::size_t>(fd);
        return fd >= 0 && index < descriptors_.size() ? descriptors_[index].get() : nullptr;
    }

    /// Null: no memory, or no descriptor at all (errno says which).
    Descriptor* know(int fd) noexcept {
        if (Descriptor* const known = find(fd);
            known && known->file.kind != FileTraits::Kind::unknown)
            return known;
        kernel_entries_ += 2;
        const FileTraits file = traits_of(fd);
        if (file.kind == FileTraits::Kind::unknown) return nullptr;
        const auto index = static_cast<std::size_t>(fd);
        try {
            if (index >= descriptors_.size()) {
                descriptors_.resize(std::max(index + 1, descriptors_.size() * 2));
            }
            if (!descriptors_[index]) descriptors_[index] = std::make_unique<Descriptor>();
        } catch (const std::bad_alloc&) {
            errno = ENOMEM;
            return nullptr;
        }
        Descriptor& descriptor = *descriptors_[index];
        descriptor.file = file;
        return &descriptor;
    }

    static std::uint32_t direction_of(const Operation& op) noexcept {
        switch (op.code) {
            case OpCode::read:
            case OpCode::recv:
            case OpCode::recv_pooled:
            case OpCode::accept:
                return EPOLLIN;
            case OpCode::poll:
                return poll_mask(op);
            default:
                return EPOLLOUT;
        }
    }

    /// What to register for a poll. POLL* and EPOLL* have the same values on Linux; the kinds of
    /// data that TCP and files do not know come with the common ones. POLLRDHUP is always in, as
    /// io_uring has it.
    static std::uint32_t poll_mask(const Operation& op) noexcept {
        std::uint32_t mask = op.flags & (EPOLLIN | EPOLLOUT | EPOLLPRI);
        if (op.flags & (POLLRDNORM | POLLRDBAND | POLLMSG)) mask |= EPOLLIN;
        if (op.flags & POLLRDBAND) mask |= EPOLLPRI;
        if (op.flags & (POLLWRNORM | POLLWRBAND)) mask |= EPOLLOUT;
        return mask | EPOLLRDHUP;
    }

    // --- starting ---

    /// The result, or `would_block` when the operation waits from now on.
    int attempt_first(Operation& op) noexcept {
        switch (op.code) {
            case OpCode::openat:
            case OpCode::fsync:
                return hand_to_helper(op);
            case OpCode::close:
                return close_now(op);
            default:
                break;
        }
        Descriptor* const descriptor = know(op.fd);
        if (!descriptor) [[unlikely]]
            return -errno;
        if (!descriptor->waiters.empty() && follows_chunks(op, *descriptor)) return -EBUSY;
        if (op.code == OpCode::read || op.code == OpCode::write) {
            // Such a descriptor would never be ready.
            if (!descriptor->file.allows(op.code)) return -EBADF;
            if (descriptor->file.kind == FileTraits::Kind::file) return on_file(op);
        }
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

    /// As on the ring, where the receive that it would come after ends with the connection.
    [[gnu::noinline]] static bool follows_chunks(const Operation& op, Descriptor& of) noexcept {
        if (op.code != OpCode::recv && op.code != OpCode::read && op.code != OpCode::recv_pooled)
            return false;
        bool chunks = false;
        of.waiters.for_each(
            [&](const Operation& other) { chunks = chunks || other.code == OpCode::recv_pooled; });
        return chunks;
    }

    /// An attempt must not block and should not be known to fail. What stands before us in line
    /// goes first.
    bool may_attempt(Operation& op, Descriptor& descriptor) noexcept {
        if (op.code == OpCode::connect) return true;
        const std::uint32_t direction = direction_of(op);
        bool queued = false;
        descriptor.waiters.for_each(
            [&](Operation& other) { queued = queued || (direction_of(other) & direction); });
        if (queued) return false;
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
            default:
                return descriptor.file.never_blocks();
        }
    }

    /// Regular files never block epoll and cannot be added to it: what is in the page cache is
    /// taken at once, the rest goes to the helper.
    int on_file(Operation& op) noexcept {
        // (Not past those that wait for the helper: the file's own position may be theirs to move.)
        if (op.code == OpCode::read && busy_ == 0) {
            const iovec piece{op.address, op.length};
            ++kernel_entries_;
            const ssize_t got =
                ::preadv2(op.fd, &piece, 1, static_cast<off_t>(op.offset), RWF_NOWAIT);
            if (got >= 0) return static_cast<int>(got);
            if (errno != EAGAIN && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINTR) {
                return -errno;
            }
        }
        return hand_to_helper(op);
    }

    [[gnu::cold]] int hand_to_helper(Operation& op) noexcept {
        if (!helper_) {
            try {
                auto helper = std::make_unique<HelperThread>();
                epoll_event event{};
                event.events = EPOLLIN;
                event.data.u64 = helper_tag;
                if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, helper->event_fd(), &event) != 0)
                    return -errno;
                helper_ = std::move(helper);
            } catch (const std::system_error& error) {
                return -error.code().value();
            } catch (const std::bad_alloc&) {
                return -ENOMEM;
            }
        }
        op.backend_bits = with_helper;
        ++busy_;
        helper_->submit(op);
        return would_block;
    }

    int close_now(Operation& op) noexcept {
        const bool in_use = end_helped(op.fd);
        forget_registration(op.fd);
        // The helper works in order: its close comes after what it does on the file now.
        if (in_use) return hand_to_helper(op);
        ++kernel_entries_;
        // EINTR: Linux has released the number all the same.
        return ::close(op.fd) == 0 || errno == EINTR ? 0 : -errno;
    }

    /// Takes file operations on `fd` back from the helper: they must not reach the next file under
    /// this number. True: one of them runs.
    bool end_helped(int fd) noexcept {
        if (busy_ == 0) return false;
        OperationList taken;
        const bool running = helper_->take_back_all(fd, taken);
        while (!taken.empty()) {
            Operation& op = taken.pop_front();
            --busy_;
            op.backend_bits = retracted;
            op.result = -ECANCELED;
            finished_.push_back(op);
        }
        return running;
    }

    int arm(Operation& op, Descriptor& descriptor) noexcept {
        const std::uint32_t wanted = descriptor.registered | direction_of(op);
        if (wanted != descriptor.registered) {
            const int error = watch(op.fd, descriptor, wanted);
            // Files of kinds that epoll refuses (/dev/null) are always ready.
            if (error == EPERM) return attempt(op, descriptor);
            if (error != 0) return -error;
            descriptor.registered = wanted;
        }
        wait_for_event(op, descriptor);
        return would_block;
    }

    static void wait_for_event(Operation& op, Descriptor& descriptor) noexcept {
        op.state = Operation::State::in_flight;
        op.backend_bits = waiting;
        if (op.code == OpCode::send && op.expect_wait) [[unlikely]]
            return descriptor.waiters.push_front(op);
        descriptor.waiters.push_back(op);
    }

    /// 0 or errno. The registration may not be what we remember when somebody closed the number
    /// behind our back: then the other call is the right one.
    int watch(int fd, const Descriptor& descriptor, std::uint32_t wanted) noexcept {
        epoll_event event{};
        event.events = wanted;
        event.data.u64 = tag_of(fd, descriptor);
        int how = descriptor.registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
        ++kernel_entries_;
        if (::epoll_ctl(epoll_.get(), how, fd, &event) == 0) return 0;
        if (errno != ENOENT && errno != EEXIST) return errno;
        how = errno == ENOENT ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
        ++kernel_entries_;
        return ::epoll_ctl(epoll_.get(), how, fd, &event) == 0 ? 0 : errno;
    }

    // --- attempts ---

    int attempt(Operation& op, Descriptor& descriptor) noexcept {
        // Messages come first and by the shortest way; `attempt` knows the rest.
        int result = would_block;
        if (op.code == OpCode::send) {
            const ssize_t sent = send_now(op, descriptor);
            if (sent >= 0) [[likely]]
                return static_cast<int>(sent);
            return errno == EINTR ? weft::detail::attempt(op, descriptor.file) : failed_call();
        }
        ++kernel_entries_;
        if (op.code == OpCode::recv_pooled) {
            result = receive_pooled(op);
        } else if (op.code == OpCode::recv && (op.flags & MSG_WAITALL) == 0) {
            const ssize_t got = receive_now(op);
            result = got >= 0         ? static_cast<int>(got)
                     : errno == EINTR ? weft::detail::attempt(op, descriptor.file)
                                      : failed_call();
        } else {
            result = weft::detail::attempt(op, descriptor.file);
        }
        const bool reads =
            op.code == OpCode::recv || op.code == OpCode::recv_pooled || op.code == OpCode::read;
        // One read a wake: to ask again right away would mostly be a call that answers EAGAIN,
        // since messages tend to have the size that their reader expects. Level-triggered, so
        // nothing is missed: what is left makes the next wait return at once.
        if (reads && (result >= 0 || result == would_block)) descriptor.drained = true;
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
        Block* const block = take_buffer();
        if (!block) [[unlikely]]
            return -ENOMEM;
        ssize_t got = 0;
        do {
            got = ::recv(op.fd, block->memory(), Block::capacity, MSG_DONTWAIT);
        } while (got < 0 && errno == EINTR);
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
    static bool is_temporary(int error) noexcept { return error == EAGAIN || error == EINTR; }
    static int failed_call() noexcept { return errno == EAGAIN ? would_block : -errno; }

    // --- events ---

    static constexpr std::uint64_t helper_tag = ~std::uint64_t{0};

    static std::uint64_t tag_of(int fd, const Descriptor& descriptor) noexcept {
        return static_cast<std::uint64_t>(static_cast<std::uint32_t>(fd)) |
               static_cast<std::uint64_t>(descriptor.generation) << 32;
    }

    int wait(epoll_event* events, Nanoseconds timeout) {
        ++kernel_entries_;
        int count = -1;
        if (has_pwait2_) {
            const timespec limit{timeout / 1'000'000'000, timeout % 1'000'000'000};
            count = ::epoll_pwait2(epoll_.get(), events, events_per_turn,
                                   timeout == no_deadline ? nullptr : &limit, nullptr);
            if (count < 0 && errno == ENOSYS) has_pwait2_ = false;  // before Linux 5.11
        }
        if (!has_pwait2_) {
            // Rounded up: waking a millisecond early would spin until the deadline.
            const Nanoseconds milliseconds = (timeout + 999'999) / 1'000'000;
            count =
                ::epoll_wait(epoll_.get(), events, events_per_turn,
                             timeout == no_deadline
                                 ? -1
                                 : static_cast<int>(std::min<Nanoseconds>(milliseconds, INT_MAX)));
        }
        if (count < 0 && errno != EINTR) throw_system_error(errno, "epoll_wait");
        return std::max(count, 0);
    }

    void arrived(const epoll_event& event) noexcept {
        if (event.data.u64 == helper_tag) return helper_finished();
        const int fd = static_cast<int>(event.data.u64 & 0xffffffffU);
        Descriptor* const descriptor = find(fd);
        if (!descriptor || tag_of(fd, *descriptor) != event.data.u64) return;
        const std::uint32_t ready =
            event.events & (EPOLLERR | EPOLLHUP) ? ~std::uint32_t{0} : event.events;
        if (ready & (EPOLLIN | EPOLLRDHUP)) descriptor->drained = false;
        if (ready & EPOLLOUT) descriptor->full = false;

        // The usual case: one that receives waits, and nothing that was completed earlier has to be
        // told before it.
        if (finished_.empty() && descriptor->waiters.has_one() && (ready & EPOLLIN)) [[likely]] {
            Operation& op = descriptor->waiters.front();
            if (op.code == OpCode::recv_pooled) {
                int result = filled_ < most_filled ? receive_chunk(op, *descriptor) : -EAGAIN;
                if (result == would_block) [[unlikely]]
                    return;
                // Perhaps nobody reads any more: whoever does may have more luck.
                if (result == -ENOMEM) [[unlikely]]
                    result = -EAGAIN;
                op.unlink();
                if (ready & ~std::uint32_t{EPOLLIN}) [[unlikely]]
                    drop_unwanted(fd, *descriptor, ready & ~std::uint32_t{EPOLLIN});
                return finish(op, result);
            }
            if (op.code == OpCode::recv && (op.flags & MSG_WAITALL) == 0) [[likely]] {
                ++kernel_entries_;
                const ssize_t got = receive_now(op);
                if (got >= 0 || !is_temporary(errno)) [[likely]] {
                    const int result = got >= 0 ? static_cast<int>(got) : -errno;
                    descriptor->drained = result >= 0;
                    op.unlink();
                    if (ready & ~std::uint32_t{EPOLLIN}) [[unlikely]]
                        drop_unwanted(fd, *descriptor, ready & ~std::uint32_t{EPOLLIN});
                    return finish(op, result);
                }
            }
        }
        arrived_for_several(fd, *descriptor, ready);
    }

    [[gnu::noinline]] void arrived_for_several(int fd, Descriptor& of,
                                               std::uint32_t ready) noexcept {
        Descriptor* const descriptor = &of;
        std::uint32_t blocked = 0;  // directions that came to their end in this event
        std::uint32_t served = 0;
        std::uint32_t waited_for = 0;  // by those whose turn is the next event
        descriptor->waiters.for_each([&](Operation& op) {
            const std::uint32_t direction = direction_of(op);
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
            op.backend_bits = retracted;
            finished_.push_back(op);
        });
        drop_unwanted(fd, *descriptor, ready & ~(served | waited_for));
    }

    /// Level-triggered events that nobody waits for would come back for ever.
    void drop_unwanted(int fd, Descriptor& descriptor, std::uint32_t unwanted) noexcept {
        unwanted &= descriptor.registered;
        if (unwanted == 0) return;
        const std::uint32_t wanted = descriptor.registered & ~unwanted;
        epoll_event event{};
        event.events = wanted;
        event.data.u64 = tag_of(fd, descriptor);
        ++kernel_entries_;
        ::epoll_ctl(epoll_.get(), wanted ? EPOLL_CTL_MOD : EPOLL_CTL_DEL, fd, &event);
        descriptor.registered = wanted;
    }

    void helper_finished() noexcept {
        OperationList done;
        helper_->collect(done);
        while (!done.empty()) {
            Operation& op = done.pop_front();
            --busy_;
            op.backend_bits = retracted;
            finished_.push_back(op);
        }
    }

    void end_all(Descriptor& descriptor) noexcept {
        while (!descriptor.waiters.empty()) {
            Operation& op = descriptor.waiters.pop_front();
            finish(op, result_of_cancelled(op));
        }
    }

    void finish(Operation& op, int result) noexcept {
        --count_of(op);
        op.complete(result);
    }

    Fd epoll_;
    std::vector<std::unique_ptr<Descriptor>> descriptors_;
    OperationList finished_;  // completed, not told yet
    std::size_t filled_ = 0;  // bytes of chunks received since the turn began
    std::unique_ptr<HelperThread> helper_;
    bool has_pwait2_ = true;
};

}  // namespace weft::detail
