// SPDX-License-Identifier: MIT
// A text of several statements is refused by every database in the same words.
#pragma once

#include <cstddef>
#include <string_view>

namespace weft::sql {

/// What the refusal says beside the database's own words. An attacker's text, pasted into a
/// statement, could append another one: so only `script`, which takes no parameters, carries out
/// several.
inline constexpr const char* one_statement = "of several statements: see script";

/// Does the text look as if several were meant?
[[gnu::cold]] inline bool looks_like_several(std::string_view text) noexcept {
    const std::size_t end = text.find(';');
    return end != text.npos && text.find_first_not_of("; \t\r\n", end) != text.npos;
}

}  // namespace weft::sql
