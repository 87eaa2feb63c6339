// SPDX-License-Identifier: MIT
// HttpError: thrown by a handler, answered with a status.
#pragma once

#include <stdexcept>
#include <string>

#include "status.hpp"

namespace weft::http {

/// A handler, or a middleware, that throws one is answered with its status; `text` is the body.
/// Everything else that is thrown becomes a 500 whose body says nothing about it.
class HttpError : public std::runtime_error {
public:
    explicit HttpError(int status) : HttpError(status, std::string(reason_of(status))) {}
    HttpError(int status, const std::string& text) : std::runtime_error(text), status_(status) {}

    int status() const noexcept { return status_; }

private:
    int status_;
};

}  // namespace weft::http
