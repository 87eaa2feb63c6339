// SPDX-License-Identifier: MIT
// stop_statement: asks a server to stop what it does, until it has.
#pragma once

#include <exception>

#include "../base/clock.hpp"
#include "../base/std_parts.hpp"
#include "../deadline/move_on_after.hpp"
#include "../sync/event.hpp"
#include "../task/coro.hpp"
#include "../together/task_group.hpp"

namespace weft::sql::detail {

/// `tell()`, a Coro<bool>, asks the server; `settle()`, a Coro<void>, reads what comes of the
/// statement. A server does not keep what it is asked before it has begun the statement (a loaded
/// one is late), so it is asked again, with pauses, until the statement has ended. When this
/// returns nobody asks any more, unless it was cancelled.
/// Returns:  false when it could not be asked the first time; then nothing was read.
template <class Tell, class Settle>
Coro<bool> stop_statement(Tell tell, Settle settle) {
    const bool was_told = co_await tell();
    if (!was_told) co_return false;
    Event settled;
    const auto ask_again = [&]() -> Coro<void> {
        for (Duration pause = std::chrono::milliseconds(50);;
             pause = std::min<Duration>(2 * pause, std::chrono::seconds(1))) {
            const auto ended = co_await move_on_after(pause, settled.wait());
            if (ended) co_return;
            try {
                (void)co_await tell();
            } catch (const std::exception&) {
                // It was asked once, and the next time may do.
            }
        }
    };
    const auto both = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(ask_again);
        co_await settle();
        settled.set();
    };
    co_await task_group(both);
    co_return true;
}

}  // namespace weft::sql::detail
