// SPDX-License-Identifier: MIT
// What can be awaited, as what: for whoever takes "a coroutine, a task, an operation, or a function
// that returns one".
#pragma once

#include <concepts>
#include <coroutine>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "../base/callback.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/task_core.hpp"
#include "coro.hpp"

namespace weft::detail {

/// It would be used up, and has to be given away.
template <class A>
concept NamedCoro = std::is_lvalue_reference_v<A> && is_coro<std::remove_cvref_t<A>>;

template <class A>
concept HasMemberAwait = !NamedCoro<A> && requires(A && awaitable) {
    static_cast<A&&>(awaitable).operator co_await();
};
template <class A>
concept HasFreeAwait = requires(A&& awaitable) {
    operator co_await(static_cast<A&&>(awaitable));
};

template <class A>
decltype(auto) awaiter_of(A&& awaitable) {
    if constexpr (HasMemberAwait<A>) {
        return static_cast<A&&>(awaitable).operator co_await();
    } else if constexpr (HasFreeAwait<A>) {
        return operator co_await(static_cast<A&&>(awaitable));
    } else {
        return static_cast<A&>(awaitable);
    }
}
template <class A>
concept Awaitable = requires(A&& awaitable) {
    { awaiter_of(static_cast<A&&>(awaitable)).await_ready() } -> std::convertible_to<bool>;
    awaiter_of(static_cast<A&&>(awaitable)).await_resume();
};
template <class A>
using AwaitResult = decltype(awaiter_of(std::declval<A>()).await_resume());

template <class A>
Coro<AwaitResult<A>> await_owned(A awaitable) {
    co_return co_await std::move(awaitable);
}

template <class A>
concept HasCoAwait = !NamedCoro<A> && requires(A && awaitable) {
    std::forward<A>(awaitable).operator co_await();
};

/// An awaiter that refers to the operation, which stands in the expression that made both.
template <class A>
inline constexpr bool refers_to_operation = false;
template <class A>
    requires(std::remove_cvref_t<A>::refers_to_operation)
inline constexpr bool refers_to_operation<A> = true;

/// What `co_await awaitable` would work with: an object made by `operator co_await`, which is then
/// ours, or the awaiter itself, which stays where it is (awaiters do not move). What a callable
/// returns is ours in any case.
template <class A>
decltype(auto) make_awaiter(A&& awaitable) {
    if constexpr (HasCoAwait<A>) {
        return std::forward<A>(awaitable).operator co_await();
    } else if constexpr (std::is_invocable_v<A>) {
        if constexpr (HasCoAwait<std::invoke_result_t<A>>) {
            return std::forward<A>(awaitable)().operator co_await();
        } else {
            return std::forward<A>(awaitable)();
        }
    } else {
        return static_cast<std::remove_reference_t<A>&>(awaitable);
    }
}

template <class Awaiter>
bool suspend_in(Awaiter& awaiter, std::coroutine_handle<> handle) {
    if constexpr (std::is_void_v<decltype(awaiter.await_suspend(handle))>) {
        awaiter.await_suspend(handle);
        return true;
    } else {
        return awaiter.await_suspend(handle);
    }
}

template <class A>
using AwaiterFrom = decltype(make_awaiter(std::declval<A>()));

/// The awaiter of what a callable returns. Keeps the callable, which is called when it is awaited,
/// as long: the coroutine that comes out of a lambda refers to its captures.
template <class Fn>
class CalledAwaiter {
public:
    using Inner = AwaiterFrom<Fn&>;

    template <class F>
    explicit CalledAwaiter(F&& fn) : fn_(std::forward<F>(fn)) {}
    CalledAwaiter(const CalledAwaiter&) = delete;
    CalledAwaiter& operator=(const CalledAwaiter&) = delete;
    ~CalledAwaiter() {
        if (called_) std::destroy_at(&inner_);
    }

    bool await_ready() {
        ::new (static_cast<void*>(&inner_)) Inner(make_awaiter(fn_));
        called_ = true;
        return inner_.await_ready();
    }
    bool await_suspend(std::coroutine_handle<> handle) { return suspend_in(inner_, handle); }
    decltype(auto) await_resume() { return inner_.await_resume(); }
    bool await_cancelled() const noexcept requires LooksAtCancel<Inner> {
        return called_ && inner_.await_cancelled();
    }
    bool holds_result() const noexcept requires GivesBack<Inner> {
        return called_ && inner_.holds_result();
    }
    void give_back() noexcept requires GivesBack<Inner> { inner_.give_back(); }
    auto await_object() const requires requires(const Inner& inner) { inner.await_object(); }
    { return called_ ? inner_.await_object() : std::string(); }

private:
    Fn fn_;
    union {
        Inner inner_;
    };
    bool called_ = false;
};

/// The same as `make_awaiter` for what is awaited later, perhaps somewhere else.
template <class A>
decltype(auto) keep_awaiter(A&& awaitable) {
    if constexpr (!HasCoAwait<A> && std::is_invocable_v<std::decay_t<A>&>) {
        return CalledAwaiter<std::decay_t<A>>(std::forward<A>(awaitable));
    } else {
        return make_awaiter(std::forward<A>(awaitable));
    }
}
template <class A>
using KeptAwaiter = decltype(keep_awaiter(std::declval<A>()));

}  // namespace weft::detail
