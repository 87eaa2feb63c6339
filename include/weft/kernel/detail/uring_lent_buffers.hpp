// SPDX-License-Identifier: MIT
// LentBuffers: the buffers of a loop that the kernel may receive into.
#pragma once

#include <liburing.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "../../base/std_parts.hpp"
#include "../buffer_pool.hpp"
#include "../operation.hpp"
#include "uring_flags.hpp"
#include "uring_unix_ends.hpp"

namespace weft::detail {

/// Some buffers are lent to the kernel, in a ring of their own, and it takes one when data arrives:
/// an idle connection has none. The ring is a queue, so all that are in it are used in turn, and it
/// is kept so short that what is written into them stays in the cache. Who finds it empty (ENOBUFS)
/// is starved and tries again when buffers have come back.
///
/// Invariants: `lent_[number]` is not null exactly while the kernel has that buffer, and there are
/// `count_` of these; the numbers of the others are the first `most - count_` of `free_numbers_`.
class LentBuffers {
public:
    explicit LentBuffers(OwnedBufferPool& pool) noexcept : pool_(pool) {}
    LentBuffers(const LentBuffers&) = delete;
    LentBuffers& operator=(const LentBuffers&) = delete;
    /// After the end of the ring, which may still write into them.
    [[gnu::cold]] ~LentBuffers() {
        for (Block* const block : lent_) {
            if (block) block->release();
        }
        std::free(ring_);
    }

    /// False: the kernel has no such thing.
    [[gnu::cold]] bool set_up(io_uring& with) {
        void* memory = nullptr;
        constexpr std::size_t page = 4096;  // what the kernel wants it to be aligned to
        if (::posix_memalign(&memory, page, most * sizeof(io_uring_buf)) != 0) return false;
        std::memset(memory, 0, most * sizeof(io_uring_buf));
        io_uring_buf_reg how{};
        how.ring_addr = reinterpret_cast<std::uintptr_t>(memory);
        how.ring_entries = most;
        if (::io_uring_register_buf_ring(&with, &how, 0) != 0) {
            std::free(memory);
            return false;
        }
        ring_ = static_cast<io_uring_buf_ring*>(memory);
        for (std::uint32_t number = 0; number < most; ++number) {
            free_numbers_[number] = static_cast<std::uint16_t>(number);
        }
        return true;
    }

    /// Are there any on this kernel?
    explicit operator bool() const noexcept { return ring_ != nullptr; }
    bool are_short() const noexcept { return count_ < wanted_; }
    std::uint32_t count() const noexcept { return count_; }

    /// Fills the ring up. What readers hold counts, or their slowness would make the hot set grow;
    /// but what they held already when everybody starved (`held_for_long_`) does not.
    [[gnu::noinline]] void lend() noexcept {
        const std::uint32_t held = pool_.out() - count_;
        held_for_long_ = std::min(held_for_long_, held);
        const std::uint32_t enough = wanted_ - std::min(wanted_, held - held_for_long_);
        int added = 0;
        for (; count_ < enough; ++added) {
            Block* const block = pool_.take();
            if (!block) break;
            const std::uint16_t number = free_numbers_[most - ++count_];
            lent_[number] = block;
            ::io_uring_buf_ring_add(ring_, block->memory(), Block::capacity, number,
                                    static_cast<int>(most - 1), added);
        }
        if (added > 0) ::io_uring_buf_ring_advance(ring_, added);
    }

    /// The one that a completion names in its flags.
    Block& take(unsigned flags) noexcept {
        const auto number = static_cast<std::uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT);
        free_numbers_[most - count_--] = number;
        return *std::exchange(lent_[number], nullptr);
    }

    /// So much arrived in one.
    void count_bytes(std::uint32_t size) noexcept {
        average_size_ = average_size_ - average_size_ / 8 + size / 8;
    }

    void allow_multishot() noexcept { multishot_ = true; }

    /// Writes the submission of a pooled receive.
    void prepare(io_uring_sqe& entry, Operation& op, std::uint16_t poll_first) noexcept {
        std::memset(&entry, 0, sizeof entry);
        entry.opcode = IORING_OP_RECV;
        entry.fd = op.fd;
        if (op.flags == pooled_again_and_again) op.flags = kind_of_receive(op.fd);
        const bool stands = op.flags == receives_again;
        if (op.expect_wait && !stands) entry.ioprio = poll_first;
        if (!ring_) {
            entry.addr =
                reinterpret_cast<std::uintptr_t>(static_cast<Block*>(op.address)->memory());
            entry.len = Block::capacity;
            return;
        }
        begin();
        entry.flags = IOSQE_BUFFER_SELECT;
        if (stands) {
            entry.ioprio |= static_cast<std::uint16_t>(uring_recv_multishot);
        } else {
            entry.len = Block::capacity;
        }
    }

    enum class Supply : std::uint8_t { some, later, none };

    /// For those who starve. `stuck`: nothing else is going on. Later: readers hold them all. None:
    /// no memory.
    [[gnu::cold, gnu::noinline]] Supply supply(bool stuck) noexcept {
        // Few bytes in each: more buffers stay in the cache just as well.
        while (wanted_ < most && 2 * wanted_ * average_size_ <= hot_bytes) wanted_ *= 2;
        while (wanted_ > least && wanted_ * average_size_ > 2 * hot_bytes) wanted_ /= 2;
        lend();
        if (count_ == 0) {
            // Readers hold them all. If they do not get to run, or hold them for long, there must
            // be others: they may be waiting for just those who starve.
            if (!stuck && ++turns_without_ < patience_turns) return Supply::later;
            held_for_long_ = pool_.out();
            lend();
            if (count_ == 0) return Supply::none;
        }
        turns_without_ = 0;
        return Supply::some;
    }

private:
    /// Before the first receive.
    void begin() noexcept {
        if (wanted_ > 0) return;
        wanted_ = least;
        lend();
    }

    // Operation::flags of a pooled receive, asked for once: is it multishot?
    static constexpr std::uint32_t receives_once = pooled_once;
    static constexpr std::uint32_t receives_again = 2;

    /// TCP tells its end in any case; on Unix sockets the kernel is tried first.
    [[gnu::noinline]] std::uint32_t kind_of_receive(int fd) const noexcept {
        if (!ring_ || !multishot_) return receives_once;
        int family = 0;
        socklen_t size = sizeof family;
        if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) return receives_once;
        if (family == AF_INET || family == AF_INET6) return receives_again;
        return family == AF_UNIX && keeps_unix_ends() ? receives_again : receives_once;
    }

    static constexpr std::uint32_t most = 128;
    static constexpr std::uint32_t least = 64;
    static constexpr std::uint32_t hot_bytes = 1024 * 1024;
    static constexpr int patience_turns = 16;

    OwnedBufferPool& pool_;
    io_uring_buf_ring* ring_ = nullptr;
    std::uint32_t count_ = 0;   // the kernel has
    std::uint32_t wanted_ = 0;  // so many should be lent; 0 before the first receive
    std::uint32_t held_for_long_ = 0;
    std::uint32_t average_size_ = 0;  // of what arrives in one
    int turns_without_ = 0;
    bool multishot_ = false;
    std::uint16_t free_numbers_[most] = {};
    Block* lent_[most] = {};
};

}  // namespace weft::detail
