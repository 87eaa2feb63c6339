// SPDX-License-Identifier: MIT
// sql::Session: what transactions and pools need to know of a connection; one for each database.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "../base/clock.hpp"
#include "../base/error.hpp"
#include "../base/ref.hpp"
#include "../deadline/clean_up.hpp"
#include "../runtime/loop.hpp"
#include "../sync/lock.hpp"
#include "../task/coro.hpp"
#include "error.hpp"
#include "parameters.hpp"
#include "rows.hpp"

namespace weft::sql {

/// A connection to a database, shared by the handles to it.
class Session : public weft::detail::Counted<Session> {
public:
    virtual ~Session() = default;

    /// Carries out one statement; the caller has the turn. Cancelled, it asks the database to stop,
    /// and waits for what comes of it: the session is then as it was before or, when that took too
    /// long, dropped.
    virtual Coro<Rows> run(std::string statement, Parameters parameters) = 0;
    /// Ends what somebody has left half done, rows that were not read to their end: only after it
    /// the next two are what the server thinks.
    virtual Coro<void> recover() { co_return; }
    /// At the server, as far as it has said.
    virtual bool in_transaction() const noexcept = 0;
    /// The server refuses whatever comes before a rollback.
    virtual bool transaction_failed() const noexcept { return false; }
    virtual bool is_open() const noexcept = 0;
    /// Closes at once; the server rolls back. Idempotent.
    virtual void drop() noexcept = 0;
    /// Does the connection, which nobody uses now, look alive? Asks the kernel, not the server.
    virtual bool looks_alive() noexcept = 0;
    /// May somebody else have it: no transaction, nothing under way, nothing left behind?
    virtual bool is_clean() const noexcept = 0;
    virtual std::string server() const = 0;

    /// How long an end may take that nobody can interrupt: the cancel of a statement, COMMIT,
    /// ROLLBACK. After that the connection is dropped.
    Duration clean_up_limit = std::chrono::seconds(10);
    TimePoint made{};
    TimePoint last_used{};

    [[noreturn, gnu::cold]] void refuse(const char* why, std::string statement) const {
        ErrorParts parts;
        parts.server = server();
        parts.message = why;
        parts.statement = std::move(statement);
        throw ConnectionError(std::move(parts));
    }

    [[noreturn, gnu::cold]] void refuse_commit(bool was_ended) const {
        ErrorParts parts;
        parts.server = server();
        parts.code = was_ended ? "" : "25P02";
        parts.message = was_ended ? "the database has ended the transaction before its COMMIT"
                                  : "a statement has failed: the transaction was rolled back";
        parts.statement = "COMMIT";
        throw Error(std::move(parts));
    }
    /// MySQL rolls the whole transaction back on a deadlock, SQLite on a full disk: what comes then
    /// must not be carried out as if it stood alone.
    [[noreturn, gnu::cold]] void refuse_ended(std::string statement) const {
        ErrorParts parts;
        parts.server = server();
        parts.message = "the database has ended the transaction: nothing more is done in it";
        parts.statement = std::move(statement);
        throw Error(std::move(parts));
    }

protected:
    Session() noexcept = default;
};

namespace detail {

using SessionRef = weft::detail::Ref<Session>;

/// Whose turn it is: on the connection itself (depth 0), or inside of a transaction (1 and more: 2
/// is a savepoint). Who runs a transaction holds the turn of the level around it.
class Level : public weft::detail::Counted<Level> {
public:
    explicit Level(unsigned depth_of = 0) noexcept : depth(depth_of) {}

    /// Throws:   RuntimeError where a wait would never end, or has no sense any more.
    void check() const {
        if (over) [[unlikely]]
            weft::detail::throw_runtime_error("weft: sql: the transaction is over");
        if (block_of && block_of == get_running_loop().current_task()) [[unlikely]]
            weft::detail::throw_runtime_error(
                "weft: sql: inside of a transaction use the connection that its body was given");
    }

    Lock turn;
    const unsigned depth;
    weft::detail::TaskCore* block_of = nullptr;  // the task that runs a transaction in this level
    bool over = false;
};
using LevelRef = weft::detail::Ref<Level>;

/// A transaction, or a savepoint in one. Lives in the frame that has the turn of the level around.
class Block {
public:
    Block(Session& session, Level& outer)
        : session_(SessionRef::to(session)),
          outer_(LevelRef::to(outer)),
          inner_(new Level(outer.depth + 1)) {
        outer_->block_of = get_running_loop().current_task();
    }
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    ~Block() {
        inner_->over = true;
        outer_->block_of = nullptr;
        // The frame goes where it stands; or a leftover's BEGIN was carried out.
        if (open_ || (depth() == 1 && session_->in_transaction())) session_->drop();
    }

    Level& inner() const noexcept { return *inner_; }

    /// `begin`: how a transaction begins; a savepoint needs none.
    Coro<void> begin(std::string begin) {
        // (Not in the awaiting expression: g++ 12 destroys what a conditional gives there twice.)
        if (depth() > 1) begin = control("SAVEPOINT weft_");
        (void)co_await session_->run(std::move(begin), Parameters());
        open_ = true;
    }
    /// Throws:   what COMMIT throws; nothing after a rollback: whoever asks for that has an error.
    Coro<void> end(bool commit) {
        std::exception_ptr failure;
        bool in_time = true;
        // No awaiting in handlers, and no cancel between the end and the knowledge of it.
        try {
            in_time = co_await clean_up(session_->clean_up_limit,
                                        [this, commit] { return finish(commit); });
        } catch (...) {
            failure = std::current_exception();
        }
        open_ = false;
        const bool stays_open = depth() == 1 && session_->in_transaction();
        if (!in_time || stays_open || (failure && !commit)) session_->drop();
        if (!commit) co_return;
        if (failure) std::rethrow_exception(failure);
        if (!in_time)
            session_->refuse("no answer: whether it was carried out is not known", "COMMIT");
    }

private:
    unsigned depth() const noexcept { return inner_->depth; }
    std::string control(std::string_view words) const {
        return weft::detail::concat({words, weft::detail::decimal(depth())});
    }

    Coro<void> finish(bool commit) {
        // Children that the body has left behind finish their statement first.
        inner_->over = true;
        Lock::Guard last = co_await inner_->turn.scoped();
        if (!session_->is_open()) {
            if (commit) session_->refuse("the connection is closed", "COMMIT");
            co_return;
        }
        // (In a transaction that costs the whole of it, which a COMMIT would not tell.)
        co_await session_->recover();
        const bool ended_already = !session_->in_transaction();
        const bool failed = session_->transaction_failed();
        if (!ended_already && (!commit || failed)) {
            if (depth() == 1) {
                (void)co_await session_->run("ROLLBACK", Parameters());
            } else {
                (void)co_await session_->run(control("ROLLBACK TO SAVEPOINT weft_"), Parameters());
                (void)co_await session_->run(control("RELEASE SAVEPOINT weft_"), Parameters());
            }
        }
        if (!commit) co_return;
        if (ended_already || failed) {
            session_->refuse_commit(ended_already);
        }
        std::string end = "COMMIT";
        if (depth() > 1) end = control("RELEASE SAVEPOINT weft_");
        std::exception_ptr refused;
        try {
            (void)co_await session_->run(std::move(end), Parameters());
            co_return;
        } catch (const Error&) {
            refused = std::current_exception();
        }
        // SQLite leaves a transaction open whose COMMIT it refuses: for a foreign key, for a lock.
        if (depth() == 1 && session_->is_open() && session_->in_transaction())
            (void)co_await session_->run("ROLLBACK", Parameters());
        std::rethrow_exception(refused);
    }

    SessionRef session_;
    LevelRef outer_;
    LevelRef inner_;
    bool open_ = false;
};

/// Whoever has got the turn asks whether it is still worth something.
/// Throws:   RuntimeError; ConnectionError; Error where the database has ended the transaction: what
///           comes then would stand alone.
inline void check_turn(const Session& session, const Level& level, const std::string& statement) {
    level.check();
    if (!session.is_open()) [[unlikely]]
        session.refuse("the connection is closed", statement);
    if (level.depth > 0 && !session.in_transaction()) [[unlikely]]
        session.refuse_ended(statement);
}

/// One statement, when it is its turn.
inline Coro<Rows> run_in_turn(SessionRef session, LevelRef level, std::string statement,
                              Parameters parameters) {
    level->check();
    const Lock::Guard turn = co_await level->turn.scoped();
    check_turn(*session, *level, statement);
    co_return co_await session->run(std::move(statement), std::move(parameters));
}

/// A script, when it is its turn, of a database whose session has `run_all`.
template <class Own>
Coro<void> run_script_in_turn(weft::detail::Ref<Own> session, LevelRef level,
                              std::string statements) {
    level->check();
    const Lock::Guard turn = co_await level->turn.scoped();
    check_turn(*session, *level, statements);
    co_await session->run_all(std::move(statements));
}

}  // namespace detail
}  // namespace weft::sql
