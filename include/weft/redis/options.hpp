// SPDX-License-Identifier: MIT
// redis::Options: where a Redis server is, and how one talks to it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "../base/callback.hpp"
#include "../base/clock.hpp"
#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../net/stream.hpp"
#include "../patterns/retry.hpp"
#include "../task/coro.hpp"

namespace weft::redis {

/// Not an aggregate: see TaskOptions.
struct Options {
    Options() noexcept {}
    explicit Options(std::string at, std::uint16_t on = 6379) : host(std::move(at)), port(on) {}

    std::string host = "127.0.0.1";
    std::uint16_t port = 6379;
    std::string unix_path{};  ///< in place of host and port
    std::string username{};   ///< empty: that of AUTH with a password alone
    std::string password{};
    int database = 0;
    std::string client_name{};  ///< for CLIENT LIST at the server
    Duration connect_timeout = std::chrono::seconds(10);
    /// How long a command may wait for its answer, from the await on; 0: for ever. When it strikes,
    /// the connection is given up: whoever else waits on it gets a ConnectionError. Leave it at 0
    /// for a client that waits at the server (BLPOP), and give those commands a time of their own.
    Duration command_timeout{0};
    /// A network that is cut does not say so. A subscription that hears nothing for so long asks
    /// the server (PING), and connects anew when nothing has come after the same time again (looked
    /// at in `Subscription::next`). A client gives its connection up when the answer to a command
    /// that was cancelled, by a deadline say, has not come after so long (unless a BLPOP or its
    /// like is before it, for which somebody still waits). 0: neither; TCP gives up after hours.
    Duration heartbeat = std::chrono::seconds(15);
    /// How often, and with which pauses, a connection is tried before the commands that wait for it
    /// fail. (`when` is not asked: a refusal by the server itself, of a password say, ends it.)
    RetryOptions reconnect{5, std::chrono::milliseconds(50)};

    /// How to connect, in place of host, port and path, which then only serve as its name: for TLS,
    /// `options.connect_with([] { return weft::open_connection("cache", 6380, tls); })`.
    template <class F>
    void connect_with(F&& fn) {
        connector_ = weft::detail::Ref<Connector>(new Connector(std::forward<F>(fn)));
    }
    /// Throws:   as `open_connection`.
    Coro<Stream> open() const;
    /// "redis 127.0.0.1:6379", as errors name it.
    std::string name() const;

private:
    struct Connector : weft::detail::Counted<Connector> {
        template <class F>
        explicit Connector(F&& f) : fn(std::forward<F>(f)) {}
        weft::detail::Callback<Coro<Stream>()> fn;
    };
    weft::detail::Ref<Connector> connector_;
};

}  // namespace weft::redis

#if WEFT_BODIES || defined(WEFT_REDIS_SOURCE)
#include "../base/error.hpp"
#include "../net/connect.hpp"

namespace weft::redis {

WEFT_INLINE Coro<Stream> Options::open() const {
    if (connector_) return connector_->fn();
    if (!unix_path.empty()) return open_unix_connection(unix_path);
    ConnectOptions how;
    how.keep_alive = true;
    return open_connection(host, port, how);
}

WEFT_INLINE std::string Options::name() const {
    if (!unix_path.empty()) return weft::detail::concat({"redis ", unix_path});
    return weft::detail::concat({"redis ", host, ":", weft::detail::decimal(port)});
}

}  // namespace weft::redis
#endif
