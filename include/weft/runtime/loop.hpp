// SPDX-License-Identifier: MIT
// EventLoop: one thread's scheduler, whole; the turn of the loop is in detail/loop_turn.hpp.
#pragma once

#include "../base/config.hpp"
#include "../base/error.hpp"
#include "detail/event_loop.hpp"
#include "detail/loop_callbacks.hpp"
#if WEFT_BODIES
#include "detail/loop_cancel.hpp"
#include "detail/loop_circles.hpp"
#include "detail/loop_groups.hpp"
#include "detail/loop_guest.hpp"
#include "detail/loop_life.hpp"
#include "detail/loop_reports.hpp"
#include "detail/loop_turn.hpp"
#include "detail/loop_watches.hpp"
#include "detail/loop_world.hpp"
#endif

namespace weft {

/// The loop that runs on this thread.
/// Throws:   RuntimeError when none does.
inline EventLoop& get_running_loop() {
    if (!detail::running_loop) [[unlikely]]
        detail::throw_no_loop();
    return *detail::running_loop;
}

}  // namespace weft
