// SPDX-License-Identifier: MIT
// Element<T>: a T that can be moved from place to place without an exception.
#pragma once

#include <type_traits>
#include <utility>

#include "frame_allocator.hpp"
#include "owned.hpp"
#include "std_parts.hpp"

namespace weft::detail {

/// Queues move items between awaiters and their store, and some of these moves have nobody to throw
/// at (the item of a putter that waits moves when a getter makes room). A T whose move may throw
/// lives in a recycled block of its own, and the pointer moves: then T's own move runs twice, on
/// the way in and on the way out, where its owner hears of it.
template <class T, bool Inline = std::is_nothrow_move_constructible_v<T>>
class Element {
public:
    explicit Element(T&& value) noexcept : value_(std::move(value)) {}
    explicit Element(const T& value) : value_(value) {}
    T& operator*() noexcept { return value_; }
    const T& operator*() const noexcept { return value_; }

private:
    T value_;
};

template <class T>
class Element<T, false> {
    struct Block : Recycled {
        template <class U>
        explicit Block(U&& from) : value(std::forward<U>(from)) {}
        T value;
    };

public:
    explicit Element(T&& value) : block_(new Block(std::move(value))) {}
    explicit Element(const T& value) : block_(new Block(value)) {}
    T& operator*() noexcept { return block_->value; }
    const T& operator*() const noexcept { return block_->value; }

private:
    Owned<Block> block_;
};

}  // namespace weft::detail
