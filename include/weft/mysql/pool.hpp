// SPDX-License-Identifier: MIT
// mysql::Pool: connections to one server that are kept open.
#pragma once

#include <utility>

#include "../sql/pool.hpp"
#include "connection.hpp"
#include "options.hpp"

namespace weft::mysql {

using Lease = sql::Lease<Connection>;
using sql::PoolOptions;

/// `weft::mysql::Pool pool(options, weft::mysql::PoolOptions(10));`: see sql::Pool.
class Pool : public sql::Pool<Connection> {
public:
    explicit Pool(Options server, PoolOptions options = PoolOptions())
        : sql::Pool<Connection>([server = std::move(server)] { return connect(server); }, options) {
    }
};

}  // namespace weft::mysql
