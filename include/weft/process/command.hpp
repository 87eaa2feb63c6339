// SPDX-License-Identifier: MIT
// Command: a program and its arguments.
#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft {

/// What is to be run: `Command("git", "log", "-1")`, or words that are put together at run time.
/// The first one is the program; without a slash it is looked for along PATH. No shell sees any of
/// it, so nothing has to be quoted.
class Command {
public:
    template <std::convertible_to<std::string_view>... Words>
        requires(sizeof...(Words) > 0)
    explicit Command(const Words&... words) {
        words_.reserve(sizeof...(Words));
        (add(words), ...);
    }
    // NOLINTNEXTLINE(google-explicit-constructor): a list of words is a command.
    Command(std::vector<std::string> words) noexcept : words_(std::move(words)) {}

    void add(std::string_view word) { words_.emplace_back(word); }
    /// Empty without any word.
    std::string_view program() const noexcept {
        return words_.empty() ? std::string_view() : std::string_view(words_.front());
    }
    const std::vector<std::string>& words() const noexcept { return words_; }

private:
    std::vector<std::string> words_;
};

}  // namespace weft
