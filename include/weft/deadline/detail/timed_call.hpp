// SPDX-License-Identifier: MIT
// What timeout has been given to call: a function and its arguments, or a coroutine.
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

#include "../../task/awaitable.hpp"
#include "../../task/coro.hpp"
#include "../../task/task.hpp"

namespace weft {
class Timeout;

namespace detail {

/// Calls `fn(timeout)` or `fn()`, whichever it takes.
template <class Fn>
auto call_timed(Fn& fn, Timeout& timeout) {
    if constexpr (std::is_invocable_v<Fn&, Timeout&>) {
        return static_cast<CoroOfCall<Fn&, Timeout&>>(fn(timeout));
    } else {
        return static_cast<CoroOfCall<Fn&>>(fn());
    }
}

/// `fn(args...)` or `fn(timeout, args...)`, with both kept until the coroutine has ended.
template <class Fn, class... Args>
class BoundCall {
public:
    template <class F, class... A>
        requires(sizeof...(A) == sizeof...(Args))  // not in place of a copy
    explicit BoundCall(F&& fn, A&&... args)
        : fn_(std::forward<F>(fn)), args_(std::forward<A>(args)...) {}

    auto operator()(Timeout& timeout) {
        return std::apply(
            [&](Args&... args) {
                if constexpr (std::is_invocable_v<Fn&, Timeout&, Args...>) {
                    return fn_(timeout, std::move(args)...);
                } else if constexpr (std::is_member_pointer_v<Fn>) {
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

template <class Fn, class... Args>
using TimedCall = std::conditional_t<sizeof...(Args) == 0, std::decay_t<Fn>,
                                     BoundCall<std::decay_t<Fn>, std::decay_t<Args>...>>;

/// A coroutine as a function that is called once.
template <class T>
class GivenCoro {
public:
    explicit GivenCoro(Coro<T> coro) noexcept : coro_(std::move(coro)) {}
    Coro<T> operator()() noexcept { return std::move(coro_); }

private:
    Coro<T> coro_;
};
struct RefusedCall {
    Coro<Refused> operator()() const;
};

template <class Fn, class... Args>
using ResultUnder = typename std::conditional_t<std::is_invocable_v<Fn&, Timeout&, Args...>,
                                                std::invoke_result<Fn&, Timeout&, Args...>,
                                                std::invoke_result<Fn&, Args...>>::type;

/// What `timeout` has been given as something to call. What is none is refused here and not by a
/// constraint: the message is then the only one.
template <class Fn, class... Args>
auto timed_call(Fn&& fn, Args&&... args) {
    using Kept = std::decay_t<Fn>;
    if constexpr (NamedCoro<Fn> && sizeof...(Args) == 0) {
        static_assert(always_false<Fn>, "weft: give the coroutine away: std::move(coro)");
        return RefusedCall();
    } else if constexpr (BecomesCoro<Kept> && std::is_same_v<Fn, Kept> && sizeof...(Args) == 0) {
        return GivenCoro<typename Kept::value_type>(std::move(fn).to_coro());
    } else if constexpr (is_coro<Kept> && sizeof...(Args) == 0) {
        return GivenCoro<typename Kept::value_type>(std::forward<Fn>(fn));
    } else if constexpr (std::is_invocable_v<Kept&, Timeout&, std::decay_t<Args>...> ||
                         std::is_invocable_v<Kept&, std::decay_t<Args>...>) {
        using Result = typename CoroTypeOf<ResultUnder<Kept, std::decay_t<Args>...>>::Type;
        if constexpr (is_coro<Result>) {
            return TimedCall<Fn, Args...>(std::forward<Fn>(fn), std::forward<Args>(args)...);
        } else {
            static_assert(always_false<Fn>,
                          "weft: the function given to timeout does not return a Coro; for an "
                          "operation there is wait_for(operation, 5s)");
            return RefusedCall();
        }
    } else {
        static_assert(
            always_false<Fn>,
            "weft: timeout takes a coroutine, or a function that can be called with "
            "copies of the arguments after it, and perhaps a Timeout& before them; for an "
            "operation or a task there is wait_for(operation, 5s)");
        return RefusedCall();
    }
}
template <class... A>
using TimedCallOf = decltype(timed_call(std::declval<A>()...));

}  // namespace detail
}  // namespace weft
