// SPDX-License-Identifier: MIT
// How often a step may await what is ready: once it has had its share, such an await goes through
// the ready queue, or a loop around a queue that always has items would keep the thread.
#pragma once

#include <coroutine>
#include <utility>

#include "loop.hpp"
#include "task_core.hpp"

namespace weft::detail {

// An awaiter that can find what it wants without waiting has two places where it may take it:
//
//     bool await_ready() { return may_go_on() && try_take(); }
//     void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
//
// Mostly it is the first. When the step has had its share, `await_ready` looks at nothing, and the
// second takes what is there. That makes two instructions for a free lock. A call in `await_ready`,
// even one that is never made, would make ten: the awaiter would have to be in memory for it.

/// For `await_ready`.
inline bool may_go_on() noexcept { return --ready_awaits_left >= 0; }

template <class Awaiter>
[[gnu::cold, gnu::noinline]] void look_and_go_round(Awaiter& awaiter,
                                                    std::coroutine_handle<> handle) {
    // A cancel that is pending strikes in the wait, before anything is taken: here a loop that
    // never waits can be cancelled.
    if (!get_running_loop().require_task().must_cancel && awaiter.try_take()) {
        awaiter.grant_here(handle);
    } else {
        awaiter.begin_wait(handle);
    }
}

/// It takes what it wants now, and returns with it behind those who were granted before. (A cancel
/// that is pending strikes after that, as it does where there is nobody to go behind.)
template <class Awaiter>
[[gnu::cold, gnu::noinline]] void take_and_go_round(Awaiter& awaiter,
                                                    std::coroutine_handle<> handle) {
    if (awaiter.try_take()) {
        awaiter.grant_here(handle);
    } else {
        awaiter.begin_wait(handle);
    }
}

/// For `await_suspend`. The awaiter has
///  - `try_take()`: false if it must wait. Where it is `await_resume` that takes, a look;
///  - `begin_wait(handle)`, in which a pending cancel strikes;
///  - where others may have been granted what they waited for and have not run yet,
///    `is_behind_granted()`: then it takes what is there and goes round, behind them. (Its
///    `await_ready` asks too.) So awaits return in the order of arrival;
///  - `grant_here(handle)`, after `try_take()`: as if it had waited and was granted what it took,
///    so that a teardown or a lost race gives it back; and `go_round`. From there on until the
///    task runs no cancel reaches the await, which returns what it took.
template <class Awaiter>
[[gnu::always_inline]] inline void wait_or_go_round(Awaiter& awaiter,
                                                    std::coroutine_handle<> handle) {
    if (ready_awaits_left < 0) [[unlikely]]
        return look_and_go_round(awaiter, handle);
    if constexpr (requires { awaiter.is_behind_granted(); }) {
        if (awaiter.is_behind_granted()) [[unlikely]]
            return take_and_go_round(awaiter, handle);
    }
    awaiter.begin_wait(handle);
}

/// The current task stops here and is ready again at once.
inline TaskCore& go_round(std::coroutine_handle<> handle) noexcept {
    EventLoop& loop = get_running_loop();
    TaskCore& task = *loop.current_task();
    task.coroutine = handle;
    loop.push(task);
    return task;
}

/// For its lifetime awaits are not counted.
class Uncounted {
public:
    Uncounted() noexcept : left_(std::exchange(ready_awaits_left, 1)) {}
    Uncounted(const Uncounted&) = delete;
    Uncounted& operator=(const Uncounted&) = delete;
    ~Uncounted() { ready_awaits_left = left_; }

private:
    int left_;
};

}  // namespace weft::detail
