// SPDX-License-Identifier: MIT
// Temporary files and directories, which go by themselves.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "../base/c_text.hpp"
#include "../base/config.hpp"
#include "../task/coro.hpp"
#include "detail/new_name.hpp"
#include "detail/passing_name.hpp"
#include "detail/path_wait.hpp"
#include "detail/remove_tree.hpp"
#include "file.hpp"

namespace weft {

/// A directory that is removed with everything in it.
///
///     weft::TemporaryDirectory scratch = co_await weft::temporary_directory();
///     co_await weft::write_file(scratch.file("data"), text);
///     co_await scratch.close();
///
/// Its destructor removes it too, but in place: the loop waits meanwhile.
class [[nodiscard]] TemporaryDirectory {
public:
    explicit TemporaryDirectory(std::string path) noexcept : path_(std::move(path)) {}
    TemporaryDirectory(TemporaryDirectory&& other) noexcept
        : path_(std::exchange(other.path_, std::string())) {}
    TemporaryDirectory& operator=(TemporaryDirectory&& other) noexcept {
        std::swap(path_, other.path_);
        return *this;
    }
    ~TemporaryDirectory() {
        if (!path_.empty()) detail::remove_tree_now(AT_FDCWD, path_.c_str());
    }

    /// Empty once it was closed, kept, or moved from.
    const std::string& path() const noexcept { return path_; }
    /// The path of `name` in it.
    std::string file(std::string_view name) const { return detail::concat({path_, "/", name}); }

    /// Removes it and what is in it. Idempotent.
    Coro<void> close();
    /// It stays.
    std::string keep() noexcept { return std::exchange(path_, std::string()); }

private:
    std::string path_;
};

namespace detail {
Coro<TemporaryDirectory> make_temporary_directory(std::string in);
Coro<weft::File> make_temporary_file(std::string in);
/// $TMPDIR, or /tmp.
std::string directory_for_temporaries();
}  // namespace detail

/// Makes one in `in`, or in $TMPDIR or /tmp; nobody else may look into it (0700).
/// Throws:   std::system_error (mkdir) naming the path; CancelledError.
inline Coro<TemporaryDirectory> temporary_directory() {
    return detail::make_temporary_directory(detail::directory_for_temporaries());
}
inline Coro<TemporaryDirectory> temporary_directory(CText in) {
    return detail::make_temporary_directory(in.checked_for("mkdir"));
}

/// Opens a file without a name, for reading and writing, which goes when it is closed.
/// Throws:   std::system_error (open) naming the directory; CancelledError.
/// Source:   open(2), O_TMPFILE; a name that is removed at once where a file system has none.
inline Coro<File> temporary_file() {
    return detail::make_temporary_file(detail::directory_for_temporaries());
}
inline Coro<File> temporary_file(CText in) {
    return detail::make_temporary_file(in.checked_for("open"));
}

#if WEFT_BODIES
WEFT_INLINE Coro<void> TemporaryDirectory::close() {
    if (path_.empty()) co_return;
    // (Cancelled in the midst of it: the destructor sees to the rest.)
    co_await detail::remove_tree(AT_FDCWD, path_, std::string());
    path_.clear();
}

namespace detail {

[[gnu::cold]] WEFT_INLINE std::string directory_for_temporaries() {
    const char* const named = ::getenv("TMPDIR");
    return named && *named ? named : "/tmp";
}

WEFT_INLINE Coro<TemporaryDirectory> make_temporary_directory(std::string in) {
    for (int tries = 0;; ++tries) {
        std::string path = concat({in, "/", std::string_view(new_name("weft")).substr(1)});
        PathRequest request(OpCode::mkdirat, path.c_str());
        const int made = co_await PathTry(request.with_mode(0700));
        if (made == 0) co_return TemporaryDirectory(std::move(path));
        if (made != -EEXIST || tries == 100)
            throw_system_error(-made, concat({"mkdir ", in_quotes(path)}));
    }
}

WEFT_INLINE Coro<weft::File> make_temporary_file(std::string in) {
    int error = 0;
    try {
        weft::File file = co_await open_into(Ref<FileState>(new FileState(in)),
                                             O_RDWR | O_TMPFILE | O_EXCL, 0600);
        co_return file;
    } catch (const std::system_error& failed) {
        error = failed.code().value();
        // EISDIR: the kernel does not know it. EOPNOTSUPP: the file system does not.
        if (error != EISDIR && error != EOPNOTSUPP && error != EINVAL) throw;
    }
    const std::string path = concat({in, "/", new_name("weft")});
    PassingName name(AT_FDCWD, path);
    name.made();  // (from here on: a loop may go in the midst of it)
    weft::File file(Fd(), path);
    try {
        file = co_await open_into(Ref<FileState>(new FileState(path)), O_RDWR | O_CREAT | O_EXCL,
                                  0600);
    } catch (const std::system_error&) {
        name.kept();  // (it is somebody else's, or not there)
        throw;
    }
    co_await name.remove();
    co_return file;
}

}  // namespace detail
#endif

}  // namespace weft
