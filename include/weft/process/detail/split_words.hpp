// SPDX-License-Identifier: MIT
// split_words: the words of a command, written as arguments, from the options behind them.
#pragma once

#include <concepts>
#include <string_view>
#include <type_traits>
#include <utility>

#include "../command.hpp"

namespace weft::detail {

template <class Options>
void split_words(Command&, Options&) noexcept {}
template <class Options, class First, class... Rest>
void split_words(Command& command, Options& options, First&& first, Rest&&... rest) {
    constexpr bool is_last = sizeof...(Rest) == 0;
    if constexpr (std::convertible_to<First, std::string_view>) {
        command.add(first);
    } else if constexpr (is_last && std::is_same_v<std::remove_cvref_t<First>, Options>) {
        options = std::forward<First>(first);
    } else {
        static_assert(std::is_void_v<First>,
                      "weft: the words of a command are texts, and its options come last");
    }
    split_words(command, options, std::forward<Rest>(rest)...);
}

}  // namespace weft::detail
