// SPDX-License-Identifier: MIT
// The processors that this process may use.
#pragma once

#include <sched.h>

#include <cstddef>

namespace weft::detail {

/// As of now; a container or taskset(1) may allow fewer than the machine has. (Of more than 1,024
/// the first ones.)
class Cores {
public:
    [[gnu::cold]] Cores() noexcept {
        CPU_ZERO(&allowed_);
        if (::sched_getaffinity(0, sizeof allowed_, &allowed_) != 0) CPU_SET(0, &allowed_);
    }
    std::size_t count() const noexcept { return static_cast<std::size_t>(CPU_COUNT(&allowed_)); }
    /// The number of the `index`-th one; after the last comes the first again.
    int at(std::size_t index) const noexcept {
        index %= count();
        int core = 0;
        for (; core < CPU_SETSIZE - 1; ++core) {
            if (CPU_ISSET(static_cast<std::size_t>(core), &allowed_) && index-- == 0) break;
        }
        return core;
    }

private:
    cpu_set_t allowed_;
};

}  // namespace weft::detail
