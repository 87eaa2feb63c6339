// SPDX-License-Identifier: MIT
// sql::Queries: what connections to every database have: query, execute, transaction.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "../base/error.hpp"
#include "../base/outcome.hpp"
#include "../sync/lock.hpp"
#include "../task/coro.hpp"
#include "parameters.hpp"
#include "rows.hpp"
#include "session.hpp"

namespace weft::sql {

/// A handle to a connection, or to a transaction on it. Base of `postgres::Connection`,
/// `mysql::Connection` and `sqlite::Database`, which are `Self`.
///
/// Several tasks may use one: each statement, and each transaction, has its turn, in the order of
/// arrival.
template <class Self>
class Queries {
public:
    Queries(Queries&&) noexcept = default;
    Queries& operator=(Queries&&) noexcept = default;

    /// Carries out one statement with parameters. A text of several is refused, before the first
    /// of them is carried out, by an sql::Error that names `script`.
    /// Returns:  its rows, all of them in memory.
    /// Throws:   sql::Error with the database's code and message and the statement;
    ///           sql::ConnectionError; RuntimeError inside of a transaction that has another
    ///           handle; CancelledError.
    /// Cancel:   lossless: the database is asked to stop the statement. When it has stopped it, the
    ///           cancel strikes; when it was done all the same, its result is returned, and the
    ///           cancel strikes at the next suspension. The connection is usable afterwards, or
    ///           dropped where the database has not answered in time.
    template <class... Args>
    Coro<Rows> query(std::string statement, const Args&... values) {
        return detail::run_in_turn(session(), level(), std::move(statement), pack(values...));
    }
    /// The same for a statement whose rows do not matter.
    /// Returns:  how many rows it has changed.
    template <class... Args>
    Coro<std::uint64_t> execute(std::string statement, const Args&... values) {
        return count(query(std::move(statement), values...));
    }

    /// Runs `body(inner)` in a transaction, with a handle of its own to the connection:
    ///
    ///     co_await db.transaction([&](auto& tx) { return transfer(tx, from, to, amount); });
    ///
    /// Committed when the body has ended, rolled back when an exception or a cancel has left it.
    /// On the handle of a transaction it is a savepoint. Other tasks wait until it is over.
    /// Returns:  what the body returns.
    /// Throws:   what the body throws; what COMMIT throws. A rollback that fails closes the
    ///           connection, which rolls back.
    /// Cancel:   in the body: passes through, then it is rolled back. During COMMIT: held, so that
    ///           it is always known whether there was one.
    /// Lifetime: the handle is the body's until it ends; then it is refused.
    template <class Body>
    auto transaction(Body body) {
        return transact(session(), level(), "BEGIN", std::move(body));
    }
    /// The same with words of one's own: "BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN IMMEDIATE".
    template <class Body>
    auto transaction(std::string begin, Body body) {
        return transact(session(), level(), std::move(begin), std::move(body));
    }

    /// False after an error that has cost the connection, and after `close`.
    bool is_open() const noexcept { return session_ && session_->is_open(); }
    /// Closes at once, whatever is under way. Idempotent.
    void close() noexcept {
        if (session_) session_->drop();
    }
    /// Inside of a transaction.
    bool in_transaction() const noexcept { return session_ && session_->in_transaction(); }
    /// No transaction, nothing under way, nothing left behind.
    bool is_clean() const noexcept { return session_ && session_->is_clean(); }
    /// What errors name: "postgres 127.0.0.1:5432/shop".
    std::string server() const { return session()->server(); }

    /// For the rooms and pools of this library.
    detail::SessionRef session() const {
        if (!session_) [[unlikely]]
            weft::detail::throw_runtime_error(
                {"weft: an empty ", Self::type_name, ": it was moved from"});
        return session_;
    }
    detail::LevelRef level() const noexcept { return level_; }

protected:
    Queries(detail::SessionRef session, detail::LevelRef level) noexcept
        : session_(std::move(session)), level_(std::move(level)) {}
    ~Queries() = default;

private:
    template <class... Args>
    static Parameters pack(const Args&... values) {
        if constexpr (sizeof...(Args) == 0) {
            return Parameters();
        } else {
            return Parameters(std::in_place, values...);
        }
    }
    static Coro<std::uint64_t> count(Coro<Rows> query) {
        const Rows rows = co_await std::move(query);
        co_return rows.affected();
    }

    template <class Body>
    static auto transact(detail::SessionRef session, detail::LevelRef level, std::string begin,
                         Body body) -> weft::detail::CoroOfCall<Body&, Self&> {
        using T = typename weft::detail::CoroOfCall<Body&, Self&>::value_type;
        level->check();
        const Lock::Guard turn = co_await level->turn.scoped();
        detail::check_turn(*session, *level, begin);
        detail::Block block(*session, *level);
        co_await block.begin(std::move(begin));
        weft::detail::Outcome<T> outcome;
        {
            Self inner(session, detail::LevelRef::to(block.inner()));
            try {
                if constexpr (std::is_void_v<T>) {
                    co_await body(inner);
                    outcome.set_value();
                } else {
                    decltype(auto) value = co_await body(inner);
                    outcome.set_value(std::forward<decltype(value)>(value));
                }
            } catch (...) {
                outcome.set_current_exception();
            }
        }
        co_await block.end(outcome.kind() == weft::detail::OutcomeKind::value);
        co_return outcome.take();
    }

    detail::SessionRef session_;
    detail::LevelRef level_;
};

}  // namespace weft::sql
