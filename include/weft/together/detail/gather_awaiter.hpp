// SPDX-License-Identifier: MIT
// GatherAwaiter: gather, all of coroutines alone, in the frame that awaits them.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <tuple>
#include <type_traits>
#include <utility>

#include "../../task/coro.hpp"
#include "../../task/future_state.hpp"
#include "../../task/task.hpp"
#include "../eager.hpp"
#include "../settled.hpp"
#include "child_arguments.hpp"
#include "gather_state.hpp"

namespace weft::detail {

/// A child: its coroutine, and once it is started its task, held by a reference.
template <class T>
class GatheredChild {
    static constexpr std::uintptr_t not_started = 1;

public:
    explicit GatheredChild(Coro<T>&& coro) noexcept
        : address_(address_of(coro.release()) | not_started) {}
    GatheredChild(const GatheredChild&) = delete;
    GatheredChild& operator=(const GatheredChild&) = delete;
    [[gnu::always_inline]] ~GatheredChild() {
        if (started() && state().ended_plainly()) [[likely]] {
            TaskState<T>::release(state());
        } else {
            leave();
        }
    }

    /// A task that is not scheduled yet.
    [[gnu::always_inline]] TaskState<T>& make_task(EventLoop& loop) {
        Coro<T> own = coro();
        address_ = not_started;
        TaskState<T>* task = make_plainly(&loop, own);
        if (!task) [[unlikely]]
            task = make_elsewhere(loop, own);
        address_ = reinterpret_cast<std::uintptr_t>(task);
        return *task;
    }
    bool started() const noexcept { return (address_ & not_started) == 0; }
    TaskState<T>& state() const noexcept { return *reinterpret_cast<TaskState<T>*>(address_); }

    [[gnu::always_inline]] Stored<T> take() const {
        return take_stored<T>(state().outcome, state().is_shared());
    }
    Settled<Stored<T>> settle() const {
        const TaskState<T>& task = state();
        if (task.state == FutureCore::State::value) return Settled<Stored<T>>(take());
        return Settled<Stored<T>>(task.outcome.exception(),
                                  task.state == FutureCore::State::cancelled);
    }

private:
    Coro<T> coro() const noexcept {
        return Coro<T>(
            Coro<T>::Frame::from_address(reinterpret_cast<void*>(address_ & ~not_started)));
    }
    /// Its error, if it comes to one, counts as seen.
    [[gnu::cold, gnu::noinline]] void leave() noexcept {
        if (!started()) return static_cast<void>(coro());
        state().retrieved = true;
        TaskState<T>::release(state());
    }
    [[gnu::noinline]] static TaskState<T>* make_elsewhere(EventLoop& loop, Coro<T>& coro) {
        return detail::make_task(loop, coro, CreatedAt());
    }

    std::uintptr_t address_;
};

/// No frame, no node and no block but the children's own.
template <ChildRule rule, Start start, class... T>
class [[nodiscard]] GatherAwaiter final : private GatherState {
    static constexpr bool settles = rule == ChildRule::all_end;

public:
    using Result =
        std::conditional_t<settles, std::tuple<Settled<Stored<T>>...>, std::tuple<Stored<T>...>>;

    explicit GatherAwaiter(std::tuple<Coro<T>...>&& coros)
        : GatherState(rule), children_(std::move(coros)) {}
    GatherAwaiter(const GatherAwaiter&) = delete;
    GatherAwaiter& operator=(const GatherAwaiter&) = delete;
    ~GatherAwaiter() = default;

    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = begin();
        try {
            std::apply([&](auto&... child) { (start_one(loop, child), ...); }, children_);
        } catch (...) {
            fail_to_start(std::current_exception());
        }
        if constexpr (start == Start::in_place) {
            // In their order. One that has suspended is in the list.
            std::apply([&](auto&... child) { (look_at(child), ...); }, children_);
        }
        return wait(handle);
    }
    /// See LooksAtCancel.
    bool await_cancelled() const noexcept {
        auto& self = const_cast<GatherAwaiter&>(*this);
        if (!failure_) {
            try {
                self.check();
            } catch (...) {
                self.cancelled_ = handling_cancelled_error();
                self.failure_ = std::current_exception();
            }
        }
        return cancelled_;
    }
    Result await_resume() {
        if (failure_) [[unlikely]]
            std::rethrow_exception(failure_);
        check();
        return collect(std::index_sequence_for<T...>());
    }

private:
    template <class U>
    [[gnu::always_inline]] void start_one(EventLoop& loop, GatheredChild<U>& child) {
        TaskState<U>& task = child.make_task(loop);
        if constexpr (start == Start::in_place) {
            loop.run_in_place(task);
            if (!task.done()) adopt_begun(task);
        } else {
            adopt(task);
            loop.add(task);
        }
    }
    template <class U>
    void look_at(GatheredChild<U>& child) noexcept {
        if (child.started() && child.state().done() && !child.state().ended_plainly()) [[unlikely]]
            ended_in_place(child.state());
    }
    template <std::size_t... I>
    Result collect(std::index_sequence<I...>) {
        // In braces: evaluated in order.
        if constexpr (settles) {
            return Result{std::get<I>(children_).settle()...};
        } else {
            return Result{std::get<I>(children_).take()...};
        }
    }

    std::tuple<GatheredChild<T>...> children_;
    std::exception_ptr failure_;  // found by `await_cancelled`
    bool cancelled_ = false;
};

}  // namespace weft::detail
