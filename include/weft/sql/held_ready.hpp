// SPDX-License-Identifier: MIT
// HeldReady: waits for a descriptor of a C library, and tells a cancel instead of throwing it.
#pragma once

#include <cerrno>
#include <cstdint>

#include "../kernel/operation.hpp"
#include "../net/operation_wait.hpp"

namespace weft::sql::detail {

/// How a wait has ended, and with it what is made of several.
enum class Held : std::uint8_t {
    no,      // it came to its end
    struck,  // the task was cancelled: the request is still pending in it
    left,    // the run ends: whatever else comes of it, its task gets a CancelledError
};

/// Between a request to a server and its answer an exception would leave the connection in the
/// middle of it. So the cancel is an answer of its own here: whoever gets it asks the server to
/// stop, waits for what becomes of that, and only then throws, or returns a result that has won.
class [[nodiscard]] [[gnu::warn_unused]] HeldReady final : public weft::detail::OperationWait {
public:
    HeldReady(int descriptor, short mask) noexcept : OperationWait(weft::detail::OpCode::poll) {
        fd = descriptor;
        flags = static_cast<unsigned short>(mask);
    }
    /// Throws:   std::system_error (poll).
    Held await_resume() const {
        if (weft::detail::take_leftover()) [[unlikely]]
            return Held::left;
        if (await_cancelled()) [[unlikely]]
            return Held::struck;
        checked();
        return Held::no;
    }
    bool await_cancelled() const noexcept { return result == -ECANCELED && asked_; }
    /// Those that hold, after `Held::no`.
    short events() const noexcept { return static_cast<short>(result); }
};

/// Before the first byte is sent: a request that is pending strikes here.
inline void strike_before_start() {
    EventLoop& loop = get_running_loop();
    if (loop.require_task().must_cancel) [[unlikely]]
        loop.throw_cancelled();
}

}  // namespace weft::sql::detail
