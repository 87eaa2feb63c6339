// SPDX-License-Identifier: MIT
// CancelWay: a cancel on its way from task to task.
#pragma once

#include <cstdint>

namespace weft::detail {

class CancelWay;

/// A loop's, of which each may have led to the next.
class CancelWays {
public:
    /// The number of the innermost; 0: none is under way.
    std::uint32_t innermost() const noexcept;
    bool contains(std::uint32_t number) const noexcept;

private:
    friend class CancelWay;
    const CancelWay* top_ = nullptr;
    std::uint32_t count_ = 0;
};

/// For as long as the call lasts that passes it on. Whoever passes one on to several tasks
/// remembers the number: while that is under way, a cancel that comes to him has come back to where
/// it was before.
class CancelWay {
public:
    // Not inline: g++ warns of the pointer to a local, not seeing that it goes in time.
    [[gnu::noinline]] explicit CancelWay(CancelWays& ways) noexcept
        : ways_(ways), outer_(ways.top_), number_(++ways.count_) {
        ways.top_ = this;
    }
    CancelWay(const CancelWay&) = delete;
    CancelWay& operator=(const CancelWay&) = delete;
    ~CancelWay() { ways_.top_ = outer_; }

private:
    friend class CancelWays;
    CancelWays& ways_;
    const CancelWay* outer_;
    std::uint32_t number_;
};

inline std::uint32_t CancelWays::innermost() const noexcept { return top_ ? top_->number_ : 0; }
inline bool CancelWays::contains(std::uint32_t number) const noexcept {
    const CancelWay* at = top_;
    while (at && at->number_ != number) at = at->outer_;
    return at != nullptr;
}

}  // namespace weft::detail
