// SPDX-License-Identifier: MIT
// How a server stops in order: backlog, idle readers, grace, cancel, abort.
#pragma once

#include <exception>
#include <optional>
#include <system_error>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/ref.hpp"
#include "../../runtime/loop.hpp"
#include "../../task/coro.hpp"
#include "listen.hpp"
#include "server_accept.hpp"
#include "server_state.hpp"

namespace weft::detail {

#if WEFT_BODIES
[[gnu::cold]] inline Coro<void> wait_for_end(Ref<ServerState> server) {
    co_await server->all_ended.wait();
}

[[gnu::cold]] inline Coro<void> serve_until_cancelled(Ref<ServerState> server) {
    if (server->closed) server->refuse_closed("serve_forever");
    start_serving(server);
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

/// Those who wait in the kernel for a listening socket, which would reset them when it closes.
[[gnu::cold, gnu::noinline]] inline void serve_backlog(const Ref<ServerState>& server) {
    AcceptTrouble trouble;
    for (const ServerState::Listener& listener : server->listeners) {
        if (!server->started) break;
        try {
            // While it is served others may come: no more than a few turns' shares.
            for (int shares = 0; shares < 4; ++shares) {
                if (!serve_waiting(server, listener.socket.get(), trouble)) break;
            }
        } catch (const std::system_error&) {
            // Those who are left cannot be served: there are no descriptors for them, say.
        }
    }
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void ServerState::begin_stop() {
    stopping = true;
    end_reads();
    if (!closed) serve_backlog(Ref<ServerState>::to(*this));
    close();
}

[[gnu::cold]] WEFT_INLINE void ServerState::LoopStops::told(StopWatch& watch) noexcept {
    const auto server = Ref<ServerState>::to(static_cast<LoopStops&>(watch).server);
    try {
        server->begin_stop();
    } catch (...) {
        // No memory for the backlog's tasks, or for the words of an error: they are refused.
        server->close();
    }
}

/// The timers of a shutdown, which go with its wait.
class HandlersEnd {
public:
    [[gnu::cold]] HandlersEnd(const Ref<ServerState>& server, Nanoseconds grace)
        : tell_(get_running_loop().call_later(std::chrono::nanoseconds(grace / 2),
                                              [server] {
                                                  server->end_upgrades();
                                                  server->end_reads();
                                              })),
          cancel_(get_running_loop().call_later(std::chrono::nanoseconds(grace),
                                                [server] { server->cancel_handlers(); })),
          abort_(get_running_loop().call_later(
              std::chrono::nanoseconds(std::min(grace, longest_delay - clean_up) + clean_up),
              [server] { server->abort_clients(); })) {}
    HandlersEnd(const HandlersEnd&) = delete;
    HandlersEnd& operator=(const HandlersEnd&) = delete;
    [[gnu::cold]] ~HandlersEnd() {
        tell_.cancel();
        cancel_.cancel();
        abort_.cancel();
    }

private:
    static constexpr Nanoseconds clean_up = 1'000'000'000;

    TimerHandle tell_;  // those from the backlog who had not asked for anything
    TimerHandle cancel_;
    TimerHandle abort_;
};

[[gnu::cold]] inline Coro<void> shut_down(Ref<ServerState> server, Nanoseconds grace) {
    const TaskCore* const self = get_running_loop().current_task();
    server->handlers.for_each([self](const Handling& handling) {
        if (handling.is_of(self)) {
            throw_runtime_error(
                "weft: a handler cannot wait for its own end: start shutdown as a "
                "task");
        }
    });
    server->begin_stop();
    std::optional<HandlersEnd> end;
    end.emplace(server, grace);
    std::exception_ptr cancelled;
    try {
        co_await server->all_ended.wait();
    } catch (const CancelledError&) {
        cancelled = std::current_exception();
    }
    if (!cancelled) co_return;
    server->cancel_handlers();
    end.emplace(server, 0);
    co_await server->all_ended.wait();
    std::rethrow_exception(cancelled);
}
#endif

}  // namespace weft::detail
