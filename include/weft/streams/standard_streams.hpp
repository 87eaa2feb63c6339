// SPDX-License-Identifier: MIT
// standard_input, standard_output, standard_error, standard_streams: the program's own, as streams.
#pragma once

#include "../base/config.hpp"
#include "../net/stream.hpp"

#if WEFT_BODIES
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "join_streams.hpp"
#endif

namespace weft {

// Whatever the program was started with: a terminal, a pipe, a file, a socket. Each call makes a
// duplicate, so that closing it leaves the program's own descriptor open (a peer that waits for the
// end gets it when that is closed, too), and whether reads and writes of others who share it (the
// shell, printf) block stays as it is.
/// Throws:   std::system_error (fcntl; EBADF: the program was started without it, or its number is
///           marked close-on-exec, and so some other file's).
Stream standard_input();
Stream standard_output();
Stream standard_error();
/// Standard input and output as one connection: what serves a socket serves a terminal.
Stream standard_streams();

#if WEFT_BODIES
namespace detail {

[[gnu::noinline]] inline Stream duplicate_stream(int number, const char* called) {
    // One with the mark is some other file, the loop's own perhaps, that has got the number of an
    // end which was closed.
    if (const int marks = ::fcntl(number, F_GETFD); marks >= 0 && (marks & FD_CLOEXEC) != 0)
        throw_system_error(EBADF, fd_text("fcntl", number));
    constexpr int above_the_standard_ones = 3;
    Fd copy(::fcntl(number, F_DUPFD_CLOEXEC, above_the_standard_ones));
    if (!copy) throw_system_error(errno, fd_text("fcntl", number));
    return Stream(make_stream_state(std::move(copy), false, called));
}

}  // namespace detail

WEFT_INLINE Stream standard_input() {
    return detail::duplicate_stream(STDIN_FILENO, "standard input");
}
WEFT_INLINE Stream standard_output() {
    return detail::duplicate_stream(STDOUT_FILENO, "standard output");
}
WEFT_INLINE Stream standard_error() {
    return detail::duplicate_stream(STDERR_FILENO, "standard error");
}
WEFT_INLINE Stream standard_streams() {
    Stream input = standard_input();
    return join_streams(std::move(input), standard_output());
}
#endif

}  // namespace weft
