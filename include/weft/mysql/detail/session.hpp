// SPDX-License-Identifier: MIT
// mysql::detail::Session: a connection, and how it is asked, killed and given up.
// Long because: a statement is begun in one function and, after a cancel, ended in another.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../../base/c_text.hpp"
#include "../../base/error.hpp"
#include "../../base/ref.hpp"
#include "../../deadline/clean_up.hpp"
#include "../../runtime/loop.hpp"
#include "../../sql/one_statement.hpp"
#include "../../sql/session.hpp"
#include "../../sql/stop_statement.hpp"
#include "../../task/coro.hpp"
#include "../options.hpp"
#include "connecting.hpp"
#include "handle.hpp"
#include "values.hpp"

namespace weft::mysql::detail {

class Session final : public sql::Session {
public:
    Session(Handle handle, Options options, std::string server)
        : handle_(std::move(handle)), options_(std::move(options)), server_(std::move(server)) {
        clean_up_limit = options_.clean_up_limit;
        made = last_used = get_running_loop().time();
    }
    ~Session() override { finish(); }

    MYSQL* mysql() const noexcept { return handle_.get(); }
    bool in_transaction() const noexcept override {
        return is_open() && (mysql()->server_status & SERVER_STATUS_IN_TRANS) != 0;
    }
    bool is_open() const noexcept override { return !dropped_; }
    /// While a task waits for the server, the socket is only shut down: that wakes it.
    void drop() noexcept override {
        if (std::exchange(dropped_, true)) return;
        if (users_ == 0) return finish();
        (void)::shutdown(handle_.fd(), SHUT_RDWR);
    }
    bool is_clean() const noexcept override {
        return is_open() && !unfinished_ && !in_transaction();
    }
    bool looks_alive() noexcept override {
        // An idle server says nothing, but that it goes.
        char byte;
        return is_open() && !unfinished_ &&
               ::recv(handle_.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
    }
    std::string server() const override { return server_; }

    Coro<sql::Rows> run(std::string statement, sql::Parameters parameters) override {
        return carry_out(std::move(statement), std::move(parameters), false);
    }
    /// Statements without parameters, each after the other.
    Coro<void> run_all(std::string statements) {
        (void)co_await carry_out(std::move(statements), sql::Parameters(), true);
    }

private:
    /// One statement, and how far it has come: after a cancel another task goes on with it.
    struct Query {
        Query(std::string words, sql::Parameters values)
            : text(std::move(words)), parameters(std::move(values)), table(new sql::Table()) {}
        Query(const Query&) = delete;
        Query& operator=(const Query&) = delete;

        std::string text;
        sql::Parameters parameters;
        std::vector<MYSQL_BIND> binds;
        weft::detail::Ref<sql::Table> table;
        MYSQL_STMT* statement = nullptr;
        MYSQL_RES* result = nullptr;
        // The call that runs: what it waits for, and how it goes on.
        int status = 0;
        int (*go_on)(Session& session, Query& query, int ready) = nullptr;
        int code = 0;  // what it has returned; not 0 is an error
        int stage = -1;
        bool is_script = false;    // several statements in one text
        bool is_sent = false;      // the server has been asked to carry it out, or is being
        bool is_given_up = false;  // it is not, if it has not been yet
        bool has_failed = false;
        unsigned number = 0;  // of the error
        std::string error;
        std::string sqlstate;
    };
    using Start = int (*)(Session& session, Query& query);
    using GoOn = int (*)(Session& session, Query& query, int ready);

    class Busy {
    public:
        explicit Busy(Session& session) noexcept : session_(&session) {
            session.unfinished_ = true;
            ++session.users_;
        }
        Busy(const Busy&) = delete;
        Busy& operator=(const Busy&) = delete;
        ~Busy() {
            if (--session_->users_ > 0) return;
            // In the middle of a call that nobody goes on with: nothing can be asked any more.
            if (session_->unfinished_) session_->dropped_ = true;
            if (session_->dropped_) session_->finish();
        }
        void over() const noexcept { session_->unfinished_ = false; }

    private:
        Session* session_;
    };

    inline Coro<sql::Rows> carry_out(std::string statement, sql::Parameters parameters,
                                     bool is_script);
    // These leave a cancel to the caller, and are called again after it.
    inline Coro<Held> step(Query& query, int stage, Start start, GoOn go_on);
    inline Coro<Held> perform(Query& query);
    inline Coro<Held> perform_text(Query& query);
    inline Coro<Held> perform_prepared(Query& query);

    inline Coro<void> perform_unheld(Query& query);
    inline Coro<void> kill_and_perform(Query& query);
    inline Coro<void> ask_nothing();
    [[noreturn, gnu::cold]] inline void fail(const Query& query);
    inline void has_failed(Query& query);
    MYSQL_STMT* kept(const std::string& text) noexcept {
        const auto at = statements_.find(text);
        if (at == statements_.end()) return nullptr;
        at->second.used = ++clock_;
        return at->second.statement;
    }
    inline void keep(const std::string& text, MYSQL_STMT* statement);
    void finish() noexcept {
        // First the connection, so that a statement's end asks it for nothing.
        handle_.close(!unfinished_);
        for (const auto& [text, one] : statements_) ::mysql_stmt_close(one.statement);
        statements_.clear();
    }

    struct Kept {
        MYSQL_STMT* statement = nullptr;
        std::uint64_t used = 0;
    };

    Handle handle_;
    Options options_;
    std::string server_;
    std::unordered_map<std::string, Kept> statements_;
    std::uint64_t clock_ = 0;
    unsigned users_ = 0;
    bool unfinished_ = false;
    bool dropped_ = false;
    bool takes_scripts_ = false;  // as the server has been told
};
using SessionRef = weft::detail::Ref<Session>;

/// Asked at once: the next call has another answer.
inline void Session::has_failed(Query& query) {
    query.has_failed = true;
    MYSQL_STMT* const statement = query.statement;
    query.number = statement ? ::mysql_stmt_errno(statement) : ::mysql_errno(mysql());
    query.error = statement ? ::mysql_stmt_error(statement) : ::mysql_error(mysql());
    query.sqlstate = statement ? ::mysql_stmt_sqlstate(statement) : ::mysql_sqlstate(mysql());
    if (statement && query.stage <= 1) {
        // It is not prepared.
        statements_.erase(query.text);
        query.statement = nullptr;
        ::mysql_stmt_close(statement);
    }
}

inline void Session::fail(const Query& query) {
    sql::ErrorParts parts;
    parts.server = server_;
    parts.statement = query.text;
    parts.number = static_cast<int>(query.number);
    parts.code = query.sqlstate;
    parts.message = query.error;
    constexpr unsigned no_syntax = 1064;
    if (query.number == no_syntax && !query.is_script && sql::looks_like_several(query.text))
        parts.detail = sql::one_statement;
    if (!is_open() || costs_connection(query.number)) {
        if (parts.message.empty()) parts.message = "the connection was closed";
        drop();
        throw sql::ConnectionError(std::move(parts));
    }
    throw sql::Error(std::move(parts));
}

inline void Session::keep(const std::string& text, MYSQL_STMT* statement) {
    while (!statements_.empty() && statements_.size() >= options_.statement_cache) {
        auto oldest = statements_.begin();
        for (auto at = statements_.begin(); at != statements_.end(); ++at) {
            if (at->second.used < oldest->second.used) oldest = at;
        }
        // (It sends a few bytes, which no answer follows.)
        ::mysql_stmt_close(oldest->second.statement);
        statements_.erase(oldest);
    }
    Kept& one = statements_[text];
    one.statement = statement;
    one.used = ++clock_;
}

inline Coro<Held> Session::step(Query& query, int stage, Start start, GoOn go_on) {
    if (query.stage > stage || query.has_failed) co_return Held::no;
    if (!query.go_on) {
        query.go_on = go_on;
        query.status = start(*this, query);
    }
    while (query.status != 0) {
        HeldReady ready = handle_.wait(query.status);
        const Held held = co_await ready;
        if (held != Held::no) co_return held;
        query.status = query.go_on(*this, query, Handle::told(ready.events()));
    }
    query.go_on = nullptr;
    query.stage = stage + 1;
    if (query.code != 0) has_failed(query);
    co_return Held::no;
}

inline Coro<Held> Session::perform(Query& query) {
    return query.statement || !query.parameters.empty() ? perform_prepared(query)
                                                        : perform_text(query);
}

inline Coro<Held> Session::perform_text(Query& query) {
    Held held = Held::no;
    // The server takes several statements in one text as long as it is told to, and no longer: a
    // text that somebody has pasted a stranger's words into is to remain one statement.
    if (query.stage < 0 && query.is_script != takes_scripts_) {
        held = co_await step(
            query, -1,
            [](Session& session, Query& of) {
                return ::mysql_set_server_option_start(&of.code, session.mysql(),
                                                       of.is_script
                                                           ? MYSQL_OPTION_MULTI_STATEMENTS_ON
                                                           : MYSQL_OPTION_MULTI_STATEMENTS_OFF);
            },
            [](Session& session, Query& of, int ready) {
                return ::mysql_set_server_option_cont(&of.code, session.mysql(), ready);
            });
        if (held != Held::no || query.has_failed) co_return held;
        takes_scripts_ = query.is_script;
    }
    if (query.is_given_up && !query.is_sent) co_return held;
    held = co_await step(
        query, 0,
        [](Session& session, Query& of) {
            of.is_sent = true;
            return ::mysql_real_query_start(&of.code, session.mysql(), of.text.data(),
                                            static_cast<unsigned long>(of.text.size()));
        },
        [](Session& session, Query& of, int ready) {
            return ::mysql_real_query_cont(&of.code, session.mysql(), ready);
        });
    // A statement has one result, a CALL several, of which the first is returned; a script too.
    for (int stage = 1; held == Held::no && !query.has_failed; stage += 2) {
        held = co_await step(
            query, stage,
            [](Session& session, Query& of) {
                return ::mysql_store_result_start(&of.result, session.mysql());
            },
            [](Session& session, Query& of, int ready) {
                return ::mysql_store_result_cont(&of.result, session.mysql(), ready);
            });
        if (held != Held::no) break;
        if (query.stage == stage + 1 && !query.go_on) {
            if (query.result) {
                if (query.table->columns() == 0) copy(query.result, *query.table);
                ::mysql_free_result(std::exchange(query.result, nullptr));
            } else if (::mysql_field_count(mysql()) > 0) {
                has_failed(query);
                break;
            }
            if (stage == 1) {
                const my_ulonglong rows = ::mysql_affected_rows(mysql());
                query.table->affected = rows == static_cast<my_ulonglong>(-1) ? 0 : rows;
                query.table->last_insert_id = static_cast<std::int64_t>(::mysql_insert_id(mysql()));
            }
            if (!::mysql_more_results(mysql())) break;
        }
        held = co_await step(
            query, stage + 1,
            [](Session& session, Query& of) {
                return ::mysql_next_result_start(&of.code, session.mysql());
            },
            [](Session& session, Query& of, int ready) {
                return ::mysql_next_result_cont(&of.code, session.mysql(), ready);
            });
    }
    co_return held;
}

inline Coro<Held> Session::perform_prepared(Query& query) {
    Held held = co_await step(
        query, 0,
        [](Session& session, Query& of) {
            if ((of.statement = session.kept(of.text))) return 0;
            of.statement = ::mysql_stmt_init(session.mysql());
            if (!of.statement) throw std::bad_alloc();
            session.keep(of.text, of.statement);
            return ::mysql_stmt_prepare_start(&of.code, of.statement, of.text.data(),
                                              static_cast<unsigned long>(of.text.size()));
        },
        [](Session&, Query& of, int ready) {
            return ::mysql_stmt_prepare_cont(&of.code, of.statement, ready);
        });
    if (held != Held::no || query.has_failed) co_return held;
    if (::mysql_stmt_param_count(query.statement) != query.parameters.size()) {
        query.has_failed = true;
        query.error = weft::detail::concat(
            {weft::detail::decimal(
                 static_cast<long long>(::mysql_stmt_param_count(query.statement))),
             " parameters, and ",
             weft::detail::decimal(static_cast<long long>(query.parameters.size())),
             " values for them"});
        co_return held;
    }
    if (query.is_given_up && !query.is_sent) co_return held;
    held = co_await step(
        query, 1,
        [](Session&, Query& of) {
            of.is_sent = true;
            of.binds = bind_of(of.parameters);
            ::mysql_stmt_bind_param(of.statement, of.binds.data());
            return ::mysql_stmt_execute_start(&of.code, of.statement);
        },
        [](Session&, Query& of, int ready) {
            return ::mysql_stmt_execute_cont(&of.code, of.statement, ready);
        });
    if (held != Held::no || query.has_failed) co_return held;
    if (::mysql_stmt_field_count(query.statement) > 0) {
        held = co_await step(
            query, 2,
            [](Session&, Query& of) {
                return ::mysql_stmt_store_result_start(&of.code, of.statement);
            },
            [](Session&, Query& of, int ready) {
                return ::mysql_stmt_store_result_cont(&of.code, of.statement, ready);
            });
        if (held != Held::no || query.has_failed) co_return held;
        if (MYSQL_RES* const meta = ::mysql_stmt_result_metadata(query.statement)) {
            Columns columns(query.statement, meta, *query.table);
            const bool have_all = columns.copy_all();
            ::mysql_free_result(meta);
            if (!have_all) has_failed(query);
        }
    }
    const my_ulonglong rows = ::mysql_stmt_affected_rows(query.statement);
    query.table->affected = rows == static_cast<my_ulonglong>(-1) ? 0 : rows;
    query.table->last_insert_id =
        static_cast<std::int64_t>(::mysql_stmt_insert_id(query.statement));
    // What a CALL gives beside its rows.
    for (int stage = 3; ::mysql_stmt_more_results(query.statement); ++stage) {
        held = co_await step(
            query, stage,
            [](Session&, Query& of) {
                return ::mysql_stmt_next_result_start(&of.code, of.statement);
            },
            [](Session&, Query& of, int ready) {
                return ::mysql_stmt_next_result_cont(&of.code, of.statement, ready);
            });
        if (held != Held::no || query.has_failed) break;
    }
    ::mysql_stmt_free_result(query.statement);
    co_return held;
}

inline Coro<void> Session::perform_unheld(Query& query) {
    const Held held = co_await perform(query);
    if (held != Held::no) get_running_loop().throw_cancelled();
}

inline Coro<void> Session::kill_and_perform(Query& query) {
    query.is_given_up = true;
    // (An option is set at once. To prepare a statement may mean to wait for a lock.)
    if (!query.is_sent && !query.statement) co_return co_await perform_unheld(query);
    const std::string text = weft::detail::concat(
        {"KILL QUERY ", weft::detail::decimal(static_cast<long long>(::mysql_thread_id(mysql())))});
    const auto kill = [&]() -> Coro<bool> {
        Handle other = co_await connected(options_);
        co_await simple(other, text);
        other.close(true);
        co_return true;
    };
    const auto read = [&] { return perform_unheld(query); };
    (void)co_await sql::detail::stop_statement(kill, read);
    // A kill that came too late hits this, and nothing that somebody asks for.
    if (is_open()) co_await ask_nothing();
}

inline Coro<void> Session::ask_nothing() {
    Query nothing("DO 0", sql::Parameters());
    co_await perform_unheld(nothing);
}

inline Coro<sql::Rows> Session::carry_out(std::string statement, sql::Parameters parameters,
                                          bool is_script) {
    sql::detail::strike_before_start();
    if (!is_open()) refuse("the connection is closed", std::move(statement));
    const Busy busy(*this);
    Query query(std::move(statement), std::move(parameters));
    query.is_script = is_script;
    const Held held = co_await perform(query);
    if (held != Held::no) {
        bool in_time = false;
        try {
            in_time = co_await clean_up(clean_up_limit, [&] { return kill_and_perform(query); });
        } catch (...) {
            // No way to the server, or the loop closes: in_time is false.
        }
        if (!in_time) drop();
        const bool was_stopped = query.has_failed && query.number == was_interrupted;
        const bool was_never_sent = !query.is_sent && !query.has_failed;
        if (held == Held::left || !is_open() || was_stopped || was_never_sent) {
            if (is_open()) busy.over();
            get_running_loop().throw_cancelled();
        }
    }
    if (query.has_failed && in_transaction() && !costs_connection(query.number)) [[unlikely]] {
        // Some errors (a deadlock) end the whole transaction, which the next answer says.
        bool in_time = false;
        try {
            in_time = co_await clean_up(clean_up_limit, [this] { return ask_nothing(); });
        } catch (...) {
            // The loop closes: in_time is false.
        }
        if (!in_time) drop();
    }
    if (!is_open()) fail(query);
    last_used = get_running_loop().time();
    busy.over();
    if (query.has_failed) fail(query);
    co_return sql::Rows(sql::detail::ResultRef(query.table.leak()));
}

}  // namespace weft::mysql::detail
