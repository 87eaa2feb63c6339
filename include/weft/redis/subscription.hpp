// SPDX-License-Identifier: MIT
// redis::Subscription: what is published on channels.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../adapters/heartbeat.hpp"
#include "../base/config.hpp"
#include "../base/ref.hpp"
#include "../base/ring_buffer.hpp"
#include "../net/stream.hpp"
#include "../sync/lock.hpp"
#include "../task/async_generator.hpp"
#include "../task/coro.hpp"
#include "detail/parser.hpp"
#include "options.hpp"

namespace weft::redis {

struct Message {
    // User-provided: g++ 12 destroys aggregate temporaries of awaiting expressions twice.
    Message(std::string on, std::string what, std::string by)
        : channel(std::move(on)), payload(std::move(what)), pattern(std::move(by)) {}
    std::string channel;
    std::string payload;
    std::string
        pattern;  ///< that the channel matches; empty where the channel itself was asked for
};

namespace detail {
struct SubscriptionState;
}  // namespace detail

/// Made by `Client::subscribe`, on a connection of its own.
///
///     auto news = co_await redis.subscribe("news");
///     for (;;) print((co_await news.next()).payload);
///
/// When the connection breaks, `next` makes another (see `Options::reconnect`), and subscribes
/// again. What is published meanwhile is lost, as Redis has it; `connections()` tells. A network
/// that is cut without a word shows in `next` as well: see `Options::heartbeat`.
///
/// One that was moved from, and one whose reader waits while it goes: RuntimeError,
/// ConnectionError.
/// Thread:   loop thread only. One task reads.
class [[nodiscard]] Subscription {
public:
    Subscription(Subscription&&) noexcept;
    Subscription& operator=(Subscription&&) noexcept;
    ~Subscription();

    /// Waits for the next message.
    /// Throws:   when no connection can be made any more: std::system_error, ConnectionError,
    ///           ServerError; CancelledError.
    /// Cancel:   lossless.
    Coro<Message> next();
    /// One after the other. (A cancel ends a generator; `next` can be asked again.)
    AsyncGenerator<Message> messages();

    /// More of them, or less, while it goes on. What is asked for has begun with the server's
    /// answer, which `next` reads.
    /// Throws:   std::system_error; CancelledError.
    Coro<void> subscribe(std::string channel);
    Coro<void> psubscribe(std::string pattern);
    Coro<void> unsubscribe(std::string channel);
    Coro<void> punsubscribe(std::string pattern);

    /// 1 at first, and one more each time that messages may have been missed.
    unsigned connections() const noexcept;

    /// For `Client::subscribe`.
    static Coro<Subscription> begin(Options options, std::vector<std::string> channels,
                                    std::vector<std::string> patterns);

private:
    using State = detail::SubscriptionState;
    explicit Subscription(weft::detail::Ref<State> state) noexcept;
    void let_go() noexcept;
    /// Throws:   RuntimeError.
    const weft::detail::Ref<State>& state() const;
    weft::detail::Ref<State> state_;
};

namespace detail {

struct SubscriptionState : weft::detail::Counted<SubscriptionState> {
    SubscriptionState(Options how, std::vector<std::string> names, std::vector<std::string> globs)
        : options(std::move(how)), channels(std::move(names)), patterns(std::move(globs)) {}

    class HalfWritten;
    static Coro<Message> next(weft::detail::Ref<SubscriptionState> self);
    static AsyncGenerator<Message> all(weft::detail::Ref<SubscriptionState> self);
    static Coro<void> change(weft::detail::Ref<SubscriptionState> self, std::string command,
                             std::string name);
    /// One command after the other: who is cut off has to know what of the bytes was its own.
    static Coro<void> send(weft::detail::Ref<SubscriptionState> self, std::string wire);
    /// Connects, and waits until the server has confirmed everything.
    static Coro<void> open(weft::detail::Ref<SubscriptionState> self);
    /// Reads what comes next. Nothing for a while: asks whether somebody is there.
    static Coro<void> hear(weft::detail::Ref<SubscriptionState> self);
    static Coro<void> open_patiently(weft::detail::Ref<SubscriptionState> self);
    void deliver(std::string_view bytes);

    Options options;
    Heartbeat beat{options.heartbeat};
    std::vector<std::string> channels;
    std::vector<std::string> patterns;
    std::optional<Stream> stream;
    Lock writing;
    std::optional<Parser> parser;
    weft::detail::RingBuffer<Message> arrived;
    std::string late;           // commands that came while a connection was being made
    std::size_t confirmed = 0;  // by the server, on this connection
    bool is_gone = false;
    unsigned connections = 0;
};

}  // namespace detail

inline Subscription::Subscription(weft::detail::Ref<State> state) noexcept
    : state_(std::move(state)) {}
inline Subscription::Subscription(Subscription&&) noexcept = default;
inline Subscription& Subscription::operator=(Subscription&& other) noexcept {
    if (this != &other) {
        let_go();
        state_ = std::move(other.state_);
    }
    return *this;
}
inline Subscription::~Subscription() { let_go(); }
inline void Subscription::let_go() noexcept {
    if (!state_) return;
    state_->is_gone = true;
    if (state_->stream) state_->stream->abort();
}
inline const weft::detail::Ref<detail::SubscriptionState>& Subscription::state() const {
    if (!state_) [[unlikely]]
        weft::detail::throw_runtime_error("weft: an empty redis::Subscription: it was moved from");
    return state_;
}
inline Coro<Message> Subscription::next() { return State::next(state()); }
inline AsyncGenerator<Message> Subscription::messages() { return State::all(state()); }
inline Coro<void> Subscription::subscribe(std::string channel) {
    return State::change(state(), "SUBSCRIBE", std::move(channel));
}
inline Coro<void> Subscription::psubscribe(std::string pattern) {
    return State::change(state(), "PSUBSCRIBE", std::move(pattern));
}
inline Coro<void> Subscription::unsubscribe(std::string channel) {
    return State::change(state(), "UNSUBSCRIBE", std::move(channel));
}
inline Coro<void> Subscription::punsubscribe(std::string pattern) {
    return State::change(state(), "PUNSUBSCRIBE", std::move(pattern));
}
inline unsigned Subscription::connections() const noexcept {
    return state_ ? state_->connections : 0;
}

}  // namespace weft::redis

#if WEFT_BODIES || defined(WEFT_REDIS_SOURCE)
#include <exception>
#include <system_error>

#include "../deadline/move_on_after.hpp"
#include "../net/chunk.hpp"
#include "../patterns/retry.hpp"
#include "../task/sleep.hpp"
#include "detail/greeting.hpp"
#include "detail/wire.hpp"

namespace weft::redis {

[[gnu::cold]] WEFT_INLINE Coro<Subscription> Subscription::begin(
    Options options, std::vector<std::string> channels, std::vector<std::string> patterns) {
    const weft::detail::Ref<State> state(
        new State(std::move(options), std::move(channels), std::move(patterns)));
    co_await State::open_patiently(state);
    co_return Subscription(state);
}

namespace detail {

[[gnu::cold]] WEFT_INLINE Coro<void> SubscriptionState::open(
    weft::detail::Ref<SubscriptionState> self) {
    Stream stream = co_await open_and_greet(self->options);
    std::string bytes;
    if (!self->channels.empty()) bytes += Wire::command("SUBSCRIBE", self->channels);
    if (!self->patterns.empty()) bytes += Wire::command("PSUBSCRIBE", self->patterns);
    self->late.clear();
    const std::size_t wanted = self->channels.size() + self->patterns.size();
    co_await stream.write(bytes);
    self->parser.emplace();
    self->beat.heard();
    self->confirmed = 0;
    while (self->confirmed < wanted) {
        const Chunk chunk = co_await stream.read_chunk();
        if (chunk.empty()) throw ConnectionError("the server has closed the connection");
        self->deliver(chunk.view());
    }
    // (What was asked for meanwhile is not in the list that was sent.)
    while (!self->late.empty()) {
        const std::string more = std::exchange(self->late, std::string());
        co_await stream.write(more);
    }
    if (self->is_gone) throw ConnectionError("the subscription was destroyed");
    self->stream.emplace(std::move(stream));
    ++self->connections;
}

[[gnu::cold]] WEFT_INLINE Coro<void> SubscriptionState::open_patiently(
    weft::detail::Ref<SubscriptionState> self) {
    weft::detail::Backoff pauses(self->options.reconnect);
    for (int attempt = 1;; ++attempt) {
        try {
            if (attempt > 1) co_await sleep(pauses.next());
            if (!self->is_gone) co_await open(self);
            if (!self->is_gone) co_return;
        } catch (const ServerError& error) {
            // (One that still reads its data from the disk will serve us.)
            if (error.code() != "LOADING" || attempt >= self->options.reconnect.attempts) {
                throw ServerError(
                    weft::detail::concat({self->options.name(), ": SUBSCRIBE: ", error.what()}),
                    error.code());
            }
        } catch (const std::exception& error) {
            if (attempt >= self->options.reconnect.attempts && !self->is_gone) {
                throw ConnectionError(
                    weft::detail::concat({self->options.name(), ": SUBSCRIBE: ", error.what()}));
            }
        }
        if (self->is_gone)
            throw ConnectionError(self->options.name() + ": the subscription was destroyed");
    }
}

/// Throws:   ConnectionError; ServerError.
WEFT_INLINE void SubscriptionState::deliver(std::string_view bytes) {
    parser->feed(bytes);
    for (Reply* reply = nullptr; parser->next(reply);) {
        if (reply->is_error()) Reply::throw_server_error(*reply, "");
        std::vector<Reply> parts = std::move(*reply).items();
        const std::string_view kind = parts.empty() ? "" : std::string_view(parts[0].text());
        if (kind == "message" && parts.size() == 3) {
            arrived.push_back(
                Message(std::move(parts[1]).text(), std::move(parts[2]).text(), std::string()));
        } else if (kind == "pmessage" && parts.size() == 4) {
            arrived.push_back(Message(std::move(parts[2]).text(), std::move(parts[3]).text(),
                                      std::move(parts[1]).text()));
        } else if (kind != "pong") {
            ++confirmed;  // a channel more, or one less
        }
    }
}

/// A command that was cut off in its middle would make one of the next: the connection is given up.
/// (Nobody else writes meanwhile.)
class SubscriptionState::HalfWritten {
public:
    HalfWritten(SubscriptionState& self, std::size_t size) noexcept
        : self_(self),
          size_(size),
          written_(self.stream->written()),
          connection_(self.connections) {}
    HalfWritten(const HalfWritten&) = delete;
    HalfWritten& operator=(const HalfWritten&) = delete;
    ~HalfWritten() {
        if (!self_.stream || self_.connections != connection_) return;
        const std::uint64_t more = self_.stream->written() - written_;
        if (more > 0 && more < size_) self_.stream->abort();
    }

private:
    SubscriptionState& self_;
    std::size_t size_;
    std::uint64_t written_;
    unsigned connection_;
};

WEFT_INLINE Coro<void> SubscriptionState::hear(weft::detail::Ref<SubscriptionState> self) {
    if (!self->beat.is_on()) {
        const Chunk chunk = co_await self->stream->read_chunk();
        if (chunk.empty()) throw ConnectionError("the server has closed the connection");
        co_return self->deliver(chunk.view());
    }
    const std::optional<Chunk> chunk =
        co_await move_on_after(self->beat.patience(), self->stream->read_chunk());
    if (chunk) {
        self->beat.heard();
        if (chunk->empty()) throw ConnectionError("the server has closed the connection");
        co_return self->deliver(chunk->view());
    }
    bool was_sent = false;
    if (self->beat.should_ask()) {
        was_sent = co_await move_on_after(self->beat.patience(), send(self, Wire::command("PING")));
    }
    if (!was_sent) throw ConnectionError("the server gives no sign of life");
}

WEFT_INLINE Coro<Message> SubscriptionState::next(weft::detail::Ref<SubscriptionState> self) {
    while (self->arrived.empty()) {
        if (!self->stream) co_await open_patiently(self);
        if (!self->arrived.empty()) break;
        try {
            co_await hear(self);
        } catch (const std::system_error&) {
            self->stream.reset();
        } catch (const ConnectionError&) {
            self->stream.reset();
        }
    }
    co_return self->arrived.pop_front();
}

WEFT_INLINE AsyncGenerator<Message> SubscriptionState::all(
    weft::detail::Ref<SubscriptionState> self) {
    for (;;) {
        Message message = co_await next(self);
        co_yield std::move(message);
    }
}

[[gnu::cold]] WEFT_INLINE Coro<void> SubscriptionState::change(
    weft::detail::Ref<SubscriptionState> self, std::string command, std::string name) {
    std::vector<std::string>& all =
        command.find("PS") == 0 || command.find("PU") == 0 ? self->patterns : self->channels;
    std::size_t at = 0;
    while (at < all.size() && all[at] != name) ++at;
    const bool adds = command.find("UNSUB") == command.npos;
    if (adds && at == all.size()) all.push_back(name);
    if (!adds && at < all.size()) all.erase(all.begin() + static_cast<std::ptrdiff_t>(at));
    const std::string wire = Wire::command(command, name);
    if (!self->stream) {  // the next connection is told
        self->late += wire;
        co_return;
    }
    co_await send(self, wire);
}

[[gnu::cold]] WEFT_INLINE Coro<void> SubscriptionState::send(
    weft::detail::Ref<SubscriptionState> self, std::string wire) {
    const unsigned connection = self->connections;
    const Lock::Guard turn = co_await self->writing.scoped();
    // (The next connection is told of everything when it is made.)
    if (!self->stream || self->connections != connection) co_return;
    const HalfWritten guard(*self, wire.size());
    co_await self->stream->write(wire);
}

}  // namespace detail
}  // namespace weft::redis
#endif
