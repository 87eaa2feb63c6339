// SPDX-License-Identifier: MIT
// CompletedProcess: how a child has ended and what it has written.
#pragma once

#include <string>
#include <utility>

#include "exit_status.hpp"

namespace weft {

struct CompletedProcess {
    // User-provided: g++ 12 destroys aggregate temporaries of awaiting expressions twice.
    CompletedProcess(ExitStatus end, std::string from_out, std::string from_err,
                     bool is_cut) noexcept
        : status(end), out(std::move(from_out)), err(std::move(from_err)), cut(is_cut) {}

    /// asyncio's return code: minus the signal where one has ended it.
    int code() const noexcept { return status.code(); }

    ExitStatus status;
    std::string out;  ///< empty where it was neither a pipe nor its terminal
    std::string err;
    /// The pipes were not at their end when the child was: what it has started goes on writing, and
    /// is not waited for (see ProcessOptions::drain).
    bool cut;
};

}  // namespace weft
