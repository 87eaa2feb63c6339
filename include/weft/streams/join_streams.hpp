// SPDX-License-Identifier: MIT
// join_streams: one stream that reads from one and writes to another.
#pragma once

#include "../base/config.hpp"
#include "../net/stream.hpp"

#if WEFT_BODIES
#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "../base/buffer.hpp"
#include "../base/error.hpp"
#include "../net/transport.hpp"
#include "../task/coro.hpp"
#endif

namespace weft {

/// A connection out of two one-way streams, which it owns: what is read comes from `reader`, what
/// is written goes to `writer`, and `write_eof` is the writer's.
/// Throws:   std::bad_alloc.
Stream join_streams(Stream reader, Stream writer);

#if WEFT_BODIES
namespace detail {

class JoinedTransport final : public Transport {
public:
    JoinedTransport(Stream reader, Stream writer) noexcept
        : reader_(std::move(reader)), writer_(std::move(writer)) {}

    Coro<std::size_t> read_some(MutableBuffer into) override {
        co_return co_await reader_.read(into);
    }
    Coro<std::size_t> write_some(ConstBuffer from) override { return writer_.write_some(from); }
    Coro<void> write_eof() override { return writer_.write_eof(); }
    Coro<void> close() override {
        std::exception_ptr failure;
        try {
            co_await reader_.close();
        } catch (...) {
            failure = std::current_exception();
        }
        co_await writer_.close();
        if (failure) std::rethrow_exception(failure);
    }
    void abort() noexcept override {
        reader_.abort();
        writer_.abort();
    }
    void let_go() noexcept override {
        StreamAccess::state(reader_).abandon();
        StreamAccess::state(writer_).abandon();
    }

    std::optional<std::size_t> try_read(MutableBuffer into) override {
        return reader_.try_read(into);
    }
    bool has_buffered() const noexcept override {
        return StreamAccess::state(reader_).has_buffered();
    }
    std::string name() const override { return "joined streams"; }

private:
    Stream reader_;
    Stream writer_;
};

}  // namespace detail

WEFT_INLINE Stream join_streams(Stream reader, Stream writer) {
    return make_stream<detail::JoinedTransport>(std::move(reader), std::move(writer));
}
#endif

}  // namespace weft
