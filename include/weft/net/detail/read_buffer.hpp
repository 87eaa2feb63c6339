// SPDX-License-Identifier: MIT
// ReadBuffer: what a stream has received and nobody has read.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include "../../base/buffer.hpp"
#include "../../base/config.hpp"
#include "../../base/std_parts.hpp"
#include "../../kernel/buffer_pool.hpp"

namespace weft::detail {

/// Bytes received and not read yet, in memory that is there as long as they are. (One pointer: an
/// idle stream has no more of it. Large memory stays until somebody waits who needs less: who reads
/// much at a time does so again.)
///
/// What arrived in a buffer that the loop has lent is read where it is. What is left of it when the
/// reader goes on is moved (`settle`): those buffers are few, and they are of the loop's thread.
class ReadBuffer {
public:
    ReadBuffer() noexcept = default;
    // (TLS keeps what it has not sent in such buffers, and takes them in turns.)
    ReadBuffer(ReadBuffer&& other) noexcept : memory_(std::exchange(other.memory_, nullptr)) {}
    ReadBuffer& operator=(ReadBuffer&& other) noexcept {
        std::swap(memory_, other.memory_);
        return *this;
    }
    ~ReadBuffer() {
        if (memory_) [[unlikely]]
            let_go();
    }

    std::size_t size() const noexcept { return memory_ ? memory_->end - memory_->begin : 0; }
    std::string_view view() const noexcept {
        return memory_ ? std::string_view(memory_->bytes() + memory_->begin, size())
                       : std::string_view();
    }
    void consume(std::size_t count) noexcept {
        if (!memory_) return;
        memory_->begin += count;
        if (size() == 0) return emptied();
        settle();
    }
    /// Free memory behind the data, at least `wanted` bytes of it.
    /// Throws:   std::bad_alloc.
    MutableBuffer room(std::size_t wanted);
    void received(std::size_t count) noexcept {
        memory_->end += count;
        if (size() == 0) emptied();
    }
    /// There is nothing in it, and nobody will use what memory it has.
    void rest() noexcept {
        if (memory_) [[unlikely]]
            let_go();
    }
    /// Takes over what has arrived in a buffer of the loop's.
    /// Throws:   std::bad_alloc, when there was something already: what has arrived is lost.
    void take(Block* arrived);
    /// No buffer of the loop's any more, if there is memory for that.
    void settle() noexcept {
        if (memory_ && memory_->lent) move_out();
    }

private:
    /// Right before the bytes: in front of the memory, or at the end of a block's own header.
    struct Memory {
        char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }
        Block* lent;
        std::size_t capacity;
        std::size_t begin;
        std::size_t end;
    };
    static Memory* make(std::size_t capacity);
    void emptied() noexcept {
        if (memory_->capacity <= Block::capacity) return let_go();
        memory_->begin = memory_->end = 0;
    }
    void let_go() noexcept;
    void move_out() noexcept;

    Memory* memory_ = nullptr;
};

#if WEFT_BODIES
WEFT_INLINE ReadBuffer::Memory* ReadBuffer::make(std::size_t capacity) {
    return ::new (::operator new(sizeof(Memory) + capacity)) Memory{nullptr, capacity, 0, 0};
}

[[gnu::noinline]] WEFT_INLINE void ReadBuffer::let_go() noexcept {
    Memory* const old = std::exchange(memory_, nullptr);
    if (old->lent) {
        old->lent->release();
    } else {
        ::operator delete(old);
    }
}

[[gnu::noinline]] WEFT_INLINE MutableBuffer ReadBuffer::room(std::size_t wanted) {
    const std::size_t there = size();
    const bool is_own = memory_ && !memory_->lent;
    if (is_own && memory_->capacity - memory_->end < wanted && memory_->begin > 0) {
        std::memmove(memory_->bytes(), view().data(), there);
        memory_->begin = 0;
        memory_->end = there;
    }
    if (!is_own || memory_->capacity - memory_->end < wanted) {
        const std::size_t twice = is_own ? 2 * memory_->capacity : 0;
        Memory* const larger = make(std::max(there + wanted, twice));
        if (there > 0) std::memcpy(larger->bytes(), view().data(), there);
        larger->end = there;
        if (memory_) let_go();
        memory_ = larger;
    }
    return {memory_->bytes() + memory_->end, memory_->capacity - memory_->end};
}

[[gnu::noinline]] WEFT_INLINE void ReadBuffer::take(Block* arrived) {
    static_assert(sizeof(Block) - offsetof(Block, end) - sizeof arrived->end >= sizeof(Memory));
    const std::size_t count = arrived->size();
    if (!memory_) [[likely]] {
        memory_ = ::new (arrived->memory() - sizeof(Memory))
            Memory{arrived, Block::capacity, arrived->begin, arrived->end};
        return;
    }
    const struct Release {
        ~Release() { block->release(); }
        Block* block;
    } release{arrived};
    std::memcpy(room(count).data(), arrived->data(), count);
    received(count);
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ReadBuffer::move_out() noexcept {
    try {
        Memory* const own = make(size());
        std::memcpy(own->bytes(), view().data(), size());
        own->end = size();
        let_go();
        memory_ = own;
    } catch (const std::bad_alloc&) {
        // Then it is kept until it was read.
    }
}
#endif

}  // namespace weft::detail
