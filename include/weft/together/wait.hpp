// SPDX-License-Identifier: MIT
// wait: until some tasks have ended; looks at no result and cancels nothing.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/clock.hpp"
#include "../base/std_parts.hpp"
#include "../task/coro.hpp"
#include "../task/future.hpp"
#include "detail/child_arguments.hpp"
#include "detail/child_range.hpp"
#include "detail/children.hpp"

namespace weft {

/// When `wait` returns; all of them return once everything is done.
enum class ReturnWhen : std::uint8_t {
    all_completed,
    first_completed,  ///< one task at least is done
    first_exception,  ///< one task at least has failed (a cancelled one has not)
};
using enum ReturnWhen;

/// What `wait` found: handles of the kind it was given, in their order.
template <class Handle>
class WaitResult {
public:
    WaitResult() noexcept {}
    std::vector<Handle> done;
    std::vector<Handle> pending;
};

namespace detail {

template <class R>
concept HandleRange = requires(R& range) {
    range.begin();
    range.end();
}
&&std::derived_from<std::remove_cv_t<ElementOf<R>>, AnyFuture>;

template <class R>
auto handles_of(R&& range);
template <class Handle>
Coro<WaitResult<Handle>> wait_for_some(std::vector<Handle> tasks, ReturnWhen when,
                                       std::optional<Nanoseconds> timeout);

}  // namespace detail

/// Waits until tasks (or futures) have ended, as `when` says. Never cancels them, and looks at no
/// result: `done` may hold failed and cancelled ones. One that is passed twice counts once.
///
///     auto found = co_await weft::wait(tasks, weft::first_completed);
///     for (auto& task : found.done) use(task.result());
///
/// Throws:   std::invalid_argument for an empty range; RuntimeError for the current task, an empty
///           handle or one of another loop.
/// Cancel:   ends the wait; the tasks are left alone.
template <detail::HandleRange R>
auto wait(R&& tasks, ReturnWhen when = all_completed) {
    return detail::wait_for_some(detail::handles_of(std::forward<R>(tasks)), when, std::nullopt);
}

/// The same for at most `timeout`; when that is over it returns what is done, and throws nothing.
/// Throws:   std::invalid_argument for a duration that is NaN, too.
template <detail::HandleRange R, class Rep, class Period>
auto wait(R&& tasks, ReturnWhen when, std::chrono::duration<Rep, Period> timeout) {
    return detail::wait_for_some(detail::handles_of(std::forward<R>(tasks)), when,
                                 std::optional(detail::to_limit(timeout)));
}
template <detail::HandleRange R, class Rep, class Period>
auto wait(R&& tasks, std::chrono::duration<Rep, Period> timeout) {
    return wait(std::forward<R>(tasks), all_completed, timeout);
}

/// Refuses everything else.
template <class What, class... Rest>
    requires(!detail::HandleRange<What>)
detail::Refused wait(What&&, Rest&&...) {
    static_assert(
        detail::always_false<What>,
        "weft: wait takes a range of tasks or futures, which go on when it has ended: make "
        "them with create_task");
    return {};
}

namespace detail {

template <class Handle>
Coro<WaitResult<Handle>> wait_for_some(std::vector<Handle> tasks, ReturnWhen when,
                                       std::optional<Nanoseconds> timeout) {
    tasks = each_once(std::move(tasks));
    if (tasks.empty()) throw std::invalid_argument("weft: wait for nothing");
    const ChildRule rule = when == first_completed   ? ChildRule::watch_first
                           : when == first_exception ? ChildRule::watch_error
                                                     : ChildRule::watch_all;
    EventLoop& loop = get_running_loop();
    Children children(loop, tasks.size(), rule);
    for (const Handle& task : tasks) {
        check_child(task, loop);
        task.core()->add_ref();
        children.add(task.core());
    }
    children.begin();
    if (timeout) children.arm(deadline_after(loop.read_clock(), *timeout));
    co_await children.wait();
    // As of now, and not of the moment that decided: more may be done since.
    WaitResult<Handle> result;
    for (Handle& task : tasks) {
        (task.done() ? result.done : result.pending).push_back(std::move(task));
    }
    co_return result;
}

template <class R>
auto handles_of(R&& range) {
    using Handle = std::remove_cv_t<ElementOf<std::remove_reference_t<R>>>;
    if constexpr (std::is_same_v<R, std::vector<Handle>>) {
        return std::move(range);
    } else {
        return std::vector<Handle>(range.begin(), range.end());
    }
}

}  // namespace detail
}  // namespace weft
