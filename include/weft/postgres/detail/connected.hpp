// SPDX-License-Identifier: MIT
// Connected, CancelKey: a PGconn and a PGcancel, each with its owner.
#pragma once

#include <utility>

#include "../../base/fd.hpp"
#include "../../base/ref.hpp"
#include "../../thread/thread_pool.hpp"
#include "libpq.hpp"

namespace weft::postgres::detail {

/// Owns a PGconn. libpq closes its socket itself, so the loop is told before.
class Connected {
public:
    explicit Connected(PGconn* made) noexcept : conn_(made) {}
    Connected(Connected&& other) noexcept : conn_(std::exchange(other.conn_, nullptr)) {}
    Connected& operator=(Connected&& other) noexcept {
        std::swap(conn_, other.conn_);
        return *this;
    }
    ~Connected() { finish(); }
    PGconn* get() const noexcept { return conn_; }
    void finish() noexcept {
        if (!conn_) return;
        forget_socket();
        ::PQfinish(std::exchange(conn_, nullptr));
    }
    void forget_socket() const noexcept {
        const int fd = ::PQsocket(conn_);
        if (fd >= 0 && weft::detail::descriptor_closing) weft::detail::descriptor_closing(fd);
    }

private:
    PGconn* conn_;
};

/// What PQcancel needs; a thread may use it while, and after, the connection goes.
class CancelKey : public weft::detail::CountedByThreads<CancelKey> {
public:
    explicit CancelKey(PGconn* conn) noexcept : key_(::PQgetCancel(conn)) {}
    ~CancelKey() { ::PQfreeCancel(key_); }
    /// Blocks until the server has passed it on. False: it could not be told.
    bool send() const noexcept {
        char error[256];
        return ::PQcancel(key_, error, sizeof error) == 1;
    }

private:
    PGcancel* key_;
};

/// libpq's PQcancel connects and waits in the calling thread. These threads do nothing else, so
/// that a server that does not answer costs nobody but those who cancel.
inline ThreadPool& cancel_threads() {
    static ThreadPool* const pool = [] {
        ThreadPoolOptions options;
        options.threads = 8;
        options.name = "postgres-cancel";
        return new ThreadPool(options);
    }();
    return *pool;
}

}  // namespace weft::postgres::detail
