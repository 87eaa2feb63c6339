// SPDX-License-Identifier: MIT
// Handle: a sqlite3 and its statements, used by one thread at a time.
#pragma once

#include <sqlite3.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "../../base/c_text.hpp"
#include "../../base/clock.hpp"
#include "../../base/error.hpp"
#include "../../base/std_parts.hpp"
#include "../../sql/error.hpp"
#include "../../sql/one_statement.hpp"
#include "../../sql/parameters.hpp"
#include "../../sql/table.hpp"
#include "../../thread/thread_pool.hpp"
#include "../options.hpp"

namespace weft::sqlite::detail {

/// "SQLITE_BUSY": SQLite itself has only sentences.
[[gnu::cold]] inline std::string name_of(int code) {
    constexpr const char* names[] = {
        "OK",       "ERROR",    "INTERNAL",  "PERM",   "ABORT",   "BUSY",       "LOCKED",
        "NOMEM",    "READONLY", "INTERRUPT", "IOERR",  "CORRUPT", "NOTFOUND",   "FULL",
        "CANTOPEN", "PROTOCOL", "EMPTY",     "SCHEMA", "TOOBIG",  "CONSTRAINT", "MISMATCH",
        "MISUSE",   "NOLFS",    "AUTH",      "FORMAT", "RANGE",   "NOTADB",
    };
    switch (code) {
        case SQLITE_CONSTRAINT_UNIQUE:
            return "SQLITE_CONSTRAINT_UNIQUE";
        case SQLITE_CONSTRAINT_PRIMARYKEY:
            return "SQLITE_CONSTRAINT_PRIMARYKEY";
        case SQLITE_CONSTRAINT_FOREIGNKEY:
            return "SQLITE_CONSTRAINT_FOREIGNKEY";
        case SQLITE_CONSTRAINT_NOTNULL:
            return "SQLITE_CONSTRAINT_NOTNULL";
        case SQLITE_CONSTRAINT_CHECK:
            return "SQLITE_CONSTRAINT_CHECK";
        case SQLITE_BUSY_SNAPSHOT:
            return "SQLITE_BUSY_SNAPSHOT";
        default:
            break;
    }
    const auto primary = static_cast<std::size_t>(code & 0xff);
    if (primary < sizeof names / sizeof *names)
        return weft::detail::concat({"SQLITE_", names[primary]});
    return weft::detail::concat({"SQLITE_", weft::detail::decimal(code)});
}

/// Everything here runs on the database's thread; SQLite's own locks are off.
class Handle {
public:
    explicit Handle(Options options) noexcept : options_(options) {}
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle() { close(); }

    [[gnu::cold]] void open(std::string path) {
        server_ = weft::detail::concat({"sqlite ", path});
        int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI;
        if (options_.access == Access::read_only) {
            flags |= SQLITE_OPEN_READONLY;
        } else {
            flags |= SQLITE_OPEN_READWRITE;
            if (options_.access == Access::create) flags |= SQLITE_OPEN_CREATE;
        }
        if (::sqlite3_open_v2(path.c_str(), &db_, flags, nullptr) != SQLITE_OK)
            fail<sql::ConnectionError>("");
        ::sqlite3_extended_result_codes(db_, 1);
        ::sqlite3_busy_handler(db_, &wait_while_busy, this);
        ::sqlite3_progress_handler(db_, steps_between_looks, &is_to_stop, nullptr);
        if (options_.foreign_keys) run_all("PRAGMA foreign_keys = ON");
        if (options_.write_ahead_log && options_.access != Access::read_only)
            run_all("PRAGMA journal_mode = WAL");
    }
    void close() noexcept {
        for (auto& [text, statement] : statements_) ::sqlite3_finalize(statement.compiled);
        statements_.clear();
        ::sqlite3_close_v2(std::exchange(db_, nullptr));
    }
    bool is_open() const noexcept { return db_ != nullptr; }
    bool in_transaction() const noexcept { return db_ && ::sqlite3_get_autocommit(db_) == 0; }
    const std::string& server() const noexcept { return server_; }

    /// One statement.
    sql::Table* run(const std::string& text, const sql::Parameters& parameters) {
        sqlite3_stmt* const statement = compiled(text);
        const Reset reset(statement);
        bind(statement, text, parameters);
        weft::detail::Ref<sql::Table> table(new sql::Table());
        const auto changed_before = ::sqlite3_total_changes64(db_);
        busy_since_ = 0;
        // Only now the columns are known: the first step compiles anew what was compiled before a
        // table has changed.
        int code = ::sqlite3_step(statement);
        const int columns = ::sqlite3_column_count(statement);
        for (int column = 0; column < columns; ++column) {
            const char* const name = ::sqlite3_column_name(statement, column);
            if (!name) throw std::bad_alloc();
            table->add_column(name);
        }
        for (; code == SQLITE_ROW; code = ::sqlite3_step(statement)) {
            for (int column = 0; column < columns; ++column) add_cell(*table, statement, column);
        }
        if (code != SQLITE_DONE) fail<sql::Error>(text);
        const bool changed = ::sqlite3_total_changes64(db_) != changed_before;
        table->affected = changed ? static_cast<std::uint64_t>(::sqlite3_changes64(db_)) : 0;
        table->last_insert_id = ::sqlite3_last_insert_rowid(db_);
        return table.leak();
    }
    /// Statements without parameters, each after the other.
    void run_all(const std::string& text) {
        busy_since_ = 0;
        if (::sqlite3_exec(db_, text.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
            fail<sql::Error>(text);
    }

private:
    struct Statement {
        sqlite3_stmt* compiled = nullptr;
        std::uint64_t used = 0;
    };
    class Reset {
    public:
        explicit Reset(sqlite3_stmt* of) noexcept : of_(of) {}
        Reset(const Reset&) = delete;
        Reset& operator=(const Reset&) = delete;
        ~Reset() {
            ::sqlite3_reset(of_);
            ::sqlite3_clear_bindings(of_);
        }

    private:
        sqlite3_stmt* of_;
    };

    // A look costs nothing beside a thousand instructions of SQLite's machine (about 50 us).
    static constexpr int steps_between_looks = 1000;
    /// sqlite3_interrupt from another thread could hit the next statement; this one asks for the
    /// job that runs.
    static int is_to_stop(void*) { return thread_stop_token().stop_requested(); }
    static int wait_while_busy(void* self, int) {
        auto& handle = *static_cast<Handle*>(self);
        if (thread_stop_token().stop_requested()) return 0;
        const auto now = weft::detail::monotonic_now();
        if (handle.busy_since_ == 0) handle.busy_since_ = now;
        if (now - handle.busy_since_ >= handle.options_.busy_timeout.count()) return 0;
        ::sqlite3_sleep(1);
        return 1;
    }

    sqlite3_stmt* compiled(const std::string& text) {
        ++clock_;
        if (const auto at = statements_.find(text); at != statements_.end()) {
            at->second.used = clock_;
            return at->second.compiled;
        }
        sqlite3_stmt* made = nullptr;
        const char* rest = nullptr;
        const int code = ::sqlite3_prepare_v3(db_, text.c_str(), static_cast<int>(text.size() + 1),
                                              SQLITE_PREPARE_PERSISTENT, &made, &rest);
        if (code != SQLITE_OK) fail<sql::Error>(text);
        if (!made || holds_a_statement(rest)) {
            ::sqlite3_finalize(made);
            refuse(made ? "more than one statement" : "no statement", text,
                   made ? sql::one_statement : "");
        }
        while (!statements_.empty() && statements_.size() >= options_.statement_cache)
            forget_oldest();
        Statement& kept = statements_[text];
        kept.compiled = made;
        kept.used = clock_;
        return made;
    }
    /// Of what SQLite leaves: comments, and what lies between statements, are none.
    bool holds_a_statement(const char* rest) noexcept {
        while (*rest) {
            sqlite3_stmt* next = nullptr;
            const bool is_one =
                ::sqlite3_prepare_v2(db_, rest, -1, &next, &rest) != SQLITE_OK || next;
            ::sqlite3_finalize(next);
            if (is_one) return true;
        }
        return false;
    }
    void forget_oldest() {
        auto oldest = statements_.begin();
        for (auto at = statements_.begin(); at != statements_.end(); ++at) {
            if (at->second.used < oldest->second.used) oldest = at;
        }
        ::sqlite3_finalize(oldest->second.compiled);
        statements_.erase(oldest);
    }

    void bind(sqlite3_stmt* statement, const std::string& text, const sql::Parameters& parameters) {
        const int places = ::sqlite3_bind_parameter_count(statement);
        std::size_t wanted = 0;
        for (int place = 1; place <= places; ++place) {
            const std::size_t index = value_of(statement, place);
            wanted = std::max(wanted, index + 1);
            if (index >= parameters.size()) continue;
            if (bind_one(statement, place, parameters[index], parameters) != SQLITE_OK)
                fail<sql::Error>(text);
        }
        if (wanted != parameters.size())
            refuse(weft::detail::concat(
                       {weft::detail::decimal(static_cast<long long>(wanted)), " parameters, and ",
                        weft::detail::decimal(static_cast<long long>(parameters.size())),
                        " values for them"}),
                   text);
    }
    /// For SQLite `$2` is a name, and gets the next number. Who writes it means the second value,
    /// as in PostgreSQL.
    static std::size_t value_of(sqlite3_stmt* statement, int place) noexcept {
        const char* const name = ::sqlite3_bind_parameter_name(statement, place);
        std::size_t number = static_cast<std::size_t>(place);
        if (name && name[0] == '$') {
            const std::string_view digits(name + 1);
            std::size_t written = 0;
            const auto [end, error] =
                std::from_chars(digits.data(), digits.data() + digits.size(), written);
            const bool is_number = error == std::errc() && end == digits.data() + digits.size();
            if (is_number && written > 0) number = written;
        }
        return number - 1;
    }
    int bind_one(sqlite3_stmt* statement, int at, const sql::Parameter& value,
                 const sql::Parameters& of) {
        using Kind = sql::Parameter::Kind;
        switch (value.kind) {
            case Kind::boolean:
            case Kind::integer:
                return ::sqlite3_bind_int64(statement, at, value.integer);
            case Kind::unsigned_integer:
                if (!std::in_range<std::int64_t>(value.unsigned_integer)) return SQLITE_TOOBIG;
                return ::sqlite3_bind_int64(statement, at,
                                            static_cast<std::int64_t>(value.unsigned_integer));
            case Kind::real:
                return ::sqlite3_bind_double(statement, at, value.real);
            case Kind::text:
                return ::sqlite3_bind_text64(statement, at, of.text(value).data(), value.size,
                                             SQLITE_STATIC, SQLITE_UTF8);
            case Kind::bytes:
                return ::sqlite3_bind_blob64(statement, at, of.text(value).data(), value.size,
                                             SQLITE_STATIC);
            case Kind::null:
                break;
        }
        return ::sqlite3_bind_null(statement, at);
    }
    static void add_cell(sql::Table& table, sqlite3_stmt* statement, int column) {
        switch (::sqlite3_column_type(statement, column)) {
            case SQLITE_INTEGER:
                return table.add(std::int64_t{::sqlite3_column_int64(statement, column)});
            case SQLITE_FLOAT:
                return table.add(::sqlite3_column_double(statement, column));
            case SQLITE_NULL:
                return table.add_null();
            default:
                break;
        }
        const bool is_text = ::sqlite3_column_type(statement, column) == SQLITE_TEXT;
        const auto* const data = static_cast<const char*>(
            is_text ? static_cast<const void*>(::sqlite3_column_text(statement, column))
                    : ::sqlite3_column_blob(statement, column));
        const auto size = static_cast<std::size_t>(::sqlite3_column_bytes(statement, column));
        table.add(is_text ? sql::Cell::Kind::text : sql::Cell::Kind::bytes,
                  std::string_view(data ? data : "", size));
    }

    template <class E>
    [[noreturn, gnu::cold]] void fail(const std::string& text) {
        sql::ErrorParts parts;
        parts.server = server_;
        parts.number = db_ ? ::sqlite3_extended_errcode(db_) : SQLITE_NOMEM;
        parts.code = name_of(parts.number);
        parts.message = db_ ? ::sqlite3_errmsg(db_) : "out of memory";
        parts.statement = text;
        throw E(std::move(parts));
    }
    [[noreturn, gnu::cold]] void refuse(std::string why, const std::string& text,
                                        const char* detail = "") {
        sql::ErrorParts parts;
        parts.server = server_;
        parts.number = SQLITE_MISUSE;
        parts.code = name_of(SQLITE_MISUSE);
        parts.message = std::move(why);
        parts.detail = detail;
        parts.statement = text;
        throw sql::Error(std::move(parts));
    }

    const Options options_;
    sqlite3* db_ = nullptr;
    std::unordered_map<std::string, Statement> statements_;
    std::string server_;
    weft::detail::Nanoseconds busy_since_ = 0;
    std::uint64_t clock_ = 0;
};

}  // namespace weft::sqlite::detail
