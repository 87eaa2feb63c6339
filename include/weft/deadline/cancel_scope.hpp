// SPDX-License-Identifier: MIT
// CancelScope: a part of a task that can be cancelled alone, and stays cancelled until it is left.
#pragma once

#include <coroutine>
#include <optional>
#include <type_traits>
#include <utility>

#include "../base/clock.hpp"
#include "../base/error.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/context.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"
#include "../runtime/timer_heap.hpp"
#include "../task/coro.hpp"
#include "../task/task.hpp"

namespace weft {
namespace detail {
template <class T>
class ScopeAwaiter;
class ScopeWalk;
}  // namespace detail

/// Trio's cancel scope:
///
///     weft::CancelScope scope(30s);
///     co_await scope.run(&serve, std::ref(connection));
///     if (scope.cancelled_caught()) ...
///
/// Whoever has it may `cancel()` it, or move its deadline. The body is then struck at *each* of its
/// awaits until it has ended: what catches a CancelledError and goes on is struck again. (A task's
/// `cancel()` and the other deadlines strike once.) The scope catches the CancelledError that is
/// its own; a cancel from outside passes through and wins. Tasks in a group of the body are asked
/// to end once, by their group. Clean-up that has to await stands in a `clean_up`.
///
/// A shield keeps cancels from outside away from the body; they strike after it.
///
/// The body runs in a task of its own (`current_task` tells) and with the caller's context, which
/// it may change. A scope is entered once.
/// Thread:   loop thread only.
class [[nodiscard]] CancelScope : private detail::Timer, private detail::EnteredScope {
public:
    /// Without a deadline.
    CancelScope() noexcept : CancelScope(detail::no_deadline, false) {}
    /// `limit` counts from the beginning of the body.
    /// Throws:   std::invalid_argument for a duration that is NaN.
    template <class Rep, class Period>
    explicit CancelScope(std::chrono::duration<Rep, Period> limit)
        : CancelScope(detail::to_limit(limit), true) {}
    explicit CancelScope(TimePoint deadline) noexcept
        : CancelScope(detail::to_limit(deadline), false) {}
    CancelScope(const CancelScope&) = delete;
    CancelScope& operator=(const CancelScope&) = delete;
    /// Not while its body runs.
    ~CancelScope() { leave(); }

    /// Runs `fn(args...)`, which returns a Coro (or something else to await), or a coroutine,
    /// inside of the scope.
    /// Returns:  std::optional with the result, empty when the scope has caught its cancel. For
    ///           void: whether the body came to its end.
    /// Throws:   what the body throws; CancelledError for a cancel from outside; RuntimeError for a
    ///           scope that was entered before; std::bad_alloc.
    /// Cancel:   passes through, unless there is a shield.
    /// Lifetime: the scope outlives the await.
    template <class Fn, class... Args>
    auto run(Fn&& fn, Args&&... args) {
        auto body = detail::call_copies(std::forward<Fn>(fn), std::forward<Args>(args)...);
        return detail::ScopeAwaiter<typename decltype(body)::value_type>(*this, std::move(body));
    }
    template <class T>
    detail::ScopeAwaiter<T> run(Coro<T> body) {
        return detail::ScopeAwaiter<T>(*this, std::move(body));
    }

    /// The body is struck at each await from now on, also one that is still to begin. Idempotent.
    void cancel() noexcept;
    /// `cancel` was called, or the deadline has passed.
    bool cancel_called() const noexcept { return cancel_called_; }
    /// That has ended the body, and nothing else has asked for its end.
    bool cancelled_caught() const noexcept { return caught_; }

    /// Empty: there is none. (Before the body begins, that of a limit is not known.)
    std::optional<TimePoint> deadline() const noexcept;
    /// One that has passed cancels at once; none is `std::nullopt`.
    /// Throws:   std::bad_alloc, and then there is no deadline.
    void set_deadline(std::optional<TimePoint> deadline);

    bool shield() const noexcept { return shield_; }
    /// Without it, what was kept away strikes at once.
    void set_shield(bool on) noexcept;

private:
    template <class T>
    friend class detail::ScopeAwaiter;
    friend class detail::ScopeWalk;

    CancelScope(detail::Nanoseconds time, bool is_limit) noexcept
        : Timer(&due, strikes), EnteredScope(Kind::cancel_scope), is_limit_(is_limit) {
        Timer::deadline = time;
    }

    void enter(detail::TaskCore& parent);
    void begin(detail::TaskCore& body) noexcept;
    detail::TaskCore* pass_on() noexcept;
    void leave() noexcept;
    bool was_cancelled_from_outside() const noexcept { return passed_on_ && parent_->must_cancel; }
    static void due(detail::Timer& timer) noexcept { static_cast<CancelScope&>(timer).cancel(); }

    detail::TaskCore* parent_ = nullptr;  // once it was entered
    detail::TaskCore* body_ = nullptr;    // while it runs
    bool is_limit_;                       // the deadline is still to be counted from the beginning
    bool shield_ = false;
    bool cancel_called_ = false;
    bool caught_ = false;
    bool passed_on_ = false;  // the body was told of a cancel from outside
};

namespace detail {

/// Runs a body whose frame and outcome are somebody else's, who looks at them.
template <class T>
class [[nodiscard]] LentBody {
public:
    explicit LentBody(CoroAwaiter<T>& body) noexcept : body_(&body) {}
    bool await_ready() const noexcept { return false; }
    template <class Parent>
    bool await_suspend(std::coroutine_handle<Parent> parent) {
        return body_->await_suspend(parent);
    }
    void await_resume() const noexcept {
        // A CancelledError that ended the body goes to the scope: it is not swallowed here.
        if (body_->await_cancelled()) get_running_loop().current_task()->delivered = false;
    }

private:
    CoroAwaiter<T>* body_;
};
template <class T>
Coro<void> run_lent_body(CoroAwaiter<T>& body) {
    co_await LentBody<T>(body);
}

/// The body's frame is ours, as in CleanUpAwaiter: when a loop is torn down by force, it goes
/// before the locals that it refers to.
template <class T>
class [[nodiscard]] [[gnu::warn_unused]] ScopeAwaiter final : public Suspension,
                                                              private FutureWaiter {
public:
    ScopeAwaiter(CancelScope& scope, Coro<T>&& body)
        : FutureWaiter(nullptr), scope_(&scope), body_(checked(body).release()) {}
    ~ScopeAwaiter() {
        if (!next) return;
        // Our frame is destroyed while it waits, and takes the body's along.
        task_.core()->waiters.erase(*this);
        static_cast<TaskCore*>(task_.core())->waiting_on = nullptr;
        scope_->leave();
    }

    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        TaskCore& parent = loop.require_task();
        scope_->enter(parent);
        TaskState<void>* state = nullptr;
        try {
            Coro<void> lent = run_lent_body(body_);
            state = make_task(loop, lent, CreatedAt());
        } catch (...) {
            scope_->leave();  // it may outlive our task
            throw;
        }
        task_ = Task<void>(state);
        scope_->begin(*state);
        if (loop.is_running()) {
            loop.add_eager(*state);
        } else {
            loop.add(*state);
        }
        if (task_.done()) return false;
        target = &loop.suspend(handle, *this);
        task_.core()->waiters.push_back(*this);
        // Asked meanwhile, by the body itself perhaps.
        if (parent.must_cancel && !scope_->passed_on_) loop.pass_on_cancel(parent);
        return true;
    }
    /// See LooksAtCancel.
    bool await_cancelled() const noexcept {
        end();
        return body_.await_cancelled() && !scope_->caught_;
    }
    auto await_resume() {
        end();
        if (task_.cancelled()) get_running_loop().throw_cancelled();  // closing: it never ran
        const bool is_cancelled = body_.await_cancelled();
        // (Behind a shield a leftover's cancel is held, like by a `clean_up`.)
        const bool is_left = take_leftover() && scope_->passed_on_;
        if (is_left && !is_cancelled) static_cast<void>(body_.await_resume());  // a failure is told
        if (is_left || (is_cancelled && scope_->was_cancelled_from_outside()))
            get_running_loop().throw_cancelled();
        if constexpr (std::is_void_v<T>) {
            if (!scope_->caught_) body_.await_resume();
            return !scope_->caught_;
        } else {
            using Result = std::optional<std::remove_cvref_t<T>>;
            if (scope_->caught_) return Result();
            return Result(body_.await_resume());
        }
    }

    TaskCore* cancel() noexcept override { return scope_->pass_on(); }
    WaitInfo describe() const noexcept override { return {"a cancel scope", -1, task_.core()}; }

private:
    static Coro<T>& checked(Coro<T>& body) {
        if (!body) throw_runtime_error("weft: CancelScope: the coroutine was used already");
        return body;
    }
    /// Found out once, after the resumption.
    void end() const noexcept {
        if (std::exchange(ended_, true)) return;
        CancelScope& scope = *scope_;
        scope.leave();
        TaskCore& parent = *scope.parent_;
        const auto& task = static_cast<const TaskCore&>(*task_.core());
        hand_back_context(task, parent);
        const bool is_cancelled = body_.await_cancelled();
        const bool from_outside = scope.was_cancelled_from_outside();
        scope.caught_ = is_cancelled && scope.cancel_called_ && !from_outside;
        // A body that was struck by it and has gone on has dealt with it, as if it ran in our task.
        if (from_outside && !is_cancelled && !task.must_cancel)
            parent.must_cancel = parent.keeps_cancel;
    }
    static void hand_back_context(const TaskCore& task, TaskCore& parent) noexcept {
        const TaskExtras* const extras = task.extras();
        TaskExtras* const own = parent.extras();
        if (!own && !(extras && extras->context.get())) return;
        try {
            parent.make_extras().context = ContextRef(extras ? extras->context.get() : nullptr);
        } catch (...) {
            // No memory: what the body has set is lost with it.
        }
    }

    CancelScope* scope_;
    Task<void> task_;
    mutable CoroAwaiter<T> body_;
    mutable bool ended_ = false;
};

}  // namespace detail

#if WEFT_BODIES
[[gnu::cold]] WEFT_INLINE void CancelScope::cancel() noexcept {
    if (std::exchange(cancel_called_, true)) return;
    if (armed()) parent_->loop->disarm(*this);
    if (!body_ || body_->done()) return;
    body_->keeps_cancel = true;
    body_->loop->cancel(*body_, {});
}

[[gnu::cold]] WEFT_INLINE std::optional<TimePoint> CancelScope::deadline() const noexcept {
    if (is_limit_ || Timer::deadline == detail::no_deadline) return std::nullopt;
    return detail::to_time_point(Timer::deadline);
}

[[gnu::cold]] WEFT_INLINE void CancelScope::set_deadline(std::optional<TimePoint> deadline) {
    is_limit_ = false;
    if (armed()) parent_->loop->disarm(*this);
    Timer::deadline = detail::no_deadline;  // for as long as there is no timer
    const detail::Nanoseconds when = deadline ? detail::to_limit(*deadline) : detail::no_deadline;
    if (body_ && !cancel_called_ && when != detail::no_deadline) {
        if (when <= body_->loop->read_clock()) {
            cancel();
        } else {
            body_->loop->arm(*this, when);
        }
    }
    Timer::deadline = when;
}

[[gnu::cold]] WEFT_INLINE void CancelScope::set_shield(bool on) noexcept {
    shield_ = on;
    if (on || !body_ || passed_on_ || !parent_->must_cancel || !parent_->waiting_on) return;
    parent_->loop->pass_on_cancel(*parent_);
}

/// Throws before anything has begun.
[[gnu::cold]] WEFT_INLINE void CancelScope::enter(detail::TaskCore& parent) {
    if (parent_) detail::throw_runtime_error("weft: a CancelScope is entered once");
    EventLoop& loop = *parent.loop;
    if (is_limit_) Timer::deadline = detail::deadline_after(loop.read_clock(), Timer::deadline);
    is_limit_ = false;
    parent_ = &parent;
    if (cancel_called_ || Timer::deadline == detail::no_deadline) return;
    if (Timer::deadline <= loop.read_clock()) {
        cancel_called_ = true;
    } else {
        loop.arm(*this, Timer::deadline);
    }
}

[[gnu::cold]] WEFT_INLINE void CancelScope::begin(detail::TaskCore& body) noexcept {
    body_ = &body;
    body.enter(*this);
    if (parent_->must_cancel && !shield_) {
        passed_on_ = true;
        body.keeps_cancel = parent_->keeps_cancel;
        body.must_cancel = true;
        ++body.cancel_requests;
    }
    if (cancel_called_) {
        body.keeps_cancel = body.must_cancel = true;
        ++body.cancel_requests;
    }
}

/// The task that is inside of it is asked to end.
[[gnu::cold]] WEFT_INLINE detail::TaskCore* CancelScope::pass_on() noexcept {
    if (shield_ || !body_) return nullptr;
    passed_on_ = true;
    if (parent_->keeps_cancel) body_->keeps_cancel = true;
    return body_;
}

[[gnu::cold]] WEFT_INLINE void CancelScope::leave() noexcept {
    if (armed()) parent_->loop->disarm(*this);
    if (!body_) return;
    static_cast<detail::TaskCore*>(body_)->leave(*this);
    body_ = nullptr;
}
#endif

}  // namespace weft
