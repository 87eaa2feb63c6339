// SPDX-License-Identifier: MIT
// What libmariadb takes and gives: parameters, results, errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../../base/error.hpp"
#include "../../base/ref.hpp"
#include "../../sql/error.hpp"
#include "../../sql/parameters.hpp"
#include "../../sql/table.hpp"
#include "libmariadb.hpp"

namespace weft::mysql::detail {

/// The parameters of a statement, which stay where they are until it was sent.
inline std::vector<MYSQL_BIND> bind_of(sql::Parameters& parameters) {
    using Kind = sql::Parameter::Kind;
    std::vector<MYSQL_BIND> binds(parameters.size());
    for (std::size_t index = 0; index < binds.size(); ++index) {
        MYSQL_BIND& bind = binds[index];
        sql::Parameter& value = parameters[index];
        switch (value.kind) {
            case Kind::null:
                bind.buffer_type = MYSQL_TYPE_NULL;
                break;
            case Kind::boolean:
            case Kind::integer:
            case Kind::unsigned_integer:
                bind.buffer_type = MYSQL_TYPE_LONGLONG;
                bind.buffer = &value.integer;
                bind.is_unsigned = value.kind == Kind::unsigned_integer;
                break;
            case Kind::real:
                bind.buffer_type = MYSQL_TYPE_DOUBLE;
                bind.buffer = &value.real;
                break;
            case Kind::text:
            case Kind::bytes:
                bind.buffer_type = value.kind == Kind::text ? MYSQL_TYPE_STRING : MYSQL_TYPE_BLOB;
                bind.buffer = const_cast<char*>(parameters.text(value).data());
                bind.buffer_length = static_cast<unsigned long>(value.size);
                break;
        }
    }
    return binds;
}

/// A result of the text protocol, which the library has in memory.
inline void copy(MYSQL_RES* result, sql::Table& table) {
    const unsigned columns = ::mysql_num_fields(result);
    const MYSQL_FIELD* const fields = ::mysql_fetch_fields(result);
    for (unsigned column = 0; column < columns; ++column)
        table.add_column({fields[column].name, fields[column].name_length});
    while (const MYSQL_ROW row = ::mysql_fetch_row(result)) {
        const unsigned long* const lengths = ::mysql_fetch_lengths(result);
        for (unsigned column = 0; column < columns; ++column) {
            if (row[column]) {
                table.add(sql::Cell::Kind::text, {row[column], lengths[column]});
            } else {
                table.add_null();
            }
        }
    }
}

/// The columns of a prepared statement's rows: numbers as they are, all else as text of any length.
class Columns {
public:
    Columns(MYSQL_STMT* statement, MYSQL_RES* meta, sql::Table& table)
        : statement_(statement), table_(table), columns_(::mysql_num_fields(meta)) {
        const MYSQL_FIELD* const fields = ::mysql_fetch_fields(meta);
        values_.resize(columns_);
        binds_.resize(columns_);
        for (unsigned column = 0; column < columns_; ++column) {
            const MYSQL_FIELD& field = fields[column];
            table.add_column({field.name, field.name_length});
            MYSQL_BIND& bind = binds_[column];
            Value& value = values_[column];
            bind.buffer_type = as(field.type);
            bind.buffer = &value.integer;
            bind.buffer_length = bind.buffer_type == MYSQL_TYPE_STRING ? 0 : sizeof value.integer;
            bind.is_unsigned = (field.flags & UNSIGNED_FLAG) != 0;
            bind.length = &value.length;
            bind.is_null = &value.is_null;
            bind.error = &value.is_cut;
        }
    }
    /// Of the rows that are in memory. False: an error of the statement.
    bool copy_all() {
        if (::mysql_stmt_bind_result(statement_, binds_.data()) != 0) return false;
        for (;;) {
            const int code = ::mysql_stmt_fetch(statement_);
            if (code == MYSQL_NO_DATA) return true;
            if (code != 0 && code != MYSQL_DATA_TRUNCATED) return false;
            for (unsigned column = 0; column < columns_; ++column) add(column);
        }
    }

private:
    struct Value {
        Value() noexcept {}
        union {
            std::int64_t integer = 0;
            double real;
        };
        unsigned long length = 0;
        my_bool is_null = 0;
        my_bool is_cut = 0;
    };

    static enum_field_types as(enum_field_types type) noexcept {
        switch (type) {
            case MYSQL_TYPE_TINY:
            case MYSQL_TYPE_SHORT:
            case MYSQL_TYPE_INT24:
            case MYSQL_TYPE_LONG:
            case MYSQL_TYPE_LONGLONG:
            case MYSQL_TYPE_YEAR:
                return MYSQL_TYPE_LONGLONG;
            case MYSQL_TYPE_FLOAT:
            case MYSQL_TYPE_DOUBLE:
                return MYSQL_TYPE_DOUBLE;
            default:
                return MYSQL_TYPE_STRING;
        }
    }
    void add(unsigned column) {
        const Value& value = values_[column];
        const MYSQL_BIND& bind = binds_[column];
        if (value.is_null) return table_.add_null();
        if (bind.buffer_type == MYSQL_TYPE_DOUBLE) return table_.add(value.real);
        if (bind.buffer_type == MYSQL_TYPE_LONGLONG) {
            if (!bind.is_unsigned || value.integer >= 0) return table_.add(value.integer);
            char digits[24];
            const auto end = std::to_chars(digits, digits + sizeof digits,
                                           static_cast<std::uint64_t>(value.integer));
            return table_.add(sql::Cell::Kind::text, {digits, end.ptr});
        }
        text_.resize(value.length);
        MYSQL_BIND whole{};
        unsigned long length = 0;
        my_bool is_null = 0, is_cut = 0;
        whole.buffer_type = MYSQL_TYPE_STRING;
        whole.buffer = text_.data();
        whole.buffer_length = value.length;
        whole.length = &length;
        whole.is_null = &is_null;
        whole.error = &is_cut;
        if (value.length > 0) ::mysql_stmt_fetch_column(statement_, &whole, column, 0);
        table_.add(sql::Cell::Kind::text, text_);
    }

    MYSQL_STMT* statement_;
    sql::Table& table_;
    unsigned columns_;
    std::vector<Value> values_;
    std::vector<MYSQL_BIND> binds_;
    std::string text_;
};

/// An error that the client library has found: the connection is not what it was.
inline bool costs_connection(unsigned number) noexcept {
    switch (number) {
        case 2006:  // gone away
        case 2013:  // lost during a query
        case 2014:  // commands out of sync
        case 2026:  // TLS
        case 2027:  // a packet that makes no sense
        case 2055:  // lost, with errno
        case 1053:  // the server goes down
        case 1927:  // somebody has killed the connection
        case 4031:  // it was idle for too long
            return true;
        default:
            return false;
    }
}
inline constexpr unsigned was_interrupted = 1317;

}  // namespace weft::mysql::detail
