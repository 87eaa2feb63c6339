// SPDX-License-Identifier: MIT
// ProtocolError: the peer has sent what is no HTTP, or more of it than is allowed.
#pragma once

#include <stdexcept>
#include <string>

namespace weft::http {

/// The peer's message is malformed, cut short, or larger than the limits. Nothing that comes after
/// it on the connection can be trusted, so that is to be closed.
class ProtocolError : public std::runtime_error {
public:
    explicit ProtocolError(int status, const std::string& what)
        : std::runtime_error(what), status_(status) {}

    /// What a server answers to it: 400, 413, 414, 431, 501, 505.
    int status() const noexcept { return status_; }

private:
    int status_;
};

}  // namespace weft::http
