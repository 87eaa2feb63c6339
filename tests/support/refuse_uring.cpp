// SPDX-License-Identifier: MIT
// refuse_uring EPERM|ENOSYS PROGRAM ARGUMENTS...: runs PROGRAM where io_uring_setup fails with that
// error, as in a container whose seccomp profile does not know the call, or on an old kernel.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <string_view>

namespace {

sock_filter instruction(int code, std::uint32_t operand, std::uint8_t if_true = 0,
                        std::uint8_t if_false = 0) {
    return sock_filter{static_cast<std::uint16_t>(code), if_true, if_false, operand};
}

/// Stays in force in this process and whatever it becomes. No look at the architecture: this call
/// has the same number on all of them.
bool refuse_io_uring(int error) {
    const auto answer = SECCOMP_RET_ERRNO | (static_cast<std::uint32_t>(error) & SECCOMP_RET_DATA);
    sock_filter filter[] = {
        instruction(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        instruction(BPF_RET | BPF_K, answer),
        instruction(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{static_cast<unsigned short>(std::size(filter)), filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view name = argc > 2 ? argv[1] : "";
    if (name != "EPERM" && name != "ENOSYS") {
        std::fputs("usage: refuse_uring EPERM|ENOSYS PROGRAM ARGUMENTS...\n", stderr);
        return 2;
    }
    if (!refuse_io_uring(name == "EPERM" ? EPERM : ENOSYS)) {
        std::perror("refuse_uring: seccomp");
        return 2;
    }
    execv(argv[2], argv + 2);
    std::perror(argv[2]);
    return 2;
}
