// SPDX-License-Identifier: MIT
// postgres::detail::Session: a PGconn, and how it is asked, cancelled and given up.
// Long because: what is begun in one function is, after a cancel, ended in another.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/error.hpp"
#include "../../base/ref.hpp"
#include "../../deadline/clean_up.hpp"
#include "../../net/io.hpp"
#include "../../runtime/loop.hpp"
#include "../../sql/held_ready.hpp"
#include "../../sql/session.hpp"
#include "../../sql/stop_statement.hpp"
#include "../../task/coro.hpp"
#include "../options.hpp"
#include "batch.hpp"
#include "connected.hpp"
#include "libpq.hpp"
#include "result.hpp"
#include "statements.hpp"

namespace weft::postgres::detail {

using sql::detail::Held;
using sql::detail::HeldReady;

class Session final : public sql::Session {
public:
    Session(Connected conn, std::string server, const Options& options)
        : heartbeat(options.heartbeat),
          statements(options.statement_cache),
          conn_(std::move(conn)),
          cancel_key_(new CancelKey(conn_.get())),
          server_(std::move(server)) {
        clean_up_limit = options.clean_up_limit;
        ::PQsetnonblocking(conn_.get(), 1);
        made = last_used = get_running_loop().time();
    }
    ~Session() override { conn_.finish(); }

    PGconn* conn() const noexcept { return conn_.get(); }
    bool in_transaction() const noexcept override {
        return is_open() && ::PQtransactionStatus(conn()) != PQTRANS_IDLE;
    }
    bool transaction_failed() const noexcept override {
        return is_open() && ::PQtransactionStatus(conn()) == PQTRANS_INERROR;
    }
    bool is_open() const noexcept override { return !dropped_; }
    /// While a task waits for the server, the socket is only shut down: that wakes it.
    void drop() noexcept override {
        if (std::exchange(dropped_, true)) return;
        if (users_ == 0) return conn_.finish();
        (void)::shutdown(::PQsocket(conn()), SHUT_RDWR);
    }
    bool is_clean() const noexcept override {
        return is_open() && !unfinished_ && !listens &&
               ::PQtransactionStatus(conn()) == PQTRANS_IDLE;
    }
    inline bool looks_alive() noexcept override;
    std::string server() const override { return server_; }

    inline Coro<sql::Rows> run(std::string statement, sql::Parameters parameters) override;

    /// Keeps the connection's memory while somebody waits for its socket.
    class User {
    public:
        explicit User(Session& session) noexcept : session_(&session) { ++session.users_; }
        User(const User&) = delete;
        User& operator=(const User&) = delete;
        ~User() {
            if (--session_->users_ == 0 && session_->dropped_) session_->conn_.finish();
        }

    protected:
        Session* session_;
    };
    /// Whoever has sent something holds one until the server is ready for the next thing. When a
    /// frame goes before, the next user of the connection makes it so.
    class Busy : public User {
    public:
        explicit Busy(Session& session) noexcept : User(session) { session.unfinished_ = true; }
        void over() const noexcept { session_->unfinished_ = false; }
    };

    /// Waits until what was sent is answered. Keeps the last result, or the first error.
    /// Cancel:   asks the server to stop, and waits for what comes of it: see sql::Queries::query.
    inline Coro<Answer> finish(const std::string& statement, Answer kept = Answer());
    // These three leave a cancel to the caller.
    /// Flushes, and reads until PQgetResult does not block.
    inline Coro<Held> until_ready();
    inline Coro<Held> until_flushed();
    /// Reads all results.
    inline Coro<Held> settle(Answer& kept);
    inline HeldReady wait(short events) const noexcept {
        return HeldReady(::PQsocket(conn()), events);
    }
    /// After a wait that was struck: the server is asked to stop, and heard to the end. Then throws
    /// CancelledError, or returns: the statement has ended another way.
    inline Coro<void> give_up(Held how, Answer& kept, Batch* batch = nullptr);
    /// What a frame that has gone left behind is ended.
    inline Coro<void> recover() override;

    /// Reads what has arrived.
    /// Throws:   ConnectionError.
    void consume(const std::string& statement) {
        if (!::PQconsumeInput(conn())) [[unlikely]]
            lost(statement);
    }
    /// Throws:   ConnectionError when libpq has refused to send: 0 means that.
    void sent(int done, const std::string& statement) {
        if (!done) [[unlikely]]
            refused(statement);
    }
    /// Throws:   sql::Error where it is one.
    void check(const Answer& answer, const std::string& statement);
    [[noreturn, gnu::cold]] inline void lost(const std::string& statement);

    /// A listener's question whether somebody is there. Its answer is read with whatever comes.
    /// Throws:   ConnectionError.
    void ask_for_a_sign() {
        if (is_asked_) return;
        sent(::PQsendQuery(conn(), ""), "LISTEN");
        is_asked_ = true;
        (void)::PQflush(conn());
    }
    void take_signs() noexcept {
        while (is_asked_ && !::PQisBusy(conn()))
            is_asked_ = static_cast<bool>(Answer(::PQgetResult(conn())));
    }

    bool listens = false;
    const Duration heartbeat;
    Statements statements;

private:
    inline Coro<void> cancel_and_settle(Answer& kept, Batch* batch);
    inline Coro<void> forget_statements();
    [[noreturn, gnu::cold]] inline void refused(const std::string& statement);
    inline void keep(Answer& kept, Answer next) noexcept;

    Connected conn_;
    weft::detail::Ref<CancelKey> cancel_key_;
    std::string server_;
    unsigned users_ = 0;
    bool unfinished_ = false;
    bool is_asked_ = false;
    bool dropped_ = false;
};
using SessionRef = weft::detail::Ref<Session>;

// --- errors ---

inline void Session::lost(const std::string& statement) {
    sql::ErrorParts parts;
    parts.server = server_;
    parts.message = without_break(::PQerrorMessage(conn()));
    parts.statement = statement;
    drop();
    throw sql::ConnectionError(std::move(parts));
}

inline void Session::refused(const std::string& statement) {
    if (::PQstatus(conn()) == CONNECTION_BAD) lost(statement);
    sql::ErrorParts parts;
    parts.server = server_;
    parts.message = without_break(::PQerrorMessage(conn()));
    parts.statement = statement;
    unfinished_ = ::PQtransactionStatus(conn()) == PQTRANS_ACTIVE;
    throw sql::Error(std::move(parts));
}

inline void Session::check(const Answer& answer, const std::string& statement) {
    if (::PQstatus(conn()) == CONNECTION_BAD) {
        sql::ErrorParts parts = parts_of(answer, server_, statement);
        drop();
        throw sql::ConnectionError(std::move(parts));
    }
    if (answer.is_error()) [[unlikely]]
        throw sql::Error(parts_of(answer, server_, statement));
}

// --- answers ---

inline void Session::keep(Answer& kept, Answer next) noexcept {
    // What comes after an error says less than it.
    if (kept && kept.is_error()) return;
    kept = std::move(next);
}

inline Coro<Held> Session::until_ready() {
    for (;;) {
        const int left = ::PQflush(conn());
        if (left < 0) co_return Held::no;  // what has gone wrong is the next result
        if (left == 0 && !::PQisBusy(conn())) co_return Held::no;
        const short events = left ? POLLIN | POLLOUT : POLLIN;
        const Held held = co_await wait(events);
        if (held != Held::no) co_return held;
        // (Also what the server says while it does not read must be taken, or both wait.)
        if (!::PQconsumeInput(conn())) co_return Held::no;
    }
}

inline Coro<Held> Session::settle(Answer& kept) {
    PGconn* const c = conn();
    // The first byte of an answer takes a round trip: no look before it.
    for (;;) {
        const int left = ::PQflush(c);
        if (left > 0 || (left == 0 && ::PQisBusy(c))) {
            const short events = left ? POLLIN | POLLOUT : POLLIN;
            const Held held = co_await wait(events);
            if (held != Held::no) co_return held;
            ::PQconsumeInput(c);  // a failure is the next result
            continue;
        }
        Answer next(::PQgetResult(c));
        if (!next) {
            if (::PQpipelineStatus(c) == PQ_PIPELINE_OFF) co_return Held::no;
            if (::PQtransactionStatus(c) != PQTRANS_ACTIVE && ::PQexitPipelineMode(c))
                co_return Held::no;
            if (::PQstatus(c) == CONNECTION_BAD) co_return Held::no;
            continue;
        }
        switch (next.status()) {
            case PGRES_COPY_IN:
            case PGRES_COPY_BOTH:
                ::PQputCopyEnd(c, "there is no data: see copy_in");
                break;
            case PGRES_COPY_OUT: {
                char* data = nullptr;
                const int size = ::PQgetCopyData(c, &data, 1);
                ::PQfreemem(data);
                if (size != 0) break;
                const Held held = co_await wait(POLLIN);
                if (held != Held::no) co_return held;
                ::PQconsumeInput(c);
                break;
            }
            case PGRES_PIPELINE_SYNC:
                if (::PQexitPipelineMode(c)) co_return Held::no;
                break;
            default:
                keep(kept, std::move(next));
        }
        if (::PQstatus(c) == CONNECTION_BAD) co_return Held::no;
    }
}

inline Coro<Held> Session::until_flushed() {
    for (;;) {
        if (::PQflush(conn()) <= 0) co_return Held::no;
        const Held held = co_await wait(POLLIN | POLLOUT);
        if (held != Held::no) co_return held;
        if (!::PQconsumeInput(conn())) co_return Held::no;
    }
}

inline Coro<Answer> Session::finish(const std::string& statement, Answer kept) {
    const Busy busy(*this);
    const Held held = co_await settle(kept);
    if (held != Held::no) co_await give_up(held, kept);
    busy.over();
    if (!kept) [[unlikely]]
        lost(statement);
    check(kept, statement);
    co_return kept;
}

inline Coro<void> Session::cancel_and_settle(Answer& kept, Batch* batch) {
    const weft::detail::Ref<CancelKey> key = cancel_key_;
    // (Named first: g++ 12 destroys closures of awaiting expressions twice.)
    const auto send = [key] { return key->send(); };
    const auto tell = [&]() -> Coro<bool> {
        co_return co_await cancel_threads().run(abandon_on_cancel, send);
    };
    const auto read = [&]() -> Coro<void> {
        Held held = Held::no;
        if (batch) {
            held = co_await batch->settle(*this, kept);
        } else {
            held = co_await settle(kept);
        }
        if (held != Held::no) get_running_loop().throw_cancelled();
    };
    const bool was_told = co_await sql::detail::stop_statement(tell, read);
    if (!was_told) {
        drop();
        co_return;
    }
    if (::PQstatus(conn()) == CONNECTION_BAD) co_return;
    // PQcancel ends when the server has signalled its process, but not when that has seen it.
    // Whatever comes so late may hit this, and nothing that somebody asks for.
    Answer none;
    ::PQsendQuery(conn(), "");
    const Held held = co_await settle(none);
    if (held != Held::no) get_running_loop().throw_cancelled();
}

inline Coro<void> Session::give_up(Held how, Answer& kept, Batch* batch) {
    bool in_time = false;
    try {
        in_time = co_await clean_up(clean_up_limit, [&] { return cancel_and_settle(kept, batch); });
    } catch (...) {
        // The loop closes, or there is no thread: in_time is false.
    }
    if (!in_time) drop();
    unfinished_ = false;
    if (how == Held::left || !is_open() || (!kept && !batch) || (kept && kept.was_cancelled()))
        get_running_loop().throw_cancelled();
}

inline Coro<void> Session::recover() {
    Answer kept;
    if (unfinished_) {
        bool in_time = false;
        try {
            in_time =
                co_await clean_up(clean_up_limit, [&] { return cancel_and_settle(kept, nullptr); });
        } catch (...) {
        }
        unfinished_ = false;
        if (!in_time) drop();
        if (!is_open() || ::PQstatus(conn()) == CONNECTION_BAD) {
            drop();
            refuse("the connection was given up by the call before", "");
        }
    }
    if (is_asked_) {
        is_asked_ = false;
        const Busy busy(*this);
        const Held held = co_await settle(kept);
        if (held != Held::no) co_await give_up(held, kept);
        busy.over();
    }
    // (In a transaction that has failed nothing is carried out but its end.)
    if (listens && !transaction_failed()) {
        listens = false;
        sent(::PQsendQuery(conn(), "UNLISTEN *"), "UNLISTEN *");
        kept = co_await finish("UNLISTEN *");
    }
}

inline Coro<void> Session::forget_statements() {
    for (const std::string& name : statements.take_forgotten()) {
        const std::string text = weft::detail::concat({"DEALLOCATE ", name});
        sent(::PQsendQuery(conn(), text.c_str()), text);
        const Answer done = co_await finish(text);
    }
}

inline Coro<sql::Rows> Session::run(std::string statement, sql::Parameters parameters) {
    weft::detail::refuse_zero_byte("postgres: a statement", statement);
    sql::detail::strike_before_start();
    if (unfinished_ || listens) co_await recover();
    const Values values(parameters);
    for (;;) {
        Statements::Entry* const entry = statements.use(statement);
        if (statements.has_forgotten() && !transaction_failed()) {
            co_await forget_statements();
        }
        if (!entry) {
            sent(::PQsendQueryParams(conn(), statement.c_str(), values.count(), nullptr,
                                     values.values(), values.lengths(), values.formats(), 0),
                 statement);
        } else {
            if (entry->name.empty()) {
                std::string name = statements.next_name();
                sent(::PQsendPrepare(conn(), name.c_str(), statement.c_str(), 0, nullptr),
                     statement);
                const Answer prepared = co_await finish(statement);
                entry->name = std::move(name);
                sql::detail::strike_before_start();
            }
            sent(::PQsendQueryPrepared(conn(), entry->name.c_str(), values.count(), values.values(),
                                       values.lengths(), values.formats(), 0),
                 statement);
        }
        const bool was_prepared = entry != nullptr;
        const Busy busy(*this);
        Answer answer;
        const Held held = co_await settle(answer);
        if (held != Held::no) [[unlikely]]
            co_await give_up(held, answer);
        busy.over();
        if (!answer) [[unlikely]]
            lost(statement);
        if (answer.is_error() && was_prepared && is_open()) {
            // A plan that no longer fits its tables, or that somebody has discarded. It was refused
            // before it began.
            const std::string_view code = answer.field(PG_DIAG_SQLSTATE);
            const bool stale = code == "0A000" || code == "26000";
            if (stale) statements.forget(statement);
            if (stale && ::PQtransactionStatus(conn()) == PQTRANS_IDLE) continue;
        }
        check(answer, statement);
        last_used = get_running_loop().time();
        co_return rows_of(std::move(answer));
    }
}

inline bool Session::looks_alive() noexcept {
    // What the server has said meanwhile (a setting has changed, it goes down) is taken first.
    for (int looks = 0; looks < 4 && is_open(); ++looks) {
        char byte;
        const ssize_t got = ::recv(::PQsocket(conn()), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (got < 0) return errno == EAGAIN;
        if (got == 0 || !::PQconsumeInput(conn())) return false;
        (void)::PQisBusy(conn());
        if (::PQstatus(conn()) == CONNECTION_BAD) return false;
    }
    return false;
}

}  // namespace weft::postgres::detail
