// SPDX-License-Identifier: MIT
// How a Connection answers, and what ends it.
#pragma once

#include "../../base/config.hpp"
#include "connection.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <poll.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "../../base/error.hpp"
#include "../../deadline/timeout.hpp"
#include "../../net/io.hpp"
#include "../../task/task.hpp"
#include "../http_error.hpp"
#include "../protocol_error.hpp"
#include "../response.hpp"
#include "date.hpp"
#include "text.hpp"

namespace weft::http::detail {

// --- writing -------------------------------------------------------------------------------------

inline bool Connection::keeps_alive(const Response& response) const noexcept {
    return request_.head_.keep_alive && !app_->stopping && !struck_ &&
           !response.headers.has_token("connection", "close");
}

inline void append_status(std::string& out, int status) {
    out.append("HTTP/1.1 ");
    append_number(out, static_cast<std::uint64_t>(status));
    out.push_back(' ');
    out.append(reason_of(status));
    out.append("\r\n");
}

/// All but the fields that say how long the body is, and the empty line.
inline void Connection::append_head(const Response& response, bool keep_alive) {
    append_status(out_, response.status);
    bool has_date = false;
    for (const Headers::Field field : response.headers) {
        const std::size_t size = field.name.size();
        if (size == 14 && same_name(field.name, "content-length")) continue;
        if (size == 17 && same_name(field.name, "transfer-encoding")) continue;
        if (size == 10 && response.status != 101 && same_name(field.name, "connection")) continue;
        has_date = has_date || (size == 4 && same_name(field.name, "date"));
        out_.append(field.name).append(": ").append(field.value).append("\r\n");
    }
    if (!has_date) out_.append("Date: ").append(date_now()).append("\r\n");
    if (response.status == 101) return;
    if (!keep_alive) {
        out_.append("Connection: close\r\n");
    } else if (request_.head_.minor_version == 0) {
        out_.append("Connection: keep-alive\r\n");
    }
}

/// Puts the answer into `out_`, all of it if that is small.
/// Returns:  whether there is more of it.
inline bool Connection::compose(const Response& response, bool keep_alive) {
    constexpr std::size_t small = 16 * 1024;
    if (response.body.is_streamed()) return true;
    out_.clear();
    append_head(response, keep_alive);
    const int status = response.status;
    const std::string& bytes = response.body.bytes();
    const bool no_body = status / 100 == 1 || status == 204 || status == 304;
    if (!no_body) {
        out_.append("Content-Length: ");
        append_number(out_, bytes.size());
        out_.append("\r\n");
    }
    out_.append("\r\n");
    begun_ = true;
    if (no_body || request_.head_.method == "HEAD") return false;
    if (bytes.size() > small) return true;
    out_.append(bytes);
    return false;
}

/// Returns:  whether the connection is kept.
inline Coro<bool> Connection::answer_large(Response& response, bool keep_alive) {
    if (response.body.is_streamed()) {
        const bool kept = co_await answer_streamed(response, keep_alive);
        co_return kept;
    }
    const std::string& bytes = response.body.bytes();
    Writer writer(*this, Writer::Framing::known, bytes.size());
    co_await writer.write(bytes);
    co_return keep_alive;
}

/// Whose connection has ended: nobody's mistake.
inline bool is_client_gone(const std::system_error& error) noexcept {
    const int code = error.code().value();
    return code == EPIPE || code == ECONNRESET || code == ETIMEDOUT || code == ECANCELED;
}

struct AbortUnlessDone {
    explicit AbortUnlessDone(Stream& of) noexcept : stream(of) {}
    AbortUnlessDone(const AbortUnlessDone&) = delete;
    AbortUnlessDone& operator=(const AbortUnlessDone&) = delete;
    ~AbortUnlessDone() {
        if (!done) stream.abort();
    }
    Stream& stream;
    bool done = false;
};

inline Coro<bool> Connection::answer_streamed(Response& response, bool keep_alive) {
    const int status = response.status;
    const std::optional<std::uint64_t> length = response.body.length();
    auto framing = Writer::Framing::nothing;
    const bool no_body = status / 100 == 1 || status == 204 || status == 304;
    if (!no_body && length) {
        framing = Writer::Framing::known;
    } else if (!no_body && request_.head_.minor_version == 0) {
        framing = Writer::Framing::to_end;
        keep_alive = false;
    } else if (!no_body) {
        framing = Writer::Framing::chunked;
    }
    out_.clear();
    append_head(response, keep_alive);
    if (framing == Writer::Framing::known) {
        out_.append("Content-Length: ");
        append_number(out_, *length);
        out_.append("\r\n");
    } else if (framing == Writer::Framing::chunked) {
        out_.append("Transfer-Encoding: chunked\r\n");
    }
    out_.append("\r\n");
    if (request_.head_.method == "HEAD") framing = Writer::Framing::nothing;
    Writer writer(*this, framing, length.value_or(0));
    // (Whatever ends it before its end: a close in order would make it look whole.)
    AbortUnlessDone cut(stream_);
    try {
        if (framing != Writer::Framing::nothing) co_await response.body.write_to(writer);
        co_await writer.end();
    } catch (const std::system_error& error) {
        if (!is_client_gone(error)) report_failure();
        throw;
    } catch (const std::exception&) {
        report_failure();
        co_return false;
    }
    cut.done = true;
    co_return keep_alive;
}

/// An answer of the server's own to what is no request, or not one that can be served.
inline Coro<void> Connection::refuse(int status) {
    if (begun_) co_return;  // there is half an answer already
    Response response(std::string(reason_of(status)), status);
    try {
        compose(response, false);
        set_limit(Phase::writing, app_->options.write_timeout);
        co_await stream_.write(out_);
        co_await linger();
    } catch (const std::system_error&) {  // the client has gone
    }
}

/// A close with bytes unread would make the kernel reset the connection, and the client lose the
/// answer that it has not read yet.
inline Coro<void> Connection::linger() {
    constexpr std::uint64_t most = std::uint64_t{4} * 1024 * 1024;
    set_limit(Phase::closing, std::chrono::seconds(app_->stopping ? 1 : 5));
    try {
        co_await stream_.write_eof();
        for (std::uint64_t read = 0; read < most;) {
            const Chunk chunk = co_await stream_.read_chunk();
            if (chunk.empty()) break;
            read += chunk.size();
        }
    } catch (const std::system_error&) {
    }
}

// --- serving -------------------------------------------------------------------------------------

/// In a catch block.
inline void Connection::report_failure() const {
    const std::string line =
        weft::detail::concat({"HTTP: ", request_.method(), " ", request_.target()});
    app_->report(line, std::current_exception());
}

/// A status that ends its request; the client goes on waiting behind the others (1xx), and takes
/// the answer to its next request for that to this one.
constexpr bool is_final(int status) noexcept { return status >= 200 && status <= 599; }

/// Throws:   RuntimeError for what is no answer to a request.
inline void Connection::require_answer(const Response& response) {
    if (is_final(response.status) || (response.status == 101 && response.takeover_)) return;
    const std::string status = weft::detail::decimal(response.status);
    weft::detail::throw_runtime_error({"weft: HTTP: no status for an answer: ", status});
}

/// Of what the next request may find enough: descriptors, memory.
inline bool is_shortage(const std::system_error& error) noexcept {
    const int code = error.code().value();
    const bool is_errno = error.code().category() == std::generic_category() ||
                          error.code().category() == std::system_category();
    return is_errno && (code == EMFILE || code == ENFILE || code == ENOMEM || code == ENOBUFS);
}

/// In a catch block: what a handler's exception is answered with.
inline Response Connection::failed() const {
    const auto plain = [](int status, std::string text) {
        return Response(std::move(text), status);
    };
    try {
        throw;
    } catch (const HttpError& error) {
        if (is_final(error.status())) return plain(error.status(), error.what());
        report_failure();
    } catch (const ProtocolError& error) {
        // (Where its request is in order it is about what another server has sent to a handler.)
        if (has_failed) {
            Response response = plain(error.status(), std::string(reason_of(error.status())));
            response.headers.add("Connection", "close");
            return response;
        }
        report_failure();
    } catch (const std::system_error& error) {
        report_failure();
        if (is_shortage(error)) return plain(503, std::string(reason_of(503)));
    } catch (const std::bad_alloc&) {
        report_failure();
        return plain(503, std::string(reason_of(503)));
    } catch (...) {
        report_failure();
    }
    return plain(500, std::string(reason_of(500)));
}

inline Coro<void> Connection::watch_peer() {
    co_await io::poll(stream_.fd(), POLLRDHUP);
    if (phase_ != Phase::handler) co_return;
    gone_ = true;
    strike();
}

/// Returns:  whether the connection is kept.
inline Coro<bool> Connection::answer_request() {
    request_.split_target();
    request_.max_body_ = app_->options.max_body;
    body_read_ = 0;
    body_time_ = weft::detail::to_limit(app_->options.body_timeout);
    begun_ = continued_ = has_failed = false;
    set_limit(Phase::handler, app_->options.handler_timeout);
    Task<void> watching;
    if (app_->options.cancel_on_disconnect && stream_.fd() >= 0) [[unlikely]] {
        // (It ends before this coroutine does.)
        watching = create_task(watch_peer());
    }
    std::optional<Response> response;
    std::exception_ptr cancelled;
    try {
        response.emplace(co_await app_->router.handle(request_));
        require_answer(*response);
    } catch (const std::exception&) {
        response.emplace(failed());
    } catch (const CancelledError&) {
        cancelled = std::current_exception();
    } catch (...) {
        response.emplace(failed());
    }
    if (watching) [[unlikely]]
        watching.cancel();
    while (watching && !watching.done()) {
        try {
            co_await watching.wait();
        } catch (const CancelledError&) {
            cancelled = std::current_exception();
        }
    }
    if (cancelled) std::rethrow_exception(cancelled);
    if (response->status == 101) {
        co_await take_over(*std::move(response));
        co_return false;
    }
    bool keep = keeps_alive(*response);
    const bool complete = reader_.is_complete();
    if (keep && !complete && request_.head_.expects_continue && !continued_) keep = false;
    if (!compose(*response, keep)) [[likely]] {
        set_limit(Phase::writing, app_->options.write_timeout);
        co_await stream_.write(out_);
    } else {
        keep = co_await answer_large(*response, keep);
    }
    if (app_->stopping && !reader_.has_rest()) keep = false;  // although it may have said otherwise
    if (complete && keep) co_return true;
    const bool skipped = keep && co_await skip_body();
    if (skipped) co_return true;
    if (!stream_.is_closed() && (!complete || reader_.has_rest())) co_await linger();
    co_return false;
}

inline Coro<void> Connection::take_over(Response response) {
    // The other protocol begins behind the request: what is left of its body is none of it.
    const bool is_behind = co_await skip_body();
    if (is_behind) {
        co_await run_other_protocol(std::move(response));
    } else {
        co_await refuse(413);
    }
}
inline Coro<void> Connection::run_other_protocol(Response response) {
    out_.clear();
    append_head(response, true);
    out_.append("\r\n");
    begun_ = true;
    set_limit(Phase::writing, app_->options.write_timeout);
    co_await stream_.write(out_);
    set_limit(Phase::closing, Duration(0));
    taken_ = weft::detail::Ref<weft::detail::StreamState>::to(
        weft::detail::StreamAccess::state(stream_));
    // (A server that has begun to stop meanwhile could not tell the other protocol.)
    if (app_->stopping) stop();
    std::string rest = reader_.take_rest();
    // (All that is still said of the request is its line, in reports.)
    request_.head_.headers = Headers();
    request_.params_.clear();
    shed(out_);
    Takeover& takeover = response.takeover_;
    try {
        Coro<void> taken = takeover(std::move(stream_), std::move(rest));
        co_await std::move(taken);
    } catch (const std::system_error& error) {
        if (!is_client_gone(error)) report_failure();
    } catch (const std::exception&) {
        report_failure();
    }
}

inline Coro<void> Connection::serve_requests() {
    int refused = 0;
    try {
        for (;;) {
            begin_request();
            while (!reader_.parse_head()) {
                if (!waits_for_head()) co_return;
                Chunk chunk = co_await stream_.read_chunk();
                reader_.received(std::move(chunk));
            }
            first_ = false;
            const bool kept = co_await answer_request();
            if (!kept) co_return;
        }
    } catch (const ProtocolError& error) {
        refused = error.status();
    }
    begun_ = false;
    co_await refuse(refused);
}

inline Coro<void> Connection::run() {
    Timeout deadline(std::nullopt);
    deadline_ = &deadline;
    bool timed_out = false;
    try {
        co_await timeout(deadline, [this] { return serve_requests(); });
    } catch (const TimeoutError&) {
        timed_out = true;
    } catch (const std::system_error&) {
        // The client has gone; whose handler had to do with it has been told.
    }
    deadline_ = nullptr;
    struck_ = false;
    const Phase in = struck_in_;
    if (!timed_out || gone_ || in == Phase::idle || in == Phase::closing) co_return;
    if (in == Phase::writing || begun_) {
        stream_.abort();
        co_return;
    }
    const int status = in == Phase::handler ? 503 : 408;
    Timeout last(std::nullopt);
    deadline_ = &last;
    try {
        co_await timeout(last, [this, status] { return refuse(status); });
    } catch (const TimeoutError&) {
    }
    deadline_ = nullptr;
}

}  // namespace weft::http::detail
#endif
