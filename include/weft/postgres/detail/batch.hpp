// SPDX-License-Identifier: MIT
// Batch: what a pipeline sends, and what has come of it.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "../../sql/held_ready.hpp"
#include "../../sql/parameters.hpp"
#include "../../sql/rows.hpp"
#include "../../task/coro.hpp"
#include "result.hpp"

namespace weft::postgres::detail {

using sql::detail::Held;

class Session;

/// The statements of a pipeline, and how far their results have been read.
class Batch {
public:
    struct Statement {
        Statement(std::string words, sql::Parameters with)
            : text(std::move(words)), parameters(std::move(with)) {}
        std::string text;
        sql::Parameters parameters;
    };

    /// Reads the results that are left. `failed` is the first error.
    inline Coro<Held> settle(Session& session, Answer& failed);

    std::vector<Statement> statements;
    std::vector<sql::Rows> results;
    std::size_t failed_at = 0;
};

}  // namespace weft::postgres::detail
