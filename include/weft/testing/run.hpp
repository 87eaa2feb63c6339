// SPDX-License-Identifier: MIT
// Running a coroutine under test: virtual time, and an end for whatever hangs.
#pragma once

#include <chrono>
#include <type_traits>
#include <utility>

#include "../base/options.hpp"
#include "../runtime/loop.hpp"
#include "../task/run.hpp"

namespace weft::testing {

/// Options for a loop under test. Time is virtual: it jumps to the next deadline when nothing can
/// happen without it, so that a sleep of 24 hours takes no time. While a task waits for a thread's
/// work, it passes as it really does; for other programs see `RunOptions::virtual_grace`. A loop in
/// which nothing at all happens for ten real seconds throws, with a line for each task that says
/// what it waits on.
inline RunOptions options(RunOptions base = {}) {
    base.virtual_time = true;
    base.hang_limit = std::chrono::seconds(10);
    return base;
}

/// `weft::run` with `options()`: the backend is the one that WEFT_BACKEND names, or `base` does.
template <class Fn>
    requires(std::is_invocable_v<std::decay_t<Fn>&>)
decltype(auto) run(Fn&& fn, RunOptions base = {}) {
    return weft::run(std::forward<Fn>(fn), options(std::move(base)));
}

template <class T>
T run(Coro<T> main, RunOptions base = {}) {
    return weft::run(std::move(main), options(std::move(base)));
}

/// As if the step that calls it took that long: whatever is due meanwhile is late. Does nothing on
/// a loop with real time.
/// Throws:   RuntimeError when no loop is running.
inline void pass_time(Duration time) { get_running_loop().pass_virtual_time(time.count()); }

}  // namespace weft::testing
