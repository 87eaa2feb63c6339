// SPDX-License-Identifier: MIT
// TlsContextState: what a TlsContext is made of, and the sessions that a client resumes.
#pragma once

#include "../../base/config.hpp"

#if WEFT_TLS_BODIES
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include <cstddef>
#include <cstring>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../../base/c_text.hpp"
#include "../../base/callback.hpp"
#include "../../base/error.hpp"
#include "../../base/ref.hpp"
#include "../../fwd.hpp"
#include "tls_openssl.hpp"

namespace weft::detail {

/// What a client resumes: for each server the session that it has got last. One of TLS 1.3 is used
/// once, so that nobody who watches can tell that two connections are of one client (RFC 8446,
/// C.4).
class TlsSessions {
public:
    void put(const std::string& server, SessionPtr session) {
        const std::lock_guard guard(mutex_);
        for (Entry& entry : entries_) {
            if (entry.server != server) continue;
            entry.session = std::move(session);
            return;
        }
        if (entries_.size() == most) entries_.erase(entries_.begin());
        entries_.emplace_back(server, std::move(session));
    }
    SessionPtr take(const std::string& server) {
        const std::lock_guard guard(mutex_);
        for (std::size_t index = 0; index < entries_.size(); ++index) {
            if (entries_[index].server != server) continue;
            SSL_SESSION* const kept = entries_[index].session.get();
            if (SSL_SESSION_get_protocol_version(kept) < TLS1_3_VERSION) {
                SSL_SESSION_up_ref(kept);
                return SessionPtr(kept);
            }
            SessionPtr session = std::move(entries_[index].session);
            entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(index));
            return session;
        }
        return SessionPtr();
    }

private:
    static constexpr std::size_t most = 256;

    struct Entry {
        Entry(const std::string& of, SessionPtr kept) : server(of), session(std::move(kept)) {}
        std::string server;
        SessionPtr session;
    };

    std::mutex mutex_;
    std::vector<Entry> entries_;  // oldest first
};

struct TlsContextState : CountedByThreads<TlsContextState> {
    TlsContextState(SSL_CTX* made, bool server) noexcept : ssl(made), is_server(server) {}
    ~TlsContextState() { SSL_CTX_free(ssl); }

    SSL_CTX* const ssl;
    const bool is_server;
    bool checks_name = true;
    std::string alpn;  // as it is sent: each name behind its length
    Callback<std::optional<TlsContext>(std::string_view)> choose;
    TlsSessions sessions;
};

/// What the callbacks of OpenSSL find behind an SSL.
struct TlsSession {
    Ref<TlsContextState> context;  // that of the name the client has asked for, once it has
    std::string server;            // what a client's sessions are kept under
    std::exception_ptr thrown;     // by a callback of the user's
};

/// Where PEM comes from.
class PemSource {
public:
    [[gnu::cold]] static PemSource file(const std::string& path) {
        refuse_zero_byte("TLS", path);
        ERR_clear_error();
        return PemSource(BIO_new_file(path.c_str(), "r"), path);
    }
    [[gnu::cold]] static PemSource text(std::string_view pem, std::string_view name) {
        return PemSource(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                         std::string(name));
    }
    BIO* bio() const noexcept { return bio_.get(); }
    [[noreturn]] void fail() const { throw_tls_setup(name_); }

private:
    PemSource(BIO* bio, std::string name) : bio_(bio), name_(std::move(name)) {
        if (!bio_) fail();
    }
    BioPtr bio_;
    std::string name_;
};

/// (Without one of ours OpenSSL would ask at the terminal.)
[[gnu::cold]] inline int give_password(char* buffer, int size, int, void* from) noexcept {
    const auto& password = *static_cast<const std::string*>(from);
    if (password.size() > static_cast<std::size_t>(size)) return -1;
    std::memcpy(buffer, password.data(), password.size());
    return static_cast<int>(password.size());
}

/// True: that was the last one, and not an error.
[[gnu::cold]] inline bool at_end_of_pem() noexcept {
    const unsigned long code = ERR_peek_last_error();
    if (ERR_GET_LIB(code) != ERR_LIB_PEM || ERR_GET_REASON(code) != PEM_R_NO_START_LINE)
        return false;
    ERR_clear_error();
    return true;
}

[[gnu::cold, gnu::noinline]] inline void use_cert_chain(TlsContextState& context,
                                                        const PemSource& chain,
                                                        const PemSource& key_source,
                                                        const std::string& password) {
    ERR_clear_error();
    auto* const secret = const_cast<std::string*>(&password);
    const X509Ptr own(PEM_read_bio_X509_AUX(chain.bio(), nullptr, &give_password, secret));
    if (!own || SSL_CTX_use_certificate(context.ssl, own.get()) != 1) chain.fail();
    SSL_CTX_clear_chain_certs(context.ssl);
    for (;;) {
        X509Ptr next(PEM_read_bio_X509(chain.bio(), nullptr, &give_password, secret));
        if (!next) break;
        if (SSL_CTX_add0_chain_cert(context.ssl, next.get()) != 1) chain.fail();
        (void)next.release();
    }
    if (!at_end_of_pem()) chain.fail();
    const KeyPtr key(PEM_read_bio_PrivateKey(key_source.bio(), nullptr, &give_password, secret));
    if (!key || SSL_CTX_use_PrivateKey(context.ssl, key.get()) != 1) key_source.fail();
    if (SSL_CTX_check_private_key(context.ssl) != 1) key_source.fail();
}

[[gnu::cold, gnu::noinline]] inline void add_roots(TlsContextState& context,
                                                   const PemSource& source) {
    ERR_clear_error();
    X509_STORE* const store = SSL_CTX_get_cert_store(context.ssl);
    std::size_t count = 0;
    for (;;) {
        const X509Ptr root(PEM_read_bio_X509(source.bio(), nullptr, nullptr, nullptr));
        if (!root) break;
        if (X509_STORE_add_cert(store, root.get()) != 1) source.fail();
        ++count;
    }
    if (count == 0 || !at_end_of_pem()) source.fail();
}

[[gnu::cold, gnu::noinline]] inline void load_roots(TlsContextState& context,
                                                    const std::string& path) {
    refuse_zero_byte("TLS", path);
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
        if (SSL_CTX_load_verify_dir(context.ssl, path.c_str()) != 1) throw_tls_setup(path);
        return;
    }
    add_roots(context, PemSource::file(path));
}

[[gnu::cold]] inline int choose_alpn(SSL*, const unsigned char** out, unsigned char* out_size,
                                     const unsigned char* in, unsigned in_size, void* from) {
    const auto& own = static_cast<TlsContextState*>(from)->alpn;
    unsigned char* chosen = nullptr;
    const int found =
        SSL_select_next_proto(&chosen, out_size, reinterpret_cast<const unsigned char*>(own.data()),
                              static_cast<unsigned>(own.size()), in, in_size);
    *out = chosen;
    // (RFC 7301, 3.2. To go on with none would leave each side with another idea of what is
    // spoken.)
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

[[gnu::cold, gnu::noinline]] inline void set_alpn(TlsContextState& context,
                                                  const std::vector<std::string>& protocols) {
    std::string wire;
    for (const std::string& protocol : protocols) {
        if (protocol.empty() || protocol.size() > 255)
            throw_tls_setup("a protocol's name for ALPN has 1 to 255 bytes");
        wire = concat({wire, std::string(1, static_cast<char>(protocol.size())), protocol});
    }
    context.alpn = std::move(wire);
    const auto* const data = reinterpret_cast<const unsigned char*>(context.alpn.data());
    // (The one function of OpenSSL that says 0 when all is well.)
    if (SSL_CTX_set_alpn_protos(context.ssl, data, static_cast<unsigned>(context.alpn.size())) != 0)
        throw_tls_setup("ALPN");
    if (context.is_server) SSL_CTX_set_alpn_select_cb(context.ssl, &choose_alpn, &context);
}

/// OpenSSL has counted us in, and takes that back for a 0.
[[gnu::cold]] inline int keep_session(SSL* ssl, SSL_SESSION* session) {
    auto& own = *static_cast<TlsSession*>(SSL_get_app_data(ssl));
    if (own.server.empty()) return 0;
    SessionPtr kept(session);
    try {
        own.context->sessions.put(own.server, std::move(kept));
    } catch (...) {
        // No memory for it: the next connection begins anew.
    }
    return 1;
}

[[gnu::cold, gnu::noinline]] inline Ref<TlsContextState> make_tls_context(bool is_server) {
    ERR_clear_error();
    OpensslPtr<SSL_CTX, SSL_CTX_free> made(
        SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method()));
    if (!made) throw_tls_setup("SSL_CTX_new");
    SSL_CTX* const ssl = made.get();
    Ref<TlsContextState> context(new TlsContextState(ssl, is_server));
    (void)made.release();
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    // A connection that waits keeps no buffers.
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    if (is_server) {
        // Tickets are enough: sessions that are kept here would be memory for whoever asks.
        SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
        static constexpr unsigned char name[] = {'w', 'e', 'f', 't'};
        SSL_CTX_set_session_id_context(ssl, name, sizeof name);
    } else {
        SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, nullptr);
        SSL_CTX_set_session_cache_mode(ssl,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
        SSL_CTX_sess_set_new_cb(ssl, &keep_session);
    }
    return context;
}

}  // namespace weft::detail
#endif
