// SPDX-License-Identifier: MIT
// GroupState: what a task group keeps and does, without knowing any type: its children, the wait
// for them, and the ways on which a cancel goes between them and the parent.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>
#include <vector>

#include "../../base/intrusive_list.hpp"
#include "../../base/outcome.hpp"
#include "../../base/std_parts.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"
#include "../../task/future_state.hpp"
#include "../exception_group.hpp"

namespace weft::detail {

/// What `task_group` makes a group with, and nobody else.
struct BeginGroup {};

/// Begins with the current task as its parent. In the order of a block's life: children are
/// adopted; `end_body`; a `Join`, unless `joined`; `finish`, unless `ended_well`.
///
/// A child that ends quietly leaves by itself (EventLoop::finish) and wakes the parent if it was
/// the last. One that has failed, or was started with `start`, is told of in its turn.
class GroupState : private GroupCore {
public:
    class Join;

    GroupState()
        : GroupCore(&child_ended, get_running_loop().require_task()),
          loop_(parent_->loop),
          // A request that has not struck yet is somebody's whom we do not know.
          requests_before_(static_cast<std::uint16_t>(parent_->cancel_requests -
                                                      (parent_->must_cancel ? 1 : 0))) {}
    GroupState(const GroupState&) = delete;
    GroupState& operator=(const GroupState&) = delete;
    ~GroupState() {
        if (!members.empty() || odd_.failed) [[unlikely]]
            drop_members();
        if (linked()) IntrusiveList<GroupCore>::erase_for_good(*this);
    }

    /// Throws:   what `TaskGroup::create_task` throws.
    void check_open() const {
        if (loop_ != EventLoop::running() || finished() || special_.aborting) [[unlikely]]
            refuse();
    }
    /// It is open, and its children start in the usual way.
    bool takes_plainly() const noexcept {
        return loop_ == EventLoop::running() && !finished() && !special_.any();
    }
    bool is_eager() const noexcept { return special_.eager; }
    void be_eager() noexcept { special_.eager = true; }
    EventLoop& loop() const noexcept { return *loop_; }
    bool finished() const noexcept { return body_ended_ && members.empty(); }

    /// A child that has not begun.
    void adopt(TaskCore& child) noexcept {
        child.set_owner(this);
        members.push_back(child);
    }
    /// A child that was begun elsewhere, and may even be done: one that is eager.
    void adopt_begun(TaskCore& child) noexcept;
    /// A child that is to say when it is ready: `ready` is set then.
    void adopt_starting(TaskCore& child, FutureCore& ready);

    void cancel() noexcept {
        if (special_.aborting || finished()) return;
        abort();
        interrupt_body();
    }

    void end_body(bool failed) noexcept {
        body_ended_ = true;
        if ((failed || special_.aborting) && !members.empty()) [[unlikely]]
            strike_members();
    }
    bool joined() const noexcept { return members.empty(); }
    bool ended_well(const OutcomeBase& body) const noexcept {
        return body.kind() == OutcomeKind::value && !odd_.any();
    }
    /// The wait for the children has ended, but see `check_leftover`: `finish` throws, since
    /// failures of children must not be lost.
    void be_left_over() noexcept { odd_.join_cancelled = true; }
    /// Throws what there is to throw; returns where the group was ended quietly.
    void finish(const OutcomeBase& body, std::exception_ptr error);

private:
    [[noreturn, gnu::cold, gnu::noinline]] void refuse() const {
        // A child whose operation won against the group's cancel does not know of that yet. It has
        // done nothing wrong, and must not turn a quiet end into an error.
        const bool is_ours = loop_ == EventLoop::running();
        const TaskCore* const caller = is_ours ? loop_->current_task() : nullptr;
        const bool is_over = finished();
        if (!is_over && caller && caller->must_cancel) loop_->throw_cancelled();
        throw_runtime_error({"create_task: the task group of task '", parent_->name(),
                             !is_ours  ? "' is of another event loop"
                             : is_over ? "' is finished"
                                       : "' is shutting down"});
    }
    static void child_ended(GroupCore& group, TaskCore& child, ReadyNode::Verb verb) noexcept;
    /// Nothing comes of its end but that there is one child less.
    static bool ends_quietly(const TaskCore& child) noexcept {
        const TaskExtras* const extras = child.extras();
        return child.state != FutureCore::State::exception && !(extras && extras->ready);
    }
    void told_of(TaskCore& child) noexcept;
    void drop_members() noexcept;
    void wake_joiner() noexcept {
        if (joiner && members.empty()) loop_->wake(*std::exchange(joiner, nullptr));
    }
    void cancel_child(TaskCore& child) noexcept {
        if (!child.done()) loop_->cancel(child, {});
    }
    void abort() noexcept;
    void strike_members() noexcept;
    void end_members_by_force() noexcept;
    void strike_with_parent() noexcept {
        if (parent_->is_left && !body_ended_) end_members_by_force();
    }
    TaskCore* abort_all_but_last() noexcept;
    void break_circles() noexcept;
    void interrupt_body() noexcept {
        if (body_ended_ || odd_.asked_parent) return;
        odd_.asked_parent = true;
        loop_->cancel(*parent_, {});
    }

    EventLoop* loop_;
    union {
        // In the order of their ends, each with a reference. Made with the first.
        IntrusiveList<TaskCore, AllTasksTag> failed_;
    };
    // The child that a cancel is just being passed on to. Valid while the abort is under way.
    TaskCore* asking_ = nullptr;
    std::uint32_t abort_way_ = 0;
    std::uint16_t requests_before_;  // the parent's cancel requests that are older than the group
    /// What a child that is created must know of; looked at as one.
    struct Special {
        bool any() const noexcept { return __builtin_bit_cast(std::uint16_t, *this) != 0; }
        bool aborting = false;
        bool eager = false;
    };
    Special special_;
    bool body_ended_ = false;
    /// What makes an end more than that of the body; looked at as one.
    struct Odd {
        bool any() const noexcept { return __builtin_bit_cast(std::uint32_t, *this) != 0; }
        bool asked_parent = false;  // one of its cancel requests is ours
        bool join_cancelled = false;
        bool failed = false;  // a child has
        bool unused = false;
    };
    Odd odd_;
};

/// Until no child is left. A cancel is passed on to the children and does not end the wait.
class [[nodiscard]] GroupState::Join final : public Suspension {
public:
    explicit Join(GroupState& group) noexcept : group_(group) {}

    void await_suspend(std::coroutine_handle<> handle) {
        TaskCore& task = *group_.parent_;  // which runs, since nobody else awaits this
        task.coroutine = handle;
        task.waiting_on = this;
        group_.joiner = &task;
        if (group_.special_.aborting) [[unlikely]]
            group_.break_circles();
        if (task.must_cancel) [[unlikely]]
            group_.loop_->pass_on_cancel(task);
    }

    TaskCore* cancel() noexcept override {
        if (group_.special_.aborting) {
            // A child waits for us, in a circle.
            if (group_.loop_->cancel_ways().contains(group_.abort_way_)) return group_.parent_;
            group_.odd_.join_cancelled = true;
            return group_.loop_->strike_each(
                [this](auto&& visit) { group_.members.for_each(visit); });
        }
        group_.odd_.join_cancelled = true;
        return group_.abort_all_but_last();
    }
    /// Whoever of the children leads here is let go, this one in no case: they would outlive it.
    void let_go() noexcept override {
        if (!group_.loop_->cancel_ways().contains(group_.abort_way_)) return;
        if (group_.asking_->waiting_on) group_.asking_->waiting_on->let_go();
    }
    WaitInfo describe() const noexcept override {
        return {"a task group", -1, nullptr, nullptr,
                [](const Suspension& wait, Visitor<const FutureCore> visit) {
                    static_cast<const Join&>(wait).group_.members.for_each(
                        [&](const TaskCore& child) { visit(child); });
                }};
    }

private:
    GroupState& group_;
};

inline void GroupState::adopt_begun(TaskCore& child) noexcept {
    if (!child.done()) {
        loop_->adopt(*this, child);
        // An eager child has cancelled its own group.
        if (special_.aborting) [[unlikely]]
            cancel_child(child);
        return;
    }
    if (ends_quietly(child)) return;
    // Told later, like of every child: whoever creates an eager child is not to be struck inside.
    loop_->adopt(*this, child);
    loop_->tell_group_later(child, *this);
}

inline void GroupState::adopt_starting(TaskCore& child, FutureCore& ready) {
    try {
        child.make_extras().ready = &ready;
    } catch (...) {
        // It exists, so it is the group's; it never begins.
        adopt_begun(child);
        cancel_child(child);
        throw;
    }
    ready.add_ref();
    adopt_begun(child);
}

inline void GroupState::child_ended(GroupCore& core, TaskCore& child,
                                    ReadyNode::Verb verb) noexcept {
    auto& group = static_cast<GroupState&>(core);
    if (verb == ReadyNode::Verb::run) return group.told_of(child);
    if (verb == ReadyNode::Verb::struck) return group.strike_with_parent();
    if (verb == ReadyNode::Verb::ended && !ends_quietly(child))
        return group.loop_->tell_group_later(child, group);
    IntrusiveList<TaskCore, AllTasksTag>::erase_for_good(child);
    if (verb == ReadyNode::Verb::ended) return group.wake_joiner();
    child.release();  // the queue's
}

inline void GroupState::told_of(TaskCore& child) noexcept {
    using State = FutureCore::State;
    TaskExtras* const extras = child.extras();
    FutureCore* const ready = extras ? extras->ready : nullptr;
    const bool was_starting = ready && ready->state != State::value;
    if (was_starting && !ready->done()) end_future(*ready, State::cancelled);
    IntrusiveList<TaskCore, AllTasksTag>::erase_for_good(child);
    if (child.state == State::exception && !was_starting) [[unlikely]] {
        child.retrieved = true;
        if (!odd_.failed) std::construct_at(&failed_);
        odd_.failed = true;
        failed_.push_back(child);
        if (!special_.aborting) {
            abort();
            interrupt_body();
        }
        wake_joiner();
    } else {
        wake_joiner();
        child.release();  // its result's destructor may do anything
    }
}

/// Members are left only where the frame is destroyed while it waits.
[[gnu::cold, gnu::noinline]] inline void GroupState::drop_members() noexcept {
    members.for_each([this](TaskCore& child) { loop_->disown(child); });
    while (odd_.failed && !failed_.empty()) failed_.pop_front().release();
}

inline void GroupState::abort() noexcept {
    const CancelWay way(loop_->cancel_ways());
    const unsigned requests = parent_->cancel_requests;
    const bool asked = parent_->must_cancel;
    if (TaskCore* const last = abort_all_but_last()) cancel_child(*last);
    // A child that awaits the parent has passed it on: it is ours, and nobody else's.
    parent_->cancel_requests = requests & TaskCore::most_cancel_requests;
    parent_->must_cancel = asked;
}

/// The body has ended while the group ends, and what it declared is gone. Whoever is ready, or
/// becomes so in spite of the cancel, may refer to that: docs/decisions/0023.
[[gnu::cold, gnu::noinline]] inline void GroupState::strike_members() noexcept {
    const EventLoop::Strike strike(*loop_);
    end_members_by_force();
    loop_->strike_groups();
}

inline void GroupState::end_members_by_force() noexcept {
    if (!special_.aborting) return abort();
    members.for_each([this](TaskCore& child) { loop_->strike_again(child); });
}

/// Returns the last one, for the loop to go on with: a chain of groups in groups may be longer than
/// the stack is deep.
inline TaskCore* GroupState::abort_all_but_last() noexcept {
    special_.aborting = true;
    abort_way_ = loop_->cancel_ways().innermost();
    asking_ = nullptr;
    members.for_each([&](TaskCore& child) {
        if (child.done()) return;
        if (asking_) cancel_child(*asking_);
        asking_ = &child;
    });
    return asking_;
}

/// The parent waits for the children now, and children that were asked to end before wait for the
/// parent: they are let go.
[[gnu::cold]] inline void GroupState::break_circles() noexcept {
    members.for_each([&](TaskCore& child) {
        TaskCore* at = &child;
        const TaskCore* landmark = at;
        for (std::size_t steps = 0, stretch = 1; !child.done() && at->waiting_on;) {
            auto* const on = const_cast<FutureCore*>(at->waiting_on->describe().on);
            if (!on || !on->is_task || on == landmark) return;
            if (on == parent_) {
                if (at->must_cancel) at->waiting_on->let_go();
                return;
            }
            at = static_cast<TaskCore*>(on);
            if (++steps == stretch) {
                landmark = at;
                steps = 0;
                stretch *= 2;
            }
        }
    });
}

[[gnu::cold, gnu::noinline]] inline void GroupState::finish(const OutcomeBase& body,
                                                            std::exception_ptr error) {
    // Our own request goes, delivered or not; others stay.
    if (odd_.asked_parent && parent_->cancel_requests > 0) --parent_->cancel_requests;
    const bool foreign = parent_->cancel_requests > requests_before_;
    if (odd_.asked_parent && !foreign) parent_->must_cancel = parent_->keeps_cancel;

    if (body.kind() == OutcomeKind::exception || odd_.failed) [[unlikely]] {
        if (foreign) parent_->must_cancel = true;  // strikes at the next suspension
        std::vector<std::exception_ptr> errors;
        bool body_is_new = body.kind() == OutcomeKind::exception;
        if (!odd_.failed) std::construct_at(&failed_);
        failed_.for_each([&](TaskCore& child) {
            errors.push_back(child.typed->exception(child));
            // The body has awaited the child that failed.
            if (errors.back() == error) body_is_new = false;
        });
        if (body_is_new) errors.push_back(std::move(error));
        throw ExceptionGroup("unhandled errors in a task group", std::move(errors));
    }
    const bool cancelled = body.kind() == OutcomeKind::cancelled;
    if (foreign && parent_->must_cancel && (cancelled || odd_.join_cancelled))
        loop_->throw_cancelled();
    if (!cancelled) return;
    if (!odd_.asked_parent || foreign) rethrow(error);
}

}  // namespace weft::detail
