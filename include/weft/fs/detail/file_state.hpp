// SPDX-License-Identifier: MIT
// FileState: what a File and the operations on it share.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <utility>

#include "../../base/c_text.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../base/ref.hpp"
#include "../../kernel/operation.hpp"
#include "../../runtime/loop.hpp"

namespace weft::detail {

/// Whoever waits for an operation holds it, so the number stays open, and its text at hand, until
/// the last of them has ended.
struct FileState final : Counted<FileState> {
    explicit FileState(std::string name) : path(std::move(name)) {}

    /// Asks what kind of file was opened; an answer that is at hand, so this does not block.
    void look() noexcept;

    /// What an error names: the call and the path, or the number where there is no path.
    std::string text(std::string_view call) const;

    // --- Is it worth trying the page cache first? ---
    //
    // A try costs a fifth of a microsecond where it fails, and saves one where it does not. After a
    // failure the next reads do without: 1, 3, 7, ... up to 63, until one succeeds again. On the
    // ring several reads share an entry into the kernel, and that is cheaper than a call for each:
    // as long as there were several of them lately they are not tried.

    bool may_be_cached() noexcept {
        if (!regular || direct) return false;
        if (shares_entries && under_way > 0) {
            skipped_ = 63;
            return false;
        }
        if (skipped_ == 0) [[likely]]
            return true;
        --skipped_;
        return false;
    }
    void was_cached(bool hit) noexcept {
        if (hit) [[likely]] {
            penalty_ = 0;
            return;
        }
        penalty_ = static_cast<std::uint8_t>(penalty_ < 63 ? 2 * penalty_ + 1 : 63);
        skipped_ = penalty_;
    }

    Fd fd;
    std::string path;           // empty: unknown
    std::uint64_t size = 0;     // when it was opened: a hint
    std::uint32_t mode = 0;     // st_mode
    std::uint32_t block = 512;  // O_DIRECT: what memory, offset and length are multiples of
    bool regular = false;       // transfers are whole but at the end; or a block device
    bool direct = false;        // O_DIRECT
    bool appends = false;       // O_APPEND

    std::uint32_t under_way = 0;  // transfers that the backend has
    bool shares_entries = false;  // on the ring

    // Of transfers at the file's own position.
    OperationList line;  // wait until it is their turn
    bool position_in_use = false;
    bool leaving_position = false;

private:
    std::uint8_t penalty_ = 0;
    std::uint8_t skipped_ = 0;
};

#if WEFT_BODIES
[[gnu::noinline]] WEFT_INLINE void FileState::look() noexcept {
    // Linux 6.1; headers of before do not name it, nor the fields.
    constexpr unsigned direct_alignment = 0x2000;
    const EventLoop* const loop = EventLoop::running();
    shares_entries = loop && loop->backend_info().name == "uring";
    const int flags = ::fcntl(fd.get(), F_GETFL);
    direct = flags >= 0 && (flags & O_DIRECT) != 0;
    appends = flags >= 0 && (flags & O_APPEND) != 0;
    struct statx status {};
    constexpr int how = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    const unsigned what = STATX_TYPE | STATX_MODE | STATX_SIZE | (direct ? direct_alignment : 0);
    if (::statx(fd.get(), "", how, what, &status) == 0) {
        mode = status.stx_mode;
        size = status.stx_size;
    } else {
        // (A filter that is older than the call.)
        struct stat older {};
        if (::fstat(fd.get(), &older) != 0) return;
        mode = older.st_mode;
        size = static_cast<std::uint64_t>(older.st_size);
    }
    regular = S_ISREG(mode) || S_ISBLK(mode);
#ifdef STATX_DIOALIGN
    if (direct && (status.stx_mask & STATX_DIOALIGN) && status.stx_dio_offset_align > 0) {
        block = status.stx_dio_offset_align;
    }
#endif
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string FileState::text(std::string_view call) const {
    const std::string closed = fd ? "" : " (the file was closed)";
    if (path.empty()) return fd_text(call, fd.get()) + closed;
    return concat({call, " ", in_quotes(path), closed});
}
#endif

}  // namespace weft::detail
