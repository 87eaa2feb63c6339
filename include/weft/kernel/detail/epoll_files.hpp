// SPDX-License-Identifier: MIT
// EpollFiles: operations on files, which epoll cannot wait for.
#pragma once

#include <cstdint>

#include "../operation.hpp"
#include "attempt.hpp"
#include "epoll_set.hpp"
#include "helper.hpp"

namespace weft::detail {

/// An attempt where there is one, else the helper threads.
///
/// Invariants: `busy` counts what the helper has and has not given back. Who has an operation
/// stands in its `backend_bits`: `state` is the helper's to write as long as it has it.
class EpollFiles {
public:
    EpollFiles(EpollSet& set, std::uint32_t& busy, std::uint64_t& kernel_entries) noexcept
        : set_(set), busy_(busy), entered_(kernel_entries) {}
    EpollFiles(const EpollFiles&) = delete;
    EpollFiles& operator=(const EpollFiles&) = delete;

    // Operation::backend_bits on this backend: who has it.
    static constexpr std::uint8_t waiting = 0;
    static constexpr std::uint8_t with_helper = 1;
    static constexpr std::uint8_t retracted = 2;  // complete, to be told in the next turn

    /// Regular files never block epoll and cannot be added to it: what is in the page cache is
    /// taken at once, the rest goes to the helper.
    int read_or_write(Operation& op, const FileTraits& file) noexcept {
        // (A read with O_DIRECT is not tried: it would wait for the device. Nor one of the file's
        // own position past those that wait for the helper: it may be theirs to move.)
        const bool tries = op.code == OpCode::read && op.flags != read_past_cache && !file.direct;
        return tries ? try_cached(op) : hand_over(op);
    }
    /// What files alone are asked for. (Vectors of theirs are tried if they say so.)
    int call(Operation& op) noexcept {
        const bool tries = op.code == OpCode::readv && (op.flags & read_cached_first) != 0;
        return tries ? try_cached(op) : hand_over(op);
    }

    int try_cached(Operation& op) noexcept {
        if (!op.at_own_position() || !helper_ || !helper_->uses_position(op.fd)) {
            ++entered_;
            const ssize_t got = read_cached(op);
            if (got >= 0) return static_cast<int>(got);
        }
        if (op.flags == read_cached_only) return -EAGAIN;
        if (op.flags == read_cached_first) op.flags = read_past_cache;
        return hand_over(op);
    }
    [[gnu::noinline]] int hand_over(Operation& op, bool waits_for_others = false) noexcept {
        if (!helper_) [[unlikely]] {
            const int error = begin_helper();
            if (error != 0) return -error;
        }
        op.backend_bits = with_helper;
        const int error = helper_->hand_over(op, waits_for_others);
        busy_ = helper_->count();
        return error == 0 ? would_block : -error;
    }

    /// True: it has not begun and never will.
    bool take_back(Operation& op) noexcept {
        const bool taken = helper_->take_back(op);
        busy_ = helper_->count();
        return taken;
    }

    /// Takes file operations on `fd` back from the helper into `ended`: they must not reach the
    /// next file under this number. True: one of them runs.
    bool end_all_on(int fd, OperationList& ended) noexcept {
        if (busy_ == 0) return false;
        OperationList taken;
        const bool running = helper_->end_all_on(fd, taken);
        busy_ = helper_->count();
        while (!taken.empty()) {
            Operation& op = taken.pop_front();
            op.backend_bits = retracted;
            op.result = -ECANCELED;
            ended.push_back(op);
        }
        return running;
    }
    /// Blocks until nothing runs on `fd`.
    void wait_for(int fd) noexcept { helper_->wait_for(fd); }

    /// Moves what is done to `finished`.
    void collect(OperationList& finished) noexcept {
        OperationList done;
        helper_->collect(done);
        busy_ = helper_->count();
        while (!done.empty()) {
            Operation& op = done.pop_front();
            op.backend_bits = retracted;
            finished.push_back(op);
        }
    }

private:
    [[gnu::cold]] int begin_helper() noexcept {
        const int error = file_support().make_helper(helper_);
        if (error != 0) return error;
        const int refused = set_.watch_helper(helper_->event_fd());
        if (refused != 0) helper_.reset();
        return refused;
    }

    EpollSet& set_;
    std::uint32_t& busy_;
    std::uint64_t& entered_;  // counts system calls
    HelperHolder helper_;
};

}  // namespace weft::detail
