// SPDX-License-Identifier: MIT
// Process: a child, its pipes, its end; create_subprocess_exec and create_subprocess_shell.
#pragma once

#include <sys/types.h>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/ref.hpp"
#include "../net/stream.hpp"
#include "../runtime/loop.hpp"
#include "../task/coro.hpp"
#include "command.hpp"
#include "completed_process.hpp"
#include "detail/communicate.hpp"
#include "detail/process_end.hpp"
#include "detail/process_state.hpp"
#include "detail/spawn.hpp"
#include "detail/split_words.hpp"
#include "exit_status.hpp"
#include "process_options.hpp"

#if WEFT_BODIES
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "../net/io.hpp"
#include "../runtime/task_core.hpp"
#endif

namespace weft {
namespace detail {
class SpawnWait;
}  // namespace detail

/// How much `communicate` and `run_process` read of each pipe unless told otherwise: 64 MiB.
inline constexpr std::size_t default_output_limit = std::size_t{64} << 20;

/// A child of ours. When it goes, a child that still runs is ended: SIGTERM at once, SIGKILL after
/// ProcessOptions::grace, which `run` waits for at its end; then it is reaped. (`close` does the
/// same and waits for it: `async_with` calls it on every way out.)
///
/// The child is waited for by a descriptor of its own (pidfd_open(2)): no handler of SIGCHLD, no
/// thread, and what other code of the program does with its children is of no concern.
/// Throws:   RuntimeError once it was moved from, from everything.
/// Thread:   the loop's.
class [[nodiscard]] Process {
public:
    Process(Process&&) noexcept = default;
    Process& operator=(Process&& other) noexcept {
        if (this != &other) {
            let_go();
            state_ = std::move(other.state_);
        }
        return *this;
    }
    ~Process() { let_go(); }

    pid_t pid() const { return state().pid; }
    /// Its name, as it was given.
    const std::string& program() const { return state().program; }

    /// Our ends of its pipes: what is written into `in`, it reads; closed (`in().close()`), it sees
    /// the end. What it has written may be read after its end, too.
    /// Throws:   RuntimeError when that end is no pipe (ProcessOptions), or belongs to a terminal.
    Stream& in() { return stream(state().in, "in"); }
    Stream& out() { return stream(state().out, "out"); }
    Stream& err() { return stream(state().err, "err"); }
    /// The other side of its terminal: what it prints is read, what is written it reads as typed.
    Stream& terminal() { return stream(state().terminal, "terminal"); }
    /// Tells it that the terminal has another size (SIGWINCH).
    /// Throws:   std::system_error (ioctl).
    void resize(TerminalSize size);

    /// Waits for its end. Any number of tasks may, and as often as they like.
    /// Throws:   CancelledError.
    /// Cancel:   leaves the child alone.
    /// Source:   waitid(2) with P_PIDFD, Linux 5.4.
    Coro<ExitStatus> wait() { return detail::wait_for_end(shared()); }
    /// How it has ended; nothing: it runs.
    std::optional<ExitStatus> status() {
        if (!state().has_ended()) return std::nullopt;
        return state().status;
    }

    /// Sends it a signal; also in the very moment of its end this reaches nobody else.
    /// Returns:  false: it has ended.
    /// Throws:   std::system_error (EINVAL: no signal; EPERM: it runs as somebody else).
    bool send_signal(int signal) { return state().send_signal(signal); }
    bool terminate();  ///< SIGTERM
    bool kill();       ///< SIGKILL

    /// Writes `input` and closes `in`, reads `out` and `err` to their ends, and waits for the
    /// child: at the same time, so that nobody waits for a full pipe. Ends that are no pipes are
    /// left out; what it prints on a terminal of its own counts as `out` (as `err` where `out` is a
    /// pipe). A child that does not read all of its input is no error. Pipes that others keep
    /// open after the child's end are read for ProcessOptions::drain more.
    /// Throws:   LimitOverrunError when it writes more than `limit` bytes into one of them;
    ///           std::system_error (read, write); CancelledError; RuntimeError for input without a
    ///           pipe to write it into.
    /// Cancel:   lossless: what was read is still readable, also for another `communicate`; how much
    ///           of the input was written, `in().written()` tells. The child goes on.
    Coro<CompletedProcess> communicate(std::string input = {},
                                       std::size_t limit = default_output_limit) {
        if (!input.empty()) static_cast<void>(in());
        return detail::communicate(shared(), std::move(input), limit);
    }

    /// Ends it if it still runs: SIGTERM, and SIGKILL after the grace. It has ended, and is reaped,
    /// when this returns, and its pipes are closed. Idempotent.
    /// Cancel:   the child was asked to end; the rest is done when the Process goes.
    Coro<void> close() { return close(shared()); }

private:
    friend class detail::SpawnWait;

    explicit Process(detail::Ref<detail::ProcessState> state) noexcept : state_(std::move(state)) {}

    detail::ProcessState& state() const {
        if (!state_) [[unlikely]]
            detail::throw_runtime_error("weft: an empty Process: it was moved from");
        return *state_;
    }
    detail::Ref<detail::ProcessState> shared() const {
        return detail::Ref<detail::ProcessState>::to(state());
    }
    Stream& stream(std::optional<Stream>& end, const char* name) const;
    void let_go() noexcept {
        if (state_) detail::leave_process(std::move(state_));
    }
    static Coro<void> close(detail::Ref<detail::ProcessState> state);

    detail::Ref<detail::ProcessState> state_;
};

/// Starts a program. The call stops the loop until the program runs (some 0.3 ms), however large
/// this process is; nothing of it is copied. The child has the default signal dispositions, an
/// empty mask, and no descriptor that it was not given.
/// Throws:   std::system_error, whose text names the call and the program: `exec "sort"`,
///           `chdir "/nowhere" (exec "sort")`; CancelledError.
/// Cancel:   lossless: not started, or returned. A Process that nobody takes ends its child.
/// Source:   clone(2) with CLONE_VM, CLONE_VFORK and CLONE_PIDFD (Linux 5.2), execve(2).
Coro<Process> create_subprocess_exec(Command command, ProcessOptions options = {});

/// The same in asyncio's form: `create_subprocess_exec("sort", "-u", options)`, with or without the
/// options.
template <std::convertible_to<std::string_view> Program, class... Rest>
Coro<Process> create_subprocess_exec(const Program& program, Rest&&... rest) {
    Command command(program);
    ProcessOptions options;
    detail::split_words(command, options, std::forward<Rest>(rest)...);
    return create_subprocess_exec(std::move(command), std::move(options));
}

/// Starts a command line: `sh -c COMMAND`. Whatever comes from outside is to be quoted, or better
/// not put into it.
Coro<Process> create_subprocess_shell(std::string command, ProcessOptions options = {});

#if WEFT_BODIES
namespace detail {

/// The start itself does not wait; what comes of it goes through the ready queue, so that whoever
/// starts many lets others run in between.
class [[nodiscard]] [[gnu::warn_unused]] SpawnWait final : public Suspension {
public:
    SpawnWait(const Command& command, const ProcessOptions& options, const OpenedFiles& files)
        : command_(command), options_(options), files_(files), process_({}) {}
    bool await_ready() const noexcept { return false; }
    [[gnu::cold]] void await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        task_ = &loop.require_task();
        if (!task_->must_cancel) process_.state_ = spawn(command_, options_, files_);
        loop.suspend(handle, *this);
        loop.wake(*task_);
    }
    [[gnu::cold]] Process await_resume() {
        check_leftover();
        if (!process_.state_) task_->loop->throw_cancelled();
        return std::move(process_);
    }
    TaskCore* cancel() noexcept override { return nullptr; }
    WaitInfo describe() const noexcept override { return {"the start of a process"}; }

private:
    const Command& command_;
    const ProcessOptions& options_;
    const OpenedFiles& files_;
    Process process_;
    TaskCore* task_ = nullptr;
};

}  // namespace detail

[[gnu::cold, gnu::noinline]] WEFT_INLINE Stream& Process::stream(std::optional<Stream>& end,
                                                                 const char* name) const {
    if (!end) {
        detail::throw_runtime_error(
            {"weft: ", state().text("process"), " has no pipe for ", name, " (ProcessOptions)"});
    }
    return *end;
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void Process::resize(TerminalSize size) {
    winsize wanted{};
    wanted.ws_row = size.rows;
    wanted.ws_col = size.columns;
    if (::ioctl(terminal().fd(), TIOCSWINSZ, &wanted) != 0)
        detail::throw_system_error(errno, state().text("ioctl TIOCSWINSZ"));
}

[[gnu::cold]] WEFT_INLINE bool Process::terminate() { return send_signal(SIGTERM); }
[[gnu::cold]] WEFT_INLINE bool Process::kill() { return send_signal(SIGKILL); }

WEFT_INLINE Coro<void> Process::close(detail::Ref<detail::ProcessState> state) {
    for (std::optional<Stream>* const end :
         {&state->in, &state->out, &state->err, &state->terminal}) {
        if (*end) co_await (*end)->close();
    }
    co_await detail::end_process(std::move(state));
}

WEFT_INLINE Coro<Process> create_subprocess_exec(Command command, ProcessOptions options) {
    detail::refuse_closed_descriptors(command, options);
    detail::OpenedFiles opened;
    const Stdio* const ends[] = {&options.in, &options.out, &options.err};
    for (int index = 0; index < 3; ++index) {
        const Stdio& end = *ends[index];
        int flags = index == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC;
        if (end.kind() == Stdio::Kind::append) {
            flags = O_WRONLY | O_CREAT | O_APPEND;
        } else if (end.kind() != Stdio::Kind::file) {
            continue;
        }
        opened.files[index] = co_await io::open(end.path(), flags, 0666);
    }
    detail::SpawnWait start(command, options, opened);
    Process process = co_await start;
    co_return process;
}

WEFT_INLINE Coro<Process> create_subprocess_shell(std::string command, ProcessOptions options) {
    return create_subprocess_exec(Command("/bin/sh", "-c", command), std::move(options));
}
#endif

}  // namespace weft
