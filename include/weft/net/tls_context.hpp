// SPDX-License-Identifier: MIT
// TlsContext: certificates, keys and whom to trust, for many TLS connections.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/callback.hpp"
#include "../base/config.hpp"
#include "../base/ref.hpp"

#if WEFT_TLS_BODIES
#include <openssl/ssl.h>

#include <exception>

#include "../base/error.hpp"
#include "detail/tls_context_state.hpp"
#include "detail/tls_openssl.hpp"
#include "tls_error.hpp"
#endif

struct ssl_ctx_st;  // OpenSSL's SSL_CTX

namespace weft {
namespace detail {
struct TlsContextState;
}  // namespace detail

/// Whose certificates are believed.
enum class TlsRoots : unsigned char {
    system,  ///< those that this host believes, and what is loaded
    none,    ///< what is loaded, alone
};

/// Must the peer show a certificate? What it shows is checked, unless this is `none`.
enum class TlsVerify : unsigned char {
    none,
    optional,
    required,
};

enum class TlsVersion : unsigned char {
    tls_1_2,
    tls_1_3,
};

/// Python's SSLContext. A handle: copies are the same context, which lives as long as a handle or a
/// connection. Set it up, and then give it to as many connections as there are: a client's sessions
/// are resumed through it.
/// Throws:   TlsError (setup), with the file and OpenSSL's reason; RuntimeError once it was moved
///           from.
/// Thread:   what was set up may be used by loops on several threads.
class TlsContext {
public:
    /// For connections to servers: their certificate is checked, and its name; TLS 1.2 or newer.
    static TlsContext client(TlsRoots roots = TlsRoots::system);
    /// For the side of a server, which needs a certificate: `load_cert_chain`. Clients are not
    /// asked for one, unless `set_verify_mode` says so.
    static TlsContext server();

    TlsContext(const TlsContext& other) noexcept;
    TlsContext(TlsContext&& other) noexcept;
    TlsContext& operator=(TlsContext other) noexcept;
    ~TlsContext();

    /// The certificate that this side shows, with those between it and the root behind it, and its
    /// private key: PEM files, in one file or two.
    TlsContext& load_cert_chain(const std::string& chain_file, const std::string& key_file = {},
                                const std::string& password = {});
    /// The same from texts.
    TlsContext& use_cert_chain(std::string_view chain_pem, std::string_view key_pem,
                               const std::string& password = {});

    /// Believes the certificates of a PEM file, or of a directory that c_rehash(1) has prepared.
    TlsContext& load_verify_locations(const std::string& path);
    /// The same from a text.
    TlsContext& add_roots(std::string_view pem);

    /// Application protocols (RFC 7301), the best first. A server takes the first of its own that
    /// the client has named, and refuses a client that names others only.
    TlsContext& set_alpn_protocols(const std::vector<std::string>& protocols);

    /// `choose(name)` returns, as a std::optional<TlsContext>, the context for a client that asks
    /// for `name` (SNI); nothing: this one. What it throws ends the handshake (unrecognized_name).
    template <class Choose>
    TlsContext& set_sni_callback(Choose choose) {
        static_assert(std::is_invocable_r_v<std::optional<TlsContext>, Choose&, std::string_view>,
                      "weft: the SNI callback takes a std::string_view and returns a "
                      "std::optional<TlsContext>");
        return choose_by_name(std::move(choose));
    }

    /// A client that asks for none takes any server for the one it wants: for tests.
    TlsContext& set_verify_mode(TlsVerify mode);
    /// False: a certificate that is believed will do, whatever its name.
    TlsContext& set_check_hostname(bool check);
    TlsContext& set_minimum_version(TlsVersion version);

    bool is_server() const;
    /// For what is missing here: OpenSSL's SSL_CTX.
    ssl_ctx_st* native_handle() const;

    /// For the connections.
    detail::TlsContextState& state() const;

private:
    explicit TlsContext(detail::Ref<detail::TlsContextState> state) noexcept;
    TlsContext& choose_by_name(
        detail::Callback<std::optional<TlsContext>(std::string_view)> choose);

    detail::Ref<detail::TlsContextState> state_;
};

#if WEFT_TLS_BODIES
namespace detail {

/// Never an exception through OpenSSL, which is C: it waits in the connection.
[[gnu::cold]] inline int tls_choose_by_name(SSL* ssl, int*, void* from) {
    auto& state = *static_cast<TlsContextState*>(from);
    auto& session = *static_cast<TlsSession*>(SSL_get_app_data(ssl));
    const char* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (!name || !state.choose) return SSL_TLSEXT_ERR_NOACK;
    try {
        const std::optional<TlsContext> chosen = state.choose(name);
        if (!chosen || &chosen->state() == &state) return SSL_TLSEXT_ERR_OK;
        session.context = Ref<TlsContextState>::to(chosen->state());
        SSL_set_SSL_CTX(ssl, session.context->ssl);
        // (Of the rest of the context it takes over what has to do with certificates alone.)
        SSL_set_verify(ssl, SSL_CTX_get_verify_mode(session.context->ssl), nullptr);
        return SSL_TLSEXT_ERR_OK;
    } catch (...) {
        session.thrown = std::current_exception();
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
}

}  // namespace detail

[[gnu::cold]] WEFT_INLINE TlsContext::TlsContext(
    detail::Ref<detail::TlsContextState> state) noexcept
    : state_(std::move(state)) {}
[[gnu::cold]] WEFT_INLINE TlsContext::TlsContext(const TlsContext& other) noexcept = default;
[[gnu::cold]] WEFT_INLINE TlsContext::TlsContext(TlsContext&& other) noexcept = default;
[[gnu::cold]] WEFT_INLINE TlsContext& TlsContext::operator=(TlsContext other) noexcept {
    std::swap(state_, other.state_);
    return *this;
}
[[gnu::cold]] WEFT_INLINE TlsContext::~TlsContext() = default;

[[gnu::cold]] WEFT_INLINE detail::TlsContextState& TlsContext::state() const {
    if (!state_) detail::throw_runtime_error("weft: an empty TlsContext: it was moved from");
    return *state_;
}

[[gnu::cold]] WEFT_INLINE TlsContext TlsContext::client(TlsRoots roots) {
    TlsContext context(detail::make_tls_context(false));
    if (roots == TlsRoots::system) {
        const int done = SSL_CTX_set_default_verify_paths(context.native_handle());
        if (done != 1) detail::throw_tls_setup("the roots of this host");
    }
    return context;
}
[[gnu::cold]] WEFT_INLINE TlsContext TlsContext::server() {
    return TlsContext(detail::make_tls_context(true));
}

[[gnu::cold]] WEFT_INLINE TlsContext& TlsContext::load_cert_chain(const std::string& chain_file,
                                                                  const std::string& key_file,
                                                                  const std::string& password) {
    const std::string& key = key_file.empty() ? chain_file : key_file;
    const detail::PemSource chain_source = detail::PemSource::file(chain_file);
    const detail::PemSource key_source = detail::PemSource::file(key);
    detail::use_cert_chain(state(), chain_source, key_source, password);
    return *this;
}
[[gnu::cold]] WEFT_INLINE TlsContext& TlsContext::use_cert_chain(std::string_view chain_pem,
                                                                 std::string_view key_pem,
                                                                 const std::string& password) {
    const detail::PemSource chain_source = detail::PemSource::text(chain_pem, "a certificate");
    const detail::PemSource key_source = detail::PemSource::text(key_pem, "a private key");
    detail::use_cert_chain(state(), chain_source, key_source, password);
    return *this;
}
[[gnu::cold]] WEFT_INLINE TlsContext& TlsContext::load_verify_locations(const std::string& path) {
    detail::load_roots(state(), path);
    return *this;
}
[[gnu::cold]] WEFT_INLINE TlsContext& TlsContext::add_roots(std::string_view pem) {
    detail::add_roots(state(), detail::PemSource::text(pem, "a list of roots"));
    return *this;
}
[[gnu::cold]] WEFT_INLINE TlsContext& TlsContext::set_alpn_protocols(
    const std::vector<std::string>& protocols) {
    detail::set_alpn(state(), protocols);
    return *this;
}
[[gnu::cold]] WEFT_INLINE TlsContext& TlsContext::choose_by_name(
    detail::Callback<std::optional<TlsContext>(std::string_view)> choose) {
    detail::TlsContextState& context = state();
    context.choose = std::move(choose);
    // (Not SSL_CTX_set_tlsext_servername_callback, a macro with a cast of C's.)
    SSL_CTX_callback_ctrl(context.ssl, SSL_CTRL_SET_TLSEXT_SERVERNAME_CB,
                          reinterpret_cast<void (*)()>(&detail::tls_choose_by_name));
    SSL_CTX_set_tlsext_servername_arg(context.ssl, &context);
    return *this;
}
[[gnu::cold]] WEFT_INLINE TlsContext& TlsContext::set_verify_mode(TlsVerify mode) {
    int flags = SSL_VERIFY_NONE;
    if (mode != TlsVerify::none) flags = SSL_VERIFY_PEER;
    if (mode == TlsVerify::required) flags |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(native_handle(), flags, nullptr);
    return *this;
}
[[gnu::cold]] WEFT_INLINE TlsContext& TlsContext::set_check_hostname(bool check) {
    state().checks_name = check;
    return *this;
}
[[gnu::cold]] WEFT_INLINE TlsContext& TlsContext::set_minimum_version(TlsVersion version) {
    const int number = version == TlsVersion::tls_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
    SSL_CTX_set_min_proto_version(native_handle(), number);
    return *this;
}
[[gnu::cold]] WEFT_INLINE bool TlsContext::is_server() const { return state().is_server; }
[[gnu::cold]] WEFT_INLINE ssl_ctx_st* TlsContext::native_handle() const { return state().ssl; }
#endif

}  // namespace weft
