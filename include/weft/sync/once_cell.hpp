// SPDX-License-Identifier: MIT
// OnceCell<T>: a value that the first task to ask for it makes, while the others wait.
#pragma once

#include <coroutine>
#include <cstddef>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

#include "../task/coro.hpp"
#include "../task/task.hpp"
#include "detail/once_state.hpp"

namespace weft {

template <class T>
class OnceCell;

struct OnceCellStatistics {
    OnceCellStatistics(bool has_value, bool is_running, std::size_t waiting) noexcept
        : set(has_value), initialising(is_running), waiters(waiting) {}
    bool set;
    bool initialising;
    std::size_t waiters;
};

namespace detail {
template <class T>
class OnceAwaiter;
}  // namespace detail

/// A value that the first task to ask for it makes. It never changes once it is set.
///
///     weft::OnceCell<Config> config;
///     Config& now = co_await config.get_or_init(load_config);
///
/// Destroyed while tasks wait for the value, it wakes them with a RuntimeError; the task that makes
/// the value gets one when it has made it.
/// Thread:   loop thread only.
template <class T>
class OnceCell {
public:
    OnceCell() noexcept = default;
    OnceCell(const OnceCell&) = delete;
    OnceCell& operator=(const OnceCell&) = delete;

    /// Waits for the value. If nobody has made it, `make(args...)`, a function that returns a
    /// Coro<T>, makes it. One task makes it at a time; when that fails or is cancelled, its error
    /// goes to the task that made the attempt, and the next in the queue tries with its own
    /// function.
    /// Throws:   what `make` throws; RuntimeError when the cell is destroyed meanwhile;
    ///           CancelledError.
    /// Cancel:   leaves the queue, or cancels `make` where it is this task that makes the value.
    template <class Make, class... Args>
        requires(sizeof...(Args) > 0)
    detail::OnceAwaiter<T> get_or_init(Make make, Args... args);
    /// The same without arguments. Debug mode's report of a deadlock says where the call is.
    /// Cancel:   the same.
    template <class Make>
    detail::OnceAwaiter<T> get_or_init(
        Make make, std::source_location place = std::source_location::current());
    /// Null while there is no value.
    T* get() noexcept { return state_.set ? std::addressof(*value_) : nullptr; }
    const T* get() const noexcept { return state_.set ? std::addressof(*value_) : nullptr; }
    bool is_set() const noexcept { return state_.set; }

    /// Sets the value, where no coroutine is needed to make it.
    /// Throws:   InvalidStateError when there is one, or a task is making it.
    T& set(T value);

    OnceCellStatistics statistics() const noexcept {
        return OnceCellStatistics(state_.set, !state_.maker.nobody(), state_.count());
    }

private:
    template <class Make, class... Args>
    detail::OnceAwaiter<T> get_or_attempt(const std::source_location& place, Make&& make,
                                          Args&&... args);
    template <class Make, class... Args>
    Coro<T*> attempt(std::source_location place, Make make, Args... args);

    std::optional<T> value_;
    detail::OnceState state_;
};

namespace detail {

/// What `get_or_init` returns: the value, where it is there already, or the coroutine that makes it
/// or waits for it.
template <class T>
class [[nodiscard]] [[gnu::warn_unused]] OnceAwaiter {
public:
    explicit OnceAwaiter(T& value) noexcept : value_(std::addressof(value)) {}
    explicit OnceAwaiter(Coro<T*> making) noexcept : making_(making.release()) {}

    bool await_ready() const noexcept { return value_ != nullptr; }
    bool await_suspend(std::coroutine_handle<> parent) { return making_.await_suspend(parent); }
    bool await_cancelled() const noexcept { return !value_ && making_.await_cancelled(); }
    T& await_resume() { return value_ ? *value_ : *making_.await_resume(); }

private:
    T* value_ = nullptr;
    CoroAwaiter<T*> making_{nullptr};
};

}  // namespace detail

template <class T>
template <class Make, class... Args>
    requires(sizeof...(Args) > 0)
detail::OnceAwaiter<T> OnceCell<T>::get_or_init(Make make, Args... args) {
    return get_or_attempt({}, std::move(make), std::move(args)...);
}

template <class T>
template <class Make>
detail::OnceAwaiter<T> OnceCell<T>::get_or_init(Make make, std::source_location place) {
    return get_or_attempt(place, std::move(make));
}

template <class T>
template <class Make, class... Args>
detail::OnceAwaiter<T> OnceCell<T>::get_or_attempt(const std::source_location& place, Make&& make,
                                                   Args&&... args) {
    if (state_.set) return detail::OnceAwaiter<T>(*value_);
    return detail::OnceAwaiter<T>(
        attempt<Make, Args...>(place, std::move(make), std::move(args)...));
}

template <class T>
template <class Make, class... Args>
Coro<T*> OnceCell<T>::attempt(std::source_location place, Make make, Args... args) {
    const bool ours = co_await state_.turn(place);
    if (ours) {
        detail::OnceAttempt turn(state_);
        T value = co_await make(std::move(args)...);
        turn.require_cell();
        value_.emplace(std::move(value));
        turn.succeeded();
    }
    co_return std::addressof(*value_);
}

template <class T>
T& OnceCell<T>::set(T value) {
    if (state_.set || !state_.maker.nobody()) [[unlikely]]
        detail::throw_invalid_state("OnceCell::set: it is set, or a task is making the value");
    value_.emplace(std::move(value));
    state_.open();
    return *value_;
}

}  // namespace weft
