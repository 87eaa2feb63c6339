// SPDX-License-Identifier: MIT
// ConnectAwaiter: waits until a socket is connected.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <coroutine>
#include <cstdint>
#include <new>

#include "../../base/config.hpp"
#include "../../base/std_parts.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/timer_heap.hpp"
#include "../address.hpp"
#include "operation_wait.hpp"

namespace weft::detail {

/// A Unix socket whose listener's queue is full answers EAGAIN, and nothing ever says when to try
/// again: that is what the timer is for. The backend has nothing then that a close could end, so
/// each try makes sure that the number is still this socket's.
class [[nodiscard]] [[gnu::warn_unused]] ConnectAwaiter final : public OperationWait,
                                                                private Timer {
public:
    ConnectAwaiter(int descriptor, const Address& to) noexcept
        : OperationWait(OpCode::connect), Timer(&try_again), to_(to) {
        on_complete = &answered;
        fd = descriptor;
        address = to_.data();
        length = to_.size();
    }
    ~ConnectAwaiter() {
        if (armed()) task_->loop->disarm(*this);
    }
    bool await_suspend(std::coroutine_handle<> handle) {
        if (to_.family() == AF_UNIX) cookie_ = cookie_of(fd);
        if (OperationWait::await_suspend(handle)) return true;
        if (result != -EAGAIN) return false;
        if (!wait_a_little()) return false;
        task_->waiting_on = this;
        return true;
    }
    void await_resume() {
        if (result >= 0 && is_connected_to_itself()) result = -ECONNREFUSED;
        checked();
    }

    TaskCore* cancel() noexcept override {
        if (!armed()) return OperationWait::cancel();
        task_->loop->disarm(*this);
        asked_ = true;
        result = -ECANCELED;
        task_->loop->wake(*task_);
        return nullptr;
    }

private:
    static void answered(Operation& op) noexcept {
        auto& self = static_cast<ConnectAwaiter&>(op);
        if (op.result == -EAGAIN) {
            if (!self.asked_ && self.wait_a_little()) return;
            // Nothing was begun: the cancel is the answer.
            if (self.asked_) op.result = -ECANCELED;
        }
        self.task_->loop->wake(*self.task_);
    }
    static void try_again(Timer& timer) noexcept {
        auto& self = static_cast<ConnectAwaiter&>(timer);
        if (self.cookie_ != 0 && cookie_of(self.fd) != self.cookie_) {
            self.result = -ECANCELED;
            self.task_->loop->wake(*self.task_);
        } else if (self.task_->loop->start(self)) {
            answered(self);
        }
    }
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
    bool wait_a_little() noexcept {
        if (cookie_ == 0) cookie_ = cookie_of(fd);  // not a Unix socket: that it pauses is rare
        pause_ = std::min<Nanoseconds>(2 * pause_, 10'000'000);
        try {
            task_->loop->arm(*this, deadline_after(task_->loop->read_clock(), pause_));
        } catch (const std::bad_alloc&) {
            result = -ENOMEM;
            return false;
        }
        return true;
    }

    Address to_;  // the kernel reads it for as long as the operation lasts
    Nanoseconds pause_ = 500'000;
    std::uint64_t cookie_ = 0;
};

#if WEFT_BODIES
/// Then it is disconnected: it is what it was before.
[[gnu::cold, gnu::noinline]] WEFT_INLINE bool ConnectAwaiter::is_connected_to_itself() noexcept {
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
