// SPDX-License-Identifier: MIT
// Environment: the environment variables that a child is to have.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../base/config.hpp"

#if WEFT_BODIES
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "../base/c_text.hpp"
#include "../base/error.hpp"
#endif

namespace weft {

/// A set of environment variables, empty at first. Changes nothing in this process.
class Environment {
public:
    Environment() noexcept {}
    /// A copy of this process's, to be changed.
    /// Thread:   any, but not while another thread changes it (setenv(3)).
    static Environment inherited();

    /// Throws:   std::system_error (EINVAL) for a name that is empty or has a '=', and for a zero
    ///           byte.
    Environment& set(std::string_view name, std::string_view value);
    Environment& unset(std::string_view name) noexcept;
    std::optional<std::string_view> get(std::string_view name) const noexcept;

    /// Each one as NAME=VALUE.
    const std::vector<std::string>& variables() const noexcept { return variables_; }

private:
    std::string* find(std::string_view name) noexcept;

    std::vector<std::string> variables_;
};

#if WEFT_BODIES
[[gnu::cold, gnu::noinline]] WEFT_INLINE Environment Environment::inherited() {
    Environment copy;
    for (const char* const* each = ::environ; each && *each; ++each)
        copy.variables_.emplace_back(*each);
    return copy;
}

[[gnu::cold]] WEFT_INLINE std::string* Environment::find(std::string_view name) noexcept {
    for (std::string& each : variables_) {
        const std::string_view text = each;
        if (text.size() > name.size() && text[name.size()] == '=' &&
            text.substr(0, name.size()) == name)
            return &each;
    }
    return nullptr;
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE Environment& Environment::set(std::string_view name,
                                                                       std::string_view value) {
    if (name.empty() || name.find('=') != std::string_view::npos) {
        detail::throw_system_error(
            EINVAL, detail::concat({"environment variable ", detail::in_quotes(name)}));
    }
    detail::refuse_zero_byte("environment variable", name);
    detail::refuse_zero_byte("environment variable", value);
    std::string line = detail::concat({name, "=", value});
    if (std::string* const there = find(name)) {
        there->swap(line);
    } else {
        variables_.push_back(std::move(line));
    }
    return *this;
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE Environment& Environment::unset(
    std::string_view name) noexcept {
    // (The inherited one may hold a name twice.)
    while (std::string* const there = find(name)) {
        if (there != &variables_.back()) there->swap(variables_.back());
        variables_.pop_back();
    }
    return *this;
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE std::optional<std::string_view> Environment::get(
    std::string_view name) const noexcept {
    const std::string* const there = const_cast<Environment*>(this)->find(name);
    if (!there) return std::nullopt;
    return std::string_view(*there).substr(name.size() + 1);
}
#endif

}  // namespace weft
