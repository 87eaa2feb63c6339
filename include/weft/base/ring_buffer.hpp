// SPDX-License-Identifier: MIT
// RingBuffer<E>: a double-ended queue in one block of memory, which grows as it has to.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include "std_parts.hpp"

namespace weft::detail {

/// std::deque allocates a block for every few items that pass through it, and costs every user's
/// compile a header of 2,000 lines. This one doubles when it is full: no allocation once it is as
/// large as it has to be.
template <class E>
class RingBuffer {
    static_assert(std::is_nothrow_move_constructible_v<E>, "wrap it in an Element");

public:
    RingBuffer() noexcept = default;
    RingBuffer(RingBuffer&& other) noexcept
        : slots_(std::exchange(other.slots_, nullptr)),
          capacity_(std::exchange(other.capacity_, 0)),
          head_(std::exchange(other.head_, 0)),
          tail_(std::exchange(other.tail_, 0)) {}
    RingBuffer& operator=(RingBuffer&&) = delete;
    ~RingBuffer() { release(); }

    bool empty() const noexcept { return head_ == tail_; }
    std::size_t size() const noexcept { return tail_ - head_; }
    std::size_t capacity() const noexcept { return capacity_; }
    E& operator[](std::size_t index) noexcept { return slot(head_ + index); }

    /// Throws:   std::bad_alloc; then `item` is untouched.
    void push_back(E&& item) {
        if (size() == capacity_) [[unlikely]]
            grow();
        std::construct_at(&slot(tail_), std::move(item));
        ++tail_;
    }
    void push_front(E&& item) {
        if (size() == capacity_) [[unlikely]]
            grow();
        std::construct_at(&slot(head_ - 1), std::move(item));
        --head_;
    }
    E pop_front() noexcept {
        E& place = slot(head_);
        E item(std::move(place));
        ++head_;
        std::destroy_at(&place);
        return item;
    }
    E pop_back() noexcept {
        E& place = slot(tail_ - 1);
        E item(std::move(place));
        --tail_;
        std::destroy_at(&place);
        return item;
    }

    /// Drops what is in it, and the memory too.
    void release() noexcept {
        while (!empty()) std::destroy_at(&slot(head_++));
        if (slots_) std::allocator<E>().deallocate(std::exchange(slots_, nullptr), capacity_);
        capacity_ = head_ = tail_ = 0;
    }

private:
    E& slot(std::size_t position) noexcept { return slots_[position & (capacity_ - 1)]; }

    [[gnu::cold, gnu::noinline]] void grow() {
        constexpr std::size_t first = 8;
        const std::size_t larger = capacity_ ? capacity_ * 2 : first;
        E* const fresh = std::allocator<E>().allocate(larger);
        const std::size_t count = size();
        for (std::size_t index = 0; index < count; ++index) {
            std::construct_at(fresh + index, std::move((*this)[index]));
            std::destroy_at(&(*this)[index]);
        }
        if (slots_) std::allocator<E>().deallocate(slots_, capacity_);
        slots_ = fresh;
        capacity_ = larger;
        head_ = 0;
        tail_ = count;
    }

    E* slots_ = nullptr;
    std::size_t capacity_ = 0;  // a power of two, or 0
    // Positions count on beyond the capacity and wrap around with their type: a power of two
    // divides that too.
    std::size_t head_ = 0;
    std::size_t tail_ = 0;
};

}  // namespace weft::detail
