// SPDX-License-Identifier: MIT
// Leftovers: the tasks that are there when a loop begins to end, and how their awaits end.
#pragma once

#include <utility>

#include "../../base/config.hpp"

namespace weft::detail {

/// The task that has just been resumed is a leftover and has not seen its CancelledError.
inline constinit thread_local bool resumes_leftover = false;

[[noreturn]] void throw_to_leftover();

/// For every `await_resume` of an await that has suspended, before it looks at its result. A task
/// that the end of a run has found ready, or whose operation still won against the cancel, must not
/// take another ordinary step: what it refers to may be gone with the main coroutine. So it gets a
/// CancelledError in place of its result, which goes back to where it came from, as if the frame
/// had been destroyed. This is the one exception from the lossless rule (docs/decisions/0023).
inline void check_leftover() {
    if (resumes_leftover) [[unlikely]]
        throw_to_leftover();
}
/// The same for one that tells it in another way than by an exception.
inline bool take_leftover() noexcept { return std::exchange(resumes_leftover, false); }

}  // namespace weft::detail
