// SPDX-License-Identifier: MIT
// The reads of a stream that take several receives: lengths, lines, separators, everything.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/buffer.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/owned.hpp"
#include "../../base/ref.hpp"
#include "../../base/std_parts.hpp"
#include "../../task/coro.hpp"
#include "stream_fill.hpp"
#include "stream_state.hpp"

namespace weft::detail {

/// What a read may end with; empty ones do not count. (The others apart: most reads have one, and
/// it is in their frame for as long as they wait.)
class Separators {
public:
    static constexpr std::size_t most = 8;

    // User-provided: g++ 12 destroys aggregate temporaries of awaiting expressions twice.
    explicit Separators(std::string_view only) noexcept : first_(only) {}
    /// Throws:   std::bad_alloc.
    template <class... Text>
        requires(sizeof...(Text) != 1)
    explicit Separators(const Text&... text)
        : others_(new std::string_view[sizeof...(Text)]{std::string_view(text)...}),
          count_(sizeof...(Text)) {}
    Separators(Separators&& other) noexcept
        : first_(other.first_), others_(std::move(other.others_)), count_(other.count_) {}

    const std::string_view* begin() const noexcept { return others_ ? others_.get() : &first_; }
    const std::string_view* end() const noexcept { return begin() + count_; }

private:
    std::string_view first_;
    Owned<std::string_view[]> others_;
    std::size_t count_ = 1;
};

// On the state, which each of these holds: the Stream itself may move or go while it waits.

Coro<void> read_into(Ref<StreamState> held, MutableBuffer into);
Coro<std::string> read_count(Ref<StreamState> held, std::size_t count);
Coro<std::string> read_through(Ref<StreamState> held, Separators separators);
Coro<std::string> read_to_end(Ref<StreamState> held, std::size_t limit);

#if WEFT_BODIES
inline constexpr std::size_t smallest_receive = 4096;
inline constexpr std::size_t most_ahead = 64 * 1024;

/// A read of several receives whose stream is closed between two of them ends like one that waits.
inline void go_on(const StreamState& stream) {
    if (stream.is_closed()) [[unlikely]]
        throw_system_error(ECANCELED, "recv on a stream that was closed meanwhile");
}

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_incomplete(StreamState& stream,
                                                                    std::size_t count) {
    throw IncompleteReadError(stream.take(stream.buffer.size()), count, stream.read_text());
}
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_overrun(StreamState& stream,
                                                                 std::size_t limit,
                                                                 std::string_view wanted) {
    stream.buffer.settle();
    throw LimitOverrunError(limit, stream.read_text(), wanted);
}

inline Coro<void> fill(StreamState& stream, std::size_t count) {
    for (bool began = false; stream.buffer.size() < count; began = true) {
        if (began) go_on(stream);
        // Memory for what comes, and not for what a peer has announced.
        const std::size_t missing = count - stream.buffer.size();
        const std::size_t room = std::min(missing, std::max(stream.buffer.size(), most_ahead));
        const bool alive = co_await StreamFill(stream, std::max(room, smallest_receive));
        if (!alive) throw_incomplete(stream, count);
    }
}

WEFT_INLINE Coro<void> read_into(Ref<StreamState> held, MutableBuffer into) {
    StreamState& stream = *held;
    co_await fill(stream, into.size());
    if (into.size() == 0) co_return;
    std::memcpy(into.data(), stream.buffer.view().data(), into.size());
    stream.buffer.consume(into.size());
}

WEFT_INLINE Coro<std::string> read_count(Ref<StreamState> held, std::size_t count) {
    StreamState& stream = *held;
    co_await fill(stream, count);
    co_return stream.take(count);
}

/// Where the separator that ends first begins and ends; npos: there is none.
struct FoundSeparator {
    std::size_t begin = std::string_view::npos;
    std::size_t end = std::string_view::npos;
};

/// No separator ends within the first `searched` bytes.
inline FoundSeparator find_separator(std::string_view data, std::size_t searched,
                                     const Separators& separators) noexcept {
    FoundSeparator first;
    for (const std::string_view separator : separators) {
        if (separator.empty()) continue;
        // It may be cut in two by the end of what has been searched.
        const std::size_t from = searched - std::min(searched, separator.size() - 1);
        const std::size_t at = data.substr(0, first.end).find(separator, from);
        if (at == std::string_view::npos) continue;
        first.begin = at;
        first.end = at + separator.size();
    }
    return first;
}

WEFT_INLINE Coro<std::string> read_through(Ref<StreamState> held, Separators separators) {
    StreamState& stream = *held;
    std::size_t longest = 0;
    for (const std::string_view each : separators) longest = std::max(longest, each.size());
    if (longest == 0) throw_runtime_error("read_until: the separator is empty");
    constexpr const char* wanted = "no separator";
    std::size_t searched = 0;
    for (bool began = false;; began = true) {
        const std::string_view data = stream.buffer.view();
        const FoundSeparator found = find_separator(data, searched, separators);
        if (found.end != std::string_view::npos) {
            if (found.begin > stream.limit) throw_overrun(stream, stream.limit, wanted);
            co_return stream.take(found.end);
        }
        // (What may be the first part of a separator does not count.)
        if (data.size() - std::min(data.size(), longest - 1) > stream.limit) {
            throw_overrun(stream, stream.limit, wanted);
        }
        if (began) go_on(stream);
        searched = data.size();
        const bool alive = co_await StreamFill(stream, smallest_receive);
        if (alive) continue;
        if (stream.buffer.size() == 0) co_return std::string();
        throw_incomplete(stream, 0);
    }
}

WEFT_INLINE Coro<std::string> read_to_end(Ref<StreamState> held, std::size_t limit) {
    StreamState& stream = *held;
    for (bool began = false;; began = true) {
        if (stream.buffer.size() > limit) throw_overrun(stream, limit, "no end");
        if (began) go_on(stream);
        const std::size_t room = std::min(stream.buffer.size(), most_ahead);
        const bool alive = co_await StreamFill(stream, std::max(room, smallest_receive));
        if (!alive) co_return stream.take(stream.buffer.size());
    }
}
#endif

}  // namespace weft::detail
