// SPDX-License-Identifier: MIT
// sqlite::open, sqlite::Database: an SQLite database for the tasks of a loop.
#pragma once

#include <string>
#include <utility>

#include "../sql/queries.hpp"
#include "../task/coro.hpp"
#include "detail/session.hpp"
#include "options.hpp"

namespace weft::sqlite {

using sql::Bytes;
using sql::ConnectionError;
using sql::Error;
using sql::Row;
using sql::Rows;

/// A database, or a transaction on it. `query`, `execute` and `transaction` are those of
/// sql::Queries; parameters are `?` or, as in PostgreSQL, $1, $2, ...
///
///     auto db = co_await weft::sqlite::open("shop.db");
///     co_await db.execute("INSERT INTO users (name) VALUES (?)", name);
///
/// SQLite waits for disks and locks, so each database has a thread, on which its statements run one
/// after the other. A cancel or a deadline stops a statement where it is; in a transaction SQLite
/// takes back that statement, or, while it was changing something, the whole of it.
/// Thread:   loop thread only; several tasks may use it, each in its turn.
class Database : public sql::Queries<Database> {
public:
    static constexpr const char* type_name = "sqlite::Database";

    /// For `open` and for transactions.
    Database(sql::detail::SessionRef session, sql::detail::LevelRef level) noexcept
        : Queries(std::move(session), std::move(level)) {}

    /// Several statements in one text, without parameters. For schemas.
    /// Throws:   as `query`. Those before the one that fails have been carried out.
    Coro<void> script(std::string statements) {
        return sql::detail::run_script_in_turn(own(), level(), std::move(statements));
    }
    /// Closes the file on its thread. (The last handle that goes closes it in place, and with a
    /// write-ahead log that may write to the disk.)
    Coro<void> close() { return close_file(own(), level()); }

private:
    detail::SessionRef own() const {
        return detail::SessionRef::to(static_cast<detail::Session&>(*session()));
    }
    static Coro<void> close_file(detail::SessionRef session, sql::detail::LevelRef level) {
        level->check();
        const Lock::Guard turn = co_await level->turn.scoped();
        co_await session->close();
    }
};

namespace detail {
inline Coro<Database> open_database(std::string path, Options options) {
    SessionRef session(new Session(path, options));
    co_await session->open(std::move(path));
    co_return Database(sql::detail::SessionRef(session.leak()),
                       sql::detail::LevelRef(new sql::detail::Level()));
}
}  // namespace detail

/// Opens a file, or ":memory:", or an URI ("file:shop.db?cache=private").
/// Throws:   sql::ConnectionError; CancelledError.
/// Cancel:   nothing is left behind.
inline Coro<Database> open(std::string path, Options options = {}) {
    return detail::open_database(std::move(path), options);
}

}  // namespace weft::sqlite
