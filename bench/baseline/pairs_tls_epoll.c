// The quiet form with TLS: as pairs_epoll.c, but each end is an SSL of OpenSSL's on its socket
// (SSL_set_fd), as one would write it by hand. It reads ahead, so that a record is one recv, and
// keeps its buffers.
#include "pairs.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

struct end {
    SSL* ssl;
    int fd;
    bool is_client;
    bool writable_armed;
    size_t sent, to_send;
    size_t received;  // Client: of the answer.
    long number;      // Client: of the message.
    char* buffer;
};

static int poller;

static void watch(int operation, struct end* e, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = e};
    syscalls++;
    check(epoll_ctl(poller, operation, e->fd, &event), "epoll_ctl");
    e->writable_armed = (events & EPOLLOUT) != 0;
}

static void send_rest(struct end* e) {
    while (e->sent < e->to_send) {
        size_t sent = 0;
        syscalls++;
        if (SSL_write_ex(e->ssl, e->buffer + e->sent, e->to_send - e->sent, &sent) != 1) {
            if (SSL_get_error(e->ssl, 0) != SSL_ERROR_WANT_WRITE) die_error("SSL_write", EPROTO);
            break;
        }
        e->sent += sent;
    }
    bool rest = e->sent < e->to_send;
    if (rest != e->writable_armed) watch(EPOLL_CTL_MOD, e, rest ? EPOLLOUT : EPOLLIN);
}

static void send_message(struct end* e) {
    if (!may_start()) return;
    e->number = started;
    stamp(e->buffer, e->number);
    e->sent = e->received = 0;
    e->to_send = (size_t)size;
    send_rest(e);
}

// Returns true when the last echo is home.
static bool on_readable(struct end* e) {
    do {
        size_t length = 0;
        syscalls++;
        if (SSL_read_ex(e->ssl, e->buffer + e->received, (size_t)size - e->received, &length) !=
            1) {
            if (SSL_get_error(e->ssl, 0) == SSL_ERROR_WANT_READ) return false;
            die_error("SSL_read", EPROTO);
        }
        if (!e->is_client) {
            e->sent = 0;
            e->to_send = length;
            send_rest(e);
            continue;
        }
        e->received += length;
        if (e->received < (size_t)size) continue;
        check_stamp(e->buffer, (size_t)size, e->number);
        if (finish_echo()) return true;
        send_message(e);
    } while (SSL_has_pending(e->ssl));
    return false;
}

static SSL_CTX* context_of(const SSL_METHOD* method) {
    SSL_CTX* context = check_memory(SSL_CTX_new(method));
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    return context;
}

static void give_identity(SSL_CTX* context) {
    EVP_PKEY* key = check_memory(EVP_EC_gen("P-256"));
    X509* certificate = check_memory(X509_new());
    X509_set_version(certificate, 2);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    X509_sign(certificate, key, EVP_sha256());
    if (SSL_CTX_use_certificate(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey(context, key) != 1)
        die_error("SSL_CTX_use_certificate", EPROTO);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void shake_hands(struct end* client, struct end* server) {
    for (;;) {
        int first = SSL_do_handshake(client->ssl), second = SSL_do_handshake(server->ssl);
        if (first == 1 && second == 1) return;
        if (first != 1 && SSL_get_error(client->ssl, first) == SSL_ERROR_SSL)
            die_error("SSL_connect", EPROTO);
        if (second != 1 && SSL_get_error(server->ssl, second) == SSL_ERROR_SSL)
            die_error("SSL_accept", EPROTO);
    }
}

int main(int argc, char** argv) {
    const struct option options[] = {{"--pairs", NUMBER, &pairs},
                                     {"--size", NUMBER, &size},
                                     {"--echoes", NUMBER, &echoes},
                                     {"--transport", TEXT, &transport}};
    size = 16384;
    parse_options(argc, argv, options, 4);
    require_option(pairs > 0 && size >= 8 && echoes > 0 && is_transport_known(),
                   "--pairs, --echoes > 0, --size >= 8, --transport tcp|unix");
    signal(SIGPIPE, SIG_IGN);

    SSL_CTX* contexts[2] = {context_of(TLS_client_method()), context_of(TLS_server_method())};
    give_identity(contexts[1]);
    poller = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    struct end* ends = check_memory(calloc((size_t)(2 * pairs), sizeof *ends));
    for (long i = 0; i < pairs; i++) {
        int fds[2];
        open_pair(fds, O_NONBLOCK);
        for (int k = 0; k < 2; k++) {
            struct end* e = &ends[2 * i + k];
            e->fd = fds[k];
            e->is_client = k == 0;
            e->buffer = check_memory(calloc(1, (size_t)size));
            e->ssl = check_memory(SSL_new(contexts[k]));
            SSL_set_fd(e->ssl, e->fd);
            if (k == 0)
                SSL_set_connect_state(e->ssl);
            else
                SSL_set_accept_state(e->ssl);
        }
        shake_hands(&ends[2 * i], &ends[2 * i + 1]);
        for (int k = 0; k < 2; k++) watch(EPOLL_CTL_ADD, &ends[2 * i + k], EPOLLIN);
    }
    for (long i = 0; i < pairs; i++) send_message(&ends[2 * i]);
    for (;;) {
        struct epoll_event events[256];
        syscalls++;
        int ready = epoll_wait(poller, events, 256, -1);
        if (ready < 0 && errno == EINTR) continue;
        check(ready, "epoll_wait");
        for (int i = 0; i < ready; i++) {
            struct end* e = events[i].data.ptr;
            if (e->writable_armed)
                send_rest(e);
            else if (on_readable(e))
                return 0;
        }
    }
}
