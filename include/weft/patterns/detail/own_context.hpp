// SPDX-License-Identifier: MIT
// OwnContext: where one task works on several things, one after the other, and each of them has
// context variables of its own.
#pragma once

#include "../../runtime/context.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"

namespace weft::detail {

/// Keeps the context of the current task. What is set after that changes a copy, as the context is
/// shared with this object.
class OwnContext {
public:
    OwnContext() noexcept : first_(EventLoop::current_context()) {}

    /// The context is again what it was: for the next one.
    void renew() const {
        TaskExtras* const extras = get_running_loop().require_task().extras();
        if (extras && extras->context.get() != first_.get())
            extras->context = ContextRef(first_.get());
    }

private:
    ContextRef first_;
};

}  // namespace weft::detail
