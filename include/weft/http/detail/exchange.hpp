// SPDX-License-Identifier: MIT
// Exchange: one request on one connection, and the response that comes back.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/owned.hpp"
#include "../../base/ref.hpp"
#include "../../runtime/loop.hpp"
#include "../../task/coro.hpp"
#include "../../task/task.hpp"
#include "../body.hpp"
#include "../body_reader.hpp"
#include "../url.hpp"
#include "client_connection.hpp"
#include "inflate.hpp"
#include "message_head.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <cerrno>
#include <system_error>

#include "../../base/error.hpp"
#include "../protocol_error.hpp"
#include "text.hpp"
#endif

namespace weft::http::detail {

/// When all of it has to be over.
struct Deadline {
    TimePoint when = TimePoint::max();

    /// What is left of it, `limit` at most.
    Duration within(Duration limit) const noexcept {
        if (when == TimePoint::max()) return limit;
        const Duration left = when - get_running_loop().time();
        return left < limit ? left : limit;
    }
};

/// Shared with the task that sends it, which may go on while the response is read.
struct SharedBody : weft::detail::Counted<SharedBody> {
    explicit SharedBody(Body of) noexcept : body(std::move(of)) {}
    Body body;
};
using BodyRef = weft::detail::Ref<SharedBody>;

/// The connection goes back to its pool when the request is sent, the response is read to its end,
/// both agree that it goes on, and nothing else has come on it. In every other case it is closed.
struct Exchange final : weft::detail::Counted<Exchange>, BodySource {
    Exchange(std::string names, Settings of, Deadline until, Url to)
        : what(std::move(names)), settings(std::move(of)), deadline(until), url(std::move(to)) {}
    ~Exchange() { let_go(); }

    Coro<std::string_view> next_piece() override { return read_piece(); }
    Coro<std::string_view> read_piece();
    /// What the last piece says, uncompressed.
    std::string_view inflated();
    /// There is nothing more to be read.
    void settle() noexcept;
    /// Gives the connection back if everything on it is done; closes it otherwise.
    void let_go() noexcept;

    std::string what;  // "GET http://example.com/"
    Settings settings;
    Deadline deadline;
    Url url;
    ConnectionPool::Lease lease;
    SharedConnection connection;  // until it is given back
    MessageHead head;             // of the response
    weft::detail::Owned<Inflate> inflate;
    std::exception_ptr failure;  // the body has no end

    // The request's body, where it is not sent in one go with the head.
    std::string request_head;
    BodyRef body;
    std::optional<Task<void>> upload;
    std::exception_ptr upload_error;
    TimePoint upload_moved;
    bool is_uploading = false;
    bool must_close = false;
    bool is_inflated = false;
    bool is_let_go = false;  // before the end of the body was seen
};
using SharedExchange = weft::detail::Ref<Exchange>;

/// Of whoever is to have the response: when it goes, the exchange is over. (The other references,
/// of the task that sends the body for instance, do not keep the connection.)
class OwnedExchange {
public:
    explicit OwnedExchange(Exchange* made) noexcept : exchange_(made) {}
    OwnedExchange(OwnedExchange&&) noexcept = default;
    OwnedExchange& operator=(OwnedExchange&& other) noexcept {
        std::swap(exchange_, other.exchange_);
        return *this;
    }
    ~OwnedExchange() {
        if (exchange_) exchange_->let_go();
    }

    Exchange* operator->() const noexcept { return exchange_.operator->(); }
    Exchange& operator*() const noexcept { return *exchange_; }
    const SharedExchange& shared() const noexcept { return exchange_; }

private:
    SharedExchange exchange_;
};

/// Sends the request, and waits for the head of the response.
/// Throws:   StaleConnection where the server has closed it before it could see the request.
/// Lifetime: `method` outlives the wait.
Coro<void> exchange_messages(SharedExchange exchange, std::string_view method, std::string head,
                             BodyRef body);

/// A connection of the pool was closed by the server while it was idle.
class StaleConnection {
public:
    explicit StaleConnection(std::exception_ptr error) noexcept : error_(std::move(error)) {}
    [[noreturn]] void rethrow() const { std::rethrow_exception(error_); }

private:
    std::exception_ptr error_;
};

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
WEFT_INLINE Coro<std::string_view> Exchange::read_piece() {
    const SharedExchange alive = SharedExchange::to(*this);
    for (;;) {
        if (failure) std::rethrow_exception(failure);
        if (is_let_go)
            weft::detail::throw_runtime_error("weft: the body of a response that has gone is read");
        if (!connection) co_return std::string_view();
        // (The response may be let go while its body is waited for.)
        const SharedConnection held = connection;
        MessageReader& reader = held->reader;
        std::string_view piece;
        try {
            if (is_inflated) {
                piece = inflated();
                if (!piece.empty()) co_return piece;
                is_inflated = false;
            }
            piece = reader.take_body();
            if (piece.empty() && !reader.is_complete()) {
                const Duration limit = deadline.within(limit_of(settings->options.body_timeout));
                piece = co_await in_phase(what, "read the body", limit, reader.read_body());
            }
            if (piece.empty() && inflate) inflate->finish();
        } catch (const CancelledError&) {
            throw;
        } catch (...) {
            failure = std::current_exception();
            let_go();
            throw;
        }
        if (is_let_go) continue;
        if (piece.empty()) {
            settle();
        } else if (inflate) {
            inflate->feed(piece);
            is_inflated = true;
        } else {
            co_return piece;
        }
    }
}

WEFT_INLINE std::string_view Exchange::inflated() {
    try {
        return inflate->next();
    } catch (const ProtocolError& error) {
        throw_in_phase(what, "read the body", error);
    }
}

WEFT_INLINE void Exchange::settle() noexcept {
    if (!connection) return;
    const MessageReader& reader = connection->reader;
    const bool is_good = !failure && !must_close && !is_uploading && head.keep_alive &&
                         head.body != BodyLength::to_end && reader.is_complete() &&
                         !reader.has_rest() && !reader.at_end();
    if (!is_good) connection->stream.abort();
    connection = SharedConnection();
    if (is_uploading) upload->cancel();
    if (is_good) {
        lease.release();
    } else {
        lease.discard();
    }
}

WEFT_INLINE void Exchange::let_go() noexcept {
    if (connection) {
        is_let_go = true;
        if (!connection->reader.is_complete()) must_close = true;
    }
    settle();
}

class Upload final : public BodyWriter {
public:
    static constexpr auto chunked = Framing::chunked;
    static constexpr auto known = Framing::known;
    Upload(Exchange& exchange, std::optional<std::uint64_t> length) noexcept
        : BodyWriter(exchange.connection->stream, exchange.request_head,
                     length ? Framing::known : Framing::chunked, length.value_or(0)),
          exchange_(exchange) {}
    ~Upload() = default;
    using BodyWriter::finish;

private:
    void progress() noexcept override { exchange_.upload_moved = get_running_loop().time(); }
    Exchange& exchange_;
};

/// The peer does not read any more: what it has to say to that may be on its way.
inline bool is_peer_gone(const std::exception_ptr& error) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const std::system_error& failed) {
        const int code = failed.code().value();
        return code == EPIPE || code == ECONNRESET;
    } catch (...) {
        return false;
    }
}

inline Coro<void> send_body(SharedExchange exchange) {
    const SharedConnection connection = exchange->connection;
    try {
        Upload out(*exchange, exchange->body->body.length());
        co_await exchange->body->body.write_to(out);
        co_await out.finish();
    } catch (const CancelledError&) {
        exchange->is_uploading = false;
        exchange->must_close = true;
        connection->stream.abort();
        throw;
    } catch (...) {
        exchange->upload_error = std::current_exception();
        exchange->must_close = true;
        // A body that could not be made: there is no answer to half of it.
        if (!is_peer_gone(exchange->upload_error)) connection->stream.abort();
    }
    exchange->upload_moved = get_running_loop().time();
    exchange->is_uploading = false;
}

inline Coro<void> send_at_once(SharedExchange exchange, std::string_view body) {
    if (body.empty()) {
        co_await exchange->connection->stream.write(exchange->request_head);
    } else {
        co_await exchange->connection->stream.write(exchange->request_head, body);
    }
}

/// Skips responses that announce others (1xx, except for 101).
inline Coro<void> read_response_head(SharedExchange exchange, std::string_view method) {
    MessageReader& reader = exchange->connection->reader;
    const Duration limit = limit_of(exchange->settings->options.header_timeout);
    constexpr int most_before = 100;  // (each is given all of the limit)
    int before = 0;
    do {
        if (before++ > most_before)
            throw ProtocolError(
                400, weft::detail::concat({exchange->what, ": announcements without end"}));
        reader.begin(exchange->head);
        reader.answers(method);
        for (bool found = false; !found;) {
            const Duration left = exchange->deadline.within(limit);
            try {
                found = co_await in_phase(exchange->what, "wait for the response", left,
                                          reader.read_head());
            } catch (const TimeoutError&) {
                // It counts from the last that the server has taken of the body.
                const TimePoint now = get_running_loop().time();
                if (now >= exchange->deadline.when || limit == no_limit) throw;
                if (!exchange->upload || now - exchange->upload_moved >= limit) throw;
                continue;
            }
            if (!found)
                weft::detail::throw_system_error(
                    ECONNRESET,
                    weft::detail::concat(
                        {exchange->what, ": the server has closed without a response"}));
        }
    } while (exchange->head.status / 100 == 1 && exchange->head.status != 101);
    if (exchange->head.status == 101)
        throw ProtocolError(
            400, weft::detail::concat({exchange->what, ": another protocol, which nobody wanted"}));
}

/// The head has not come: why?
[[noreturn, gnu::cold]] inline void throw_no_response(Exchange& exchange, std::exception_ptr error,
                                                      bool was_used) {
    bool is_gone = false;
    if (exchange.upload_error) error = exchange.upload_error;
    is_gone = is_peer_gone(error);
    if (is_gone && was_used && !exchange.connection->reader.has_begun())
        throw StaleConnection(error);
    std::rethrow_exception(error);
}

WEFT_INLINE Coro<void> exchange_messages(SharedExchange exchange, std::string_view method,
                                         std::string head, BodyRef shared) {
    constexpr std::size_t most_at_once = 64 * 1024;
    Exchange& self = *exchange;
    const SharedConnection connection = self.connection;
    const bool was_used = std::exchange(connection->was_used, true);
    self.request_head = std::move(head);
    self.body = shared;
    const Body& body = shared->body;
    std::exception_ptr error;
    try {
        if (body.is_streamed() || body.bytes().size() > most_at_once) {
            self.is_uploading = true;
            self.upload_moved = get_running_loop().time();
            self.upload.emplace(
                create_task(send_body(exchange), TaskOptions("http upload", false)));
        } else {
            const Duration limit =
                self.deadline.within(limit_of(self.settings->options.header_timeout));
            try {
                co_await in_phase(self.what, "send the request", limit,
                                  send_at_once(exchange, body.bytes()));
            } catch (const std::system_error&) {
                self.upload_error = std::current_exception();
                self.must_close = true;
                if (!is_peer_gone(self.upload_error)) throw;
            }
        }
        co_await read_response_head(exchange, method);
    } catch (...) {
        error = std::current_exception();
    }
    if (!error) {
        if (self.upload && self.upload_error && !is_peer_gone(self.upload_error))
            error = self.upload_error;
        else
            co_return;
    }
    self.must_close = true;
    if (self.upload && !self.upload->done()) {
        self.upload->cancel();
        connection->stream.abort();
        co_await self.upload->wait();
    }
    bool is_cancelled = false;
    try {
        std::rethrow_exception(error);
    } catch (const CancelledError&) {
        is_cancelled = true;
    } catch (...) {
    }
    if (is_cancelled) std::rethrow_exception(error);
    throw_no_response(self, error, was_used);
}
#endif

}  // namespace weft::http::detail
