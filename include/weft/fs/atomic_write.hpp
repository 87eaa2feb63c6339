// SPDX-License-Identifier: MIT
// atomic_write: a file's content is the old one or the new one, whatever happens.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <string>
#include <system_error>
#include <utility>

#include "../base/buffer.hpp"
#include "../base/c_text.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "../task/coro.hpp"
#include "detail/blocking_wait.hpp"
#include "detail/new_name.hpp"
#include "detail/passing_name.hpp"
#include "detail/path_wait.hpp"
#include "file.hpp"

namespace weft {

struct AtomicWriteOptions {
    /// Of the new file; 0: those of the file that it replaces, or 0666, as umask(2) leaves it.
    unsigned permissions = 0;
    /// Waits until content and name are on the device: after the await a loss of power does not
    /// bring the old content back. Without it the change is atomic for other processes alone.
    bool sync = true;
};

namespace detail {
Coro<void> replace_file(std::string path, ConstBuffer data, AtomicWriteOptions options);
}  // namespace detail

/// Makes `data` the content of the file at `path`: it is written into a temporary file in the same
/// directory, which then takes the name. Readers, and whoever comes after a crash, see the old
/// content or the new one, never a mixture. What was opened before keeps the old content; other
/// hard links do too; a symbolic link is replaced by the file. A device, a FIFO or a socket is not:
/// whoever is told to write into /dev/null must not take it from everybody.
/// Throws:   std::system_error naming the call and the path (EINVAL: no regular file);
///           CancelledError. Then the old content is there, but for one failure: `fsync` of the
///           directory, when the new content has the name and might lose it with the power.
/// Cancel:   the old content stays, and the temporary file is removed; or the new one is there and
///           the cancel strikes at the next suspension. A process that is killed may leave a file
///           `.NAME.XXXXXXXXXXXXXXXX.tmp` behind.
/// Lifetime: `data` outlives the await; `path` is copied.
/// Source:   openat(2), write(2), fdatasync(2), renameat(2), fsync(2) of the directory.
inline Coro<void> atomic_write(CText path, ConstBuffer data, AtomicWriteOptions options = {}) {
    return detail::replace_file(path.checked_for("open"), data, options);
}

#if WEFT_BODIES
namespace detail {

/// The new file looks like the one that it replaces. (Its owner as far as we may.)
inline Coro<void> take_after(weft::File& file, const struct statx& old, unsigned permissions) {
    const int fd = file.fd();
    const unsigned mode = permissions ? permissions : old.stx_mode & 07777U;
    const uid_t owner = old.stx_uid;
    const gid_t group = old.stx_gid;
    const bool existed = old.stx_mask != 0;
    co_await blocking("fchmod", fd, file.path(), [=]() -> int {
        if (existed && ::fchown(fd, owner, group) != 0 && ::fchown(fd, uid_t(-1), group) != 0) {
            // (Neither is ours to give away.)
        }
        return ::fchmod(fd, mode) == 0 ? 0 : -errno;
    });
}

/// There is no such file; or a symbolic link, which is replaced, leads nowhere.
inline bool is_absence(int error) noexcept {
    return error == ENOENT || error == ENOTDIR || error == ELOOP || error == EACCES ||
           error == ENAMETOOLONG;
}

inline Coro<void> write_and_rename(int folder, PassingName& temporary, const char* name,
                                   const std::string& path, ConstBuffer data,
                                   AtomicWriteOptions options) {
    struct statx old {};
    const int known = co_await try_stat(name, 0, folder, old);
    // Whoever cannot be asked may be there, and not for everybody to read.
    if (known < 0 && !is_absence(-known))
        throw_system_error(-known, concat({"stat ", in_quotes(path)}));
    if (known < 0) old.stx_mask = 0;
    if (known == 0 && !S_ISREG(old.stx_mode) && !S_ISDIR(old.stx_mode)) {
        struct statx itself {};
        (void)co_await try_stat(name, AT_SYMLINK_NOFOLLOW, folder, itself);
        // (A directory is refused by the rename.)
        if (!S_ISLNK(itself.stx_mode))
            throw_system_error(EINVAL,
                               concat({"rename to ", in_quotes(path), ": no regular file"}));
    }
    constexpr int how = O_WRONLY | O_CREAT | O_EXCL;
    Fd opened;
    int error = 0;
    // (From here on: a loop that goes meanwhile takes what was opened with it, and not its name.)
    temporary.made();
    try {
        opened = co_await OpenAt(folder, temporary.text(), how, known < 0 ? 0666 : 0600);
    } catch (const std::system_error& failure) {
        error = failure.code().value();
    }
    if (error != 0) {
        temporary.kept();
        throw_system_error(error, concat({"open a temporary file for ", in_quotes(path)}));
    }
    weft::File file(std::move(opened), path);
    if (known == 0 || options.permissions) co_await take_after(file, old, options.permissions);
    // (A cancel may leave the write at a part: then it strikes at the next await.)
    co_await file.write_at(data, 0);
    if (options.sync) co_await file.datasync();
    co_await file.close();
    PathRequest renaming(OpCode::renameat, temporary.text(), 0, folder);
    const int renamed = co_await PathTry(renaming.with(name, folder));
    if (renamed < 0) throw_system_error(-renamed, concat({"rename to ", in_quotes(path)}));
    temporary.kept();
}

WEFT_INLINE Coro<void> replace_file(std::string path, ConstBuffer data,
                                    AtomicWriteOptions options) {
    const std::size_t slash = path.rfind('/');
    const bool bare = slash == std::string::npos;
    const std::string above = bare ? std::string(".") : path.substr(0, slash + 1);
    const std::string name = path.substr(bare ? 0 : slash + 1);
    if (name.empty()) throw_system_error(EISDIR, concat({"open ", in_quotes(path)}));
    // Held open, so that it is the same one in every step.
    weft::File directory(co_await OpenAt(AT_FDCWD, above.c_str(), O_RDONLY | O_DIRECTORY), above);
    const int folder = directory.fd();
    PassingName temporary(folder, new_name(name));
    std::exception_ptr failure;
    try {
        co_await write_and_rename(folder, temporary, name.c_str(), path, data, options);
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) {
        co_await temporary.remove();
        std::rethrow_exception(failure);
    }
    if (options.sync) co_await directory.sync();
}

}  // namespace detail
#endif

}  // namespace weft
