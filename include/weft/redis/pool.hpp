// SPDX-License-Identifier: MIT
// redis::Pool: connections for what is not to be shared.
#pragma once

#include <cstddef>
#include <utility>

#include "../base/clock.hpp"
#include "../patterns/pool.hpp"
#include "../task/coro.hpp"
#include "client.hpp"
#include "options.hpp"

namespace weft::redis {

/// Clients that one task at a time has alone: for commands that wait at the server, and for
/// transactions in the style of WATCH by hand. Everything else shares a Client.
///
///     weft::redis::Pool pool(options, 4);
///     auto redis = co_await pool.acquire();
///     auto job = co_await redis->command<std::optional<std::vector<std::string>>>("BLPOP", "jobs",
///     5);
///
/// A client whose command was cancelled, and whose answer is still to come, is closed and not lent
/// again: what state the next one would find, and when, nobody could say. Nor is one lent again
/// that was given back in a MULTI, with keys watched, or with another database selected.
/// Thread:   loop thread only.
class Pool {
public:
    using Lease = PoolLease<Client>;

    explicit Pool(Options options, std::size_t most = 10, Duration idle_timeout = Duration(0))
        : pool_(Maker(std::move(options)), lent_when_quiet(most, idle_timeout)) {}

    /// Throws:   PoolClosed; what connecting throws (ConnectionError, ServerError); CancelledError.
    /// Cancel:   lossless.
    Coro<Lease> acquire() { return pool_.acquire(); }
    /// See weft::Pool.
    Coro<void> close() { return pool_.close(); }
    std::size_t idle() const noexcept { return pool_.idle(); }
    std::size_t lent() const noexcept { return pool_.lent(); }
    std::size_t waiting() const noexcept { return pool_.waiting(); }

private:
    struct Maker {
        explicit Maker(Options how) : options(std::move(how)) {}
        Coro<Client> operator()() { return connected(options); }
        static Coro<Client> connected(Options options) {
            Client client(std::move(options));
            co_await client.connect();
            co_return client;
        }
        Options options;
    };
    static Coro<bool> check(Client& client) {
        co_return client.is_connected() && client.is_idle() && client.is_as_made();
    }
    static weft::Pool<Client>::Options lent_when_quiet(std::size_t most, Duration idle_timeout) {
        weft::Pool<Client>::Options options(most, idle_timeout);
        options.check = &check;
        return options;
    }

    weft::Pool<Client> pool_;
};

}  // namespace weft::redis
