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
#include "detail/holder.hpp"
#include "reserving_queue.hpp"

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

class OnceTurn;
class OnceAttempt;

/// The part that does not depend on T: whose turn it is to make the value.
class OnceState : public ReservingQueue {
public:
    OnceState() noexcept = default;
    inline ~OnceState();

    Holder maker;
    OnceAttempt* attempt = nullptr;  // the one that is under way
    bool set = false;

    /// The maker has failed: the next one tries.
    void pass_on() noexcept {
        TaskCore* const named = maker.forget();
        if (!empty()) {
            const auto& next = static_cast<const HeldWait&>(front());
            take(next.task(), next.place());
            grant_first();
        }
        if (named) named->release();
    }
    /// The value is there.
    void open() noexcept {
        set = true;
        TaskCore* const named = maker.forget();
        while (!empty()) grant_first();
        if (named) named->release();
    }
    void take(TaskCore& task, const std::source_location& place) noexcept {
        if (task.loop->debug()) [[unlikely]]
            return maker.set(&task, place);
        maker.set_nameless();
    }
    OnceTurn turn(const std::source_location& place) noexcept;
};

/// Until the value is set (then it gives false) or it is our turn to make it (true).
class [[nodiscard]] OnceTurn final : public HeldWait {
public:
    OnceTurn(OnceState& state, const std::source_location& place) noexcept
        : HeldWait(state, place) {}
    ~OnceTurn() {
        if (granted_and_not_taken() && !once().set) [[unlikely]]
            once().pass_on();
    }
    const char* what() const noexcept override { return "value"; }
    const Holder* awaited_holder(std::size_t index) const noexcept override {
        return index == 0 ? &once().maker : nullptr;
    }

    bool await_ready() const noexcept { return once().set; }
    bool await_suspend(std::coroutine_handle<> handle) {
        if (once().maker.nobody()) {
            once().take(get_running_loop().require_task(), place());
            return false;
        }
        wait_for_holders(handle);
        return true;
    }
    bool await_resume() {
        if (state() != State::idle) finish_wait();
        return !once().set;
    }

private:
    OnceState& once() const noexcept { return static_cast<OnceState&>(queue()); }
};

inline OnceTurn OnceState::turn(const std::source_location& place) noexcept {
    return OnceTurn(*this, place);
}

/// While the value is made: however that ends without one, the next task has its turn.
class OnceAttempt {
public:
    explicit OnceAttempt(OnceState& state) noexcept : state_(&state) { state.attempt = this; }
    OnceAttempt(const OnceAttempt&) = delete;
    OnceAttempt& operator=(const OnceAttempt&) = delete;
    ~OnceAttempt() {
        if (state_) end().pass_on();
    }
    /// Throws:   RuntimeError when the cell is gone.
    void require_cell() const {
        if (!state_) [[unlikely]]
            throw_runtime_error("weft: the cell was destroyed while a task made its value");
    }
    void succeeded() noexcept { end().open(); }
    void cell_gone() noexcept { state_ = nullptr; }

private:
    OnceState& end() noexcept {
        state_->attempt = nullptr;
        return *std::exchange(state_, nullptr);
    }
    OnceState* state_;
};

inline OnceState::~OnceState() {
    if (attempt) attempt->cell_gone();
}

/// Needs no coroutine when the value is there.
template <class T>
class [[nodiscard]] [[gnu::warn_unused]] OnceAwaiter {
public:
    explicit OnceAwaiter(T& value) noexcept : value_(&value) {}
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

/// The value never changes once it is set. Destroyed while tasks wait for the value, it wakes them
/// with a RuntimeError; a task that makes the value gets one when it has made it.
/// Thread:   loop thread only.
template <class T>
class OnceCell {
public:
    OnceCell() noexcept = default;
    OnceCell(const OnceCell&) = delete;
    OnceCell& operator=(const OnceCell&) = delete;

    /// The value, made by `make(args...)`, a function that returns a Coro<T>, unless it is there.
    /// One task makes it at a time. When that fails or is cancelled, its error goes to the task
    /// that made the attempt, and the next in the queue tries with its own function.
    /// Throws:   what `make` throws; RuntimeError when the cell is destroyed meanwhile;
    ///           CancelledError.
    /// Cancel:   leaves the queue, or cancels `make` if it is ours that runs.
    template <class Make, class... Args>
        requires(sizeof...(Args) > 0)
    detail::OnceAwaiter<T> get_or_init(Make make, Args... args) {
        return get_or_attempt({}, std::move(make), std::move(args)...);
    }
    /// The same without arguments. Debug mode's report of a deadlock has its place.
    /// Cancel:   the same.
    template <class Make>
    detail::OnceAwaiter<T> get_or_init(
        Make make, std::source_location place = std::source_location::current()) {
        return get_or_attempt(place, std::move(make));
    }
    /// Null while there is no value.
    T* get() noexcept { return state_.set ? &*value_ : nullptr; }
    const T* get() const noexcept { return state_.set ? &*value_ : nullptr; }
    bool is_set() const noexcept { return state_.set; }

    /// For a value that needs no coroutine.
    /// Throws:   InvalidStateError when there is one, or a task is making it.
    T& set(T value) {
        if (state_.set || !state_.maker.nobody()) [[unlikely]]
            detail::throw_invalid_state("OnceCell::set: it is set, or a task is making the value");
        value_.emplace(std::move(value));
        state_.open();
        return *value_;
    }

    OnceCellStatistics statistics() const noexcept {
        return OnceCellStatistics(state_.set, !state_.maker.nobody(), state_.count());
    }

private:
    template <class Make, class... Args>
    detail::OnceAwaiter<T> get_or_attempt(const std::source_location& place, Make&& make,
                                          Args&&... args) {
        if (state_.set) return detail::OnceAwaiter<T>(*value_);
        return detail::OnceAwaiter<T>(
            attempt<Make, Args...>(place, std::move(make), std::move(args)...));
    }
    template <class Make, class... Args>
    Coro<T*> attempt(std::source_location place, Make make, Args... args) {
        const bool ours = co_await state_.turn(place);
        if (ours) {
            detail::OnceAttempt turn(state_);
            T value = co_await make(std::move(args)...);
            turn.require_cell();
            value_.emplace(std::move(value));
            turn.succeeded();
        }
        co_return &*value_;
    }

    std::optional<T> value_;
    detail::OnceState state_;
};

}  // namespace weft
