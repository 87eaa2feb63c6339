// SPDX-License-Identifier: MIT
// race_all: a race that returns everything that succeeded, so that nothing is lost by losing.
#pragma once

#include <cstddef>
#include <tuple>
#include <utility>

#include "../task/coro.hpp"
#include "detail/child_arguments.hpp"
#include "detail/children.hpp"
#include "gather.hpp"
#include "race.hpp"
#include "settled.hpp"

namespace weft {
namespace detail {
template <class... K>
Coro<std::tuple<Settled<Stored<ResultOf<K>>>...>> race_and_settle(K... kept);
}  // namespace detail

/// Like `race`: runs the children at the same time, and the first success cancels the others, which
/// are awaited. But what the others completed all the same is returned too: bytes that a losing
/// `recv` took out of its socket, a connection that was accepted, an item that a coroutine had
/// taken out of a queue.
///
///     auto ends = co_await weft::race_all(a.read(first), b.read(second), weft::sleep(5s));
///     auto& [from_a, from_b, late] = ends;
///     if (from_a) use(first, *from_a);
///     if (from_b) use(second, *from_b);          // both may have come
///
/// Returns:  a std::tuple with a `Settled<T>` for each child, in the order of the arguments: a
///           value, an error (when all fail, only errors: none is thrown), or cancelled. Void where
///           there is no result. At least one has a value or an error.
/// Throws:   CancelledError; what hinders a child from starting.
/// Cancel:   lossless: cancels the children and waits for them; if one succeeds all the same, the
///           results are returned and the cancel strikes at the next suspension.
/// Lifetime: operations written into the call live until it returns.
template <class... A>
    requires(sizeof...(A) > 0)
auto race_all(A&&... children) {
    detail::check_racers<A...>();
    return detail::in_place_if_borrowing<A...>(
        detail::race_and_settle(detail::keep(std::forward<A>(children))...));
}

namespace detail {

template <class... K>
Coro<std::tuple<Settled<Stored<ResultOf<K>>>...>> race_and_settle(K... kept) {
    std::tuple<Child<K>...> parts;
    Children children(get_running_loop(), sizeof...(K), ChildRule::first_success_cancels);
    const auto start = [&]<std::size_t... I>(std::index_sequence<I...>) {
        (start_child(children, std::get<I>(parts), kept), ...);
    };
    start(std::index_sequence_for<K...>());
    children.begin();
    co_await children.wait();
    children.check_started();
    if (!children.decisive() && children.struck()) children.loop().throw_cancelled();
    const auto collect = [&]<std::size_t... I>(std::index_sequence<I...>) {
        // In braces: evaluated in order.
        return std::tuple<Settled<Stored<ResultOf<K>>>...>{settle<ResultOf<K>>(
            children.node(I), [&] { return std::get<I>(parts).take(children.node(I)); })...};
    };
    co_return collect(std::index_sequence_for<K...>());
}

}  // namespace detail
}  // namespace weft
