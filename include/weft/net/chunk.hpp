// SPDX-License-Identifier: MIT
// Chunk: received bytes in a buffer that the loop lends.
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>

#include "../kernel/buffer_pool.hpp"

namespace weft {

/// What `Stream::read_chunk` returns: up to 16 KiB, valid until the Chunk goes. Let go of it as
/// soon as the bytes are not needed any more: the next connection then receives into memory that is
/// still in the cache. Whoever wants to keep bytes for long copies them.
/// Lifetime: may outlive its stream, and its loop.
/// Thread:   the loop's.
class [[nodiscard]] Chunk {
public:
    /// The most that one holds.
    static constexpr std::size_t capacity = detail::Block::capacity;

    Chunk() noexcept {}
    explicit Chunk(detail::Block* block) noexcept : block_(block) {}
    Chunk(Chunk&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
    Chunk& operator=(Chunk&& other) noexcept {
        if (this != &other) {
            reset();
            block_ = std::exchange(other.block_, nullptr);
        }
        return *this;
    }
    ~Chunk() { reset(); }

    const char* data() const noexcept { return block_ ? block_->data() : nullptr; }
    std::size_t size() const noexcept { return block_ ? block_->size() : 0; }
    /// From `read_chunk`: the peer closed.
    bool empty() const noexcept { return block_ == nullptr; }
    std::string_view view() const noexcept { return {data(), size()}; }

    /// Gives the buffer back now.
    void reset() noexcept {
        if (block_) std::exchange(block_, nullptr)->release();
    }

private:
    detail::Block* block_ = nullptr;
};

}  // namespace weft
