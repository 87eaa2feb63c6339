// SPDX-License-Identifier: MIT
// MySQL and MariaDB: queries, transactions and pools, by libmariadb without blocking.
#pragma once

#include "mysql/connection.hpp"
#include "mysql/options.hpp"
#include "mysql/pool.hpp"
#include "sql.hpp"
