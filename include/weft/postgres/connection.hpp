// SPDX-License-Identifier: MIT
// postgres::connect, postgres::Connection: a PostgreSQL server, by libpq.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../sql/queries.hpp"
#include "../task/async_generator.hpp"
#include "../task/coro.hpp"
#include "detail/connecting.hpp"
#include "detail/copying.hpp"
#include "detail/libpq.hpp"
#include "detail/session.hpp"
#include "listener.hpp"
#include "options.hpp"
#include "pipeline.hpp"

namespace weft::postgres {

using sql::Bytes;
using sql::ConnectionError;
using sql::Error;
using sql::Row;
using sql::Rows;

/// A connection, or a transaction on it. `query`, `execute` and `transaction` are those of
/// sql::Queries; parameters are $1, $2, ...
///
///     auto db = co_await weft::postgres::connect("host=localhost dbname=shop");
///     auto rows = co_await db.query("SELECT id, name FROM users WHERE age > $1", 30);
///     for (auto [id, name] : rows.as<int, std::string>()) ...
///
/// A text that is asked for a second time is prepared at the server.
/// Thread:   loop thread only; several tasks may use it, each in its turn.
class Connection : public sql::Queries<Connection> {
public:
    static constexpr const char* type_name = "postgres::Connection";

    /// For `connect` and for transactions.
    Connection(sql::detail::SessionRef session, sql::detail::LevelRef level) noexcept
        : Queries(std::move(session), std::move(level)) {}

    /// Several statements in one text, without parameters, each after the other (one transaction,
    /// unless the text says otherwise). For schemas.
    /// Throws:   as `query`.
    /// Cancel:   as `query`.
    Coro<void> script(std::string statements) {
        return detail::run_script(own(), level(), std::move(statements));
    }

    /// The rows of a query one after the other, as they come: for more than fits into memory.
    ///
    ///     auto rows = db.stream("SELECT * FROM events");
    ///     while (auto row = co_await rows.next()) use(row->get<int>("id"));
    ///
    /// The connection is the generator's until that ends. Let go before its end, the statement is
    /// cancelled at the server before the connection does anything else; in a transaction
    /// PostgreSQL then refuses all but a rollback.
    /// Cancel:   passes through, and ends the generator.
    template <class... Args>
    AsyncGenerator<Row> stream(std::string statement, const Args&... values) {
        sql::Parameters parameters;
        (parameters.add(values), ...);
        return detail::stream_rows(own(), level(), std::move(statement), std::move(parameters));
    }

    /// `COPY table FROM STDIN`: sends what the generator gives, in pieces of any size.
    /// Returns:  how many rows were copied.
    /// Throws:   as `query`; what the generator throws, and then nothing was copied.
    /// Cancel:   as `query`.
    Coro<std::uint64_t> copy_in(std::string statement, AsyncGenerator<std::string> data) {
        return detail::copy_in(own(), level(), std::move(statement), std::move(data));
    }
    /// The same from memory.
    Coro<std::uint64_t> copy_in(std::string statement, std::string data) {
        return detail::copy_in(own(), level(), std::move(statement), detail::just(std::move(data)));
    }
    /// `COPY table TO STDOUT`, `COPY (SELECT ...) TO STDOUT`: what the server sends, a row each.
    /// Like `stream` in all else.
    AsyncGenerator<std::string> copy_out(std::string statement) {
        return detail::copy_out(own(), level(), std::move(statement));
    }

    /// LISTEN: what is told on a channel from now on. The connection is the Listener's until that
    /// goes.
    /// Throws:   as `query`.
    Coro<Listener> listen(std::string channel) {
        return Listener::start(own(), level(), std::vector<std::string>(1, std::move(channel)));
    }
    Coro<Listener> listen(std::vector<std::string> channels) {
        return Listener::start(own(), level(), std::move(channels));
    }
    /// NOTIFY.
    Coro<void> notify(std::string channel, std::string payload) {
        return ignore(query("SELECT pg_notify($1, $2)", channel, payload));
    }

    /// Several statements in one round trip: see Pipeline.
    Pipeline pipeline() { return Pipeline(own(), level()); }

    /// The process at the server: what pg_stat_activity calls `pid`.
    int backend_pid() const { return ::PQbackendPID(own()->conn()); }
    /// libpq's own, for what is not here. Not while a statement is under way.
    PGconn* native_handle() const { return own()->conn(); }

private:
    detail::SessionRef own() const {
        return detail::SessionRef::to(static_cast<detail::Session&>(*session()));
    }
    static Coro<void> ignore(Coro<Rows> rows) { (void)co_await std::move(rows); }
};

namespace detail {
inline Coro<Connection> connect(std::string text, Options options) {
    SessionRef session = co_await open_in_time(std::move(text), std::move(options));
    co_return Connection(sql::detail::SessionRef(session.leak()),
                         sql::detail::LevelRef(new sql::detail::Level()));
}
}  // namespace detail

/// Connects. `text` is libpq's: "host=/run/postgresql dbname=shop user=me sslmode=verify-full", or
/// "postgresql://me@localhost:5432/shop"; what it does not say comes from the PG* variables.
/// Several hosts are tried in turn; `connect_timeout=5`, in seconds, is for all of it.
/// Throws:   sql::ConnectionError with libpq's message; std::system_error (getaddrinfo) for a name
///           that is not known; CancelledError.
/// Cancel:   nothing is left behind.
inline Coro<Connection> connect(std::string text, Options options = {}) {
    return detail::connect(std::move(text), std::move(options));
}

}  // namespace weft::postgres
