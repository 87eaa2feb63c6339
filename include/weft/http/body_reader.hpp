// SPDX-License-Identifier: MIT
// BodyReader: the body of a message that arrives, read piece by piece or as a whole.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "../base/config.hpp"
#include "../task/async_generator.hpp"
#include "../task/coro.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include "../base/error.hpp"
#include "protocol_error.hpp"
#endif

namespace weft::http {

namespace detail {

/// What a body comes from: a server's connection, a client's response.
class BodySource {
public:
    BodySource() noexcept = default;
    BodySource(const BodySource&) = delete;
    BodySource& operator=(const BodySource&) = delete;

    /// Returns:  the next piece, valid until the next call; empty at the end, again and again.
    /// Throws:   ProtocolError; what the stream's reads throw; CancelledError.
    virtual Coro<std::string_view> next_piece() = 0;

    /// A reader has thrown ProtocolError. (There are others that are about other messages.)
    bool has_failed = false;

protected:
    ~BodySource() = default;
};

}  // namespace detail

/// The body of a message that arrives. It is read as it comes: who does not read lets the sender
/// wait, and no memory is taken for what nobody asks for.
/// Throws:   from every read: ProtocolError (malformed, cut short, larger than the server's limit);
///           std::system_error (recv); RuntimeError when its message has gone; CancelledError.
/// Cancel:   lossless: what was not returned comes with the next read.
/// Thread:   loop thread only; one task at a time.
class BodyReader {
public:
    BodyReader() noexcept {}
    /// Lifetime: `source` outlives the reads.
    explicit BodyReader(detail::BodySource& source) noexcept : source_(&source) {}

    /// Reads the next piece, of whatever size it has.
    /// Returns:  a view that is valid until the next read; empty at the end.
    Coro<std::string_view> read_chunk();
    /// Reads what is left, `limit` bytes at most.
    /// Throws:   ProtocolError with 413 where it is more.
    Coro<std::string> read_all(std::size_t limit = 16 * 1024 * 1024);
    /// Piece after piece: `while (auto piece = co_await chunks.next()) use(*piece);`
    AsyncGenerator<std::string_view> chunks();

private:
    detail::BodySource& source() const;

    detail::BodySource* source_ = nullptr;
};

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
WEFT_INLINE detail::BodySource& BodyReader::source() const {
    if (!source_) weft::detail::throw_runtime_error("weft: the body of no message is read");
    return *source_;
}
WEFT_INLINE Coro<std::string_view> BodyReader::read_chunk() { return source().next_piece(); }

WEFT_INLINE Coro<std::string> BodyReader::read_all(std::size_t limit) {
    detail::BodySource& from = source();
    std::string all;
    for (;;) {
        const std::string_view piece = co_await from.next_piece();
        if (piece.empty()) co_return std::move(all);
        if (piece.size() > limit - all.size()) {
            from.has_failed = true;
            throw ProtocolError(413, "weft: HTTP: a body that is larger than its reader wants");
        }
        all.append(piece);
    }
}

WEFT_INLINE AsyncGenerator<std::string_view> BodyReader::chunks() {
    BodyReader reader = *this;
    for (;;) {
        const std::string_view piece = co_await reader.read_chunk();
        if (piece.empty()) co_return;
        co_yield piece;
    }
}
#endif

}  // namespace weft::http
