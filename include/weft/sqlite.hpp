// SPDX-License-Identifier: MIT
// SQLite: a database in a file or in memory, on a thread of its own.
#pragma once

#include "sql.hpp"
#include "sqlite/database.hpp"
#include "sqlite/options.hpp"
