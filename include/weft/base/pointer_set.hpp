// SPDX-License-Identifier: MIT
// PointerSet: which addresses are in, in one table; taking one out never needs memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace weft::detail {

/// Open addressing with linear probing, at most half full. Removal moves the rest of the run up, so
/// there are no tombstones, and whoever takes one out can put another in without an allocation.
class PointerSet {
public:
    std::size_t size() const noexcept { return size_; }
    bool contains(const void* item) const noexcept {
        return !slots_.empty() && slots_[find(item)] == item;
    }
    void reserve(std::size_t items) {
        std::size_t wanted = 8;
        while (wanted / 2 < items) wanted *= 2;
        if (wanted <= slots_.size()) return;
        std::vector<const void*> old(wanted);
        old.swap(slots_);
        for (const void* const item : old) {
            if (item) slots_[find(item)] = item;
        }
    }
    /// `item` is not null and not in.
    void insert(const void* item) {
        reserve(size_ + 1);
        slots_[find(item)] = item;
        ++size_;
    }
    /// False when it was not in.
    bool erase(const void* item) noexcept {
        if (!contains(item)) return false;
        const std::size_t mask = slots_.size() - 1;
        std::size_t hole = find(item);
        for (std::size_t at = (hole + 1) & mask; slots_[at]; at = (at + 1) & mask) {
            // May move up unless its own place lies between the hole and where it is.
            if (((at - home(slots_[at])) & mask) >= ((at - hole) & mask)) {
                slots_[hole] = slots_[at];
                hole = at;
            }
        }
        slots_[hole] = nullptr;
        --size_;
        return true;
    }

private:
    std::size_t home(const void* item) const noexcept {
        const auto bits = reinterpret_cast<std::uintptr_t>(item);
        const std::uint64_t mixed = std::uint64_t{bits} * 0x9E3779B97F4A7C15U;  // 2^64 / phi
        return static_cast<std::size_t>(mixed >> 32) & (slots_.size() - 1);
    }
    /// Where it is, or would be.
    std::size_t find(const void* item) const noexcept {
        std::size_t at = home(item);
        while (slots_[at] && slots_[at] != item) at = (at + 1) & (slots_.size() - 1);
        return at;
    }

    std::vector<const void*> slots_;
    std::size_t size_ = 0;
};

}  // namespace weft::detail
