// SPDX-License-Identifier: MIT
// race: several children at the same time, and the result of the first that succeeds.
#pragma once

#include <cstddef>
#include <exception>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "../task/coro.hpp"
#include "detail/child_arguments.hpp"
#include "detail/child_range.hpp"
#include "detail/children.hpp"
#include "exception_group.hpp"

namespace weft {

/// Who won a race of children with results of one type, and with what.
template <class T>
class Winner {
public:
    Winner(std::size_t which, T result) : index_(which), value_(std::move(result)) {}

    /// Its place among the arguments, from 0.
    std::size_t index() const noexcept { return index_; }
    T& value() & noexcept { return value_; }
    const T& value() const& noexcept { return value_; }
    T&& value() && noexcept { return std::move(value_); }
    T& operator*() & noexcept { return value_; }
    const T& operator*() const& noexcept { return value_; }
    T&& operator*() && noexcept { return std::move(value_); }
    T* operator->() noexcept { return std::addressof(value_); }
    const T* operator->() const noexcept { return std::addressof(value_); }

private:
    std::size_t index_;
    T value_;
};

namespace detail {

template <class First, class... Rest>
struct RaceResult {
    static constexpr bool uniform = (std::is_same_v<First, Rest> && ...);
    using Type = std::conditional_t<uniform, Winner<First>, std::variant<First, Rest...>>;
};
template <class... K>
using RaceOf = RaceResult<Stored<typename Child<K>::Result>...>;

template <class... K>
Coro<typename RaceOf<K...>::Type> race_each(K... kept);
template <class R, class T = typename Child<KeptElement<R>>::Result>
Coro<Winner<Stored<T>>> race_range(R range);
template <class... A>
constexpr void check_racers();

}  // namespace detail

/// Runs the children (see `gather`) at the same time; the first that succeeds wins. The others are
/// cancelled, and awaited, before it returns.
///
///     auto winner = co_await weft::race(ask(mirror), ask(other_mirror));
///     use(*winner, winner.index());
///
/// A generator's `next()` is no child of a race, for losing would end the generator: see `select`,
/// whose losers go on.
///
/// Success comes in the order of completion. A loser may be done in the same instant. What an
/// operation on an object of this library was granted goes back then, as if it had not been: an
/// item to the front of its queue, a permit or lock to whoever is next, news to the next `recv`.
/// What cannot go back is destroyed: a coroutine's result, an accepted connection; an item that was
/// put stays put; and bytes that a losing `recv` has taken are in its buffer, where nobody knows
/// how many. Where that matters use `race_all`, which returns those results too.
/// Returns:  a `Winner<T>` if all results are of one type, else a std::variant with an alternative
///           for each child; `index()` of both tells who won.
/// Throws:   when all fail, an ExceptionGroup of their errors, in the order of the arguments (a
///           child that somebody else cancelled has a CancelledError there).
/// Cancel:   cancels the children and waits for them. If one succeeds all the same its result is
///           returned, and the cancel strikes at the next suspension.
/// Lifetime: operations written into the call live until it returns. A losing operation that was
///           cancelled throws nothing inside.
template <class... A>
    requires(sizeof...(A) > 0)
auto race(A&&... children) {
    detail::check_racers<A...>();
    return detail::in_place_if_borrowing<A...>(
        detail::race_each(detail::keep(std::forward<A>(children))...));
}

/// The same for a range of coroutines, tasks, futures or callables, which is moved or copied.
/// Throws:   std::invalid_argument when it is empty.
template <detail::ChildRange R>
auto race(R&& range) {
    return detail::race_range(detail::keep_range(std::forward<R>(range)));
}

namespace detail {

/// A race is refused that would end more than the call that loses.
template <class A>
inline constexpr bool is_lost_for_good = false;
template <class A>
    requires(std::remove_cvref_t<A>::cancel_ends_its_object)
inline constexpr bool is_lost_for_good<A> = true;
template <class A>
    requires(!requires { std::remove_cvref_t<A>::cancel_ends_its_object; } &&
             std::is_invocable_v<std::decay_t<A>&>)
inline constexpr bool is_lost_for_good<A> =
    is_lost_for_good<std::invoke_result_t<std::decay_t<A>&>>;
template <class... A>
constexpr void check_racers() {
    static_assert(!(is_lost_for_good<A> || ...),
                  "weft: a race cancels its losers, and that would end the generator; let them go "
                  "on: auto next = create_task(generator.next()); co_await select(next, ...)");
}

/// After the wait: the winner's place. Throws when there is none.
inline std::size_t winner_of(Children& children, const char* all_failed) {
    children.check_started();
    if (ChildNode* const winner = children.decisive()) {
        return static_cast<std::size_t>(winner - &children.node(0));
    }
    if (children.struck()) children.loop().throw_cancelled();
    std::vector<std::exception_ptr> errors;
    errors.reserve(children.size());
    for (std::size_t i = 0; i < children.size(); ++i) {
        std::exception_ptr error = children.node(i).error();
        errors.push_back(error ? std::move(error) : std::make_exception_ptr(CancelledError()));
    }
    throw ExceptionGroup(all_failed, std::move(errors));
}

inline constexpr const char* nobody_won = "every child of a race failed";

template <class... K>
Coro<typename RaceOf<K...>::Type> race_each(K... kept) {
    std::tuple<Child<K>...> parts;
    Children children(get_running_loop(), sizeof...(K), ChildRule::first_success_cancels);
    const auto start = [&]<std::size_t... I>(std::index_sequence<I...>) {
        (start_child(children, std::get<I>(parts), kept), ...);
    };
    start(std::index_sequence_for<K...>());
    children.begin();
    co_await children.wait();
    const std::size_t won = winner_of(children, nobody_won);
    // The losers' results go with `children` and `parts`.
    using Result = typename RaceOf<K...>::Type;
    std::optional<Result> result;
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

template <class R, class T>
Coro<Winner<Stored<T>>> race_range(R range) {
    const std::size_t count = count_of(range);
    if (count == 0) throw std::invalid_argument("weft: a race of nobody");
    Children children(get_running_loop(), count, ChildRule::first_success_cancels);
    start_range(children, range);
    children.begin();
    co_await children.wait();
    const std::size_t won = winner_of(children, nobody_won);
    co_return Winner<Stored<T>>(won, Child<KeptElement<R>>::take(children.node(won)));
}

}  // namespace detail
}  // namespace weft
