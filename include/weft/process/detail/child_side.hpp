// SPDX-License-Identifier: MIT
// ChildSide: what a child does between its birth and its program, in its parent's memory.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "../../base/config.hpp"

#if WEFT_BODIES
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#endif

namespace weft::detail {

/// What the child is to do, and where it has stopped. The parent waits meanwhile, so both may use
/// it.
struct SpawnPlan {
    enum class Step : std::uint8_t {
        done,  // the program runs (or nothing has begun)
        setsid,
        setpgid,
        descriptors,
        pass,
        terminal,
        chdir,
        exec,
    };

    char* const* arguments = nullptr;
    char* const* environment = nullptr;
    const char* candidates = nullptr;  // paths one after the other; an empty one ends them
    const char* directory = nullptr;   // null: where the parent is
    int source[3] = {-1, -1, -1};      // what becomes 0, 1 and 2; -1: stays what it is
    int terminal = -1;                 // to become the controlling terminal
    const int* passed = nullptr;       // sorted, each above 2
    std::size_t passed_count = 0;
    pid_t group = 0;
    bool joins_group = false;
    bool new_session = false;

    Step failed = Step::done;
    int error = 0;
    int failed_descriptor = -1;  // Step::descriptors, Step::pass
};

// A child that shares our memory must leave alone what the C library, a sanitizer's run-time or
// this thread keep in it: so system calls and nothing else, and code without instrumentation (it
// never returns, so that what an instrumented function notes at its beginning would stay).
#if defined(__clang__)
#define WEFT_BARE __attribute__((noinline, disable_sanitizer_instrumentation))
#else
#define WEFT_BARE __attribute__((noinline, no_sanitize("address", "thread", "undefined")))
#endif

#if WEFT_BODIES

class ChildSide {
public:
    /// For clone(2). All signals are blocked.
    WEFT_BARE static int run(void* to_do) noexcept {
        SpawnPlan& plan = *static_cast<SpawnPlan*>(to_do);
        default_signals();
        if (plan.new_session) {
            if (::syscall(SYS_setsid) < 0) fail(plan, SpawnPlan::Step::setsid, errno);
        } else if (plan.joins_group) {
            if (::syscall(SYS_setpgid, 0, plan.group) < 0)
                fail(plan, SpawnPlan::Step::setpgid, errno);
        }
        place_descriptors(plan);
        if (plan.directory && ::syscall(SYS_chdir, plan.directory) < 0)
            fail(plan, SpawnPlan::Step::chdir, errno);
        close_others(plan);
        std::uint64_t none[2] = {0, 0};
        ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, none, nullptr, signal_set_size);
        execute(plan);
    }

    static constexpr std::size_t signal_set_size = (_NSIG - 1) / 8;

private:
    [[noreturn]] WEFT_BARE static void fail(SpawnPlan& plan, SpawnPlan::Step step,
                                            int error) noexcept {
        plan.error = error;
        plan.failed = step;
        // (As a shell says it, for an emulator that gives a child memory of its own after all.)
        for (;;) ::syscall(SYS_exit_group, 127);
    }

    /// exec(2) does that to signals with a handler, but one that comes before would run it here;
    /// ignored ones (our SIGPIPE) it leaves ignored. What the kernel reads of a disposition is
    /// nothing but zeros, however it is laid out on this architecture.
    WEFT_BARE static void default_signals() noexcept {
        const unsigned long nothing[20] = {};
        for (int signal = 1; signal < _NSIG; ++signal) {
            if (signal != SIGKILL && signal != SIGSTOP)
                ::syscall(SYS_rt_sigaction, signal, nothing, nullptr, signal_set_size);
        }
    }

    WEFT_BARE static void place_descriptors(SpawnPlan& plan) noexcept {
        // First out of the way: a source may have the number of another's target.
        for (int target = 0; target < 3; ++target) {
            if (plan.source[target] == target) continue;
            move_up(plan, plan.source[target]);
        }
        move_up(plan, plan.terminal);
        for (int target = 0; target < 3; ++target) {
            const int source = plan.source[target];
            if (source < 0) continue;  // inherited
            // A dup onto itself would leave the mark.
            const long done = source == target ? ::syscall(SYS_fcntl, target, F_SETFD, 0)
                                               : ::syscall(SYS_dup3, source, target, 0);
            if (done < 0) fail_at(plan, SpawnPlan::Step::descriptors, source);
        }
        if (plan.terminal >= 0 && ::syscall(SYS_ioctl, plan.terminal, TIOCSCTTY, 0) < 0)
            fail(plan, SpawnPlan::Step::terminal, errno);
        for (std::size_t index = 0; index < plan.passed_count; ++index) {
            if (::syscall(SYS_fcntl, plan.passed[index], F_SETFD, 0) < 0)
                fail_at(plan, SpawnPlan::Step::pass, plan.passed[index]);
        }
    }
    WEFT_BARE static void move_up(SpawnPlan& plan, int& source) noexcept {
        if (source < 0 || source > 2) return;
        const long moved = ::syscall(SYS_fcntl, source, F_DUPFD_CLOEXEC, 3);
        if (moved < 0) fail_at(plan, SpawnPlan::Step::descriptors, source);
        source = static_cast<int>(moved);
    }
    [[noreturn]] WEFT_BARE static void fail_at(SpawnPlan& plan, SpawnPlan::Step step,
                                               int descriptor) noexcept {
        const int error = errno;
        plan.failed_descriptor = descriptor;
        fail(plan, step, error);
    }

    /// Whatever else is open, by whomever it was opened. (The table of descriptors is the child's
    /// own, and we need none of them any more.)
    WEFT_BARE static void close_others(const SpawnPlan& plan) noexcept {
#ifndef SYS_close_range
        constexpr long SYS_close_range = 436;
#endif
        unsigned first = 3;
        for (std::size_t index = 0; index <= plan.passed_count; ++index) {
            const bool rest = index == plan.passed_count;
            const unsigned next = rest ? ~0U : static_cast<unsigned>(plan.passed[index]);
            const unsigned last = rest ? next : next - 1;
            if (last >= first && ::syscall(SYS_close_range, first, last, 0) < 0)
                return close_each(plan);  // before Linux 5.9, or refused
            first = next + 1;
        }
    }
    WEFT_BARE static bool is_passed(const SpawnPlan& plan, int descriptor) noexcept {
        for (std::size_t index = 0; index < plan.passed_count; ++index) {
            if (plan.passed[index] == descriptor) return true;
        }
        return false;
    }
    WEFT_BARE static void close_each(const SpawnPlan& plan) noexcept {
        const long folder =
            ::syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (folder < 0) {
            std::uint64_t limits[2] = {1024, 0};
            ::syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, limits);
            for (int each = 3; static_cast<std::uint64_t>(each) < limits[0]; ++each) {
                if (!is_passed(plan, each)) ::syscall(SYS_close, each);
            }
            return;
        }
        alignas(8) char entries[2048];
        long size = 0;
        while ((size = ::syscall(SYS_getdents64, folder, entries, sizeof entries)) > 0) {
            for (long at = 0; at < size;) {
                // linux_dirent64: an inode and an offset of 8 bytes, a length of 2, a type, a name.
                constexpr long length_at = 16, name_at = 19;
                int number = 0;
                const char* digit = entries + at + name_at;
                for (; *digit >= '0' && *digit <= '9'; ++digit) number = number * 10 + *digit - '0';
                if (number > 2 && number != folder && !is_passed(plan, number))
                    ::syscall(SYS_close, number);
                at += static_cast<unsigned char>(entries[at + length_at]) +
                      256L * static_cast<unsigned char>(entries[at + length_at + 1]);
            }
        }
        ::syscall(SYS_close, folder);
    }

    /// As execvp(3): a candidate that is not there, or cannot be looked at, is passed over. But
    /// what has no format that the kernel knows is not handed to a shell.
    [[noreturn]] WEFT_BARE static void execute(SpawnPlan& plan) noexcept {
        int error = ENOENT;
        for (const char* path = plan.candidates; *path; ++path) {
            ::syscall(SYS_execve, path, plan.arguments, plan.environment);
            const int refused = errno;
            if (refused == EACCES) {
                error = EACCES;
            } else if (refused != ENOENT && refused != ENOTDIR && refused != ESTALE &&
                       refused != ENODEV && refused != ETIMEDOUT) {
                fail(plan, SpawnPlan::Step::exec, refused);
            }
            while (*path) ++path;
        }
        fail(plan, SpawnPlan::Step::exec, error);
    }
};

#endif
#undef WEFT_BARE

}  // namespace weft::detail
