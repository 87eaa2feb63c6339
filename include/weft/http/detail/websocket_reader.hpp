// SPDX-License-Identifier: MIT
// The task that reads for a WebSocket, and sees to its end.
#pragma once

#include "../../base/config.hpp"
#include "../../base/ref.hpp"
#include "../../task/coro.hpp"
#include "websocket_state.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <exception>
#include <string>
#include <system_error>

#include "../../base/error.hpp"
#include "../../net/chunk.hpp"
#include "../../runtime/loop.hpp"
#include "../../task/sleep.hpp"
#include "../websocket_error.hpp"
#endif

namespace weft::http::detail {

/// Reads until the peer closes, or something is wrong, and then ends the connection.
/// `ahead`: what was read behind the handshake.
Coro<void> read_frames(weft::detail::Ref<WebSocketState> ws, std::string ahead);

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
/// Reading has ended although the peer has not closed: our server stops, and has told its handlers
/// so (shutdown(2) with SHUT_RD). Of a Unix socket one cannot tell that from a peer that has ended
/// its half alone.
[[gnu::cold, gnu::noinline]] inline bool is_server_stopping(const WebSocketState& ws) noexcept {
    if (ws.role != WebSocketRole::server || ws.stream.is_closed()) return false;
    const int socket = ws.stream.fd();
    tcp_info info{};
    socklen_t size = sizeof info;
    if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
        return info.tcpi_state == TCP_ESTABLISHED;
    pollfd now{socket, POLLIN, 0};
    return socket >= 0 && ::poll(&now, 1, 0) >= 0 && !(now.revents & (POLLHUP | POLLERR));
}

/// The connection has come to its end without a close frame.
[[gnu::cold, gnu::noinline]] inline void input_was_cut(WebSocketState& ws) {
    if (!ws.close_sent && is_server_stopping(ws)) {
        ws.code = WebSocketCode::going_away;
        ws.begin_close(WebSocketCode::going_away, std::string_view());
        return;
    }
    ws.code = WebSocketCode::abnormal;
    if (ws.close_sent || ws.read_error) return;  // (It may go as well without an answer.)
    ws.read_error = std::make_exception_ptr(
        WebSocketError(WebSocketCode::abnormal,
                       concat({ws.name, ": the connection has ended without a close frame"})));
}

[[gnu::cold, gnu::noinline]] inline void peer_broke_rules(WebSocketState& ws,
                                                          const WebSocketError& error) {
    // (The decoder does not know whose bytes they are.)
    constexpr std::string_view prefix = "websocket";
    ws.read_error = std::make_exception_ptr(WebSocketError(
        error.code(), concat({ws.name, std::string_view(error.what()).substr(prefix.size())})));
    ws.code = error.code();
    ws.begin_close(error.code(), std::string_view());
}

/// Whatever was to be sent is out, or never will be.
inline Coro<void> until_quiet(weft::detail::Ref<WebSocketState> ws) {
    while (ws->is_writing) co_await ws->progress.notified();
}

/// Section 7.1.1: a server closes first. Whoever closes with something unread makes the kernel
/// reset the connection, and the peer may lose what we said last: that is read before.
inline Coro<void> close_connection(weft::detail::Ref<WebSocketState> ws, bool is_broken) {
    co_await until_quiet(ws);
    const bool waits = is_broken || ws->role == WebSocketRole::client;
    if (waits && !ws->stream.is_closed()) {
        if (is_broken) co_await ws->stream.write_eof();
        for (;;) {
            const Chunk chunk = co_await ws->stream.read_chunk();
            if (chunk.empty()) break;
        }
    }
    co_await ws->stream.close();
}

WEFT_INLINE Coro<void> read_frames(weft::detail::Ref<WebSocketState> ws, std::string ahead) {
    bool is_broken = false;
    bool is_gone = false;  // nobody to say goodbye to
    std::exception_ptr cancelled;
    try {
        bool goes_on = ws->take(ahead);
        std::string().swap(ahead);
        while (goes_on) {
            while (ws->has_enough()) co_await ws->room.notified();
            // (What has arrived is read without a wait, and of pings a read finds thousands.)
            if (ws->frames_in_a_row > 2000) {
                ws->frames_in_a_row = 0;
                co_await yield();
            }
            const Chunk chunk = co_await ws->stream.read_chunk();
            ws->last_heard = get_running_loop().time();
            if (chunk.empty()) {
                input_was_cut(*ws);
                is_gone = true;
                break;
            }
            goes_on = ws->take(chunk.view());
        }
    } catch (const WebSocketError& error) {
        peer_broke_rules(*ws, error);
        is_broken = true;
    } catch (const CancelledError&) {
        cancelled = std::current_exception();
    } catch (...) {
        if (!ws->read_error && !ws->close_sent) ws->read_error = std::current_exception();
        if (ws->code == 0) ws->code = WebSocketCode::abnormal;
        is_gone = true;
    }
    ws->end_input();
    if (!cancelled) {
        try {
            ws->limit_close();
            if (is_gone) {
                co_await until_quiet(ws);
                co_await ws->stream.close();
            } else {
                co_await close_connection(ws, is_broken);
            }
        } catch (const CancelledError&) {
            cancelled = std::current_exception();
        } catch (...) {  // the peer has gone, or has not in time: so do we
        }
    }
    ws->stop_timers();
    ws->stream.abort();
    ws->ended.set();
    if (cancelled) std::rethrow_exception(cancelled);
}
#endif

}  // namespace weft::http::detail
