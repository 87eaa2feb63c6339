// SPDX-License-Identifier: MIT
// WebSocketState: what a WebSocket is made of: frames on their way out, messages that have come.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/ref.hpp"
#include "../../base/ring_buffer.hpp"
#include "../../net/stream.hpp"
#include "../../runtime/handle.hpp"
#include "../../runtime/loop.hpp"
#include "../../sync/event.hpp"
#include "../../sync/lock.hpp"
#include "../../sync/notify.hpp"
#include "../../task/coro.hpp"
#include "../../task/task.hpp"
#include "../websocket_error.hpp"
#include "../websocket_options.hpp"
#include "message_head.hpp"
#include "random_bytes.hpp"
#include "websocket_frames.hpp"

namespace weft::http::detail {

/// Two tasks work for it: one that reads for as long as the connection lasts, so that pings and
/// closes are answered whatever the program does, and one that writes while there is anything to be
/// written. Neither is the user's: a cancel of his tears no frame apart and loses no message.
struct WebSocketState : weft::detail::Counted<WebSocketState> {
    /// A message that has come, or what was not taken of it yet.
    struct Piece {
        std::string data;
        bool is_text = false;
        bool begins = false;
        bool ends = false;
    };
    enum class Receiver : unsigned char { none, message, fragment };

    WebSocketState(Stream connected, WebSocketRole which, WebSocketOptions with,
                   std::string what_it_is)
        : stream(std::move(connected)),
          role(which),
          options(with),
          name(std::move(what_it_is)),
          decoder(which, with.max_frame, with.max_message) {}
    ~WebSocketState() { stop_timers(); }

    // Out.

    /// Appends a frame to what is written.
    /// Returns:  what `written` is when it is out.
    /// Throws:   std::bad_alloc; nothing was appended then.
    std::uint64_t queue(Opcode opcode, bool is_last, std::string_view payload);
    void answer_ping(std::string_view payload);
    void write_soon();
    /// Throws:   WebSocketClosed after a close of either side; what the connection broke from.
    void require_open() const;
    /// No more than one close frame is sent. From now on the peer has `close_timeout`.
    void begin_close(std::uint16_t code, std::string_view reason);

    // In.

    /// Returns:  false: the peer has closed, and nothing more will come.
    bool take(std::string_view input);
    void take_pong(std::string_view payload);
    void take_close(std::string_view payload);
    bool has_enough() noexcept;
    bool can_receive(Receiver how) noexcept {
        if (inbox.empty()) return false;
        return inbox[0].ends || (how == Receiver::fragment && !inbox[0].data.empty());
    }
    Piece take_piece() noexcept;
    /// Wakes everybody who waits for something that comes.
    void end_input() noexcept;
    [[noreturn]] void throw_over() const;

    // The peer's life.

    void ask_peer();
    void watch_peer();
    void peer_is_due();
    void limit_close();
    void stop_timers() noexcept {
        ping_timer.cancel();
        close_timer.cancel();
    }

    Stream stream;
    WebSocketRole role;
    WebSocketOptions options;
    std::string name;
    std::string subprotocol;

    std::string out;         // waits to be written
    std::string on_its_way;  // is being written
    std::string last_ping;   // to be answered when there is room
    std::uint64_t queued = 0;
    std::uint64_t written = 0;
    std::size_t queued_pongs = 0;  // bytes of them in `out`
    std::exception_ptr write_error;
    Notify progress;
    Lock message_turn;  // a message of several frames is being sent

    FrameDecoder decoder;
    weft::detail::RingBuffer<Piece> inbox;
    std::string fresh;  // where a new message begins
    std::size_t inbox_bytes = 0;
    std::exception_ptr read_error;
    Notify arrived;
    Notify room;
    Notify ponged;
    Event ended;                        // the connection is closed
    std::uint32_t frames_in_a_row = 0;  // since others had their turn
    std::uint64_t pings = 0;
    std::uint64_t pongs = 0;

    TimePoint last_heard;
    TimePoint asked_at;  // whether it is there
    TimerHandle ping_timer;
    TimerHandle close_timer;
    std::uint16_t sent_code = 0;
    std::uint16_t code = 0;  // what the WebSocket was closed with; 0: it is not
    std::string reason;
    Receiver receiver = Receiver::none;
    bool is_writing = false;
    bool has_last_ping = false;
    bool close_sent = false;
    bool close_received = false;
    bool input_ended = false;
    bool is_asked = false;
    bool close_is_limited = false;
};

/// Writes until nothing is left.
Coro<void> write_frames(weft::detail::Ref<WebSocketState> ws);
/// Until everything up to there is out.
/// Throws:   what the connection broke from.
Coro<void> until_written(weft::detail::Ref<WebSocketState> ws, std::uint64_t mark);

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
WEFT_INLINE std::uint64_t WebSocketState::queue(Opcode opcode, bool is_last,
                                                std::string_view payload) {
    const std::size_t before = out.size();
    if (role == WebSocketRole::client) {
        Mask mask;
        random_bytes(mask.bytes, sizeof mask.bytes);
        append_frame(out, opcode, is_last, payload, &mask);
    } else {
        append_frame(out, opcode, is_last, payload, nullptr);
    }
    queued += out.size() - before;
    const std::uint64_t mark = queued;
    write_soon();
    return mark;
}

/// A peer that asks and does not read the answers shall not fill our memory. Section 5.5.3: the
/// most recent of the pings is to be answered.
WEFT_INLINE void WebSocketState::answer_ping(std::string_view payload) {
    constexpr std::size_t most_pongs = 4096;
    if (queued_pongs < most_pongs) {
        queued_pongs += payload.size() + 2;
        queue(Opcode::pong, true, payload);
    } else {
        last_ping = payload;
        has_last_ping = true;
    }
}

WEFT_INLINE void WebSocketState::write_soon() {
    if (is_writing || write_error) return;
    is_writing = true;
    try {
        static_cast<void>(create_task(write_frames(weft::detail::Ref<WebSocketState>::to(*this)),
                                      TaskOptions("websocket writer", true)));
    } catch (...) {
        is_writing = false;
        throw;
    }
}

/// What is left of the WebSocket when the writer ends.
[[gnu::cold, gnu::noinline]] inline void writer_failed(WebSocketState& ws) noexcept {
    ws.write_error = std::current_exception();
    ws.is_writing = false;
    ws.progress.notify_waiters();
}

WEFT_INLINE Coro<void> write_frames(weft::detail::Ref<WebSocketState> ws) {
    try {
        for (;;) {
            if (std::exchange(ws->has_last_ping, false)) {
                const std::string payload = std::move(ws->last_ping);
                ws->queue(Opcode::pong, true, payload);
            }
            if (ws->out.empty()) break;
            ws->on_its_way.clear();
            ws->on_its_way.swap(ws->out);
            ws->queued_pongs = 0;
            co_await ws->stream.write(ws->on_its_way);
            ws->written += ws->on_its_way.size();
            ws->progress.notify_waiters();
        }
    } catch (const CancelledError&) {
        // The loop ends. A frame may be cut, and nothing can follow it.
        writer_failed(*ws);
        ws->stream.abort();
        throw;
    } catch (...) {
        writer_failed(*ws);
        co_return;
    }
    // (An idle connection holds no buffers. What was queued meanwhile has made them change places.)
    shed(ws->on_its_way);
    shed(ws->out);
    ws->is_writing = false;
}

WEFT_INLINE Coro<void> until_written(weft::detail::Ref<WebSocketState> ws, std::uint64_t mark) {
    while (ws->written < mark) {
        if (ws->write_error) ws->throw_over();
        co_await ws->progress.notified();
    }
}

WEFT_INLINE void WebSocketState::require_open() const {
    if (close_sent || close_received) {
        const std::uint16_t with = code != 0 ? code : sent_code;
        throw WebSocketClosed(with, concat({name, ": it is closed (", decimal(with),
                                            reason.empty() ? "" : ": ", reason, ")"}));
    }
    if (input_ended || write_error) throw_over();
}

WEFT_INLINE void WebSocketState::throw_over() const {
    // (What came in tells more than that nothing goes out any more.)
    if (read_error) std::rethrow_exception(read_error);
    if (write_error) std::rethrow_exception(write_error);
    throw WebSocketClosed(code, concat({name, ": it is closed (", decimal(code), ")"}));
}

WEFT_INLINE void WebSocketState::begin_close(std::uint16_t with, std::string_view why) {
    if (std::exchange(close_sent, true)) return;
    sent_code = with;
    limit_close();
    room.notify_one();  // what still comes is not kept
    if (!write_error) queue(Opcode::close, true, close_payload(with, why));
}

WEFT_INLINE void WebSocketState::limit_close() {
    ping_timer.cancel();
    if (std::exchange(close_is_limited, true)) return;
    EventLoop& loop = get_running_loop();
    close_timer = loop.call_at(weft::detail::end_of_limit(loop.time(), options.close_timeout),
                               [this] { stream.abort(); });
}

WEFT_INLINE bool WebSocketState::take(std::string_view input) {
    for (;;) {
        const bool goes_on = !inbox.empty() && !inbox[inbox.size() - 1].ends;
        std::string& into = goes_on ? inbox[inbox.size() - 1].data : fresh;
        const std::size_t before = into.size();
        const FrameEvent event = decoder.next(input, into);
        ++frames_in_a_row;
        switch (event.kind) {
            case FrameEvent::Kind::nothing:
                return true;
            case FrameEvent::Kind::ping:
                if (!close_sent) answer_ping(decoder.control());
                break;
            case FrameEvent::Kind::pong:
                take_pong(decoder.control());
                break;
            case FrameEvent::Kind::close:
                take_close(decoder.control());
                return false;
            case FrameEvent::Kind::data:
                if (close_sent) {
                    into.resize(before);
                    break;
                }
                inbox_bytes += into.size() - before;
                if (!goes_on) {
                    Piece piece;
                    piece.data.swap(fresh);
                    piece.is_text = event.is_text;
                    piece.begins = event.begins;
                    inbox_bytes += sizeof(Piece);
                    inbox.push_back(std::move(piece));
                }
                inbox[inbox.size() - 1].ends = event.ends;
                if (receiver != Receiver::none && can_receive(receiver)) arrived.notify_one();
        }
    }
}

WEFT_INLINE void WebSocketState::take_pong(std::string_view payload) {
    if (payload.size() != 8) return;  // one that nobody has asked for: section 5.5.3
    std::uint64_t number = 0;
    for (const char byte : payload) number = number << 8 | static_cast<unsigned char>(byte);
    if (number > pings || number <= pongs) return;
    pongs = number;
    ponged.notify_waiters();
}

WEFT_INLINE void WebSocketState::take_close(std::string_view payload) {
    close_received = true;
    code = WebSocketCode::none;
    if (payload.size() >= 2) {
        code = static_cast<std::uint16_t>(static_cast<unsigned char>(payload[0]) << 8 |
                                          static_cast<unsigned char>(payload[1]));
        reason = payload.substr(2);
    }
    begin_close(code, std::string_view());
}

/// A message that somebody waits for is read to its end: it has a limit of its own.
WEFT_INLINE bool WebSocketState::has_enough() noexcept {
    if (close_sent || inbox.empty() || inbox_bytes < options.read_ahead) return false;
    return receiver != Receiver::message || inbox[0].ends;
}

WEFT_INLINE WebSocketState::Piece WebSocketState::take_piece() noexcept {
    Piece piece = inbox.pop_front();
    inbox_bytes -= piece.data.size() + sizeof(Piece);
    if (inbox.empty() && inbox.capacity() * sizeof(Piece) > standing_room) inbox.release();
    if (!has_enough()) room.notify_one();
    return piece;
}

WEFT_INLINE void WebSocketState::end_input() noexcept {
    input_ended = true;
    ping_timer.cancel();
    arrived.notify_one();
    ponged.notify_waiters();
    progress.notify_waiters();
}

WEFT_INLINE void WebSocketState::ask_peer() {
    ++pings;
    std::string payload;
    for (int byte = 7; byte >= 0; --byte) payload.push_back(static_cast<char>(pings >> (8 * byte)));
    queue(Opcode::ping, true, payload);
}

WEFT_INLINE void WebSocketState::watch_peer() {
    if (options.ping_interval <= Duration(0)) return;
    EventLoop& loop = get_running_loop();
    last_heard = loop.time();
    ping_timer = loop.call_at(weft::detail::end_of_limit(last_heard, options.ping_interval),
                              [this] { peer_is_due(); });
}

/// Anything that comes from it is a sign of life. A program that does not receive hears none.
WEFT_INLINE void WebSocketState::peer_is_due() {
    if (close_sent || input_ended) return;
    EventLoop& loop = get_running_loop();
    const TimePoint now = loop.time();
    if (has_enough()) last_heard = now;
    if (last_heard >= asked_at) is_asked = false;
    const TimePoint due = weft::detail::end_of_limit(last_heard, options.ping_interval);
    if (is_asked || (now >= due && write_error)) {
        read_error = std::make_exception_ptr(TimeoutError(concat(
            {"timed out: ", name, ": the peer has not answered a ping for ",
             decimal(std::chrono::duration_cast<std::chrono::milliseconds>(options.ping_timeout)
                         .count()),
             " ms"})));
        stream.abort();
    } else if (now < due) {
        ping_timer = loop.call_at(due, [this] { peer_is_due(); });
    } else {
        is_asked = true;
        asked_at = now;
        ask_peer();
        ping_timer = loop.call_at(weft::detail::end_of_limit(now, options.ping_timeout),
                                  [this] { peer_is_due(); });
    }
}
#endif

}  // namespace weft::http::detail
