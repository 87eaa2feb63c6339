// SPDX-License-Identifier: MIT
// base64, for user names with passwords, and for the handshake of WebSocket.
#pragma once

#include <string>
#include <string_view>

#include "../../base/config.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <openssl/evp.h>
#endif

namespace weft::http::detail {

/// Source:   EVP_EncodeBlock(3).
std::string base64(std::string_view bytes);

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
WEFT_INLINE std::string base64(std::string_view bytes) {
    std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // it ends with a zero
    const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
    text.resize(static_cast<std::size_t>(size));
    return text;
}
#endif

}  // namespace weft::http::detail
