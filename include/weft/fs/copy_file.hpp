// SPDX-License-Identifier: MIT
// files::copy: a file's content, copied by the kernel where it can.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include "../base/c_text.hpp"
#include "../base/config.hpp"
#include "../task/coro.hpp"
#include "detail/blocking_wait.hpp"
#include "file.hpp"

namespace weft {
namespace detail {
Coro<std::uint64_t> copy_file(Coro<weft::File> opening, std::string to);
}  // namespace detail

namespace files {

/// Copies the content and permissions of a file; what is at `to` is overwritten (a device is
/// written). When it fails or is cancelled a part may be there.
/// Returns:  bytes copied.
/// Throws:   std::system_error (open, copy_file_range, read, write) naming the path;
///           CancelledError, at the latest after 8 MiB more.
/// Lifetime: paths are copied.
/// Source:   copy_file_range(2), which shares blocks where the file system can, on a helper thread;
///           read and write where there is none.
inline Coro<std::uint64_t> copy(CText from, CText to) {
    return detail::copy_file(open_file(from), to.checked_for("open"));
}

}  // namespace files

#if WEFT_BODIES
namespace detail {

/// What `from` has from `done` on, by hand: for what the kernel does not copy.
inline Coro<std::uint64_t> copy_by_hand(weft::File& from, weft::File& to, std::uint64_t done) {
    std::string buffer(256 * 1024, '\0');
    for (;;) {
        const std::size_t got = co_await from.read_at(buffer, done);
        if (got == 0) co_return done;
        co_await to.write_at(ConstBuffer(buffer.data(), got), done);
        done += got;
    }
}

WEFT_INLINE Coro<std::uint64_t> copy_file(Coro<weft::File> opening, std::string to) {
    weft::File source = co_await std::move(opening);
    const FileInfo info = co_await source.stat();
    constexpr OpenMode mode = OpenMode::write | OpenMode::create;
    weft::File target = co_await open_file(to, mode, info.permissions());
    const FileInfo old = co_await target.stat();
    if (old.inode() == info.inode() && old.device() == info.device())
        throw_system_error(EINVAL, concat({"copy ", in_quotes(source.path()), " to itself"}));
    if (old.is_file()) {
        co_await target.truncate(0);
        // Before its content is there for whom it is not. (Of others' files they stay.)
        const int fd = target.fd();
        const unsigned wanted = info.permissions();
        co_await blocking("fchmod", fd, target.path(), [fd, wanted]() -> int {
            return ::fchmod(fd, wanted) == 0 || errno == EPERM ? 0 : -errno;
        });
    }
    constexpr std::size_t piece = 8 << 20;
    std::uint64_t done = 0;
    for (;;) {
        const int in = source.fd();
        const int out = target.fd();
        // (Its errors are values: most mean that it takes another way.)
        const int copied =
            co_await blocking("copy_file_range", in, target.path(), [in, out, done]() -> int {
                auto from_at = static_cast<off64_t>(done);
                auto to_at = static_cast<off64_t>(done);
                const ssize_t count = ::copy_file_range(in, &from_at, out, &to_at, piece, 0);
                if (count >= 0) return static_cast<int>(count);
                const bool is_real = errno == ENOSPC || errno == EDQUOT || errno == EFBIG ||
                                     errno == EIO || errno == EBADF;
                return is_real ? -errno : 0;
            });
        // (Files of the kernel's own seem to be empty until they are read.)
        if (copied == 0) break;
        done += static_cast<std::uint64_t>(copied);
    }
    done = co_await copy_by_hand(source, target, done);
    co_await target.close();
    co_await source.close();
    co_return done;
}

}  // namespace detail
#endif

}  // namespace weft
