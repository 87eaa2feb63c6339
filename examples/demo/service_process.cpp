// SPDX-License-Identifier: MIT
#include "service_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace demo {
namespace {

constexpr int patience_ms = 5000;

struct Pipe {
    Pipe() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) {
            throw std::system_error(errno, std::system_category(), "pipe2");
        }
        reading.reset(ends[0]);
        writing.reset(ends[1]);
    }
    weft::Fd reading;
    weft::Fd writing;
};

/// Up to the end of the line, or of the file.
std::string read_first_line(int fd) {
    std::string line;
    for (char letter = 0; letter != '\n';) {
        const ssize_t count = ::read(fd, &letter, 1);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        line += letter;
    }
    return line;
}

}  // namespace

ServiceProcess::ServiceProcess() {
    Pipe input;
    Pipe output;
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, input.reading.get(), STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, output.writing.get(), STDOUT_FILENO);
    std::string arguments[] = {"demo", "--serve"};
    char* const argv[] = {arguments[0].data(), arguments[1].data(), nullptr};
    const int error = ::posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, argv, environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) throw std::system_error(error, std::system_category(), "posix_spawn");
    standard_input_ = std::move(input.writing);
    standard_output_ = std::move(output.reading);
    output.writing.reset();  // so that its end is the child's end

    const std::string line = read_first_line(standard_output_.get());
    const std::size_t port = line.find("127.0.0.1:");
    if (port == line.npos) {
        throw std::runtime_error(fmt::format("the service did not start (exit code {})", stop()));
    }
    address_ = weft::Address::ip("127.0.0.1", static_cast<std::uint16_t>(std::strtoul(
                                                  line.c_str() + port + 10, nullptr, 10)));
}

int ServiceProcess::stop() noexcept {
    if (pid_ < 0) return exit_code_;
    standard_input_.reset();
    // The child's end closes its output. One that hangs does not hang us.
    pollfd output{standard_output_.get(), 0, 0};
    if (::poll(&output, 1, patience_ms) == 0) ::kill(pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    exit_code_ = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    pid_ = -1;
    return exit_code_;
}

}  // namespace demo
