// SPDX-License-Identifier: MIT
// GatherState: several coroutines that one task waits for, in the frame of that task. Where other
// children are among them (tasks, futures, operations), or a range of them, see children.hpp.
#pragma once

#include <coroutine>
#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/error.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"
#include "../../task/future_state.hpp"
#include "children.hpp"

namespace weft::detail {

/// The children are tasks of its own, linked like those of a task group. One that ends with a value
/// leaves by itself; any other end is judged by the rule: `all_end`, `first_error` or
/// `first_error_cancels`.
class GatherState : private GroupCore, private Suspension {
    using State = FutureCore::State;

protected:
    explicit GatherState(ChildRule rule) noexcept
        : GroupCore(&child_ended), deciding_(deciding(rule)), rule_(rule) {}
    GatherState(const GatherState&) = delete;
    GatherState& operator=(const GatherState&) = delete;
    ~GatherState() {
        if (!members.empty()) [[unlikely]]
            leave_members();
        if (linked()) IntrusiveList<GroupCore>::erase_for_good(*this);
    }

    /// Before children are started.
    EventLoop& begin() {
        EventLoop& loop = get_running_loop();
        parent_ = &loop.require_task();
        return loop;
    }
    /// A child that has not begun.
    void adopt(TaskCore& child) noexcept {
        child.set_owner(this);
        members.push_back(child);
    }
    /// An eager child that has suspended.
    void adopt_begun(TaskCore& child) noexcept { child.loop->adopt(*this, child); }
    /// An eager child that has ended in its first step, with something else than a plain value.
    [[gnu::cold]] void ended_in_place(TaskCore& child) noexcept { judge(child); }
    /// A child could not be started: the others are cancelled and awaited, whatever the rule.
    [[gnu::cold]] void fail_to_start(std::exception_ptr why) noexcept {
        start_failure_ = std::move(why);
        odd_ = true;
        cancel_rest();
    }
    bool failed_to_start() const noexcept { return start_failure_ != nullptr; }
    /// False: there is nothing to wait for.
    bool wait(std::coroutine_handle<> handle) noexcept {
        if (fulfilled()) return false;
        parent_->coroutine = handle;
        parent_->waiting_on = this;
        joiner = parent_;
        if (parent_->must_cancel) [[unlikely]]
            parent_->loop->pass_on_cancel(*parent_);
        return true;
    }
    /// After the wait: throws what there is to throw.
    void check() {
        // (A failure is to be told, whatever else happens.)
        if (!decisive_ || decisive_->state != State::exception) check_leftover();
        if (odd_) [[unlikely]]
            check_odd();
    }

private:
    static constexpr unsigned bit(State end) noexcept { return 1u << static_cast<unsigned>(end); }
    static constexpr unsigned deciding(ChildRule rule) noexcept {
        return rule == ChildRule::all_end ? 0 : bit(State::exception) | bit(State::cancelled);
    }
    bool fulfilled() const noexcept {
        if (members.empty()) return true;
        return decisive_ && rule_ == ChildRule::first_error && !asked_ && !start_failure_;
    }
    void wake() noexcept {
        if (joiner) parent_->loop->wake(*std::exchange(joiner, nullptr));
    }

    static void child_ended(GroupCore& core, TaskCore& child, ReadyNode::Verb verb) noexcept;
    void judge(TaskCore& child) noexcept;
    void cancel_rest() noexcept;
    static void cancel_child(TaskCore& child, std::string_view message) noexcept;
    void leave_members() noexcept;
    void check_odd();

    inline TaskCore* cancel() noexcept override;
    void let_go() noexcept override {
        leaving_ = odd_ = true;
        wake();
    }
    WaitInfo describe() const noexcept override {
        return {"several children", -1, nullptr, &text_of, &visit_members};
    }
    static void visit_members(const Suspension& wait, Visitor<const FutureCore> visit);
    static std::string text_of(const Suspension& wait);

    TaskCore* decisive_ = nullptr;  // the first child whose end decided
    std::exception_ptr start_failure_;
    unsigned deciding_;  // the ends that decide, a bit each
    ChildRule rule_;
    bool odd_ = false;         // any of what follows, or of the above
    bool asked_ = false;       // our task was cancelled
    bool cancelling_ = false;  // we have cancelled every child
    bool passing_on_ = false;
    bool saw_cancelled_ = false;
    bool leaving_ = false;  // the wait ends although its children have not
};

[[gnu::cold]] inline void GatherState::child_ended(GroupCore& core, TaskCore& child,
                                                   ReadyNode::Verb verb) noexcept {
    if (verb == ReadyNode::Verb::struck) return;  // the cancel finds us where the parent waits
    auto& gather = static_cast<GatherState&>(core);
    const bool first_look = verb == ReadyNode::Verb::ended;
    if (first_look && (gather.deciding_ & bit(child.state)) != 0)
        return gather.parent_->loop->tell_group_later(child, gather);
    IntrusiveList<TaskCore, AllTasksTag>::erase_for_good(child);
    if (verb != ReadyNode::Verb::drop) {
        gather.judge(child);
        if (gather.fulfilled()) gather.wake();
    }
    if (!first_look) child.release();  // the queue's
}

inline void GatherState::judge(TaskCore& child) noexcept {
    saw_cancelled_ |= child.state == State::cancelled;
    if ((deciding_ & bit(child.state)) == 0 || decisive_ || start_failure_) return;
    decisive_ = &child;
    odd_ = true;
    if (rule_ == ChildRule::first_error_cancels) cancel_rest();
}

[[gnu::cold]] inline void GatherState::cancel_rest() noexcept {
    cancelling_ = true;
    members.for_each([](TaskCore& child) { cancel_child(child, {}); });
}

[[gnu::cold]] inline void GatherState::cancel_child(TaskCore& child,
                                                    std::string_view message) noexcept {
    if (child.done()) return;
    try {
        child.loop->cancel(child, message);
    } catch (const std::bad_alloc&) {
        // The message is a courtesy; the cancel itself needs no memory.
        if (!message.empty()) cancel_child(child, {});
    }
}

/// They go on without it, and their errors count as seen.
[[gnu::cold]] inline void GatherState::leave_members() noexcept {
    members.for_each([](TaskCore& child) {
        child.retrieved = true;
        child.loop->disown(child);
    });
}

/// Our task is asked to end (see Suspension::cancel).
[[gnu::cold]] inline TaskCore* GatherState::cancel() noexcept {
    if (passing_on_) {  // a child waits for us, in a circle
        let_go();
        return nullptr;
    }
    saw_cancelled_ = saw_cancelled_ && asked_;  // those of before are not its doing
    asked_ = odd_ = true;
    deciding_ &= ~bit(State::cancelled);  // a child that ends as it was told to has not failed
    if (cancelling_) {                    // they are on their way already
        return parent_->loop->strike_each([this](auto&& visit) { members.for_each(visit); });
    }
    passing_on_ = true;
    const TaskExtras* const extras = parent_->extras();
    const std::string_view message = extras ? extras->cancel_message : std::string_view();
    TaskCore* last = nullptr;
    members.for_each([&](TaskCore& child) {
        if (child.done()) return;
        if (last) cancel_child(*last, message);
        last = &child;
    });
    passing_on_ = false;
    // The loop goes on with it, so that a chain of waits in each other needs no stack.
    return last;
}

[[gnu::cold, gnu::noinline]] inline void GatherState::visit_members(
    const Suspension& wait, Visitor<const FutureCore> visit) {
    auto& self = const_cast<GatherState&>(static_cast<const GatherState&>(wait));
    self.members.for_each([&](const TaskCore& child) { visit(child); });
}

/// "several children (recv fd 7, task 'fetch')". What those tasks wait for in turn is not said: it
/// may be a chain that is longer than the stack is deep, or a circle.
[[gnu::cold, gnu::noinline]] inline std::string GatherState::text_of(const Suspension& wait) {
    constexpr int most = 3;
    int count = 0;
    std::string waits;
    auto& self = const_cast<GatherState&>(static_cast<const GatherState&>(wait));
    self.members.for_each([&](TaskCore& child) {
        const WaitInfo info = child.waiting_on ? child.waiting_on->describe() : WaitInfo();
        if (!child.waiting_on || info.text == &text_of || ++count > most) return;
        const bool on_task = info.on && info.on->is_task;
        const std::string one =
            on_task ? concat({info.what, " '", static_cast<const TaskCore*>(info.on)->name(), "'"})
                    : text_of_wait(*child.waiting_on);
        waits = concat({waits, count == 1 ? "" : ", ", one});
    });
    if (count == 0) return "several children";
    return concat({"several children (", waits, count > most ? ", ..." : "", ")"});
}

[[gnu::cold, gnu::noinline]] inline void GatherState::check_odd() {
    EventLoop& loop = *parent_->loop;
    if (std::exchange(leaving_, false) && !fulfilled()) loop.throw_cancelled();
    if (start_failure_) std::rethrow_exception(start_failure_);
    if (decisive_) rethrow(decisive_->typed->exception(*decisive_));
    if (asked_ && saw_cancelled_) loop.throw_cancelled();
}

}  // namespace weft::detail
