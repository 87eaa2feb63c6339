// SPDX-License-Identifier: MIT
// Children under test: what one printed and how it ended, and whether any is left.
#pragma once

#include <sys/wait.h>

#include <cerrno>
#include <string>
#include <utility>

#include <weft/process/process.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace support {

/// No child is left, neither running nor as a zombie.
inline bool no_children() {
    siginfo_t info{};
    return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD;
}

struct Printed {
    Printed(std::string printed, weft::ExitStatus end) noexcept
        : text(std::move(printed)), status(end) {}
    std::string text;
    weft::ExitStatus status;
};

/// Runs it with a pipe as its standard output, whatever `options.out` says.
inline weft::Coro<Printed> printed_by(weft::Command command, weft::ProcessOptions options = {}) {
    Pair pipe = pipe_pair();
    options.out = weft::Stdio::descriptor(pipe.b.get());
    weft::Process child =
        co_await weft::create_subprocess_exec(std::move(command), std::move(options));
    pipe.b.reset();
    std::string text;
    for (;;) {
        const std::string some = co_await read_some(pipe.a.get(), 4096);
        if (some.empty()) break;
        text += some;
    }
    const weft::ExitStatus end = co_await child.wait();
    co_return Printed(std::move(text), end);
}

/// The same for a line of the shell.
inline weft::Coro<Printed> printed_by_shell(std::string line, weft::ProcessOptions options = {}) {
    return printed_by(weft::Command("/bin/sh", "-c", line), std::move(options));
}

/// Waits for a line that a child prints: what comes before it has been done.
inline weft::Coro<std::string> first_line(int fd) {
    std::string line;
    while (line.empty() || line.back() != '\n') {
        const std::string some = co_await read_some(fd, 1);
        if (some.empty()) break;
        line += some;
    }
    co_return line;
}

}  // namespace support
