// SPDX-License-Identifier: MIT
// PriorityQueue<T>: a queue whose smallest item is the next one out, and the older of two equals.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "../base/element.hpp"
#include "../base/std_parts.hpp"
#include "../fwd.hpp"
#include "queue.hpp"

namespace weft {
namespace detail {
template <class T, class Compare>
class PriorityStore;
}  // namespace detail

/// The smallest item first, by `operator<` or `Compare` (a type without state); of equal ones the
/// one that was put first. Everything else as for Queue (see BasicQueue): tasks that wait are
/// served in the order in which they came.
template <class T, class Compare>
class PriorityQueue : public BasicQueue<T, detail::PriorityStore<T, Compare>> {
public:
    using BasicQueue<T, detail::PriorityStore<T, Compare>>::BasicQueue;
};

namespace detail {

/// std::less without <functional>.
struct Less {
    template <class T>
    constexpr bool operator()(const T& a, const T& b) const noexcept(noexcept(a < b)) {
        return a < b;
    }
};

/// A binary heap. Each change first compares, which is the user's code and may throw, and then
/// moves, which cannot: an exception finds the heap as it was.
template <class T, class Compare>
class PriorityStore {
    struct Entry {
        Element<T> item;
        std::int64_t age;  // among equal items: the smaller the older
    };

public:
    static constexpr bool push_is_safe =
        noexcept(Compare()(*static_cast<const T*>(nullptr), *static_cast<const T*>(nullptr)));

    bool empty() const noexcept { return heap_.empty(); }
    std::size_t size() const noexcept { return heap_.size(); }

    void push(Element<T>&& item) {
        insert(std::move(item), newest_ + 1);
        ++newest_;
    }
    void give_back(Element<T>&& item) {
        insert(std::move(item), oldest_ - 1);
        --oldest_;
    }
    Element<T> pop() noexcept(push_is_safe) {
        const std::size_t last = heap_.size() - 1;
        const std::uint64_t path = way_down(last);
        Element<T> item(std::move(heap_[0].item));
        std::size_t hole = 0;
        for (std::uint64_t turns = path; turns != 1; turns >>= 1) {
            const std::size_t child = 2 * hole + 1 + (turns & 1);
            move_entry(child, hole);
            hole = child;
        }
        if (hole != last) move_entry(last, hole);
        heap_.pop_back();
        return item;
    }

private:
    static bool before(const T& a, std::int64_t age_a, const T& b,
                       std::int64_t age_b) noexcept(push_is_safe) {
        const Compare less{};
        return less(a, b) || (age_a < age_b && !less(b, a));
    }
    bool before(std::size_t a, std::size_t b) const noexcept(push_is_safe) {
        return before(*heap_[a].item, heap_[a].age, *heap_[b].item, heap_[b].age);
    }

    void insert(Element<T>&& item, std::int64_t age) {
        if (heap_.size() == heap_.capacity()) {
            constexpr std::size_t first = 8;
            heap_.reserve(heap_.empty() ? first : heap_.size() * 2);
        }
        std::size_t place = heap_.size();
        while (place > 0) {
            const Entry& parent = heap_[(place - 1) / 2];
            if (!before(*item, age, *parent.item, parent.age)) break;
            place = (place - 1) / 2;
        }
        heap_.push_back(Entry{std::move(item), age});
        std::size_t hole = heap_.size() - 1;
        if (hole == place) return;
        Entry moving(std::move(heap_[hole]));
        for (; hole != place; hole = (hole - 1) / 2) move_entry((hole - 1) / 2, hole);
        std::destroy_at(&heap_[place]);
        std::construct_at(&heap_[place], std::move(moving));
    }

    /// The way that a hole takes from the top until the last entry fits into it: a bit for each
    /// step, the first step lowest (1: to the right), and a 1 on top of them.
    std::uint64_t way_down(std::size_t last) const noexcept(push_is_safe) {
        std::uint64_t path = 0;
        unsigned depth = 0;
        for (std::size_t hole = 0;; ++depth) {
            std::size_t child = 2 * hole + 1;
            if (child >= last) break;
            const bool right = child + 1 < last && before(child + 1, child);
            child += right ? 1 : 0;
            if (!before(child, last)) break;
            path |= std::uint64_t{right} << depth;
            hole = child;
        }
        return path | std::uint64_t{1} << depth;
    }

    // Entries need not be assignable.
    void move_entry(std::size_t from, std::size_t to) noexcept {
        std::destroy_at(&heap_[to]);
        std::construct_at(&heap_[to], std::move(heap_[from]));
    }

    std::vector<Entry> heap_;
    std::int64_t newest_ = 0;
    std::int64_t oldest_ = 0;
};

}  // namespace detail
}  // namespace weft
