// SPDX-License-Identifier: MIT
// FileTransfer: what a read or write of a File waits on, however many calls it takes.
#pragma once

#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../../base/buffer.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/ref.hpp"
#include "../../kernel/file_support.hpp"
#include "../../kernel/operation.hpp"
#include "../../net/operation_wait.hpp"
#include "../../runtime/loop.hpp"
#include "file_state.hpp"

namespace weft::detail {

/// What the transfers of one buffer and of several have in common.
///
/// At the file's own position they go one after the other, in the line of the file. What is not
/// taken from the page cache at once is asked for at an explicit offset, and the position is set
/// when it is known how far it came: the position that io_uring leaves behind a write that is cut
/// short (a disk that is full) is that of before, seen on Linux 6.18.
class FileTransferWait : public OperationWait {
public:
    bool await_suspend(std::coroutine_handle<> handle) {
        task_ = &get_running_loop().suspend(handle, *this);
        if (task_->must_cancel) [[unlikely]]
            return strike_first();
        if (own_position_) {
            if (state_->position_in_use) return wait_in_line();
            state_->position_in_use = true;
        }
        if (!begin()) return true;
        task_->waiting_on = nullptr;
        return false;
    }
    inline TaskCore* cancel() noexcept override;
    inline WaitInfo describe() const noexcept override;
    std::size_t await_resume() const {
        check_leftover();
        // What was moved before a cancel is the answer to it.
        if (result < 0 && !(done_ > 0 && await_cancelled())) [[unlikely]]
            checked();
        return done_;
    }

    /// Those that wait for their turn at the position of a file that is closed.
    static void end_line(FileState& file) noexcept;

protected:
    FileTransferWait(OpCode op, FileState& file, std::uint64_t position) noexcept
        : OperationWait(op), state_(Ref<FileState>::to(file)) {
        need_file_support();
        on_complete = &part_moved;
        fd = file.fd.get();
        offset = position;
        own_position_ = position == current_position && file.regular;
        if (reads()) {
            flags = !file.may_be_cached() ? read_past_cache
                    : own_position_       ? read_cached_only
                                          : read_cached_first;
        }
    }
    ~FileTransferWait() {
        if (in_line_) unlink();
    }

    bool reads() const noexcept { return code == OpCode::read || code == OpCode::readv; }

    /// `moved` more bytes are done: makes the operation that of the rest.
    virtual void advance(std::size_t moved) noexcept = 0;

    Ref<FileState> state_;
    std::size_t total_ = 0;
    std::size_t done_ = 0;

private:
    bool wait_in_line() noexcept {
        in_line_ = true;
        state_->line.push_back(*this);
        return true;
    }

    /// True: it has ended, here.
    bool begin() noexcept {
        const std::uint32_t way = flags;
        if (own_position_ && way != read_cached_only && !find_position()) {
            end();
            return true;
        }
        const bool ended = task_->loop->start(*this);
        // (Told by the flags: the result is a helper thread's to write by now. And a loop may
        // postpone what has ended.)
        if (way == read_cached_first && reads()) state_->was_cached(flags == read_cached_first);
        if (ended && goes_on()) return true;
        ++state_->under_way;
        return false;
    }
    /// A part has ended. True: and with it the whole.
    bool goes_on() noexcept {
        while (continues()) {
            if (!task_->loop->start(*this)) {
                task_->waiting_on = this;
                return false;
            }
        }
        end();
        return true;
    }
    static void part_moved(Operation& op) noexcept {
        auto& self = static_cast<FileTransferWait&>(op);
        if (!self.goes_on()) return;
        --self.state_->under_way;
        self.task_->loop->wake(*self.task_);
    }

    bool continues() noexcept;
    bool find_position() noexcept;
    void end() noexcept {
        if (own_position_) leave_position();
    }
    void leave_position() noexcept;

    bool own_position_;
    bool in_line_ = false;
};

class [[nodiscard]] [[gnu::warn_unused]] FileTransfer final : public FileTransferWait {
public:
    FileTransfer(OpCode op, FileState& file, const void* data, std::size_t size,
                 std::uint64_t position, std::uint8_t pinned_memory) noexcept
        : FileTransferWait(op, file, position) {
        set_pinned(pinned_memory);
        address = const_cast<void*>(data);  // (of a write the kernel only reads it)
        length = transfer_length(size);
        total_ = size;
    }

private:
    void advance(std::size_t moved) noexcept override {
        address = static_cast<char*>(address) + moved;
        length = transfer_length(total_ - done_);
    }
};

/// Of several buffers. What is no regular file gets them one by one: only files know vectors on
/// every way to the kernel, and a pipe must not raise its signal.
class [[nodiscard]] [[gnu::warn_unused]] VectorTransfer final : public FileTransferWait {
public:
    VectorTransfer(OpCode op, FileState& file, std::vector<iovec> pieces,
                   std::uint64_t position) noexcept
        : FileTransferWait(op, file, position), pieces_(std::move(pieces)) {
        for (const iovec& piece : pieces_) total_ += piece.iov_len;
        if (!file.regular) code = op == OpCode::readv ? OpCode::read : OpCode::write;
        next_pieces(0);
    }

private:
    void advance(std::size_t moved) noexcept override { next_pieces(moved); }
    void next_pieces(std::size_t moved) noexcept;

    std::vector<iovec> pieces_;
    std::size_t first_ = 0;  // of those that are not done
};

/// Base of those that move no bytes: the call and the path.
class FileCallWait : public OperationWait {
public:
    FileCallWait(OpCode op, FileState& file) noexcept
        : OperationWait(op), state_(Ref<FileState>::to(file)) {
        need_file_support();
        fd = file.fd.get();
    }
    inline WaitInfo describe() const noexcept override {
        return {name_of(code), fd, nullptr, [](const Suspension& wait) {
                    const auto& self = static_cast<const FileCallWait&>(wait);
                    return self.state_->text(name_of(self.code));
                }};
    }

protected:
    ~FileCallWait() = default;

    Ref<FileState> state_;
};

/// sync, truncate, allocate: nothing comes back.
class [[nodiscard]] [[gnu::warn_unused]] FileCall final : public FileCallWait {
public:
    FileCall(OpCode op, FileState& file, std::uint64_t where, std::uint64_t size,
             std::uint32_t how) noexcept
        : FileCallWait(op, file) {
        offset = where;
        address = reinterpret_cast<void*>(static_cast<std::uintptr_t>(size));
        flags = how;
    }
    void await_resume() const { checked(); }
};

std::string text_of_transfer(const FileState& file, const Operation& op, std::size_t done,
                             std::size_t total);

inline WaitInfo FileTransferWait::describe() const noexcept {
    return {name_of(code), fd, nullptr, [](const Suspension& wait) {
                const auto& self = static_cast<const FileTransferWait&>(wait);
                return text_of_transfer(*self.state_, self, self.done_, self.total_);
            }};
}

inline TaskCore* FileTransferWait::cancel() noexcept {
    if (!in_line_) return OperationWait::cancel();
    in_line_ = false;
    unlink();
    asked_ = true;
    result = -ECANCELED;
    task_->loop->wake(*task_);
    return nullptr;
}

#if WEFT_BODIES
/// Books what was moved. True: the rest is to be moved now.
[[gnu::noinline]] WEFT_INLINE bool FileTransferWait::continues() noexcept {
    if (result < 0) [[unlikely]] {
        if (flags != read_cached_only || result != -EAGAIN || !reads()) return false;
        state_->was_cached(false);
        flags = read_past_cache;
        return find_position();
    }
    const auto moved = static_cast<std::size_t>(result);
    if (flags == read_cached_only && reads()) state_->was_cached(true);
    done_ += moved;
    if (offset != current_position) offset += moved;
    if (done_ == total_ || moved == 0) [[likely]]
        return false;
    if (reads()) {
        // Whatever is no file has a reader who waits for what there is. And with O_DIRECT less than
        // a block is the end of the file, behind which it could not be asked.
        if (!state_->regular || (state_->direct && moved % state_->block != 0)) return false;
        flags = read_past_cache;
    }
    if (asked_) return false;
    // Never the number as it was: the file may be closed by now, and somebody else's.
    fd = state_->fd.get();
    if (fd < 0) {
        result = -ECANCELED;
        return false;
    }
    advance(moved);
    return offset != current_position || !own_position_ || find_position();
}

/// False: there is none, and the result says why.
[[gnu::noinline]] WEFT_INLINE bool FileTransferWait::find_position() noexcept {
    if (state_->appends && !reads()) return true;  // it is the end, wherever that is by then
    const off_t at = ::lseek(fd, 0, SEEK_CUR);
    if (at < 0) result = -errno;
    if (at >= 0) offset = static_cast<std::uint64_t>(at);
    return at >= 0;
}

/// The position is where the transfer came to, and the next one's to use.
[[gnu::noinline]] WEFT_INLINE void FileTransferWait::leave_position() noexcept {
    FileState& file = *state_;
    const bool is_behind = offset != current_position && done_ > 0;
    if (is_behind && file.fd) ::lseek(fd, static_cast<off_t>(offset), SEEK_SET);
    file.position_in_use = false;
    // (Who ends here comes by once more and finds the line as it is.)
    if (file.leaving_position) return;
    file.leaving_position = true;
    while (!file.position_in_use && !file.line.empty()) {
        auto& waiter = static_cast<FileTransferWait&>(file.line.pop_front());
        waiter.in_line_ = false;
        waiter.fd = file.fd.get();
        file.position_in_use = true;
        if (waiter.begin()) waiter.task_->loop->wake(*waiter.task_);
    }
    file.leaving_position = false;
}

[[gnu::cold]] WEFT_INLINE void FileTransferWait::end_line(FileState& file) noexcept {
    while (!file.line.empty()) {
        auto& next = static_cast<FileTransferWait&>(file.line.pop_front());
        next.in_line_ = false;
        next.result = -ECANCELED;
        next.task_->loop->wake(*next.task_);
    }
}

WEFT_INLINE void VectorTransfer::next_pieces(std::size_t moved) noexcept {
    constexpr std::size_t most_pieces = 1024;  // IOV_MAX
    while (first_ < pieces_.size() && moved >= pieces_[first_].iov_len) {
        moved -= pieces_[first_].iov_len;
        ++first_;
    }
    if (first_ == pieces_.size()) return;
    iovec& piece = pieces_[first_];
    piece.iov_base = static_cast<char*>(piece.iov_base) + moved;
    piece.iov_len -= moved;
    if (code == OpCode::read || code == OpCode::write) {
        address = piece.iov_base;
        length = transfer_length(piece.iov_len);
    } else {
        address = &piece;
        length = static_cast<std::uint32_t>(std::min(pieces_.size() - first_, most_pieces));
    }
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE std::string text_of_transfer(const FileState& file,
                                                                      const Operation& op,
                                                                      std::size_t done,
                                                                      std::size_t total) {
    const auto number = [](std::uint64_t value) { return decimal(static_cast<long long>(value)); };
    std::string text = file.text(name_of(op.code));
    if (file.direct && op.result == -EINVAL) {
        const std::string block = number(file.block);
        const std::string at = op.offset == current_position
                                   ? std::string("its own position")
                                   : concat({"offset ", number(op.offset)});
        const auto memory = reinterpret_cast<std::uintptr_t>(op.address);
        return concat({text, ": misaligned for O_DIRECT: ", at, ", ", number(total - done),
                       " bytes, memory ", number(memory % 4096),
                       " bytes behind the begin of a page: each has to be a multiple of ", block,
                       " (see AlignedBuffer)"});
    }
    if (done == 0) return text;
    return concat({text, ": after ", number(done), " of ", number(total), " bytes"});
}
#endif

}  // namespace weft::detail
