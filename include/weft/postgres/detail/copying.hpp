// SPDX-License-Identifier: MIT
// Results that are not in memory as a whole: rows as they come, COPY both ways; and scripts.
#pragma once

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>

#include "../../base/c_text.hpp"
#include "../../base/std_parts.hpp"
#include "../../sql/session.hpp"
#include "../../sync/lock.hpp"
#include "../../task/async_generator.hpp"
#include "../../task/coro.hpp"
#include "libpq.hpp"
#include "result.hpp"
#include "session.hpp"

namespace weft::postgres::detail {

/// The beginning of every exchange that is no plain query; the caller has the turn.
inline Coro<void> begin_exchange(Session& session, const sql::detail::Level& level,
                                 const std::string& statement) {
    weft::detail::refuse_zero_byte("postgres: a statement", statement);
    sql::detail::check_turn(session, level, statement);
    sql::detail::strike_before_start();
    co_await session.recover();
}

inline Coro<void> run_script(SessionRef session, sql::detail::LevelRef level,
                             std::string statements) {
    level->check();
    const Lock::Guard turn = co_await level->turn.scoped();
    co_await begin_exchange(*session, *level, statements);
    session->sent(::PQsendQuery(session->conn(), statements.c_str()), statements);
    const Answer answer = co_await session->finish(statements);
}

inline AsyncGenerator<sql::Row> stream_rows(SessionRef session, sql::detail::LevelRef level,
                                            std::string statement, sql::Parameters parameters) {
    level->check();
    const Lock::Guard turn = co_await level->turn.scoped();
    co_await begin_exchange(*session, *level, statement);
    const Values values(parameters);
    PGconn* const conn = session->conn();
    session->sent(::PQsendQueryParams(conn, statement.c_str(), values.count(), nullptr,
                                      values.values(), values.lengths(), values.formats(), 0),
                  statement);
    const Session::Busy busy(*session);
    ::PQsetSingleRowMode(conn);
    for (;;) {
        const Held held = co_await session->until_ready();
        if (held != Held::no) {
            Answer last;
            co_await session->give_up(held, last);
            // The rows that were on their way are gone: this is no result that has won.
            get_running_loop().throw_cancelled();
        }
        Answer answer(::PQgetResult(conn));
        if (!answer) break;
        if (answer.status() == PGRES_SINGLE_TUPLE) {
            const sql::Rows rows = rows_of(std::move(answer));
            co_yield rows[0];
        } else if (answer.is_error()) {
            const Answer rest = co_await session->finish(statement, std::move(answer));
        } else if (answer.status() == PGRES_COPY_OUT || answer.status() == PGRES_COPY_IN ||
                   answer.status() == PGRES_COPY_BOTH) {
            // (libpq gives this answer again and again until the COPY is over.)
            const Answer rest = co_await session->finish(statement);
            weft::detail::throw_runtime_error(
                {"weft: postgres: a COPY gives no rows, see copy_out: ", statement});
        }
    }
    busy.over();
    session->last_used = get_running_loop().time();
}

/// Waits for the answer to a COPY.
/// Throws:   what the server says against it.
inline Coro<void> begin_copy(Session& session, const Session::Busy& busy,
                             const std::string& statement, ExecStatusType expected) {
    // (Not PQsendQuery, which would carry out what somebody has appended to the COPY.)
    session.sent(::PQsendQueryParams(session.conn(), statement.c_str(), 0, nullptr, nullptr,
                                     nullptr, nullptr, 0),
                 statement);
    const Held held = co_await session.until_ready();
    Answer answer;
    if (held != Held::no) {
        co_await session.give_up(held, answer);
        get_running_loop().throw_cancelled();
    }
    answer = Answer(::PQgetResult(session.conn()));
    if (answer && answer.status() == expected) co_return;
    if (!answer) session.lost(statement);
    Answer rest = co_await session.finish(statement, std::move(answer));
    busy.over();
    weft::detail::throw_runtime_error({"weft: postgres: no COPY of this direction: ", statement});
}

inline Coro<std::uint64_t> copy_in(SessionRef session, sql::detail::LevelRef level,
                                   std::string statement, AsyncGenerator<std::string> data) {
    level->check();
    const Lock::Guard turn = co_await level->turn.scoped();
    co_await begin_exchange(*session, *level, statement);
    const Session::Busy busy(*session);
    co_await begin_copy(*session, busy, statement, PGRES_COPY_IN);
    PGconn* const conn = session->conn();
    Held held = Held::no;
    std::exception_ptr failure;
    try {
        while (held == Held::no) {
            const auto piece = co_await data.next();
            if (!piece) break;
            std::size_t done = 0;
            while (done < piece->size() && held == Held::no) {
                // libpq takes any amount into memory: a piece at a time, and the socket has it.
                const std::size_t part = std::min<std::size_t>(piece->size() - done, 65536);
                const int put = ::PQputCopyData(conn, piece->data() + done, static_cast<int>(part));
                if (put < 0) session->lost(statement);
                if (put > 0) done += part;
                held = co_await session->until_flushed();
            }
        }
    } catch (const sql::ConnectionError&) {
        throw;
    } catch (...) {
        failure = std::current_exception();
    }
    // With a reason the server takes back what it has, and says so.
    Answer answer;
    ::PQputCopyEnd(conn, failure || held != Held::no ? "the sender has given up" : nullptr);
    if (held == Held::no) held = co_await session->settle(answer);
    if (held != Held::no) co_await session->give_up(held, answer);
    busy.over();
    if (failure) std::rethrow_exception(failure);
    if (!answer) session->lost(statement);
    session->check(answer, statement);
    const sql::Rows rows = rows_of(std::move(answer));
    co_return rows.affected();
}

inline AsyncGenerator<std::string> copy_out(SessionRef session, sql::detail::LevelRef level,
                                            std::string statement) {
    level->check();
    const Lock::Guard turn = co_await level->turn.scoped();
    co_await begin_exchange(*session, *level, statement);
    const Session::Busy busy(*session);
    co_await begin_copy(*session, busy, statement, PGRES_COPY_OUT);
    PGconn* const conn = session->conn();
    for (;;) {
        char* data = nullptr;
        const int size = ::PQgetCopyData(conn, &data, 1);
        if (size > 0) {
            std::string piece(data, static_cast<std::size_t>(size));
            ::PQfreemem(data);
            co_yield std::move(piece);
            continue;
        }
        if (size < 0) break;
        const Held held = co_await session->wait(POLLIN);
        if (held != Held::no) {
            Answer last;
            co_await session->give_up(held, last);
            get_running_loop().throw_cancelled();
        }
        session->consume(statement);
    }
    const Answer answer = co_await session->finish(statement);
    busy.over();
}

inline AsyncGenerator<std::string> just(std::string data) { co_yield std::move(data); }

}  // namespace weft::postgres::detail
