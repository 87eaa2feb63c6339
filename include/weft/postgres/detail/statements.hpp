// SPDX-License-Identifier: MIT
// Statements: which texts have a prepared statement at the server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../../base/error.hpp"

namespace weft::postgres::detail {

/// A text that comes for the second time is prepared: what is made up for one occasion never is.
/// The one not used for longest goes when there are too many.
class Statements {
public:
    struct Entry {
        std::string name;  // at the server; empty while it is not prepared
        std::uint64_t used = 0;
    };

    explicit Statements(std::size_t most) noexcept : most_(most) {}

    /// Null: it is not to be prepared (yet).
    Entry* use(const std::string& text) {
        if (most_ == 0) return nullptr;
        ++clock_;
        if (const auto at = known_.find(text); at != known_.end()) {
            at->second.used = clock_;
            return &at->second;
        }
        if (known_.size() >= most_) forget_oldest();
        known_[text].used = clock_;
        return nullptr;
    }
    std::string next_name() {
        return weft::detail::concat({"weft_", weft::detail::decimal(++last_id_)});
    }
    void forget(const std::string& text) { known_.erase(text); }
    /// Names that the server is to be told of; empties the list.
    std::vector<std::string> take_forgotten() { return std::exchange(forgotten_, {}); }
    bool has_forgotten() const noexcept { return !forgotten_.empty(); }

private:
    void forget_oldest() {
        auto oldest = known_.begin();
        for (auto at = known_.begin(); at != known_.end(); ++at) {
            if (at->second.used < oldest->second.used) oldest = at;
        }
        if (!oldest->second.name.empty()) forgotten_.push_back(std::move(oldest->second.name));
        known_.erase(oldest);
    }

    std::unordered_map<std::string, Entry> known_;
    std::vector<std::string> forgotten_;
    std::size_t most_;
    std::uint64_t clock_ = 0;
    long long last_id_ = 0;
};

}  // namespace weft::postgres::detail
