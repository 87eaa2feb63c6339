// SPDX-License-Identifier: MIT
// Ranges of children: what gather, race and the like take besides single ones.
#pragma once

#include <cstddef>
#include <exception>
#include <type_traits>
#include <utility>
#include <vector>

#include "../../base/pointer_set.hpp"
#include "child_arguments.hpp"

namespace weft::detail {

/// A container or view of children.
template <class R>
concept ChildRange = !ChildArgument<R> && requires(R & range) {
    range.begin();
    range.end();
};
template <class R>
using ElementOf = std::remove_reference_t<decltype(*std::declval<R&>().begin())>;

template <class R>
std::size_t count_of(R& range) {
    if constexpr (requires { range.size(); }) {
        return static_cast<std::size_t>(range.size());
    } else {
        std::size_t count = 0;
        for (auto at = range.begin(); at != range.end(); ++at) ++count;
        return count;
    }
}

/// Is it a container, and to be copied, whose elements cannot be?
template <class R, class Range = std::remove_cvref_t<R>>
inline constexpr bool copies_coroutines =
    std::is_lvalue_reference_v<R>&& is_coro<std::remove_cv_t<ElementOf<Range>>> &&
    (!std::is_copy_constructible_v<Range> || requires { typename Range::allocator_type; });

/// The range as a coroutine keeps it. A view that makes its children as it is read (`urls |
/// std::views::transform(fetch)`) is read here, once: to count them, it would make them twice.
template <class R>
auto keep_range(R&& range) {
    using Range = std::remove_cvref_t<R>;
    if constexpr (copies_coroutines<R>) {
        static_assert(always_false<R>, "weft: give the coroutines away: std::move(coroutines)");
        return std::vector<std::remove_cv_t<ElementOf<Range>>>();
    } else if constexpr (std::is_lvalue_reference_v<decltype(*std::declval<Range&>().begin())>) {
        return Range(std::forward<R>(range));
    } else {
        Range view(std::forward<R>(range));
        std::vector<std::remove_cv_t<ElementOf<Range>>> children;
        for (auto&& child : view) children.push_back(std::forward<decltype(child)>(child));
        return children;
    }
}
/// What an element of a range becomes: moved out of it if it is a coroutine or a callable.
template <class R>
using KeptElement = Kept<std::conditional_t<FutureHandle<std::remove_cv_t<ElementOf<R>>>,
                                            const ElementOf<R>&, ElementOf<R>>>;

/// Tasks or futures, each once, however often it was passed.
template <class Handle>
std::vector<Handle> each_once(std::vector<Handle> tasks) {
    PointerSet seen;
    seen.reserve(tasks.size());
    std::erase_if(tasks, [&seen](const Handle& task) {
        if (!task.core()) return false;  // refused by whoever looks at it next
        if (seen.contains(task.core())) return true;
        seen.insert(task.core());
        return false;
    });
    return tasks;
}

/// Starts the children of a range.
template <class R>
void start_range(Children& children, R& range) noexcept {
    for (auto& element : range) {
        if (children.failed_to_start()) return;
        try {
            if constexpr (FutureHandle<std::remove_cv_t<ElementOf<R>>>) {
                Child<KeptElement<R>>::start(children, element);
            } else {
                KeptElement<R> kept = keep(std::move(element));
                Child<KeptElement<R>>::start(children, kept);
            }
        } catch (...) {
            children.fail_to_start(std::current_exception());
        }
    }
}

}  // namespace weft::detail
