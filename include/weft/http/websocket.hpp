// SPDX-License-Identifier: MIT
// WebSocket: messages both ways over one connection (RFC 6455), on any Stream.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../base/buffer.hpp"
#include "../base/clock.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/ref.hpp"
#include "../net/stream.hpp"
#include "../sync/lock.hpp"
#include "../task/async_generator.hpp"
#include "../task/coro.hpp"
#include "detail/websocket_state.hpp"
#include "websocket_error.hpp"
#include "websocket_options.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <exception>
#include <stdexcept>

#include "../runtime/loop.hpp"
#include "../task/task.hpp"
#include "detail/websocket_reader.hpp"
#endif

namespace weft::http {

/// What came in one piece.
struct WebSocketMessage {
    WebSocketMessage(std::string bytes, bool text) noexcept
        : data(std::move(bytes)), is_text(text) {}

    std::string data;
    bool is_text;  ///< and UTF-8 then; binary otherwise
};

/// A part of a message, as it comes. A character may be cut in two.
struct WebSocketFragment {
    WebSocketFragment(std::string bytes, bool text, bool last) noexcept
        : data(std::move(bytes)), is_text(text), is_last(last) {}

    std::string data;
    bool is_text;
    bool is_last;
};

class WebSocketWriter;

/// One end of a WebSocket. Pings and closes of the peer are answered as they come, whatever the
/// program does meanwhile. Any number of tasks may send, each message goes out whole; one receives.
/// permessage-deflate is not offered, and refused as RFC 6455 wants it.
///
///     while (auto message = co_await socket.recv()) co_await socket.send(message->data);
///
/// A WebSocket that goes without `close` says that it goes away (1001), if it can without waiting.
/// Throws:   RuntimeError once it was moved from, from everything.
/// Thread:   loop thread only.
class WebSocket {
public:
    using Role = detail::WebSocketRole;

    /// Over a connection on which the handshake is done. (`connect_websocket` and
    /// `accept_websocket` see to it.) `ahead`: what was read behind it. `name` is what errors call
    /// it.
    WebSocket(Stream stream, Role role, WebSocketOptions options = {}, std::string ahead = {},
              std::string name = "websocket");
    WebSocket(WebSocket&&) noexcept = default;
    WebSocket& operator=(WebSocket&& other) noexcept {
        if (this != &other) {
            let_go();
            state_ = std::move(other.state_);
        }
        return *this;
    }
    ~WebSocket() { let_go(); }

    /// The next message. Empty: it was closed, by the peer or by `close`; `close_code` tells why.
    /// Throws:   WebSocketError when the peer has broken a rule or a limit, or is gone without a
    ///           close; TimeoutError when it has answered no ping; std::system_error (recv);
    ///           RuntimeError while another task receives, and in the middle of a message that
    ///           `recv_fragment` has begun; CancelledError. What came whole before is given first.
    /// Cancel:   lossless: what has come goes to the next call.
    Coro<std::optional<WebSocketMessage>> recv() { return receive(shared()); }

    /// What there is of the next message: for those that are longer than one would keep. (See
    /// WebSocketOptions::max_message.)
    /// Throws:   like `recv`.
    /// Cancel:   lossless: what has come goes to the next call.
    Coro<std::optional<WebSocketFragment>> recv_fragment() { return receive_part(shared()); }

    /// Message after message, to the end.
    ///
    ///     auto messages = socket.messages();
    ///     while (auto message = co_await messages.next()) handle(*message);
    AsyncGenerator<WebSocketMessage> messages() { return receive_all(shared()); }

    /// Sends a text, which is UTF-8, and waits until the connection has taken it.
    /// Throws:   WebSocketClosed after a close of either side; std::invalid_argument for a text that
    ///           is no UTF-8; std::system_error (send); what `recv` has found; CancelledError.
    /// Cancel:   nothing was sent, or the whole message goes out.
    /// Lifetime: `text` outlives the await, a cancelled one included.
    Coro<void> send(std::string_view text) { return send_text(shared(), text); }
    /// The same for bytes of any kind.
    Coro<void> send_binary(ConstBuffer data) {
        return send_one(shared(), detail::Opcode::binary,
                        {static_cast<const char*>(data.data()), data.size()});
    }

    /// Begins a message that is sent in parts; other tasks' messages wait for its end.
    ///
    ///     auto writer = co_await socket.start_binary();
    ///     while (...) co_await writer.write(part);
    ///     co_await writer.finish();
    ///
    /// Throws:   WebSocketClosed; CancelledError.
    /// Cancel:   lossless: nothing is sent by this.
    Coro<WebSocketWriter> start_text() { return start(shared(), detail::Opcode::text); }
    Coro<WebSocketWriter> start_binary() { return start(shared(), detail::Opcode::binary); }

    /// Asks the peer whether it is there, and waits for its answer.
    /// Returns:  how long that took.
    /// Throws:   like `send`.
    /// Cancel:   ends the wait.
    Coro<Duration> ping() { return ping_peer(shared()); }

    /// Says goodbye, and waits until the peer has done so too and the connection is closed; what
    /// still comes is dropped. After WebSocketOptions::close_timeout the connection is reset.
    /// Idempotent; the first code counts.
    /// Throws:   std::invalid_argument for a code that may not be sent, a reason that is longer than
    ///           123 bytes or no UTF-8; CancelledError.
    /// Cancel:   ends the wait; the rest goes on without it.
    Coro<void> close(std::uint16_t code = WebSocketCode::normal, std::string reason = {});
    /// Ends the connection at once and without a word. Idempotent.
    void abort() noexcept {
        if (state_) state_->stream.abort();
    }

    /// What it was closed with: the peer's code, or what this side has found wrong; nothing: it is
    /// open.
    std::optional<std::uint16_t> close_code() const {
        const std::uint16_t code = state().code;
        return code == 0 ? std::nullopt : std::optional<std::uint16_t>(code);
    }
    const std::string& close_reason() const { return state().reason; }
    /// What both sides have agreed upon; empty: nothing.
    const std::string& subprotocol() const { return state().subprotocol; }
    /// For addresses and options.
    const Stream& stream() const { return state().stream; }

    /// For the handshakes.
    detail::WebSocketState& state() const {
        if (!state_) [[unlikely]]
            weft::detail::throw_runtime_error("weft: an empty WebSocket: it was moved from");
        return *state_;
    }

private:
    using State = weft::detail::Ref<detail::WebSocketState>;

    State shared() const { return State::to(state()); }
    void let_go() noexcept;

    static Coro<std::optional<WebSocketMessage>> receive(State ws);
    static Coro<std::optional<WebSocketFragment>> receive_part(State ws);
    static AsyncGenerator<WebSocketMessage> receive_all(State ws);
    static Coro<void> send_text(State ws, std::string_view text);
    static Coro<void> send_one(State ws, detail::Opcode opcode, std::string_view payload);
    static Coro<WebSocketWriter> start(State ws, detail::Opcode opcode);
    static Coro<Duration> ping_peer(State ws);
    static Coro<void> end(State ws);

    State state_;
};

/// A message that is being sent in parts. One that goes unfinished ends the WebSocket (1011): there
/// is no way to take back what the peer has of it.
class [[nodiscard]] WebSocketWriter {
    using State = weft::detail::Ref<detail::WebSocketState>;

public:
    WebSocketWriter(State ws, detail::Opcode opcode, Lock::Guard turn) noexcept
        : state_(std::move(ws)),
          turn_(std::move(turn)),
          opcode_(opcode),
          is_text_(opcode == detail::Opcode::text) {}
    WebSocketWriter(WebSocketWriter&& other) noexcept
        : state_(std::move(other.state_)),
          turn_(std::move(other.turn_)),
          opcode_(other.opcode_),
          is_text_(other.is_text_),
          utf8_(other.utf8_) {}
    WebSocketWriter& operator=(WebSocketWriter&&) = delete;
    ~WebSocketWriter();

    /// Sends a part, and waits until the connection has taken it. A character of a text may be cut.
    /// Throws:   like `WebSocket::send`; RuntimeError once it is finished.
    /// Cancel:   nothing was sent, or the whole part goes out. The message may go on.
    /// Lifetime: `data` outlives the await, a cancelled one included.
    Coro<void> write(ConstBuffer data) { return send_part(data, false); }
    /// Sends the end of the message.
    Coro<void> finish(ConstBuffer data = "") { return send_part(data, true); }

private:
    Coro<void> send_part(ConstBuffer data, bool is_last);

    State state_;
    Lock::Guard turn_;
    detail::Opcode opcode_;
    bool is_text_;
    detail::Utf8Check utf8_;
};

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
WEFT_INLINE WebSocket::WebSocket(Stream stream, Role role, WebSocketOptions options,
                                 std::string ahead, std::string name)
    : state_(new detail::WebSocketState(std::move(stream), role, options, std::move(name))) {
    weft::detail::refuse_negative(options.ping_interval,
                                  "weft: http::WebSocketOptions: a negative ping_interval");
    static_cast<void>(create_task(detail::read_frames(state_, std::move(ahead)),
                                  TaskOptions("websocket reader", false)));
    state_->watch_peer();
}

WEFT_INLINE void WebSocket::let_go() noexcept {
    if (!state_ || state_->ended.is_set()) return;
    if (!EventLoop::running()) return;
    try {
        state_->begin_close(WebSocketCode::going_away, std::string_view());
    } catch (...) {  // no memory, or the loop ends
        state_->stream.abort();
    }
}

namespace detail {

/// One at a time.
class Receiving {
public:
    Receiving(WebSocketState& ws, WebSocketState::Receiver how) : ws_(ws) {
        if (ws.receiver != WebSocketState::Receiver::none)
            weft::detail::throw_runtime_error("weft: two tasks receive from one WebSocket");
        ws.receiver = how;
        ws.room.notify_one();  // a whole message may be longer than what is read ahead
    }
    Receiving(const Receiving&) = delete;
    Receiving& operator=(const Receiving&) = delete;
    ~Receiving() { ws_.receiver = WebSocketState::Receiver::none; }

private:
    WebSocketState& ws_;
};

/// Returns:  false: there is nothing, and nothing more will come.
/// Throws:   what has ended the connection out of order.
inline Coro<bool> until_received(weft::detail::Ref<WebSocketState> ws,
                                 WebSocketState::Receiver how) {
    if (ws->can_receive(how)) co_return true;
    const Receiving turn(*ws, how);
    while (!ws->can_receive(how)) {
        if (ws->input_ended || (ws->close_sent && ws->inbox.empty() && ws->ended.is_set())) {
            if (ws->read_error) std::rethrow_exception(ws->read_error);
            co_return false;
        }
        co_await ws->arrived.notified();
    }
    co_return true;
}

}  // namespace detail

WEFT_INLINE Coro<std::optional<WebSocketMessage>> WebSocket::receive(State ws) {
    if (!ws->inbox.empty() && !ws->inbox[0].begins)
        weft::detail::throw_runtime_error(
            "weft: WebSocket::recv in the middle of a message: recv_fragment has begun it");
    const bool found =
        co_await detail::until_received(ws, detail::WebSocketState::Receiver::message);
    if (!found) co_return std::nullopt;
    detail::WebSocketState::Piece piece = ws->take_piece();
    co_return WebSocketMessage(std::move(piece.data), piece.is_text);
}

WEFT_INLINE Coro<std::optional<WebSocketFragment>> WebSocket::receive_part(State ws) {
    const bool found =
        co_await detail::until_received(ws, detail::WebSocketState::Receiver::fragment);
    if (!found) co_return std::nullopt;
    detail::WebSocketState::Piece piece = ws->take_piece();
    co_return WebSocketFragment(std::move(piece.data), piece.is_text, piece.ends);
}

WEFT_INLINE AsyncGenerator<WebSocketMessage> WebSocket::receive_all(State ws) {
    for (;;) {
        std::optional<WebSocketMessage> message = co_await receive(ws);
        if (!message) co_return;
        co_yield std::move(*message);
    }
}

WEFT_INLINE Coro<void> WebSocket::send_text(State ws, std::string_view text) {
    if (!detail::is_utf8(text))
        throw std::invalid_argument("weft: WebSocket::send: the text is no UTF-8");
    return send_one(std::move(ws), detail::Opcode::text, text);
}

WEFT_INLINE Coro<void> WebSocket::send_one(State ws, detail::Opcode opcode,
                                           std::string_view payload) {
    std::uint64_t mark = 0;
    {
        const Lock::Guard turn = co_await ws->message_turn.scoped();
        ws->require_open();
        mark = ws->queue(opcode, true, payload);
    }
    co_await detail::until_written(ws, mark);
}

WEFT_INLINE Coro<WebSocketWriter> WebSocket::start(State ws, detail::Opcode opcode) {
    Lock::Guard turn = co_await ws->message_turn.scoped();
    ws->require_open();
    co_return WebSocketWriter(std::move(ws), opcode, std::move(turn));
}

WEFT_INLINE Coro<Duration> WebSocket::ping_peer(State ws) {
    ws->require_open();
    EventLoop& loop = get_running_loop();
    const TimePoint begin = loop.time();
    ws->ask_peer();
    const std::uint64_t number = ws->pings;
    while (ws->pongs < number) {
        if (ws->input_ended || ws->write_error) ws->throw_over();
        co_await ws->ponged.notified();
    }
    co_return loop.time() - begin;
}

WEFT_INLINE Coro<void> WebSocket::close(std::uint16_t code, std::string reason) {
    if (!detail::is_close_code(code))
        throw std::invalid_argument("weft: WebSocket::close: a code that may not be sent");
    if (reason.size() > detail::longest_control - 2 || !detail::is_utf8(reason))
        throw std::invalid_argument(
            "weft: WebSocket::close: a reason has 123 bytes of UTF-8 at most");
    if (!state().input_ended) state().begin_close(code, reason);
    return end(shared());
}

WEFT_INLINE Coro<void> WebSocket::end(State ws) { co_await ws->ended.wait(); }

WEFT_INLINE WebSocketWriter::~WebSocketWriter() {
    if (!state_ || !turn_ || !EventLoop::running()) return;
    try {
        state_->begin_close(WebSocketCode::internal_error, "a message was given up");
    } catch (...) {  // no memory, or the loop ends
        state_->stream.abort();
    }
}

WEFT_INLINE Coro<void> WebSocketWriter::send_part(ConstBuffer data, bool is_last) {
    if (!turn_) weft::detail::throw_runtime_error("weft: the WebSocketWriter is finished");
    const std::string_view part(static_cast<const char*>(data.data()), data.size());
    state_->require_open();
    if (is_text_) {
        detail::Utf8Check check = utf8_;
        if (!check.feed(part) || (is_last && !check.is_whole()))
            throw std::invalid_argument("weft: WebSocketWriter: the text is no UTF-8");
        utf8_ = check;
    }
    const std::uint64_t mark = state_->queue(opcode_, is_last, part);
    opcode_ = detail::Opcode::continuation;
    if (is_last) turn_ = Lock::Guard();
    co_await detail::until_written(state_, mark);
}
#endif

}  // namespace weft::http
