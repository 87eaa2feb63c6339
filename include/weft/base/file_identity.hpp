// SPDX-License-Identifier: MIT
// FileIdentity: tells whether a descriptor's number still means the same file.
#pragma once

#include <sys/stat.h>

namespace weft::detail {

/// Nobody needs to tell that he closes a number, which may then come again as another file.
/// (Eventfds and their like share one identity, so among these a newcomer is not told from the old
/// one.)
struct FileIdentity {
    friend bool operator==(const FileIdentity&, const FileIdentity&) noexcept = default;

    /// False, with errno: the number means no file.
    bool identify(int fd) noexcept {
        struct stat status {};
        if (::fstat(fd, &status) != 0) return false;
        device = status.st_dev;
        number = status.st_ino;
        return true;
    }

    dev_t device = 0;
    ino_t number = 0;
};

}  // namespace weft::detail
