// SPDX-License-Identifier: MIT
// What is in a directory, and in those below it.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "../base/c_text.hpp"
#include "../base/config.hpp"
#include "../task/async_generator.hpp"
#include "detail/directory_reader.hpp"
#include "detail/path_wait.hpp"

namespace weft {

/// What `files::entries` and `files::walk` give.
class DirectoryEntry {
public:
    DirectoryEntry(std::string path, std::size_t name_size, unsigned char type) noexcept
        : path_(std::move(path)), name_size_(name_size), type_(type) {}

    /// The path that was given, a slash, and the name.
    const std::string& path() const noexcept { return path_; }
    std::string name() const { return path_.substr(path_.size() - name_size_); }

    // Of the entry itself: a symbolic link is one, wherever it leads to.
    bool is_file() const noexcept { return type_ == DT_REG; }
    bool is_directory() const noexcept { return type_ == DT_DIR; }
    bool is_symlink() const noexcept { return type_ == DT_LNK; }

private:
    std::string path_;
    std::size_t name_size_;
    unsigned char type_;
};

namespace detail {
AsyncGenerator<DirectoryEntry> list_directory(std::string path, bool goes_down);
}  // namespace detail

namespace files {

/// The entries of a directory, in the order of the file system, without "." and "..". Of what
/// comes and goes meanwhile some may be among them.
/// Throws:   from `next`: std::system_error (open, getdents) naming the path; CancelledError.
/// Source:   getdents64(2), on a helper thread.
inline AsyncGenerator<DirectoryEntry> entries(CText directory) {
    return detail::list_directory(directory.checked_for("open"), false);
}

/// Everything below a directory: each directory comes before what is in it. Symbolic links are not
/// followed. What vanishes meanwhile is left out.
inline AsyncGenerator<DirectoryEntry> walk(CText directory) {
    return detail::list_directory(directory.checked_for("open"), true);
}

}  // namespace files

#if WEFT_BODIES
namespace detail {

/// -errno, or the descriptor.
inline Coro<int> try_open_directory(const std::string& path, bool follows) {
    const int how = O_RDONLY | O_DIRECTORY | (follows ? 0 : O_NOFOLLOW);
    try {
        Fd opened = co_await OpenAt(AT_FDCWD, path.c_str(), how);
        co_return opened.release();
    } catch (const std::system_error& error) {
        co_return -error.code().value();
    }
}

WEFT_INLINE AsyncGenerator<DirectoryEntry> list_directory(std::string path, bool goes_down) {
    std::vector<std::string> directories(1, std::move(path));
    for (bool is_root = true; !directories.empty(); is_root = false) {
        std::string current = std::move(directories.back());
        directories.pop_back();
        const int opened = co_await try_open_directory(current, is_root);
        // (Gone, or something else by now.)
        if (!is_root && (opened == -ENOENT || opened == -ENOTDIR || opened == -ELOOP)) continue;
        if (opened < 0) throw_system_error(-opened, concat({"open ", in_quotes(current)}));
        DirectoryReader reader{Fd(opened), std::move(current)};
        for (;;) {
            const dirent64* const entry = reader.take();
            if (!entry) {
                const bool more = co_await reader.fill();
                if (!more) break;
                continue;
            }
            const std::size_t size = std::strlen(entry->d_name);
            unsigned char type = entry->d_type;
            const std::string& in = reader.path();
            std::string whole = concat({in, in.back() == '/' ? "" : "/", entry->d_name});
            if (type == DT_UNKNOWN) {
                struct statx status {};
                const int known =
                    co_await try_stat(whole.c_str(), AT_SYMLINK_NOFOLLOW, AT_FDCWD, status);
                if (known < 0) continue;
                type = static_cast<unsigned char>(IFTODT(status.stx_mode));
            }
            if (type == DT_DIR && goes_down) directories.push_back(whole);
            co_yield DirectoryEntry(std::move(whole), size, type);
        }
    }
}

}  // namespace detail
#endif

}  // namespace weft
