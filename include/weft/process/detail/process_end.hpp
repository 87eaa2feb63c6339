// SPDX-License-Identifier: MIT
// How a child is waited for and ended, by those who await it and by a Process that goes.
#pragma once

#include "../../base/config.hpp"
#include "../../base/ref.hpp"
#include "../../task/coro.hpp"
#include "../exit_status.hpp"
#include "process_state.hpp"

#if WEFT_BODIES
#include <new>
#include <optional>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/std_parts.hpp"
#include "../../deadline/move_on_after.hpp"
#include "../../runtime/loop.hpp"
#include "../../task/sleep.hpp"
#include "../../task/task.hpp"
#include "child_wait.hpp"
#endif

namespace weft::detail {

/// Waits until it has ended and is reaped.
Coro<ExitStatus> wait_for_end(Ref<ProcessState> state);
/// SIGTERM, the grace, SIGKILL; then it has ended.
Coro<void> end_process(Ref<ProcessState> state);
/// Its Process goes: the same, without anybody who waits.
void leave_process(Ref<ProcessState> state) noexcept;

#if WEFT_BODIES

WEFT_INLINE Coro<ExitStatus> wait_for_end(Ref<ProcessState> state) {
    Duration pause = std::chrono::milliseconds(1);
    while (!state->has_ended()) {
        if (state->pidfd) {
            ChildWait end(*state);
            co_await end;
            if (state->has_ended()) break;
        }
        // Nothing tells, or a tracer has to be told before us: it is looked at, less and less
        // often.
        co_await sleep(pause);
        pause = std::min<Duration>(2 * pause, std::chrono::milliseconds(20));
    }
    co_return *state->status;
}

WEFT_INLINE Coro<void> end_process(Ref<ProcessState> state) {
    if (state->has_ended()) co_return;
    state->ask_to_end();
    const std::optional<ExitStatus> ended =
        co_await move_on_after(state->grace, wait_for_end(state));
    if (ended) co_return;
    state->kill_all();
    co_await wait_for_end(state);
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void leave_process(Ref<ProcessState> state) noexcept {
    if (state->is_others()) return;
    // It may be waiting for us to write or to read.
    state->in.reset();
    state->out.reset();
    state->err.reset();
    state->terminal.reset();
    if (state->has_ended()) return;
    EventLoop* const loop = EventLoop::running();
    if (!loop || !EventLoop::accepts(loop)) return state->kill_all();
    state->ask_to_end();
    try {
        // A task of its own that `run` waits for at its end; closing the loop ends it, and with it
        // the grace.
        Coro<void> body = end_process(state);
        const std::string name = concat({"end of ", in_quotes(state->program)});
        TaskState<void>* const task = make_task(*loop, body, CreatedAt(), &name);
        const Task<void> handle(task);
        task->in_clean_up = task->hands_on = true;
        task->make_extras().ends_by_itself = true;
        loop->add(*task);
    } catch (const std::bad_alloc&) {
        state->kill_all();
    }
}

#endif

}  // namespace weft::detail
