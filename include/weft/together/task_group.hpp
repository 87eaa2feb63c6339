// SPDX-License-Identifier: MIT
// task_group, TaskGroup: tasks that end before the block ends that started them.
// Long because: the members, the wait for them, and the ways on which a cancel goes between them
// and the parent are one piece of state.
#pragma once

#include <coroutine>
#include <cstdint>
#include <exception>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/frame_allocator.hpp"
#include "../base/intrusive_list.hpp"
#include "../base/outcome.hpp"
#include "../base/owned.hpp"
#include "../base/std_parts.hpp"
#include "../fwd.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"
#include "../task/coro.hpp"
#include "../task/future.hpp"
#include "../task/future_state.hpp"
#include "../task/task.hpp"
#include "exception_group.hpp"

namespace weft {

class TaskGroup;

/// Given to a child that was started with `TaskGroup::start`: says that it is ready.
template <class T>
class TaskStatus {
public:
    explicit TaskStatus(Future<T> ready) noexcept : ready_(std::move(ready)) {}
    /// From now on the child is one like all others; `start` returns the value.
    /// Throws:   InvalidStateError when it was called before.
    template <class... Value>
    void started(Value&&... value) {
        ready_.set_result(std::forward<Value>(value)...);
    }

private:
    Future<T> ready_;
};

/// A task in a group. Its handle may be dropped without a word: the group waits for it.
template <class T>
class GroupTask : public Task<T> {
public:
    GroupTask() noexcept = default;
    explicit GroupTask(Task<T> task) noexcept : Task<T>(std::move(task)) {}
};

namespace detail {

/// A child of a group: waits in the child's list, then in the ready queue. Gone as soon as the
/// child is, unless that failed: then it keeps the exception for the end of the group.
struct GroupMember final : CallbackNode, FutureWaiter, ListNode<>, Recycled {
    explicit GroupMember(TaskGroup& of) noexcept
        : CallbackNode(&run_or_drop), FutureWaiter(this), group(&of) {}
    ~GroupMember() {
        if (ready) ready->release();
    }
    static void run_or_drop(CallbackNode& node, Verb verb) noexcept;
    bool waits() const noexcept { return static_cast<const FutureWaiter*>(this)->next != nullptr; }

    TaskGroup* group;             // null once the group is gone
    TaskCore* task = nullptr;     // alive: the loop holds a reference, later the ready queue does
    FutureCore* ready = nullptr;  // of a child that was started with `start`, with a reference
};

/// Waits until the child says that it is ready, or has ended.
template <class T>
class [[nodiscard]] StartWait final : public FutureWait {
public:
    StartWait(FutureCore* ready, TaskCore* child) noexcept : FutureWait(ready), child_(child) {}

    TaskCore* cancel() noexcept override { return child_; }
    T await_resume() {
        check_leftover();
        if (core_->state == FutureCore::State::value) return outcome_of<T>(*core_).take();
        child_->retrieved = true;
        if (child_->state == FutureCore::State::value)
            throw_runtime_error("start: the child ended without saying that it is ready");
        const TaskCore* const waiter = task();
        if (child_->state == FutureCore::State::cancelled && waiter && waiter->must_cancel)
            core_->loop->throw_cancelled();
        rethrow(child_->typed->exception(*child_));
    }

private:
    TaskCore* child_;
};

}  // namespace detail

/// The tasks of one `task_group` block. Pass it by reference to whatever is to start tasks in it.
/// Lifetime: the block's; a task or object that keeps a reference must not outlive it.
class TaskGroup {
public:
    /// What `task_group` does first: the current task is the parent.
    TaskGroup()
        : loop_(&get_running_loop()),
          parent_(&loop_->require_task()),
          // A request that has not struck yet is somebody's whom we do not know.
          requests_before_(static_cast<std::uint16_t>(parent_->cancel_requests -
                                                      (parent_->must_cancel ? 1 : 0))) {}
    TaskGroup(const TaskGroup&) = delete;
    TaskGroup& operator=(const TaskGroup&) = delete;
    ~TaskGroup() {
        if (!members_.empty() || !failed_.empty()) [[unlikely]]
            drop_members();
    }

    /// Starts a child: the arguments, TaskOptions included, are those of `weft::create_task`. Its
    /// result is in the task that is returned; its failure ends the group, retrieved or not.
    /// Throws:   RuntimeError when the group is over, or ends because a child failed or because of
    ///           `cancel`; CancelledError instead when that cancel is still to strike the caller.
    ///           The coroutine is destroyed.
    template <class... Args>
    auto create_task(Args&&... args) {
        check_open();
        detail::Owned<detail::GroupMember> member(new detail::GroupMember(*this));
        auto task = weft::create_task(std::forward<Args>(args)...);
        adopt(std::move(member), *task.core());
        return GroupTask(std::move(task));
    }
    template <class T>
    GroupTask<T> create_task(Coro<T> coro) {
        check_open();
        detail::Owned<detail::GroupMember> member(new detail::GroupMember(*this));
        auto* const state = detail::make_task(*loop_, coro);
        loop_->add(*state);
        watch(*member.release(), *state);
        return GroupTask<T>(Task<T>(state));
    }

    /// Starts `fn(status, args...)` as a child and waits until that says `status.started(...)`.
    /// `fn` takes a `TaskStatus<T>`; `fn` and the arguments are kept like those of `create_task`.
    ///
    ///     const int port = co_await group.start<int>(serve, directory);
    ///
    /// Returns:  what was passed to `started`.
    /// Throws:   what the child threw before it was ready (the group is not concerned then);
    ///           RuntimeError when it returned before, or when the group takes no tasks any more.
    /// Cancel:   cancels the child and waits for it.
    template <class T = void, class Fn, class... Args>
        requires std::is_invocable_v<Fn&, TaskStatus<T>, Args...> Coro<T> start(Fn fn,
                                                                                Args... args) {
            check_open();
            detail::Owned<detail::GroupMember> member(new detail::GroupMember(*this));
            Future<T> ready = loop_->create_future<T>();
            const auto task =
                weft::create_task(std::move(fn), TaskStatus<T>(ready), std::move(args)...);
            ready.core()->add_ref();
            member->ready = ready.core();
            auto* const child = static_cast<detail::TaskCore*>(task.core());
            adopt(std::move(member), *child);
            ready.core()->add_ref();
            detail::StartWait<T> wait(ready.core(), child);
            co_return co_await wait;
        }

    /// Ends the group early and quietly: cancels the children, and the body at its next suspension.
    /// The block then returns instead of throwing CancelledError. Does nothing the second time.
    void cancel() noexcept {
        if (aborting_ || finished()) return;
        abort();
        interrupt_body();
    }

    /// For `task_group`: the end of the body, and of the block.
    class [[nodiscard]] Join;
    Join join(bool body_failed) noexcept;
    bool ended_well(const detail::OutcomeBase& body) const noexcept {
        return body.kind() == detail::OutcomeKind::value && failed_.empty() && !asked_parent_ &&
               !join_cancelled_;
    }
    void finish(const detail::OutcomeBase& body, std::exception_ptr error);

private:
    friend struct detail::GroupMember;

    bool finished() const noexcept { return body_ended_ && members_.empty(); }
    void check_open() const {
        if (loop_ != EventLoop::running() || finished()) [[unlikely]]
            detail::throw_runtime_error("create_task: the task group is finished");
        if (aborting_) [[unlikely]]
            refuse();
    }
    [[noreturn, gnu::cold, gnu::noinline]] void refuse() const {
        // A child whose operation won against the group's cancel does not know of that yet. It has
        // done nothing wrong, and must not turn a quiet end into an error.
        const detail::TaskCore* const caller = loop_->current_task();
        if (caller && caller->must_cancel) loop_->throw_cancelled();
        detail::throw_runtime_error("create_task: the task group is shutting down");
    }
    void adopt(detail::Owned<detail::GroupMember> member, detail::FutureCore& core) noexcept;
    void watch(detail::GroupMember& member, detail::TaskCore& task) noexcept {
        member.task = &task;
        task.waiters.push_back(member);
        members_.push_back(member);
    }
    void member_ended(detail::GroupMember& member) noexcept;
    void remove(detail::GroupMember& member) noexcept;
    void drop_members() noexcept;
    void cancel_child(detail::TaskCore& child) noexcept {
        if (!child.done()) loop_->cancel(child, {});
    }
    void abort() noexcept {
        const detail::CancelWay way(loop_->cancel_ways());
        const std::uint16_t requests = parent_->cancel_requests;
        const bool asked = parent_->must_cancel;
        if (detail::TaskCore* const last = abort_all_but_last()) cancel_child(*last);
        // A child that awaits the parent has passed it on: it is ours, and nobody else's.
        parent_->cancel_requests = requests;
        parent_->must_cancel = asked;
    }
    /// Returns the last one, for the loop to go on with: a chain of groups in groups may be longer
    /// than the stack is deep.
    detail::TaskCore* abort_all_but_last() noexcept {
        aborting_ = true;
        abort_way_ = loop_->cancel_ways().innermost();
        asking_ = nullptr;
        members_.for_each([&](detail::GroupMember& member) {
            if (!member.waits()) return;
            if (asking_) cancel_child(*asking_);
            asking_ = member.task;
        });
        return asking_;
    }
    /// The parent waits for the children now, and children that were asked to end before wait for
    /// the parent: they are let go.
    [[gnu::cold]] void break_circles() noexcept {
        members_.for_each([&](detail::GroupMember& member) {
            detail::TaskCore* at = member.task;
            const detail::TaskCore* landmark = at;
            for (std::size_t steps = 0, stretch = 1; member.waits() && at->waiting_on;) {
                detail::FutureCore* const on =
                    const_cast<detail::FutureCore*>(at->waiting_on->describe().on);
                if (!on || !on->is_task || on == landmark) return;
                if (on == parent_) {
                    if (at->must_cancel) at->waiting_on->let_go();
                    return;
                }
                at = static_cast<detail::TaskCore*>(on);
                if (++steps == stretch) {
                    landmark = at;
                    steps = 0;
                    stretch *= 2;
                }
            }
        });
    }
    void interrupt_body() noexcept {
        if (body_ended_ || asked_parent_) return;
        asked_parent_ = true;
        loop_->cancel(*parent_, {});
    }

    EventLoop* loop_;
    detail::TaskCore* parent_;
    detail::TaskCore* joiner_ = nullptr;  // the parent, while it waits for the children
    detail::IntrusiveList<detail::GroupMember> members_;
    detail::IntrusiveList<detail::GroupMember> failed_;  // in the order of their ends
    // The child that a cancel is just being passed on to. Valid while the abort is under way.
    detail::TaskCore* asking_ = nullptr;
    std::uint32_t abort_way_ = 0;
    std::uint16_t requests_before_;  // the parent's cancel requests that are older than the group
    bool aborting_ = false;
    bool asked_parent_ = false;  // one of its cancel requests is ours
    bool body_ended_ = false;
    bool join_cancelled_ = false;
};

/// Until no child is left. A cancel is passed on to the children and does not end the wait.
class [[nodiscard]] TaskGroup::Join final : public detail::Suspension {
public:
    explicit Join(TaskGroup& group) noexcept : group_(group) {}

    bool await_ready() const noexcept { return group_.members_.empty(); }
    void await_suspend(std::coroutine_handle<> handle) {
        detail::TaskCore& task = group_.loop_->suspend(handle, *this);
        group_.joiner_ = &task;
        if (group_.aborting_) [[unlikely]]
            group_.break_circles();
        if (task.must_cancel) [[unlikely]]
            group_.loop_->pass_on_cancel(task);
    }
    /// (`finish` throws what there is to throw: failures of children must not be lost.)
    void await_resume() const noexcept {
        if (detail::take_leftover()) [[unlikely]]
            group_.join_cancelled_ = true;
    }

    detail::TaskCore* cancel() noexcept override {
        if (group_.aborting_) {
            // A child waits for us, in a circle.
            if (group_.loop_->cancel_ways().contains(group_.abort_way_)) return group_.parent_;
            group_.join_cancelled_ = true;
            return nullptr;
        }
        group_.join_cancelled_ = true;
        return group_.abort_all_but_last();
    }
    /// Whoever of the children leads here is let go, this one in no case: they would outlive it.
    void let_go() noexcept override {
        if (!group_.loop_->cancel_ways().contains(group_.abort_way_)) return;
        if (group_.asking_->waiting_on) group_.asking_->waiting_on->let_go();
    }
    detail::WaitInfo describe() const noexcept override { return {"a task group"}; }

private:
    TaskGroup& group_;
};

inline TaskGroup::Join TaskGroup::join(bool body_failed) noexcept {
    body_ended_ = true;
    if (body_failed && !aborting_) abort();
    return Join(*this);
}

[[gnu::cold, gnu::noinline]] inline void TaskGroup::drop_members() noexcept {
    // Members are left only where the frame is destroyed while it waits.
    while (!members_.empty()) {
        detail::GroupMember& member = members_.pop_front();
        member.group = nullptr;
        if (!member.waits()) continue;  // the ready queue has it
        member.task->waiters.erase(member);
        delete &member;
    }
    while (!failed_.empty()) {
        detail::GroupMember& member = failed_.pop_front();
        member.task->release();
        delete &member;
    }
}

inline void TaskGroup::adopt(detail::Owned<detail::GroupMember> member,
                             detail::FutureCore& core) noexcept {
    auto& task = static_cast<detail::TaskCore&>(core);
    if (!task.done()) {
        watch(*member.release(), task);
        // An eager child has cancelled its own group.
        if (aborting_) [[unlikely]]
            cancel_child(task);
        return;
    }
    member->task = &task;
    if (core.state == detail::FutureCore::State::value && !member->ready) return;
    // Told later, like of every child: whoever creates an eager child is not to be struck inside.
    core.add_ref();
    members_.push_back(*member);
    loop_->push(*member.release());
}

inline void detail::GroupMember::run_or_drop(CallbackNode& node, Verb verb) noexcept {
    auto& member = static_cast<GroupMember&>(node);
    if (verb == Verb::ended) {
        // Nothing comes of this end but that there is one child less.
        const bool quiet = member.task->state != FutureCore::State::exception && !member.ready;
        if (quiet && member.group) [[likely]]
            return member.group->remove(member);
        member.task->add_ref();  // the queue's
        return member.task->loop->push(member);
    }
    if (verb == Verb::run && member.group) return member.group->member_ended(member);
    if (member.group) member.unlink();
    member.task->release();
    delete &member;
}

inline void TaskGroup::remove(detail::GroupMember& member) noexcept {
    detail::IntrusiveList<detail::GroupMember>::erase_for_good(member);
    delete &member;
    if (joiner_ && members_.empty()) loop_->wake(*std::exchange(joiner_, nullptr));
}

inline void TaskGroup::member_ended(detail::GroupMember& member) noexcept {
    using State = detail::FutureCore::State;
    detail::TaskCore& task = *member.task;
    const bool was_starting = member.ready && member.ready->state != State::value;
    if (was_starting && !member.ready->done()) {
        detail::end_future(*member.ready, State::cancelled);
    }
    if (task.state == State::exception && !was_starting) [[unlikely]] {
        task.retrieved = true;
        detail::IntrusiveList<detail::GroupMember>::erase_for_good(member);
        failed_.push_back(member);
        if (!aborting_) {
            abort();
            interrupt_body();
        }
        if (joiner_ && members_.empty()) loop_->wake(*std::exchange(joiner_, nullptr));
    } else {
        remove(member);
        task.release();  // its result's destructor may do anything
    }
}

[[gnu::cold, gnu::noinline]] inline void TaskGroup::finish(const detail::OutcomeBase& body,
                                                           std::exception_ptr error) {
    using detail::OutcomeKind;
    // Our own request goes, delivered or not; others stay.
    if (asked_parent_ && parent_->cancel_requests > 0) --parent_->cancel_requests;
    const bool foreign = parent_->cancel_requests > requests_before_;
    if (asked_parent_ && !foreign) parent_->must_cancel = false;

    if (body.kind() == OutcomeKind::exception || !failed_.empty()) [[unlikely]] {
        if (foreign) parent_->must_cancel = true;  // strikes at the next suspension
        std::vector<std::exception_ptr> errors;
        bool body_is_new = body.kind() == OutcomeKind::exception;
        failed_.for_each([&](detail::GroupMember& member) {
            errors.push_back(member.task->typed->exception(*member.task));
            // The body has awaited the child that failed.
            if (errors.back() == error) body_is_new = false;
        });
        if (body_is_new) errors.push_back(std::move(error));
        throw ExceptionGroup("unhandled errors in a task group", std::move(errors));
    }
    const bool cancelled = body.kind() == OutcomeKind::cancelled;
    if (foreign && parent_->must_cancel && (cancelled || join_cancelled_)) loop_->throw_cancelled();
    if (!cancelled) return;
    if (!asked_parent_ || foreign) detail::rethrow(error);
}

/// Runs `body(group, args...)`, a function that returns a Coro, and waits for every task that was
/// started in the group; children may start more of them.
///
///     co_await weft::task_group([&](weft::TaskGroup& group) -> weft::Coro<void> {
///         group.create_task(fetch(first));
///         group.create_task(fetch(second));
///         co_return;
///     });
///
/// The first failure, of a child or of the body, cancels all others and the body. A child that is
/// cancelled alone disturbs nobody.
/// Returns:  what the body returns.
/// Throws:   an ExceptionGroup of all failures, in the order of their ends, the body's last;
///           CancelledError; RuntimeError when `TaskGroup::cancel` ended a body that was to return
///           something.
/// Cancel:   cancels the body or, when that has ended, the children, and waits for all of them. If
///           children fail meanwhile their group of errors is thrown, and the cancel strikes again
///           at the next suspension.
/// Lifetime: `body` and `args` are kept; with g++ 12 name a lambda that captures by value first.
///           What the body declares goes when it ends, which is before its children do: they may
///           refer to what lives around the task_group.
template <class Fn, class... Args>
    requires detail::MakesCoroOf<Fn&, TaskGroup&, Args...>
auto task_group(Fn body, Args... args) -> std::invoke_result_t<Fn&, TaskGroup&, Args...> {
    using T = typename std::invoke_result_t<Fn&, TaskGroup&, Args...>::value_type;
    TaskGroup group;
    detail::Outcome<T> outcome;
    try {
        if constexpr (std::is_void_v<T>) {
            co_await body(group, std::move(args)...);
            outcome.set_value();
        } else {
            T value = co_await body(group, std::move(args)...);
            outcome.set_value(std::forward<T>(value));
        }
    } catch (...) {
        outcome.set_current_exception();
    }
    co_await group.join(outcome.kind() != detail::OutcomeKind::value);
    if (!group.ended_well(outcome)) [[unlikely]]
        group.finish(outcome, outcome.exception());
    if constexpr (std::is_void_v<T>) {
        co_return;
    } else {
        if (outcome.kind() == detail::OutcomeKind::cancelled)
            detail::throw_runtime_error(
                "task_group: cancelled before the body returned its result");
        co_return outcome.take();
    }
}
/// Refuses everything else.
template <class Fn, class... Args>
auto task_group(Fn, Args...) {
    if constexpr (std::is_invocable_v<Fn&, TaskGroup&, Args...>) {
        static_assert(detail::always_false<Fn>,
                      "weft: the body of a task_group returns a Coro: "
                      "[](weft::TaskGroup& group) -> weft::Coro<void> { ...; co_return; }");
    } else {
        static_assert(detail::always_false<Fn>,
                      "weft: the body of a task_group takes a TaskGroup&, and then the arguments "
                      "that follow it");
    }
    return detail::Refused();
}

}  // namespace weft
