// SPDX-License-Identifier: MIT
// curl::Error: what libcurl has against a transfer.
#pragma once

#include <curl/curl.h>

#include <stdexcept>
#include <string>

namespace weft::curl {

/// The message names method and URL (without a password) and has libcurl's own words: "GET
/// http://localhost:1/: Failed to connect to localhost port 1 after 0 ms: Couldn't connect to
/// server".
class Error final : public std::runtime_error {
public:
    Error(const std::string& what, CURLcode code) : std::runtime_error(what), code_(code) {}
    /// CURLE_COULDNT_CONNECT, ...
    CURLcode code() const noexcept { return code_; }

private:
    CURLcode code_;
};

}  // namespace weft::curl
