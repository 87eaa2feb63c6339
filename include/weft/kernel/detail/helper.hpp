// SPDX-License-Identifier: MIT
// Helper: what a backend knows of the helper threads, which only programs that use files have.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cassert>
#include <cstdint>

#include "../operation.hpp"

struct io_uring_sqe;

namespace weft::detail {

struct FileTraits;

class Helper;
class HelperHolder;

/// What the backends call for files alone: what they name themselves every program has, and this
/// would be a twentieth of the code of one that never opens a file. (A table and no virtual
/// functions: g++ would see the one class that has them, guess that it is meant, and compile it all
/// the same.)
struct FileSupport {
    /// 0, or an errno.
    int (*make_helper)(HelperHolder& into) noexcept;
    bool (*uses_position)(const Helper&, int fd) noexcept;
    int (*hand_over)(Helper&, Operation& op, bool waits_for_others) noexcept;
    bool (*take_back)(Helper&, Operation& op) noexcept;
    bool (*end_all_on)(Helper&, int fd, OperationList& ended) noexcept;
    void (*wait_for)(Helper&, int fd) noexcept;
    void (*collect)(Helper&, OperationList& finished) noexcept;
    void (*destroy)(Helper*) noexcept;
    /// A write as an attempt: what is neither a socket's message nor a regular file's.
    ssize_t (*write_some)(const Operation& op, const FileTraits& file) noexcept;
    /// As a submission to the ring: what is neither a plain read or write nor an open.
    void (*prepare)(io_uring_sqe& entry, const Operation& op) noexcept;
};

/// Null until somebody has asked for an operation on a file (`need_file_support`).
inline std::atomic<const FileSupport*> known_file_support{nullptr};

inline const FileSupport& file_support() noexcept {
    const FileSupport* const known = known_file_support.load(std::memory_order_relaxed);
    assert(known && "an operation on a file was made without need_file_support");
    return *known;
}

/// What moves or uses a file's own position goes one after the other, in the order in which it was
/// asked for, and a close comes after what runs on its number. Everything else may overtake.
class Helper {
public:
    Helper(const Helper&) = delete;
    Helper& operator=(const Helper&) = delete;

    /// How many operations it has.
    std::uint32_t count() const noexcept { return count_; }
    /// When this can be read from, `collect` has something.
    int event_fd() const noexcept { return event_fd_; }
    /// Does anything here use the file's own position?
    bool uses_position(int fd) const noexcept { return file_support().uses_position(*this, fd); }

    /// 0, or an errno: then it was not taken. A close that something runs on waits for that.
    int hand_over(Operation& op, bool waits_for_others) noexcept {
        return file_support().hand_over(*this, op, waits_for_others);
    }
    /// True: it has not begun and never will.
    bool take_back(Operation& op) noexcept { return file_support().take_back(*this, op); }
    /// Takes back what is on `fd` and has not begun, into `ended`: it must not reach the next file
    /// under this number. True: something runs.
    bool end_all_on(int fd, OperationList& ended) noexcept {
        return file_support().end_all_on(*this, fd, ended);
    }
    /// Blocks until nothing runs on `fd`.
    void wait_for(int fd) noexcept { file_support().wait_for(*this, fd); }
    /// Moves what is done (`result` set) to `finished`.
    void collect(OperationList& finished) noexcept { file_support().collect(*this, finished); }

protected:
    Helper() noexcept = default;
    ~Helper() = default;

    std::uint32_t count_ = 0;
    int event_fd_ = -1;
};

/// A backend's helper, or none.
class HelperHolder {
public:
    HelperHolder() noexcept = default;
    HelperHolder(const HelperHolder&) = delete;
    HelperHolder& operator=(const HelperHolder&) = delete;
    ~HelperHolder() { reset(); }

    explicit operator bool() const noexcept { return it_ != nullptr; }
    Helper* operator->() const noexcept { return it_; }
    void reset(Helper* made = nullptr) noexcept {
        if (it_) file_support().destroy(it_);
        it_ = made;
    }

private:
    Helper* it_ = nullptr;
};

}  // namespace weft::detail
