// SPDX-License-Identifier: MIT
// BufferPool: the loop's receive buffers, last returned first out, so that few of them stay hot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include "../base/config.hpp"

namespace weft::detail {

class BufferPool;

/// A buffer and what is in it; the bytes follow the header. As header and bytes together are one
/// cache line more than a power of two, the starts of buffers do not all fall on the same lines of
/// the cache.
struct alignas(64) Block {
    // 16 KiB, and what TLS puts around them: a record of the largest size is one receive.
    static constexpr std::uint32_t capacity = 16 * 1024 + 256;

    explicit Block(BufferPool* of) noexcept : pool(of) {}
    char* memory() noexcept { return reinterpret_cast<char*>(this + 1); }
    const char* data() const noexcept { return reinterpret_cast<const char*>(this + 1) + begin; }
    std::uint32_t size() const noexcept { return end - begin; }
    void fill(std::uint32_t count) noexcept {
        begin = 0;
        end = count;
    }

    /// Null: no memory.
    static Block* make(BufferPool* of) noexcept {
        void* const memory = ::operator new (sizeof(Block) + capacity,
                                             std::align_val_t{alignof(Block)}, std::nothrow);
        return memory ? ::new (memory) Block(of) : nullptr;
    }
    void destroy() noexcept { ::operator delete (this, std::align_val_t{alignof(Block)}); }
    /// Back to where it came from.
    void release() noexcept;

    BufferPool* pool;  // null: nobody's, it is freed
    Block* next = nullptr;
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
};

/// Lives as long as its owner (the backend) or the last of its blocks that is out: whoever holds
/// received data need not care whether the loop still exists.
/// Thread:   the loop's alone.
class BufferPool {
public:
    /// Throws:   std::bad_alloc.
    static BufferPool* make() { return new BufferPool; }
    BufferPool(const BufferPool&) = delete;
    BufferPool& operator=(const BufferPool&) = delete;

    /// The block that came back last, or a fresh one. Null: no memory.
    Block* take() noexcept {
        Block* block = free_;
        if (block) [[likely]] {
            free_ = block->next;
            --idle_;
        } else {
            block = Block::make(this);
            if (!block) return nullptr;
        }
        ++out_;
        return block;
    }
    void give_back(Block& block) noexcept {
        --out_;
        if (idle_ < most_idle && !closed_) [[likely]] {
            block.next = free_;
            free_ = &block;
            ++idle_;
            return;
        }
        block.destroy();
        if (closed_ && out_ == 0) delete this;
    }
    std::uint32_t out() const noexcept { return out_; }
    std::uint32_t idle() const noexcept { return idle_; }

    /// The owner goes.
    [[gnu::cold]] void close() noexcept {
        closed_ = true;
        while (free_) {
            Block* const block = free_;
            free_ = block->next;
            block->destroy();
        }
        if (out_ == 0) delete this;
    }

private:
    BufferPool() noexcept = default;
    ~BufferPool() = default;

#if WEFT_ASAN
    static constexpr std::uint32_t most_idle = 0;  // whoever keeps a pointer too long is seen
#else
    static constexpr std::uint32_t most_idle = 128;
#endif

    Block* free_ = nullptr;
    std::uint32_t idle_ = 0;
    std::uint32_t out_ = 0;
    bool closed_ = false;
};

/// A backend's pool, made when it is first needed.
class OwnedBufferPool {
public:
    OwnedBufferPool() = default;
    OwnedBufferPool(const OwnedBufferPool&) = delete;
    OwnedBufferPool& operator=(const OwnedBufferPool&) = delete;
    ~OwnedBufferPool() {
        if (pool_) pool_->close();
    }

    /// Null: no memory.
    Block* take() noexcept {
        if (!pool_) [[unlikely]] {
            try {
                pool_ = BufferPool::make();
            } catch (const std::bad_alloc&) {
                return nullptr;
            }
        }
        return pool_->take();
    }
    std::uint32_t out() const noexcept { return pool_ ? pool_->out() : 0; }

private:
    BufferPool* pool_ = nullptr;
};

inline void Block::release() noexcept {
    if (pool) [[likely]]
        pool->give_back(*this);
    else
        destroy();
}

}  // namespace weft::detail
