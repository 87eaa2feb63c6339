// SPDX-License-Identifier: MIT
// memory_stream: a connection within the program.
#pragma once

#include <cstddef>

#include "../base/config.hpp"
#include "stream_pair.hpp"

#if WEFT_BODIES
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "../base/buffer.hpp"
#include "../base/error.hpp"
#include "../base/owned.hpp"
#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../net/transport.hpp"
#include "../sync/notify.hpp"
#include "../task/coro.hpp"
#endif

namespace weft {

/// Two streams that are connected with each other, without the kernel: for tests, and for parts of
/// a program that talk like peers. A write waits while `capacity` bytes (at least one) in its
/// direction are unread. When a stream is closed, or goes, the other reads what was written before
/// and then the end, and its writes are refused with EPIPE; after an `abort` it gets ECONNRESET in
/// place of both.
/// Throws:   std::bad_alloc.
/// Thread:   both belong to one loop at a time.
StreamPair memory_stream(std::size_t capacity = 64 * 1024);

#if WEFT_BODIES
namespace detail {

/// One direction of a connection. Its memory comes with the first byte.
class MemoryWay {
public:
    explicit MemoryWay(std::size_t capacity) noexcept : capacity_(capacity > 0 ? capacity : 1) {}

    std::size_t size() const noexcept { return size_; }
    /// As much as there is room for.
    /// Throws:   std::bad_alloc.
    std::size_t put(ConstBuffer from) {
        if (!bytes_) bytes_.reset(new char[capacity_]);
        const std::size_t count = std::min(from.size(), capacity_ - size_);
        const char* const source = static_cast<const char*>(from.data());
        const std::size_t at = (first_ + size_) % capacity_;
        const std::size_t before_the_turn = std::min(count, capacity_ - at);
        if (before_the_turn > 0) std::memcpy(bytes_.get() + at, source, before_the_turn);
        if (count > before_the_turn)
            std::memcpy(bytes_.get(), source + before_the_turn, count - before_the_turn);
        size_ += count;
        return count;
    }
    std::size_t take(MutableBuffer into) noexcept {
        const std::size_t count = std::min(into.size(), size_);
        char* const target = static_cast<char*>(into.data());
        const std::size_t before_the_turn = std::min(count, capacity_ - first_);
        if (before_the_turn > 0) std::memcpy(target, bytes_.get() + first_, before_the_turn);
        if (count > before_the_turn)
            std::memcpy(target + before_the_turn, bytes_.get(), count - before_the_turn);
        first_ = (first_ + count) % capacity_;
        size_ -= count;
        return count;
    }

    // For the one who waits at either end.
    Notify readable;
    Notify writable;
    bool ended = false;        // nothing more will be written
    bool unwanted = false;     // nobody will read
    bool was_aborted = false;  // by either side

private:
    Owned<char[]> bytes_;
    std::size_t capacity_;
    std::size_t first_ = 0;
    std::size_t size_ = 0;
};

struct MemoryLink : Counted<MemoryLink> {
    explicit MemoryLink(std::size_t capacity) : ways{MemoryWay(capacity), MemoryWay(capacity)} {}
    MemoryWay ways[2];
};

class MemoryTransport final : public Transport {
public:
    MemoryTransport(Ref<MemoryLink> link, int side) noexcept
        : link_(std::move(link)), in_(link_->ways[side]), out_(link_->ways[1 - side]) {}
    ~MemoryTransport() override { leave(false); }

    Coro<std::size_t> read_some(MutableBuffer into) override {
        for (;;) {
            if (const std::optional<std::size_t> got = try_read(into)) co_return *got;
            co_await in_.readable.notified();
            if (is_closed_) throw_system_error(ECANCELED, "read memory stream");
        }
    }
    Coro<std::size_t> write_some(ConstBuffer from) override {
        for (;;) {
            if (out_.ended) throw_system_error(EPIPE, "write memory stream, whose end was told");
            if (out_.unwanted) {
                throw_system_error(out_.was_aborted ? ECONNRESET : EPIPE, "write memory stream");
            }
            if (const std::size_t count = out_.put(from); count > 0) {
                out_.readable.notify_one();
                co_return count;
            }
            co_await out_.writable.notified();
            if (is_closed_) throw_system_error(ECANCELED, "write memory stream");
        }
    }
    Coro<void> write_eof() override {
        out_.ended = true;
        out_.readable.notify_one();
        co_return;
    }
    Coro<void> close() override {
        leave(false);
        co_return;
    }
    void abort() noexcept override { leave(true); }
    void let_go() noexcept override { leave(false); }

    std::optional<std::size_t> try_read(MutableBuffer into) override {
        if (in_.size() > 0) {
            in_.writable.notify_one();
            return in_.take(into);
        }
        if (in_.was_aborted) throw_system_error(ECONNRESET, "read memory stream");
        if (in_.ended) return 0;
        return std::nullopt;
    }
    bool has_buffered() const noexcept override { return in_.size() > 0; }
    std::string name() const override { return "memory stream"; }

private:
    void leave(bool aborts) noexcept {
        if (std::exchange(is_closed_, true)) return;
        // (The peer reads what was written before; what it has written itself, nobody will.)
        out_.was_aborted = in_.was_aborted = out_.was_aborted || aborts;
        out_.ended = in_.unwanted = true;
        for (MemoryWay* const way : {&in_, &out_}) {
            way->readable.notify_one();
            way->writable.notify_one();
        }
    }

    Ref<MemoryLink> link_;
    MemoryWay& in_;
    MemoryWay& out_;
    bool is_closed_ = false;
};

}  // namespace detail

WEFT_INLINE StreamPair memory_stream(std::size_t capacity) {
    const detail::Ref<detail::MemoryLink> link(new detail::MemoryLink(capacity));
    return StreamPair(make_stream<detail::MemoryTransport>(link, 0),
                      make_stream<detail::MemoryTransport>(link, 1));
}
#endif

}  // namespace weft
