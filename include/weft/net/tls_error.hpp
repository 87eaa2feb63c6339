// SPDX-License-Identifier: MIT
// TlsError: what is wrong with a TLS connection, in OpenSSL's words.
#pragma once

#include <string>
#include <system_error>
#include <utility>

namespace weft {

/// The meaning of a TlsError.
enum class TlsFailure : unsigned char {
    protocol,     ///< what the peer says is no TLS, or not one that we take; or it refuses us
    certificate,  ///< the peer's certificate is not to be trusted, or is that of another host
    cut_off,      ///< the connection ended without close_notify: somebody may have cut it
    plaintext,    ///< bytes in the clear where TLS was to begin: see `start_tls`
    setup,        ///< a certificate, a key or a list of roots cannot be used
};

/// A TLS connection, or what it was to be made of, is not as it must be. Its code is ECONNRESET for
/// a connection that was cut off, so that a program which knows what to do about a peer that is
/// gone need not know of TLS; EINVAL or what the file system says for `setup`; else EPROTO.
class TlsError : public std::system_error {
public:
    TlsError(TlsFailure failure, int error, const std::string& what, std::string host,
             std::string reason, std::string verify_result)
        : std::system_error(error, std::system_category(), what),
          failure_(failure),
          host_(std::move(host)),
          reason_(std::move(reason)),
          verify_result_(std::move(verify_result)) {}

    TlsFailure failure() const noexcept { return failure_; }
    /// The name that the peer's certificate was checked for; empty on the side of a server.
    const std::string& host() const noexcept { return host_; }
    /// OpenSSL's: "certificate verify failed", "wrong version number". Empty for a cut.
    const std::string& reason() const noexcept { return reason_; }
    /// What is wrong with the certificate: "self-signed certificate"; else empty.
    const std::string& verify_result() const noexcept { return verify_result_; }

private:
    TlsFailure failure_;
    std::string host_;
    std::string reason_;
    std::string verify_result_;
};

}  // namespace weft
