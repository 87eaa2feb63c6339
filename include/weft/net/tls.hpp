// SPDX-License-Identifier: MIT
// TLS: open_connection, start_server and start_tls for connections that others can neither read nor
// change. Needs OpenSSL 3 (CMake: link to weft::tls), so it is no part of <weft/weft.hpp>.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../base/clock.hpp"
#include "../base/config.hpp"
#include "../base/fd.hpp"
#include "../base/std_parts.hpp"
#include "../task/coro.hpp"
#include "connect.hpp"
#include "server.hpp"
#include "stream.hpp"
#include "tls_context.hpp"
#include "tls_error.hpp"

#if WEFT_TLS_BODIES
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cerrno>
#include <exception>
#include <system_error>

#include "../base/error.hpp"
#include "../base/ref.hpp"
#include "../runtime/loop.hpp"
#include "chunk.hpp"
#include "detail/tls_engine.hpp"
#include "detail/tls_openssl.hpp"
#include "detail/tls_transport.hpp"
#endif

namespace weft {

/// How a connection uses a context. A TlsContext alone will do where these are asked for.
struct TlsOptions {
    /// With the context of a client that believes what this host believes.
    TlsOptions() noexcept {}
    TlsOptions(TlsContext with) noexcept : context(std::move(with)) {}

    std::optional<TlsContext> context{};
    /// A client: whose certificate it is to be, and the name that the server is asked for (SNI); a
    /// name or an IP address. Empty: the host that is connected to.
    std::string server_hostname{};
    Duration handshake_timeout = std::chrono::seconds(60);
    /// How long `Stream::close`, and `Server::close_clients`, try to tell a peer that does not
    /// read; then the connection is aborted. 0: at once.
    Duration shutdown_timeout = std::chrono::seconds(30);
};

/// What was agreed upon.
struct TlsInfo {
    TlsInfo() noexcept {}
    std::string version;           ///< "TLSv1.3"
    std::string cipher;            ///< "TLS_AES_256_GCM_SHA384"
    std::string alpn;              ///< the application protocol; empty: none was agreed upon
    std::string server_name;       ///< what the client has asked for (SNI)
    bool resumed = false;          ///< an earlier session went on
    std::string peer_subject;      ///< "CN=example.com,O=Example"; empty: the peer showed nothing
    std::string peer_issuer;       ///< the same of whoever vouches for it
    std::string peer_certificate;  ///< PEM
};

/// Of a stream of the functions below; nothing: the stream has no TLS.
std::optional<TlsInfo> tls_info(const Stream& stream);

/// Makes a TLS stream of one that is connected, on any transport: what the peers have agreed upon
/// in the clear (STARTTLS) goes on encrypted. Which side this is says the context.
///
/// What was read ahead from `plain` counts as TLS and never as plain text. Where it cannot be TLS,
/// somebody has put words into the mouth of the peer: that is refused.
///
/// The new stream: a connection that ends without the peer's close_notify is a TlsError
/// (`cut_off`) for the read that finds it, and what came before stays readable. `close` says
/// close_notify, within `shutdown_timeout`, and does not wait for the peer's; a stream that goes
/// says it if that takes no waiting; `abort` says nothing. `write_eof` says it, and reading goes
/// on.
/// Throws:   TlsError (protocol; certificate; plaintext; cut_off); TimeoutError after
///           `handshake_timeout`; RuntimeError when a client names no host; std::system_error
///           (send, recv); CancelledError.
/// Cancel:   the connection is closed: half a handshake is of no use.
Coro<Stream> start_tls(Stream plain, TlsOptions options);

/// `open_connection`, and TLS on the connection: nothing is sent in the clear, whatever goes wrong.
/// The server's certificate must be that of `host`, or of TlsOptions::server_hostname.
/// Throws:   as both.
/// Cancel:   as both.
Coro<Stream> open_connection(std::string host, std::uint16_t port, TlsOptions tls,
                             ConnectOptions options = {});
/// The same over a Unix socket.
/// Throws:   RuntimeError without a TlsOptions::server_hostname.
Coro<Stream> open_unix_connection(std::string path, TlsOptions tls);

namespace detail {

/// Throws:   RuntimeError when the context is missing, or that of a client.
ConnectionUpgrade tls_upgrade(TlsOptions tls);

}  // namespace detail

/// `start_server` for TLS: the handler gets the stream when the handshake is done, which takes
/// place in the handler's own task. A handshake that fails is reported like a handler that throws.
/// Throws:   RuntimeError without a context of `TlsContext::server`; what `start_server` throws.
template <class Handler>
Coro<Server> start_server(Handler handler, std::string host, std::uint16_t port, TlsOptions tls,
                          ServerOptions options = {}) {
    return detail::start_server(detail::as_handler(handler), std::move(host), port, options,
                                detail::tls_upgrade(std::move(tls)));
}
/// The same on several hosts.
template <class Handler>
Coro<Server> start_server(Handler handler, std::vector<std::string> hosts, std::uint16_t port,
                          TlsOptions tls, ServerOptions options = {}) {
    return detail::start_server(detail::as_handler(handler), std::move(hosts), port, options,
                                detail::tls_upgrade(std::move(tls)));
}
/// The same on a socket that is bound already.
template <class Handler>
Coro<Server> start_server(Handler handler, Fd listening, TlsOptions tls,
                          ServerOptions options = {}) {
    std::vector<Fd> one;
    one.push_back(std::move(listening));
    return detail::start_server(detail::as_handler(handler), std::move(one), options,
                                detail::tls_upgrade(std::move(tls)));
}
/// The same on several of them.
template <class Handler>
Coro<Server> start_server(Handler handler, std::vector<Fd> listening, TlsOptions tls,
                          ServerOptions options = {}) {
    return detail::start_server(detail::as_handler(handler), std::move(listening), options,
                                detail::tls_upgrade(std::move(tls)));
}
/// The same on a Unix socket.
template <class Handler>
Coro<Server> start_unix_server(Handler handler, std::string path, TlsOptions tls,
                               ServerOptions options = {}) {
    return detail::start_unix_server(detail::as_handler(handler), std::move(path), options,
                                     detail::tls_upgrade(std::move(tls)));
}

#if WEFT_TLS_BODIES
namespace detail {

[[gnu::cold]] inline TlsContext context_of(const TlsOptions& options) {
    if (options.context) return *options.context;
    // (The roots of a host are a hundred files' worth: read once.)
    static const TlsContext of_this_host = TlsContext::client();
    return of_this_host;
}

/// What was read from `plain` before TLS was asked for: the first record, or an attack.
[[gnu::cold]] inline Coro<void> take_read_ahead(Ref<TlsState> tls) {
    constexpr char handshake_record = 22;
    const StreamState& plain = StreamAccess::state(tls->below);
    if (plain.buffer.size() == 0 && !(plain.chunks && plain.chunks->has_data())) co_return;
    Chunk ahead = co_await tls->below.read_chunk();
    const bool is_server = SSL_is_server(tls->engine.ssl()) == 1;
    if (!is_server || ahead.data()[0] != handshake_record) {
        throw TlsError(TlsFailure::plaintext, EPROTO,
                       concat({"TLS handshake ", tls->object(), ": ",
                               decimal(static_cast<long long>(ahead.size())),
                               " bytes of plain text have come behind what TLS was to begin with"}),
                       tls->engine.host(), std::string(), std::string());
    }
    tls->received(std::move(ahead));
}

[[gnu::cold]] inline Coro<void> shake_hands(Ref<TlsState> tls) {
    const Lock::Guard turn = co_await tls->sending.scoped();
    for (;;) {
        const TlsStep step = tls->engine.shake_hands();
        try {
            co_await tls->flush();
        } catch (const std::system_error&) {
            // Of a handshake that is over nothing is lost with its last word; the next write, or
            // read, finds what is wrong.
            if (step == TlsStep::wants_input) throw;
        }
        if (step == TlsStep::done) co_return;
        if (step != TlsStep::wants_input) tls->engine.throw_error("TLS handshake", tls->object());
        if (tls->input_ended) {
            throw TlsError(TlsFailure::cut_off, ECONNRESET,
                           concat({"TLS handshake ", tls->object(), ": the peer has closed"}),
                           tls->engine.host(), std::string(), std::string());
        }
        Chunk records = co_await tls->below.read_chunk();
        tls->received(std::move(records));
    }
}

[[gnu::cold]] inline Coro<Stream> upgrade_to_tls(Stream plain, TlsOptions options,
                                                 std::string session_name) {
    const TlsContext context = context_of(options);
    const Ref<TlsState> tls(new TlsState(std::move(plain),
                                         Ref<TlsContextState>::to(context.state()),
                                         options.server_hostname, session_name));
    tls->shutdown_timeout = to_limit(options.shutdown_timeout);
    co_await take_read_ahead(tls);
    const std::string object = tls->object();
    try {
        const TlsLimit limit(tls, to_limit(options.handshake_timeout));
        co_await shake_hands(tls);
    } catch (const std::system_error& error) {
        if (tls->timed_out) throw TimeoutError(concat({"timed out: TLS handshake ", object}));
        if (dynamic_cast<const TlsError*>(&error)) throw;
        // (Of what is below, which does not know whom we wanted.)
        throw std::system_error(error.code(), concat({"TLS handshake ", object}));
    }
    // (Not before: something in the clear might still be on its way.)
    const StreamState& below = StreamAccess::state(tls->below);
    if (!below.carrier) tls->engine.send_straight_to(below.fd);
    Stream secured = make_stream<TlsTransport>(tls);
    co_return secured;
}

/// "CN=example.com,O=Example", as RFC 2253 has it.
[[gnu::cold, gnu::noinline]] inline std::string text_of(const X509_NAME* name) {
    const BioPtr out(BIO_new(BIO_s_mem()));
    if (!out) throw std::bad_alloc();
    X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
    char* data = nullptr;
    const long size = BIO_get_mem_data(out.get(), &data);
    return std::string(data, static_cast<std::size_t>(size));
}

[[gnu::cold, gnu::noinline]] inline void describe_peer(X509* certificate, TlsInfo& info) {
    info.peer_subject = text_of(X509_get_subject_name(certificate));
    info.peer_issuer = text_of(X509_get_issuer_name(certificate));
    const BioPtr out(BIO_new(BIO_s_mem()));
    if (!out) throw std::bad_alloc();
    PEM_write_bio_X509(out.get(), certificate);
    char* data = nullptr;
    const long size = BIO_get_mem_data(out.get(), &data);
    info.peer_certificate.assign(data, static_cast<std::size_t>(size));
}

[[gnu::cold]] WEFT_INLINE ConnectionUpgrade tls_upgrade(TlsOptions tls) {
    if (!tls.context || !tls.context->is_server()) {
        throw_runtime_error(
            "weft: a TLS server needs a context of TlsContext::server(), with a certificate");
    }
    return ConnectionUpgrade([tls = std::move(tls)](Stream plain) {
        return upgrade_to_tls(std::move(plain), tls, std::string());
    });
}

}  // namespace detail

[[gnu::cold]] WEFT_INLINE Coro<Stream> start_tls(Stream plain, TlsOptions options) {
    std::string name = options.server_hostname;
    return detail::upgrade_to_tls(std::move(plain), std::move(options), std::move(name));
}

[[gnu::cold]] WEFT_INLINE Coro<Stream> open_connection(std::string host, std::uint16_t port,
                                                       TlsOptions tls, ConnectOptions options) {
    if (tls.server_hostname.empty()) tls.server_hostname = host;
    std::string name = detail::concat({tls.server_hostname, ":", detail::decimal(port)});
    Stream plain = co_await open_connection(std::move(host), port, options);
    Stream secured =
        co_await detail::upgrade_to_tls(std::move(plain), std::move(tls), std::move(name));
    co_return secured;
}

[[gnu::cold]] WEFT_INLINE Coro<Stream> open_unix_connection(std::string path, TlsOptions tls) {
    Stream plain = co_await open_unix_connection(std::move(path));
    Stream secured = co_await start_tls(std::move(plain), std::move(tls));
    co_return secured;
}

[[gnu::cold]] WEFT_INLINE std::optional<TlsInfo> tls_info(const Stream& stream) {
    const detail::StreamState& state = detail::StreamAccess::state(stream);
    if (!state.carrier) return std::nullopt;
    const auto* const transport =
        dynamic_cast<const detail::TlsTransport*>(state.carrier->transport.get());
    if (!transport) return std::nullopt;
    const SSL* const ssl = transport->ssl();
    TlsInfo info;
    info.version = SSL_get_version(ssl);
    info.cipher = SSL_get_cipher_name(ssl);
    const unsigned char* alpn = nullptr;
    unsigned alpn_size = 0;
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_size);
    if (alpn) info.alpn.assign(reinterpret_cast<const char*>(alpn), alpn_size);
    const char* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (name) info.server_name = name;
    info.resumed = SSL_session_reused(ssl) == 1;
    if (X509* const peer = SSL_get0_peer_certificate(ssl)) detail::describe_peer(peer, info);
    return info;
}
#endif

}  // namespace weft
