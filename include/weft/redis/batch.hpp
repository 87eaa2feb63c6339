// SPDX-License-Identifier: MIT
// redis::Batch: several commands that go out as one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "detail/pending.hpp"
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
        const std::string wire = detail::Wire::command(args...);
        wire_ += wire;
        ++size_;
        const detail::Mark mark = detail::mark_of(detail::first_word(wire));
        if (mark != detail::Mark::none && mark_ != detail::Mark::alters) mark_ = mark;
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
    detail::Mark mark() const noexcept { return mark_; }

private:
    std::string wire_;
    std::uint32_t size_ = 0;
    detail::Mark mark_ = detail::Mark::none;  // of all together
};

}  // namespace weft::redis
