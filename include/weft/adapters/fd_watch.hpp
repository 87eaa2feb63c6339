// SPDX-License-Identifier: MIT
// FdWatch: callbacks for a descriptor that belongs to a C library, which may close it by itself.
#pragma once

#include <poll.h>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <system_error>
#include <utility>

#include "../base/callback.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/file_identity.hpp"
#include "../base/intrusive_list.hpp"
#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../kernel/operation.hpp"
#include "../runtime/context.hpp"
#include "../runtime/loop.hpp"
#include "alarm.hpp"

namespace weft {

/// What a descriptor is watched for, and what it is ready for.
enum class FdEvents : unsigned char {
    none = 0,
    read = 1,
    write = 2,
    read_write = 3,
    broken = 4,  ///< told beside the others: an error, or the other end has gone
};
constexpr FdEvents operator|(FdEvents a, FdEvents b) noexcept {
    return static_cast<FdEvents>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr FdEvents operator&(FdEvents a, FdEvents b) noexcept {
    return static_cast<FdEvents>(static_cast<unsigned>(a) & static_cast<unsigned>(b));
}

namespace detail {
class FdWatchCore;
}  // namespace detail

/// Calls `fn(FdEvents)` in the loop, once a turn, for as long as the descriptor is ready for what
/// is wanted: for libraries that say which descriptor they wait on, and for what. (A library that
/// is asked again and again until it is done needs no callback: `io::poll` waits for a descriptor
/// in the middle of a coroutine.)
///
///     weft::FdWatch watch(PQsocket(connection), [&](weft::FdEvents) { PQconsumeInput(connection);
///     }); watch.want(weft::FdEvents::read);
///
/// The library may close the number without a word, and the number may come again as another file:
/// that one is never called for, and `want` takes up whatever has the number then. Until `want` or
/// `stop` is called the ring keeps the old file open, so that its peer sees no end; so call `stop`
/// when the library says that it will close, or has closed.
///
/// May be moved, stopped and destroyed inside of `fn`, which then lives until it returns. What `fn`
/// throws is reported to the loop's exception handler. It goes on while `run` ends, so that a
/// clean-up may use the library; when the loop closes, it is called no more.
/// Thread:   loop thread only.
class FdWatch {
public:
    FdWatch() noexcept = default;
    /// Wants nothing yet. The callback runs in the context of whoever makes it.
    /// Throws:   RuntimeError without a running loop; std::bad_alloc.
    template <class F>
    FdWatch(int fd, F&& fn);
    FdWatch(FdWatch&&) noexcept = default;
    FdWatch& operator=(FdWatch&& other) noexcept;
    ~FdWatch();

    /// What it is called for from now on. Cheap: to want less asks nothing of the kernel, and what
    /// is wanted again before anything has happened is still armed.
    /// Throws:   std::system_error (EBADF); RuntimeError when the loop is closed.
    void want(FdEvents events);
    FdEvents wanted() const noexcept;
    /// Wants nothing, and lets go of the file: the library may close it. Idempotent.
    void stop() noexcept;

    /// Negative when there is none.
    int fd() const noexcept;
    explicit operator bool() const noexcept { return static_cast<bool>(core_); }

private:
    detail::Ref<detail::FdWatchCore> core_;
};

namespace detail {

/// The state of a watch, held by it, by what it has under way, and by the ready queue. A poll is
/// one for each direction, so that wanting more or less of one leaves the other alone, and is begun
/// anew after each call: so it is level-triggered on both backends, and holds for the file that has
/// the number then.
class FdWatchCore final : public CallbackNode, EndsWithLoop, public Counted<FdWatchCore> {
public:
    FdWatchCore(int of, Callback<void(FdEvents)> call)
        : CallbackNode(&run_or_drop),
          EndsWithLoop(&loop_closes),
          fd(of),
          loop_(&get_running_loop()),
          context_(loop_->context_here()),
          fn_(std::move(call)),
          brake_([this] { rearm(); }) {
        loop_->tell_at_close(*this);
    }
    ~FdWatchCore() {
        if (linked()) unlink();
    }

    void want(FdEvents events);
    void stop() noexcept;
    /// The watch goes.
    void end() noexcept {
        stop();
        gone_ = true;
        if (!is_running_) fn_.reset();
    }

    const int fd;
    FdEvents wanted = FdEvents::none;

private:
    /// Outlives its place in the core when the file is let go of before the kernel has answered.
    struct Poll final : Operation, Counted<Poll> {
        Poll(FdWatchCore& of, bool writes) noexcept
            : Operation(OpCode::poll, &completed), core(&of) {
            fd = of.fd;
            flags = writes ? POLLOUT : POLLIN;
        }
        bool is_under_way() const noexcept { return Operation::state != State::idle; }
        FdWatchCore* core;  // null: nobody wants to know
    };
    bool is_still_meant() const noexcept {
        FileIdentity now;
        return now.identify(fd) && now == file_;
    }

    static void completed(Operation& op) noexcept;
    static void run_or_drop(CallbackNode& node, Verb verb) noexcept;
    static void loop_closes(EndsWithLoop& node) noexcept { static_cast<FdWatchCore&>(node).stop(); }
    void found(bool writes, int result) noexcept;
    void call() noexcept;
    void let_go() noexcept;
    void rearm() noexcept;

    EventLoop* const loop_;
    FileIdentity file_;
    FdEvents ready_ = FdEvents::none;  // to be told
    bool is_queued_ = false;
    bool is_running_ = false;
    bool gone_ = false;
    Ref<Poll> polls_[2];  // reads, writes
    ContextRef context_;
    Callback<void(FdEvents)> fn_;
    Alarm brake_;
};

inline void FdWatchCore::want(FdEvents events) {
    events = events & FdEvents::read_write;
    if (events == FdEvents::none) return stop();
    if (!EventLoop::accepts(loop_)) throw_runtime_error("weft: FdWatch: the event loop is closed");
    FileIdentity now;
    if (!now.identify(fd)) {
        const int error = errno;
        stop();
        throw_system_error(error, fd_text("watch", fd));
    }
    if (now != file_) {
        let_go();
        file_ = now;
    }
    for (const bool writes : {false, true}) {
        const FdEvents one = writes ? FdEvents::write : FdEvents::read;
        if ((events & one) != FdEvents::none && !polls_[writes])
            polls_[writes] = Ref<Poll>(new Poll(*this, writes));
    }
    wanted = events;
    if (!is_queued_ && !is_running_) rearm();
}

inline void FdWatchCore::stop() noexcept {
    wanted = FdEvents::none;
    file_ = FileIdentity();
    let_go();
}

/// What is under way ends by itself, and tells nobody.
inline void FdWatchCore::let_go() noexcept {
    ready_ = FdEvents::none;
    brake_.cancel();
    for (Ref<Poll>& place : polls_) {
        const Ref<Poll> poll = std::exchange(place, Ref<Poll>());
        if (!poll) continue;
        poll->core = nullptr;
        if (poll->is_under_way()) loop_->cancel(*poll);
    }
}

/// Begins what is wanted and not under way.
inline void FdWatchCore::rearm() noexcept {
    for (const bool writes : {false, true}) {
        const FdEvents one = writes ? FdEvents::write : FdEvents::read;
        // (A copy: one that ends at once because the number is bad is let go of.)
        const Ref<Poll> poll = polls_[writes];
        if ((wanted & one) == FdEvents::none || !poll || poll->is_under_way()) continue;
        poll->add_ref();
        if (loop_->start(*poll)) completed(*poll);
    }
}

inline void FdWatchCore::completed(Operation& op) noexcept {
    const Ref<Poll> poll(&static_cast<Poll&>(op));
    if (poll->core) poll->core->found(poll->flags == POLLOUT, poll->result);
}

inline void FdWatchCore::found(bool writes, int result) noexcept {
    if (result < 0) {
        // ECANCELED, EBADF: the number was closed, which is how most of them end.
        if (result != -ECANCELED && result != -EBADF) {
            loop_->call_exception_handler(
                {"a descriptor is not watched any more",
                 thrown_by([&] { throw_system_error(-result, fd_text("poll", fd)); }),
                 {}});
        }
        return stop();
    }
    // The other end writes no more (POLLRDHUP is always told), and we wait for room: that would
    // come back at once, for as long as there is none.
    if (writes && (result & (POLLOUT | POLLERR | POLLHUP | POLLNVAL)) == 0) [[unlikely]] {
        try {
            return brake_.set_after(std::chrono::milliseconds(5));
        } catch (...) {
            // No memory for a timer: it comes back by way of a turn that tells nobody.
        }
    } else {
        ready_ = ready_ | (writes ? FdEvents::write : FdEvents::read);
    }
    if ((result & (POLLERR | POLLHUP | POLLNVAL)) != 0) ready_ = ready_ | FdEvents::broken;
    if (std::exchange(is_queued_, true)) return;
    add_ref();
    loop_->push(*this);
}

inline void FdWatchCore::run_or_drop(CallbackNode& node, Verb verb) noexcept {
    const Ref<FdWatchCore> self(&static_cast<FdWatchCore&>(node));
    self->is_queued_ = false;
    if (verb != Verb::run) return self->stop();
    const FdEvents wanted_or_broken = self->wanted | FdEvents::broken;
    self->ready_ = self->ready_ & wanted_or_broken;
    // Who only is broken in a direction that nobody wants any more is not called.
    if ((self->ready_ & FdEvents::read_write) != FdEvents::none) {
        if (!self->is_still_meant()) return self->let_go();
        self->call();
        if (self->wanted == FdEvents::none) return;
    }
    self->ready_ = FdEvents::none;
    if (self->is_still_meant()) return self->rearm();
    self->let_go();
}

inline void FdWatchCore::call() noexcept {
    const FdEvents now = std::exchange(ready_, FdEvents::none);
    is_running_ = true;
    ContextRef own(context_.get());
    const AmbientScope scope(own);
    try {
        fn_(now);
    } catch (...) {
        loop_->call_exception_handler(
            {"exception in a descriptor's callback", std::current_exception(), {}});
    }
    is_running_ = false;
    if (gone_) fn_.reset();
}

}  // namespace detail

template <class F>
FdWatch::FdWatch(int fd, F&& fn)
    : core_(new detail::FdWatchCore(fd, detail::Callback<void(FdEvents)>(std::forward<F>(fn)))) {}

inline FdWatch& FdWatch::operator=(FdWatch&& other) noexcept {
    if (this != &other) {
        if (core_) core_->end();
        core_ = std::move(other.core_);
    }
    return *this;
}
inline FdWatch::~FdWatch() {
    if (core_) core_->end();
}
inline void FdWatch::want(FdEvents events) {
    if (!core_) detail::throw_runtime_error("weft: an empty FdWatch");
    core_->want(events);
}
inline FdEvents FdWatch::wanted() const noexcept { return core_ ? core_->wanted : FdEvents::none; }
inline void FdWatch::stop() noexcept {
    if (core_) core_->stop();
}
inline int FdWatch::fd() const noexcept { return core_ ? core_->fd : -1; }

}  // namespace weft
