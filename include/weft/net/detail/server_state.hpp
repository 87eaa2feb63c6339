// SPDX-License-Identifier: MIT
// ServerState: a server's listening sockets and connections, and how they end.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>
#include <vector>

#include "../../base/callback.hpp"
#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/fd.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../base/ref.hpp"
#include "../../base/std_parts.hpp"
#include "../../runtime/graceful_stop.hpp"
#include "../../runtime/handle.hpp"
#include "../../runtime/loop.hpp"
#include "../../task/coro.hpp"
#include "../../task/future.hpp"
#include "../../task/task.hpp"
#include "../address.hpp"
#include "../stream.hpp"
#include "connection_upgrade.hpp"
#include "unix_path.hpp"

namespace weft::detail {

struct ServerState;

/// A handler that runs. In the frame of the coroutine around it.
class Handling : public ListNode<> {
public:
    explicit Handling(ServerState& server) noexcept;
    ~Handling() { unlink(); }

    void cancel() noexcept { task_->loop->cancel(*task_, "the server stops"); }
    bool is_of(const TaskCore* task) const noexcept { return task_ == task; }

private:
    TaskCore* task_;
};

struct UpgradeTag {};

/// A connection that is not what its handler is to get yet, and in no list of streams: nobody but
/// its upgrade knows what may be done to it. Ended by a cancel.
class Upgrading : public ListNode<UpgradeTag> {
public:
    Upgrading(ServerState& server, Stream& plain) noexcept;
    ~Upgrading() { unlink(); }
    void cancel() noexcept { task_->loop->cancel(*task_, "the server ends its connections"); }

private:
    TaskCore* task_;
};

/// Shared by the Server, its accept tasks and its handlers. Of the loop's thread alone.
struct ServerState : Counted<ServerState> {
    struct Listener {
        Fd socket;
        Address address;
        UnixPath path;
        Task<void> accepting;
        bool is_lent = false;  // others may hold the same socket: it is closed and not shut down
    };

    ~ServerState();

    /// Takes no more connections.
    void close();
    /// The first half of a graceful stop: serves the backlog, takes no more connections, and tells
    /// idle readers. Idempotent.
    void begin_stop();
    /// A new connection is the server's until its socket is closed, whoever has the stream then.
    void adopt(Stream& stream) noexcept {
        streams.push_back(*stream.state_);
        if (stopping && !upgrade && !handlers_know) [[unlikely]]
            end_reads_of_asker(stream.fd());
    }
    static void give_up(Stream& stream) noexcept { stream.state_->unlink(); }
    /// The same for what an upgrade has made of one.
    void adopt_upgraded(Stream& stream) noexcept {
        if (!stream.state_->linked()) streams.push_back(*stream.state_);
    }
    /// No handler is to begin before another one has ended.
    bool is_full() const noexcept { return limit != 0 && connections >= limit; }
    void connection_ended();
    /// What a server that is full waits for; shared by its accept tasks.
    Future<void> next_room() {
        if (!room || room.done()) room = get_running_loop().create_future<void>();
        return room;
    }
    /// Handlers begin for those who were accepted when there was no room for them.
    void serve_held() noexcept;
    /// An accept task is over, see Accepting.
    void accepting_ended(std::size_t index);
    void announce_end();
    [[noreturn, gnu::cold]] void refuse_closed(const char* call) const;

    /// Reads of the connections that there are find the end when they have read what there is.
    void end_reads() noexcept {
        if (!handlers_know) shut(SHUT_RD);
    }
    void end_upgrades() noexcept;
    /// The same for a connection from the backlog, if what it asks for has arrived already.
    static void end_reads_of_asker(int socket) noexcept;
    void close_clients() noexcept {
        held.clear();
        end_upgrades();
        shut(SHUT_RDWR);
    }
    void abort_clients() noexcept;
    void shut(int how) noexcept;
    /// Once: a second cancel would cut short what they do about the first.
    void cancel_handlers() noexcept;

    Callback<Coro<void>(Stream)> handler;
    /// What each connection goes through before its handler gets it (a handshake), in the handler's
    /// own task: a slow one keeps nobody waiting. Empty for plain sockets.
    ConnectionUpgrade upgrade;
    std::vector<Listener> listeners;
    std::vector<Fd> held;  // out of the backlog of a server that stops and is full
    IntrusiveList<StreamState, ServedTag> streams;
    IntrusiveList<Handling> handlers;  // those that have begun
    IntrusiveList<Upgrading, UpgradeTag> upgrades;
    std::size_t connections = 0;  // whose handlers have not ended
    std::size_t accepting = 0;
    std::size_t limit = 0;  // of connections; 0: none
    Nanoseconds grace = 0;  // of a stop that names none
    int backlog = 0;
    bool started = false;
    bool closed = false;
    bool stopping = false;       // in `shutdown`
    bool handlers_know = false;  // of a stop: their connections are not told
    bool cancels = false;        // a handler that has not begun does not begin
    Future<void> all_ended;      // closed, and the last connection is gone
    Future<void> room;           // a connection ends; what a server that is full waits for

    /// The loop is asked to stop gracefully (`request_stop`, a stop signal).
    struct LoopStops final : StopWatch {
        explicit LoopStops(ServerState& of) noexcept : StopWatch(&told), server(of) {}
        static void told(StopWatch& watch) noexcept;
        ServerState& server;
    };
    LoopStops loop_stops{*this};
};

#if WEFT_BODIES
inline Handling::Handling(ServerState& server) noexcept : task_(get_running_loop().current_task()) {
    server.handlers.push_back(*this);
}

inline Upgrading::Upgrading(ServerState& server, Stream& plain) noexcept
    : task_(get_running_loop().current_task()) {
    ServerState::give_up(plain);
    server.upgrades.push_back(*this);
}

[[gnu::cold]] WEFT_INLINE ServerState::~ServerState() {
    // Streams that a handler has given away.
    streams.for_each([this](StreamState& stream) { streams.erase(stream); });
}

WEFT_INLINE void ServerState::connection_ended() {
    --connections;
    if (limit != 0) [[unlikely]] {
        if (room && !room.done()) room.set_result();
        serve_held();
    }
    announce_end();
}
WEFT_INLINE void ServerState::accepting_ended(std::size_t index) {
    listeners[index].socket.reset();
    --accepting;
    announce_end();
}
// A cancelled accept may still win and bring one more connection: so both counts.
[[gnu::noinline]] WEFT_INLINE void ServerState::announce_end() {
    if (closed && accepting == 0 && connections == 0 && held.empty() && !all_ended.done()) {
        all_ended.set_result();
    }
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::refuse_closed(const char* call) const {
    throw_runtime_error({"weft: ", call, ": the server ",
                         listeners.empty() ? std::string() : listeners[0].address.to_string(),
                         " is closed"});
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::close() {
    if (std::exchange(closed, true)) return;
    for (Listener& listener : listeners) {
        // Refuses from this moment on, although the accept that waits has still to end.
        if (listener.socket && !listener.is_lent) ::shutdown(listener.socket.get(), SHUT_RDWR);
        if (listener.accepting) {
            listener.accepting.cancel();
        } else {
            listener.socket.reset();
        }
        listener.path.remove();
    }
    announce_end();
}

// A connection's socket may be closed by now, and its number somebody else's.

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::shut(int how) noexcept {
    streams.for_each([this, how](StreamState& stream) {
        if (stream.is_closed()) return;
        if (stream.carrier && how == SHUT_RD) {
            stream.carrier->transport->end_reads();
        } else if (stream.carrier) {
            stream.carrier->transport->end_both();
        } else if (upgrade && how == SHUT_RD) {
            // It has not begun what has to come first: that reads.
        } else {
            ::shutdown(stream.fd.get(), how);
        }
    });
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::end_upgrades() noexcept {
    upgrades.for_each([](Upgrading& one) { one.cancel(); });
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::end_reads_of_asker(int socket) noexcept {
    char first;
    if (::recv(socket, &first, 1, MSG_PEEK | MSG_DONTWAIT) > 0) ::shutdown(socket, SHUT_RD);
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::abort_clients() noexcept {
    held.clear();
    end_upgrades();
    streams.for_each([](StreamState& stream) {
        if (stream.fd) {
            reset_connection(stream.fd.get());
        } else if (stream.carrier) {
            stream.abort();
        }
    });
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::cancel_handlers() noexcept {
    if (std::exchange(cancels, true)) return;
    held.clear();
    handlers.for_each([](Handling& handling) { handling.cancel(); });
}
#endif

}  // namespace weft::detail
