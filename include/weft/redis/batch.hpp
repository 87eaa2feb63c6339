// SPDX-License-Identifier: MIT
// redis::Batch: several commands that go out as one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "detail/wire.hpp"

namespace weft::redis {

/// What `Client::send` and `Client::transact` take.
///
///     weft::redis::Batch batch;
///     batch.add("INCR", "visits").add("EXPIRE", "visits", 60);
class Batch {
public:
    Batch() noexcept {}
    /// Texts, numbers, and containers of these.
    template <detail::AnyArgument... Args>
    Batch& add(const Args&... args) & {
        wire_ += detail::Wire::command(args...);
        ++size_;
        return *this;
    }
    template <detail::AnyArgument... Args>
    Batch&& add(const Args&... args) && {
        return std::move(add(args...));
    }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    /// As it goes over the wire.
    const std::string& wire() const noexcept { return wire_; }

private:
    std::string wire_;
    std::uint32_t size_ = 0;
};

}  // namespace weft::redis
