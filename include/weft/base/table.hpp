// SPDX-License-Identifier: MIT
// Table<T>: a growing array of what is copied byte by byte, for a part of std::vector's compile
// time.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <type_traits>

namespace weft::detail {

/// The first `bytes` of the new memory are what the old had, the rest is zero. Null: there is no
/// memory, and the old is as it was.
[[gnu::cold, gnu::noinline]] inline void* grow_memory(void* old, std::size_t bytes,
                                                      std::size_t new_bytes,
                                                      std::align_val_t alignment) noexcept {
    void* const made = ::operator new(new_bytes, alignment, std::nothrow);
    if (!made) return nullptr;
    if (bytes > 0) std::memcpy(made, old, bytes);
    std::memset(static_cast<char*>(made) + bytes, 0, new_bytes - bytes);
    ::operator delete(old, alignment);
    return made;
}

/// A std::vector is some ten functions for each type, that all files of all users would compile.
/// New elements are zero bytes.
template <class T>
class Table {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

public:
    Table() noexcept = default;
    Table(const Table&) = delete;
    Table& operator=(const Table&) = delete;
    ~Table() { ::operator delete(first_, alignment); }

    bool empty() const noexcept { return size_ == 0; }
    std::size_t size() const noexcept { return size_; }
    T* begin() noexcept { return first_; }
    T* end() noexcept { return first_ + size_; }
    T& operator[](std::size_t index) noexcept { return first_[index]; }
    const T& operator[](std::size_t index) const noexcept { return first_[index]; }

    /// So that there is an `index`, and as many again as there are. False: no memory for that.
    [[nodiscard]] bool reach(std::size_t index) noexcept {
        if (index < size_) return true;
        const std::size_t wanted = index + 1 > 2 * size_ ? index + 1 : 2 * size_;
        if (wanted > room_ && !make_room(wanted)) return false;
        size_ = wanted;
        return true;
    }
    /// One more; what it is, is up to the caller.
    /// Throws:   std::bad_alloc.
    void add_one() {
        if (size_ == room_ && !make_room(room_ < least ? least : 2 * room_)) [[unlikely]]
            throw std::bad_alloc();
        ++size_;
    }
    void remove_last() noexcept { --size_; }
    /// To fewer; what is added later is not zero then.
    void shrink_to(std::size_t count) noexcept { size_ = count; }

private:
    static constexpr std::align_val_t alignment{alignof(T)};
    static constexpr std::size_t least = 4;

    bool make_room(std::size_t count) noexcept {
        void* const grown = grow_memory(first_, size_ * sizeof(T), count * sizeof(T), alignment);
        if (!grown) return false;
        first_ = static_cast<T*>(grown);
        room_ = count;
        return true;
    }

    T* first_ = nullptr;
    std::size_t size_ = 0;
    std::size_t room_ = 0;
};

}  // namespace weft::detail
