// SPDX-License-Identifier: MIT
// as_completed: tasks one after the other, in the order in which they end.
#pragma once

#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/clock.hpp"
#include "../base/error.hpp"
#include "../base/std_parts.hpp"
#include "../task/coro.hpp"
#include "../task/future.hpp"
#include "detail/child_arguments.hpp"
#include "detail/child_range.hpp"
#include "detail/children.hpp"

namespace weft {
namespace detail {
template <class R>
auto start_all(R&& range);
template <class R>
using StartedHandle = typename decltype(start_all(std::declval<R>()))::value_type;
}  // namespace detail

/// Tasks that are waited for together. `Handle` is a Task<T> or Future<T>.
/// Lifetime: dropping it before its end leaves the tasks alone; no timer and no node stays behind.
template <class Handle>
class [[nodiscard]] AsCompleted {
public:
    AsCompleted(std::vector<Handle> tasks, detail::Nanoseconds deadline);
    AsCompleted(const AsCompleted&) = delete;
    AsCompleted& operator=(const AsCompleted&) = delete;

    /// Waits for the next task to end; those that have ended meanwhile come first, in the order of
    /// their ends. One caller at a time.
    /// Returns:  the task, which is done: ask it for its `result()`. Empty when all had their turn.
    /// Throws:   TimeoutError when the deadline came first, and from then on; CancelledError.
    /// Cancel:   ends the wait; no task is cancelled, or skipped.
    Coro<Handle> next();

private:
    std::vector<Handle> tasks_;
    detail::Nanoseconds deadline_;
    detail::Children children_;
    bool timed_out_ = false;
};

/// The tasks or futures of a range one after the other as they end; coroutines, and callables that
/// return one, are started as tasks. A container of coroutines is moved: `std::move(coroutines)`.
///
///     auto completed = weft::as_completed(std::move(tasks));
///     while (auto task = co_await completed.next()) use(task.result());
///
/// Throws:   RuntimeError for the current task, an empty handle or one of another loop.
template <detail::ChildRange R>
auto as_completed(R&& range) {
    return AsCompleted<detail::StartedHandle<R>>(detail::start_all(std::forward<R>(range)),
                                                 detail::no_deadline);
}
/// The same with a deadline for all of them together, after which `next` throws TimeoutError.
template <detail::ChildRange R, class Rep, class Period>
auto as_completed(R&& range, std::chrono::duration<Rep, Period> timeout) {
    const detail::Nanoseconds delay = detail::to_limit(timeout);
    return AsCompleted<detail::StartedHandle<R>>(
        detail::start_all(std::forward<R>(range)),
        detail::deadline_after(get_running_loop().read_clock(), delay));
}

template <class Handle>
AsCompleted<Handle>::AsCompleted(std::vector<Handle> tasks, detail::Nanoseconds deadline)
    : tasks_(detail::each_once(std::move(tasks))),
      deadline_(deadline),
      children_(get_running_loop(), tasks_.size(), detail::ChildRule::watch_next) {
    for (const Handle& task : tasks_) {
        detail::check_child(task, children_.loop());
        task.core()->add_ref();
        children_.add(task.core());
    }
    children_.begin();
}

namespace detail {
/// Says who has not ended.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_late(Children& children) {
    const FutureCore* first = nullptr;
    long long others = -1;
    for (std::size_t i = 0; i < children.size(); ++i) {
        const FutureCore* const child = children.node(i).child;
        if (child->done()) continue;
        if (!first) first = child;
        ++others;
    }
    throw TimeoutError(
        concat({"timed out: ", first ? text_of(*first) : std::string(), others > 0 ? " and " : "",
                others > 0 ? std::string_view(decimal(others)) : "", others > 0 ? " more" : ""}));
}
}  // namespace detail

template <class Handle>
Coro<Handle> AsCompleted<Handle>::next() {
    if (timed_out_) detail::throw_late(children_);
    if (children_.all_ended()) co_return Handle();
    if (deadline_ != detail::no_deadline) children_.arm(deadline_);
    const detail::TimerOff off(children_);
    co_await children_.wait();
    detail::ChildNode* const ended = children_.pop_ended();
    if (!ended) {
        timed_out_ = true;
        detail::throw_late(children_);
    }
    co_return tasks_[static_cast<std::size_t>(ended - &children_.node(0))];
}

template <class R>
auto detail::start_all(R&& range) {
    using Element = std::remove_cv_t<ElementOf<std::remove_reference_t<R>>>;
    if constexpr (FutureHandle<Element>) {
        return std::vector<Element>(range.begin(), range.end());
    } else {
        std::vector<Task<typename KeptElement<std::remove_reference_t<R>>::value_type>> tasks;
        auto kept = keep_range(std::forward<R>(range));
        for (auto& element : kept) tasks.push_back(create_task(keep_for_long(std::move(element))));
        return tasks;
    }
}

}  // namespace weft
