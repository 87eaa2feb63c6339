// SPDX-License-Identifier: MIT
// Datagram: a socket whose messages arrive whole or not at all: UDP, or Unix datagrams.
#pragma once

#include <sys/socket.h>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "../base/buffer.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "../base/intrusive_list.hpp"
#include "../base/ref.hpp"
#include "../task/coro.hpp"
#include "address.hpp"
#include "detail/message_wait.hpp"

namespace weft {
namespace detail {
struct DatagramState;
class DatagramReceive;
class DatagramSend;
}  // namespace detail

/// How a datagram socket is made.
struct DatagramOptions {
    bool reuse_address = false;  ///< SO_REUSEADDR: several sockets share a multicast port
    bool reuse_port = false;     ///< SO_REUSEPORT: the kernel spreads senders over the sockets
    bool broadcast = false;      ///< SO_BROADCAST: may send to broadcast addresses
    bool v6_only = false;        ///< IPV6_V6ONLY: a socket on :: does not take IPv4 as well
    int receive_buffer = 0;      ///< SO_RCVBUF in bytes; 0: the system's default
    int send_buffer = 0;         ///< SO_SNDBUF in bytes; 0: the system's default
};

/// What a receive has brought.
struct ReceivedDatagram {
    // User-provided: g++ 12 destroys aggregate temporaries of awaiting expressions twice.
    ReceivedDatagram() noexcept {}
    ReceivedDatagram(std::size_t whole, std::size_t room, const Address& sender) noexcept
        : size(whole < room ? whole : room), length(whole), from(sender) {}

    std::size_t size = 0;    ///< bytes in the buffer
    std::size_t length = 0;  ///< bytes that the datagram had
    Address from;            ///< without a path for an unnamed Unix socket
    /// The buffer was too small: what did not fit is lost.
    bool truncated() const noexcept { return length > size; }
};

/// A datagram socket. Any number of tasks may send; receives are served in the order in which they
/// began, a datagram each.
///
/// On a connected UDP socket the kernel tells of an earlier datagram that nobody wanted (an ICMP
/// "port unreachable") with whatever call comes next. Here such a refusal is told to a receive
/// alone: the one that waits, or the next one. A send is about its own datagram: it is sent, even
/// if an earlier one was refused.
/// Throws:   RuntimeError once it was moved from, from everything but `is_closed`.
/// Thread:   loop thread only.
class Datagram {
public:
    /// Takes over a datagram socket.
    explicit Datagram(Fd socket);
    /// A socket that receives at `local` (port 0: one of the kernel's choice).
    /// Throws:   std::system_error (socket, setsockopt, bind ADDRESS).
    static Datagram bind(const Address& local, const DatagramOptions& options = {});
    /// A socket that sends to `peer` and receives from there alone. Nothing is sent yet.
    /// Throws:   std::system_error (socket, setsockopt, connect ADDRESS).
    static Datagram connect(const Address& peer, const DatagramOptions& options = {});
    /// Two Unix datagram sockets that are connected to each other.
    static std::pair<Datagram, Datagram> pair();

    Datagram(Datagram&&) noexcept;
    Datagram& operator=(Datagram&&) noexcept;
    /// Ends waiting sends and receives (ECANCELED) and closes.
    ~Datagram();

    /// Receives the next datagram; what does not fit into `buffer` is lost, and told.
    /// Throws:   std::system_error (recvmsg; ECONNREFUSED: the connected peer did not want an
    ///           earlier datagram of ours); CancelledError.
    /// Cancel:   lossless: a datagram is returned or none was taken.
    /// Lifetime: `buffer` outlives the await, a cancelled one included.
    /// Source:   recvmsg(2) with MSG_TRUNC; IORING_OP_RECVMSG, Linux 5.3.
    detail::DatagramReceive receive_from(MutableBuffer buffer);
    /// The same when there is one already; empty: there is none.
    std::optional<ReceivedDatagram> try_receive_from(MutableBuffer buffer);

    /// Sends `data` as one datagram to the connected peer; suspends while the socket has no room.
    /// Throws:   std::system_error (sendmsg; EMSGSIZE: too long; EDESTADDRREQ: not connected);
    ///           CancelledError.
    /// Cancel:   lossless: sent whole, or not at all.
    /// Lifetime: `data` outlives the await, a cancelled one included.
    /// Source:   sendmsg(2); IORING_OP_SENDMSG, Linux 5.3.
    detail::DatagramSend send(ConstBuffer data);
    /// The same to `to`, which is copied.
    detail::DatagramSend send_to(ConstBuffer data, const Address& to);

    /// One place of a batch: where a datagram goes, and what it was.
    struct Slot {
        explicit Slot(MutableBuffer into) noexcept : buffer(into) {}
        MutableBuffer buffer;
        ReceivedDatagram received;
    };
    /// One datagram of a batch that is sent.
    struct Message {
        Message(ConstBuffer bytes, const Address& destination) noexcept
            : data(bytes), to(destination) {}
        ConstBuffer data;
        Address to;  ///< an empty Address: the connected peer
    };
    /// Receives as many datagrams as there are, at least one and `slots.size()` at most, in a
    /// single call: for servers with many small ones.
    /// Returns:  how many slots were filled, from the first on.
    /// Throws, Cancel: like `receive_from`.
    /// Lifetime: the slots, their buffers and this Datagram outlive the await.
    /// Source:   recvmmsg(2) after a wait for readiness, on both backends.
    Coro<std::size_t> receive_batch(std::span<Slot> slots);
    /// Sends all of `messages`, many in a call.
    /// Throws:   std::system_error (sendmmsg): those before it are sent; CancelledError.
    /// Cancel:   those that the kernel has taken are sent.
    /// Returns:  how many were sent: all of them.
    /// Source:   sendmmsg(2) after a wait for readiness, on both backends.
    Coro<std::size_t> send_batch(std::span<const Message> messages);

    /// Receives what is sent to `group` too. `interface`: a name ("eth0") or empty for the
    /// system's choice.
    /// Throws:   std::system_error (setsockopt GROUP; ENODEV: no such interface).
    /// Source:   IP_ADD_MEMBERSHIP, ip(7); IPV6_JOIN_GROUP, ipv6(7).
    void join_group(const Address& group, const std::string& interface = {});
    void leave_group(const Address& group, const std::string& interface = {});
    /// How far multicast datagrams go (1: this network), whether this host gets them too, and by
    /// which interface they leave (a name; empty: as routed).
    void set_multicast(int hops, bool loopback = true, const std::string& interface = {});

    /// From now on `send` goes to `peer`, and only what comes from there is received.
    void connect_to(const Address& peer);
    /// Ends waiting sends and receives (ECANCELED) and closes. Idempotent.
    /// Cancel:   runs to its end all the same.
    Coro<void> close();
    bool is_closed() const noexcept;
    Address local_address() const { return Address::of_socket(fd()); }
    /// Throws:   std::system_error (getpeername; ENOTCONN when it is not connected).
    Address peer_address() const { return Address::of_peer(fd()); }
    /// For socket options and low-level operations.
    int fd() const;

private:
    detail::DatagramState& state() const;

    detail::Ref<detail::DatagramState> state_;
};

/// Looks `host` up and binds to the first of its addresses that can be had. An empty host: all of
/// this machine's (IPv6 and IPv4 alike where there is IPv6).
/// Throws:   std::system_error (getaddrinfo; socket, bind: of the last address); CancelledError.
Coro<Datagram> bind_datagram(std::string host, std::uint16_t port, DatagramOptions options = {});
/// Looks `host` up and connects to the first of its addresses that has a route.
/// Throws:   std::system_error (getaddrinfo; connect: of the last address); CancelledError.
Coro<Datagram> connect_datagram(std::string host, std::uint16_t port, DatagramOptions options = {});

namespace detail {

class DatagramWait;

/// Shared by the Datagram and by whoever waits on it: the number is freed only when no operation
/// refers to it any more.
struct DatagramState : Counted<DatagramState> {
    explicit DatagramState(Fd fd) noexcept : socket(std::move(fd)) {}
    void end_waits() noexcept;

    Fd socket;
    int refusal = 0;  // errno that a send has met and that belongs to an earlier datagram
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
    /// Throws:   std::system_error naming the call and the address.
    [[noreturn]] void fail(int error, const Address* to) const;

    Ref<DatagramState> state_;
};

class [[nodiscard]] [[gnu::warn_unused]] DatagramReceive final : public DatagramWait {
public:
    DatagramReceive(DatagramState& of, MutableBuffer into) noexcept
        // MSG_TRUNC: the result is what the datagram had, not what fitted.
        : DatagramWait(OpCode::recvmsg, of, into.data(), into.size(), MSG_TRUNC) {
        message_.msg_name = from_.data();
        message_.msg_namelen = *from_.size_for_filling();
    }
    bool await_ready() noexcept {
        if (state_->refusal == 0) [[likely]]
            return false;
        result = -std::exchange(state_->refusal, 0);
        return true;
    }
    ReceivedDatagram await_resume() const {
        if (failed()) [[unlikely]]
            fail(-result, nullptr);
        return ReceivedDatagram(transferred(), part_.iov_len,
                                Address::from(from_.data(), message_.msg_namelen));
    }

private:
    Address from_;
};

class [[nodiscard]] [[gnu::warn_unused]] DatagramSend final : public DatagramWait {
public:
    DatagramSend(DatagramState& of, ConstBuffer data, const Address* to) noexcept
        : DatagramWait(OpCode::sendmsg, of, const_cast<void*>(data.data()), data.size(), 0) {
        on_complete = &sent;
        if (!to) return;
        to_ = *to;
        message_.msg_name = to_.data();
        message_.msg_namelen = to_.size();
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

    Address to_;
    int tries_left_ = 2;
};

}  // namespace detail

inline detail::DatagramReceive Datagram::receive_from(MutableBuffer buffer) {
    return detail::DatagramReceive(state(), buffer);
}
inline detail::DatagramSend Datagram::send(ConstBuffer data) {
    return detail::DatagramSend(state(), data, nullptr);
}
inline detail::DatagramSend Datagram::send_to(ConstBuffer data, const Address& to) {
    return detail::DatagramSend(state(), data, &to);
}

}  // namespace weft

#if WEFT_BODIES
#include "detail/datagram_bodies.hpp"
#endif
