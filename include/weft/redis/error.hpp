// SPDX-License-Identifier: MIT
// redis::Error and its kin: what a Redis server, or the connection to one, has against a command.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace weft::redis {

/// Base of the two, and what a reply throws that is not what it was taken for. The message names
/// the server and the command: "redis 127.0.0.1:6379: INCR name: ERR value is not an integer".
class Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The server has answered with an error. The command did not happen.
class ServerError final : public Error {
public:
    ServerError(const std::string& what, std::string code) : Error(what), code_(std::move(code)) {}
    /// The first word of the answer: "ERR", "WRONGTYPE", "NOAUTH", "BUSYGROUP".
    const std::string& code() const noexcept { return code_; }

private:
    std::string code_;
};

/// There is no connection, or it broke before the answer came. The message says whether the command
/// was sent, and so may have happened.
class ConnectionError final : public Error {
public:
    using Error::Error;
};

}  // namespace weft::redis
