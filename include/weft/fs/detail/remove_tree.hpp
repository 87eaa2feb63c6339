// SPDX-License-Identifier: MIT
// remove_tree: a directory with everything in it, each name looked up in the open directory that it
// is in, so that nobody can lead it elsewhere.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "../../base/c_text.hpp"
#include "../../base/config.hpp"
#include "../../base/fd.hpp"
#include "../../task/coro.hpp"
#include "directory_reader.hpp"
#include "path_wait.hpp"

namespace weft::detail {

/// `name` in `folder`, which stands at `above` (for the texts of errors; with its slash).
/// Returns:  how many were removed.
Coro<std::uint64_t> remove_tree(int folder, std::string name, std::string above);

/// The same without a loop, for destructors: what cannot be removed stays.
void remove_tree_now(int folder, const char* name) noexcept;

#if WEFT_BODIES
[[noreturn, gnu::cold]] inline void throw_not_removed(int error, const std::string& path) {
    throw_system_error(-error, concat({"remove ", in_quotes(path)}));
}

inline Coro<std::vector<std::string>> names_in(DirectoryReader& reader) {
    std::vector<std::string> names;
    for (;;) {
        const bool more = co_await reader.fill();
        if (!more) co_return names;
        while (const dirent64* const entry = reader.take()) names.emplace_back(entry->d_name);
    }
}

WEFT_INLINE Coro<std::uint64_t> remove_tree(int folder, std::string name, std::string above) {
    const std::string path = above + name;
    const int removed = co_await PathTry(PathRequest(OpCode::unlinkat, name.c_str(), 0, folder));
    if (removed == 0) co_return 1;
    if (removed == -ENOENT) co_return 0;
    if (removed != -EISDIR && removed != -EPERM) throw_not_removed(removed, path);
    std::uint64_t count = 0;
    // (Who adds to it all the time keeps it.)
    for (int rounds = 0;; ++rounds) {
        int error = 0;
        Fd directory;
        try {
            directory = co_await OpenAt(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        } catch (const std::system_error& failed) {
            error = -failed.code().value();
        }
        if (error == -ENOENT) co_return count;
        if (error < 0) throw_not_removed(error == -ENOTDIR ? removed : error, path);
        DirectoryReader reader(std::move(directory), path);
        const std::vector<std::string> names = co_await names_in(reader);
        for (const std::string& each : names) {
            const std::uint64_t below = co_await remove_tree(reader.fd(), each, path + "/");
            count += below;
        }
        const int gone =
            co_await PathTry(PathRequest(OpCode::unlinkat, name.c_str(), AT_REMOVEDIR, folder));
        if (gone == 0) co_return count + 1;
        if (gone == -ENOENT) co_return count;
        if ((gone != -ENOTEMPTY && gone != -EEXIST) || rounds == 10) throw_not_removed(gone, path);
    }
}

[[gnu::cold]] WEFT_INLINE void remove_tree_now(int folder, const char* name) noexcept {
    if (::unlinkat(folder, name, 0) == 0 || (errno != EISDIR && errno != EPERM)) return;
    const int number = ::openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (number < 0) return;
    DIR* const directory = ::fdopendir(number);
    if (!directory) {
        ::close(number);
        return;
    }
    while (const dirent* const entry = ::readdir(directory)) {
        const std::string_view each = entry->d_name;
        if (each != "." && each != "..") remove_tree_now(number, entry->d_name);
    }
    ::closedir(directory);
    ::unlinkat(folder, name, AT_REMOVEDIR);
}
#endif

}  // namespace weft::detail
