// SPDX-License-Identifier: MIT
// How a server takes its connections, and what becomes of one that was accepted.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../base/ref.hpp"
#include "../../runtime/loop.hpp"
#include "../../task/coro.hpp"
#include "../../task/sleep.hpp"
#include "../../task/task.hpp"
#include "../io.hpp"
#include "../operation_wait.hpp"
#include "../stream.hpp"
#include "server_state.hpp"

namespace weft::detail {

#if WEFT_BODIES
/// A stop lets it come to its end, until half of the grace is over.
[[gnu::cold]] inline Coro<Stream> upgraded(Ref<ServerState> server, Stream plain) {
    const Upgrading here(*server, plain);
    Stream stream = co_await server->upgrade(std::move(plain));
    co_return std::move(stream);
}

[[gnu::cold]] WEFT_INLINE Coro<void> upgrade_and_handle(Ref<ServerState> server, Stream plain) {
    Stream stream = co_await upgraded(server, std::move(plain));
    server->adopt_upgraded(stream);
    co_await server->handler(std::move(stream));
}

/// A connection that counts until its task has gone: also where that never begins, or is destroyed.
/// (In the task's frame; a done-callback would be a block of its own for each connection.)
class Counting {
public:
    explicit Counting(const Ref<ServerState>& server) noexcept : server_(server) {
        ++server_->connections;
    }
    Counting(Counting&& other) noexcept = default;
    Counting& operator=(Counting&& other) = delete;
    ~Counting() {
        if (server_) server_->connection_ended();
    }
    const Ref<ServerState>& server() const noexcept { return server_; }

private:
    Ref<ServerState> server_;
};

/// Nobody holds a handler's task, and what it throws says nothing of the server. In a catch block.
[[gnu::cold, gnu::noinline]] inline void report_handler(const ServerState& server) {
    const std::string at =
        server.listeners.empty() ? "?" : server.listeners.front().address.to_string();
    const std::string what = concat({"a handler failed, of the server at ", at});
    get_running_loop().call_exception_handler(
        {what, std::current_exception(), std::string(current_task().name())});
}

inline Coro<void> serve_connection(Counting counting, Stream stream) {
    const Ref<ServerState>& server = counting.server();
    if (server->cancels) co_return;
    const Handling here(*server);
    try {
        Coro<void> handling = server->upgrade ? server->upgrade.run()(server, std::move(stream))
                                              : server->handler(std::move(stream));
        co_await std::move(handling);
    } catch (const CancelledError&) {
        throw;
    } catch (...) {
        report_handler(*server);
    }
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

/// What a failed accept leads to. (A server that loses one connection after the other pauses: a
/// filter may refuse every accept with an error that is meant for one connection.)
enum class AfterAccept : std::uint8_t { tries_again, pauses, gives_up };

/// Called in a catch block.
[[gnu::cold, gnu::noinline]] inline AfterAccept accept_failed(int error, AcceptTrouble& trouble) {
    AfterAccept next = AfterAccept::pauses;
    if (!is_shortage(error)) {
        // (Others who hold the socket have shut it down, say.)
        if (!is_lost_connection(error)) next = AfterAccept::gives_up;
        if (next != AfterAccept::gives_up) {
            if (++trouble.lost_in_a_row <= AcceptTrouble::most_in_a_row)
                return AfterAccept::tries_again;
            trouble.lost_in_a_row = AcceptTrouble::most_in_a_row;
        }
    }
    if (!std::exchange(trouble.reported, true) || next == AfterAccept::gives_up) {
        const char* const what = next == AfterAccept::pauses
                                     ? "a server cannot accept and tries again"
                                     : "a server cannot accept any more";
        get_running_loop().call_exception_handler({what, std::current_exception(), {}});
    }
    return next;
}

/// The one place where an accepted socket becomes a Stream: runs the handler for it.
[[gnu::noinline]] inline void serve(const Ref<ServerState>& server, Fd socket) {
    Stream stream = socket_stream(std::move(socket));
    server->adopt(stream);
    const Task<void> serving =
        begin_queued(get_running_loop(), serve_connection(Counting(server), std::move(stream)));
}

/// Waits for a connection. From whom it is shows the stream.
class [[nodiscard]] ConnectionAwaiter final : public DescriptorWait {
public:
    /// `leaves_it`: it stays in the kernel's queue, and nothing is taken.
    ConnectionAwaiter(int listener, bool leaves_it) noexcept
        : DescriptorWait(leaves_it ? OpCode::poll : OpCode::accept) {
        fd = listener;
        offset = 0;
        flags = leaves_it ? POLLIN : 0;
        expect_wait = !leaves_it;
    }
    ~ConnectionAwaiter() {
        if (code == OpCode::poll) result = -EBADF;  // what held, and no descriptor
    }
    Fd await_resume() {
        if (code == OpCode::accept) [[likely]]
            return taken();
        checked();
        return Fd();
    }
};

/// Serves those who wait already, up to a turn's share: with one a turn, the busier the server, the
/// longer the queue. A server that is full leaves them where they are; one that stops, and is about
/// to close that queue, takes them and serves them one after the other.
/// Returns:  whether there may be more.
inline bool serve_waiting(const Ref<ServerState>& server, int listener, AcceptTrouble& trouble) {
    constexpr int share = 256;
    for (int count = 0; count < share;) {
        const bool full = server->is_full();
        if (full && !server->stopping) break;
        Fd connection = not_standard(Fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC)));
        if (connection) {
            if (full) {
                server->held.push_back(std::move(connection));
            } else {
                serve(server, std::move(connection));
            }
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

/// What an accept task holds until its frame has gone, whether it ever ran or not. (A done-callback
/// would do, at a kilobyte and a half in each program with a server.)
class Accepting {
public:
    Accepting(const Ref<ServerState>& server, std::size_t index) noexcept
        : server_(server), index_(index) {
        ++server_->accepting;
    }
    Accepting(Accepting&& other) noexcept = default;
    Accepting& operator=(Accepting&& other) = delete;
    ~Accepting() {
        if (server_) server_->accepting_ended(index_);
    }
    const Ref<ServerState>& server() const noexcept { return server_; }
    int listener() const noexcept { return server_->listeners[index_].socket.get(); }

private:
    Ref<ServerState> server_;
    std::size_t index_;
};

[[gnu::cold]] inline Coro<void> accept_connections(Accepting accepting) {
    const Ref<ServerState>& server = accepting.server();
    constexpr std::chrono::milliseconds pause{50};
    constexpr int most_turns = 512;
    const int listener = accepting.listener();
    AcceptTrouble trouble;
    bool short_of = false;  // of descriptors or memory: a pause comes first
    bool more = false;      // others wait than those who were served
    int turns = 0;          // to pass before anything else
    int turns_for_pause = 0;
    for (;;) {
        for (; turns > 0; --turns) co_await yield();
        try {
            if (short_of) {
                co_await sleep(pause);
                short_of = false;
                turns_for_pause = 0;
            }
            if (server->is_full()) {
                Future<void> room = server->next_room();
                co_await room.wait();
            } else if (!more) {
                // With a limit, an accept in the kernel would take one more than there is room for.
                Fd first = co_await ConnectionAwaiter(listener, server->limit != 0);
                if (first) {
                    trouble.is_over();
                    serve(server, std::move(first));
                }
            }
            more = serve_waiting(server, listener, trouble);
            turns = more;
        } catch (const std::system_error& error) {
            more = false;
            if (server->closed) co_return;
            const AfterAccept next = accept_failed(error.code().value(), trouble);
            if (next == AfterAccept::gives_up) {
                // (Of the last one: nobody would be served any more, and nobody would know.)
                if (server->accepting == 1) server->close();
                co_return;
            }
            short_of = next == AfterAccept::pauses;
        } catch (const std::bad_alloc&) {
            more = false;
            if (server->closed) co_return;
            // For the connection, which is lost, or for the words of another error; or not even for
            // a timer: then turns are counted instead, and to ask again gets rarer.
            if (short_of) turns = turns_for_pause = std::min(2 * turns_for_pause + 1, most_turns);
            short_of = accept_failed(ENOMEM, trouble) == AfterAccept::pauses;
        }
    }
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::serve_held() noexcept {
    const auto self = Ref<ServerState>::to(*this);
    while (!held.empty() && !is_full()) {
        Fd connection = std::move(held.front());
        held.erase(held.begin());
        try {
            serve(self, std::move(connection));
        } catch (...) {
            // No memory, or the loop is closing: the connection is lost.
        }
    }
}

[[gnu::cold, gnu::noinline]] inline void start_accepting(const Ref<ServerState>& state) {
    state->started = true;
    const std::string name = "accept";
    for (std::size_t index = 0; index < state->listeners.size(); ++index) {
        state->listeners[index].accepting =
            begin_queued(get_running_loop(), accept_connections(Accepting(state, index)), &name);
    }
}
#endif

}  // namespace weft::detail
