// SPDX-License-Identifier: MIT
// Coro<T>: what a coroutine function returns; lazy, and run by whoever awaits it.
#pragma once

#include <coroutine>
#include <exception>
#include <type_traits>
#include <utility>

#include "../base/outcome.hpp"
#include "../fwd.hpp"
#include "detail/promise_base.hpp"

namespace weft {

namespace detail {

/// For a static_assert in a branch that is taken by mistake.
template <class...>
inline constexpr bool always_false = false;

/// What a call gives that a static_assert has refused: it can be awaited and becomes anything, so
/// that the message stands alone.
struct Refused {
    bool await_ready() const noexcept;
    void await_suspend(std::coroutine_handle<> handle) const noexcept;
    bool await_cancelled() const noexcept;
    Refused await_resume() const;
    Refused operator*() const;
    template <class T>
    operator T() const;
};

template <class T>
class Promise final : public PromiseBase {
public:
    Coro<T> get_return_object() noexcept;
    void unhandled_exception() noexcept { this->template outcome<T>().set_current_exception(); }

    template <class U = T>
        requires std::is_constructible_v<T, U&&>
    void return_value(U&& value) noexcept(std::is_nothrow_constructible_v<T, U&&>) {
        this->template outcome<T>().set_value(std::forward<U>(value));
    }
    std::suspend_never final_suspend() noexcept {
        static_assert(fits_into_frame<T>,
                      "weft: a coroutine returns an over-aligned type, for which compilers do not "
                      "align the frame that awaits it: return a std::unique_ptr to it");
        if (Outcome<T>& outcome = this->template outcome<T>(); outcome.empty()) [[unlikely]]
            outcome.set_exception(no_value());
        return PromiseBase::final_suspend();
    }
};

template <>
class Promise<void> final : public PromiseBase {
public:
    inline Coro<void> get_return_object() noexcept;
    void unhandled_exception() noexcept { outcome<void>().set_current_exception(); }
    void return_void() noexcept { outcome<void>().set_value(); }
};

/// Runs the child inside `await_suspend` and returns false when it ran to its end at once: a loop
/// over children that complete synchronously then uses no stack beyond one call, at every
/// optimisation level. Symmetric transfer would lean on tail calls that -O0 and the sanitizers do
/// not make (docs/decisions/0001).
template <class T>
class [[nodiscard]] CoroAwaiter {
    using Frame = std::coroutine_handle<Promise<T>>;

public:
    explicit CoroAwaiter(Frame child) noexcept : child_(child) {}
    CoroAwaiter(const CoroAwaiter&) = delete;
    CoroAwaiter& operator=(const CoroAwaiter&) = delete;
    ~CoroAwaiter() {
        if (!outcome_.is_final() && child_) [[unlikely]]
            child_.destroy();  // where it stands
    }

    bool await_ready() noexcept { return false; }
    template <class Parent>
    bool await_suspend(std::coroutine_handle<Parent> parent) {
        child_.promise().set_in_place(outcome_);
        // Only the loop resumes, so nothing can happen to `parent` or to us meanwhile.
        if (answers_at_once(child_, parent)) return false;
        child_.promise().set_continuation(parent);
        return true;
    }
    bool await_cancelled() const noexcept { return outcome_.kind() == OutcomeKind::cancelled; }
    T await_resume() { return outcome_.take(); }
    bool has_ended() const noexcept { return outcome_.is_final(); }

private:
    Frame child_;  // until the outcome is final; perhaps none, for an awaiter that may need none
    Outcome<T> outcome_;
};

}  // namespace detail

/// A coroutine that has not started. Await it to run it inside the current task, or give it to
/// `create_task`, `run`, ... Dropping it destroys its arguments and runs nothing.
///
/// A coroutine keeps its parameters, and nothing else: pass by value what must outlive the call,
/// and never write a capturing lambda that is a coroutine (its captures die first); pass the
/// lambda and its arguments to `create_task(fn, args...)`, which keeps both.
/// Cancel:   passes through: the innermost await is what is cancelled.
template <class T>
class [[nodiscard]] [[gnu::warn_unused]] Coro {
public:
    using promise_type = detail::Promise<T>;
    using value_type = T;
    using Frame = std::coroutine_handle<promise_type>;

    explicit Coro(Frame frame) noexcept : frame_(frame) {}
    Coro(Coro&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    /// What derives from this has no frame yet, and gets one where a Coro is asked for: the block
    /// that `task_group` and `gather` return.
    template <class Block,
              std::enable_if_t<std::is_same_v<typename Block::coro_type, Coro>, int> = 0>
    Coro(Block&& block) : Coro(std::move(block).to_coro()) {}
    Coro& operator=(Coro&& other) noexcept {
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~Coro() {
        if (frame_) frame_.destroy();
    }

    /// Throws:   RuntimeError when it was awaited or moved from before.
    detail::CoroAwaiter<T> operator co_await() && {
        if (!frame_) [[unlikely]]
            detail::throw_used_coro();
        return detail::CoroAwaiter<T>(release());
    }

    /// Refused, for an await uses it up.
    template <class Given = T>
    detail::Refused operator co_await() const& {
        static_assert(detail::always_false<Given>,
                      "weft: give the coroutine away: std::move(coro)");
        return {};
    }

    /// False once it was awaited or moved from.
    explicit operator bool() const& noexcept { return frame_ != nullptr; }
    /// Refused: `if (is_ready())` would run nothing.
    explicit operator bool() && {
        static_assert(detail::always_false<T>,
                      "weft: a coroutine is not its result: if (co_await is_ready())");
        return false;
    }
    /// For those who run it: the frame, suspended before its first step; null once it was released.
    Frame frame() const noexcept { return frame_; }
    Frame release() noexcept { return std::exchange(frame_, nullptr); }

private:
    Frame frame_;
};

template <class T>
Coro<T> detail::Promise<T>::get_return_object() noexcept {
    return Coro<T>(std::coroutine_handle<Promise>::from_promise(*this));
}

inline Coro<void> detail::Promise<void>::get_return_object() noexcept {
    return Coro<void>(std::coroutine_handle<Promise>::from_promise(*this));
}

namespace detail {

/// What becomes a coroutine where one is asked for, see AwaitBlock.
template <class A>
concept BecomesCoro = requires {
    typename A::coro_type;
};
template <class A>
struct CoroTypeOf {
    using Type = A;
};
template <BecomesCoro A>
struct CoroTypeOf<A> {
    using Type = typename A::coro_type;
};
/// The coroutine that a call returns, or that what it returns becomes.
template <class Fn, class... Args>
using CoroOfCall = typename CoroTypeOf<std::invoke_result_t<Fn, Args...>>::Type;

}  // namespace detail
}  // namespace weft
