// SPDX-License-Identifier: MIT
// eager: a word for `gather(eager, ...)` and `task_group(eager, ...)`.
#pragma once

#include <cstdint>

namespace weft {

/// `gather(eager, ...)`, `all(eager, ...)`, `task_group(eager, ...)`: the children take their first
/// step where they are started, like asyncio's eager tasks.
struct Eager {
    explicit constexpr Eager() noexcept = default;
};
inline constexpr Eager eager{};

namespace detail {

enum class Start : std::uint8_t {
    queued,
    in_place,  // the first step is taken where the child is started
};

}  // namespace detail
}  // namespace weft
