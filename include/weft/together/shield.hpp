// SPDX-License-Identifier: MIT
// shield: waits for a task that goes on when the waiting one is cancelled.
#pragma once

#include <coroutine>
#include <type_traits>
#include <utility>

#include "../task/future.hpp"
#include "detail/child_arguments.hpp"
#include "ensure_future.hpp"

namespace weft {
namespace detail {
template <class T>
class ShieldAwaiter;
}  // namespace detail

/// Waits for a task or future, or for a coroutine that it starts as a task, now. A cancel of the
/// task that awaits the shield ends the wait alone.
///
///     co_await weft::shield(save(document));
///
/// Returns:  the result of the inner one.
/// Throws:   what it throws; CancelledError when it was cancelled, or its awaiter.
/// Cancel:   ends the wait. The inner one runs on: its result is dropped, and its exception is
///           reported like that of every task whose handle was dropped. Keep a handle to wait for
///           it later: at its end the loop cancels what still runs.
template <class A>
auto shield(A&& inner) {
    auto future = ensure_future(std::forward<A>(inner));
    using T = typename decltype(future)::value_type;
    if (!future) detail::throw_empty_handle();
    future.core()->add_ref();
    return detail::ShieldAwaiter<T>(future.core());
}

namespace detail {

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] ShieldAwaiter final : public FutureWait {
public:
    // Takes over a reference.
    explicit ShieldAwaiter(FutureCore* core) noexcept : FutureWait(core) {}
    ~ShieldAwaiter() {
        leave_list();
        core_->release();
    }

    void await_suspend(std::coroutine_handle<> handle) {
        const TaskCore* const task = core_->loop->current_task();
        struck_ = task && task->must_cancel;
        FutureWait::await_suspend(handle);
    }
    TaskCore* cancel() noexcept override {
        leave();
        return nullptr;
    }
    void let_go() noexcept override { leave(); }
    bool await_cancelled() const noexcept {
        return struck_ || !core_->done() || core_->state == FutureCore::State::cancelled;
    }
    T await_resume() {
        check_leftover();
        // Where it ended after we were cancelled and before we run, there is a result to return.
        const TaskCore* const waited = task();
        if (struck_ || !core_->done() ||
            (core_->state == FutureCore::State::cancelled && waited && waited->must_cancel))
            core_->loop->throw_cancelled();
        core_->retrieved = true;
        Outcome<T>& outcome = outcome_of<T>(*core_);
        if constexpr (std::is_copy_constructible_v<T>) {
            if (core_->is_shared()) return outcome.get();
        }
        return outcome.take();
    }

private:
    bool struck_ = false;  // by a cancel that was pending before
};

}  // namespace detail
}  // namespace weft
