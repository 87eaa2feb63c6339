// SPDX-License-Identifier: MIT
// Counts what a test program takes from the heap: replaces operator new, so one file may include
// it.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

#include <weft/task/coro.hpp>

namespace {

std::size_t allocations = 0;

void* counted(std::size_t size) {
    ++allocations;
    if (void* const block = std::malloc(size)) return block;
    throw std::bad_alloc();
}

/// Awaits `round()` until everything is warm, then counts what ten more rounds allocate.
template <class Round>
weft::Coro<std::size_t> allocations_of(Round& round) {
    for (int i = 0; i < 20; ++i) co_await round();
    const std::size_t before = allocations;
    for (int i = 0; i < 10; ++i) co_await round();
    co_return allocations - before;
}

}  // namespace

// The frames' upstream uses these too, unless the program replaces it. (Written out where they are
// called, g++ 12 takes them for a use after the free.)
[[gnu::noinline]] void* operator new(std::size_t size) { return counted(size); }
[[gnu::noinline]] void* operator new[](std::size_t size) { return counted(size); }
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block, std::size_t) noexcept { std::free(block); }
