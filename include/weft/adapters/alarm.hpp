// SPDX-License-Identifier: MIT
// Alarm: one callback and one time, set again and again: the timer that a C library asks for.
#pragma once

#include <exception>
#include <utility>

#include "../base/callback.hpp"
#include "../base/clock.hpp"
#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/context.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/timer_heap.hpp"

namespace weft {

namespace detail {
class AlarmCore;
}  // namespace detail

/// Calls `fn()` in the loop once its time has come. Setting it takes the place of what was set
/// before, and takes no memory. Unlike `EventLoop::call_later` it also rings while `run` ends, so
/// that a clean-up may use the library.
///
/// It rings in the loop in which it was set last: one that outlives its loop serves the next.
///
/// May be set, moved and destroyed inside of `fn`. What `fn` throws is reported to the loop's
/// exception handler.
/// Thread:   loop thread only.
class Alarm {
public:
    Alarm() noexcept = default;
    /// The callback runs in the context of whoever makes it.
    /// Throws:   RuntimeError without a running loop; std::bad_alloc.
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, Alarm>)
    explicit Alarm(F&& fn);
    Alarm(Alarm&&) noexcept = default;
    Alarm& operator=(Alarm&& other) noexcept;
    ~Alarm();

    /// Rings when so much time has passed; in the next turn, when that is nothing or less.
    /// Throws:   RuntimeError without a loop that accepts it; std::bad_alloc.
    void set_after(Duration delay);
    /// It does not ring, also where its turn has come. Idempotent.
    void cancel() noexcept;
    bool is_set() const noexcept;

private:
    detail::Ref<detail::AlarmCore> core_;
};

namespace detail {

/// Held by the alarm, and by the heap of timers or the ready queue while it is in either.
class AlarmCore final : public CallbackNode, Timer, public Counted<AlarmCore> {
public:
    explicit AlarmCore(Callback<void()> call)
        : CallbackNode(&run_or_drop),
          Timer(&due),
          loop_(&get_running_loop()),
          context_(loop_->context_here()),
          fn_(std::move(call)) {}

    void set_after(Duration delay) {
        // (Outside of every loop it stays with its own.)
        EventLoop* const here = EventLoop::running() ? EventLoop::running() : loop_;
        if (!EventLoop::accepts(here)) throw_runtime_error("weft: Alarm: the event loop is closed");
        if (here != loop_) move_to(*here);
        const Nanoseconds when = deadline_after(loop_->read_clock(), to_nanoseconds(delay));
        // (The heap has room for one that leaves it and comes again.)
        const bool is_held = armed();
        if (is_held) loop_->disarm(*this);
        loop_->arm(*this, when);
        if (!is_held) add_ref();
        is_set_ = true;
    }
    void cancel() noexcept {
        is_set_ = false;
        if (!armed()) return;
        loop_->disarm(*this);
        release();
    }
    bool is_set() const noexcept { return is_set_; }
    /// The alarm goes.
    void end() noexcept {
        const Ref<AlarmCore> alive = Ref<AlarmCore>::to(*this);
        cancel();
        gone_ = true;
        if (!is_running_) fn_.reset();
    }

private:
    /// Throws:   RuntimeError.
    void move_to(EventLoop& loop) {
        if (is_queued_) throw_runtime_error("weft: Alarm: it is about to ring in another loop");
        cancel();
        loop_ = &loop;
    }
    static void due(Timer& timer) noexcept {
        auto& self = static_cast<AlarmCore&>(timer);
        // It may have been cancelled and set again while its turn had come: one place in the queue
        // is enough then.
        if (std::exchange(self.is_queued_, true)) return self.release();
        self.loop_->push_due(self);
    }
    static void run_or_drop(CallbackNode& node, Verb verb) noexcept {
        const Ref<AlarmCore> self(&static_cast<AlarmCore&>(node));
        self->is_queued_ = false;
        if (self->armed() || !self->is_set_) return;
        if (verb == Verb::run) {
            self->call();
        } else {
            self->is_set_ = false;  // its loop has gone
        }
    }
    void call() noexcept {
        is_set_ = false;
        is_running_ = true;
        ContextRef own(context_.get());
        const AmbientScope scope(own);
        try {
            fn_();
        } catch (...) {
            loop_->call_exception_handler(
                {"exception in a callback", std::current_exception(), {}});
        }
        is_running_ = false;
        if (gone_) fn_.reset();
    }

    EventLoop* loop_;
    bool is_set_ = false;
    bool is_queued_ = false;
    bool is_running_ = false;
    bool gone_ = false;
    ContextRef context_;
    Callback<void()> fn_;
};

}  // namespace detail

template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, Alarm>)
Alarm::Alarm(F&& fn)
    : core_(new detail::AlarmCore(detail::Callback<void()>(std::forward<F>(fn)))) {}

inline Alarm& Alarm::operator=(Alarm&& other) noexcept {
    if (this != &other) {
        if (core_) core_->end();
        core_ = std::move(other.core_);
    }
    return *this;
}
inline Alarm::~Alarm() {
    if (core_) core_->end();
}
inline void Alarm::set_after(Duration delay) {
    if (!core_) detail::throw_runtime_error("weft: an empty Alarm");
    core_->set_after(delay);
}
inline void Alarm::cancel() noexcept {
    if (core_) core_->cancel();
}
inline bool Alarm::is_set() const noexcept { return core_ && core_->is_set(); }

}  // namespace weft
