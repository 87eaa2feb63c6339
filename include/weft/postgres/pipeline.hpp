// SPDX-License-Identifier: MIT
// postgres::Pipeline: several statements in one round trip.
#pragma once

#include <cstddef>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "../base/c_text.hpp"
#include "../base/std_parts.hpp"
#include "../sql/parameters.hpp"
#include "../sql/rows.hpp"
#include "../sql/session.hpp"
#include "../sync/lock.hpp"
#include "../task/coro.hpp"
#include "detail/copying.hpp"
#include "detail/libpq.hpp"
#include "detail/session.hpp"

namespace weft::postgres {

/// Statements that are sent together. The server carries them out in order, as one transaction
/// (inside of one: as part of it), and answers all at once.
///
///     auto batch = db.pipeline();
///     for (const Item& item : items) batch.add("INSERT INTO items VALUES ($1, $2)", item.id,
///     item.name); const auto results = co_await batch.run();
class Pipeline {
public:
    Pipeline(detail::SessionRef session, sql::detail::LevelRef level) noexcept
        : session_(std::move(session)), level_(std::move(level)) {}

    template <class... Args>
    void add(std::string statement, const Args&... values) {
        sql::Parameters parameters;
        (parameters.add(values), ...);
        batch_.statements.emplace_back(std::move(statement), std::move(parameters));
    }
    std::size_t size() const noexcept { return batch_.statements.size(); }

    /// Sends what was added, and empties the pipeline.
    /// Returns:  the rows of each, in order.
    /// Throws:   the sql::Error of the first that failed: those before it are rolled back, those
    ///           after it are not carried out.
    /// Cancel:   as Connection::query, for all of it.
    Coro<std::vector<sql::Rows>> run() {
        if (!session_) [[unlikely]]
            weft::detail::throw_runtime_error(
                "weft: an empty postgres::Pipeline: it was moved from");
        return run_batch(session_, level_, std::exchange(batch_, detail::Batch()));
    }

private:
    static Coro<std::vector<sql::Rows>> run_batch(detail::SessionRef session,
                                                  sql::detail::LevelRef level, detail::Batch batch);

    detail::SessionRef session_;
    sql::detail::LevelRef level_;
    detail::Batch batch_;
};

inline Coro<detail::Held> detail::Batch::settle(Session& session, Answer& failed) {
    PGconn* const conn = session.conn();
    for (;;) {
        const Held held = co_await session.until_ready();
        if (held != Held::no) co_return held;
        Answer answer(::PQgetResult(conn));
        if (::PQstatus(conn) == CONNECTION_BAD) {
            if (!failed && answer) failed = std::move(answer);
            co_return Held::no;
        }
        if (!answer) continue;  // between two statements
        switch (answer.status()) {
            case PGRES_PIPELINE_SYNC:
                ::PQexitPipelineMode(conn);
                co_return Held::no;
            case PGRES_PIPELINE_ABORTED:
                break;
            case PGRES_COPY_IN:
            case PGRES_COPY_BOTH:
            case PGRES_COPY_OUT:
                // libpq has no way out of it.
                session.drop();
                co_return Held::no;
            default:
                if (!answer.is_error()) {
                    results.push_back(rows_of(std::move(answer)));
                } else if (!failed) {
                    failed_at = results.size();
                    failed = std::move(answer);
                }
        }
    }
}

inline Coro<std::vector<sql::Rows>> Pipeline::run_batch(detail::SessionRef session,
                                                        sql::detail::LevelRef level,
                                                        detail::Batch batch) {
    using detail::Held;
    if (batch.statements.empty()) co_return std::vector<sql::Rows>();
    level->check();
    const Lock::Guard turn = co_await level->turn.scoped();
    // (All of them before the first is sent: what is refused then costs the connection.)
    for (const auto& statement : batch.statements) {
        weft::detail::refuse_zero_byte("postgres: a statement", statement.text);
        const detail::Values values(statement.parameters);
    }
    co_await detail::begin_exchange(*session, *level, batch.statements.front().text);
    PGconn* const conn = session->conn();
    session->sent(::PQenterPipelineMode(conn), batch.statements.front().text);
    const detail::Session::Busy busy(*session);
    try {
        for (const auto& [text, parameters] : batch.statements) {
            const detail::Values values(parameters);
            session->sent(
                ::PQsendQueryParams(conn, text.c_str(), values.count(), nullptr, values.values(),
                                    values.lengths(), values.formats(), 0),
                text);
        }
        session->sent(::PQpipelineSync(conn), batch.statements.back().text);
    } catch (...) {
        // Half a pipeline is queued, without an end.
        session->drop();
        throw;
    }
    batch.results.reserve(batch.statements.size());
    detail::Answer failed;
    const Held held = co_await batch.settle(*session, failed);
    if (held != Held::no) {
        co_await session->give_up(held, failed, &batch);
    }
    busy.over();
    if (batch.results.size() == batch.statements.size() && !failed)
        co_return std::move(batch.results);
    const std::string& text =
        batch.statements[std::min(batch.failed_at, batch.statements.size() - 1)].text;
    if (failed) session->check(failed, text);
    session->lost(text);
}

}  // namespace weft::postgres
