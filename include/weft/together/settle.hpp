// SPDX-License-Identifier: MIT
// settle: how an await ends, as a value, without a task and without a try.
#pragma once

#include <coroutine>
#include <cstdint>
#include <exception>
#include <type_traits>
#include <utility>

#include "../base/outcome.hpp"
#include "../runtime/loop.hpp"
#include "../task/awaitable.hpp"
#include "../task/coro.hpp"
#include "detail/child_arguments.hpp"
#include "settled.hpp"

namespace weft {
namespace detail {
template <class Awaiter>
class SettleAwaiter;
/// A handle gives its result, and not a reference to it.
template <class A>
using Settling =
    std::conditional_t<FutureHandle<std::remove_cvref_t<A>>, std::remove_cvref_t<A>, A&&>;
template <class A>
using SettleAwaiterOf = SettleAwaiter<KeptAwaiter<Settling<A>>>;
}  // namespace detail

/// Awaits a coroutine, a task, a future, an operation, or what a function without parameters
/// returns, in place, and gives its end as a value.
///
///     const auto answer = co_await weft::settle(ask(server));
///     if (!answer) note(answer.exception());
///
/// Returns:  a `Settled<T>`: a value (`Void` where there is none, a pointer for a reference), an
///           exception, or "cancelled", when somebody else has cancelled the task that is awaited.
/// Throws:   CancelledError, when our own task is cancelled (by a deadline around it, too).
/// Cancel:   passes through.
/// Lifetime: an operation is awaited in the expression that makes it.
template <class A>
    requires(!detail::NamedCoro<A>)
detail::SettleAwaiterOf<A> settle(A&& awaitable) {
    return detail::SettleAwaiterOf<A>(static_cast<detail::Settling<A>>(std::forward<A>(awaitable)));
}
/// Refused, for the await uses it up.
template <class A>
    requires(detail::NamedCoro<A>)
detail::Refused settle(A&&) {
    static_assert(detail::always_false<A>, "weft: give the coroutine away: std::move(coro)");
    return {};
}

namespace detail {

template <class Awaiter>
class [[nodiscard]] [[gnu::warn_unused]] SettleAwaiter {
    using T = decltype(std::declval<Awaiter&>().await_resume());
    using Result = Settled<Stored<T>>;

public:
    // (It is not moved, which a constructor that took everything would promise.)
    template <class A>
        requires(!std::is_same_v<std::remove_cvref_t<A>, SettleAwaiter>)
    explicit SettleAwaiter(A&& awaitable) : inner_(keep_awaiter(std::forward<A>(awaitable))) {}
    SettleAwaiter(const SettleAwaiter&) = delete;
    SettleAwaiter& operator=(const SettleAwaiter&) = delete;

    bool await_ready() {
        task_ = &get_running_loop().require_task();
        // One that has not struck yet strikes inside.
        const bool pending = task_->must_cancel && task_->cancel_requests > 0;
        requests_before_ = static_cast<std::uint16_t>(task_->cancel_requests - (pending ? 1 : 0));
        return inner_.await_ready();
    }
    bool await_suspend(std::coroutine_handle<> handle) { return suspend_in(inner_, handle); }
    /// Asked by a deadline around this one.
    bool await_cancelled() const noexcept { return is_ours() && inner_.await_cancelled(); }
    Result await_resume() {
        try {
            if constexpr (std::is_void_v<T>) {
                inner_.await_resume();
                return Result(Void());
            } else if constexpr (std::is_reference_v<T>) {
                return Result(std::addressof(inner_.await_resume()));
            } else {
                return Result(inner_.await_resume());
            }
        } catch (...) {
            const bool cancelled = handling_cancelled_error();
            if (cancelled && is_ours()) throw;
            return Result(std::current_exception(), cancelled);
        }
    }

private:
    bool is_ours() const noexcept { return task_->cancel_requests > requests_before_; }

    Awaiter inner_;
    TaskCore* task_ = nullptr;
    std::uint16_t requests_before_ = 0;
};

}  // namespace detail
}  // namespace weft
