// SPDX-License-Identifier: MIT
// EpollSet: the epoll instance, and what it is told of each descriptor.
#pragma once

#include <poll.h>
#include <sys/epoll.h>

#include <cerrno>
#include <climits>
#include <cstdint>
#include <new>

#include "../../base/clock.hpp"
#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../base/std_parts.hpp"
#include "../../base/table.hpp"
#include "../operation.hpp"
#include "attempt.hpp"
#include "exact_sleep.hpp"

namespace weft::detail {

/// What waits on a number, and what the kernel was told of it.
struct Descriptor {
    /// For the next file of this number.
    void begin_anew() noexcept {
        registered = 0;
        ++generation;
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
        : entered_(kernel_entries), epoll_(not_standard(Fd(::epoll_create1(EPOLL_CLOEXEC)))) {
        if (!epoll_) throw_system_error(errno, "epoll_create1");
    }
    EpollSet(const EpollSet&) = delete;
    EpollSet& operator=(const EpollSet&) = delete;
    ~EpollSet() {
        for (Descriptor* const descriptor : descriptors_) delete descriptor;
    }

    Descriptor* find(int fd) noexcept {
        const auto index = static_cast<std::size_t>(fd);
        return fd >= 0 && index < descriptors_.size() ? descriptors_[index] : nullptr;
    }

    /// With its `file`. Null: no memory, or no descriptor at all (errno says which).
    Descriptor* know(int fd) noexcept {
        Descriptor* descriptor = find(fd);
        if (descriptor && descriptor->file.kind != FileTraits::Kind::unknown) return descriptor;
        entered_ += 2;
        const FileTraits file = traits_of(fd);
        if (file.kind == FileTraits::Kind::unknown) return nullptr;
        descriptor = place(fd);
        if (descriptor) descriptor->file = file;
        return descriptor;
    }
    /// Its place, whatever is known of it. Null and errno: no such number, or no memory.
    Descriptor* place(int fd) noexcept {
        if (Descriptor* const known = find(fd)) return known;
        errno = EBADF;
        if (fd < 0) return nullptr;
        const auto index = static_cast<std::size_t>(fd);
        errno = ENOMEM;
        if (!descriptors_.reach(index)) return nullptr;
        return descriptors_[index] = new (std::nothrow) Descriptor();
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

    /// What to register for a poll: POLL* and EPOLL* have the same values on Linux. POLLRDHUP is
    /// always in, as io_uring has it.
    static std::uint32_t poll_mask(const Operation& op) noexcept {
        constexpr std::uint32_t all = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDNORM | EPOLLRDBAND |
                                      EPOLLWRNORM | EPOLLWRBAND | EPOLLMSG;
        return (op.flags & all) | EPOLLRDHUP;
    }

    // What stands in an event for the helper thread.
    static constexpr std::uint64_t helper_tag = ~std::uint64_t{0};

    /// 0 or errno.
    [[gnu::cold]] int watch_helper(int event_fd) noexcept {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = helper_tag;
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, event_fd, &event) != 0) return errno;
        helper_event_ = event_fd;
        return 0;
    }

    /// Registers `wanted` and what is registered already: 0, or errno. `is_new_file`: the number
    /// was closed behind our back and is another file's now, of which nothing is known.
    int watch(int fd, Descriptor& descriptor, std::uint32_t wanted, bool& is_new_file) noexcept {
        is_new_file = false;
        const std::uint32_t together = descriptor.registered | wanted;
        int how = descriptor.registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
        int error = control(how, fd, descriptor, together);
        if (error == ENOENT) {
            // (If the old file lives on under another number, so does its registration: its events
            // carry the old generation.)
            descriptor.begin_anew();
            is_new_file = true;
            return watch_new(fd, descriptor, wanted);
        }
        if (error == EEXIST) error = control(EPOLL_CTL_MOD, fd, descriptor, together);
        if (error == 0) descriptor.registered = together;
        return error;
    }

    /// Level-triggered events that nobody waits for would come back for ever.
    void drop_unwanted(int fd, Descriptor& descriptor, std::uint32_t unwanted) noexcept {
        unwanted &= descriptor.registered;
        if (unwanted == 0) return;
        const std::uint32_t wanted = descriptor.registered & ~unwanted;
        // Refused: the event is an earlier file's, which was closed behind our back.
        if (control(wanted ? EPOLL_CTL_MOD : EPOLL_CTL_DEL, fd, descriptor, wanted) != 0)
            has_stale_ = true;
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
        descriptor.begin_anew();
    }

    /// The descriptor that an event is for; null: an earlier file under its number.
    Descriptor* of(const epoll_event& event, int& fd) noexcept {
        fd = static_cast<int>(event.data.u64 & 0xffffffffU);
        Descriptor* const descriptor = find(fd);
        if (descriptor && tag_of(fd, *descriptor) == event.data.u64) [[likely]]
            return descriptor;
        has_stale_ = true;
        return nullptr;
    }

    /// Are there events of files whose numbers were closed behind our back, and which live on under
    /// others? Nothing can take such a registration out (that takes the number and the file), and
    /// its events would come for ever.
    bool has_stale() const noexcept { return has_stale_; }
    /// A new instance with the registrations that still are of open numbers. Calls `lost` with each
    /// other descriptor.
    /// Throws:   std::system_error (epoll_create1).
    template <class Lost>
    [[gnu::cold]] void renew(Lost lost) {
        has_stale_ = false;
        epoll_.reset();  // first, so that there is a number for the new one
        epoll_ = not_standard(Fd(::epoll_create1(EPOLL_CLOEXEC)));
        if (!epoll_) throw_system_error(errno, "epoll_create1");
        if (helper_event_ >= 0) watch_helper(helper_event_);
        if (outer_) show_outside();
        for (std::size_t index = 0; index < descriptors_.size(); ++index) {
            Descriptor* const descriptor = descriptors_[index];
            if (!descriptor || descriptor->registered == 0) continue;
            const int fd = static_cast<int>(index);
            if (control(EPOLL_CTL_ADD, fd, *descriptor, descriptor->registered) == 0) continue;
            descriptor->begin_anew();
            lost(*descriptor);
        }
    }

    /// Readable while an event waits. An instance of its own around ours, which may be renewed.
    /// Throws:   std::system_error (epoll_create1, epoll_ctl).
    [[gnu::cold]] int pollable() {
        if (!outer_) {
            outer_ = not_standard(Fd(::epoll_create1(EPOLL_CLOEXEC)));
            if (!outer_) throw_system_error(errno, "epoll_create1");
            show_outside();
        }
        return outer_.get();
    }

    template <class Fn>
    void for_each(Fn fn) {
        for (Descriptor* const descriptor : descriptors_) {
            if (descriptor) fn(*descriptor);
        }
    }

    // So few that what an event brings into the cache is still there when its task runs: with 500
    // connections 7 % of an echo, more than the calls that it takes.
    static constexpr int events_per_turn = 64;

    int wait(epoll_event* events, Nanoseconds timeout) {
        if (timeout > 0 && timeout != no_deadline) timeout = exact_.to_ask_for(timeout);
        ++entered_;
        int count = -1;
        if (has_pwait2_) {
            const timespec limit{timeout / 1'000'000'000, timeout % 1'000'000'000};
            count = ::epoll_pwait2(epoll_.get(), events, events_per_turn,
                                   timeout == no_deadline ? nullptr : &limit, nullptr);
            // Before Linux 5.11, or refused by a filter that does not know it: as whatever. If it
            // was not that, the other call says it again.
            if (count < 0 && !is_interruption(errno)) has_pwait2_ = false;
        }
        if (!has_pwait2_) {
            // Rounded up: waking a millisecond early would spin until the deadline.
            const Nanoseconds milliseconds = timeout / 1'000'000 + (timeout % 1'000'000 != 0);
            count =
                ::epoll_wait(epoll_.get(), events, events_per_turn,
                             timeout == no_deadline
                                 ? -1
                                 : static_cast<int>(std::min<Nanoseconds>(milliseconds, INT_MAX)));
        }
        if (count < 0 && !is_interruption(errno)) throw_system_error(errno, "epoll_wait");
        return std::max(count, 0);
    }

private:
    [[gnu::cold]] void show_outside() {
        epoll_event event{};
        event.events = EPOLLIN;
        if (::epoll_ctl(outer_.get(), EPOLL_CTL_ADD, epoll_.get(), &event) != 0)
            throw_system_error(errno, "epoll_ctl");
    }
    int control(int how, int fd, const Descriptor& descriptor, std::uint32_t events) noexcept {
        epoll_event event{};
        event.events = events;
        event.data.u64 = tag_of(fd, descriptor);
        ++entered_;
        return ::epoll_ctl(epoll_.get(), how, fd, &event) == 0 ? 0 : errno;
    }
    [[gnu::cold]] int watch_new(int fd, Descriptor& descriptor, std::uint32_t wanted) noexcept {
        const int error = control(EPOLL_CTL_ADD, fd, descriptor, wanted);
        if (error == 0) descriptor.registered = wanted;
        return error;
    }
    static std::uint64_t tag_of(int fd, const Descriptor& descriptor) noexcept {
        return static_cast<std::uint64_t>(static_cast<std::uint32_t>(fd)) |
               static_cast<std::uint64_t>(descriptor.generation) << 32;
    }

    std::uint64_t& entered_;  // counts system calls
    Fd epoll_;
    Fd outer_;  // what others wait on, if they do
    Table<Descriptor*> descriptors_;
    int helper_event_ = -1;
    bool has_stale_ = false;
    ExactSleep exact_;
    bool has_pwait2_ = true;
};

}  // namespace weft::detail
