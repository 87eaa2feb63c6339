// SPDX-License-Identifier: MIT
// ConnectAwaiter: waits until a socket is connected.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <coroutine>
#include <cstdint>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/timer_heap.hpp"
#include "../address.hpp"
#include "../operation_wait.hpp"
#include "retried_wait.hpp"

namespace weft::detail {

/// A Unix socket whose listener's queue is full answers EAGAIN, and nothing ever says when to try
/// again: that is what the timer is for. The backend has nothing then that a close could end, so
/// each try makes sure that the number is still this socket's.
class ConnectWait : public RetriedWait<ConnectWait> {
public:
    ConnectWait(int descriptor, const Address& to) noexcept
        : RetriedWait(OpCode::connect), to_(to) {
        fd = descriptor;
        address = to_.data();
        length = to_.size();
    }
    bool await_suspend(std::coroutine_handle<> handle) {
        if (to_.family() == AF_UNIX) cookie_ = cookie_of(fd);
        return RetriedWait::await_suspend(handle);
    }
    void await_resume() {
        if (result >= 0 && is_connected_to_itself()) result = -ECONNREFUSED;
        checked();
    }

    // For RetriedWait, which is no friend: g++ takes a protected destructor with one for
    // accessible.
    static constexpr bool answers_in_place = true;
    bool comes_too_early() noexcept {
        if (result != -EAGAIN) return false;
        if (cookie_ == 0) cookie_ = cookie_of(fd);  // not a Unix socket: that it pauses is rare
        return true;
    }
    bool is_still_meant() const noexcept { return cookie_ == 0 || cookie_of(fd) == cookie_; }

protected:
    ~ConnectWait() = default;

private:
    /// Where nobody listens on a port that the kernel gives to sockets which connect, one of them
    /// may be given the very port that it connects to: TCP then connects it with itself. For the
    /// user that is a server that does not answer, and it keeps the server from its port.
    bool is_connected_to_itself() noexcept;
    /// What no other socket has had or will have. 0: no socket, or a kernel before 4.12.
    static std::uint64_t cookie_of(int socket) noexcept {
        std::uint64_t cookie = 0;
        socklen_t size = sizeof cookie;
        return ::getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
    }

    Address to_;  // the kernel reads it for as long as the operation lasts
    std::uint64_t cookie_ = 0;
};

class [[nodiscard]] [[gnu::warn_unused]] ConnectAwaiter final : public ConnectWait {
public:
    using ConnectWait::ConnectWait;
};

/// One that gives up after a while, with ETIMEDOUT; a limit of 0 is none.
class [[nodiscard]] TimedConnect final : public ConnectWait {
public:
    TimedConnect(int descriptor, const Address& to, Nanoseconds limit) noexcept
        : ConnectWait(descriptor, to), limit_(*this, limit) {}
    bool await_suspend(std::coroutine_handle<> handle) {
        limit_.start();
        if (ConnectWait::await_suspend(handle)) return true;
        limit_.stop();
        return false;
    }
    void await_resume() {
        limit_.stop();
        check_leftover();
        // (A connection that was made all the same is one, and a cancel of our task is told.)
        if (limit_.is_over && !task_->must_cancel && await_cancelled()) result = -ETIMEDOUT;
        ConnectWait::await_resume();
    }

private:
    struct Limit : detail::Timer {
        Limit(TimedConnect& connect, Nanoseconds after) noexcept
            : detail::Timer(&due, detail::Timer::strikes), of(connect), delay(after) {}
        ~Limit() { stop(); }
        void start() {
            if (delay <= 0) return;
            loop = &get_running_loop();
            loop->arm(*this, deadline_after(loop->read_clock(), delay));
        }
        void stop() noexcept {
            if (armed()) loop->disarm(*this);
        }
        static void due(detail::Timer& timer) noexcept {
            auto& self = static_cast<Limit&>(timer);
            self.is_over = true;
            if (self.of.task_->waiting_on) self.of.cancel();
        }
        TimedConnect& of;
        EventLoop* loop = nullptr;
        Nanoseconds delay;
        bool is_over = false;
    };
    Limit limit_;
};

#if WEFT_BODIES
/// Then it is disconnected: it is what it was before.
[[gnu::cold, gnu::noinline]] WEFT_INLINE bool ConnectWait::is_connected_to_itself() noexcept {
    if (to_.family() != AF_INET && to_.family() != AF_INET6) return false;
    Address local;
    if (::getsockname(fd, local.data(), local.size_for_filling()) != 0) return false;
    if (local.port() != to_.port()) return false;
    // (Not compared with `to_`, which may stand for every address of this host.)
    Address peer;
    int type = 0;
    socklen_t size = sizeof type;
    if (::getpeername(fd, peer.data(), peer.size_for_filling()) != 0 || local != peer ||
        ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
        return false;
    }
    sockaddr nobody{};
    nobody.sa_family = AF_UNSPEC;
    ::connect(fd, &nobody, sizeof nobody);
    return true;
}
#endif

}  // namespace weft::detail
