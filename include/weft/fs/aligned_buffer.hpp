// SPDX-License-Identifier: MIT
// AlignedBuffer: memory that O_DIRECT takes.
#pragma once

#include <cassert>
#include <cstddef>
#include <new>
#include <string_view>
#include <utility>

#include "../base/buffer.hpp"

namespace weft {

/// Memory that begins at a multiple of `alignment` and is one long. For a file opened with
/// OpenMode::direct `file.alignment()` is what the memory, the offset and the length of a transfer
/// have to be multiples of; the default is one for all of them.
class [[nodiscard]] AlignedBuffer {
public:
    /// `size` is rounded up; `alignment` is a power of two.
    /// Throws:   std::bad_alloc.
    explicit AlignedBuffer(std::size_t size, std::size_t alignment = 4096)
        : size_((size + alignment - 1) / alignment * alignment), alignment_(alignment) {
        assert(alignment > 0 && (alignment & (alignment - 1)) == 0 && "no power of two");
        data_ = static_cast<char*>(::operator new(size_, std::align_val_t(alignment)));
    }
    AlignedBuffer(AlignedBuffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)),
          size_(std::exchange(other.size_, 0)),
          alignment_(other.alignment_) {}
    AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(alignment_, other.alignment_);
        return *this;
    }
    ~AlignedBuffer() { ::operator delete(data_, std::align_val_t(alignment_)); }

    // Contiguous, so it goes wherever a MutableBuffer or a ConstBuffer is asked for.
    char* data() noexcept { return data_; }
    const char* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

    /// `size` bytes from `from` on, for a transfer of a part.
    MutableBuffer part(std::size_t from, std::size_t size) noexcept {
        assert(from <= size_ && size <= size_ - from && "behind the end");
        return MutableBuffer(data_ + from, size);
    }
    /// The first `size` bytes.
    std::string_view text(std::size_t size) const noexcept {
        assert(size <= size_ && "behind the end");
        return std::string_view(data_, size);
    }

private:
    char* data_;
    std::size_t size_;
    std::size_t alignment_;
};

}  // namespace weft
