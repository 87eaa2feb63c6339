// SPDX-License-Identifier: MIT
// postgres::Pool: connections to one server that are kept open.
#pragma once

#include <string>
#include <utility>

#include "../sql/pool.hpp"
#include "connection.hpp"
#include "options.hpp"

namespace weft::postgres {

using Lease = sql::Lease<Connection>;
using sql::PoolOptions;

/// `weft::postgres::Pool pool("dbname=shop", weft::postgres::PoolOptions(10));`: see sql::Pool.
class Pool : public sql::Pool<Connection> {
public:
    explicit Pool(std::string text, PoolOptions options = PoolOptions(), Options with = Options())
        : sql::Pool<Connection>(
              [text = std::move(text), with = std::move(with)] { return connect(text, with); },
              options) {}
};

}  // namespace weft::postgres
