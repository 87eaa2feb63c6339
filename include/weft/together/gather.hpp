// SPDX-License-Identifier: MIT
// gather, all: several children at the same time, and all their results.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "../task/coro.hpp"
#include "detail/await_block.hpp"
#include "detail/child_arguments.hpp"
#include "detail/child_range.hpp"
#include "detail/children.hpp"
#include "detail/gather_awaiter.hpp"
#include "eager.hpp"
#include "settled.hpp"

namespace weft {

/// `gather(return_exceptions, ...)`.
struct ReturnExceptions {
    explicit constexpr ReturnExceptions() noexcept = default;
};
inline constexpr ReturnExceptions return_exceptions{};

namespace detail {

template <class Kept>
using ResultOf = typename Child<Kept>::Result;

template <class T>
Settled<Stored<T>> settle(ChildNode& node, auto&& take) {
    if (node.end() == FutureCore::State::value) return Settled<Stored<T>>(take());
    return Settled<Stored<T>>(node.error(), node.end() == FutureCore::State::cancelled);
}

/// After the wait: what there is to throw.
[[gnu::always_inline]] inline void throw_if_failed(Children& children) {
    children.check_started();
    if (ChildNode* const failed = children.decisive()) [[unlikely]]
        rethrow(failed->error());
    if (children.struck()) [[unlikely]]
        children.loop().throw_cancelled();
}

template <class... K>
Coro<std::tuple<Stored<ResultOf<K>>...>> gather_each(ChildRule rule, K... kept) {
    std::tuple<Child<K>...> parts;
    Children children(get_running_loop(), sizeof...(K), rule);
    const auto start = [&]<std::size_t... I>(std::index_sequence<I...>) {
        (start_child(children, std::get<I>(parts), kept), ...);
    };
    start(std::index_sequence_for<K...>());
    children.begin();
    co_await children.wait();
    throw_if_failed(children);
    const auto collect = [&]<std::size_t... I>(std::index_sequence<I...>) {
        // In braces: evaluated in order.
        return std::tuple<Stored<ResultOf<K>>...>{std::get<I>(parts).take(children.node(I))...};
    };
    co_return collect(std::index_sequence_for<K...>());
}

template <class... K>
Coro<std::tuple<Settled<Stored<ResultOf<K>>>...>> settle_each(K... kept) {
    std::tuple<Child<K>...> parts;
    Children children(get_running_loop(), sizeof...(K), ChildRule::all_end);
    const auto start = [&]<std::size_t... I>(std::index_sequence<I...>) {
        (start_child(children, std::get<I>(parts), kept), ...);
    };
    start(std::index_sequence_for<K...>());
    children.begin();
    co_await children.wait();
    throw_if_failed(children);
    const auto collect = [&]<std::size_t... I>(std::index_sequence<I...>) {
        return std::tuple<Settled<Stored<ResultOf<K>>>...>{settle<ResultOf<K>>(
            children.node(I), [&] { return std::get<I>(parts).take(children.node(I)); })...};
    };
    co_return collect(std::index_sequence_for<K...>());
}

template <class R, class T = ResultOf<KeptElement<R>>>
Coro<std::vector<Stored<T>>> gather_range(ChildRule rule, R range) {
    Children children(get_running_loop(), count_of(range), rule);
    start_range(children, range);
    children.begin();
    co_await children.wait();
    throw_if_failed(children);
    std::vector<Stored<T>> results;
    results.reserve(children.size());
    for (std::size_t i = 0; i < children.size(); ++i) {
        results.push_back(Child<KeptElement<R>>::take(children.node(i)));
    }
    co_return results;
}

template <class R, class T = ResultOf<KeptElement<R>>>
Coro<std::vector<Settled<Stored<T>>>> settle_range(R range) {
    Children children(get_running_loop(), count_of(range), ChildRule::all_end);
    start_range(children, range);
    children.begin();
    co_await children.wait();
    throw_if_failed(children);
    std::vector<Settled<Stored<T>>> results;
    results.reserve(children.size());
    for (std::size_t i = 0; i < children.size(); ++i) {
        ChildNode& node = children.node(i);
        results.push_back(settle<T>(node, [&] { return Child<KeptElement<R>>::take(node); }));
    }
    co_return results;
}

/// Coroutines alone need no frame around them; others may be held by somebody else, or be
/// operations that are written into the call.
template <ChildRule rule, Start start, class... T>
auto gather_kept(Coro<T>... coros) {
    using Awaiter = GatherAwaiter<rule, start, T...>;
    return AwaitBlock<typename Awaiter::Result, Awaiter, Coro<T>...>(std::move(coros)...);
}
template <ChildRule rule, Start start, class... K>
    requires(!(is_coro<K> && ...))
auto gather_kept(K... kept) {
    static_assert(start == Start::queued,
                  "weft: eager children are coroutines, or functions that return one");
    if constexpr (rule == ChildRule::all_end) {
        return settle_each(std::move(kept)...);
    } else {
        return gather_each(rule, std::move(kept)...);
    }
}
template <ChildRule rule, Start start, class... A>
auto gather_all(A&&... children) {
    return in_place_if_borrowing<A...>(
        gather_kept<rule, start>(keep(std::forward<A>(children))...));
}

}  // namespace detail

/// Runs the children at the same time and waits for all of them. A child is a coroutine, a task or
/// future, an awaitable, or a callable that returns a coroutine (name it first if it captures).
/// They start when the gather is awaited.
///
///     auto both = co_await weft::gather(load(1), load(2));
///     auto& [first, second] = both;
///
/// Returns:  a std::tuple of the results in the order of the arguments; Void where there is none, a
///           pointer where the result is a reference. (Not destructured in the same statement:
///           g++ 15 and 16 forget to destroy it then.)
/// Throws:   the first error, at once; the other children go on, and their errors count as seen.
///           A child that somebody else cancelled is such an error. See `all` for all or nothing.
/// Cancel:   cancels every child and waits for them; if none of them gave in to it, the results are
///           returned and the cancel strikes at the next suspension.
/// Lifetime: operations (`sleep`, `io::recv`, ...) written into the call end with it: when it
///           throws early they are cancelled and awaited first. An item, permit or lock that one
///           of them was granted goes back then; `gather(return_exceptions, ...)` returns all.
template <class... A>
auto gather(A&&... children) {
    return detail::gather_all<detail::ChildRule::first_error, detail::Start::queued>(
        std::forward<A>(children)...);
}
/// The same with eager children, which are coroutines or functions that return one: each takes its
/// first step when its turn to be started comes, one after the other, before the gather waits. One
/// that ends in that step costs no turn of the loop; so what branches into a tree goes down one
/// branch after the other, and needs memory for the depth of the tree and not for its breadth. They
/// nest like calls: the depth of the stack is that of the tree.
template <class... A>
auto gather(Eager, A&&... children) {
    return detail::gather_all<detail::ChildRule::first_error, detail::Start::in_place>(
        std::forward<A>(children)...);
}

/// The same for a range of coroutines, tasks, futures or callables, which is moved or copied.
/// Returns:  a std::vector of the results, in order.
template <detail::ChildRange R>
auto gather(R&& range) {
    return detail::gather_range(detail::ChildRule::first_error,
                                detail::keep_range(std::forward<R>(range)));
}

/// The same, but each outcome sits in its slot and no child's error is thrown.
/// Returns:  a tuple of `Settled<T>`.
/// Cancel:   cancels every child, waits for them, and throws (unless none gave in).
template <class... A>
auto gather(ReturnExceptions, A&&... children) {
    return detail::gather_all<detail::ChildRule::all_end, detail::Start::queued>(
        std::forward<A>(children)...);
}
template <class... A>
auto gather(Eager, ReturnExceptions, A&&... children) {
    return detail::gather_all<detail::ChildRule::all_end, detail::Start::in_place>(
        std::forward<A>(children)...);
}
/// Returns:  a vector of `Settled<T>`.
template <detail::ChildRange R>
auto gather(ReturnExceptions, R&& range) {
    return detail::settle_range(detail::keep_range(std::forward<R>(range)));
}

/// All or nothing: like `gather`, but the first error cancels the other children and is thrown when
/// they have ended. Their results are destroyed, and so are errors of their clean-up.
/// Returns:  like `gather`.
/// Throws:   the first error.
/// Cancel:   cancels every child and waits for them, like `gather`.
template <class... A>
auto all(A&&... children) {
    return detail::gather_all<detail::ChildRule::first_error_cancels, detail::Start::queued>(
        std::forward<A>(children)...);
}
template <class... A>
auto all(Eager, A&&... children) {
    return detail::gather_all<detail::ChildRule::first_error_cancels, detail::Start::in_place>(
        std::forward<A>(children)...);
}
template <detail::ChildRange R>
auto all(R&& range) {
    return detail::gather_range(detail::ChildRule::first_error_cancels,
                                detail::keep_range(std::forward<R>(range)));
}

}  // namespace weft
