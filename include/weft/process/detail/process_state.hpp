// SPDX-License-Identifier: MIT
// ProcessState: a child, and what is known of its end; its Process and its waits share it.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/fd.hpp"
#include "../../base/ref.hpp"
#include "../../net/stream.hpp"
#include "../exit_status.hpp"

#if WEFT_BODIES
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "../../base/c_text.hpp"
#include "../../base/error.hpp"
#endif

namespace weft::detail {

/// Reaped exactly once: by whoever looks first after its end.
class ProcessState : public Counted<ProcessState> {
public:
    explicit ProcessState(std::string_view name);
    /// The last one to know it: a child that still runs is killed, and reaped.
    ~ProcessState();

    /// Looks, without waiting, whether it has ended.
    bool has_ended();
    /// False: it has ended.
    /// Throws:   std::system_error (pidfd_send_signal).
    bool send_signal(int signal);
    /// SIGTERM and SIGCONT, once, or SIGKILL where there is no grace.
    void ask_to_end() noexcept;
    /// SIGKILL, to the rest of its group too.
    void kill_all() noexcept;
    /// "wait for \"sleep\" (pid 123)".
    std::string text(std::string_view call) const;
    /// Of a forked child's parent, who alone may end it and wait for it.
    bool is_others() const noexcept;

    const std::string program;
    pid_t pid = 0;  // 0: not started
    Fd pidfd;       // none before Linux 5.3
    std::optional<ExitStatus> status;
    Duration grace{0};
    Duration drain{0};
    bool leads_group = false;
    std::optional<Stream> in, out, err, terminal;

private:
    int look(siginfo_t& info, int options) const noexcept;
    int look_by_older_call(siginfo_t& info) const noexcept;
    std::optional<ExitStatus> told_by_kernel() const noexcept;
    int signal_now(int signal) const noexcept;

    const pid_t parent_;
    bool asked_ = false;
    bool ends_group_ = false;  // the rest of its group goes with it
};

#if WEFT_BODIES

[[gnu::cold]] WEFT_INLINE ProcessState::ProcessState(std::string_view name)
    : program(name), parent_(::getpid()) {}

[[gnu::cold]] WEFT_INLINE bool ProcessState::is_others() const noexcept {
    return ::getpid() != parent_;
}

[[gnu::cold]] WEFT_INLINE ProcessState::~ProcessState() {
    if (pid == 0 || status || is_others() || has_ended()) return;
    kill_all();
    // A killed child ends at once, unless it is inside of a device that does not answer.
    for (int waits = 0; waits < 1000 && !has_ended(); ++waits) {
        pollfd wait{pidfd.get(), POLLIN, 0};
        const int told = ::poll(&wait, pidfd ? 1 : 0, 1);
        if (told < 0 && errno != EINTR) return;
        // (Of one that is traced its tracer has to be told before us.)
        if (told > 0 && !has_ended()) ::poll(nullptr, 0, 1);
    }
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string ProcessState::text(
    std::string_view call) const {
    return concat({call, " ", in_quotes(program), " (pid ", decimal(pid), ")"});
}

/// PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux 6.15: tells also of one that somebody else has
/// reaped.
[[gnu::cold, gnu::noinline]] WEFT_INLINE std::optional<ExitStatus> ProcessState::told_by_kernel()
    const noexcept {
    struct Info {
        std::uint64_t mask;
        std::uint32_t others[13];
        std::int32_t exit_code;
    };
    static_assert(sizeof(Info) == 64, "the first form of struct pidfd_info");
    constexpr std::uint64_t with_exit = 1 << 3;
    // One that reaps itself (SIGCHLD is ignored) is not waited for any more a moment before the
    // kernel tells of it.
    for (int looks = 0; pidfd && looks < 10; ++looks) {
        Info info{};
        info.mask = with_exit;
        const bool told = ::ioctl(pidfd.get(), _IOWR(0xff, 11, Info), &info) == 0;
        if (!told && errno != ESRCH) break;
        if (told && (info.mask & with_exit)) return ExitStatus::from_wait(info.exit_code);
        ::poll(nullptr, 0, 1);
    }
    return std::nullopt;
}

/// waitpid(2), which can only reap.
[[gnu::cold, gnu::noinline]] WEFT_INLINE int ProcessState::look_by_older_call(
    siginfo_t& info) const noexcept {
    int how = 0;
    const pid_t ended = ::waitpid(pid, &how, WNOHANG);
    if (ended < 0) return errno;
    info.si_pid = ended;
    info.si_code = WIFEXITED(how) ? CLD_EXITED : WCOREDUMP(how) ? CLD_DUMPED : CLD_KILLED;
    info.si_status = WIFEXITED(how) ? WEXITSTATUS(how) : WTERMSIG(how);
    return 0;
}

/// waitid(2) without waiting: 0, or errno; `info.si_pid` is 0 where it still runs.
[[gnu::cold, gnu::noinline]] WEFT_INLINE int ProcessState::look(siginfo_t& info,
                                                                int options) const noexcept {
    constexpr auto by_pidfd = static_cast<idtype_t>(3);  // P_PIDFD, Linux 5.4
    info = siginfo_t{};
    bool by_number = !pidfd;
    for (;;) {
        const auto id = static_cast<id_t>(by_number ? pid : pidfd.get());
        const idtype_t kind = by_number ? P_PID : by_pidfd;
        if (::waitid(kind, id, &info, WEXITED | WNOHANG | options) == 0) return 0;
        if (errno == EINTR) continue;
        if (errno == ECHILD) return errno;
        if (by_number) return (options & WNOWAIT) ? errno : look_by_older_call(info);
        by_number = true;
    }
}

WEFT_INLINE bool ProcessState::has_ended() {
    if (status) return true;
    siginfo_t info;
    if (ends_group_ && look(info, WNOWAIT) == 0) {
        if (info.si_pid == 0) return false;
        // While it is not reaped, its number cannot be another group's.
        ::kill(-pid, SIGKILL);
    }
    if (look(info, 0) == 0) {
        if (info.si_pid == 0) return false;
        status = info.si_code == CLD_EXITED
                     ? ExitStatus::exited(info.si_status)
                     : ExitStatus::killed(info.si_status, info.si_code == CLD_DUMPED);
    } else {
        // SIGCHLD is ignored, or somebody waits for any child there is.
        status = told_by_kernel();
        if (!status) status = ExitStatus::unknown();
    }
    return true;
}

/// 0 or errno.
[[gnu::cold]] WEFT_INLINE int ProcessState::signal_now(int signal) const noexcept {
#ifndef SYS_pidfd_send_signal
    constexpr long SYS_pidfd_send_signal = 424;
#endif
    if (ends_group_ && ::kill(-pid, signal) == 0) return 0;
    if (pidfd) {
        if (::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0) return 0;
        if (errno == ESRCH || errno == EINVAL) return errno;
    }
    // Before Linux 5.1, or refused by a filter. It is not reaped, so the number is still its own.
    return ::kill(pid, signal) == 0 ? 0 : errno;
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE bool ProcessState::send_signal(int signal) {
    if (has_ended()) return false;
    const int error = signal_now(signal);
    if (error == ESRCH) return false;
    if (error != 0) throw_system_error(error, concat({"kill ", name_of_signal(signal), text("")}));
    return true;
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ProcessState::ask_to_end() noexcept {
    ends_group_ = leads_group;
    if (grace <= Duration(0)) return kill_all();
    if (std::exchange(asked_, true)) return;
    static_cast<void>(signal_now(SIGTERM));
    // One that is stopped would hear of it when it goes on, and nobody else lets it.
    static_cast<void>(signal_now(SIGCONT));
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ProcessState::kill_all() noexcept {
    ends_group_ = leads_group;
    static_cast<void>(signal_now(SIGKILL));
}

#endif

}  // namespace weft::detail
