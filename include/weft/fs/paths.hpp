// SPDX-License-Identifier: MIT
// Operations on paths: directories made and removed, names changed, links, metadata.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include "../base/c_text.hpp"
#include "../base/config.hpp"
#include "../task/coro.hpp"
#include "detail/path_wait.hpp"
#include "detail/remove_tree.hpp"
#include "file_info.hpp"

namespace weft {
namespace detail {

Coro<bool> make_directories(std::string path, unsigned permissions);
Coro<void> remove_path(std::string path);
Coro<std::string> link_target(std::string path);
Coro<bool> path_exists(std::string path);

}  // namespace detail

/// Operations on paths; on io_uring the kernel does them (from Linux 5.11 and 5.15 on), else a
/// helper thread. All of them share:
///
/// Throws:   std::system_error naming the call and the paths (`rename "a" to "b": ...`), at once for
///           a path with a zero byte inside; CancelledError.
/// Cancel:   lossless: it did not happen, or the await returns and the cancel strikes at the next
///           suspension.
/// Lifetime: paths outlive the await; those of functions that return a Coro are copied.
/// Thread:   loop thread only.
namespace files {

/// Source:   mkdirat(2); IORING_OP_MKDIRAT, Linux 5.15.
inline detail::PathCall mkdir(CText path, unsigned permissions = 0777) {
    detail::PathRequest request(detail::OpCode::mkdirat, path.checked_for("mkdir"));
    return detail::PathCall(request.with_mode(permissions));
}
/// Makes the directory and those above it that are missing.
/// Returns:  false: it was there already.
inline Coro<bool> mkdir_all(CText path, unsigned permissions = 0777) {
    return detail::make_directories(path.checked_for("mkdir"), permissions);
}
/// Removes a file, a link, or a directory that is empty.
/// Source:   unlinkat(2); IORING_OP_UNLINKAT, Linux 5.11.
inline Coro<void> remove(CText path) { return detail::remove_path(path.checked_for("remove")); }
/// Removes it with everything in it. Symbolic links are removed and not followed, also where
/// somebody puts one in the way meanwhile.
/// Returns:  how many files, links and directories; 0: there was nothing.
inline Coro<std::uint64_t> remove_all(CText path) {
    return detail::remove_tree(AT_FDCWD, path.checked_for("remove"), std::string());
}
/// What is at `to` is replaced, in one step.
/// Source:   renameat(2); IORING_OP_RENAMEAT, Linux 5.11.
inline detail::PathCall rename(CText from, CText to) {
    detail::PathRequest request(detail::OpCode::renameat, from.checked_for("rename"));
    return detail::PathCall(request.with(to.checked_for("rename")));
}
/// The same, but File exists (EEXIST) where there is something at `to`.
/// Source:   renameat2(2), RENAME_NOREPLACE.
inline detail::PathCall rename_new(CText from, CText to) {
    constexpr std::uint32_t no_replace = 1;
    detail::PathRequest request(detail::OpCode::renameat, from.checked_for("rename"), no_replace);
    return detail::PathCall(request.with(to.checked_for("rename")));
}
/// A second name of a file.
/// Source:   linkat(2); IORING_OP_LINKAT, Linux 5.15.
inline detail::PathCall link(CText file, CText name) {
    detail::PathRequest request(detail::OpCode::linkat, file.checked_for("link"));
    return detail::PathCall(request.with(name.checked_for("link")));
}
/// A symbolic link at `name` that says `target`.
/// Source:   symlinkat(2); IORING_OP_SYMLINKAT, Linux 5.15.
inline detail::PathCall symlink(CText target, CText name) {
    detail::PathRequest request(detail::OpCode::symlinkat, target.checked_for("symlink"));
    return detail::PathCall(request.with(name.checked_for("symlink")));
}
/// What a symbolic link says.
/// Source:   readlink(2).
inline Coro<std::string> read_link(CText path) {
    return detail::link_target(path.checked_for("readlink"));
}
/// Of what a symbolic link leads to; `lstat`: of the link.
/// Source:   statx(2); IORING_OP_STATX, Linux 5.6.
inline detail::PathStat stat(CText path) { return detail::PathStat(path.checked_for("stat"), 0); }
inline detail::PathStat lstat(CText path) {
    return detail::PathStat(path.checked_for("stat"), AT_SYMLINK_NOFOLLOW);
}
/// Returns:  false: there is nothing, or a symbolic link that leads nowhere.
inline Coro<bool> exists(CText path) { return detail::path_exists(path.checked_for("stat")); }

}  // namespace files

#if WEFT_BODIES
namespace detail {

WEFT_INLINE Coro<bool> make_directories(std::string path, unsigned permissions) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    // Up to the first that is there, or can be made, and down again.
    std::size_t end = path.size();
    for (;;) {
        const std::string part = path.substr(0, end);
        PathRequest request(OpCode::mkdirat, part.c_str());
        const int made = co_await PathTry(request.with_mode(permissions));
        if (made == 0 || made == -EEXIST) {
            if (end == path.size()) {
                if (made == 0) co_return true;
                struct statx status {};
                const int known = co_await try_stat(path.c_str(), 0, AT_FDCWD, status);
                if (known < 0 || !S_ISDIR(status.stx_mode))
                    throw_system_error(EEXIST, concat({"mkdir ", in_quotes(path)}));
                co_return false;
            }
            end = std::min(path.find('/', end + 1), path.size());
            continue;
        }
        const std::size_t slash = part.rfind('/');
        if (made != -ENOENT || slash == std::string::npos || slash == 0)
            throw_system_error(-made, concat({"mkdir ", in_quotes(part)}));
        end = slash;
    }
}

WEFT_INLINE Coro<void> remove_path(std::string path) {
    const int removed = co_await PathTry(PathRequest(OpCode::unlinkat, path.c_str()));
    if (removed == 0) co_return;
    // (A directory; other systems say EPERM. What it is not, the other call says.)
    int error = removed;
    if (removed == -EISDIR || removed == -EPERM) {
        error = co_await PathTry(PathRequest(OpCode::unlinkat, path.c_str(), AT_REMOVEDIR));
        if (error == -ENOTDIR) error = removed;
    }
    if (error < 0) throw_system_error(-error, concat({"remove ", in_quotes(path)}));
}

WEFT_INLINE Coro<std::string> link_target(std::string path) {
    std::string text(256, '\0');
    for (;;) {
        const char* const at = path.c_str();
        char* const into = text.data();
        const std::size_t size = text.size();
        const int got = co_await blocking("readlink", -1, path, [at, into, size]() -> int {
            const ssize_t count = ::readlink(at, into, size);
            return count < 0 ? -errno : static_cast<int>(count);
        });
        const bool whole = static_cast<std::size_t>(got) < size;
        text.resize(whole ? static_cast<std::size_t>(got) : 2 * size);
        if (whole) co_return text;
    }
}

WEFT_INLINE Coro<bool> path_exists(std::string path) {
    struct statx status {};
    const int known = co_await try_stat(path.c_str(), 0, AT_FDCWD, status);
    if (known < 0 && known != -ENOENT && known != -ENOTDIR)
        throw_system_error(-known, concat({"stat ", in_quotes(path)}));
    co_return known >= 0;
}

}  // namespace detail
#endif

}  // namespace weft
