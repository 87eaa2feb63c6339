// SPDX-License-Identifier: MIT
// OpenMode: how a file is opened.
#pragma once

#include <fcntl.h>

namespace weft {

/// `OpenMode::write | OpenMode::create | OpenMode::truncate`. Files are always close-on-exec.
class OpenMode {
public:
    /// Any flags of open(2).
    explicit constexpr OpenMode(int flags) noexcept
        : reads_((flags & O_ACCMODE) != O_WRONLY),
          writes_((flags & O_ACCMODE) != O_RDONLY),
          others_(flags & ~O_ACCMODE) {}

    static const OpenMode read;
    static const OpenMode write;
    static const OpenMode read_write;
    static const OpenMode append;      ///< writes go to the end, wherever that is by then
    static const OpenMode create;      ///< if there is none
    static const OpenMode create_new;  ///< File exists (EEXIST) if there is one
    static const OpenMode truncate;    ///< what was in it goes
    static const OpenMode direct;      ///< past the page cache: see AlignedBuffer
    static const OpenMode no_follow;   ///< a symbolic link is an error (ELOOP)
    static const OpenMode data_sync;   ///< a write ends when the device has it, as with `datasync`

    /// What open(2) takes. With neither `read` nor `write` it is for reading.
    constexpr int flags() const noexcept {
        return others_ | (!writes_ ? O_RDONLY : reads_ ? O_RDWR : O_WRONLY);
    }

    friend constexpr OpenMode operator|(OpenMode a, OpenMode b) noexcept {
        return OpenMode(a.reads_ || b.reads_, a.writes_ || b.writes_, a.others_ | b.others_);
    }
    friend constexpr bool operator==(OpenMode a, OpenMode b) noexcept {
        return a.flags() == b.flags();
    }

private:
    constexpr OpenMode(bool reads, bool writes, int others) noexcept
        : reads_(reads), writes_(writes), others_(others) {}

    bool reads_;
    bool writes_;
    int others_;
};

inline constexpr OpenMode OpenMode::read{true, false, 0};
inline constexpr OpenMode OpenMode::write{false, true, 0};
inline constexpr OpenMode OpenMode::read_write{true, true, 0};
inline constexpr OpenMode OpenMode::append{false, true, O_APPEND};
inline constexpr OpenMode OpenMode::create{false, false, O_CREAT};
inline constexpr OpenMode OpenMode::create_new{false, false, O_CREAT | O_EXCL};
inline constexpr OpenMode OpenMode::truncate{false, false, O_TRUNC};
inline constexpr OpenMode OpenMode::direct{false, false, O_DIRECT};
inline constexpr OpenMode OpenMode::no_follow{false, false, O_NOFOLLOW};
inline constexpr OpenMode OpenMode::data_sync{false, false, O_DSYNC};

}  // namespace weft
