// SPDX-License-Identifier: MIT
// OpenSSL's errors as TlsError, and owners for its objects.
#pragma once

#include "../../base/config.hpp"

#if WEFT_TLS_BODIES
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/error.hpp"
#include "../tls_error.hpp"

#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "weft: TLS needs OpenSSL 3"
#endif

namespace weft::detail {

/// Owns one of OpenSSL's objects.
template <class T, void (*free)(T*)>
class OpensslPtr {
public:
    explicit OpensslPtr(T* made = nullptr) noexcept : it_(made) {}
    OpensslPtr(OpensslPtr&& other) noexcept : it_(std::exchange(other.it_, nullptr)) {}
    OpensslPtr& operator=(OpensslPtr&& other) noexcept {
        std::swap(it_, other.it_);
        return *this;
    }
    ~OpensslPtr() {
        if (it_) free(it_);
    }
    T* get() const noexcept { return it_; }
    T* release() noexcept { return std::exchange(it_, nullptr); }
    explicit operator bool() const noexcept { return it_ != nullptr; }

private:
    T* it_;
};
using X509Ptr = OpensslPtr<X509, X509_free>;
using KeyPtr = OpensslPtr<EVP_PKEY, EVP_PKEY_free>;
using BioPtr = OpensslPtr<BIO, BIO_free_all>;
using SessionPtr = OpensslPtr<SSL_SESSION, SSL_SESSION_free>;

/// OpenSSL's words for the first of the errors that it has queued, which is the cause of the
/// others; the queue is empty then.
[[gnu::cold, gnu::noinline]] inline std::string take_openssl_reason() {
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    if (code == 0) return std::string();
    if (ERR_SYSTEM_ERROR(code)) {
        return std::system_category().message(static_cast<int>(ERR_GET_REASON(code)));
    }
    const char* const reason = ERR_reason_error_string(code);
    if (reason) return reason;
    char text[160];
    ERR_error_string_n(code, text, sizeof text);
    return text;
}

/// Something for a context cannot be used: "TLS: cert.pem: No such file or directory".
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_tls_setup(std::string_view object) {
    const unsigned long code = ERR_peek_error();
    const int error = ERR_SYSTEM_ERROR(code) ? static_cast<int>(ERR_GET_REASON(code)) : EINVAL;
    std::string reason = take_openssl_reason();
    // (The words for an error of the system come with the code.)
    const std::string what = error != EINVAL || reason.empty()
                                 ? concat({"TLS: ", object})
                                 : concat({"TLS: ", object, ": ", reason});
    throw TlsError(TlsFailure::setup, error, what, std::string(), std::move(reason), std::string());
}

}  // namespace weft::detail
#endif
