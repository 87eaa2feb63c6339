// SPDX-License-Identifier: MIT
// ExitStatus: how a child has ended.
#pragma once

#include <string>

#include "../base/config.hpp"

#if WEFT_BODIES
#include <signal.h>
#include <sys/wait.h>

#include "../base/error.hpp"
#endif

namespace weft {

/// The exit code of a child, or the signal that has ended it.
class ExitStatus {
public:
    static ExitStatus exited(int code) noexcept { return ExitStatus(code, false); }
    static ExitStatus killed(int signal, bool dumped_core = false) noexcept {
        return ExitStatus(-signal, dumped_core);
    }
    /// Somebody else has reaped it, and the kernel (before Linux 6.15) does not tell how it ended.
    static ExitStatus unknown() noexcept {
        ExitStatus status(255, false);
        status.known_ = false;
        return status;
    }
    /// As waitpid(2) gives it.
    static ExitStatus from_wait(int status) noexcept;

    /// asyncio's return code: the exit code, minus the signal, or 255 when it is not known.
    int code() const noexcept { return code_; }
    bool ok() const noexcept { return code_ == 0; }
    /// 0: it was not ended by one.
    int signal() const noexcept { return code_ < 0 ? -code_ : 0; }
    bool dumped_core() const noexcept { return dumped_core_; }
    bool is_known() const noexcept { return known_; }
    /// "exit code 3", "killed by SIGTERM", "killed by SIGSEGV (core dumped)".
    std::string to_string() const;

    friend bool operator==(const ExitStatus&, const ExitStatus&) noexcept = default;

private:
    ExitStatus(int code, bool dumped_core) noexcept : code_(code), dumped_core_(dumped_core) {}

    int code_;
    bool dumped_core_;
    bool known_ = true;
};

namespace detail {
/// "SIGTERM"; "signal 42" for one without a name.
std::string name_of_signal(int signal);
}  // namespace detail

#if WEFT_BODIES
WEFT_INLINE ExitStatus ExitStatus::from_wait(int status) noexcept {
    if (WIFSIGNALED(status)) return killed(WTERMSIG(status), WCOREDUMP(status));
    return exited(WEXITSTATUS(status));
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string detail::name_of_signal(int signal) {
    constexpr struct {
        int number;
        const char* name;
    } names[] = {{SIGHUP, "HUP"},   {SIGINT, "INT"},   {SIGQUIT, "QUIT"}, {SIGILL, "ILL"},
                 {SIGTRAP, "TRAP"}, {SIGABRT, "ABRT"}, {SIGBUS, "BUS"},   {SIGFPE, "FPE"},
                 {SIGKILL, "KILL"}, {SIGUSR1, "USR1"}, {SIGSEGV, "SEGV"}, {SIGUSR2, "USR2"},
                 {SIGPIPE, "PIPE"}, {SIGALRM, "ALRM"}, {SIGTERM, "TERM"}, {SIGCONT, "CONT"},
                 {SIGSTOP, "STOP"}, {SIGXCPU, "XCPU"}, {SIGXFSZ, "XFSZ"}, {SIGSYS, "SYS"}};
    for (const auto& each : names) {
        if (each.number == signal) return concat({"SIG", each.name});
    }
    return concat({"signal ", decimal(signal)});
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string ExitStatus::to_string() const {
    if (!known_) return "not known how it ended: somebody else has reaped it";
    if (code_ >= 0) return detail::concat({"exit code ", detail::decimal(code_)});
    return detail::concat(
        {"killed by ", detail::name_of_signal(-code_), dumped_core_ ? " (core dumped)" : ""});
}
#endif

}  // namespace weft
