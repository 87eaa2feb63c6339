// SPDX-License-Identifier: MIT
// TLS peers for tests: contexts of both sides, and pairs of streams that have shaken hands.
#pragma once

#include <string>
#include <utility>

#include <weft/net/tls.hpp>
#include <weft/weft.hpp>

#include "certificates.hpp"
#include "stream_pairs.hpp"

namespace support {

inline weft::TlsContext context_of(const Identity& identity) {
    weft::TlsContext context = weft::TlsContext::server();
    context.use_cert_chain(identity.chain, identity.key);
    return context;
}
/// Of "localhost" and 127.0.0.1, which the trusted authority vouches for.
inline weft::TlsContext server_context() {
    static const Identity identity = trusted_authority().issue(
        CertificateRequest("localhost").alt("DNS:localhost,DNS:*.example.com,IP:127.0.0.1"));
    return context_of(identity);
}
inline weft::TlsContext client_context() {
    weft::TlsContext context = weft::TlsContext::client(weft::TlsRoots::none);
    context.add_roots(trusted_authority().pem());
    return context;
}
inline weft::TlsOptions client_options(std::string host = "localhost") {
    weft::TlsOptions options(client_context());
    options.server_hostname = std::move(host);
    return options;
}

inline weft::Coro<weft::Stream> tls_over(weft::Stream plain, weft::TlsOptions options) {
    return weft::start_tls(std::move(plain), std::move(options));
}

/// Both ends of a connection, with TLS on it.
inline weft::Coro<StreamPair> tls_pair(StreamPair plain, weft::TlsOptions client,
                                       weft::TlsOptions server) {
    weft::Task<weft::Stream> accepting =
        weft::create_task(tls_over(std::move(plain.far), std::move(server)));
    weft::Stream near = co_await tls_over(std::move(plain.near), std::move(client));
    weft::Stream far = co_await std::move(accepting);
    StreamPair pair(std::move(near), std::move(far));
    co_return pair;
}
inline weft::Coro<StreamPair> tls_pair(Transport transport = Transport::tcp) {
    return tls_pair(stream_pair(transport), client_options(), weft::TlsOptions(server_context()));
}

}  // namespace support
