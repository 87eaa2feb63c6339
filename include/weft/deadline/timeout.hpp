// SPDX-License-Identifier: MIT
// timeout, timeout_at, Timeout: a deadline around a whole coroutine.
#pragma once

#include <coroutine>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "../base/clock.hpp"
#include "../base/error.hpp"
#include "../base/owned.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"
#include "../runtime/timer_heap.hpp"
#include "../task/coro.hpp"
#include "detail/timed_call.hpp"

namespace weft {
namespace detail {

/// What a deadline that has ended its body leads to: see `Timeout::suspended`.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_for_deadline(bool lacks_memory,
                                                                      std::string_view object) {
    if (lacks_memory) throw std::bad_alloc();
    throw TimeoutError(concat({"timed out", object.empty() ? "" : ": ", object}));
}

class ScopeWalk;
template <class Awaiter>
class TimedBody;
template <class Awaiter>
class TimedEither;
template <class Fn, class Held>
class TimeoutAwaiter;

template <class>
inline constexpr bool is_duration = false;
template <class Rep, class Period>
inline constexpr bool is_duration<std::chrono::duration<Rep, Period>> = true;

}  // namespace detail

/// A deadline that is being kept, for the body that runs under it. Made by `timeout`; or by whoever
/// wants to ask it afterwards:
///
///     weft::Timeout deadline(5s);
///     co_await weft::timeout(deadline, &download);
///     if (deadline.expired()) ...                     // although the body came to its end
///
/// When the deadline passes, the task gets a cancel request like any other: it strikes what the
/// body awaits, a result that won the race is delivered first, and clean-up may await. Leaving
/// takes the request back, so `cancelling()` is what it was. The CancelledError that ended the
/// body becomes a TimeoutError only when nobody else has asked the task to end meanwhile.
class [[nodiscard]] Timeout : private detail::Timer, private detail::EnteredScope {
public:
    /// `delay` counts from the beginning of the body.
    /// Throws:   std::invalid_argument for a duration that is NaN.
    template <class Rep, class Period>
    explicit Timeout(std::chrono::duration<Rep, Period> delay)
        : Timeout(detail::to_limit(delay), Kind::delay) {}
    /// TimePoint::max() is none, as in `current_deadline`.
    explicit Timeout(TimePoint when) noexcept : Timeout(detail::to_limit(when), Kind::deadline) {}
    /// None, until the body sets one.
    explicit Timeout(std::nullopt_t) noexcept : Timeout(detail::no_deadline, Kind::deadline) {}
    Timeout(const Timeout&) = delete;
    Timeout& operator=(const Timeout&) = delete;
    ~Timeout() {
        if (phase_ == Phase::inside) leave();  // the frame is destroyed where it stands
    }

    /// The deadline has passed (or there was no memory for its timer) and the body was asked to
    /// end.
    bool expired() const noexcept { return expired_; }
    /// Empty: there is none.
    std::optional<TimePoint> when() const noexcept {
        if (deadline == detail::no_deadline) return std::nullopt;
        return detail::to_time_point(deadline);
    }

    /// Moves the deadline; one in the past strikes at the next suspension. One that has passed and
    /// lost against a result, so that the body goes on and is still to be struck, is moved too.
    /// Throws:   RuntimeError after the expiry has struck, and outside of the body; std::bad_alloc,
    ///           and then there is no deadline.
    void reschedule(TimePoint when) { move_to(detail::to_limit(when)); }
    /// From now on there is none.
    void reschedule(std::nullopt_t) { move_to(detail::no_deadline); }

private:
    template <class Awaiter>
    friend class detail::TimedBody;
    template <class Awaiter>
    friend class detail::TimedEither;
    template <class Fn, class Held>
    friend class detail::TimeoutAwaiter;
    friend class detail::ScopeWalk;

    enum class Kind : bool { delay, deadline };
    enum class Phase : std::uint8_t { before, inside, after };

    Timeout(detail::Nanoseconds time, Kind kind) noexcept
        : Timer(&due, strikes), EnteredScope(EnteredScope::Kind::timeout), kind_(kind) {
        deadline = time;
    }

    /// The current task begins the body.
    void enter() {
        EventLoop& loop = get_running_loop();
        task_ = &loop.require_task();
        // One that has not struck yet strikes inside: for us it is like one that comes inside.
        requests_before_ = static_cast<std::uint16_t>(
            task_->cancel_requests - (task_->must_cancel && task_->cancel_requests > 0 ? 1 : 0));
        delivered_before_ = task_->delivered;
        phase_ = Phase::inside;
        task_->enter(*this);
        if (deadline == detail::no_deadline) return;
        const detail::Nanoseconds now = loop.read_clock();
        if (kind_ == Kind::delay) deadline = detail::deadline_after(now, deadline);
        if (deadline <= now) [[unlikely]]
            strike_ahead();
    }
    /// The body has stopped for the first time. Until then no timer is needed.
    void suspended() {
        if (armed() || expired_ || deadline == detail::no_deadline) return;
        try {
            task_->loop->arm(*this, deadline);
        } catch (const std::bad_alloc&) {
            // The body may be waiting already, so nothing may be thrown here: it is ended, and
            // whoever awaits it is told then.
            lacks_memory_ = true;
            strike();
        }
    }
    /// The body has ended. True: a CancelledError that ended it was this deadline's.
    bool leave() noexcept {
        if (phase_ == Phase::inside) {
            phase_ = Phase::after;
            task_->leave(*this);
            if (armed()) task_->loop->disarm(*this);
            // (Taking it back tells whether it has struck.)
            if (expired_) ours_ = withdraw() && expired_;
        }
        return ours_;
    }

    void strike() noexcept {
        detail::TaskCore& task = *task_;
        expired_ = true;
        if (task.waiting_on) note_object();
        // The text of an older cancel is not ours; that of one which is still on its way stays.
        if (detail::TaskExtras* const extras = task.extras(); extras && !task.must_cancel) {
            extras->cancel_message.clear();
        }
        if (task.cancel_requests < task.most_cancel_requests) ++task.cancel_requests;
        requests_with_ours_ = task.cancel_requests;
        other_pending_ = task.must_cancel;
        task.must_cancel = true;
        task.loop->pass_on_cancel(task);
    }
    /// While the body runs: its next suspension will be struck, if there is one.
    [[gnu::cold]] void strike_ahead() noexcept {
        ahead_ = true;
        strike();
    }

    /// For the TimeoutError, before the wait ends and its frame goes. Where there is no memory for
    /// it, it goes without.
    [[gnu::cold, gnu::noinline]] void note_object() noexcept {
        try {
            object_.reset(new std::string(detail::text_of_wait(*task_->waiting_on)));
        } catch (const std::bad_alloc&) {
        }
    }
    std::string_view object() const noexcept {
        return object_ ? std::string_view(*object_) : std::string_view();
    }

    /// Takes our request back, whatever the body has taken back of others'. Is nobody else's left?
    /// Then nothing is pending either. Otherwise what is pending stays where somebody else has a
    /// part in it: it was made when another one was still to strike, or another came since.
    bool withdraw() noexcept {
        detail::TaskCore& task = *task_;
        const bool ours_alone = task.cancel_requests <= requests_with_ours_ && !other_pending_;
        if (task.must_cancel && ahead_ && task.cancel_requests <= requests_with_ours_) {
            expired_ = false;  // the body never stopped
        }
        if (task.cancel_requests > 0) --task.cancel_requests;
        const bool others = task.cancel_requests > requests_before_;
        if (!others || ours_alone) task.must_cancel = task.keeps_cancel;
        if (others) return false;
        task.delivered = delivered_before_;
        return true;
    }

    void move_to(detail::Nanoseconds when) {
        if (phase_ != Phase::inside) {
            detail::throw_runtime_error("weft: a Timeout is rescheduled inside of its body only");
        }
        const bool in_body = task_->loop->current_task() == task_;
        const bool strikes_later = task_->must_cancel && (ahead_ || !task_->delivered);
        if (expired_ && !(strikes_later && in_body)) {
            detail::throw_runtime_error("weft: the Timeout has expired");
        }
        if (expired_) withdraw();
        ahead_ = expired_ = false;
        if (armed()) task_->loop->disarm(*this);
        deadline = when;
        if (when == detail::no_deadline) return;
        if (when <= task_->loop->read_clock()) return in_body ? strike_ahead() : strike();
        deadline = detail::no_deadline;  // for as long as there is no timer
        task_->loop->arm(*this, when);
    }

    static void due(detail::Timer& timer) noexcept { static_cast<Timeout&>(timer).strike(); }

    detail::TaskCore* task_ = nullptr;
    detail::Owned<std::string> object_;  // what the body waited for when the deadline struck
    Kind kind_;
    Phase phase_ = Phase::before;
    bool expired_ = false;
    bool ahead_ = false;  // the request was made while the body ran
    bool ours_ = false;
    bool lacks_memory_ = false;   // for its timer, so that it struck at once
    bool other_pending_ = false;  // somebody's request was still to strike when ours was made
    bool delivered_before_ = false;
    std::uint16_t requests_before_ = 0;     // those that had struck when the body began
    std::uint16_t requests_with_ours_ = 0;  // when ours was made
};

namespace detail {

/// Keeps the callable and the deadline; the coroutine is made when it is awaited, and runs like an
/// awaited Coro does: in place, with no frame of ours around it.
template <class Fn, class Held = Timeout>
class [[nodiscard]] [[gnu::warn_unused]] TimeoutAwaiter {
    using Body = decltype(call_timed(std::declval<Fn&>(), std::declval<Timeout&>()));
    using T = typename Body::value_type;

public:
    template <class F>
    TimeoutAwaiter(Nanoseconds time, bool is_deadline, F&& fn)
        : timeout_(time, is_deadline ? Timeout::Kind::deadline : Timeout::Kind::delay),
          fn_(std::forward<F>(fn)) {}
    template <class F>
    TimeoutAwaiter(Timeout& deadline, F&& fn) : timeout_(deadline), fn_(std::forward<F>(fn)) {}
    TimeoutAwaiter(const TimeoutAwaiter&) = delete;
    TimeoutAwaiter& operator=(const TimeoutAwaiter&) = delete;

    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> handle) {
        if (timeout_.phase_ != Timeout::Phase::before)
            throw_runtime_error("weft: a Timeout is used once");
        timeout_.enter();
        try {
            Body body = call_timed(fn_, timeout_);
            if (!body) throw_runtime_error("weft: timeout: the coroutine was used already");
            body_.emplace(body.release());
            if (!body_->await_suspend(handle)) return false;
        } catch (...) {
            timeout_.leave();  // one of the caller's outlives this, and maybe the task
            throw;
        }
        timeout_.suspended();
        return true;
    }
    // Asked by a deadline around this one. Our request must be gone before that one counts.
    bool await_cancelled() const noexcept {
        return !const_cast<Timeout&>(timeout_).leave() && body_->await_cancelled();
    }
    T await_resume() {
        if (timeout_.leave() && body_->await_cancelled()) [[unlikely]]
            throw_for_deadline(timeout_.lacks_memory_, timeout_.object());
        return body_->await_resume();
    }

private:
    Held timeout_;  // or the caller's
    Fn fn_;
    std::optional<CoroAwaiter<T>> body_;
};

}  // namespace detail

/// Runs `fn()` or `fn(timeout)`, which returns a Coro, inside the current task, and asks it to end
/// when `delay` has passed. Arguments may follow: `timeout(1s, &fetch, url)` keeps copies of them.
/// A coroutine will do too: `timeout(1s, fetch(url))`.
/// Returns:  what the coroutine returns, also after the deadline.
/// Throws:   TimeoutError when the deadline ended it; what it throws itself (that of its clean-up
///           included); std::invalid_argument for a duration that is NaN;
///           std::bad_alloc when there is no memory for the timer, which ends what is awaited too.
/// Cancel:   passes through, waits for the clean-up, and wins over a deadline of the same turn.
/// Lifetime: with g++ 12, name a lambda that captures more than references and numbers.
template <class Rep, class Period, class Fn, class... Args>
detail::TimeoutAwaiter<detail::TimedCallOf<Fn, Args...>> timeout(
    std::chrono::duration<Rep, Period> delay, Fn&& fn, Args&&... args) {
    return detail::TimeoutAwaiter<detail::TimedCallOf<Fn, Args...>>(
        detail::to_limit(delay), false,
        detail::timed_call(std::forward<Fn>(fn), std::forward<Args>(args)...));
}

/// The same under a deadline of the caller's, who can ask it afterwards.
/// Throws:   RuntimeError for one that was used before, too.
/// Lifetime: `deadline` outlives the await.
template <class Fn, class... Args>
detail::TimeoutAwaiter<detail::TimedCallOf<Fn, Args...>, Timeout&> timeout(Timeout& deadline,
                                                                           Fn&& fn,
                                                                           Args&&... args) {
    return detail::TimeoutAwaiter<detail::TimedCallOf<Fn, Args...>, Timeout&>(
        deadline, detail::timed_call(std::forward<Fn>(fn), std::forward<Args>(args)...));
}

/// The same without a deadline, for a body that sets one: `timeout(std::nullopt, fn)`.
template <class Fn, class... Args>
detail::TimeoutAwaiter<detail::TimedCallOf<Fn, Args...>> timeout(std::nullopt_t, Fn&& fn,
                                                                 Args&&... args) {
    return detail::TimeoutAwaiter<detail::TimedCallOf<Fn, Args...>>(
        detail::no_deadline, true,
        detail::timed_call(std::forward<Fn>(fn), std::forward<Args>(args)...));
}
/// Refuses everything else.
template <class Limit, class... Rest>
    requires(!detail::is_duration<std::decay_t<Limit>> &&
             !std::is_same_v<std::decay_t<Limit>, Timeout> &&
             !std::is_same_v<std::decay_t<Limit>, std::nullopt_t>)
auto timeout(Limit&&, Rest&&...) {
    static_assert(detail::always_false<Limit>,
                  "weft: the limit, a std::chrono::duration, comes first: timeout(5s, coroutine)");
    return detail::Refused();
}

/// The same with a point in time on the loop's clock. One that has passed strikes at the body's
/// first suspension; a body that does not suspend is not struck.
template <class Fn, class... Args>
detail::TimeoutAwaiter<detail::TimedCallOf<Fn, Args...>> timeout_at(TimePoint when, Fn&& fn,
                                                                    Args&&... args) {
    return detail::TimeoutAwaiter<detail::TimedCallOf<Fn, Args...>>(
        detail::to_limit(when), true,
        detail::timed_call(std::forward<Fn>(fn), std::forward<Args>(args)...));
}
/// Refuses everything else.
template <class When, class... Rest>
    requires(!std::is_convertible_v<When, TimePoint>)
auto timeout_at(When&&, Rest&&...) {
    static_assert(detail::always_false<When>,
                  "weft: timeout_at takes a point in time on the loop's clock: "
                  "timeout_at(weft::get_running_loop().time() + 5s, coroutine)");
    return detail::Refused();
}

}  // namespace weft
