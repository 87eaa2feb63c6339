// SPDX-License-Identifier: MIT
// ServerState: a server's listening sockets and connections, and the tasks that accept.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <system_error>
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
#include "../../task/sleep.hpp"
#include "../../task/task.hpp"
#include "../address.hpp"
#include "../stream.hpp"
#include "operation_wait.hpp"
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

/// Shared by the Server, its accept tasks and its handlers. Of the loop's thread alone.
struct ServerState : Counted<ServerState> {
    struct Listener {
        Fd socket;
        Address address;
        UnixPath path;
        Task<void> accepting;
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
        if (stopping) [[unlikely]]
            end_reads_of_asker(stream.fd());
    }
    void connection_ended();
    /// An accept task is done, whether it ever ran or not.
    void accepting_ended(std::size_t index);
    void announce_end();

    /// Reads of the connections that there are find the end when they have read what there is.
    void end_reads() noexcept { shut(SHUT_RD); }
    /// The same for a connection from the backlog, if what it asks for has arrived already.
    static void end_reads_of_asker(int socket) noexcept;
    void close_clients() noexcept { shut(SHUT_RDWR); }
    void abort_clients() noexcept;
    void shut(int how) noexcept;
    void cancel_handlers() noexcept;

    Callback<Coro<void>(Stream)> handler;
    std::vector<Listener> listeners;
    IntrusiveList<StreamState, ServedTag> streams;
    IntrusiveList<Handling> handlers;  // those that have begun
    std::size_t connections = 0;       // whose handlers have not ended
    std::size_t accepting = 0;
    bool closed = false;
    bool stopping = false;   // in `shutdown`
    bool cancels = false;    // a handler that has not begun does not begin
    Future<void> all_ended;  // closed, and the last connection is gone

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

[[gnu::cold]] WEFT_INLINE ServerState::~ServerState() {
    // Streams that a handler has given away.
    streams.for_each([this](StreamState& stream) { streams.erase(stream); });
}

WEFT_INLINE void ServerState::connection_ended() {
    --connections;
    announce_end();
}
WEFT_INLINE void ServerState::accepting_ended(std::size_t index) {
    listeners[index].socket.reset();
    --accepting;
    announce_end();
}
// A cancelled accept may still win and bring one more connection: so both counts.
[[gnu::noinline]] WEFT_INLINE void ServerState::announce_end() {
    if (closed && accepting == 0 && connections == 0 && !all_ended.done()) {
        all_ended.set_result();
    }
}

inline Coro<void> serve_connection(Ref<ServerState> server, Stream stream) {
    if (server->cancels) co_return;
    const Handling here(*server);
    Coro<void> handling = server->handler(std::move(stream));
    co_await std::move(handling);
}

/// Out of descriptors or memory: the connection stays in the kernel's queue until there are some.
inline bool is_shortage(int error) noexcept {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}
/// The connection broke before it was accepted: accept(2) says to treat these like a retry.
inline bool is_lost_connection(int error) noexcept {
    return error == ECONNABORTED || error == EPROTO || error == EPERM || error == ENETDOWN ||
           error == ENOPROTOOPT || error == EHOSTDOWN || error == ENONET || error == EHOSTUNREACH ||
           error == EOPNOTSUPP || error == ENETUNREACH;
}

/// How it goes with a server's accepts.
struct AcceptTrouble {
    static constexpr int most_in_a_row = 16;

    void is_over() noexcept { *this = AcceptTrouble(); }

    int lost_in_a_row = 0;
    bool reported = false;
};

/// What a failed accept leads to: true, the pause of a server that is short of something, or that
/// loses one connection after the other (a filter may refuse every accept with an error that is
/// meant for one connection); false, the next try. Called in a catch block.
/// Throws:   the error again when it is neither.
[[gnu::cold, gnu::noinline]] inline bool accept_failed(int error, AcceptTrouble& trouble) {
    if (!is_shortage(error)) {
        if (!is_lost_connection(error)) throw;
        if (++trouble.lost_in_a_row <= AcceptTrouble::most_in_a_row) return false;
        trouble.lost_in_a_row = AcceptTrouble::most_in_a_row;
    }
    if (!std::exchange(trouble.reported, true)) {
        get_running_loop().call_exception_handler(
            {"a server cannot accept and tries again", std::current_exception(), {}});
    }
    return true;
}

/// Runs the handler for a new connection.
inline void serve(const Ref<ServerState>& server, Fd socket) {
    Stream stream(std::move(socket));
    server->adopt(stream);
    Task<void> serving =
        create_task(serve_connection(server, std::move(stream)), TaskOptions().eager(false));
    try {
        serving.add_done_callback([server](const AnyFuture&) { server->connection_ended(); })
            .run_in_the_end();
    } catch (...) {
        serving.cancel();  // nobody would count it
        throw;
    }
    ++server->connections;  // last: what is counted ends
}

/// Waits for a connection. From whom it is shows the stream.
class [[nodiscard]] ConnectionAwaiter final : public DescriptorWait {
public:
    explicit ConnectionAwaiter(int listener) noexcept : DescriptorWait(OpCode::accept) {
        fd = listener;
        offset = 0;
        expect_wait = true;
    }
    Fd await_resume() { return taken(); }
};

/// Serves those who wait already, up to a turn's share: with one a turn, the busier the server, the
/// longer the queue.
/// Returns:  whether there may be more.
inline bool serve_waiting(const Ref<ServerState>& server, int listener, AcceptTrouble& trouble) {
    constexpr int share = 256;
    for (int count = 0; count < share;) {
        Fd connection(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
        if (connection) {
            serve(server, std::move(connection));
            trouble.is_over();
            ++count;
        } else if (errno == EAGAIN) {
            return false;
        } else if (errno != EINTR) {
            throw_system_error(errno, fd_text("accept", listener));
        }
    }
    return true;
}

inline Coro<void> accept_connections(Ref<ServerState> server, std::size_t index) {
    constexpr std::chrono::milliseconds pause{50};
    const int listener = server->listeners[index].socket.get();
    bool more = false;
    AcceptTrouble trouble;
    for (;;) {
        bool short_of = false;
        try {
            if (more) {
                co_await yield();
            } else {
                serve(server, co_await ConnectionAwaiter(listener));
                trouble.is_over();
            }
            more = serve_waiting(server, listener, trouble);
        } catch (const std::system_error& error) {
            more = false;
            if (server->closed) co_return;
            short_of = accept_failed(error.code().value(), trouble);
        } catch (const std::bad_alloc&) {
            // For the connection, which is lost, or for the words of another error.
            if (server->closed) co_return;
            short_of = accept_failed(ENOMEM, trouble);
        }
        for (int turns = 1; short_of; turns *= 2) {
            try {
                co_await sleep(pause);
                short_of = false;
            } catch (const std::bad_alloc&) {
                // Not even for a timer: turns are counted instead, and to ask again gets rarer.
                if (turns > 512) turns = 512;
            }
            for (int turn = 0; short_of && turn < turns; ++turn) co_await yield();
        }
    }
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::close() {
    if (std::exchange(closed, true)) return;
    for (Listener& listener : listeners) {
        // Refuses from this moment on, although the accept that waits has still to end.
        if (listener.socket) ::shutdown(listener.socket.get(), SHUT_RDWR);
        if (listener.accepting) listener.accepting.cancel();  // (none: it could not be started)
        listener.path.remove();
    }
    announce_end();
}

// A connection's socket may be closed by now, and its number somebody else's.

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::shut(int how) noexcept {
    streams.for_each([how](StreamState& stream) {
        if (stream.fd) ::shutdown(stream.fd.get(), how);
    });
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::end_reads_of_asker(int socket) noexcept {
    char first;
    if (::recv(socket, &first, 1, MSG_PEEK | MSG_DONTWAIT) > 0) ::shutdown(socket, SHUT_RD);
}

/// TCP tells the peer at once when its socket is disconnected (RST), and when it is closed with
/// data that was not read or sent. A Unix socket has no such thing.
[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::abort_clients() noexcept {
    streams.for_each([](StreamState& stream) {
        if (!stream.fd) return;
        const linger at_once{1, 0};
        ::setsockopt(stream.fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        sockaddr nobody{};
        nobody.sa_family = AF_UNSPEC;
        if (::connect(stream.fd.get(), &nobody, sizeof nobody) != 0) {
            ::shutdown(stream.fd.get(), SHUT_RDWR);
        }
    });
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::cancel_handlers() noexcept {
    cancels = true;
    handlers.for_each([](Handling& handling) { handling.cancel(); });
}

[[gnu::cold]] inline Coro<void> wait_for_end(Ref<ServerState> server) {
    co_await server->all_ended.wait();
}

[[gnu::cold]] inline Coro<void> serve_until_cancelled(Ref<ServerState> server) {
    if (server->closed) throw_runtime_error("weft: serve_forever: the server is closed");
    std::exception_ptr cancelled;
    try {
        co_await server->all_ended.wait();
    } catch (const CancelledError&) {
        cancelled = std::current_exception();
    }
    if (!cancelled) co_return;
    server->close();
    co_await server->all_ended.wait();
    std::rethrow_exception(cancelled);
}

#endif

}  // namespace weft::detail
