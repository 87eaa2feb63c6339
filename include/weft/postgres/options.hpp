// SPDX-License-Identifier: MIT
// postgres::Options: what connections are told beside libpq's own words.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "../base/callback.hpp"
#include "../base/clock.hpp"

namespace weft::postgres {

/// libpq's words (host, user, password, sslmode, ...) stand in the text that `connect` takes.
/// Not an aggregate: see TaskOptions.
struct Options {
    Options() noexcept {}

    /// Texts of statements that each connection remembers; one that comes again is prepared. 0:
    /// nothing is, as behind a pgbouncer that shares connections between transactions.
    std::size_t statement_cache = 100;
    /// How long the server may take to answer a cancel, a COMMIT or a ROLLBACK; then the connection
    /// is dropped.
    Duration clean_up_limit = std::chrono::seconds(10);
    /// A listener that hears nothing for so long asks the server (an empty query), and gives the
    /// connection up when nothing has come after the same time again: a network that is cut does
    /// not say so. 0: it waits until TCP gives up, which takes hours. Looked at in
    /// `Listener::next`.
    Duration heartbeat = std::chrono::seconds(15);
};

}  // namespace weft::postgres
