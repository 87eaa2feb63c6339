// SPDX-License-Identifier: MIT
// Makes allocations fail on request: replaces operator new, so one file of a program may include
// it.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

/// So many allocations succeed, then so many fail, then all succeed.
struct Shortage {
    long after = 0;
    long failures = 0;
    long failed = 0;  // since it was set

    void set(long succeed, long fail) noexcept {
        after = succeed;
        failures = fail;
        failed = 0;
    }
    void end() noexcept { failures = 0; }
    bool strikes() noexcept {
        if (failures == 0 || after-- > 0) return false;
        after = 0;
        --failures;
        ++failed;
        return true;
    }
};
Shortage shortage;

void* allocate(std::size_t size) {
    void* const block = shortage.strikes() ? nullptr : std::malloc(size);
    if (!block) throw std::bad_alloc();
    return block;
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void* operator new(std::size_t size, std::align_val_t at) {
    const auto align = static_cast<std::size_t>(at);
    void* const block = shortage.strikes()
                            ? nullptr
                            : std::aligned_alloc(align, (size + align - 1) / align * align);
    if (!block) throw std::bad_alloc();
    return block;
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return shortage.strikes() ? nullptr : std::malloc(size);
}
void* operator new(std::size_t size, std::align_val_t at, const std::nothrow_t&) noexcept {
    const auto align = static_cast<std::size_t>(at);
    return shortage.strikes() ? nullptr
                              : std::aligned_alloc(align, (size + align - 1) / align * align);
}
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block, std::size_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::align_val_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
    std::free(block);
}
