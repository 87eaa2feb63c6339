// SPDX-License-Identifier: MIT
// server_sent_events: an answer that goes on for as long as there are events (EventSource in a
// browser).
#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "../base/config.hpp"
#include "../task/coro.hpp"
#include "body.hpp"
#include "response.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <stdexcept>

#include "../base/buffer.hpp"
#endif

namespace weft::http {

/// Where the events go. Each goes out at once.
class EventWriter {
public:
    explicit EventWriter(BodyWriter& out) noexcept : out_(&out) {}

    /// `data` may have several lines. A browser tells `event` apart, and says the last `id` that it
    /// has got when it connects again (`Last-Event-ID`).
    /// Throws:   std::invalid_argument for a line break in `event` or `id`; std::system_error
    ///           (send) when the client has gone; CancelledError.
    Coro<void> send(std::string_view data, std::string_view event = {}, std::string_view id = {});
    /// Says nothing, so that proxies keep the connection, and that a client that has gone is
    /// noticed.
    Coro<void> keep_alive();

private:
    BodyWriter* out_;
};

/// `fn(EventWriter&)`, which returns a Coro<void>, runs until it has no more events, until the
/// client has gone (its write throws), or the server's grace is over (it is cancelled). A program
/// that stops in order ends its streams itself: by `wait_for_stop`, or what it waits for.
template <class Fn>
Response server_sent_events(Fn fn) {
    static_assert(std::is_invocable_r_v<Coro<void>, Fn&, EventWriter&>,
                  "weft: server_sent_events takes a function of http::EventWriter& that returns a "
                  "Coro<void>");
    auto write = [fn = std::move(fn)](BodyWriter& out) mutable -> Coro<void> {
        EventWriter events(out);
        co_await fn(events);
    };
    Response response(Body::written_by(std::move(write)), "text/event-stream");
    response.headers.add("Cache-Control", "no-store");
    return response;
}

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
WEFT_INLINE Coro<void> EventWriter::send(std::string_view data, std::string_view event,
                                         std::string_view id) {
    std::string text;
    for (const std::string_view field : {event, id}) {
        if (field.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos)
            throw std::invalid_argument("weft: a line break in the name or the id of an event");
    }
    if (!event.empty()) text.append("event: ").append(event).append("\n");
    if (!id.empty()) text.append("id: ").append(id).append("\n");
    for (bool more = true; more;) {
        // (CR LF, LF and CR each end a line of it.)
        const std::size_t end = data.find_first_of("\r\n");
        more = end != std::string_view::npos;
        text.append("data: ").append(data.substr(0, end)).append("\n");
        if (more) data.remove_prefix(end + (data.substr(end, 2) == "\r\n" ? 2 : 1));
    }
    text.append("\n");
    co_await out_->write(text);
}
WEFT_INLINE Coro<void> EventWriter::keep_alive() { return out_->write(":\n\n"); }
#endif

}  // namespace weft::http
