// SPDX-License-Identifier: MIT
// Remote: the way to a loop for other threads, which may outlive it.
#pragma once

#include <unistd.h>

#include <utility>

#include "../base/error.hpp"
#include "../base/ref.hpp"
#include "detail/inbox.hpp"

namespace weft {

class EventLoop;

/// Thread-safe way to a loop that may be gone: copy it into the threads that post.
class Remote {
public:
    /// Runs `fn` in the loop's next turn; wakes the loop when it sleeps.
    /// Throws:   RuntimeError when the loop is closed (`fn` is destroyed unrun).
    /// Thread:   any.
    template <class F>
    void call_soon_threadsafe(F&& fn) const {
        inbox_->post(std::forward<F>(fn));
    }

    /// Starts a coroutine, or `fn(args...)`, as a task of the loop: `run_coroutine_threadsafe`,
    /// with which it stands in <weft/thread/run_threadsafe.hpp>.
    /// Returns:  a ConcurrentFuture, to be waited for, awaited on another loop, cancelled, dropped.
    /// Throws:   RuntimeError when the loop is closed.
    /// Thread:   any.
    template <class... Work>
    auto spawn(Work&&... work) const;

    /// Do both lead to the same loop?
    friend bool operator==(const Remote&, const Remote&) noexcept = default;

    /// For the library's own layers, of what needs no memory and does not throw.
    /// Returns:  false: the loop is closed, and `fn` was destroyed.
    template <class F>
    bool answer(detail::ReservedPost&& by, F&& fn) const noexcept {
        return inbox_->post(std::move(by), std::forward<F>(fn));
    }

private:
    friend class EventLoop;
    explicit Remote(detail::Ref<detail::Inbox> inbox) noexcept : inbox_(std::move(inbox)) {}
    detail::Ref<detail::Inbox> inbox_;
};

namespace detail {

/// A post that somebody waits for, that nobody else would make, and for which nothing could be
/// reserved (see `Remote::answer`): without memory it is made as soon as there is some.
/// Returns:  false: that loop is closed.
/// Thread:   any, without a lock that the loop takes.
template <class Fn>
bool post_surely(const Remote& to, Fn fn) noexcept {
    for (;;) {
        try {
            to.call_soon_threadsafe(std::move(fn));  // (not moved where memory is short)
            return true;
        } catch (const RuntimeError&) {
            return false;
        } catch (...) {
            constexpr useconds_t pause_us = 10'000;
            ::usleep(pause_us);
        }
    }
}

}  // namespace detail

}  // namespace weft
