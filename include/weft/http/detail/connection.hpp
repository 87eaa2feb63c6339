// SPDX-License-Identifier: MIT
// Connection: the requests of one client, one after the other.
#pragma once

#include "../../base/config.hpp"
#include "app.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/error.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../base/ref.hpp"
#include "../../deadline/move_on_after.hpp"
#include "../../deadline/timeout.hpp"
#include "../../net/io.hpp"
#include "../../net/stream.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/timer_heap.hpp"
#include "../../task/coro.hpp"
#include "../../task/task.hpp"
#include "../body.hpp"
#include "../body_reader.hpp"
#include "../protocol_error.hpp"
#include "../request.hpp"
#include "../response.hpp"
#include "message_reader.hpp"

namespace weft::http::detail {

/// Lives in the frame of its task.
class Connection final : public BodySource, public weft::detail::ListNode<> {
    using Nanoseconds = weft::detail::Nanoseconds;

public:
    Connection(App& app, Stream stream)
        : app_(&app),
          stream_(std::move(stream)),
          reader_(stream_, MessageType::request, app.parser_limits()),
          watch_(*this) {
        request_.stream_ = &stream_;
        request_.body_ = BodyReader(*this);
        app.connections.push_back(*this);
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() {
        if (watch_.armed()) watch_.loop->disarm(watch_);
        unlink();
    }

    Coro<void> run();
    /// The server stops: who waits for nothing ends.
    void stop() noexcept;

    inline Coro<std::string_view> next_piece() override;

private:
    /// What the client, or the handler, is waited for.
    enum class Phase : unsigned char { idle, head, handler, body, writing, closing };

    /// One timer that is late rather than set anew for each request: it looks what the limit is by
    /// now, and goes again.
    struct Watch : weft::detail::Timer {
        explicit Watch(Connection& of) noexcept
            : Timer(&due, strikes), connection(of), loop(&get_running_loop()) {}
        static void due(Timer& timer) noexcept { static_cast<Watch&>(timer).connection.look(); }
        Connection& connection;
        EventLoop* loop;
    };

    class BodyWait;
    class Writer final : public BodyWriter {
    public:
        Writer(Connection& connection, Framing framing, std::uint64_t length) noexcept
            : BodyWriter(connection.stream_, connection.out_, framing, length),
              connection_(connection) {}
        Coro<void> end() { return finish(); }
        using BodyWriter::Framing;

    private:
        void progress() noexcept override {
            connection_.begun_ = true;
            connection_.set_limit(Phase::writing, connection_.app_->options.write_timeout);
        }
        // (A stream of events may be silent for long.)
        void written() noexcept override { connection_.set_limit(Phase::writing, Duration(0)); }
        Connection& connection_;
    };

    void set_limit(Phase phase, Duration limit) noexcept;
    void set_deadline(Phase phase, Nanoseconds deadline) noexcept;
    void look() noexcept;
    void strike() noexcept;
    void take_back_strike() noexcept;

    Coro<void> serve_requests();
    void begin_request();
    bool waits_for_head();
    void rest() noexcept;
    void earn_time(std::size_t size) noexcept;
    Coro<bool> answer_request();
    bool compose(const Response& response, bool keep_alive);
    Coro<bool> answer_large(Response& response, bool keep_alive);
    Coro<bool> answer_streamed(Response& response, bool keep_alive);
    Coro<void> take_over(Response response);
    Coro<void> run_other_protocol(Response response);
    Coro<bool> skip_body();
    Coro<void> refuse(int status);
    Coro<void> linger();
    Coro<void> watch_peer();
    bool keeps_alive(const Response& response) const noexcept;
    void append_head(const Response& response, bool keep_alive);
    static void require_answer(const Response& response);
    Response failed() const;
    void report_failure() const;

    App* app_;
    Stream stream_;
    MessageReader reader_;
    Request request_;
    std::string out_;  // what is to be sent next
    Watch watch_;
    Timeout* deadline_ = nullptr;
    Nanoseconds limit_ = weft::detail::no_deadline;
    Nanoseconds body_time_ = 0;  // what reading of this body may still take
    std::uint64_t body_read_ = 0;
    weft::detail::Ref<weft::detail::StreamState> taken_;  // by another protocol
    Phase phase_ = Phase::idle;
    Phase struck_in_ = Phase::idle;
    bool struck_ = false;
    bool gone_ = false;       // the client, while its handler runs
    bool begun_ = false;      // to write the answer
    bool continued_ = false;  // 100 was sent
    bool first_ = true;
    bool stops_late_ = false;  // the server was stopping when this request was begun
};

// --- time ----------------------------------------------------------------------------------------

inline void Connection::set_limit(Phase phase, Duration limit) noexcept {
    set_deadline(phase, limit <= Duration(0)
                            ? weft::detail::no_deadline
                            : weft::detail::deadline_after(watch_.loop->now(),
                                                           weft::detail::to_limit(limit)));
}
inline void Connection::set_deadline(Phase phase, Nanoseconds deadline) noexcept {
    phase_ = phase;
    if (struck_) [[unlikely]]
        take_back_strike();
    limit_ = deadline;
    if (deadline == weft::detail::no_deadline) return;
    EventLoop& loop = *watch_.loop;
    if (watch_.armed()) {
        if (watch_.deadline <= limit_) [[likely]]
            return;
        loop.disarm(watch_);
    }
    try {
        watch_.deadline = limit_;
        loop.arm(watch_, limit_);
    } catch (const std::bad_alloc&) {
        // Without a timer: the next limit tries again.
    }
}

/// What was waited for came all the same, in the last moment. (Where a handler has caught the
/// cancel and goes on, there is nothing to take back, and the connection ends with its answer.)
inline void Connection::take_back_strike() noexcept {
    try {
        deadline_->reschedule(std::nullopt);
        struck_ = false;
    } catch (const RuntimeError&) {
    }
}

inline void Connection::look() noexcept {
    EventLoop& loop = *watch_.loop;
    if (limit_ == weft::detail::no_deadline) return;
    if (limit_ <= loop.read_clock()) {
        strike();
        return;
    }
    try {
        watch_.deadline = limit_;
        loop.arm(watch_, limit_);
    } catch (const std::bad_alloc&) {
        strike();
    }
}

inline void Connection::strike() noexcept {
    limit_ = weft::detail::no_deadline;
    if (!deadline_) return;
    struck_in_ = phase_;
    try {
        if (!std::exchange(struck_, true)) return deadline_->reschedule(watch_.loop->time());
    } catch (...) {
    }
    stream_.abort();
}

inline void Connection::stop() noexcept {
    if (!taken_ && (phase_ != Phase::idle || reader_.has_begun())) return;
    weft::detail::StreamState& state =
        taken_ ? *taken_ : weft::detail::StreamAccess::state(stream_);
    if (state.is_closed()) return;
    // What has arrived is read, and then there is an end.
    if (const int socket = state.number(); socket < 0) {
        if (!taken_) strike();
    } else if (state.carrier) {
        state.carrier->transport->end_reads();
    } else {
        ::shutdown(socket, SHUT_RD);
    }
}

// --- reading -------------------------------------------------------------------------------------

/// Gets ready for the next request.
inline void Connection::begin_request() {
    reader_.begin(request_.head_);
    const ServerOptions& options = app_->options;
    stops_late_ = app_->stopping;
    set_limit(Phase::idle, stops_late_ ? options.grace / 2
                           : first_    ? options.head_timeout
                                       : options.idle_timeout);
}
/// What the last request has grown is not kept for as long as its client is silent.
inline void Connection::rest() noexcept {
    request_.rest();
    shed(out_);
}
/// More of the head has to come.
/// Returns:  false: none will.
inline bool Connection::waits_for_head() {
    if (reader_.at_end()) return false;
    const bool has_begun = reader_.has_begun();
    if (app_->stopping && !stops_late_ && !has_begun) return false;
    if (!has_begun) rest();
    if (phase_ == Phase::idle && has_begun) set_limit(Phase::head, app_->options.head_timeout);
    return true;
}

/// While more of the body is waited for; where that is given up, the handler goes on.
class Connection::BodyWait {
public:
    explicit BodyWait(Connection& connection)
        : connection_(connection),
          before_(connection.phase_),
          limit_(connection.limit_),
          begin_(connection.watch_.loop->now()) {
        const bool limited = connection.app_->options.body_timeout > Duration(0);
        if (limited && connection.body_time_ <= 0)
            throw ProtocolError(408, "weft: HTTP: a body that is too slow");
        connection.set_limit(Phase::body, Duration(limited ? connection.body_time_ : 0));
    }
    BodyWait(const BodyWait&) = delete;
    BodyWait& operator=(const BodyWait&) = delete;
    ~BodyWait() {
        const Nanoseconds waited = connection_.watch_.loop->now() - begin_;
        connection_.body_time_ -= waited;
        connection_.set_deadline(before_, limit_ == weft::detail::no_deadline
                                              ? limit_
                                              : weft::detail::deadline_after(limit_, waited));
    }

private:
    Connection& connection_;
    Phase before_;
    Nanoseconds limit_;
    Nanoseconds begin_;
};

/// What arrives gives back time that was waited, and no more than that: who has sent a gigabyte at
/// once shall not have earned weeks of silence.
inline void Connection::earn_time(std::size_t size) noexcept {
    const ServerOptions& options = app_->options;
    if (options.min_body_rate == 0) return;
    const auto earned =
        static_cast<Nanoseconds>(std::uint64_t{size} * 1'000'000'000 / options.min_body_rate);
    const Nanoseconds most = weft::detail::to_limit(options.body_timeout);
    body_time_ = most - earned > body_time_ ? body_time_ + earned : most;
}

inline Coro<std::string_view> Connection::next_piece() {
    try {
        if (request_.head_.body == BodyLength::known && request_.head_.length > request_.max_body_)
            throw ProtocolError(413, "weft: HTTP: a body that is too large");
        std::string_view piece = reader_.take_body();
        if (piece.empty() && !reader_.is_complete()) {
            if (request_.head_.expects_continue && !continued_ && !begun_) {
                continued_ = true;
                co_await stream_.write("HTTP/1.1 100 Continue\r\n\r\n");
            }
            const BodyWait wait(*this);
            piece = co_await reader_.read_body();
        }
        body_read_ += piece.size();
        if (body_read_ > request_.max_body_)
            throw ProtocolError(413, "weft: HTTP: a body that is too large");
        earn_time(piece.size());
        co_return piece;
    } catch (const ProtocolError&) {
        has_failed = true;
        throw;
    }
}

/// What a handler has left of its request's body.
/// Returns:  false: too much, or it is not worth waiting for.
inline Coro<bool> Connection::skip_body() {
    if (reader_.is_complete()) co_return true;
    if (request_.head_.expects_continue && !continued_) co_return false;
    const std::uint64_t most = app_->options.max_unread;
    if (request_.head_.body == BodyLength::known && request_.head_.length - body_read_ > most)
        co_return false;
    request_.max_body_ = body_read_ + most;
    try {
        for (;;) {
            const std::string_view piece = co_await next_piece();
            if (piece.empty()) co_return true;
        }
    } catch (const ProtocolError&) {
    }
    co_return false;
}

}  // namespace weft::http::detail
#endif
