// SPDX-License-Identifier: MIT
// What the rooms of databases have in common: parameters, rows, transactions, pools, errors.
#pragma once

#include "sql/cell.hpp"
#include "sql/error.hpp"
#include "sql/held_ready.hpp"
#include "sql/one_statement.hpp"
#include "sql/parameters.hpp"
#include "sql/pool.hpp"
#include "sql/queries.hpp"
#include "sql/rows.hpp"
#include "sql/session.hpp"
#include "sql/stop_statement.hpp"
#include "sql/table.hpp"
