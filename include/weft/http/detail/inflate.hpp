// SPDX-License-Identifier: MIT
// Inflate: gzip and deflate taken back while a body comes, where there is zlib.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "../../base/config.hpp"
#include "../../base/owned.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#if __has_include(<zlib.h>)
#include <zlib.h>

#include <new>

#include "../../base/error.hpp"
#include "../protocol_error.hpp"
#endif
#include "text.hpp"
#endif

namespace weft::http::detail {

struct InflateState;

/// Takes a body's pieces, and gives what they say in pieces of 16 KiB: a small body that would fill
/// the memory does not come further than its limit.
class Inflate {
public:
    /// For a Content-Encoding. Empty: it is none that this side has named.
    static weft::detail::Owned<Inflate> make(std::string_view encoding, std::uint64_t limit);
    /// What a request's Accept-Encoding says; empty where there is no zlib.
    static std::string_view accepted() noexcept;

    Inflate(const Inflate&) = delete;
    Inflate& operator=(const Inflate&) = delete;
    ~Inflate();

    /// The next piece, of which `next` gives everything before another is fed.
    /// Lifetime: `piece` is valid until then.
    void feed(std::string_view piece) noexcept;
    /// Returns:  empty: all of what was fed was given.
    /// Throws:   ProtocolError: it is no such thing, or it is more than the limit.
    std::string_view next();
    /// No more is fed.
    /// Throws:   ProtocolError: it was cut.
    void finish() const;

private:
    explicit Inflate(InflateState* state) noexcept : state_(state) {}
    InflateState* state_;
};

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#if __has_include(<zlib.h>)
struct InflateState {
    z_stream stream{};
    std::uint64_t left = 0;
    bool began = false;
    bool ended = false;
    bool maybe_raw = false;  // "deflate" that some send without zlib's header
    unsigned char out[16 * 1024];
};

WEFT_INLINE std::string_view Inflate::accepted() noexcept { return "gzip, deflate"; }

WEFT_INLINE weft::detail::Owned<Inflate> Inflate::make(std::string_view encoding,
                                                       std::uint64_t limit) {
    const bool is_gzip = same_name(encoding, "gzip") || same_name(encoding, "x-gzip");
    if (!is_gzip && !same_name(encoding, "deflate")) return {};
    weft::detail::Owned<InflateState> state(new InflateState);
    state->left = limit;
    state->maybe_raw = !is_gzip;
    weft::detail::Owned<Inflate> made(new Inflate(state.get()));
    // 15: the largest window; 16 more: gzip's header in place of zlib's.
    if (inflateInit2(&state->stream, is_gzip ? 15 + 16 : 15) != Z_OK) {
        made->state_ = nullptr;
        throw std::bad_alloc();
    }
    static_cast<void>(state.release());
    return made;
}
WEFT_INLINE Inflate::~Inflate() {
    if (!state_) return;
    inflateEnd(&state_->stream);
    delete state_;
}
WEFT_INLINE void Inflate::feed(std::string_view piece) noexcept {
    state_->stream.next_in =
        const_cast<Bytef*>(reinterpret_cast<const Bytef*>(piece.data()));  // (it only reads)
    state_->stream.avail_in = static_cast<uInt>(piece.size());
}
WEFT_INLINE std::string_view Inflate::next() {
    InflateState& self = *state_;
    z_stream& stream = self.stream;
    if (self.ended) {
        if (stream.avail_in > 0)
            throw ProtocolError(400, "weft: HTTP: a compressed body with more behind its end");
        return {};
    }
    if (self.maybe_raw && !self.began && stream.avail_in > 0) {
        // RFC 9110, section 8.4.1.2: a zlib header begins with 8 in its lower four bits.
        if ((stream.next_in[0] & 0x0F) != 8) inflateReset2(&stream, -15);
    }
    self.began = self.began || stream.avail_in > 0;
    stream.next_out = self.out;
    stream.avail_out = sizeof self.out;
    const int result = inflate(&stream, Z_NO_FLUSH);
    if (result == Z_MEM_ERROR) throw std::bad_alloc();
    if (result == Z_STREAM_END) {
        self.ended = true;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
        throw ProtocolError(400, "weft: HTTP: a body that is not compressed as it says");
    }
    const std::size_t size = sizeof self.out - stream.avail_out;
    if (size > self.left)
        throw ProtocolError(413, "weft: HTTP: a compressed body that is larger than allowed");
    self.left -= size;
    if (size == 0 && self.ended) return next();  // (is anything behind it?)
    return {reinterpret_cast<const char*>(self.out), size};
}
WEFT_INLINE void Inflate::finish() const {
    if (state_->began && !state_->ended)
        throw ProtocolError(400, "weft: HTTP: a compressed body that is cut short");
}
#else
WEFT_INLINE std::string_view Inflate::accepted() noexcept { return {}; }
WEFT_INLINE weft::detail::Owned<Inflate> Inflate::make(std::string_view, std::uint64_t) {
    return {};
}
WEFT_INLINE Inflate::~Inflate() { static_cast<void>(state_); }
WEFT_INLINE void Inflate::feed(std::string_view) noexcept {}
WEFT_INLINE std::string_view Inflate::next() { return {}; }
WEFT_INLINE void Inflate::finish() const {}
#endif
#endif

}  // namespace weft::http::detail
