// SPDX-License-Identifier: MIT
// mysql::connect, mysql::Connection: a MySQL or MariaDB server, by libmariadb.
#pragma once

#include <string>
#include <utility>

#include "../sql/queries.hpp"
#include "../sync/lock.hpp"
#include "../task/coro.hpp"
#include "detail/connecting.hpp"
#include "detail/session.hpp"
#include "options.hpp"

namespace weft::mysql {

using sql::Bytes;
using sql::ConnectionError;
using sql::Error;
using sql::Row;
using sql::Rows;

/// A connection, or a transaction on it. `query`, `execute` and `transaction` are those of
/// sql::Queries; parameters are `?`.
///
///     weft::mysql::Options options("localhost", "me", "secret", "shop");
///     auto db = co_await weft::mysql::connect(options);
///     auto rows = co_await db.query("SELECT id, name FROM users WHERE age > ?", 30);
///
/// A statement with parameters is prepared, and kept so. A cancel or a deadline sends KILL QUERY
/// over a connection of its own. (A transaction that is given up because of a deadlock is over: its
/// later statements are refused. DDL commits, at the server: so does what follows it.)
/// Thread:   loop thread only; several tasks may use it, each in its turn.
class Connection : public sql::Queries<Connection> {
public:
    static constexpr const char* type_name = "mysql::Connection";

    /// For `connect` and for transactions.
    Connection(sql::detail::SessionRef session, sql::detail::LevelRef level) noexcept
        : Queries(std::move(session), std::move(level)) {}

    /// Several statements in one text, without parameters. For schemas.
    /// Throws:   as `query`. Those before the one that fails have been carried out.
    Coro<void> script(std::string statements) {
        return sql::detail::run_script_in_turn(own(), level(), std::move(statements));
    }

private:
    detail::SessionRef own() const {
        return detail::SessionRef::to(static_cast<detail::Session&>(*session()));
    }
};

namespace detail {
inline Coro<Connection> open_connection(Options options) {
    std::string server = server_name(options);
    Handle handle = co_await connected_in_time(options);
    SessionRef session(new Session(std::move(handle), std::move(options), std::move(server)));
    co_return Connection(sql::detail::SessionRef(session.leak()),
                         sql::detail::LevelRef(new sql::detail::Level()));
}
}  // namespace detail

/// Connects. The addresses of a host are tried in turn.
/// Throws:   sql::ConnectionError; std::system_error (getaddrinfo) for a name that is not known;
///           CancelledError.
/// Cancel:   nothing is left behind.
inline Coro<Connection> connect(Options options) {
    return detail::open_connection(std::move(options));
}

}  // namespace weft::mysql
