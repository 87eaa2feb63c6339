// SPDX-License-Identifier: MIT
// clean_up: work that cancels cannot interrupt and a deadline of its own bounds.
#pragma once

#include <coroutine>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "../base/clock.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"
#include "../task/coro.hpp"
#include "../task/task.hpp"
#include "move_on_after.hpp"

namespace weft {
namespace detail {
template <class Fn>
class CleanUpAwaiter;
template <class Fn, class... Args>
class KeptCall;
}  // namespace detail

/// Runs `fn(args...)`, which returns a Coro (or something else to await), to its end although the
/// task is cancelled, or a deadline around it has passed: say goodbye, flush, roll back. Cancels
/// that arrive meanwhile are held and strike at the next suspension after it. `limit` bounds it:
/// when that much time has passed the body is cancelled like by `move_on_after`. A limit <= 0 runs
/// nothing.
///
/// C++ allows no co_await in a handler: catch, keep the exception, leave the handler, clean up,
/// rethrow; or let `async_with` do that.
/// Returns:  whether it came to its end in time (for void); std::optional with the result.
/// Throws:   what it throws; std::invalid_argument for a duration that is NaN;
///           std::bad_alloc when there is no memory for the timer, which ends the body too.
/// Cancel:   held. The body runs in a task of its own (`current_task` tells), which `run` leaves
///           alone when it cancels the tasks that are left; closing the loop ends it.
template <class Rep, class Period, class Fn, class... Args>
auto clean_up(std::chrono::duration<Rep, Period> limit, Fn&& fn, Args&&... args) {
    using Call = std::conditional_t<sizeof...(Args) == 0, std::decay_t<Fn>,
                                    detail::KeptCall<std::decay_t<Fn>, std::decay_t<Args>...>>;
    return detail::CleanUpAwaiter<Call>(detail::to_limit(limit),
                                        Call(std::forward<Fn>(fn), std::forward<Args>(args)...));
}

namespace detail {

/// Awaits what somebody else owns, and leaves the looking at the result to him.
template <class Awaiter>
class [[nodiscard]] LentAwaiter {
public:
    explicit LentAwaiter(Awaiter& awaiter) noexcept : awaiter_(&awaiter) {}
    bool await_ready() { return awaiter_->await_ready(); }
    bool await_suspend(std::coroutine_handle<> handle) { return awaiter_->await_suspend(handle); }
    void await_resume() const noexcept {
        // A request of the deadline is taken back while its task still runs. A CancelledError that
        // ended the body goes to whoever looks at the result: it is not swallowed here.
        if (!awaiter_->timed_out() && awaiter_->await_cancelled()) {
            get_running_loop().current_task()->delivered = false;
        }
    }

private:
    Awaiter* awaiter_;
};

template <class Awaiter>
Coro<void> run_lent(Awaiter& awaiter) {
    co_await LentAwaiter<Awaiter>(awaiter);
}

/// The body runs in a task of its own, so that no request of ours reaches it, and begins at once.
/// Its frame is ours all the same: when a loop is torn down by force, it goes before the locals
/// that it refers to.
template <class Fn>
class [[nodiscard]] [[gnu::warn_unused]] CleanUpAwaiter final : public Suspension,
                                                                private FutureWaiter {
    using Timed = MoveOnAwaiter<AwaiterFrom<Fn&>>;

public:
    template <class F>
    CleanUpAwaiter(Nanoseconds limit, F&& fn)
        : FutureWaiter(nullptr), limit_(limit), fn_(std::forward<F>(fn)) {}
    ~CleanUpAwaiter() {
        if (!next) return;
        // Our frame is destroyed while it waits, and takes the body's along.
        task_.core()->waiters.erase(*this);
        static_cast<TaskCore*>(task_.core())->waiting_on = nullptr;
    }

    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        loop.require_task();
        timed_.emplace(fn_, limit_);
        Coro<void> body = run_lent(*timed_);
        TaskState<void>* const state = make_task(loop, body, CreatedAt());
        task_ = Task<void>(state);
        // Before its first step: what it starts is spared with it.
        state->in_clean_up = state->hands_on = true;
        if (loop.is_running()) {
            loop.add_eager(*state);
        } else {
            loop.add(*state);
        }
        if (task_.done()) return false;
        target = &loop.suspend(handle, *this);
        task_.core()->waiters.push_back(*this);
        return true;
    }
    bool await_cancelled() const noexcept { return false; }
    auto await_resume() {
        if (task_.cancelled()) get_running_loop().throw_cancelled();  // closing, it never ran
        // The await could not even begin; the awaiter knows nothing of it.
        if (task_.core()->state == FutureCore::State::exception) [[unlikely]]
            task_.result();
        // A leftover's cancel was held too, and strikes at the next suspension.
        static_cast<void>(take_leftover());
        return timed_->await_resume();
    }

    // The request stays pending in our task and strikes at its next suspension.
    TaskCore* cancel() noexcept override { return nullptr; }
    WaitInfo describe() const noexcept override { return {"clean-up", -1, task_.core()}; }

private:
    Nanoseconds limit_;
    Fn fn_;
    Task<void> task_;
    std::optional<Timed> timed_;
};

/// `fn(args...)`, with both kept.
template <class Fn, class... Args>
class KeptCall {
public:
    template <class F, class... A>
        requires(sizeof...(A) == sizeof...(Args))  // not in place of a copy
    explicit KeptCall(F&& fn, A&&... args)
        : fn_(std::forward<F>(fn)), args_(std::forward<A>(args)...) {}

    auto operator()() {
        return std::apply(
            [&](Args&... args) {
                if constexpr (std::is_member_pointer_v<Fn>) {
                    return call_member(fn_, args...);
                } else {
                    return fn_(std::move(args)...);
                }
            },
            args_);
    }

private:
    Fn fn_;
    std::tuple<Args...> args_;
};

}  // namespace detail
}  // namespace weft
