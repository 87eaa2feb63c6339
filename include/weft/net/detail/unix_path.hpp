// SPDX-License-Identifier: MIT
// UnixPath: the file of a listening Unix socket, which goes with its server.
#pragma once

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

#include "../../base/config.hpp"
#include "../../base/fd.hpp"
#include "../address.hpp"

namespace weft::detail {

/// The file of a socket that was bound. Knows it again, so that what another process has put in its
/// place meanwhile stays.
class UnixPath {
public:
    UnixPath() noexcept = default;
    /// Nothing, for an address without a file.
    explicit UnixPath(const Address& address) noexcept;

    /// Removes it if it is still the same file, and this the process that made it.
    void remove() noexcept;

private:
    sockaddr_un address_{};  // whose path is empty when there is nothing to remove
    dev_t device_ = 0;
    ino_t inode_ = 0;
    pid_t maker_ = 0;
};

/// A C string, since the kernel takes no longer paths than leave room for the zero byte.
[[gnu::cold]] inline const char* path_of(const Address& address) noexcept {
    return address.family() == AF_UNIX
               ? reinterpret_cast<const sockaddr_un*>(address.data())->sun_path
               : "";
}

/// A file that a server has left behind which was killed: nobody listens there.
/// Returns:  whether it is gone now.
[[gnu::cold]] inline bool remove_if_left_over(const Address& address) {
    const char* const path = path_of(address);
    struct stat file;
    if (*path == '\0' || ::lstat(path, &file) != 0 || !S_ISSOCK(file.st_mode)) return false;
    const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!probe || ::connect(probe.get(), address.data(), address.size()) == 0) return false;
    return errno == ECONNREFUSED && ::unlink(path) == 0;
}
#if WEFT_BODIES
[[gnu::cold]] WEFT_INLINE UnixPath::UnixPath(const Address& address) noexcept {
    struct stat file;
    if (::lstat(path_of(address), &file) != 0 || !S_ISSOCK(file.st_mode)) return;
    address_ = *reinterpret_cast<const sockaddr_un*>(address.data());
    device_ = file.st_dev;
    inode_ = file.st_ino;
    maker_ = ::getpid();
}

[[gnu::cold]] WEFT_INLINE void UnixPath::remove() noexcept {
    struct stat file;
    if (address_.sun_path[0] != '\0' && maker_ == ::getpid() &&
        ::lstat(address_.sun_path, &file) == 0 && file.st_dev == device_ && file.st_ino == inode_) {
        ::unlink(address_.sun_path);
    }
    address_.sun_path[0] = '\0';
}
#endif

}  // namespace weft::detail
