// SPDX-License-Identifier: MIT
// EpollSet: the epoll instance, and what it is told of each descriptor.
#pragma once

#include <poll.h>
#include <sys/epoll.h>

#include <cerrno>
#include <climits>
#include <cstdint>
#include <new>
#include <vector>

#include "../../base/clock.hpp"
#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../base/std_parts.hpp"
#include "../operation.hpp"
#include "attempt.hpp"

namespace weft::detail {

/// What waits on a number, and what the kernel was told of it.
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

/// Level-triggered; a descriptor is registered when somebody first waits on it and stays so, since
/// adding and removing it around each wait would cost two system calls a message. An event that
/// nobody waits for takes that direction out of the registration.
///
/// Invariants: an operation that waits for an event is in the `waiters` of its descriptor, and the
/// descriptor is registered for its direction.
class EpollSet {
public:
    /// Throws:   std::system_error (epoll_create1).
    [[gnu::cold]] explicit EpollSet(std::uint64_t& kernel_entries)
        : entered_(kernel_entries), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
        if (!epoll_) throw_system_error(errno, "epoll_create1");
    }
    EpollSet(const EpollSet&) = delete;
    EpollSet& operator=(const EpollSet&) = delete;

    Descriptor* find(int fd) noexcept {
        const auto index = static_cast<std::size_t>(fd);
        return fd >= 0 && index < descriptors_.size() ? descriptors_[index].get() : nullptr;
    }

    /// Null: no memory, or no descriptor at all (errno says which).
    Descriptor* know(int fd) noexcept {
        if (Descriptor* const known = find(fd);
            known && known->file.kind != FileTraits::Kind::unknown)
            return known;
        entered_ += 2;
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
            case OpCode::recvmsg:
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

    // What stands in an event for the helper thread.
    static constexpr std::uint64_t helper_tag = ~std::uint64_t{0};

    /// 0 or errno.
    [[gnu::cold]] int watch_helper(int event_fd) noexcept {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = helper_tag;
        return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, event_fd, &event) == 0 ? 0 : errno;
    }

    /// 0 or errno. The registration may not be what we remember when somebody closed the number
    /// behind our back: then the other call is the right one.
    int watch(int fd, const Descriptor& descriptor, std::uint32_t wanted) noexcept {
        epoll_event event{};
        event.events = wanted;
        event.data.u64 = tag_of(fd, descriptor);
        int how = descriptor.registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
        ++entered_;
        if (::epoll_ctl(epoll_.get(), how, fd, &event) == 0) return 0;
        if (errno != ENOENT && errno != EEXIST) return errno;
        how = errno == ENOENT ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
        ++entered_;
        return ::epoll_ctl(epoll_.get(), how, fd, &event) == 0 ? 0 : errno;
    }

    /// Level-triggered events that nobody waits for would come back for ever.
    void drop_unwanted(int fd, Descriptor& descriptor, std::uint32_t unwanted) noexcept {
        unwanted &= descriptor.registered;
        if (unwanted == 0) return;
        const std::uint32_t wanted = descriptor.registered & ~unwanted;
        epoll_event event{};
        event.events = wanted;
        event.data.u64 = tag_of(fd, descriptor);
        ++entered_;
        ::epoll_ctl(epoll_.get(), wanted ? EPOLL_CTL_MOD : EPOLL_CTL_DEL, fd, &event);
        descriptor.registered = wanted;
    }

    /// The number is about to be closed, and everybody has left it.
    void forget(int fd, Descriptor& descriptor) noexcept {
        if (descriptor.registered) {
            // The number is still open, but perhaps a duplicate of it is too, and then close(2)
            // would leave the registration behind.
            ++entered_;
            ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
        }
        const std::uint32_t generation = descriptor.generation + 1;
        descriptor.reset();
        descriptor.generation = generation;
    }

    /// The descriptor that an event is for; null: an earlier file under its number.
    Descriptor* of(const epoll_event& event, int& fd) noexcept {
        fd = static_cast<int>(event.data.u64 & 0xffffffffU);
        Descriptor* const descriptor = find(fd);
        return descriptor && tag_of(fd, *descriptor) == event.data.u64 ? descriptor : nullptr;
    }

    template <class Fn>
    void for_each(Fn fn) {
        for (const auto& descriptor : descriptors_) {
            if (descriptor) fn(*descriptor);
        }
    }

    // So few that what an event brings into the cache is still there when its task runs: with 500
    // connections 7 % of an echo, more than the calls that it takes.
    static constexpr int events_per_turn = 64;

    int wait(epoll_event* events, Nanoseconds timeout) {
        ++entered_;
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

private:
    static std::uint64_t tag_of(int fd, const Descriptor& descriptor) noexcept {
        return static_cast<std::uint64_t>(static_cast<std::uint32_t>(fd)) |
               static_cast<std::uint64_t>(descriptor.generation) << 32;
    }

    std::uint64_t& entered_;  // counts system calls
    Fd epoll_;
    std::vector<std::unique_ptr<Descriptor>> descriptors_;
    bool has_pwait2_ = true;
};

}  // namespace weft::detail
