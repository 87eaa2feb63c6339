// SPDX-License-Identifier: MIT
// Body, BodyWriter: the body of a message that is sent: bytes, a file, or written as it comes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "../base/buffer.hpp"
#include "../base/config.hpp"
#include "../base/fd.hpp"
#include "../base/owned.hpp"
#include "../net/stream.hpp"
#include "../task/async_generator.hpp"
#include "../task/coro.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <string_view>

#include "../base/error.hpp"
#include "../base/std_parts.hpp"
#include "../streams/send_file.hpp"
#include "detail/text.hpp"
#endif

namespace weft::http {

/// Where a streamed body is written to. Each write goes out at once, as a chunk of its own where
/// the length was not told beforehand, and waits while the peer does not keep up.
class BodyWriter {
public:
    BodyWriter(const BodyWriter&) = delete;
    BodyWriter& operator=(const BodyWriter&) = delete;

    /// Throws:   std::system_error (send); RuntimeError for more than the length that was told;
    ///           CancelledError.
    /// Cancel:   the message is cut short then, and its connection closed; further writes throw
    ///           RuntimeError, as they do while another task writes.
    /// Lifetime: `data` outlives the await, a cancelled one included.
    Coro<void> write(ConstBuffer data);
    /// A part of a file. (See `weft::send_file`.)
    Coro<void> send_file(int file, std::uint64_t offset, std::uint64_t count);

protected:
    enum class Framing : unsigned char {
        nothing,  // the body is not sent: the answer to HEAD
        known,
        chunked,
        to_end,
    };
    /// `head` goes out with the first bytes.
    BodyWriter(Stream& stream, std::string& head, Framing framing, std::uint64_t length) noexcept
        : stream_(&stream), head_(&head), framing_(framing), left_(length) {}
    ~BodyWriter() = default;

    /// Sends what is left of the head, and the end.
    /// Throws:   RuntimeError for less than the length that was told.
    Coro<void> finish();
    /// Bytes are about to be written: whoever watches over slow peers counts anew.
    virtual void progress() noexcept {}
    /// They are.
    virtual void written() noexcept {}

private:
    /// Of what is written; says what is to be done with `size` more bytes.
    void count(std::uint64_t size);
    /// Nobody knows how much the peer has of a write that has not come to its end: what followed
    /// it would be taken for a part of it.
    void require_whole() const;
    Coro<void> send_head();

    // Large pieces are written in parts, so that a slow peer can be told from one that has gone.
    static constexpr std::size_t most_at_once = 256 * 1024;

    Stream* stream_;
    std::string* head_;
    Framing framing_;
    bool is_cut_ = false;  // a write goes on, or has not come to its end
    std::uint64_t left_;
};

namespace detail {

/// A body that is written as it comes.
class StreamedBody {
public:
    StreamedBody() noexcept = default;
    StreamedBody(const StreamedBody&) = delete;
    StreamedBody& operator=(const StreamedBody&) = delete;
    virtual ~StreamedBody() = default;
    virtual Coro<void> write_to(BodyWriter& out) = 0;
};

template <class Fn>
class WrittenBody final : public StreamedBody {
public:
    explicit WrittenBody(Fn fn) : fn_(std::move(fn)) {}
    Coro<void> write_to(BodyWriter& out) override { return fn_(out); }

private:
    Fn fn_;
};

}  // namespace detail

/// What a message is sent with. Move-only.
class Body {
public:
    /// None.
    Body() noexcept {}
    // NOLINTNEXTLINE(google-explicit-constructor): text is a body.
    Body(std::string bytes) noexcept : bytes_(std::move(bytes)) {}
    // NOLINTNEXTLINE(google-explicit-constructor): as above.
    Body(const char* text) : bytes_(text) {}

    /// Piece after piece, as the generator gives them. Without a length the message is chunked.
    static Body stream(AsyncGenerator<std::string> pieces,
                       std::optional<std::uint64_t> length = std::nullopt);
    /// What `fn(BodyWriter&)`, which returns a Coro<void>, writes.
    /// Lifetime: `fn` is kept until the message is sent, or was given up.
    template <class Fn>
    requires std::is_invocable_r_v<Coro<void>, Fn&, BodyWriter&> static Body written_by(
        Fn fn, std::optional<std::uint64_t> length = std::nullopt) {
        return Body(
            weft::detail::Owned<detail::StreamedBody>(new detail::WrittenBody<Fn>(std::move(fn))),
            length);
    }
    /// `count` bytes of an open file, from `offset` on. The message owns the descriptor.
    static Body file(Fd file, std::uint64_t offset, std::uint64_t count);

    bool is_streamed() const noexcept { return static_cast<bool>(streamed_); }
    /// Nothing: it is not known beforehand.
    std::optional<std::uint64_t> length() const noexcept {
        return streamed_ ? length_ : std::optional<std::uint64_t>(bytes_.size());
    }
    /// Of one that is not streamed.
    const std::string& bytes() const noexcept { return bytes_; }
    Coro<void> write_to(BodyWriter& out);

private:
    Body(weft::detail::Owned<detail::StreamedBody> streamed,
         std::optional<std::uint64_t> length) noexcept
        : streamed_(std::move(streamed)), length_(length) {}

    std::string bytes_;
    weft::detail::Owned<detail::StreamedBody> streamed_;
    std::optional<std::uint64_t> length_;
};

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
namespace detail {

class GeneratedBody final : public StreamedBody {
public:
    explicit GeneratedBody(AsyncGenerator<std::string> pieces) noexcept
        : pieces_(std::move(pieces)) {}
    inline Coro<void> write_to(BodyWriter& out) override;

private:
    AsyncGenerator<std::string> pieces_;
};
inline Coro<void> GeneratedBody::write_to(BodyWriter& out) {
    while (auto piece = co_await pieces_.next()) co_await out.write(*piece);
}

class FileBody final : public StreamedBody {
public:
    FileBody(Fd file, std::uint64_t offset, std::uint64_t count) noexcept
        : file_(std::move(file)), offset_(offset), count_(count) {}
    inline Coro<void> write_to(BodyWriter& out) override {
        return out.send_file(file_.get(), offset_, count_);
    }

private:
    Fd file_;
    std::uint64_t offset_;
    std::uint64_t count_;
};

}  // namespace detail

WEFT_INLINE Body Body::stream(AsyncGenerator<std::string> pieces,
                              std::optional<std::uint64_t> length) {
    return Body(
        weft::detail::Owned<detail::StreamedBody>(new detail::GeneratedBody(std::move(pieces))),
        length);
}
WEFT_INLINE Body Body::file(Fd file, std::uint64_t offset, std::uint64_t count) {
    return Body(weft::detail::Owned<detail::StreamedBody>(
                    new detail::FileBody(std::move(file), offset, count)),
                count);
}
WEFT_INLINE Coro<void> Body::write_to(BodyWriter& out) {
    if (streamed_) {
        co_await streamed_->write_to(out);
    } else {
        co_await out.write(bytes_);
    }
}

WEFT_INLINE void BodyWriter::count(std::uint64_t size) {
    if (framing_ != Framing::known) return;
    if (size > left_)
        weft::detail::throw_runtime_error("weft: HTTP: a body that is longer than it said");
    left_ -= size;
}

WEFT_INLINE void BodyWriter::require_whole() const {
    if (is_cut_)
        weft::detail::throw_runtime_error(
            "weft: HTTP: a body goes on behind a write that was cut short, or inside of it");
}

WEFT_INLINE Coro<void> BodyWriter::send_head() {
    if (head_->empty()) co_return;
    progress();
    co_await stream_->write(*head_);
    head_->clear();
    written();
}

WEFT_INLINE Coro<void> BodyWriter::write(ConstBuffer data) {
    if (framing_ == Framing::nothing) co_return;
    const char* from = static_cast<const char*>(data.data());
    std::size_t left = data.size();
    require_whole();
    count(left);
    is_cut_ = true;
    while (left > 0) {
        const std::size_t size = std::min(left, most_at_once);
        progress();
        if (framing_ == Framing::chunked) {
            detail::append_hex(*head_, size);
            head_->append("\r\n");
            co_await stream_->write(*head_, ConstBuffer(from, size), "\r\n");
        } else {
            co_await stream_->write(*head_, ConstBuffer(from, size));
        }
        head_->clear();
        from += size;
        left -= size;
    }
    is_cut_ = false;
    written();
}

WEFT_INLINE Coro<void> BodyWriter::send_file(int file, std::uint64_t offset, std::uint64_t size) {
    if (framing_ == Framing::nothing) co_return;
    if (framing_ == Framing::chunked)
        weft::detail::throw_runtime_error("weft: HTTP: a file without a length");
    require_whole();
    count(size);
    is_cut_ = true;
    co_await send_head();
    while (size > 0) {
        progress();
        const std::uint64_t sent = co_await weft::send_file(
            *stream_, file, offset, std::min<std::uint64_t>(size, most_at_once));
        if (sent == 0) weft::detail::throw_runtime_error("weft: HTTP: a file has become shorter");
        offset += sent;
        size -= sent;
    }
    is_cut_ = false;
    written();
}

WEFT_INLINE Coro<void> BodyWriter::finish() {
    require_whole();
    if (framing_ == Framing::known && left_ > 0)
        weft::detail::throw_runtime_error("weft: HTTP: a body that is shorter than it said");
    if (framing_ == Framing::chunked) head_->append("0\r\n\r\n");
    co_await send_head();
}
#endif

}  // namespace weft::http
