// SPDX-License-Identifier: MIT
// FileInfo: what the file system knows of a file.
#pragma once

#include <sys/stat.h>

#include <cstdint>

#include "../base/clock.hpp"

namespace weft {

class FileInfo {
public:
    explicit FileInfo(const struct statx& status) noexcept : status_(status) {}

    std::uint64_t size() const noexcept { return status_.stx_size; }
    /// Bytes that it takes on the device: less than `size` where it has holes.
    std::uint64_t allocated() const noexcept { return status_.stx_blocks * 512; }

    bool is_file() const noexcept { return S_ISREG(status_.stx_mode); }
    bool is_directory() const noexcept { return S_ISDIR(status_.stx_mode); }
    bool is_symlink() const noexcept { return S_ISLNK(status_.stx_mode); }

    /// The bits of chmod(2).
    unsigned permissions() const noexcept { return status_.stx_mode & 07777U; }
    unsigned owner() const noexcept { return status_.stx_uid; }
    unsigned group() const noexcept { return status_.stx_gid; }
    unsigned links() const noexcept { return status_.stx_nlink; }

    /// Two are of the same file where these are equal.
    std::uint64_t inode() const noexcept { return status_.stx_ino; }
    std::uint64_t device() const noexcept {
        return static_cast<std::uint64_t>(status_.stx_dev_major) << 32 | status_.stx_dev_minor;
    }

    /// Since 1970.
    Duration modified() const noexcept { return since_1970(status_.stx_mtime); }
    Duration changed() const noexcept { return since_1970(status_.stx_ctime); }
    Duration accessed() const noexcept { return since_1970(status_.stx_atime); }
    /// 0 where the file system does not know.
    Duration created() const noexcept { return since_1970(status_.stx_btime); }

    const struct statx& native() const noexcept { return status_; }

private:
    static Duration since_1970(const struct statx_timestamp& time) noexcept {
        return Duration(time.tv_sec * 1'000'000'000 + time.tv_nsec);
    }

    struct statx status_;
};

}  // namespace weft
