// SPDX-License-Identifier: MIT
// Children where the kernel is old, or a filter refuses what is new (SEMANTICS 102).
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include <weft/process.hpp>
#include <weft/testing/catch.hpp>
#include <weft/weft.hpp>

#include "../support/child_programs.hpp"

namespace old_kernel_test {

namespace {

using weft::Coro;
using weft::ExitStatus;

sock_filter instruction(int code, std::uint32_t operand, std::uint8_t if_true = 0,
                        std::uint8_t if_false = 0) {
    return sock_filter{static_cast<std::uint16_t>(code), if_true, if_false, operand};
}

template <std::size_t count>
bool refuse(sock_filter (&filter)[count]) {
    const sock_fprog program{static_cast<unsigned short>(count), filter};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/// From here on no handle of a child can be had, and descriptors have to be closed one by one.
bool refuse_what_is_new() {
    constexpr std::uint32_t with_handle = 0x1000;  // CLONE_PIDFD
    constexpr std::uint32_t pidfd_open = 434, close_range = 436;
    sock_filter filter[] = {
        instruction(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, pidfd_open, 5, 0),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, close_range, 4, 0),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 2),
        instruction(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[0])),
        instruction(BPF_JMP | BPF_JSET | BPF_K, with_handle, 1, 0),
        instruction(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        instruction(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    return refuse(filter);
}

/// A child has a handle, which can neither be waited for nor sent a signal.
bool refuse_what_handles_are_for() {
    constexpr std::uint32_t pidfd_send_signal = 424;
    sock_filter filter[] = {
        instruction(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, pidfd_send_signal, 4, 0),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, SYS_waitid, 0, 2),
        instruction(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[0])),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, P_ALL, 0, 1),  // (this test's own)
        instruction(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        instruction(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    return refuse(filter);
}

/// What went wrong first; 0: nothing.
Coro<int> use_children() {
    const int first = ::dup(2), second = ::dup(2);
    const auto listed = co_await support::printed_by(weft::Command("ls", "/proc/self/fd"));
    if (listed.text != "0\n1\n2\n3\n") co_return 1;
    weft::ProcessOptions options;
    options.pass_descriptors = {second};
    const auto passed = co_await support::printed_by(
        weft::Command("sh", "-c",
                      "test -e /proc/self/fd/" + std::to_string(second) +
                          " -a ! -e /proc/self/fd/" + std::to_string(first)),
        options);
    if (!passed.status.ok()) co_return 2;
    weft::Process child = co_await weft::create_subprocess_exec("sleep", "1000");
    if (child.status()) co_return 3;
    if (!child.kill()) co_return 4;
    const ExitStatus end = co_await child.wait();
    if (end != ExitStatus::killed(SIGKILL)) co_return 5;
    { weft::Process left = co_await weft::create_subprocess_exec("sleep", "1000"); }
    while (!support::no_children()) co_await weft::sleep(std::chrono::milliseconds(1));
    co_return 0;
}

}  // namespace

TEST_CASE("children are started and waited for without pidfd, close_range and waitid",
          "[old_kernel]") {
    for (bool (*const refusal)() : {&refuse_what_is_new, &refuse_what_handles_are_for}) {
        const pid_t fork_of_us = ::fork();
        REQUIRE(fork_of_us >= 0);
        if (fork_of_us == 0) {
            int code = 99;
            try {
                if (refusal()) code = weft::run(use_children());
            } catch (...) {
                code = 98;
            }
            ::_exit(code);
        }
        int status = 0;
        REQUIRE(::waitpid(fork_of_us, &status, 0) == fork_of_us);
        REQUIRE(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0);
    }
}

}  // namespace old_kernel_test
