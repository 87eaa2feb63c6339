// SPDX-License-Identifier: MIT
// CancelWatch: has a cancel struck the current task since?
#pragma once

#include <cstdint>

#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"

namespace weft::detail {

/// For whoever goes on after a failure of what it has called. The failure may be what became of a
/// cancel (a clean-up that failed on the way out): to go on then would lose the cancel, and with it
/// a deadline around. One that is still to strike needs no watching: the next suspension sees it.
class CancelWatch {
public:
    CancelWatch() : task_(get_running_loop().require_task()), before_(struck_so_far()) {}

    bool has_struck() const noexcept { return struck_so_far() > before_; }

private:
    unsigned struck_so_far() const noexcept {
        const unsigned requests = task_.cancel_requests;
        return task_.must_cancel && requests > 0 ? requests - 1 : requests;
    }

    const TaskCore& task_;
    unsigned before_;
};

}  // namespace weft::detail
