// SPDX-License-Identifier: MIT
// The handshake of RFC 6455: what both sides say in HTTP before they speak WebSocket.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "../../base/config.hpp"
#include "../headers.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <openssl/evp.h>

#include <new>

#include "../../base/error.hpp"
#include "base64.hpp"
#include "random_bytes.hpp"
#include "text.hpp"
#endif

namespace weft::http::detail {

/// 16 bytes that nobody has sent before, in base64.
std::string websocket_key();
/// What a server answers to a key: section 4.2.2, with OpenSSL's SHA-1.
std::string websocket_accept(std::string_view key);
/// Is it one? 16 bytes in base64 are 22 characters and two equals signs.
bool is_websocket_key(std::string_view key) noexcept;
/// The first of `ours` that the client has named.
/// Returns:  empty: none.
std::string choose_subprotocol(const Headers& request, const std::vector<std::string>& ours);

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
WEFT_INLINE std::string websocket_key() {
    unsigned char bytes[16];
    random_bytes(bytes, sizeof bytes);
    return base64({reinterpret_cast<const char*>(bytes), sizeof bytes});
}
WEFT_INLINE std::string websocket_accept(std::string_view key) {
    const std::string text = weft::detail::concat({key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"});
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (EVP_Digest(text.data(), text.size(), hash, &size, EVP_sha1(), nullptr) != 1)
        throw std::bad_alloc();
    return base64({reinterpret_cast<const char*>(hash), size});
}
WEFT_INLINE bool is_websocket_key(std::string_view key) noexcept {
    if (key.size() != 24 || !key.ends_with("==")) return false;
    for (const char c : key.substr(0, 22)) {
        const char small = lower(c);
        if (!(small >= 'a' && small <= 'z') && !is_digit(c) && c != '+' && c != '/') return false;
    }
    return true;
}
WEFT_INLINE std::string choose_subprotocol(const Headers& request,
                                           const std::vector<std::string>& ours) {
    for (const std::string& each : ours) {
        if (request.has_token("Sec-WebSocket-Protocol", each)) return each;
    }
    return {};
}
#endif

}  // namespace weft::http::detail
