// SPDX-License-Identifier: MIT
// run_coroutine_threadsafe, Remote::spawn: other threads start coroutines on a loop, and wait for
// their results, blocking or, on a loop of their own, as a task.
#pragma once

#include <type_traits>
#include <utility>

#include "../base/clock.hpp"
#include "../base/ref.hpp"
#include "../runtime/remote.hpp"
#include "../task/coro.hpp"
#include "../task/task.hpp"
#include "detail/remote_run.hpp"

namespace weft {

/// The result of a coroutine that runs on another thread's loop: asyncio's and Python's
/// concurrent.futures.Future, made like std::future. Copies refer to the same result; the last one
/// may go on any thread, and the coroutine goes on.
///
/// A task awaits it: `co_await future` is `get` for who has a loop (asyncio's wrap_future).
/// Cancel:   of such an await: the coroutine is cancelled and waited for. Its result, if it has one
///           all the same, is returned, and the cancel strikes at the next suspension.
/// Thread:   any, but what blocks refuses the loop's own, which it would block for ever.
template <class T>
class ConcurrentFuture {
public:
    /// Blocks until the coroutine has ended, and gives its result, once: it is moved out.
    /// Throws:   what the coroutine throws; CancelledError when it was cancelled; RuntimeError when
    ///           the loop was closed before it began, or on the loop's own thread;
    ///           InvalidStateError when the result was taken already.
    T get() {
        run_->wait();
        return detail::take_result(*run_);
    }
    /// Blocks until it has ended, and leaves the result where it is.
    void wait() const { run_->wait(); }
    /// Blocks for `limit` at most.
    /// Returns:  false: the coroutine still runs (and goes on).
    template <class Rep, class Period>
    bool wait_for(std::chrono::duration<Rep, Period> limit) const {
        return run_->wait_until(
            detail::deadline_after(detail::monotonic_now(), detail::to_limit(limit)));
    }
    bool wait_until(TimePoint deadline) const {
        return run_->wait_until(detail::to_limit(deadline));
    }
    auto operator co_await() const { return detail::RemoteAwaiter<T>(run_); }
    bool done() const { return run_->done(); }
    /// Asks the task to cancel, like `Task::cancel`, and does not wait for it.
    /// Returns:  false: it is done, or its loop is closed.
    bool cancel() { return run_->cancel(); }

private:
    template <class Fn, class... Args>
    friend auto run_coroutine_threadsafe(const Remote& loop, Fn&& fn, Args&&... args);
    template <class U>
    friend ConcurrentFuture<U> run_coroutine_threadsafe(const Remote& loop, Coro<U> coro);
    explicit ConcurrentFuture(detail::Ref<detail::TypedRemoteRun<T>> run) noexcept
        : run_(std::move(run)) {}

    detail::Ref<detail::TypedRemoteRun<T>> run_;
};

/// Starts `coro` as a task of the loop, from another thread. The task runs to its end whether
/// anybody waits for it or not.
/// Returns:  a handle to its result.
/// Throws:   RuntimeError when the loop is closed.
/// Thread:   any. (`EventLoop::remote()` gives what may outlive the loop.)
template <class T>
ConcurrentFuture<T> run_coroutine_threadsafe(const Remote& loop, Coro<T> coro) {
    detail::Ref<detail::TypedRemoteRun<T>> run(new detail::TypedRemoteRun<T>(loop));
    loop.call_soon_threadsafe([run, body = std::move(coro)]() mutable {
        detail::begin_for_others<T>(run, std::move(body));
    });
    return ConcurrentFuture<T>(std::move(run));
}

/// The same for a function that returns a Coro: it is moved to the loop's thread with its
/// arguments, called there, and kept until its coroutine has ended.
template <class Fn, class... Args>
auto run_coroutine_threadsafe(const Remote& loop, Fn&& fn, Args&&... args) {
    static_assert(
        std::is_invocable_v<std::decay_t<Fn>&, std::decay_t<Args>...>,
        "weft: what run_coroutine_threadsafe is given first is neither a coroutine nor a function "
        "that can be called with copies of the arguments after it");
    return run_coroutine_threadsafe(loop,
                                    detail::keep_and_call<std::decay_t<Fn>, std::decay_t<Args>...>(
                                        std::forward<Fn>(fn), std::forward<Args>(args)...));
}

template <class... Work>
auto Remote::spawn(Work&&... work) const {
    return run_coroutine_threadsafe(*this, std::forward<Work>(work)...);
}

}  // namespace weft
