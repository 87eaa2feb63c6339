// SPDX-License-Identifier: MIT
// sqlite::Options: how a database is opened.
#pragma once

#include <cstddef>

#include "../base/clock.hpp"

namespace weft::sqlite {

enum class Access : unsigned char {
    create,      // read and write; made if it is not there
    read_write,  // it must be there
    read_only,
};

/// Not an aggregate: see TaskOptions.
struct Options {
    Options() noexcept {}

    Access access = Access::create;
    /// A file may be read while it is written (PRAGMA journal_mode = WAL). Not in memory, and not
    /// for what is only read.
    bool write_ahead_log = true;
    /// PRAGMA foreign_keys, which SQLite leaves off.
    bool foreign_keys = true;
    /// How long a statement waits while another connection has the file locked; then it fails with
    /// SQLITE_BUSY.
    Duration busy_timeout = std::chrono::seconds(5);
    /// Compiled statements that are kept.
    std::size_t statement_cache = 100;
};

}  // namespace weft::sqlite
