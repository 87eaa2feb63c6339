// SPDX-License-Identifier: MIT
// ClientOptions: limits, times and defaults of an HTTP client.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "../base/clock.hpp"
#include "../base/std_parts.hpp"
#include "../net/connect.hpp"
#include "../net/tls.hpp"
#include "../patterns/retry.hpp"
#include "headers.hpp"

namespace weft::http {

struct ClientOptions {
    ClientOptions() : retry(1) {}

    /// Connections to one host; who wants another waits.
    std::size_t max_per_host = 32;
    /// One that nobody has used for that long is closed. (Servers close theirs after 5 to 75 s.)
    Duration idle_timeout = std::chrono::seconds(15);

    // 0, and `Duration::max()`: no limit. (Less than 0 is refused.)
    Duration connect_timeout = std::chrono::seconds(10);  ///< name, connection, proxy and TLS
    /// From the last of the request that the server takes to the head of its response.
    Duration header_timeout = std::chrono::seconds(60);
    Duration body_timeout = std::chrono::seconds(60);    ///< between two pieces of the body
    Duration total_timeout = std::chrono::seconds(300);  ///< everything, redirects and body too

    /// So many in a row are followed; 0: the response that redirects is returned.
    int max_redirects = 10;
    /// Requests that may be repeated (GET, HEAD, OPTIONS, TRACE, PUT, DELETE, with a body that is
    /// bytes) are tried so often, with pauses, while there is no connection, no answer in time, or
    /// one with 429, 502, 503 or 504, and while there is time for the pause. `RetryOptions::when`
    /// is not asked.
    RetryOptions retry;

    Headers headers{};  ///< of each request that has none of that name
    std::string user_agent = "weft";
    /// "http://user:password@proxy:3128"; a https URL goes through it by CONNECT. Empty: none.
    std::string proxy{};
    TlsOptions tls{};
    ConnectOptions connect{};

    /// Asks for gzip and deflate where there is zlib, and takes them back.
    bool decompress = true;
    std::uint64_t max_decompressed = 256 * 1024 * 1024;  ///< bytes that a compressed body becomes
    std::size_t max_head = 64 * 1024;                    ///< bytes of a response's head
};

}  // namespace weft::http
