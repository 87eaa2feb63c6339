// SPDX-License-Identifier: MIT
// File: an open file, read and written without blocking the loop.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../base/buffer.hpp"
#include "../base/c_text.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "../base/ref.hpp"
#include "../kernel/operation.hpp"
#include "../net/io.hpp"
#include "../task/coro.hpp"
#include "aligned_buffer.hpp"
#include "detail/file_locks.hpp"
#include "detail/file_state.hpp"
#include "detail/file_transfer.hpp"
#include "detail/stat_wait.hpp"
#include "file_info.hpp"
#include "open_mode.hpp"

namespace weft {

/// Where `File::seek` counts from.
enum class Seek : unsigned char {
    begin,
    current,
    end,
};

/// Who else may have it: as many as like to share it, or one alone.
enum class FileLock : unsigned char {
    shared,
    exclusive,
};

/// An open file. Operations at an offset may go side by side; those at the file's own position go
/// one after the other. On io_uring the kernel does them; on epoll, and where a kernel has no
/// operation for it, a few helper threads do. What the page cache has is read at once on both.
///
/// A file that goes while operations are under way is closed behind the last of them.
///
/// Throws:   std::system_error naming the call and the path (`read "/etc/passwd": ...`), and how
///           far it came; RuntimeError for one that was moved from; CancelledError.
/// Cancel:   lossless: it did not happen, or its result is returned and the cancel strikes at the
///           next suspension. A transfer that has moved some bytes by then returns how many.
/// Lifetime: buffers outlive the await, a cancelled one included.
/// Thread:   loop thread only.
class [[nodiscard]] File {
public:
    /// A descriptor that was opened elsewhere; `path` is for the texts of errors.
    explicit File(Fd fd, std::string path = {});
    explicit File(detail::Ref<detail::FileState> state) noexcept : state_(std::move(state)) {}

    /// Reads at the file's own position until the buffer is full or the file at its end. (What is
    /// no regular file, a pipe or a terminal, gives what it has.)
    /// Returns:  bytes read; 0 at the end.
    /// Source:   read(2); IORING_OP_READ, Linux 5.6; preadv2(2) with RWF_NOWAIT for cached data.
    detail::FileTransfer read(MutableBuffer into) {
        return transfer(detail::OpCode::read, into.data(), into.size(), detail::current_position);
    }
    /// Reads at `offset` (bytes from the begin); the file's own position stays.
    detail::FileTransfer read_at(MutableBuffer into, std::uint64_t offset) {
        return transfer(detail::OpCode::read, into.data(), into.size(), detail::as_offset(offset));
    }
    /// Writes all of it at the file's own position (with OpenMode::append, at its end).
    /// Returns:  bytes written: all, unless a cancel came between.
    /// Throws:   also where a part was written: the text says how much ("after 512 of 4096 bytes").
    detail::FileTransfer write(ConstBuffer from) {
        return transfer(detail::OpCode::write, from.data(), from.size(), detail::current_position);
    }
    /// Writes all of it at `offset`; the file's own position stays.
    detail::FileTransfer write_at(ConstBuffer from, std::uint64_t offset) {
        return transfer(detail::OpCode::write, from.data(), from.size(), detail::as_offset(offset));
    }

    // (The same with a buffer that may be registered: see AlignedBuffer::pin.)
    detail::FileTransfer read(AlignedBuffer& into) {
        return transfer(detail::OpCode::read, into.data(), into.size(), detail::current_position,
                        into.pinned());
    }
    detail::FileTransfer read_at(AlignedBuffer& into, std::uint64_t offset) {
        return transfer(detail::OpCode::read, into.data(), into.size(), detail::as_offset(offset),
                        into.pinned());
    }
    detail::FileTransfer write(const AlignedBuffer& from) {
        return transfer(detail::OpCode::write, from.data(), from.size(), detail::current_position,
                        from.pinned());
    }
    detail::FileTransfer write_at(const AlignedBuffer& from, std::uint64_t offset) {
        return transfer(detail::OpCode::write, from.data(), from.size(), detail::as_offset(offset),
                        from.pinned());
    }

    /// The same with several buffers, one after the other (readv(2), writev(2)): `pieces` is any
    /// contiguous range of them (MutableBuffer; for writing also of texts) and needs to live for
    /// the call alone.
    template <class Pieces>
    detail::VectorTransfer readv(const Pieces& pieces) {
        return transfer_all<MutableBuffer>(detail::OpCode::readv, pieces, detail::current_position);
    }
    template <class Pieces>
    detail::VectorTransfer readv_at(const Pieces& pieces, std::uint64_t offset) {
        return transfer_all<MutableBuffer>(detail::OpCode::readv, pieces,
                                           detail::as_offset(offset));
    }
    template <class Pieces>
    detail::VectorTransfer writev(const Pieces& pieces) {
        return transfer_all<ConstBuffer>(detail::OpCode::writev, pieces, detail::current_position);
    }
    template <class Pieces>
    detail::VectorTransfer writev_at(const Pieces& pieces, std::uint64_t offset) {
        return transfer_all<ConstBuffer>(detail::OpCode::writev, pieces, detail::as_offset(offset));
    }

    /// Moves the file's own position. Does not wait. Not while a transfer at that position is under
    /// way: it may come before it or after.
    /// Returns:  the new position, from the begin.
    /// Source:   lseek(2).
    std::uint64_t seek(std::int64_t offset, Seek from = Seek::begin);
    std::uint64_t position() { return seek(0, Seek::current); }

    /// Makes it exactly this long: what is behind goes, what is missing reads as zeros.
    /// Source:   ftruncate(2); IORING_OP_FTRUNCATE, Linux 6.9.
    detail::FileCall truncate(std::uint64_t size) {
        return detail::FileCall(detail::OpCode::ftruncate, state(), size, 0, 0);
    }
    /// Takes the room for `size` bytes at `offset` on the device now, so that writing there does
    /// not fail later for want of it. The file grows, if need be.
    /// Source:   fallocate(2); IORING_OP_FALLOCATE, Linux 5.6.
    detail::FileCall allocate(std::uint64_t offset, std::uint64_t size) {
        return detail::FileCall(detail::OpCode::fallocate, state(), offset, size, 0);
    }
    /// Waits until data and metadata are on the device.
    /// Source:   fsync(2); IORING_OP_FSYNC, Linux 5.1.
    detail::FileCall sync() { return detail::FileCall(detail::OpCode::fsync, state(), 0, 0, 0); }
    /// The same without metadata that reading does not need.
    /// Source:   fdatasync(2).
    detail::FileCall datasync() {
        return detail::FileCall(detail::OpCode::fsync, state(), 0, 0, 1);
    }
    /// Source:   statx(2); IORING_OP_STATX, Linux 5.6.
    detail::FileStat stat() { return detail::FileStat(state()); }

    /// Waits until it has the file's advisory lock, which holds until `unlock`, or until the last
    /// descriptor of this opening is closed. Who has the one kind and asks for the other gives the
    /// first up, and may wait. Tried again every 10 ms: the kernel tells nobody without blocking
    /// him.
    /// Cancel:   lossless: after a cancel it is not held, or the await returns.
    /// Source:   flock(2).
    Coro<void> lock(FileLock kind = FileLock::exclusive);
    /// Returns:  false: somebody else has it.
    Coro<bool> try_lock(FileLock kind = FileLock::exclusive);
    Coro<void> unlock();

    /// Ends what waits on it (ECANCELED) and closes. Idempotent.
    /// Cancel:   runs to its end all the same.
    Coro<void> close();

    bool is_open() const noexcept { return state_ && state_->fd; }
    /// -1: closed, or moved from.
    int fd() const noexcept { return state_ ? state_->fd.get() : -1; }
    /// As it was given; empty for one that has none.
    const std::string& path() const { return state().path; }
    /// What `AlignedBuffer`, offset and length are multiples of with OpenMode::direct.
    std::size_t alignment() const { return state().block; }
    /// How long it was when it was opened.
    std::uint64_t size_hint() const { return state().size; }

private:
    detail::FileState& state() const {
        if (!state_) [[unlikely]]
            detail::throw_runtime_error("weft: the File is empty: it was moved from");
        return *state_;
    }
    detail::FileTransfer transfer(detail::OpCode code, const void* data, std::size_t size,
                                  std::uint64_t offset, std::uint8_t pinned_memory = 0) {
        return detail::FileTransfer(code, state(), data, size, offset, pinned_memory);
    }
    template <class Buffer, class Pieces>
    detail::VectorTransfer transfer_all(detail::OpCode code, const Pieces& pieces,
                                        std::uint64_t offset) {
        std::vector<iovec> vectors;
        vectors.reserve(pieces.size());
        for (std::size_t index = 0; index < pieces.size(); ++index) {
            const Buffer piece(pieces.data()[index]);
            vectors.push_back(iovec{const_cast<void*>(piece.data()), piece.size()});
        }
        return detail::VectorTransfer(code, state(), std::move(vectors), offset);
    }

    detail::Ref<detail::FileState> state_;
};

namespace detail {
Coro<weft::File> open_into(Ref<FileState> state, int flags, unsigned permissions);
}  // namespace detail

/// Opens a file.
/// Throws:   std::system_error (open), at once for a path with a zero byte inside.
/// Cancel:   lossless: a file that was opened all the same is closed.
/// Lifetime: `path` is copied.
/// Source:   openat(2); IORING_OP_OPENAT, Linux 5.6. `permissions` as umask(2) leaves them.
inline Coro<File> open_file(CText path, OpenMode mode = OpenMode::read,
                            unsigned permissions = 0666) {
    return detail::open_into(
        detail::Ref<detail::FileState>(new detail::FileState(path.checked_for("open"))),
        mode.flags(), permissions);
}

#if WEFT_BODIES
[[gnu::noinline]] WEFT_INLINE File::File(Fd fd, std::string path)
    : state_(new detail::FileState(std::move(path))) {
    state_->fd = std::move(fd);
    state_->look();
}

[[gnu::noinline]] WEFT_INLINE std::uint64_t File::seek(std::int64_t offset, Seek from) {
    constexpr int whence[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    const off_t at = ::lseek(state().fd.get(), offset, whence[static_cast<unsigned>(from)]);
    if (at < 0) detail::throw_system_error(errno, state().text("seek"));
    return static_cast<std::uint64_t>(at);
}

WEFT_INLINE Coro<weft::File> detail::open_into(Ref<FileState> state, int flags,
                                               unsigned permissions) {
    state->fd = co_await io::open(state->path, flags, permissions);
    state->look();
    co_return weft::File(std::move(state));
}

WEFT_INLINE Coro<bool> File::try_lock(FileLock kind) {
    return detail::lock_once(detail::Ref<detail::FileState>::to(state()), kind == FileLock::shared);
}
WEFT_INLINE Coro<void> File::lock(FileLock kind) {
    return detail::lock_in_time(detail::Ref<detail::FileState>::to(state()),
                                kind == FileLock::shared);
}
WEFT_INLINE Coro<void> File::unlock() {
    return detail::unlock(detail::Ref<detail::FileState>::to(state()));
}
WEFT_INLINE Coro<void> File::close() {
    return detail::close_file(detail::Ref<detail::FileState>::to(state()));
}
#endif

}  // namespace weft
