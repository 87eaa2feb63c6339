// SPDX-License-Identifier: MIT
// TlsEngine: one TLS session of OpenSSL's, between plain bytes and records in memory.
#pragma once

#include "../../base/config.hpp"

#if WEFT_TLS_BODIES
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/buffer.hpp"
#include "../../base/c_text.hpp"
#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../base/ref.hpp"
#include "../../base/std_parts.hpp"
#include "../chunk.hpp"
#include "stream_state.hpp"
#include "tls_context_state.hpp"
#include "tls_openssl.hpp"

namespace weft::detail {

/// What OpenSSL says of a call.
enum class TlsStep : unsigned char {
    done,
    wants_input,  // records that have not come
    closed,       // the peer has said that nothing more will come (close_notify)
    failed,       // see `TlsEngine::error`; the session is of no more use
};

/// Waits for nothing: who uses it brings records (`feed`), and takes those away that come out
/// (`output`). OpenSSL reads straight from the chunk in which they were received, and writes
/// straight into the memory from which they are sent.
class TlsEngine {
public:
    /// `host`: whom a client wants; a name or an address.
    /// Throws:   TlsError; std::system_error (a zero byte in the host).
    TlsEngine(const Ref<TlsContextState>& context, const std::string& host,
              const std::string& session_name);
    TlsEngine(const TlsEngine&) = delete;
    TlsEngine& operator=(const TlsEngine&) = delete;
    ~TlsEngine() { SSL_free(ssl_); }

    TlsStep shake_hands() {
        ERR_clear_error();
        return step_of(SSL_do_handshake(ssl_));
    }
    TlsStep read(MutableBuffer into, std::size_t& count) {
        ERR_clear_error();
        return step_of(SSL_read_ex(ssl_, into.data(), into.size(), &count));
    }
    /// Is there something to read? `done`: there is.
    TlsStep look() {
        ERR_clear_error();
        char first;
        std::size_t count = 0;
        return step_of(SSL_peek_ex(ssl_, &first, 1, &count));
    }
    /// Takes all of it, or `most_output` of records.
    TlsStep write(ConstBuffer from, std::size_t& count);
    /// Says close_notify.
    void end_output() noexcept {
        if (!is_up() || said_end_) return;
        said_end_ = true;
        ERR_clear_error();
        SSL_shutdown(ssl_);
    }

    /// The next records. Only when it wants some: those that there were are used up.
    void feed(Chunk records) noexcept {
        input_ = std::move(records);
        input_at_ = 0;
    }
    /// Plain bytes, or records of which some may come out, are here.
    bool has_input() const noexcept { return SSL_pending(ssl_) > 0 || input_at_ < input_.size(); }

    /// From now on records are sent to this socket as they come out, as far as it takes them at
    /// once and nothing waits in front: without a copy, and mostly without a wait.
    void send_straight_to(const Fd& socket) noexcept { socket_ = &socket; }

    bool has_output() const noexcept { return sending_.size() + output_.size() > 0; }
    /// To be sent. It stays where it is until `sent`, whatever comes behind it meanwhile.
    std::string_view output() noexcept {
        if (sending_.size() == 0) {
            std::swap(sending_, output_);
            output_ = ReadBuffer();
        }
        return sending_.view();
    }
    void sent(std::size_t count) noexcept {
        sending_.consume(count);
        if (sending_.size() == 0) sending_ = ReadBuffer();
    }

    /// The handshake is done, and nothing has gone wrong.
    bool is_up() const noexcept { return SSL_is_init_finished(ssl_) && !failed_; }
    bool has_failed() const noexcept { return failed_; }
    bool has_said_end() const noexcept { return said_end_; }
    SSL* ssl() const noexcept { return ssl_; }
    const std::string& host() const noexcept { return host_; }

    /// Of the step that has failed, or of every one after it. `call`: "TLS handshake".
    [[noreturn]] void throw_error(std::string_view call, std::string_view object);

private:
    static constexpr std::size_t most_output = 64 * 1024;
    static constexpr std::size_t record = 16 * 1024;
    static constexpr std::size_t record_frame = 128;  // what is around its bytes, at most

    TlsStep step_of(int result) noexcept;
    void check_for(const std::string& host);
    static const BIO_METHOD* bio_method();
    static int bio_read(BIO* bio, char* into, std::size_t size, std::size_t* count);
    static int bio_write(BIO* bio, const char* from, std::size_t size, std::size_t* count);
    static long bio_control(BIO*, int command, long, void*) {
        return command == BIO_CTRL_FLUSH ? 1 : 0;
    }

    std::size_t send_at_once(const char* from, std::size_t size) const noexcept;

    SSL* ssl_;
    const Fd* socket_ = nullptr;
    Chunk input_;
    std::size_t input_at_ = 0;
    ReadBuffer output_;
    ReadBuffer sending_;  // the first part of it, whose place is known to the kernel
    TlsSession session_;
    std::string host_;
    std::string reason_;
    bool failed_ = false;
    bool said_end_ = false;
};

/// How the peer's certificate is to be named; without a host nothing could be checked.
[[gnu::cold, gnu::noinline]] inline void TlsEngine::check_for(const std::string& host) {
    const bool checks =
        session_.context->checks_name && (SSL_get_verify_mode(ssl_) & SSL_VERIFY_PEER) != 0;
    if (host.empty()) {
        if (!checks) return;
        throw_runtime_error(
            "weft: TLS: whose certificate is it to be? Name the host in "
            "TlsOptions::server_hostname");
    }
    unsigned char address[sizeof(in6_addr)];
    const bool is_address = ::inet_pton(AF_INET, host.c_str(), address) == 1 ||
                            ::inet_pton(AF_INET6, host.c_str(), address) == 1;
    // (A dot at the end tells resolvers that the name is whole; it is no part of it.)
    std::string name = host;
    if (!is_address && name.back() == '.') name.pop_back();
    // (Not SSL_set_tlsext_host_name, a macro with a cast of C's.)
    if (!is_address)
        SSL_ctrl(ssl_, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data());
    if (!checks) return;
    X509_VERIFY_PARAM* const rules = SSL_get0_param(ssl_);
    X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    const int done = is_address ? X509_VERIFY_PARAM_set1_ip_asc(rules, name.c_str())
                                : X509_VERIFY_PARAM_set1_host(rules, name.data(), name.size());
    if (done != 1) throw_tls_setup(in_quotes(host));
}

[[gnu::cold, gnu::noinline]] inline TlsEngine::TlsEngine(const Ref<TlsContextState>& context,
                                                         const std::string& host,
                                                         const std::string& session_name)
    : ssl_(SSL_new(context->ssl)) {
    if (!ssl_) throw_tls_setup("SSL_new");
    OpensslPtr<SSL, SSL_free> guard(ssl_);
    session_.context = context;
    SSL_set_app_data(ssl_, &session_);
    BIO* const bio = BIO_new(bio_method());
    if (!bio) throw std::bad_alloc();
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_, bio, bio);
    if (context->is_server) {
        SSL_set_accept_state(ssl_);
    } else {
        SSL_set_connect_state(ssl_);
        refuse_zero_byte("TLS", host);
        host_ = host;
        check_for(host);
        session_.server = session_name;
        const SessionPtr session = context->sessions.take(session_name);
        if (session) SSL_set_session(ssl_, session.get());
    }
    (void)guard.release();
}

inline TlsStep TlsEngine::step_of(int result) noexcept {
    if (result > 0) [[likely]]
        return TlsStep::done;
    switch (SSL_get_error(ssl_, result)) {
        case SSL_ERROR_WANT_READ:
            return TlsStep::wants_input;
        case SSL_ERROR_ZERO_RETURN:
            return TlsStep::closed;
        default:
            break;
    }
    if (!std::exchange(failed_, true)) {
        try {
            reason_ = take_openssl_reason();
        } catch (const std::bad_alloc&) {
        }
    }
    return TlsStep::failed;
}

inline TlsStep TlsEngine::write(ConstBuffer from, std::size_t& count) {
    ERR_clear_error();
    count = 0;
    const auto* const data = static_cast<const char*>(from.data());
    const std::size_t most = std::min(from.size(), most_output);
    // (Several records are one call.)
    if (most > record) (void)output_.room(most + (most / record + 1) * record_frame);
    const Fd* const socket = std::exchange(socket_, most > record ? nullptr : socket_);
    while (count < most) {
        std::size_t part = 0;
        const TlsStep step =
            step_of(SSL_write_ex(ssl_, data + count, std::min(most - count, record), &part));
        if (step != TlsStep::done) {
            socket_ = socket;
            return count > 0 ? TlsStep::done : step;
        }
        count += part;
    }
    socket_ = socket;
    return TlsStep::done;
}

[[gnu::cold, gnu::noinline]] inline void TlsEngine::throw_error(std::string_view call,
                                                                std::string_view object) {
    if (session_.thrown) std::rethrow_exception(std::exchange(session_.thrown, nullptr));
    const long verified = SSL_get_verify_result(ssl_);
    std::string verify_result;
    if (verified != X509_V_OK) verify_result = X509_verify_cert_error_string(verified);
    const std::string_view reason = reason_.empty() ? std::string_view("failed") : reason_;
    const std::string what =
        concat({call, " ", object, ": ", reason, verify_result.empty() ? "" : ": ", verify_result});
    const TlsFailure failure =
        verify_result.empty() ? TlsFailure::protocol : TlsFailure::certificate;
    throw TlsError(failure, EPROTO, what, host_, reason_, std::move(verify_result));
}

[[gnu::cold]] inline const BIO_METHOD* TlsEngine::bio_method() {
    static const BIO_METHOD* const method = [] {
        BIO_METHOD* const made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weft");
        if (!made) throw std::bad_alloc();
        BIO_meth_set_read_ex(made, &bio_read);
        BIO_meth_set_write_ex(made, &bio_write);
        BIO_meth_set_ctrl(made, &bio_control);
        return made;
    }();
    return method;
}

inline int TlsEngine::bio_read(BIO* bio, char* into, std::size_t size, std::size_t* count) {
    auto& self = *static_cast<TlsEngine*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const std::size_t left = self.input_.size() - self.input_at_;
    if (left == 0) {
        // (An end is not OpenSSL's affair: it would be the end of writing, too.)
        BIO_set_retry_read(bio);
        return 0;
    }
    *count = std::min(size, left);
    std::memcpy(into, self.input_.data() + self.input_at_, *count);
    self.input_at_ += *count;
    // What is used up is given back at once, for the next one to use while it is in the cache.
    if (self.input_at_ == self.input_.size()) self.feed(Chunk());
    return 1;
}

inline int TlsEngine::bio_write(BIO* bio, const char* from, std::size_t size, std::size_t* count) {
    auto& self = *static_cast<TlsEngine*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    *count = size;
    const std::size_t sent = self.send_at_once(from, size);
    if (sent == size) [[likely]]
        return 1;
    try {
        std::memcpy(self.output_.room(size - sent).data(), from + sent, size - sent);
    } catch (const std::bad_alloc&) {
        return 0;
    }
    self.output_.received(size - sent);
    return 1;
}

/// What is not sent here waits for its turn; so does an error, which whoever sends then finds.
inline std::size_t TlsEngine::send_at_once(const char* from, std::size_t size) const noexcept {
    if (!socket_ || has_output()) return 0;
    const ssize_t sent = ::send(socket_->get(), from, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent > 0 ? static_cast<std::size_t>(sent) : 0;
}

}  // namespace weft::detail
#endif
