// SPDX-License-Identifier: MIT
// start_server and serve over TLS: HTTPS. Beside what the room needs it needs libssl.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../net/tls.hpp"
#include "server.hpp"

namespace weft::http {

/// `start_server` for https. (See `weft::start_server` for TLS.)
inline Coro<Server> start_server(Router router, std::string host, std::uint16_t port,
                                 TlsOptions tls, ServerOptions options = {}) {
    std::vector<std::string> hosts(1);
    hosts.front() = std::move(host);
    return detail::start_server(std::move(router), std::move(hosts), port, std::move(options),
                                weft::detail::tls_upgrade(std::move(tls)));
}
/// `serve` for https.
inline Coro<void> serve(Router router, std::string host, std::uint16_t port, TlsOptions tls,
                        ServerOptions options = {}) {
    return detail::serve(
        start_server(std::move(router), std::move(host), port, std::move(tls), std::move(options)));
}

}  // namespace weft::http
