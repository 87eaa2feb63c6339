// SPDX-License-Identifier: MIT
// What libpq gives: results as sql::Rows, errors as sql::Error, parameters as its arrays.
#pragma once

#include <charconv>
#include <climits>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/c_text.hpp"
#include "../../base/owned.hpp"
#include "../../sql/error.hpp"
#include "../../sql/one_statement.hpp"
#include "../../sql/parameters.hpp"
#include "../../sql/rows.hpp"
#include "libpq.hpp"

namespace weft::postgres::detail {

/// Owns a PGresult.
class Answer {
public:
    Answer() noexcept {}
    explicit Answer(PGresult* result) noexcept : result_(result) {}
    Answer(Answer&& other) noexcept : result_(std::exchange(other.result_, nullptr)) {}
    Answer& operator=(Answer&& other) noexcept {
        std::swap(result_, other.result_);
        return *this;
    }
    ~Answer() { ::PQclear(result_); }

    explicit operator bool() const noexcept { return result_ != nullptr; }
    PGresult* get() const noexcept { return result_; }
    PGresult* release() noexcept { return std::exchange(result_, nullptr); }
    ExecStatusType status() const noexcept { return ::PQresultStatus(result_); }
    bool is_error() const noexcept {
        return status() == PGRES_FATAL_ERROR || status() == PGRES_BAD_RESPONSE;
    }
    /// "" where there is none.
    std::string_view field(int code) const noexcept {
        const char* const text = ::PQresultErrorField(result_, code);
        return text ? text : "";
    }
    bool was_cancelled() const noexcept { return field(PG_DIAG_SQLSTATE) == "57014"; }

private:
    PGresult* result_ = nullptr;
};

class Table final : public sql::Result {
public:
    explicit Table(Answer answer) noexcept : answer_(std::move(answer)) {
        const char* const tuples = ::PQcmdTuples(answer_.get());
        std::from_chars(tuples, tuples + std::string_view(tuples).size(), affected);
    }
    std::size_t rows() const noexcept override {
        return static_cast<std::size_t>(::PQntuples(answer_.get()));
    }
    std::size_t columns() const noexcept override {
        return static_cast<std::size_t>(::PQnfields(answer_.get()));
    }
    std::string_view name(std::size_t column) const noexcept override {
        return ::PQfname(answer_.get(), static_cast<int>(column));
    }
    sql::Cell cell(std::size_t row, std::size_t column) const noexcept override {
        constexpr Oid bytea = 17;
        const int r = static_cast<int>(row);
        const int c = static_cast<int>(column);
        const PGresult* const result = answer_.get();
        if (::PQgetisnull(result, r, c)) return sql::Cell();
        const auto kind =
            ::PQftype(result, c) == bytea ? sql::Cell::Kind::hex : sql::Cell::Kind::text;
        return sql::Cell(kind,
                         std::string_view(::PQgetvalue(result, r, c),
                                          static_cast<std::size_t>(::PQgetlength(result, r, c))));
    }

private:
    Answer answer_;
};

inline sql::Rows rows_of(Answer answer) {
    return sql::Rows(sql::detail::ResultRef(new Table(std::move(answer))));
}

/// libpq's words as one line. (It says the same for each way that it has tried, with and without
/// TLS.)
[[gnu::cold]] inline std::string without_break(std::string_view text) {
    std::string line;
    std::string_view before;
    while (!text.empty()) {
        const std::string_view one = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(one.size() + 1, text.size()));
        if (one.empty() || one == before) continue;
        if (!line.empty()) line += "; ";
        line += one;
        before = one;
    }
    return line;
}

[[gnu::cold]] inline sql::ErrorParts parts_of(const Answer& answer, std::string server,
                                              std::string statement) {
    sql::ErrorParts parts;
    parts.server = std::move(server);
    parts.statement = std::move(statement);
    parts.code = answer.field(PG_DIAG_SQLSTATE);
    parts.message = answer.field(PG_DIAG_MESSAGE_PRIMARY);
    parts.detail = answer.field(PG_DIAG_MESSAGE_DETAIL);
    parts.hint = answer.field(PG_DIAG_MESSAGE_HINT);
    parts.constraint = answer.field(PG_DIAG_CONSTRAINT_NAME);
    if (parts.message.empty()) parts.message = without_break(::PQresultErrorMessage(answer.get()));
    const bool no_syntax = parts.code == "42601";
    if (no_syntax && parts.detail.empty() && sql::looks_like_several(parts.statement))
        parts.detail = sql::one_statement;
    return parts;
}

/// The arrays that libpq takes, for the time of one call. Text travels as text, whose type the
/// server finds; bytes travel as they are.
class Values {
public:
    /// Throws:   std::system_error (EINVAL) for text with a zero byte, which PostgreSQL has not.
    explicit Values(const sql::Parameters& from) : count_(from.size()) {
        if (count_ > few) {
            values_.reset(new const char*[count_]);
            sizes_.reset(new int[2 * count_]);
            digits_.reset(new char[count_ * digits_each]);
        }
        for (std::size_t index = 0; index < count_; ++index) set(from, index);
    }
    int count() const noexcept { return static_cast<int>(count_); }
    const char* const* values() const noexcept { return values_ ? values_.get() : few_values_; }
    const int* lengths() const noexcept { return sizes_ ? sizes_.get() : few_sizes_; }
    const int* formats() const noexcept { return lengths() + count_; }

private:
    static constexpr std::size_t digits_each = 32;
    static constexpr std::size_t few = 8;  // so many need no memory

    template <class Number>
    const char* digits_of(std::size_t index, Number number) noexcept {
        char* const digits = (digits_ ? digits_.get() : few_digits_) + index * digits_each;
        *std::to_chars(digits, digits + digits_each - 1, number).ptr = '\0';
        return digits;
    }
    void set(const sql::Parameters& from, std::size_t index) {
        using Kind = sql::Parameter::Kind;
        const sql::Parameter& value = from[index];
        const char* text = nullptr;
        bool is_binary = false;
        switch (value.kind) {
            case Kind::null:
                break;
            case Kind::boolean:
                text = value.integer ? "t" : "f";
                break;
            case Kind::integer:
                text = digits_of(index, value.integer);
                break;
            case Kind::unsigned_integer:
                text = digits_of(index, value.unsigned_integer);
                break;
            case Kind::real:
                text = digits_of(index, value.real);
                break;
            case Kind::text:
                weft::detail::refuse_zero_byte("postgres: a parameter", from.text(value));
                text = from.text(value).data();
                break;
            case Kind::bytes:
                text = from.text(value).data();
                is_binary = true;
                break;
        }
        if (value.size > INT_MAX || count_ > INT_MAX) [[unlikely]]
            throw std::length_error("weft: postgres: a parameter of more than 2 GB");
        int* const sizes = sizes_ ? sizes_.get() : few_sizes_;
        (values_ ? values_.get() : few_values_)[index] = text;
        sizes[index] = static_cast<int>(value.size);
        sizes[count_ + index] = is_binary;
    }

    std::size_t count_;
    const char* few_values_[few];
    int few_sizes_[2 * few];  // lengths, and behind them formats
    char few_digits_[few * digits_each];
    weft::detail::Owned<const char*[]> values_;
    weft::detail::Owned<int[]> sizes_;
    weft::detail::Owned<char[]> digits_;
};

}  // namespace weft::postgres::detail
