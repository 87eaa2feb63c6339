// SPDX-License-Identifier: MIT
// AlignedBuffer: memory that O_DIRECT takes.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>
#include <utility>

#include "../base/buffer.hpp"
#include "../runtime/loop.hpp"

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
          alignment_(other.alignment_),
          serial_(std::exchange(other.serial_, 0)),
          number_(other.number_) {}
    AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(alignment_, other.alignment_);
        std::swap(serial_, other.serial_);
        std::swap(number_, other.number_);
        return *this;
    }
    ~AlignedBuffer() {
        unpin();
        ::operator delete(data_, std::align_val_t(alignment_));
    }

    /// Registers it with the running loop: transfers of a File that are given this buffer, and not
    /// a part of it, then cost less of the processor. For buffers that are used again and again.
    /// Returns:  false: not on this kernel or backend, or more than RLIMIT_MEMLOCK lets (epoll never
    ///           does). Nothing else changes then.
    /// Source:   io_uring_register_buffers_update_tag(3), Linux 5.19.
    bool pin() {
        EventLoop& loop = get_running_loop();
        unpin();
        number_ = loop.pin(data_, size_);
        if (number_ != 0) serial_ = loop.backend_serial();
        return number_ != 0;
    }
    /// Not while a transfer uses it. Done by the destructor, too.
    void unpin() noexcept {
        const std::uint8_t number = pinned();
        serial_ = 0;
        if (number != 0) EventLoop::running()->unpin(number);
    }
    /// The loop's number for it; 0: it is not registered with the one that runs.
    std::uint8_t pinned() const noexcept {
        if (serial_ == 0) [[likely]]
            return 0;
        const EventLoop* const loop = EventLoop::running();
        return loop && loop->backend_serial() == serial_ ? number_ : std::uint8_t{0};
    }

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
    std::uint64_t serial_ = 0;  // of the backend that has it registered
    std::uint8_t number_ = 0;
};

}  // namespace weft
