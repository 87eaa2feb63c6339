// SPDX-License-Identifier: MIT
// wait_for: an await that throws TimeoutError when it takes too long.
#pragma once

#include <utility>

#include "../base/clock.hpp"
#include "../base/std_parts.hpp"
#include "../task/task.hpp"
#include "detail/timed_awaiter.hpp"
#include "detail/timed_either.hpp"

namespace weft {
namespace detail {

template <class Awaiter>
class WaitForAwaiter;

/// Can `wait_for` and its like await it?
template <class A>
concept Timeable = requires(KeptAwaiter<A> awaiter) {
    awaiter.await_ready();
}
|| requires(A&& awaitable) { operator co_await(static_cast<A&&>(awaitable)); };

}  // namespace detail

/// Awaits a Coro, a Task, a Future or one operation, `limit` at most. When the time is over, what
/// is awaited is cancelled, and its clean-up is waited for. A limit <= 0 takes what is there
/// without waiting: a future that is done, data that is buffered; a coroutine is not started, an
/// operation not begun, and a future or task that is not done is cancelled.
/// Returns:  what is awaited returns, whenever it won against the deadline.
/// Throws:   TimeoutError; what is awaited throws, its clean-up included; std::invalid_argument
///           for a duration that is NaN; std::bad_alloc
///           when there is no memory for the timer, which ends what is awaited too.
/// Cancel:   passes through and wins over a deadline of the same turn.
/// Lifetime: an operation is awaited in the expression that makes it:
///           `co_await wait_for(io::recv(fd, buffer), 5s)`. To hand the whole thing on, give a
///           callable that makes the operation: `return wait_for([&] { return io::recv(fd, buffer);
///           }, 5s);`. It is kept, and called when the whole is awaited.
template <class A, class Rep, class Period>
    requires(detail::Timeable<A>)
detail::WaitForAwaiter<detail::KeptAwaiter<A>> wait_for(A&& awaitable,
                                                        std::chrono::duration<Rep, Period> limit) {
    return detail::WaitForAwaiter<detail::KeptAwaiter<A>>(std::forward<A>(awaitable),
                                                          detail::to_limit(limit));
}
/// Refuses everything else.
template <class A, class Limit>
auto wait_for(A&&, Limit limit) {
    if constexpr (!detail::is_duration<Limit>) {
        static_assert(detail::always_false<Limit>,
                      "weft: the limit is a std::chrono::duration: wait_for(awaitable, 5s)");
        return detail::Refused();
    } else if constexpr (detail::is_coro<std::remove_cvref_t<A>>) {
        static_assert(detail::always_false<A>, "weft: give the coroutine away: std::move(coro)");
        return wait_for(std::remove_cvref_t<A>(nullptr), limit);
    } else {
        static_assert(detail::always_false<A>,
                      "weft: not awaitable: neither a coroutine, a task, a future, an operation "
                      "nor a function without parameters that returns one");
        return detail::Refused();
    }
}

namespace detail {

template <class Awaiter>
class [[nodiscard]] [[gnu::warn_unused]] WaitForAwaiter final : public TimedAwaiter<Awaiter> {
public:
    using TimedAwaiter<Awaiter>::TimedAwaiter;

    decltype(auto) await_resume() {
        if (this->timed_out()) [[unlikely]]
            throw_for_deadline(this->lacks_memory(), this->object());
        return this->result();
    }
};

}  // namespace detail
}  // namespace weft
