// SPDX-License-Identifier: MIT
// GroupAwaiter: a task group in the frame that awaits it. StartWait: for `TaskGroup::start`.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>

#include "../../base/outcome.hpp"
#include "../../base/std_parts.hpp"
#include "../../runtime/go_on.hpp"
#include "../../runtime/loop.hpp"
#include "../../task/coro.hpp"
#include "../../task/future.hpp"
#include "../eager.hpp"
#include "await_block.hpp"
#include "group_state.hpp"

namespace weft::detail {

/// The block while it runs, in the frame that awaits it: no frame is made but the body's.
///
/// The body runs inside `await_suspend`, like an awaited coroutine (CoroAwaiter). When it has ended
/// and children are left, the Join that waits for them is here too.
template <class T, class Group, Start start, class Fn, class... Args>
class [[nodiscard]] GroupAwaiter final : private Continuation {
public:
    explicit GroupAwaiter(std::tuple<Fn, Args...>&& parts)
        : Continuation{&body_is_over}, parts_(std::move(parts)) {}
    GroupAwaiter(const GroupAwaiter&) = delete;
    GroupAwaiter& operator=(const GroupAwaiter&) = delete;
    ~GroupAwaiter() {
        if (!began_) [[unlikely]]
            return;
        if (!outcome_.is_final()) [[unlikely]]
            destroy_body();
        std::destroy_at(&group_);
    }

    bool await_ready() const noexcept { return false; }
    template <class Parent>
    bool await_suspend(std::coroutine_handle<Parent> parent) {
        ::new (static_cast<void*>(&group_)) Group(BeginGroup());
        began_ = true;
        if constexpr (start == Start::in_place) group_.be_eager();
        try {
            child_ = call().release();
        } catch (...) {
            outcome_.set_current_exception();
            return waits(parent);
        }
        child_.promise().set_in_place(outcome_);
        if (answers_at_once(child_, parent)) return waits(parent);
        parent_ = parent;
        child_.promise().set_continuation(*this);
        return true;
    }
    /// See LooksAtCancel.
    bool await_cancelled() const noexcept {
        try {
            look_for_end();
            settle();
        } catch (...) {
            outcome_.set_current_exception();
        }
        return outcome_.kind() == OutcomeKind::cancelled && !ended_quietly_;
    }
    T await_resume() {
        look_for_end();
        if (!group_.ended_well(outcome_)) [[unlikely]] {
            settle();
            if constexpr (std::is_void_v<T>) {
                if (ended_quietly_) return;
            }
        }
        return outcome_.take();
    }

private:
    /// Where it stands. (Null where calling it has thrown.)
    [[gnu::cold, gnu::noinline]] void destroy_body() noexcept {
        if (child_) child_.destroy();
    }
    Coro<T> call() {
        return std::apply(
            [this](Fn& body, Args&... args) -> Coro<T> { return body(group_, std::move(args)...); },
            parts_);
    }
    void look_for_end() const noexcept {
        if (take_leftover()) [[unlikely]]
            group_.be_left_over();
    }
    /// What the block ends with, out of the ends of the body and of the children: once.
    void settle() const {
        if (group_.ended_well(outcome_) || std::exchange(settled_, true)) return;
        group_.finish(outcome_, outcome_.exception());
        if (outcome_.kind() != OutcomeKind::cancelled) return;
        // `TaskGroup::cancel` has ended the body.
        if constexpr (std::is_void_v<T>) {
            ended_quietly_ = true;
        } else {
            throw_runtime_error("task_group: cancelled before the body returned its result");
        }
    }
    /// The body is over. False: there is nothing to wait for.
    bool waits(std::coroutine_handle<> parent) {
        group_.end_body(outcome_.kind() != OutcomeKind::value);
        if (group_.joined()) return false;
        ::new (static_cast<void*>(&join_)) GroupState::Join(group_);
        join_.await_suspend(parent);
        return true;
    }
    /// It had suspended: this says who goes on after its end.
    static std::uintptr_t body_is_over(Continuation& continuation) noexcept {
        auto& self = static_cast<GroupAwaiter&>(continuation);
        return self.waits(self.parent_) ? 0 : address_of(self.parent_);
    }

    [[no_unique_address]] std::tuple<Fn, Args...> parts_;
    std::coroutine_handle<Promise<T>> child_;  // until the outcome is final
    std::coroutine_handle<> parent_;
    mutable Outcome<T> outcome_;
    union {
        mutable Group group_;  // once it began
    };
    union {
        GroupState::Join join_;  // has nothing to destroy
    };
    bool began_ = false;
    mutable bool settled_ = false;
    mutable bool ended_quietly_ = false;  // though the body was cancelled
};

/// Waits until the child says that it is ready, or has ended.
template <class T>
class [[nodiscard]] StartWait final : public FutureWait {
public:
    StartWait(FutureCore* ready, TaskCore* child) noexcept : FutureWait(ready), child_(child) {}
    ~StartWait() {
        leave_list();
        core_->release();
    }

    TaskCore* cancel() noexcept override { return child_; }
    T await_resume() {
        check_leftover();
        if (core_->state == FutureCore::State::value) return outcome_of<T>(*core_).take();
        child_->retrieved = true;
        if (child_->state == FutureCore::State::value)
            throw_runtime_error({"start: ", text_of(*child_),
                                 " ended without saying that it is ready (TaskStatus::started)"});
        const TaskCore* const waiter = task();
        if (child_->state == FutureCore::State::cancelled && waiter && waiter->must_cancel)
            core_->loop->throw_cancelled();
        rethrow(child_->typed->exception(*child_));
    }

private:
    TaskCore* child_;
};

}  // namespace weft::detail
