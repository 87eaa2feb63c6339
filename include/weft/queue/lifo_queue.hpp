// SPDX-License-Identifier: MIT
// LifoQueue<T>: a queue whose newest item is the next one out.
#pragma once

#include <cstddef>
#include <utility>

#include "../base/element.hpp"
#include "../base/ring_buffer.hpp"
#include "queue.hpp"

namespace weft {
namespace detail {
template <class T>
class LifoStore;
}  // namespace detail

/// Last in, first out; everything else as for Queue (see BasicQueue). Tasks that wait are still
/// served in the order in which they came.
template <class T>
class LifoQueue : public BasicQueue<T, detail::LifoStore<T>> {
public:
    using BasicQueue<T, detail::LifoStore<T>>::BasicQueue;
};

namespace detail {

template <class T>
class LifoStore {
public:
    static constexpr bool push_is_safe = true;
    bool empty() const noexcept { return items_.empty(); }
    std::size_t size() const noexcept { return items_.size(); }
    void push(Element<T>&& item) { items_.push_back(std::move(item)); }
    Element<T> pop() noexcept { return items_.pop_back(); }
    void give_back(Element<T>&& item) { items_.push_back(std::move(item)); }

private:
    RingBuffer<Element<T>> items_;
};

}  // namespace detail
}  // namespace weft
