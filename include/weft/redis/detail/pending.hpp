// SPDX-License-Identifier: MIT
// Pending: a command of a Redis server that is to be sent, or to be answered.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../base/ref.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"
#include "../reply.hpp"

namespace weft::redis::detail {

using weft::detail::Ref;

/// Why requests have ended without an answer; shared by those that the same thing has struck.
struct Failure : weft::detail::Counted<Failure> {
    enum class Kind : unsigned char { connection, refused, timeout };
    Failure(Kind of, std::string why, std::string code_of = {})
        : kind(of), reason(std::move(why)), code(std::move(code_of)) {}
    Kind kind;
    std::string reason;
    std::string code;
};

/// One command or several, and as many replies. It is in the core's list until it is written: until
/// then a cancel takes it back. From then on a cancel leaves its place in the row of those who wait
/// for replies, so that what comes for it is read and dropped, and goes to nobody else.
struct Pending : weft::detail::ListNode<> {
    enum class State : unsigned char { idle, unsent, sent, done, cancelled, failed };
    /// Throws:   std::bad_alloc.
    using Take = void (*)(Pending&, Reply&&);

    Pending(std::string commands, std::uint32_t count, Take takes) noexcept
        : wire(std::move(commands)), replies(count), take(takes) {}
    bool waits() const noexcept { return state == State::unsent || state == State::sent; }
    void end(State how) noexcept {
        state = how;
        task->loop->wake(*task);
    }

    std::string wire;
    const std::uint32_t replies;
    std::uint32_t only_on = 0;  // it is sent on this connection or not at all; 0: on any
    State state = State::idle;
    bool was_sent = false;
    std::uint64_t place = 0;  // in the row of those who wait for replies
    weft::detail::Nanoseconds deadline = 0;
    const Take take;  // a reply of its own
    weft::detail::TaskCore* task = nullptr;
    Ref<Failure> failure;
};

}  // namespace weft::redis::detail
