// SPDX-License-Identifier: MIT
// listen_fds: the sockets that whoever has started this process listens on for it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "../base/config.hpp"
#include "../base/fd.hpp"

#if WEFT_BODIES
#include <fcntl.h>
#include <unistd.h>

#include <climits>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "../base/c_text.hpp"
#include "../base/error.hpp"
#endif

namespace weft {

/// A descriptor that this process was started with, and the name that its configuration gives it.
struct ListenFd {
    ListenFd(Fd descriptor, std::string its_name) noexcept
        : fd(std::move(descriptor)), name(std::move(its_name)) {}

    Fd fd;
    std::string name;  ///< "unknown" where none was given
};

/// Takes the sockets that were passed to this process by systemd's socket activation, or by whoever
/// else speaks its protocol: `LISTEN_FDS` of them, from descriptor 3 on, meant for the process
/// whose id is `LISTEN_PID`, named by `LISTEN_FDNAMES`. They are made close-on-exec.
///
///     for (weft::ListenFd& passed : weft::listen_fds()) {
///         servers.push_back(co_await weft::start_server(&handle, std::move(passed.fd)));
///     }
///
/// Returns:  the descriptors, which are the caller's now: the second call, and one in a process that
///           they are not meant for, gives none.
/// Throws:   RuntimeError when the variables make no sense, or name a descriptor that is not there.
/// Thread:   takes the variables out of the environment (unsetenv), so: before other threads read
///           it.
/// Source:   sd_listen_fds(3).
std::vector<ListenFd> listen_fds();

#if WEFT_BODIES
namespace detail {

/// A number of the environment; -1 when it is none, 0 when it is not there.
[[gnu::cold]] inline long listen_number(const char* name) noexcept {
    const char* const text = ::getenv(name);
    if (!text) return 0;
    char* end = nullptr;
    const long number = std::strtol(text, &end, 10);
    return *text == '\0' || *end != '\0' || number < 0 || number > INT_MAX ? -1 : number;
}

}  // namespace detail

[[gnu::cold]] WEFT_INLINE std::vector<ListenFd> listen_fds() {
    constexpr int first = 3;
    const long process = detail::listen_number("LISTEN_PID");
    const long count = detail::listen_number("LISTEN_FDS");
    std::vector<ListenFd> all;
    if (process < 0 || count < 0 || count > INT_MAX - first) {
        const char* const wrong = process < 0 ? "LISTEN_PID" : "LISTEN_FDS";
        detail::throw_runtime_error({"weft: ", wrong, "=", ::getenv(wrong), " is no number"});
    }
    if (process != ::getpid()) return all;
    const char* const given = ::getenv("LISTEN_FDNAMES");
    const std::string names = given ? given : "";
    for (const char* const name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(name);
    std::size_t begin = 0;
    for (int fd = first; fd < first + count; ++fd) {
        const int flags = ::fcntl(fd, F_GETFD);
        if (flags < 0) {
            detail::throw_runtime_error(
                {"weft: LISTEN_FDS names descriptor ", detail::decimal(fd), ", which is not open"});
        }
        ::fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
        const std::size_t end = begin < names.size() ? names.find(':', begin) : std::string::npos;
        std::string name = begin < names.size() ? names.substr(begin, end - begin) : std::string();
        if (name.empty()) name = "unknown";
        begin = end == std::string::npos ? names.size() : end + 1;
        all.emplace_back(Fd(fd), std::move(name));
    }
    return all;
}
#endif

}  // namespace weft
