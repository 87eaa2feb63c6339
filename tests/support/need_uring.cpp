// SPDX-License-Identifier: MIT
// need_uring PROGRAM ARGUMENTS...: runs PROGRAM where the kernel grants an io_uring; else prints
// the reason and exits with 77, which ctest shows as a skipped test.
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {

constexpr int exit_skip = 77;

// The raw call, because liburing may be what is missing. 120 bytes is `struct io_uring_params`.
int try_ring() {
    alignas(8) std::uint8_t params[120] = {};
    const long fd = syscall(SYS_io_uring_setup, 2, params);
    if (fd < 0) return errno;
    close(static_cast<int>(fd));
    return 0;
}

}  // namespace

int main(int, char** argv) {
    if (argv[1] == nullptr) {
        std::fputs("usage: need_uring PROGRAM ARGUMENTS...\n", stderr);
        return 2;
    }

    // In a child, because a seccomp filter may answer the call with a signal.
    const pid_t child = fork();
    if (child == 0) _exit(try_ring());
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        std::perror("need_uring");
        return 2;
    }
    if (WIFSIGNALED(status)) {
        std::printf("skipped: io_uring_setup was answered with signal %d\n", WTERMSIG(status));
        return exit_skip;
    }
    if (const int error = WEXITSTATUS(status); error != 0) {
        std::printf("skipped: io_uring_setup: %s\n", std::strerror(error));
        return exit_skip;
    }

    execv(argv[1], argv + 1);
    std::perror(argv[1]);
    return 2;
}
