// SPDX-License-Identifier: MIT
// select: the first of several tasks to end; the others go on, and are selected from again.
#pragma once

#include <cstddef>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "../task/coro.hpp"
#include "../task/future.hpp"
#include "detail/child_arguments.hpp"
#include "detail/children.hpp"
#include "race.hpp"

namespace weft {
namespace detail {
template <class A>
auto keep_branch(A&& branch);
template <class... K>
Coro<typename RaceOf<K...>::Type> select_each(K... kept);
}  // namespace detail

/// Waits for the first of several branches to end, and gives its result. A branch that is a task or
/// future, and has a name, goes on when it loses, and keeps what it gets: select from it again. A
/// branch that is an operation (`sleep`, `queue.get()`, `io::recv`, ...), written into the call, is
/// cancelled and awaited when it loses, like in `race`.
///
///     auto line = group.create_task(lines.next());     // of an AsyncGenerator
///     auto news = group.create_task(feed.next());
///     for (;;) {
///         auto first = co_await weft::select(line, news, stopped.wait());
///         if (first.index() == 0) {
///             use(std::get<0>(first));
///             line = group.create_task(lines.next());  // the other one goes on
///         } ...
///     }
///
/// `race` is for branches that have no more use once one has won, `wait(tasks, first_completed)`
/// for many of one kind. A branch that is done already wins at once; of several, the first one.
/// Returns:  a `Winner<T>` if all results are of one type, else a std::variant with an alternative
///           for each branch; `index()` of both tells who won. (Void where there is no result.) The
///           result is moved out if it is the only handle to it, else copied.
/// Throws:   what the first one throws: failing is one way to end; its task says which one it was
///           (`done()`). CancelledError.
/// Cancel:   ends the wait; tasks and futures are left alone. Lossless: an operation that won all
///           the same gives its result, and the cancel strikes at the next suspension.
/// Lifetime: tasks that are left pending are the caller's to await or cancel; in a task group, the
///           group's.
template <class... A>
    requires(sizeof...(A) > 0)
auto select(A&&... branches) {
    return detail::in_place_if_borrowing<A...>(
        detail::select_each(detail::keep_branch(std::forward<A>(branches))...));
}

namespace detail {

template <class A>
auto keep_branch(A&& branch) {
    using Branch = std::remove_cvref_t<A>;
    if constexpr (FutureHandle<Branch> && std::is_lvalue_reference_v<A>) {
        return Future<typename Branch::value_type>(branch);
    } else if constexpr (is_operation<A>) {
        return keep(std::forward<A>(branch));
    } else {
        static_assert(always_false<A>,
                      "weft: a branch of a select goes on when it loses, so it is a task or future "
                      "that has a name (auto next = create_task(...); select(next, ...)), or an "
                      "operation, which can be begun anew");
        return Future<Refused>(nullptr);
    }
}

template <class... K>
Coro<typename RaceOf<K...>::Type> select_each(K... kept) {
    std::tuple<Child<K>...> parts;
    Children children(get_running_loop(), sizeof...(K), ChildRule::first_end);
    const auto start = [&]<std::size_t... I>(std::index_sequence<I...>) {
        (start_child(children, std::get<I>(parts), kept), ...);
    };
    start(std::index_sequence_for<K...>());
    children.begin();
    co_await children.wait();
    children.check_started();
    ChildNode* const first = children.decisive();
    if (!first) children.loop().throw_cancelled();
    first->child->retrieved = true;
    if (first->end() != FutureCore::State::value) rethrow(first->error());
    using Result = typename RaceOf<K...>::Type;
    std::optional<Result> result;
    const auto won = static_cast<std::size_t>(first - &children.node(0));
    const auto take = [&]<std::size_t I>() {
        if constexpr (RaceOf<K...>::uniform) {
            result.emplace(won, std::get<I>(parts).take(children.node(I)));
        } else {
            result.emplace(std::in_place_index<I>, std::get<I>(parts).take(children.node(I)));
        }
    };
    const auto find = [&]<std::size_t... I>(std::index_sequence<I...>) {
        ((I == won ? take.template operator()<I>() : void()), ...);
    };
    find(std::index_sequence_for<K...>());
    co_return std::move(*result);
}

}  // namespace detail
}  // namespace weft
