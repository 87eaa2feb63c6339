// SPDX-License-Identifier: MIT
// run_process: a program from its start to its end, and what it has written.
#pragma once

#include <concepts>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "../base/config.hpp"
#include "../task/coro.hpp"
#include "command.hpp"
#include "completed_process.hpp"
#include "detail/split_words.hpp"
#include "process.hpp"
#include "process_options.hpp"

#if WEFT_BODIES
#include "../base/c_text.hpp"
#include "../base/error.hpp"
#include "../deadline/scope.hpp"
#endif

namespace weft {

/// Ends that were not set are pipes here; `in` is /dev/null where there is no input.
struct RunProcessOptions : ProcessOptions {
    RunProcessOptions() noexcept {}

    std::string input;  ///< what it reads
    /// Bytes that it may write into each of its pipes.
    std::size_t limit = default_output_limit;
    /// An end that is not exit code 0 is an error.
    bool check = true;
};

/// A program has failed: its name, how it ended, and what it last said about that.
class ProcessError : public std::runtime_error {
public:
    ProcessError(std::string_view program, CompletedProcess end);

    const CompletedProcess& completed() const noexcept { return end_; }
    ExitStatus status() const noexcept { return end_.status; }

private:
    CompletedProcess end_;
};

/// Runs a program to its end.
///
///     const weft::CompletedProcess log = co_await weft::run_process("git", "log", "-1");
///     use(log.out);
///
/// Throws:   ProcessError when it failed (RunProcessOptions::check); LimitOverrunError, after the
///           child was ended; what `create_subprocess_exec` throws; CancelledError.
/// Cancel:   the child is ended (SIGTERM, the grace, SIGKILL) and waited for; so a deadline around
///           this is a time limit for the program.
Coro<CompletedProcess> run_process(Command command, RunProcessOptions options = {});

/// The same in the form of `create_subprocess_exec`: words, and perhaps RunProcessOptions.
template <std::convertible_to<std::string_view> Program, class... Rest>
Coro<CompletedProcess> run_process(const Program& program, Rest&&... rest) {
    Command command(program);
    RunProcessOptions options;
    detail::split_words(command, options, std::forward<Rest>(rest)...);
    return run_process(std::move(command), std::move(options));
}

#if WEFT_BODIES
namespace detail {

/// `"git": exit code 128: fatal: not a git repository`
[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string text_of_failure(std::string_view program,
                                                                     const CompletedProcess& end) {
    constexpr std::size_t most = 1000;
    std::string_view said = end.err;
    while (!said.empty() && (said.back() == '\n' || said.back() == ' ')) said.remove_suffix(1);
    const bool is_long = said.size() > most;
    if (is_long) {
        said.remove_prefix(said.size() - most);
        const std::size_t line = said.find('\n');
        if (line != std::string_view::npos) said.remove_prefix(line + 1);
    }
    return concat({in_quotes(program), ": ", end.status.to_string(), said.empty() ? "" : ": ",
                   is_long ? "... " : "", said});
}

// (Inline: g++ warns of a coroutine in a header that has closures and is compiled once.)
inline Coro<CompletedProcess> run_to_end(Command command, RunProcessOptions options) {
    for (Stdio* const end : {&options.out, &options.err}) {
        if (end->kind() == Stdio::Kind::usual && !options.terminal) *end = Stdio::pipe();
    }
    if (options.in.kind() == Stdio::Kind::usual && !options.terminal)
        options.in = options.input.empty() ? Stdio::null() : Stdio::pipe();
    const std::string program(command.program());
    const auto talk = [&](Process& child) -> Coro<CompletedProcess> {
        return child.communicate(std::move(options.input), options.limit);
    };
    // (The grace, and what it takes to be killed.)
    const Duration enough =
        std::min(options.grace, Duration(longest_delay / 2)) + default_release_limit;
    CompletedProcess end = co_await async_with(create_subprocess_exec(std::move(command), options),
                                               talk, &close_resource<Process>, enough);
    if (options.check && !end.status.ok()) throw ProcessError(program, std::move(end));
    co_return end;
}

}  // namespace detail

[[gnu::cold]] WEFT_INLINE ProcessError::ProcessError(std::string_view program, CompletedProcess end)
    : std::runtime_error(detail::text_of_failure(program, end)), end_(std::move(end)) {}

WEFT_INLINE Coro<CompletedProcess> run_process(Command command, RunProcessOptions options) {
    return detail::run_to_end(std::move(command), std::move(options));
}
#endif

}  // namespace weft
