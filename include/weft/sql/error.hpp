// SPDX-License-Identifier: MIT
// sql::Error, sql::ConnectionError, sql::ConversionError: what a database, or the way to it, says.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "../base/error.hpp"

namespace weft::sql {

/// The parts of which an Error is made. Not an aggregate: see TaskOptions.
struct ErrorParts {
    ErrorParts() noexcept {}

    std::string server;      ///< "postgres 127.0.0.1:5432/shop", "sqlite /var/lib/shop.db"
    std::string code;        ///< SQLSTATE (5 characters), SQLite: "SQLITE_BUSY"
    int number = 0;          ///< the database's own number; 0 where it has none
    std::string message;     ///< the database's, in its words
    std::string detail;      ///< more of it, where it says more
    std::string hint;        ///< what it advises
    std::string constraint;  ///< which one was hurt, where it names it
    std::string statement;   ///< the text of the statement; empty where there was none
};

/// The database refused. `what()` names the server, the code, the message and the statement (its
/// beginning: the whole of it is in `statement()`).
class Error : public std::runtime_error {
public:
    [[gnu::cold]] explicit Error(ErrorParts parts)
        : std::runtime_error(text_of(parts)), parts_(std::move(parts)) {}

    const std::string& server() const noexcept { return parts_.server; }
    /// SQLSTATE, "23505"; of SQLite the name, "SQLITE_CONSTRAINT_UNIQUE". May be empty where the
    /// connection failed and not a statement.
    const std::string& code() const noexcept { return parts_.code; }
    int number() const noexcept { return parts_.number; }
    const std::string& message() const noexcept { return parts_.message; }
    const std::string& detail() const noexcept { return parts_.detail; }
    const std::string& hint() const noexcept { return parts_.hint; }
    const std::string& constraint() const noexcept { return parts_.constraint; }
    const std::string& statement() const noexcept { return parts_.statement; }

private:
    [[gnu::cold]] static std::string text_of(const ErrorParts& parts) {
        constexpr std::size_t shown = 200;
        const std::string_view statement = parts.statement;
        const bool whole = statement.size() <= shown;
        return weft::detail::concat({parts.server, parts.code.empty() ? "" : ": ", parts.code, ": ",
                                     parts.message, parts.detail.empty() ? "" : " (", parts.detail,
                                     parts.detail.empty() ? "" : ")",
                                     statement.empty() ? "" : " in \"", statement.substr(0, shown),
                                     statement.empty() ? ""
                                     : whole           ? "\""
                                                       : "...\""});
    }

    ErrorParts parts_;
};

/// There is no connection (any more): it could not be made, was closed at the other end, or was
/// given up because its state was not known. Where a statement was under way, whether it was
/// carried out is not known.
class ConnectionError : public Error {
public:
    using Error::Error;
};

/// A value is not of the type that was asked for. Names the column.
class ConversionError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

}  // namespace weft::sql
