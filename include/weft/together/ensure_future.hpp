// SPDX-License-Identifier: MIT
// ensure_future: a future out of whatever can be awaited.
#pragma once

#include <type_traits>
#include <utility>

#include "../task/future.hpp"
#include "../task/task.hpp"
#include "detail/child_arguments.hpp"

namespace weft {

/// A coroutine, an awaitable that can be moved, or a callable that returns a coroutine becomes a
/// task; a task or future is returned as it is.
/// Throws:   RuntimeError when no loop runs.
template <class A>
auto ensure_future(A&& awaitable) {
    using Child = std::remove_cvref_t<A>;
    if constexpr (detail::FutureHandle<Child>) {
        return Child(std::forward<A>(awaitable));
    } else {
        return create_task(detail::keep_for_long(std::forward<A>(awaitable)));
    }
}

}  // namespace weft
