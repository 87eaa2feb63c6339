// SPDX-License-Identifier: MIT
// Handle: a MYSQL with its owner; Call: a call of libmariadb that waits in between.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <utility>

#include "../../base/fd.hpp"
#include "../../sql/held_ready.hpp"
#include "../../task/coro.hpp"
#include "libmariadb.hpp"

namespace weft::mysql::detail {

using sql::detail::Held;
using sql::detail::HeldReady;

/// Owns a MYSQL. The library closes its socket itself, so the loop is told before.
class Handle {
public:
    Handle() {
        static const int once = ::mysql_library_init(0, nullptr, nullptr);
        (void)once;
        mysql_ = ::mysql_init(nullptr);
        if (!mysql_) throw std::bad_alloc();
        ::mysql_options(mysql_, MYSQL_OPT_NONBLOCK, nullptr);
    }
    Handle(Handle&& other) noexcept : mysql_(std::exchange(other.mysql_, nullptr)) {}
    Handle& operator=(Handle&& other) noexcept {
        std::swap(mysql_, other.mysql_);
        return *this;
    }
    ~Handle() { close(false); }

    MYSQL* get() const noexcept { return mysql_; }
    int fd() const noexcept { return static_cast<int>(::mysql_get_socket(mysql_)); }
    /// The library says goodbye; where something is under way it must not try to.
    void close(bool is_idle) noexcept {
        if (!mysql_) return;
        const int socket = fd();
        if (socket >= 0) {
            if (!is_idle) (void)::shutdown(socket, SHUT_RDWR);
            if (weft::detail::descriptor_closing) weft::detail::descriptor_closing(socket);
        }
        ::mysql_close(std::exchange(mysql_, nullptr));
    }
    /// A call of the library has said what it waits for.
    HeldReady wait(int status) const noexcept {
        int events = 0;
        if (status & MYSQL_WAIT_READ) events |= POLLIN;
        if (status & MYSQL_WAIT_WRITE) events |= POLLOUT;
        if (status & MYSQL_WAIT_EXCEPT) events |= POLLPRI;
        return HeldReady(fd(), static_cast<short>(events));
    }
    /// What it is told of that.
    static int told(short events) noexcept {
        int status = 0;
        if (events & (POLLIN | POLLHUP | POLLERR)) status |= MYSQL_WAIT_READ;
        if (events & (POLLOUT | POLLHUP | POLLERR)) status |= MYSQL_WAIT_WRITE;
        if (events & POLLPRI) status |= MYSQL_WAIT_EXCEPT;
        return status;
    }

private:
    MYSQL* mysql_ = nullptr;
};

}  // namespace weft::mysql::detail
