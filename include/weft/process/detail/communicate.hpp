// SPDX-License-Identifier: MIT
// communicate: feeds a child, reads both of its pipes, and waits for its end, all at the same time.
#pragma once

#include <cstddef>
#include <string>

#include "../../base/config.hpp"
#include "../../base/ref.hpp"
#include "../../task/coro.hpp"
#include "../completed_process.hpp"
#include "process_end.hpp"
#include "process_state.hpp"

#if WEFT_BODIES
#include <cerrno>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "../../base/error.hpp"
#include "../../deadline/timeout.hpp"
#include "../../net/stream.hpp"
#include "../../runtime/loop.hpp"
#include "../../together/gather.hpp"
#endif

namespace weft::detail {

Coro<CompletedProcess> communicate(Ref<ProcessState> state, std::string input, std::size_t limit);

#if WEFT_BODIES

/// A child that does not read all of it is no error.
inline Coro<void> feed(std::optional<Stream>& to, std::string_view input) {
    try {
        if (to && !input.empty()) co_await to->write(input);
        // (The Process may have gone meanwhile.)
        if (to && !to->is_closed()) co_await to->write_eof();
    } catch (const std::system_error& error) {
        if (error.code().value() != EPIPE) throw;
    }
    if (to) co_await to->close();
}

inline Coro<void> collect(const ProcessState& child, std::optional<Stream>& from, std::size_t limit,
                          std::string& into) {
    if (!from || from->is_closed()) co_return;
    try {
        into = co_await from->read_all(limit);
    } catch (const LimitOverrunError&) {
        throw LimitOverrunError(limit, child.text("read from"), "no end");
    }
}

/// What has arrived, of a pipe that others keep open.
[[gnu::cold]] WEFT_INLINE void take_rest(std::optional<Stream>& from, std::size_t limit,
                                         std::string& into) {
    char some[4096];
    while (from && !from->is_closed() && into.size() < limit) {
        const std::optional<std::size_t> got = from->try_read(some);
        if (!got || *got == 0) return;
        into.append(some, *got);
    }
}

// (Inline: g++ warns of a coroutine in a header that has closures and is compiled once.)
inline Coro<CompletedProcess> talk_to_end(Ref<ProcessState> state, std::string input,
                                          std::size_t limit) {
    std::string out, err;
    // What it prints on a terminal of its own stands where an end that is no pipe would.
    std::optional<Stream> no_terminal;
    const bool is_printed = !state->out || !state->err;
    std::optional<Stream>& terminal = is_printed ? state->terminal : no_terminal;
    std::string& printed = state->out ? err : out;
    // None until the child has ended. What the pipes hold by then is read at once; who waits longer
    // waits for somebody else.
    Timeout deadline(std::nullopt);
    bool pumps = true;
    bool cut = false;
    const auto pump = [&]() -> Coro<void> {
        co_await all(feed(state->in, input), collect(*state, state->out, limit, out),
                     collect(*state, state->err, limit, err),
                     collect(*state, terminal, limit, printed));
    };
    const auto pump_in_time = [&]() -> Coro<void> {
        try {
            co_await timeout(deadline, pump);
        } catch (const TimeoutError&) {
            if (!deadline.expired()) throw;
            cut = true;
        }
        pumps = false;
    };
    const auto watch = [&]() -> Coro<void> {
        co_await wait_for_end(state);
        if (pumps) deadline.reschedule(end_of_limit(get_running_loop().time(), state->drain));
    };
    co_await all(pump_in_time(), watch());
    if (cut) {
        take_rest(state->out, limit, out);
        take_rest(state->err, limit, err);
        take_rest(terminal, limit, printed);
    }
    co_return CompletedProcess(*state->status, std::move(out), std::move(err), cut);
}

WEFT_INLINE Coro<CompletedProcess> communicate(Ref<ProcessState> state, std::string input,
                                               std::size_t limit) {
    return talk_to_end(std::move(state), std::move(input), limit);
}

#endif

}  // namespace weft::detail
