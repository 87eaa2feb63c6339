// SPDX-License-Identifier: MIT
// Coro<T>: what a coroutine function returns; lazy, and run by whoever awaits it.
#pragma once

#include <coroutine>
#include <exception>
#include <type_traits>
#include <utility>

#include "detail/frame_allocator.hpp"
#include "detail/outcome.hpp"

namespace weft {

template <class T = void>
class Coro;

namespace detail {

/// The part of a coroutine's promise that does not depend on its result. Two pointers: who to
/// resume at the end, and where to put the outcome. The outcome lives with whoever waits for it
/// (the awaiting frame, or the task), so the finished frame can be freed before it is looked at.
class PromiseBase {
public:
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        release_frame(memory, size);
    }

    std::suspend_always initial_suspend() noexcept { return {}; }

    struct Final {
        bool await_ready() noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) noexcept {
            // No continuation: whoever resumed us is waiting for the return (an awaiter that ran
            // us in place, or the loop).
            const std::coroutine_handle<> next = self.promise().continuation_;
            return next ? next : std::noop_coroutine();
        }
        void await_resume() noexcept {}
    };
    Final final_suspend() noexcept { return {}; }

    void set_continuation(std::coroutine_handle<> parent) noexcept { continuation_ = parent; }

private:
    std::coroutine_handle<> continuation_;
};

template <class T>
class Promise final : public PromiseBase {
public:
    Coro<T> get_return_object() noexcept;
    void set_outcome(Outcome<T>& outcome) noexcept { outcome_ = &outcome; }
    void unhandled_exception() noexcept { outcome_->set_current_exception(); }

    template <class U = T>
        requires std::is_constructible_v<T, U&&>
    void return_value(U&& value) noexcept(std::is_nothrow_constructible_v<T, U&&>) {
        outcome_->set_value(std::forward<U>(value));
    }

private:
    Outcome<T>* outcome_ = nullptr;
};

template <>
class Promise<void> final : public PromiseBase {
public:
    inline Coro<void> get_return_object() noexcept;
    void set_outcome(Outcome<void>& outcome) noexcept { outcome_ = &outcome; }
    void unhandled_exception() noexcept { outcome_->set_current_exception(); }
    void return_void() noexcept { outcome_->set_value(); }

private:
    Outcome<void>* outcome_ = nullptr;
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
        if (child_) child_.destroy();
    }

    bool await_ready() noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> parent) {
        child_.promise().set_outcome(outcome_);
        child_.resume();
        // Only the loop resumes, so nothing can have happened to `parent` or to us meanwhile.
        if (!outcome_.empty()) return false;
        child_.promise().set_continuation(parent);
        return true;
    }
    bool await_cancelled() const noexcept { return outcome_.kind() == OutcomeKind::cancelled; }
    T await_resume() {
        std::exchange(child_, nullptr).destroy();
        return outcome_.take();
    }

private:
    Frame child_;
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
class [[nodiscard]] Coro {
public:
    using promise_type = detail::Promise<T>;
    using value_type = T;
    using Frame = std::coroutine_handle<promise_type>;

    explicit Coro(Frame frame) noexcept : frame_(frame) {}
    Coro(Coro&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    Coro& operator=(Coro&& other) noexcept {
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~Coro() {
        if (frame_) frame_.destroy();
    }

    /// Throws:   RuntimeError when it was awaited or moved from before.
    detail::CoroAwaiter<T> operator co_await() && {
        if (!frame_) detail::throw_runtime_error("weft: a coroutine was awaited twice");
        return detail::CoroAwaiter<T>(release());
    }

    /// False once it was awaited or moved from.
    explicit operator bool() const noexcept { return frame_ != nullptr; }
    /// For those who run it: the frame, suspended before its first step.
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

}  // namespace weft
