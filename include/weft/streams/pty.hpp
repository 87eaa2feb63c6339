// SPDX-License-Identifier: MIT
// open_pty: a pseudo-terminal.
#pragma once

#include <string>
#include <utility>

#include "../base/config.hpp"
#include "../base/fd.hpp"
#include "../net/stream.hpp"

#if WEFT_BODIES
#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>

#include <cerrno>

#include "../base/error.hpp"
#endif

namespace weft {

struct Pty {
    Pty(Stream our_side, Fd their_side, std::string name) noexcept
        : master(std::move(our_side)), slave(std::move(their_side)), path(std::move(name)) {}

    Stream master;     ///< a keyboard and a screen
    Fd slave;          ///< the terminal, for a program (or a Stream); close-on-exec
    std::string path;  ///< its name: "/dev/pts/3"
};

struct PtyOptions {
    PtyOptions() noexcept {}

    /// Bytes go through as they are: no echo, no lines, no Ctrl-C.
    bool raw = false;
};

/// A terminal for a program that wants one. When its last user closes it the master is at its end.
/// (A child with a terminal of its own: ProcessOptions::terminal.)
/// Throws:   std::system_error (posix_openpt and its like).
/// Source:   pty(7).
Pty open_pty(const PtyOptions& options = {});

#if WEFT_BODIES
WEFT_INLINE Pty open_pty(const PtyOptions& options) {
    Fd master = detail::not_standard(Fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)));
    if (!master) detail::throw_system_error(errno, "posix_openpt");
    if (::grantpt(master.get()) != 0) detail::throw_system_error(errno, "grantpt");
    if (::unlockpt(master.get()) != 0) detail::throw_system_error(errno, "unlockpt");
    char path[64];
    if (const int error = ::ptsname_r(master.get(), path, sizeof path); error != 0)
        detail::throw_system_error(error, "ptsname");
    Fd slave = detail::not_standard(Fd(::open(path, O_RDWR | O_NOCTTY | O_CLOEXEC)));
    if (!slave) detail::throw_system_error(errno, detail::concat({"open \"", path, "\""}));
    if (options.raw) {
        termios settings{};
        if (::tcgetattr(slave.get(), &settings) != 0)
            detail::throw_system_error(errno, "tcgetattr");
        ::cfmakeraw(&settings);
        if (::tcsetattr(slave.get(), TCSANOW, &settings) != 0)
            detail::throw_system_error(errno, "tcsetattr");
    }
    Stream ours(std::move(master));
    return Pty(std::move(ours), std::move(slave), path);
}
#endif

}  // namespace weft
