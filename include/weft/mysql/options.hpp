// SPDX-License-Identifier: MIT
// mysql::Options: where a server is, and as whom to go there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "../base/clock.hpp"

namespace weft::mysql {

enum class Tls : unsigned char {
    if_offered,  // not protected against somebody in between
    required,    // encrypted, whoever it is
    /// The certificate is checked, also for the host's name. (libmariadb then looks the name up by
    /// itself, which blocks the loop while the name server does not answer: an address in numbers,
    /// or a name in /etc/hosts, costs nothing.)
    verified,
};

/// Not an aggregate: see TaskOptions.
struct Options {
    Options() noexcept {}
    Options(std::string at, std::string as, std::string with, std::string in) noexcept
        : host(std::move(at)),
          user(std::move(as)),
          password(std::move(with)),
          database(std::move(in)) {}

    std::string host = "localhost";
    std::uint16_t port = 3306;
    std::string unix_socket;  ///< its path, in place of host and port
    std::string user;
    std::string password;
    std::string database;
    Tls tls = Tls::if_offered;
    std::string certificate_authority;  ///< a PEM file; empty: the system's

    /// For all of it: the name, each address, TLS and who one is. 0: as long as it takes.
    Duration connect_timeout = std::chrono::seconds(10);
    /// Prepared statements that each connection keeps.
    std::size_t statement_cache = 100;
    /// How long the server may take to answer a KILL, a COMMIT or a ROLLBACK; then the connection
    /// is dropped.
    Duration clean_up_limit = std::chrono::seconds(10);
};

}  // namespace weft::mysql
