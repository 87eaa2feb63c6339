// SPDX-License-Identifier: MIT
// task_group, TaskGroup: tasks that end before the block ends that started them.
#pragma once

#include <type_traits>
#include <utility>

#include "../fwd.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"
#include "../task/coro.hpp"
#include "../task/future.hpp"
#include "../task/task.hpp"
#include "detail/await_block.hpp"
#include "detail/group_awaiter.hpp"
#include "detail/group_state.hpp"
#include "eager.hpp"

namespace weft {

/// A task in a group. Its handle may be dropped without a word: the group waits for it.
template <class T>
class GroupTask : public Task<T> {
public:
    GroupTask() noexcept = default;
    explicit GroupTask(Task<T> task) noexcept : Task<T>(std::move(task)) {}
};

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

/// The tasks of one `task_group` block. Pass it by reference to whatever is to start tasks in it.
/// Lifetime: the block's; a task or object that keeps a reference must not outlive it.
class TaskGroup : private detail::GroupState {
public:
    /// Refused: one that nobody waits for would leave its tasks alone with what they refer to.
    template <class Given = void>
    TaskGroup() {
        static_assert(!std::is_void_v<Given>,
                      "weft: task_group(body) makes the group, and waits for its tasks");
    }

    /// Starts a child: the arguments, TaskOptions included, are those of `weft::create_task`. Its
    /// result is in the task that is returned; its failure ends the group, retrieved or not.
    /// Throws:   RuntimeError when the group is over, or ends because a child failed or because of
    ///           `cancel`; CancelledError instead when that cancel is still to strike the caller.
    ///           The coroutine is destroyed.
    template <class T>
    GroupTask<T> create_task(Coro<T> coro, detail::File in = detail::file(__builtin_FILE()),
                             detail::Line line = detail::Line(__builtin_LINE()));
    template <class T>
    GroupTask<T> create_task(Coro<T> coro, TaskOptions options);
    template <class Fn>
    auto create_task(Fn&& fn, detail::File in = detail::file(__builtin_FILE()),
                     detail::Line line = detail::Line(__builtin_LINE()));
    template <class Fn, class First, class... Args>
    auto create_task(Fn&& fn, First&& first, Args&&... args);

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
                                                                                Args... args);

    /// Ends the group early and quietly: cancels the children, and the body at its next suspension.
    /// The block then returns instead of throwing CancelledError. Does nothing the second time.
    void cancel() noexcept { GroupState::cancel(); }

private:
    template <class T, class Group, detail::Start start, class Fn, class... Args>
    friend class detail::GroupAwaiter;
    /// The current task is the parent.
    explicit TaskGroup(detail::BeginGroup) {}
    template <class T>
    [[gnu::cold, gnu::noinline]] GroupTask<T> create_specially(Coro<T>& coro, detail::File in,
                                                               detail::Line line);
};

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
///           What the body declares goes when the body ends, which is before its children do:
///           declare what they use around the task_group. Only where the body ends by an exception,
///           or after `cancel`, do they take no step more but for their clean-up: they see
///           CancelledError at their await, and a result that was there is dropped.
template <class Fn, class... Args>
    requires detail::MakesCoroOf<Fn&, TaskGroup&, Args...>
auto task_group(Fn body, Args... args) {
    using T = typename detail::CoroOfCall<Fn&, TaskGroup&, Args...>::value_type;
    using Awaiter = detail::GroupAwaiter<T, TaskGroup, detail::Start::queued, Fn, Args...>;
    return detail::AwaitBlock<T, Awaiter, Fn, Args...>(std::move(body), std::move(args)...);
}
/// The same, and its children take their first step inside `create_task`, like asyncio's eager
/// tasks, unless their TaskOptions say otherwise. A child that ends in that step costs no turn of
/// the loop, and a tree of them goes down one branch after the other: it needs memory for its depth
/// and not for its breadth (and stack: they nest like calls).
template <class Fn, class... Args>
    requires detail::MakesCoroOf<Fn&, TaskGroup&, Args...>
auto task_group(Eager, Fn body, Args... args) {
    using T = typename detail::CoroOfCall<Fn&, TaskGroup&, Args...>::value_type;
    using Awaiter = detail::GroupAwaiter<T, TaskGroup, detail::Start::in_place, Fn, Args...>;
    return detail::AwaitBlock<T, Awaiter, Fn, Args...>(std::move(body), std::move(args)...);
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

// --- bodies ---

template <class T>
GroupTask<T> TaskGroup::create_task(Coro<T> coro, detail::File in, detail::Line line) {
    if (takes_plainly()) [[likely]] {
        if (auto* const state = detail::begin_plainly(&loop(), coro)) [[likely]] {
            adopt(*state);
            return GroupTask<T>(Task<T>(state));
        }
    }
    return create_specially(coro, in, line);
}
template <class T>
GroupTask<T> TaskGroup::create_specially(Coro<T>& coro, detail::File in, detail::Line line) {
    return create_task(std::move(coro), TaskOptions(in, line));
}

template <class T>
GroupTask<T> TaskGroup::create_task(Coro<T> coro, TaskOptions options) {
    check_open();
    if (is_eager() && options.is_eager_or(true)) options.eager();
    Task<T> task = loop().create_task(std::move(coro), std::move(options));
    adopt_begun(static_cast<detail::TaskCore&>(*task.core()));
    return GroupTask<T>(std::move(task));
}

template <class Fn>
auto TaskGroup::create_task(Fn&& fn, detail::File in, detail::Line line) {
    check_open();
    return create_task(detail::call_copies(std::forward<Fn>(fn)), in, line);
}
template <class Fn, class First, class... Args>
auto TaskGroup::create_task(Fn&& fn, First&& first, Args&&... args) {
    check_open();
    return detail::start_call(
        [this](auto coro, auto options) {
            return this->create_task(std::move(coro), std::move(options));
        },
        std::forward<Fn>(fn), std::forward<First>(first), std::forward<Args>(args)...);
}

template <class T, class Fn, class... Args>
    requires std::is_invocable_v<Fn&, TaskStatus<T>, Args...> Coro<T> TaskGroup::start(
        Fn fn, Args... args) {
        check_open();
        Future<T> ready = loop().create_future<T>();
        const auto task =
            weft::create_task(std::move(fn), TaskStatus<T>(ready), std::move(args)...);
        auto* const child = static_cast<detail::TaskCore*>(task.core());
        adopt_starting(*child, *ready.core());
        ready.core()->add_ref();
        detail::StartWait<T> wait(ready.core(), child);
        co_return co_await wait;
    }

}  // namespace weft
