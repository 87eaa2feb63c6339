// SPDX-License-Identifier: MIT
// ReadStream, WriteStream: the two directions of a Stream, for two tasks that own one each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "../base/buffer.hpp"
#include "../base/config.hpp"
#include "../base/ref.hpp"
#include "../task/async_generator.hpp"
#include "../task/coro.hpp"
#include "../task/task.hpp"
#include "stream.hpp"

namespace weft {
namespace detail {

/// Goes with the last half, and the stream with it.
struct SplitStream : Counted<SplitStream> {
    explicit SplitStream(Stream whole) noexcept : stream(std::move(whole)) {}
    Stream stream;
};

/// In a task of its own, which ends quietly: nobody waits for it.
void end_writing_soon(const Stream& stream) noexcept;

}  // namespace detail

/// The half that reads. The functions are Stream's. When it goes, the stream stays open for the
/// half that writes.
class ReadStream {
public:
    explicit ReadStream(detail::Ref<detail::SplitStream> split) noexcept
        : split_(std::move(split)) {}

    detail::StreamRead read(MutableBuffer buffer) { return whole().read(buffer); }
    detail::ChunkRead read_chunk() { return whole().read_chunk(); }
    Coro<void> read_exactly(MutableBuffer buffer) { return whole().read_exactly(buffer); }
    Coro<std::string> read_exactly(std::size_t count) { return whole().read_exactly(count); }
    Coro<std::string> read_line() { return whole().read_line(); }
    template <class... Text>
    Coro<std::string> read_until(const Text&... separators) {
        return whole().read_until(separators...);
    }
    Coro<std::string> read_all(std::size_t limit) { return whole().read_all(limit); }
    AsyncGenerator<std::string> lines() { return whole().lines(); }
    AsyncGenerator<Chunk> chunks() { return whole().chunks(); }
    std::optional<std::size_t> try_read(MutableBuffer buffer) { return whole().try_read(buffer); }
    bool has_buffered() const { return whole().has_buffered(); }
    void set_limit(std::size_t bytes) { whole().set_limit(bytes); }
    /// Of both halves.
    void abort() noexcept {
        if (split_) split_->stream.abort();
    }
    Address local_address() const { return whole().local_address(); }
    Address peer_address() const { return whole().peer_address(); }
    int fd() const { return whole().fd(); }

private:
    Stream& whole() const {
        if (!split_) detail::throw_runtime_error("weft: an empty ReadStream: it was moved from");
        return split_->stream;
    }
    detail::Ref<detail::SplitStream> split_;
};

/// The half that writes. The functions are Stream's. When it goes, the peer is told that nothing
/// more will come, behind the writes that have begun, as by `write_eof`; what could be wrong with
/// that, nobody hears.
class WriteStream {
public:
    explicit WriteStream(detail::Ref<detail::SplitStream> split) noexcept
        : split_(std::move(split)) {}
    WriteStream(WriteStream&&) noexcept = default;
    WriteStream& operator=(WriteStream&& other) noexcept {
        if (this != &other) {
            let_go();
            split_ = std::move(other.split_);
        }
        return *this;
    }
    ~WriteStream() { let_go(); }

    template <class... Part>
    auto write(Part&&... parts) {
        return whole().write(std::forward<Part>(parts)...);
    }
    detail::StreamWriteList write_parts(std::span<const ConstBuffer> parts) {
        return whole().write_parts(parts);
    }
    Coro<std::size_t> write_some(ConstBuffer data) { return whole().write_some(data); }
    Coro<void> write_eof() { return whole().write_eof(); }
    std::uint64_t written() const { return whole().written(); }
    /// Of both halves.
    void abort() noexcept {
        if (split_) split_->stream.abort();
    }
    Address local_address() const { return whole().local_address(); }
    Address peer_address() const { return whole().peer_address(); }
    int fd() const { return whole().fd(); }

private:
    Stream& whole() const {
        if (!split_) detail::throw_runtime_error("weft: an empty WriteStream: it was moved from");
        return split_->stream;
    }
    void let_go() noexcept {
        if (split_) detail::end_writing_soon(split_->stream);
    }
    detail::Ref<detail::SplitStream> split_;
};

struct StreamHalves {
    StreamHalves(ReadStream in, WriteStream out) noexcept
        : reader(std::move(in)), writer(std::move(out)) {}

    ReadStream reader;
    WriteStream writer;
};

/// Two halves that two tasks may own; the stream closes when both have gone.
///
///     auto [reader, writer] = weft::split(std::move(stream));
///
/// Throws:   std::bad_alloc.
StreamHalves split(Stream stream);

#if WEFT_BODIES
namespace detail {

WEFT_INLINE Coro<void> end_quietly(Ref<StreamState> stream) {
    try {
        co_await end_writing(std::move(stream));
    } catch (const std::exception&) {  // the peer has gone, or there is no such thing
    }
}
[[gnu::noinline]] WEFT_INLINE void end_writing_soon(const Stream& stream) noexcept {
    if (stream.is_closed() || !EventLoop::running()) return;
    try {
        StreamState& state = StreamAccess::state(stream);
        static_cast<void>(create_task(end_quietly(Ref<StreamState>::to(state))));
    } catch (const std::exception&) {  // no memory, or the loop ends: so does the stream
    }
}

}  // namespace detail

WEFT_INLINE StreamHalves split(Stream stream) {
    const detail::Ref<detail::SplitStream> both(new detail::SplitStream(std::move(stream)));
    return StreamHalves(ReadStream(both), WriteStream(both));
}
#endif

}  // namespace weft
