// SPDX-License-Identifier: MIT
// Protocol: asyncio's, callbacks in place of awaits, over any stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "../base/config.hpp"
#include "../base/ref.hpp"
#include "../net/connect.hpp"
#include "../net/server.hpp"
#include "../net/stream.hpp"
#include "../sync/event.hpp"
#include "../sync/notify.hpp"
#include "../task/coro.hpp"
#include "../task/task.hpp"

namespace weft {
namespace detail {
struct ProtocolState;
}  // namespace detail

/// The connection of a Protocol (asyncio's transport): a handle, copies share it. What is called on
/// one that is closed does nothing.
/// Thread:   loop thread only.
class ProtocolConnection {
public:
    explicit ProtocolConnection(detail::Ref<detail::ProtocolState> state) noexcept
        : state_(std::move(state)) {}

    /// Keeps the bytes and sends them soon. It does not wait: a program that writes more than its
    /// peer reads stops when it is told `pause_writing`, or fills its memory.
    void write(std::string_view data);
    /// Nothing more will be written; reading goes on.
    void write_eof() noexcept;
    /// Sends what was written, then closes.
    void close() noexcept;
    /// At once; what was not sent is dropped.
    void abort() noexcept;
    bool is_closing() const noexcept;

    /// `data_received` is not called until `resume_reading`; the peer is held up.
    void pause_reading() noexcept;
    void resume_reading() noexcept;

    std::size_t write_buffer_size() const noexcept;
    /// `pause_writing` above `high` bytes (64 KiB at first), `resume_writing` at `low` or below.
    void set_write_buffer_limits(std::size_t high, std::size_t low) noexcept;

    /// For addresses and options.
    Stream& stream() const noexcept;
    /// Waits until `connection_lost` has been called.
    /// Cancel:   leaves the connection alone.
    Coro<void> wait_closed() const;

private:
    detail::Ref<detail::ProtocolState> state_;
};

/// Derive from it what a callback library or a port of asyncio's code is to be told. An exception
/// out of one of these ends the connection, and is the failure of whoever runs it.
class Protocol {
public:
    Protocol() noexcept = default;
    Protocol(const Protocol&) = delete;
    Protocol& operator=(const Protocol&) = delete;
    virtual ~Protocol() = default;

    /// First of all, once. Keep the connection in order to write.
    virtual void connection_made(ProtocolConnection) {}
    /// The bytes are valid during the call.
    virtual void data_received(std::string_view) {}
    /// The peer will send nothing more.
    /// Returns:  true: stay open for writing, until `close`. False: close.
    virtual bool eof_received() { return false; }
    /// Last of all, once; null where it was closed or ended in order.
    virtual void connection_lost(std::exception_ptr) {}
    virtual void pause_writing() {}
    virtual void resume_writing() {}
};

/// Runs a protocol over a stream, until the connection is lost.
/// Throws:   what a callback throws, after `connection_lost`. (What is wrong with the connection is
///           told to `connection_lost` alone.)
/// Cancel:   aborts the connection, tells `connection_lost`, and goes on.
/// Lifetime: `protocol` outlives the await.
Coro<void> run_protocol(Stream stream, Protocol& protocol);

/// Connects, and runs the protocol in a task of its own.
/// Returns:  the connection, `connection_made` already told.
/// Throws:   like `open_connection`.
/// Lifetime: `protocol` outlives the connection (see `wait_closed`).
Coro<ProtocolConnection> create_connection(Protocol& protocol, std::string host, std::uint16_t port,
                                           ConnectOptions options = {});

/// A server that makes a protocol for each connection: `factory()` returns a pointer that owns it
/// (std::unique_ptr). Otherwise like `start_server`.
template <class Factory>
Coro<Server> create_server(Factory factory, std::string host, std::uint16_t port,
                           ServerOptions options = {}) {
    return start_server(
        [factory = std::move(factory)](Stream stream) mutable -> Coro<void> {
            auto protocol = factory();
            co_await run_protocol(std::move(stream), *protocol);
        },
        std::move(host), port, options);
}

namespace detail {

struct ProtocolState : Counted<ProtocolState> {
    ProtocolState(Stream connection, Protocol& told) noexcept
        : stream(std::move(connection)), protocol(&told) {}

    void wake_writer() noexcept { news.notify_one(); }
    bool is_over() const noexcept { return closing && pending.empty(); }

    Stream stream;
    Protocol* protocol;
    std::string pending;  // written and not sent; what is being sent is the writer's
    std::size_t sending = 0;
    std::size_t high = 64 * 1024;
    std::size_t low = 16 * 1024;
    Notify news;     // for the task that writes
    Event may_read;  // cleared by `pause_reading`
    Event lost;
    Task<void> reading;          // to be cancelled when the connection closes
    std::exception_ptr failure;  // what ended it
    bool failed_in_callback = false;
    bool paused = false;   // the protocol was told `pause_writing`
    bool eof = false;      // `write_eof` was called
    bool closing = false;  // `close` was called, or the peer is gone
};

#if WEFT_BODIES
/// A callback's failure is told apart from the connection's.
template <class Call>
void tell(ProtocolState& state, Call call) {
    try {
        call(*state.protocol);
    } catch (...) {
        state.failed_in_callback = true;
        throw;
    }
}

inline Coro<void> protocol_reads(Ref<ProtocolState> held) {
    ProtocolState& state = *held;
    try {
        for (;;) {
            co_await state.may_read.wait();
            const Chunk chunk = co_await state.stream.read_chunk();
            // (It may have been paused while this waited.)
            co_await state.may_read.wait();
            if (state.closing) co_return;
            if (chunk.empty()) break;
            tell(state, [&](Protocol& told) { told.data_received(chunk.view()); });
        }
        bool stays = false;
        tell(state, [&](Protocol& told) { stays = told.eof_received(); });
        if (stays) co_return;
    } catch (const CancelledError&) {
        co_return;  // (by the writer's end)
    } catch (...) {
        if (!state.failure && (!state.closing || state.failed_in_callback))
            state.failure = std::current_exception();
        state.pending.clear();
        state.stream.abort();  // wakes the writer
    }
    state.closing = true;
    state.wake_writer();
}

inline Coro<void> protocol_writes(ProtocolState& state) {
    bool told_eof = false;
    while (!state.is_over()) {
        if (!state.pending.empty()) {
            const std::string text = std::exchange(state.pending, std::string());
            state.sending = text.size();
            co_await state.stream.write(text);
            state.sending = 0;
            if (state.paused && state.pending.size() <= state.low) {
                state.paused = false;
                tell(state, [](Protocol& told) { told.resume_writing(); });
            }
        } else if (state.eof && !told_eof) {
            told_eof = true;
            co_await state.stream.write_eof();
        } else {
            co_await state.news.notified();
        }
    }
}

WEFT_INLINE Coro<void> drive_protocol(Ref<ProtocolState> held) {
    ProtocolState& state = *held;
    state.reading = create_task(protocol_reads(held));
    std::exception_ptr cancelled;
    try {
        co_await protocol_writes(state);
    } catch (const CancelledError&) {
        cancelled = std::current_exception();
    } catch (...) {
        if (!state.failure && !state.stream.is_closed()) state.failure = std::current_exception();
    }
    state.closing = true;
    state.reading.cancel();
    if (cancelled || state.failure) state.stream.abort();
    co_await state.stream.close();
    try {
        state.protocol->connection_lost(state.failure);
    } catch (...) {
        state.lost.set();
        throw;
    }
    state.lost.set();
    if (state.failed_in_callback) std::rethrow_exception(state.failure);
    if (cancelled) std::rethrow_exception(cancelled);
}

inline Ref<ProtocolState> begin_protocol(Stream stream, Protocol& protocol) {
    Ref<ProtocolState> state(new ProtocolState(std::move(stream), protocol));
    state->may_read.set();
    protocol.connection_made(ProtocolConnection(state));
    return state;
}
#endif

}  // namespace detail

#if WEFT_BODIES
WEFT_INLINE void ProtocolConnection::write(std::string_view data) {
    detail::ProtocolState& state = *state_;
    if (state.closing || state.eof || data.empty()) return;
    state.pending.append(data.data(), data.size());
    state.wake_writer();
    if (!state.paused && write_buffer_size() > state.high) {
        state.paused = true;
        try {
            state.protocol->pause_writing();
        } catch (...) {  // (nobody who writes has to know of it)
            state.failed_in_callback = true;
            state.failure = std::current_exception();
            abort();
        }
    }
}
WEFT_INLINE void ProtocolConnection::write_eof() noexcept {
    state_->eof = true;
    state_->wake_writer();
}
WEFT_INLINE void ProtocolConnection::close() noexcept {
    state_->closing = true;
    state_->wake_writer();
}
WEFT_INLINE void ProtocolConnection::abort() noexcept {
    state_->closing = true;
    state_->pending.clear();
    state_->stream.abort();
    state_->wake_writer();
}
WEFT_INLINE bool ProtocolConnection::is_closing() const noexcept { return state_->closing; }
WEFT_INLINE void ProtocolConnection::pause_reading() noexcept { state_->may_read.clear(); }
WEFT_INLINE void ProtocolConnection::resume_reading() noexcept { state_->may_read.set(); }
WEFT_INLINE std::size_t ProtocolConnection::write_buffer_size() const noexcept {
    return state_->pending.size() + state_->sending;
}
WEFT_INLINE void ProtocolConnection::set_write_buffer_limits(std::size_t high,
                                                             std::size_t low) noexcept {
    state_->high = high;
    state_->low = low;
}
WEFT_INLINE Stream& ProtocolConnection::stream() const noexcept { return state_->stream; }
WEFT_INLINE Coro<void> ProtocolConnection::wait_closed() const {
    const detail::Ref<detail::ProtocolState> state = state_;
    co_await state->lost.wait();
}

WEFT_INLINE Coro<void> run_protocol(Stream stream, Protocol& protocol) {
    const auto state = detail::begin_protocol(std::move(stream), protocol);
    co_await detail::drive_protocol(state);
}

WEFT_INLINE Coro<ProtocolConnection> create_connection(Protocol& protocol, std::string host,
                                                       std::uint16_t port, ConnectOptions options) {
    Stream stream = co_await open_connection(std::move(host), port, std::move(options));
    const auto state = detail::begin_protocol(std::move(stream), protocol);
    static_cast<void>(create_task(detail::drive_protocol(state)));
    co_return ProtocolConnection(state);
}
#endif

}  // namespace weft
