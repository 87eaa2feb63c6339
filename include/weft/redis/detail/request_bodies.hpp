// SPDX-License-Identifier: MIT
// Request: how it waits, and what it says when there is no answer.
#pragma once

#include <string>

#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../runtime/loop.hpp"
#include "../error.hpp"
#include "core.hpp"
#include "request.hpp"
#include "wire.hpp"

namespace weft::redis::detail {

using weft::detail::concat;

WEFT_INLINE void Request::await_suspend(std::coroutine_handle<> handle) {
    EventLoop& loop = get_running_loop();
    task = &loop.suspend(handle, *this);
    try {
        core_->submit(*this);
    } catch (...) {  // no memory
        task->waiting_on = nullptr;
        throw;
    }
    // (Nothing is written before the next turn: it certainly did not happen.)
    if (task->must_cancel) [[unlikely]]
        loop.pass_on_cancel(*task);
}

[[gnu::cold]] WEFT_INLINE std::string Request::await_object() const {
    return concat({core_->name(), ": ", name_of_command(wire)});
}

[[gnu::noinline]] WEFT_INLINE void Request::throw_unanswered() const {
    if (state == State::cancelled) task->loop->throw_cancelled();
    if (!failure) {
        throw ConnectionError(whence() + "there was no memory to go on" +
                              (was_sent ? " (the command was sent, and may have happened)" : ""));
    }
    const std::string what = whence() + failure->reason;
    switch (failure->kind) {
        case Failure::Kind::timeout:
            throw TimeoutError(what);
        case Failure::Kind::refused:
            throw ServerError(what, failure->code);
        default:
            throw ConnectionError(
                concat({what, was_sent ? " (the command was sent, and may have happened)" : ""}));
    }
}

}  // namespace weft::redis::detail
