// SPDX-License-Identifier: MIT
// ProcessOptions: how a child is started, and how it is ended.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../base/clock.hpp"
#include "environment.hpp"
#include "stdio.hpp"

namespace weft {

/// How large a terminal says that it is.
struct TerminalSize {
    std::uint16_t rows = 24;
    std::uint16_t columns = 80;
};

struct ProcessOptions {
    ProcessOptions() noexcept {}

    Stdio in;   ///< ours unless told otherwise
    Stdio out;  ///< ours unless told otherwise
    Stdio err;  ///< ours unless told otherwise
    /// A pseudo-terminal: the child leads a session with it as controlling terminal, has it in the
    /// place of each end that was not set, and `Process::terminal` is its other side.
    std::optional<TerminalSize> terminal;
    /// All of its variables; nothing: ours as they are.
    std::optional<Environment> environment;
    /// Where it works; empty: where we do. A program that is named with a slash is found from
    /// there.
    std::string directory;
    /// 0: a group of its own; else the group that it joins. Nothing: ours. A child with a group of
    /// its own is ended with the whole group: what it has started in turn goes with it.
    std::optional<pid_t> process_group;
    bool new_session = false;  ///< leads a session (and a group) of its own, without a terminal
    /// Further descriptors that it gets, under the same numbers. No other one does, whether it is
    /// close-on-exec or not.
    std::vector<int> pass_descriptors;
    /// Whoever ends a child that still runs (`close`, the end of its Process, a cancelled
    /// `run_process`) sends SIGTERM (and SIGCONT, in case it is stopped), and SIGKILL after so
    /// long. 0: SIGKILL at once.
    Duration grace = std::chrono::seconds(5);
    /// A child of the child may have got the pipes too and keep them open: once the child has
    /// ended, `communicate` waits so long for their end and then returns what there is.
    Duration drain = std::chrono::seconds(1);
};

}  // namespace weft
