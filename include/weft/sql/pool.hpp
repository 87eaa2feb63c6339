// SPDX-License-Identifier: MIT
// sql::Pool<Connection>: connections that are kept open, lent to one task at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <type_traits>
#include <utility>

#include "../base/clock.hpp"
#include "../base/error.hpp"
#include "../deadline/move_on_after.hpp"
#include "../patterns/pool.hpp"
#include "../runtime/loop.hpp"
#include "../task/coro.hpp"
#include "parameters.hpp"
#include "rows.hpp"
#include "session.hpp"

namespace weft::sql {

/// Not an aggregate: see TaskOptions.
struct PoolOptions {
    explicit PoolOptions(std::size_t most = 10) noexcept : max_size(most) {}

    /// Connections that are lent or kept.
    std::size_t max_size;
    /// One that nobody has used for so long is closed; 0: they are kept.
    Duration idle_timeout = std::chrono::minutes(10);
    /// One that is older is closed instead of being lent again; 0: they are kept.
    Duration max_lifetime = std::chrono::hours(1);
    /// Before a connection is lent, its socket is looked at. One that nobody has used for so long
    /// is asked to answer too, because a network that was cut shows nothing on the socket.
    Duration check_after = std::chrono::seconds(30);
    /// How long it may take to answer.
    Duration check_limit = std::chrono::seconds(5);
};

template <class Connection>
class Lease;

/// Lends connections, and makes them when they are needed. The task that waits longest is served
/// first. One that was lost is replaced: after a restart of the server the next `acquire` connects
/// again, and fails only if that does.
///
///     weft::postgres::Pool pool("dbname=shop", weft::sql::PoolOptions(10));
///     auto rows = co_await pool.query("SELECT ...");
///     auto db = co_await pool.acquire();
///     co_await db->transaction([&](auto& tx) { return transfer(tx); });
///
/// A connection comes back when its lease goes. One that is not as it was lent (in a transaction,
/// in the middle of a result, broken) is closed instead, and the server rolls back.
/// Thread:   loop thread only.
template <class Connection>
class Pool {
    using Inner = weft::Pool<Connection>;

public:
    /// `connect()` returns a Coro<Connection>.
    /// Throws:   std::invalid_argument for options that make no sense.
    template <class Connect>
        requires(std::is_invocable_v<Connect&>)
    explicit Pool(Connect connect, PoolOptions options = PoolOptions())
        : pool_(std::move(connect), inner(options)) {}

    /// Throws:   PoolClosed; what `connect` throws; CancelledError.
    /// Cancel:   lossless, as weft::Pool.
    Coro<Lease<Connection>> acquire() { return lend(pool_.acquire()); }

    /// One statement on one of the connections: see Queries.
    template <class... Args>
    Coro<Rows> query(std::string statement, const Args&... values) {
        Parameters parameters;
        (parameters.add(values), ...);
        return run(acquire(), std::move(statement), std::move(parameters));
    }
    template <class... Args>
    Coro<std::uint64_t> execute(std::string statement, const Args&... values) {
        return count(query(std::move(statement), values...));
    }
    /// One transaction on one of them: see Queries.
    template <class Body>
    auto transaction(Body body) -> weft::detail::CoroOfCall<Body&, Connection&> {
        return transact(acquire(), std::move(body));
    }

    /// No more acquires, and waits until all connections are given back and closed. Idempotent.
    Coro<void> close() { return pool_.close(); }
    bool closed() const noexcept { return pool_.closed(); }

    std::size_t idle() const noexcept { return pool_.idle(); }
    std::size_t lent() const noexcept { return pool_.lent(); }
    std::size_t waiting() const noexcept { return pool_.waiting(); }

private:
    static typename Inner::Options inner(const PoolOptions& options) {
        weft::detail::refuse_negative(options.max_lifetime,
                                      "weft: sql::PoolOptions: a negative max_lifetime");
        typename Inner::Options made(weft::PoolOptions<>(options.max_size, options.idle_timeout));
        made.check = [options](Connection& connection) {
            return still_good(connection.session(), options);
        };
        return made;
    }
    /// The end of a check that gets no answer takes no longer than the check.
    class Limited {
    public:
        Limited(Session& session, Duration limit) noexcept
            : session_(session), usual_(session.clean_up_limit) {
            session_.clean_up_limit = std::min(usual_, limit);
        }
        Limited(const Limited&) = delete;
        Limited& operator=(const Limited&) = delete;
        ~Limited() { session_.clean_up_limit = usual_; }

    private:
        Session& session_;
        Duration usual_;
    };
    static Coro<bool> still_good(detail::SessionRef session, PoolOptions options) {
        if (!session->is_clean() || !session->looks_alive()) co_return false;
        const TimePoint now = get_running_loop().time();
        if (options.max_lifetime > Duration(0) && now - session->made > options.max_lifetime)
            co_return false;
        if (now - session->last_used <= options.check_after) co_return true;
        const Limited limited(*session, options.check_limit);
        const auto answered =
            co_await move_on_after(options.check_limit, session->run("SELECT 1", Parameters()));
        co_return answered.has_value();
    }
    static Coro<Lease<Connection>> lend(Coro<typename Inner::Lease> acquired) {
        co_return Lease<Connection>(co_await std::move(acquired));
    }
    static Coro<Rows> run(Coro<Lease<Connection>> acquired, std::string statement,
                          Parameters parameters) {
        Lease<Connection> lease = co_await std::move(acquired);
        co_return co_await detail::run_in_turn(lease->session(), lease->level(),
                                               std::move(statement), std::move(parameters));
    }
    static Coro<std::uint64_t> count(Coro<Rows> query) {
        const Rows rows = co_await std::move(query);
        co_return rows.affected();
    }
    template <class Body>
    static auto transact(Coro<Lease<Connection>> acquired, Body body)
        -> weft::detail::CoroOfCall<Body&, Connection&> {
        Lease<Connection> lease = co_await std::move(acquired);
        co_return co_await lease->transaction(std::move(body));
    }

    Inner pool_;
};

/// A connection that a pool has lent. Movable; empty when moved from.
template <class Connection>
class [[nodiscard]] Lease {
public:
    Lease() noexcept {}
    explicit Lease(PoolLease<Connection> lent) noexcept : lent_(std::move(lent)) {}
    Lease(Lease&&) noexcept = default;
    Lease& operator=(Lease&& other) noexcept {
        if (this != &other) {
            release();
            lent_ = std::move(other.lent_);
        }
        return *this;
    }
    ~Lease() { release(); }

    /// Throws:   RuntimeError when it is empty.
    Connection& operator*() const { return *lent_; }
    Connection* operator->() const { return &*lent_; }
    explicit operator bool() const noexcept { return static_cast<bool>(lent_); }

    /// Gives it back before the lease goes. Does nothing when it is empty.
    void release() noexcept {
        if (!lent_) return;
        if (lent_->is_clean()) return lent_.release();
        // (One that was moved out of the lease is not ours to close.)
        if (lent_->is_open()) lent_->session()->drop();
        lent_.discard();
    }

private:
    PoolLease<Connection> lent_;
};

}  // namespace weft::sql
