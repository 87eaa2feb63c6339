// SPDX-License-Identifier: MIT
// What async_with acquires, and how a release that fails is told of.
#pragma once

#include <coroutine>
#include <exception>
#include <type_traits>
#include <utility>

#include "../../runtime/loop.hpp"
#include "../../task/awaitable.hpp"
#include "../../task/coro.hpp"

namespace weft::detail {

template <class R>
auto close_resource(R& resource) {
    return resource.close();
}

template <class R>
Coro<R> acquired(R resource) {
    co_return std::move(resource);
}

/// Two failures at once: the body's goes on to the caller, the release's must not vanish.
[[gnu::cold]] inline void report_failed_release(std::exception_ptr failure) noexcept {
    get_running_loop().call_exception_handler(
        {"releasing a resource failed, after its body had failed", std::move(failure), {}});
}

/// The awaiter of what it was made from, in place.
template <class Acquire>
class [[nodiscard]] AwaiterOwner {
public:
    explicit AwaiterOwner(Acquire&& acquire) : awaiter_(make_awaiter(std::move(acquire))) {}
    bool await_ready() { return awaiter_.await_ready(); }
    bool await_suspend(std::coroutine_handle<> handle) { return suspend_in(awaiter_, handle); }
    decltype(auto) await_resume() { return awaiter_.await_resume(); }

private:
    AwaiterFrom<Acquire> awaiter_;
};

template <class Acquired>
using AcquiredBy =
    std::remove_cvref_t<decltype(std::declval<AwaiterFrom<Acquired>&>().await_resume())>;

}  // namespace weft::detail
