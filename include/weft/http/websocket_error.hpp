// SPDX-License-Identifier: MIT
// WebSocketError, WebSocketClosed: a WebSocket that broke, and one that is closed.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace weft::http {

/// Why a WebSocket was closed: RFC 6455, section 7.4.1. 3000 to 3999 are for libraries, and 4000 to
/// 4999 for whoever likes.
struct WebSocketCode {
    static constexpr std::uint16_t normal = 1000;
    static constexpr std::uint16_t going_away = 1001;  ///< a server stops, a page is left
    static constexpr std::uint16_t protocol_error = 1002;
    static constexpr std::uint16_t unsupported = 1003;
    static constexpr std::uint16_t none = 1005;      ///< the peer gave none; is never sent
    static constexpr std::uint16_t abnormal = 1006;  ///< no word of farewell; is never sent
    static constexpr std::uint16_t invalid_data = 1007;
    static constexpr std::uint16_t policy = 1008;
    static constexpr std::uint16_t too_big = 1009;
    static constexpr std::uint16_t internal_error = 1011;
};

/// It did not end as agreed: the peer has broken the protocol, or a limit, or is gone without a
/// word.
class WebSocketError : public std::runtime_error {
public:
    WebSocketError(std::uint16_t code, const std::string& what)
        : std::runtime_error(what), code_(code) {}

    /// What this side has told the peer; WebSocketCode::abnormal: nothing could be told.
    std::uint16_t code() const noexcept { return code_; }

private:
    std::uint16_t code_;
};

/// Something was sent although the WebSocket is closed, by either side.
class WebSocketClosed : public std::runtime_error {
public:
    WebSocketClosed(std::uint16_t code, const std::string& what)
        : std::runtime_error(what), code_(code) {}

    /// The one with which it was closed.
    std::uint16_t code() const noexcept { return code_; }

private:
    std::uint16_t code_;
};

}  // namespace weft::http
