// SPDX-License-Identifier: MIT
// PostgreSQL: queries, transactions, COPY, notifications and pools, by libpq without blocking.
#pragma once

#include "postgres/connection.hpp"
#include "postgres/listener.hpp"
#include "postgres/options.hpp"
#include "postgres/pipeline.hpp"
#include "postgres/pool.hpp"
#include "sql.hpp"
