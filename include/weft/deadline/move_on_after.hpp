// SPDX-License-Identifier: MIT
// move_on_after: an await that gives nothing, and throws nothing, when it takes too long.
#pragma once

#include <optional>
#include <type_traits>
#include <utility>

#include "../base/clock.hpp"
#include "../base/std_parts.hpp"
#include "../task/task.hpp"
#include "detail/timed_awaiter.hpp"
#include "detail/timed_either.hpp"
#include "wait_for.hpp"

namespace weft {
namespace detail {
template <class Awaiter>
class MoveOnAwaiter;
}  // namespace detail

/// Awaits a Coro, a Task, a Future or one operation, `limit` at most; like `wait_for`, but without
/// an exception: around a single operation none is thrown inside either.
/// Returns:  std::optional with the result, empty when the deadline ended it. For void: whether it
///           came to its end.
/// Throws:   what is awaited throws, its clean-up included; std::invalid_argument for a duration
///           that is NaN; std::bad_alloc
///           when there is no memory for the timer, which ends what is awaited too.
/// Cancel:   passes through and wins over a deadline of the same turn.
/// Lifetime: an operation is awaited in the expression that makes it:
///           `co_await move_on_after(5s, io::recv(fd, buffer))`. To hand the whole thing on, give a
///           callable that makes the operation: `return move_on_after(5s, [&] { return io::recv(fd,
///           buffer); });`. It is kept, and called when the whole is awaited.
template <class A, class Rep, class Period>
    requires(detail::Timeable<A>)
detail::MoveOnAwaiter<detail::KeptAwaiter<A>> move_on_after(
    std::chrono::duration<Rep, Period> limit, A&& awaitable) {
    return detail::MoveOnAwaiter<detail::KeptAwaiter<A>>(std::forward<A>(awaitable),
                                                         detail::to_limit(limit));
}
/// Refuses everything else.
template <class A, class Limit>
auto move_on_after(Limit limit, A&&) {
    if constexpr (!detail::is_duration<Limit>) {
        static_assert(detail::always_false<Limit>,
                      "weft: the limit is a std::chrono::duration: move_on_after(5s, awaitable)");
        return detail::Refused();
    } else if constexpr (detail::is_coro<std::remove_cvref_t<A>>) {
        static_assert(detail::always_false<A>, "weft: give the coroutine away: std::move(coro)");
        return move_on_after(limit, std::remove_cvref_t<A>(nullptr));
    } else {
        static_assert(detail::always_false<A>,
                      "weft: not awaitable: neither a coroutine, a task, a future, an operation "
                      "nor a function without parameters that returns one");
        return detail::Refused();
    }
}

namespace detail {

template <class Awaiter>
class [[nodiscard]] [[gnu::warn_unused]] MoveOnAwaiter final : public TimedAwaiter<Awaiter> {
    using T = std::remove_cvref_t<decltype(std::declval<Awaiter&>().await_resume())>;

public:
    using TimedAwaiter<Awaiter>::TimedAwaiter;

    auto await_resume() {
        const bool timed_out = this->timed_out();
        if (timed_out && this->lacks_memory()) [[unlikely]]
            throw std::bad_alloc();
        if constexpr (std::is_void_v<T>) {
            if (!timed_out) this->result();
            return !timed_out;
        } else {
            if (timed_out) return std::optional<T>();
            return std::optional<T>(this->result());
        }
    }
};

}  // namespace detail
}  // namespace weft
