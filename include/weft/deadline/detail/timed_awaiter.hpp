// SPDX-License-Identifier: MIT
// TimedAwaiter: something awaited together with a deadline, without a frame of its own.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstdint>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "../../base/clock.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/ready_await.hpp"
#include "../../runtime/task_core.hpp"
#include "../../runtime/timer_heap.hpp"
#include "../../task/awaitable.hpp"
#include "../timeout.hpp"

namespace weft::detail {

/// Made from an awaitable, as `make_awaiter` or `keep_awaiter` does. (Which one, is asked of the
/// first: the second need not compile for a callable that cannot be copied.)
template <class Awaiter, class A>
decltype(auto) awaiter_for(A&& awaitable) {
    if constexpr (std::is_same_v<Awaiter, AwaiterFrom<A>>) {
        return make_awaiter(std::forward<A>(awaitable));
    } else {
        return keep_awaiter(std::forward<A>(awaitable));
    }
}

/// With a deadline that has passed it is a `try_`: what is there is returned.
template <class Awaiter>
[[gnu::cold, gnu::noinline]] bool try_ready(Awaiter& awaiter) {
    const Uncounted uncounted;
    return awaiter.await_ready();
}
template <class Awaiter>
[[gnu::always_inline]] inline bool ready_by(Awaiter& awaiter, Nanoseconds delay) {
    if (delay <= 0) [[unlikely]]
        return try_ready(awaiter);
    return awaiter.await_ready();
}

/// A single operation: the deadline asks it to end, and its answer is looked at. The task knows
/// nothing of it, and nothing is thrown.
template <class Awaiter>
class TimedOperation : private Timer {
    using Inner = std::remove_reference_t<Awaiter>;

public:
    static constexpr bool refers_to_operation = std::is_reference_v<Awaiter>;
    template <class A>
    TimedOperation(A&& awaitable, Nanoseconds delay)
        : Timer(&due, Timer::strikes), inner_(awaiter_for<Awaiter>(std::forward<A>(awaitable))) {
        deadline = delay;
    }
    TimedOperation(const TimedOperation&) = delete;
    TimedOperation& operator=(const TimedOperation&) = delete;

    bool await_ready() { return ready_by(inner_, deadline); }
    bool await_suspend(std::coroutine_handle<> handle) {
        if (deadline <= 0) [[unlikely]]
            return strike_first(handle);
        if (!suspend_in(inner_, handle)) return false;
        // Nothing resumes in place, so the frame is still ours.
        EventLoop& loop = get_running_loop();
        task_ = loop.current_task();
        try {
            loop.arm(*this, deadline_after(loop.read_clock(), deadline));
        } catch (const std::bad_alloc&) {
            lacks_memory_ = true;  // told when the operation has ended
            due(*this);
        }
        return true;
    }

    /// After the resumption: was it the deadline that ended it, and nobody's cancel?
    bool timed_out() const noexcept {
        stop_clock();
        return fired_ && !task_->must_cancel && inner_.await_cancelled();
    }
    /// It struck at once, for want of memory for its timer.
    bool lacks_memory() const noexcept { return lacks_memory_; }
    /// What it waited for, in words; empty where that is not known.
    [[gnu::cold]] std::string object() const {
        if constexpr (NamesItsObject<Inner>) {
            return inner_.await_object();
        } else {
            return {};
        }
    }
    /// Asked by a deadline around this one.
    bool await_cancelled() const noexcept {
        stop_clock();
        return inner_.await_cancelled() && (!fired_ || task_->must_cancel);
    }
    /// If not.
    decltype(auto) result() { return inner_.await_resume(); }
    /// See GivesBack.
    bool holds_result() const noexcept requires GivesBack<Inner> {
        stop_clock();
        return inner_.holds_result();
    }
    void give_back() noexcept requires GivesBack<Inner> { inner_.give_back(); }

protected:
    Inner& inner() noexcept { return inner_; }
    const Inner& inner() const noexcept { return inner_; }

    ~TimedOperation() {
        if (armed()) task_->loop->disarm(*this);
    }

private:
    /// The wait is over. The awaiter may live on, in the task's next wait or longer than its task.
    void stop_clock() const noexcept {
        if (armed()) task_->loop->disarm(const_cast<TimedOperation&>(*this));
    }

    /// A pending cancel strikes before anything begins, and ends a future that is not done. That
    /// is what a deadline that has passed is to do.
    [[gnu::cold]] bool strike_first(std::coroutine_handle<> handle) {
        struct Request {
            explicit Request(TaskCore& of) noexcept : task(of), before(of.must_cancel) {
                task.must_cancel = true;
            }
            Request(const Request&) = delete;
            Request& operator=(const Request&) = delete;
            ~Request() { task.must_cancel = before; }
            TaskCore& task;
            const bool before;
        };
        task_ = &get_running_loop().require_task();
        fired_ = true;
        const Request request(*task_);
        return suspend_in(inner_, handle);
    }

    static void due(Timer& timer) noexcept {
        auto& self = static_cast<TimedOperation&>(timer);
        self.fired_ = true;
        // Waiting on nothing any more: it has a result already, or was cancelled.
        Suspension* const waiting_on = self.task_->waiting_on;
        if (!waiting_on) return;
        if (TaskCore* const awaited = waiting_on->cancel()) awaited->loop->cancel(*awaited, {});
    }

    Awaiter inner_;  // a reference where the caller's expression holds the awaiter
    TaskCore* task_ = nullptr;
    bool fired_ = false;
    bool lacks_memory_ = false;

    static_assert(LooksAtCancel<Inner>);
};

/// Something that may await many things: the deadline's cancel is a request of the task, which
/// strikes at whatever suspension comes next.
template <class Awaiter>
class TimedBody {
    using Inner = std::remove_reference_t<Awaiter>;
    static_assert(LooksAtCancel<Inner>,
                  "weft: this awaiter cannot tell whether it was cancelled (await_cancelled); "
                  "await it in a coroutine and put the deadline around that");

public:
    static constexpr bool refers_to_operation = std::is_reference_v<Awaiter>;
    template <class A>
    TimedBody(A&& awaitable, Nanoseconds delay)
        : timeout_(delay, Timeout::Kind::delay),
          inner_(awaiter_for<Awaiter>(std::forward<A>(awaitable))) {}
    TimedBody(const TimedBody&) = delete;
    TimedBody& operator=(const TimedBody&) = delete;

    bool await_ready() { return ready_by(inner_, timeout_.deadline); }
    bool await_suspend(std::coroutine_handle<> handle) {
        if (timeout_.deadline <= 0) [[unlikely]]
            return never_start(handle);
        timeout_.enter();
        if (!suspend_in(inner_, handle)) return false;
        timeout_.suspended();
        return true;
    }

    bool timed_out() const noexcept { return end() == End::timed_out; }
    bool lacks_memory() const noexcept { return timeout_.lacks_memory_; }
    std::string_view object() const noexcept { return timeout_.object(); }
    bool await_cancelled() const noexcept { return end() == End::cancelled; }
    decltype(auto) result() {
        if (refused_by_) [[unlikely]]
            refused_by_->loop->throw_cancelled();
        return inner_.await_resume();
    }
    /// See GivesBack.
    bool holds_result() const noexcept requires GivesBack<Inner> {
        return end() == End::completed && inner_.holds_result();
    }
    void give_back() noexcept requires GivesBack<Inner> { inner_.give_back(); }

protected:
    ~TimedBody() = default;

private:
    enum class End : std::uint8_t { unknown, completed, cancelled, timed_out };

    /// Found out once, after the resumption: the request goes with the first look.
    End end() const noexcept {
        if (end_ != End::unknown) return end_;
        if (refused_by_) [[unlikely]]
            return end_ = refused_by_->must_cancel ? End::cancelled : End::timed_out;
        const bool cancelled = inner_.await_cancelled();
        const bool ours = timeout_.leave();
        return end_ = !cancelled ? End::completed : ours ? End::timed_out : End::cancelled;
    }

    /// Others still get their turn: a loop around this must not keep the thread for itself.
    [[gnu::cold]] bool never_start(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        refused_by_ = &loop.require_task();
        refused_by_->coroutine = handle;
        loop.push(*refused_by_);
        return true;
    }

    mutable Timeout timeout_;
    Awaiter inner_;
    TaskCore* refused_by_ = nullptr;
    mutable End end_ = End::unknown;
};

template <class Awaiter>
inline constexpr bool is_single_operation =
    std::is_base_of_v<Suspension, Awaiter>&& LooksAtCancel<Awaiter>;
template <class Fn>
inline constexpr bool is_single_operation<CalledAwaiter<Fn>> =
    is_single_operation<std::remove_reference_t<typename CalledAwaiter<Fn>::Inner>>;
/// Another awaiter around one may say that it is no more than that.
template <class Awaiter>
    requires requires { typename Awaiter::OneOperation; }
inline constexpr bool is_single_operation<Awaiter> = true;
template <class Awaiter>
concept SingleOperation = is_single_operation<std::remove_reference_t<Awaiter>>;

/// An awaiter that stands for a coroutine when `is_call` says so, before it begins: see
/// TimedEither.
template <class Awaiter>
concept MayBeCall = requires(const Awaiter& awaiter) {
    { awaiter.is_call() } -> std::same_as<bool>;
};
template <class Awaiter>
class TimedEither;

template <class Awaiter>
struct TimedAwaiterOf {
    using Type =
        std::conditional_t<SingleOperation<Awaiter>, TimedOperation<Awaiter>, TimedBody<Awaiter>>;
};
template <class Awaiter>
    requires(MayBeCall<std::remove_reference_t<Awaiter>>)
struct TimedAwaiterOf<Awaiter> {
    using Type = TimedEither<Awaiter>;
};
template <class Awaiter>
using TimedAwaiter = typename TimedAwaiterOf<Awaiter>::Type;

}  // namespace weft::detail
