// SPDX-License-Identifier: MIT
// Where coroutine frames, tasks and callbacks live: a free list for each size, one set per thread.
#pragma once

#include <array>
#include <cstddef>
#include <new>

#include "config.hpp"

namespace weft {

/// Where the recycling allocator gets fresh blocks and returns them to. Replace it before the
/// first coroutine of the process is created (`set_frame_upstream`), for example with an arena.
struct FrameUpstream {
    void* (*allocate)(std::size_t size);                      ///< throws std::bad_alloc
    void (*release)(void* block, std::size_t size) noexcept;  ///< any thread
};

namespace detail {

/// May a result stand in a frame? Compilers lay a frame out for what is aligned more strictly than
/// operator new, and do not get it memory that is (g++ at all, clang at -O0).
template <class T>
inline constexpr bool fits_into_frame = alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__;
template <class T>
inline constexpr bool fits_into_frame<T&> = true;
template <class T>
inline constexpr bool fits_into_frame<T&&> = true;

inline constinit FrameUpstream frame_upstream{
    [](std::size_t size) { return ::operator new(size); },
    [](void* block, std::size_t) noexcept { ::operator delete(block); }};

/// Frames are of few sizes and die young, so a block goes back to the list of its size and is the
/// next one out, still in the cache. The classes are 16n + 8 bytes because that is what malloc
/// hands out without padding (its header is 8 bytes): a 112-byte frame in a 112-byte class would
/// take 128. A frame may die on another thread than it was made on: the block then simply changes
/// lists, since each one is an allocation of its own.
class FrameCache {
    struct Block {
        Block* next;
    };
    static constexpr std::size_t step = 16;
    static constexpr std::size_t largest = 1016;

    static constexpr std::size_t class_of(std::size_t size) noexcept { return (size + 7) / step; }
    static constexpr std::size_t size_of_class(std::size_t index) noexcept {
        return index * step + 8;
    }
    static constexpr std::size_t class_count = (largest + 7) / step + 1;

public:
    void* allocate(std::size_t size) {
        if (size <= largest) [[likely]] {
            Block*& head = free_[class_of(size)];
            if (Block* const block = head) [[likely]] {
                head = block->next;
                return block;
            }
        }
        return allocate_fresh(size);
    }

    /// Null: there is none.
    void* take_idle(std::size_t size) noexcept {
        if (size > largest) return nullptr;
        Block*& head = free_[class_of(size)];
        Block* const block = head;
        if (block) [[likely]]
            head = block->next;
        return block;
    }

    void release(void* memory, std::size_t size) noexcept {
        if (size > largest || closed_) [[unlikely]] {
            frame_upstream.release(memory, upstream_size(size));
            return;
        }
        Block*& head = free_[class_of(size)];
        head = ::new (memory) Block{head};
    }

    /// Returns every idle block upstream. Without it a thread keeps its peak.
    void trim() noexcept {
        for (std::size_t index = 0; index < class_count; ++index) {
            while (Block* const block = free_[index]) {
                free_[index] = block->next;
                frame_upstream.release(block, size_of_class(index));
            }
        }
    }
    /// The thread ends: frames that outlive its other statics go straight upstream.
    void close() noexcept {
        trim();
        closed_ = true;
    }

    /// What a block for `size` bytes really has.
    static constexpr std::size_t upstream_size(std::size_t size) noexcept {
        return size > largest ? size : size_of_class(class_of(size));
    }

private:
    [[gnu::cold]] void* allocate_fresh(std::size_t size);

    std::array<Block*, class_count> free_{};
    bool closed_ = false;
};

// Trivially destructible, and so free of the "is it constructed yet" check that every access to
// another thread_local pays for; the closer is constructed with the first fresh block.
inline constinit thread_local FrameCache frame_cache;

struct FrameCacheCloser {
    FrameCacheCloser() noexcept {}
    ~FrameCacheCloser() { frame_cache.close(); }
    void touch() noexcept {}
};
inline thread_local FrameCacheCloser frame_cache_closer;

[[gnu::cold]] inline void* FrameCache::allocate_fresh(std::size_t size) {
    frame_cache_closer.touch();
    return frame_upstream.allocate(upstream_size(size));
}

inline void* allocate_frame(std::size_t size) {
#if WEFT_ASAN
    // As large as a block of its class: a file of the program that was compiled without the
    // sanitizer may release it into the cache.
    return frame_upstream.allocate(FrameCache::upstream_size(size));
#else
    return frame_cache.allocate(size);
#endif
}

/// For who must not make a call on his way: null where `allocate_frame` would make one.
inline void* take_idle_frame(std::size_t size) noexcept {
#if WEFT_ASAN
    static_cast<void>(size);
    return nullptr;
#else
    return frame_cache.take_idle(size);
#endif
}

inline void release_frame(void* memory, std::size_t size) noexcept {
#if WEFT_ASAN
    frame_upstream.release(memory, FrameCache::upstream_size(size));
#else
    frame_cache.release(memory, size);
#endif
}

/// Base of everything that is allocated once per task or callback.
struct Recycled {
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        release_frame(memory, size);
    }
    // Results with an alignment of their own are rare and do not circulate.
    static void* operator new(std::size_t size, std::align_val_t alignment) {
        return ::operator new(size, alignment);
    }
    static void operator delete(void* memory, std::align_val_t alignment) noexcept {
        ::operator delete(memory, alignment);
    }
};

}  // namespace detail

/// Replaces where frames come from.
/// Lifetime: for the process; call before any coroutine exists.
inline void set_frame_upstream(FrameUpstream upstream) noexcept {
    detail::frame_upstream = upstream;
}

/// Gives this thread's idle frames back, for a program that keeps running after a burst.
inline void trim_frame_cache() noexcept { detail::frame_cache.trim(); }

}  // namespace weft
