// SPDX-License-Identifier: MIT
// current_deadline: when the code that runs will be asked to end, at the latest.
#pragma once

#include "../base/clock.hpp"
#include "../base/config.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"
#include "cancel_scope.hpp"
#include "timeout.hpp"

namespace weft {

/// The earliest deadline that the current task is under: of the `timeout`, `wait_for` and
/// `move_on_after` around a coroutine and the CancelScopes that it is inside of; and, for a child
/// of a `task_group`, or of a `gather` or an `all` of nothing but coroutines, of those around
/// these. What is outside of a shield or a `clean_up` does not count, nor does what is around
/// somebody who awaits a Task, or around a `race`. To be handed on to a server that is asked, or to
/// leave out what would not be finished.
/// Returns:  TimePoint::max() when there is none; TimePoint::min() when a CancelScope around was
///           cancelled already.
/// Throws:   RuntimeError outside of a task.
TimePoint current_deadline();

#if WEFT_BODIES
namespace detail {

class ScopeWalk {
public:
    static TimePoint from(const TaskCore* task) noexcept {
        Nanoseconds earliest = no_deadline;
        const EnteredScope* at = task->innermost_scope();
        for (;;) {
            if (!at) {
                // Out of the task, where it lives inside of another.
                const GroupCore* const group = task->owner();
                if (!group) break;
                task = group->parent_;
                at = group->parent_goes_on ? group->scopes : task->innermost_scope();
            } else if (at->scope_kind == EnteredScope::Kind::timeout) {
                earliest = std::min(earliest, static_cast<const Timeout*>(at)->deadline);
                at = TaskCore::outside_of(*at);
            } else {
                const auto& scope = static_cast<const CancelScope&>(*at);
                if (scope.cancel_called_) return TimePoint::min();
                earliest = std::min(earliest, scope.Timer::deadline);
                if (scope.shield_) break;
                task = scope.parent_;
                at = task->innermost_scope();
            }
        }
        return earliest == no_deadline ? TimePoint::max() : to_time_point(earliest);
    }
};

}  // namespace detail

[[gnu::cold]] WEFT_INLINE TimePoint current_deadline() {
    const detail::TaskCore* const task = get_running_loop().current_task();
    if (!task) detail::throw_runtime_error("weft: current_deadline: outside of a task");
    return detail::ScopeWalk::from(task);
}
#endif

}  // namespace weft
