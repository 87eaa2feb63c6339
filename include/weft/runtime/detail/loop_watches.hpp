// SPDX-License-Identifier: MIT
// EventLoop: callbacks for descriptors of others (add_reader, add_writer).
#pragma once

#include <poll.h>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <utility>
#include <vector>

#include "../../base/callback.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/file_identity.hpp"
#include "../../base/ref.hpp"
#include "../../base/std_parts.hpp"
#include "../../kernel/operation.hpp"
#include "../context.hpp"
#include "../timer_heap.hpp"
#include "event_loop.hpp"
#include "loop_callbacks.hpp"
#include "ready_queue.hpp"

namespace weft {
namespace detail {

/// A callback and the poll that leads to it, which is begun anew after each call: so it is level
/// triggered on both backends. Held by the table, and by whoever has it besides: the backend, the
/// ready queue or a timer.
class FdWatch final : public CallbackNode, Operation, Timer, public Counted<FdWatch> {
public:
    FdWatch(EventLoop& on, int of, bool writes, Callback<void()> call)
        : CallbackNode(&run_or_drop),
          Operation(OpCode::poll, &completed),
          Timer(&brake_is_over),
          loop_(&on),
          context_(on.context_here()),
          fn_(std::move(call)) {
        fd = of;
        flags = writes ? POLLOUT : POLLIN;
        if (!file_.identify(fd))
            throw_system_error(errno, fd_text(writes ? "add_writer" : "add_reader", fd));
    }

    /// Begins to wait; to be called by the one who has made it. (Inlined, g++ 12 takes the
    /// reference that may go here and its caller's for one.)
    [[gnu::noinline]] void begin() noexcept {
        add_ref();
        if (loop_->start(*this)) completed(*this);
    }
    /// It is called no more. (Not inlined for the same reason.)
    [[gnu::cold, gnu::noinline]] void end() noexcept {
        removed_ = true;
        if (!is_running_) fn_.reset();
        if (armed()) {
            loop_->disarm(*this);
            release();
        } else if (Operation::state != Operation::State::idle) {
            loop_->cancel(static_cast<Operation&>(*this));
        }
    }

private:
    bool is_still_meant() const noexcept {
        FileIdentity now;
        return !removed_ && now.identify(fd) && now == file_;
    }

    static void completed(Operation& op) noexcept {
        auto& self = static_cast<FdWatch&>(op);
        if (self.removed_) return self.release();
        if (self.result < 0) return self.fail();
        // The other end writes no more (POLLRDHUP is always told), and we wait for room: that would
        // come back at once, for as long as there is none.
        constexpr Nanoseconds brake = 5'000'000;
        const auto asked = static_cast<int>(self.flags | POLLERR | POLLHUP | POLLNVAL);
        if ((self.flags & POLLOUT) && (self.result & asked) == 0) [[unlikely]]
            return self.wait_for(brake);
        self.loop_->push(self);
    }
    /// ECANCELED, EBADF: the number was closed, which is how most of them end.
    [[gnu::cold]] void fail() noexcept {
        if (result != -ECANCELED && result != -EBADF) {
            loop_->call_exception_handler(
                {"a descriptor is not watched any more",
                 thrown_by([&] { throw_system_error(-result, fd_text("poll", fd)); }),
                 {}});
        }
        removed_ = true;
        fn_.reset();
        release();
    }
    [[gnu::cold]] void wait_for(Nanoseconds delay) noexcept {
        try {
            loop_->arm(*this, deadline_after(loop_->read_clock(), delay));
        } catch (...) {
            loop_->push(*this);  // no memory for a timer
        }
    }
    static void brake_is_over(Timer& timer) noexcept {
        auto& self = static_cast<FdWatch&>(timer);
        self.result = 0;
        self.loop_->push(self);
    }

    static void run_or_drop(CallbackNode& node, Verb verb) noexcept {
        auto& self = static_cast<FdWatch&>(node);
        if (verb == Verb::run && self.result != 0 && self.is_still_meant()) self.call();
        if (verb == Verb::run && self.is_still_meant()) {
            self.begin();
        } else {
            self.removed_ = true;
            self.fn_.reset();
        }
        self.release();
    }
    void call() noexcept {
        is_running_ = true;
        ContextRef own(context_.get());
        const AmbientScope scope(own);
        try {
            fn_();
        } catch (...) {
            loop_->call_exception_handler(
                {"exception in a descriptor's callback", std::current_exception(), {}});
        }
        is_running_ = false;
    }

    EventLoop* const loop_;
    FileIdentity file_;
    bool removed_ = false;
    bool is_running_ = false;
    ContextRef context_;
    Callback<void()> fn_;
};

/// By descriptor number.
struct FdWatches : FdWatchTable {
    struct Pair {
        Ref<FdWatch> of[2];  // reads, writes
    };
    FdWatches() noexcept : FdWatchTable{&forget_both, &delete_it} {}
    FdWatches(const FdWatches&) = delete;
    FdWatches& operator=(const FdWatches&) = delete;
    ~FdWatches() {
        for (Pair& pair : table) {
            for (Ref<FdWatch>& watch : pair.of) {
                if (watch) watch->end();
            }
        }
    }
    Ref<FdWatch>& place(int fd, bool writes) {
        const auto index = static_cast<std::size_t>(fd);
        if (index >= table.size()) table.resize(std::max(index + 1, table.size() * 2));
        return table[index].of[writes];
    }
    bool end(int fd, bool writes) noexcept {
        const auto index = static_cast<std::size_t>(fd);
        if (fd < 0 || index >= table.size()) return false;
        const Ref<FdWatch> watch = std::exchange(table[index].of[writes], Ref<FdWatch>());
        if (watch) watch->end();
        return static_cast<bool>(watch);
    }

    std::vector<Pair> table;

private:
    static void forget_both(FdWatchTable& watches, int fd) noexcept {
        auto& self = static_cast<FdWatches&>(watches);
        self.end(fd, false);
        self.end(fd, true);
    }
    static void delete_it(FdWatchTable& watches) noexcept {
        delete &static_cast<FdWatches&>(watches);
    }
};

}  // namespace detail

[[gnu::cold]] WEFT_INLINE void EventLoop::watch_descriptor(int fd, bool writes,
                                                           detail::Callback<void()> call) {
    check_open(writes ? "add_writer" : "add_reader");
    if (ending_ && !running_) refuse_closed(writes ? "add_writer" : "add_reader");
    detail::Ref<detail::FdWatch> watch(new detail::FdWatch(*this, fd, writes, std::move(call)));
    if (!watches_) watches_ = new detail::FdWatches;
    auto& watches = static_cast<detail::FdWatches&>(*watches_);
    const detail::Ref<detail::FdWatch> before = std::exchange(watches.place(fd, writes), watch);
    watch->begin();
    if (before) before->end();
}

[[gnu::cold]] WEFT_INLINE bool EventLoop::unwatch_descriptor(int fd, bool writes) noexcept {
    return watches_ && static_cast<detail::FdWatches*>(watches_)->end(fd, writes);
}

/// A number is about to be closed.
WEFT_INLINE void EventLoop::forget(int fd) noexcept {
    backend_->forget(fd);
    if (watches_) [[unlikely]]
        watches_->forget(*watches_, fd);
}

}  // namespace weft
