// SPDX-License-Identifier: MIT
// TimerHeap: deadlines in a 4-ary heap; a timer knows its place, so that a cancel removes it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../base/clock.hpp"
#include "../base/table.hpp"

namespace weft::detail {

/// Lives in the frame or callback that waits. `on_due` queues; it never resumes in place.
struct Timer {
    using OnDue = void (*)(Timer&) noexcept;
    static constexpr std::uint32_t not_armed = ~std::uint32_t{0};

    struct Strikes {};
    static constexpr Strikes strikes{};

    explicit Timer(OnDue due) noexcept : on_due(due) {}
    /// A deadline, which strikes in `on_due` at once: callbacks that are due before it go first.
    Timer(OnDue due, Strikes) noexcept : on_due(due), waits_for_callbacks(true) {}
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    bool armed() const noexcept { return place != not_armed; }

    OnDue on_due;
    Nanoseconds deadline = 0;
    std::uint32_t place = not_armed;  // index in the heap
    bool waits_for_callbacks = false;
};

/// Four children a node: half the depth of a binary heap, and the four keys share a cache line or
/// two. Equal deadlines leave in the order in which they came (the sequence number decides).
class TimerHeap {
    struct Entry {
        Nanoseconds deadline;
        std::uint64_t sequence;
        Timer* timer;

        bool before(const Entry& other) const noexcept {
            return deadline != other.deadline ? deadline < other.deadline
                                              : sequence < other.sequence;
        }
    };

public:
    bool empty() const noexcept { return heap_.empty(); }
    std::size_t size() const noexcept { return heap_.size(); }
    Nanoseconds first_deadline() const noexcept { return heap_[0].deadline; }
    const Timer& first() const noexcept { return *heap_[0].timer; }
    /// Timers are numbered as they are set.
    std::uint64_t first_number() const noexcept { return heap_[0].sequence; }
    std::uint64_t next_number() const noexcept { return next_sequence_; }

    /// Throws:   std::bad_alloc; the timer is then not armed.
    void insert(Timer& timer, Nanoseconds deadline) {
        heap_.add_one();
        timer.deadline = deadline;
        sift_up(heap_.size() - 1, Entry{deadline, next_sequence_++, &timer});
    }

    void remove(Timer& timer) noexcept {
        const std::size_t hole = timer.place;
        timer.place = Timer::not_armed;
        const Entry last = heap_[heap_.size() - 1];
        heap_.remove_last();
        if (hole == heap_.size()) return;
        if (hole > 0 && last.before(heap_[parent_of(hole)])) {
            sift_up(hole, last);
        } else {
            sift_down(hole, last);
        }
    }

    Timer& pop() noexcept {
        Timer& first = *heap_[0].timer;
        remove(first);
        return first;
    }

    /// Takes out those that `is_wanted` picks, and calls their `on_due`, now and in no order.
    template <class IsWanted>
    [[gnu::cold]] void fire_if(IsWanted&& is_wanted) noexcept {
        std::size_t kept = 0;
        for (std::size_t index = 0; index < heap_.size(); ++index) {
            const Entry entry = heap_[index];
            if (is_wanted(*entry.timer)) {
                entry.timer->place = Timer::not_armed;
                entry.timer->on_due(*entry.timer);
            } else {
                place(kept++, entry);
            }
        }
        heap_.shrink_to(kept);
        for (std::size_t index = kept; index-- > 0;) sift_down(index, Entry(heap_[index]));
    }

    /// None of them is armed any more, and none is told.
    [[gnu::cold]] void forget_all() noexcept {
        for (const Entry& entry : heap_) entry.timer->place = Timer::not_armed;
        heap_.shrink_to(0);
    }

private:
    static std::size_t parent_of(std::size_t index) noexcept { return (index - 1) / 4; }

    void place(std::size_t index, const Entry& entry) noexcept {
        heap_[index] = entry;
        entry.timer->place = static_cast<std::uint32_t>(index);
    }

    void sift_up(std::size_t index, const Entry& entry) noexcept {
        while (index > 0) {
            const std::size_t parent = parent_of(index);
            if (!entry.before(heap_[parent])) break;
            place(index, heap_[parent]);
            index = parent;
        }
        place(index, entry);
    }

    void sift_down(std::size_t index, const Entry& entry) noexcept {
        const std::size_t count = heap_.size();
        for (;;) {
            const std::size_t first = 4 * index + 1;
            if (first >= count) break;
            const std::size_t end = first + 4 < count ? first + 4 : count;
            std::size_t least = first;
            for (std::size_t child = first + 1; child < end; ++child) {
                if (heap_[child].before(heap_[least])) least = child;
            }
            if (!heap_[least].before(entry)) break;
            place(index, heap_[least]);
            index = least;
        }
        place(index, entry);
    }

    Table<Entry> heap_;
    std::uint64_t next_sequence_ = 0;
};

}  // namespace weft::detail
