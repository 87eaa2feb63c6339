// SPDX-License-Identifier: MIT
// EpollFiles: operations on files, which epoll cannot wait for.
#pragma once

#include <sys/uio.h>

#include <cerrno>
#include <cstdint>
#include <new>
#include <system_error>
#include <utility>

#include "../../base/owned.hpp"
#include "../../base/std_parts.hpp"
#include "../operation.hpp"
#include "attempt.hpp"
#include "epoll_set.hpp"
#include "helper_thread.hpp"

namespace weft::detail {

/// An attempt where there is one, else the helper thread, which works in order.
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
    int read_or_write(Operation& op) noexcept {
        // (Not past those that wait for the helper: the file's own position may be theirs to move.)
        if (op.code == OpCode::read && busy_ == 0) {
            const iovec piece{op.address, op.length};
            ++entered_;
            const ssize_t got =
                ::preadv2(op.fd, &piece, 1, static_cast<off_t>(op.offset), RWF_NOWAIT);
            // (Whatever it failed with: not in the cache, no such call on this kernel or file
            // system, refused by a filter. If it is the file's error, the helper gets it too.)
            if (got >= 0) return static_cast<int>(got);
        }
        return hand_over(op);
    }

    [[gnu::cold]] int hand_over(Operation& op) noexcept {
        if (!helper_) {
            try {
                Owned<HelperThread> helper(new HelperThread());
                const int error = set_.watch_helper(helper->event_fd());
                if (error != 0) return -error;
                helper_ = std::move(helper);
            } catch (const std::system_error& error) {
                return -error.code().value();
            } catch (const std::bad_alloc&) {
                return -ENOMEM;
            }
        }
        op.backend_bits = with_helper;
        ++busy_;
        helper_->submit(op);
        return would_block;
    }

    /// True: it has not begun and never will.
    bool take_back(Operation& op) noexcept {
        if (!helper_->take_back(op)) return false;
        --busy_;
        return true;
    }

    /// Takes file operations on `fd` back from the helper into `ended`: they must not reach the
    /// next file under this number. True: one of them runs.
    bool end_all_on(int fd, OperationList& ended) noexcept {
        if (busy_ == 0) return false;
        OperationList taken;
        const bool running = helper_->take_back_all(fd, taken);
        while (!taken.empty()) {
            Operation& op = taken.pop_front();
            --busy_;
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
        while (!done.empty()) {
            Operation& op = done.pop_front();
            --busy_;
            op.backend_bits = retracted;
            finished.push_back(op);
        }
    }

private:
    EpollSet& set_;
    std::uint32_t& busy_;
    std::uint64_t& entered_;  // counts system calls
    Owned<HelperThread> helper_;
};

}  // namespace weft::detail
