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
    if constexpr (std::convertible_to<First, std::string_view>) {
        command.add(first);
    } else {
        static_assert(sizeof...(Rest) == 0 && std::is_same_v<std::remove_cvref_t<First>, Options>,
                      "weft: the words of a command are texts, and its options come last");
        options = std::forward<First>(first);
    }
    split_words(command, options, std::forward<Rest>(rest)...);
}

}  // namespace weft::detail
