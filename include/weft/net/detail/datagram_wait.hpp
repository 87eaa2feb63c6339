// SPDX-License-Identifier: MIT
// DatagramReceive, DatagramSend: what a task waits on at a datagram socket, and the state they
// share.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <string>
#include <utility>

#include "../../base/buffer.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../base/ref.hpp"
#include "../../kernel/operation.hpp"
#include "../address.hpp"
#include "message_wait.hpp"

namespace weft {

struct ReceivedDatagram;

namespace detail {

/// What `call()` answers when no signal interrupts it.
template <class Call>
int uninterrupted(Call call) {
    int result = 0;
    do {
        result = call();
    } while (result < 0 && errno == EINTR);
    return result;
}

class DatagramWait;

/// Shared by the Datagram and by whoever waits on it: the number is freed only when no operation
/// refers to it any more.
struct DatagramState : Counted<DatagramState> {
    explicit DatagramState(Fd fd) noexcept : socket(std::move(fd)) {}
    void end_waits() noexcept;
    /// A send to the connected peer has failed for the `times`-th time on end. True: it has been
    /// told the fate of an earlier datagram, which is kept for a receive, and is to be sent again.
    bool is_of_earlier(int error, int times) noexcept;

    Fd socket;
    Address peer;        // from where alone anything comes; empty where that is not sure
    int refusal = 0;     // errno that a send has met and that belongs to an earlier datagram
    bool asked = false;  // something was sent to the connected peer since the last receive
    IntrusiveList<DatagramWait, DatagramState> waiting;
};

/// A send or a receive. It is in its state's list from its start until its frame goes on.
class DatagramWait : public MessageWait, public ListNode<DatagramState> {
public:
    DatagramWait(OpCode op, DatagramState& of, void* data, std::size_t size,
                 int message_flags) noexcept
        : MessageWait(op, of.socket.get(), data, size, message_flags),
          state_(Ref<DatagramState>::to(of)) {}
    bool await_suspend(std::coroutine_handle<> handle) {
        state_->waiting.push_back(*this);
        return MessageWait::await_suspend(handle);
    }
    /// The Datagram goes: ends as if the number had been closed.
    void end() noexcept { task_->loop->cancel(static_cast<Operation&>(*this)); }

protected:
    ~DatagramWait() {
        if (ListNode<DatagramState>::linked()) ListNode<DatagramState>::unlink();
    }
    /// Without an address there is a shorter way into the kernel.
    void take_plainly(OpCode op) noexcept {
        code = op;
        address = part_.iov_base;
        length = transfer_length(part_.iov_len);
    }
    /// Throws:   std::system_error naming the call and the address.
    [[noreturn]] void fail(int error, const Address* to) const;

    Ref<DatagramState> state_;
};

class [[nodiscard]] [[gnu::warn_unused]] DatagramReceive final : public DatagramWait {
public:
    DatagramReceive(DatagramState& of, MutableBuffer into) noexcept
        // MSG_TRUNC: the result is what the datagram had, not what fitted.
        : DatagramWait(OpCode::recvmsg, of, into.data(), into.size(), MSG_TRUNC) {
        if (of.peer.size() > 0) {
            take_plainly(OpCode::recv);
        } else {
            message_.msg_name = from_.data();
            message_.msg_namelen = *from_.size_for_filling();
        }
        // (The answer takes a while: a try now would be a call for nothing.)
        expect_wait = std::exchange(of.asked, false);
    }
    bool await_ready() noexcept {
        if (state_->refusal == 0) [[likely]]
            return false;
        result = -std::exchange(state_->refusal, 0);
        return true;
    }
    ReceivedDatagram await_resume();

private:
    Address from_{Address::Unset()};
};

class [[nodiscard]] [[gnu::warn_unused]] DatagramSend final : public DatagramWait {
public:
    DatagramSend(DatagramState& of, ConstBuffer data, const Address* to) noexcept
        : DatagramWait(OpCode::sendmsg, of, const_cast<void*>(data.data()), data.size(), 0) {
        on_complete = &sent;
        if (to && to->size() == 0) [[unlikely]]
            to = nullptr;
        of.asked = !to;
        if (to) {
            to_ = *to;
            message_.msg_name = to_.data();
            message_.msg_namelen = to_.size();
        } else {
            take_plainly(OpCode::send);
        }
    }
    bool await_suspend(std::coroutine_handle<> handle) {
        if (DatagramWait::await_suspend(handle)) return true;
        while (goes_again()) {
            if (!task_->loop->start(*this)) {
                task_->waiting_on = this;
                return true;
            }
        }
        return false;
    }
    void await_resume() const {
        check_leftover();
        if (failed()) [[unlikely]]
            fail(-result, message_.msg_name ? &to_ : nullptr);
        checked();
    }

private:
    static void sent(Operation& op) noexcept {
        auto& self = static_cast<DatagramSend&>(op);
        while (self.goes_again()) [[unlikely]] {
                if (!self.task_->loop->start(self)) return;
            }
        self.task_->loop->wake(*self.task_);
    }
    bool goes_again() noexcept {
        return result < 0 && !message_.msg_name && is_of_earlier_datagram();
    }
    bool is_of_earlier_datagram() noexcept;

    Address to_{Address::Unset()};
    int failures_ = 0;
};

#if WEFT_BODIES
[[gnu::cold]] WEFT_INLINE void DatagramState::end_waits() noexcept {
    waiting.for_each([](DatagramWait& wait) { wait.end(); });
}

/// The object of an error: who it went to, or where the socket is; its number, where that has no
/// name.
[[gnu::cold]] inline std::string datagram_object(int fd, const Address* to) {
    const auto is_named = [](const Address& address) {
        const std::string name = address.to_string();
        return !name.empty() && name != "unix:";
    };
    if (to && is_named(*to)) return to->to_string();
    Address address;
    const auto found = [&](int (*call)(int, sockaddr*, socklen_t*)) {
        return call(fd, address.data(), address.size_for_filling()) == 0 && is_named(address);
    };
    if (found(&::getpeername) || found(&::getsockname)) return address.to_string();
    return fd_text("", fd).substr(1);
}

[[noreturn, gnu::cold]] WEFT_INLINE void DatagramWait::fail(int error, const Address* to) const {
    throw_system_error(error,
                       concat({name_of(code), " ", datagram_object(state_->socket.get(), to)}));
}

/// On a connected socket the kernel answers with the error that an ICMP message has brought for an
/// earlier datagram, and sends nothing.
[[gnu::cold]] WEFT_INLINE bool DatagramState::is_of_earlier(int error, int times) noexcept {
    constexpr int from_afar[] = {ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN,
                                 ENONET,       ENOPROTOOPT,  EPROTO,      EACCES};
    bool may_be = false;
    for (const int each : from_afar) may_be = may_be || error == each;
    if (!may_be) return false;
    constexpr int enough = 3;
    // One of this very call (no route, say) comes again and again, and is told here.
    refusal = times < enough ? error : 0;
    return times < enough;
}
[[gnu::cold]] WEFT_INLINE bool DatagramSend::is_of_earlier_datagram() noexcept {
    if (asked_ || !state_->is_of_earlier(-result, ++failures_)) return false;
    fd = state_->socket.get();
    return fd >= 0;
}
#endif

}  // namespace detail
}  // namespace weft
