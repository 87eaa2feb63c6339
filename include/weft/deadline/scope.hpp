// SPDX-License-Identifier: MIT
// async_with: a resource whose acquisition and release await, released on every way out.
#pragma once

#include <exception>
#include <type_traits>
#include <utility>

#include "../base/clock.hpp"
#include "../base/error.hpp"
#include "../base/outcome.hpp"
#include "../base/std_parts.hpp"
#include "../task/coro.hpp"
#include "clean_up.hpp"
#include "detail/resource.hpp"

namespace weft {

/// How long a release may take unless told otherwise.
inline constexpr Duration default_release_limit = std::chrono::seconds(10);

/// `resource.close()` can be awaited: Stream, AsyncGenerator, ...
template <class R>
concept AsyncClosable = requires(R& resource) {
    detail::make_awaiter(resource.close()).await_ready();
};

/// asyncio's `async with`: awaits `acquire` (a Coro, Task or Future, or a callable that makes
/// something to await), then `body(resource)`, and then, however that ended, `release(resource)`.
/// The release runs as a `clean_up`: no cancel and no deadline that has passed cuts it short, and
/// it may take `limit`.
/// Returns:  what the body returns.
/// Throws:   what `acquire` throws (nothing is released then); what the body throws (a failed
///           release is then reported to the loop's exception handler); what the release throws,
///           or TimeoutError when it took too long.
/// Cancel:   during `acquire`: passes through; a resource that was acquired all the same is
///           released. In the body: passes through, then the release runs. In the release: held.
template <class Acquire, class Body, class Release>
auto async_with(Acquire acquire, Body body, Release release, Duration limit = default_release_limit)
    -> detail::CoroOfCall<Body&, detail::AcquiredBy<Acquire>&>;

/// The same for a resource with a `close()` that is awaited.
template <class Acquire, class Body>
    requires AsyncClosable<detail::AcquiredBy<Acquire>>
auto async_with(Acquire acquire, Body body)
    -> detail::CoroOfCall<Body&, detail::AcquiredBy<Acquire>&>;
/// contextlib.aclosing: for one that is there already.
template <AsyncClosable Resource, class Body>
    requires(!detail::Awaitable<Resource>)
auto async_with(Resource resource, Body body) -> detail::CoroOfCall<Body&, Resource&>;

template <class Acquire, class Body, class Release>
auto async_with(Acquire acquire, Body body, Release release, Duration limit)
    -> detail::CoroOfCall<Body&, detail::AcquiredBy<Acquire>&> {
    using T = typename detail::CoroOfCall<Body&, detail::AcquiredBy<Acquire>&>::value_type;
    detail::AcquiredBy<Acquire> resource =
        co_await detail::AwaiterOwner<Acquire>(std::move(acquire));
    detail::Outcome<T> outcome;
    try {
        if constexpr (std::is_void_v<T>) {
            co_await body(resource);
            outcome.set_value();
        } else {
            decltype(auto) value = co_await body(resource);
            outcome.set_value(std::forward<decltype(value)>(value));
        }
    } catch (...) {
        outcome.set_current_exception();
    }

    std::exception_ptr failure;
    bool in_time = false;
    bool cut_off = false;  // the loop closes
    try {
        in_time = co_await clean_up(limit, [&] { return release(resource); });
    } catch (...) {
        cut_off = detail::handling_cancelled_error();
        failure = std::current_exception();
    }
    if (!failure && !in_time) {
        failure = std::make_exception_ptr(TimeoutError("releasing a resource took too long"));
    }
    if (failure) {
        if (outcome.kind() == detail::OutcomeKind::value) std::rethrow_exception(failure);
        if (!cut_off) detail::report_failed_release(std::move(failure));
    }
    co_return outcome.take();
}

template <class Acquire, class Body>
    requires AsyncClosable<detail::AcquiredBy<Acquire>>
auto async_with(Acquire acquire, Body body)
    -> detail::CoroOfCall<Body&, detail::AcquiredBy<Acquire>&> {
    return async_with(std::move(acquire), std::move(body),
                      &detail::close_resource<detail::AcquiredBy<Acquire>>);
}

template <AsyncClosable Resource, class Body>
    requires(!detail::Awaitable<Resource>)
auto async_with(Resource resource, Body body) -> detail::CoroOfCall<Body&, Resource&> {
    return async_with(detail::acquired(std::move(resource)), std::move(body));
}

}  // namespace weft
