// SPDX-License-Identifier: MIT
// Pending: a command of a Redis server that is to be sent, or to be answered.
#pragma once

#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../base/ref.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"
#include "../reply.hpp"

namespace weft::redis::detail {

using weft::detail::Ref;

/// What a command makes of the connection that it is sent on, as far as the next ones will see it.
enum class Mark : unsigned char {
    none,
    opens,   // MULTI, WATCH
    closes,  // EXEC, DISCARD, UNWATCH
    alters,  // SELECT, SUBSCRIBE, ...: it is not what it was made as
};
Mark mark_of(std::string_view command) noexcept;

/// Why requests have ended without an answer; shared by those that the same thing has struck.
struct Failure : weft::detail::Counted<Failure> {
    enum class Kind : unsigned char { connection, refused, timeout };
    Failure(Kind of, std::string why, std::string code_of = {})
        : kind(of), reason(std::move(why)), code(std::move(code_of)) {}
    /// Null where there is no memory for it: who waits is told all the same.
    static Ref<Failure> make(Kind of, std::string_view why,
                             std::string_view code_of = {}) noexcept {
        try {
            return Ref<Failure>(new Failure(of, std::string(why), std::string(code_of)));
        } catch (const std::bad_alloc&) {
            return Ref<Failure>();
        }
    }
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
    Mark mark = Mark::none;
    std::uint32_t only_on = 0;  // it is sent on this connection or not at all; 0: on any
    State state = State::idle;
    bool was_sent = false;
    std::uint64_t place = 0;  // in the row of those who wait for replies
    weft::detail::Nanoseconds deadline = 0;
    const Take take;  // a reply of its own
    weft::detail::TaskCore* task = nullptr;
    Ref<Failure> failure;
};

#if WEFT_BODIES || defined(WEFT_REDIS_SOURCE)
WEFT_INLINE Mark mark_of(std::string_view command) noexcept {
    constexpr std::size_t longest = 10;
    if (command.size() < 4 || command.size() > longest) return Mark::none;
    char upper[longest];
    for (std::size_t at = 0; at < command.size(); ++at) {
        const char letter = command[at];
        upper[at] = letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 32) : letter;
    }
    const std::string_view name(upper, command.size());
    for (const std::string_view each : {"MULTI", "WATCH"})
        if (name == each) return Mark::opens;
    for (const std::string_view each : {"EXEC", "DISCARD", "UNWATCH"})
        if (name == each) return Mark::closes;
    for (const std::string_view each : {"SELECT", "AUTH", "HELLO", "RESET", "MONITOR", "SUBSCRIBE",
                                        "PSUBSCRIBE", "SSUBSCRIBE", "READONLY"})
        if (name == each) return Mark::alters;
    return Mark::none;
}
#endif

}  // namespace weft::redis::detail
