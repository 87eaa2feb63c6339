// SPDX-License-Identifier: MIT
// curl::Response: how a transfer has ended.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/clock.hpp"

namespace weft::curl {

/// What stands before the body. Redirects that were followed are not in it.
struct Head {
    int status = 0;     ///< 200, 404, ...; 0 where the protocol has none
    std::string url{};  ///< that has answered, behind all redirects
    std::vector<std::pair<std::string, std::string>> headers{};

    bool ok() const noexcept { return status < 400; }
    /// The first one of that name, in whatever case. Empty: there is none.
    std::optional<std::string_view> header(std::string_view name) const noexcept {
        for (const auto& [key, value] : headers) {
            if (same(key, name)) return value;
        }
        return std::nullopt;
    }

private:
    static bool same(std::string_view a, std::string_view b) noexcept {
        if (a.size() != b.size()) return false;
        const auto lower = [](char letter) {
            return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter + 32) : letter;
        };
        for (std::size_t index = 0; index < a.size(); ++index) {
            if (lower(a[index]) != lower(b[index])) return false;
        }
        return true;
    }
};

struct Response : Head {
    // User-provided: g++ 12 destroys aggregate temporaries of awaiting expressions twice.
    Response() noexcept {}
    explicit Response(Head of) noexcept : Head(std::move(of)) {}
    std::string body{};
    Duration elapsed{0};
    std::uint64_t downloaded = 0;
    std::uint64_t uploaded = 0;
    int redirects = 0;
};

}  // namespace weft::curl
