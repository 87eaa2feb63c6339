// SPDX-License-Identifier: MIT
// serve: a server for as long as a block lasts, with everything that it has started.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "../base/config.hpp"
#include "../base/outcome.hpp"
#include "../base/ref.hpp"
#include "../task/coro.hpp"
#include "../task/task.hpp"
#include "detail/server_state.hpp"
#include "server.hpp"

#if WEFT_BODIES
#include "../base/error.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"
#include "detail/server_stop.hpp"
#endif

namespace weft {
namespace detail {

/// The end of a `serve`: in order after a body that has come to its end, and otherwise at once.
Coro<void> end_serving(Ref<ServerState> server, bool in_order, bool has_error);
/// The state behind a Server, which may be moved away, or go, while its body runs.
Ref<ServerState> state_of(const Server& server);

template <class Body, class... Args>
using ServeResult = typename CoroOfCall<Body&, Server&, Args...>::value_type;

}  // namespace detail

/// asyncio's `async with server`: runs `body(server, args...)`, a function that returns a Coro, and
/// then stops the server; nothing that it has started outlives the block. Starts a server that was
/// not started.
///
///     auto server = co_await weft::start_unix_server(&handle, path);
///     co_await weft::serve(std::move(server), [](weft::Server&) -> weft::Coro<void> {
///         co_await weft::wait_for_stop();
///     });
///
/// When the body ends the server is stopped as by `Server::shutdown` with ServerOptions::grace; a
/// body that throws, or is cancelled, has the handlers cancelled at once. A handler that throws is
/// reported through the loop's exception handler and ends neither the server nor the body.
/// Returns:  what the body returns.
/// Throws:   what the body throws; RuntimeError when the server is closed already; CancelledError.
/// Cancel:   cancels the body, or, when that has ended, the handlers, and waits for all of them.
/// Lifetime: `body` and `args` are kept; with g++ 12 name a lambda that captures by value first.
///           What handlers use is declared around the `serve`: the body's own is gone when it ends,
///           and handlers are not.
template <class Body, class... Args>
    requires detail::MakesCoroOf<Body&, Server&, Args...> Coro<detail::ServeResult<Body, Args...>>
    serve(Server server, Body body, Args... args) {
        using T = detail::ServeResult<Body, Args...>;
        const detail::Ref<detail::ServerState> state = detail::state_of(server);
        detail::Outcome<T> outcome;
        try {
            if (!server.is_serving()) server.start_serving();
            if constexpr (std::is_void_v<T>) {
                co_await body(server, std::move(args)...);
                outcome.set_value();
            } else {
                decltype(auto) value = co_await body(server, std::move(args)...);
                outcome.set_value(std::forward<decltype(value)>(value));
            }
        } catch (...) {
            outcome.set_current_exception();
        }
        co_await detail::end_serving(state, outcome.kind() == detail::OutcomeKind::value,
                                     outcome.kind() == detail::OutcomeKind::exception);
        co_return outcome.take();
    }

/// The same with a server of its own, which is that of `start_server(handler, host, port,
/// options)`.
/// Throws:   also what `start_server` throws; the body has not begun then.
template <class Handler, class Body, class... Args>
    requires detail::MakesCoroOf<Body&, Server&, Args...> Coro<detail::ServeResult<Body, Args...>>
    serve(Handler handler, std::string host, std::uint16_t port, ServerOptions options, Body body,
          Args... args) {
        Server server =
            co_await start_server(std::move(handler), std::move(host), port, std::move(options));
        co_return co_await serve(std::move(server), std::move(body), std::move(args)...);
    }
template <class Handler, class Body, class... Args>
    requires detail::MakesCoroOf<Body&, Server&, Args...> Coro<detail::ServeResult<Body, Args...>>
    serve(Handler handler, std::string host, std::uint16_t port, Body body, Args... args) {
        return serve(std::move(handler), std::move(host), port, ServerOptions(), std::move(body),
                     std::move(args)...);
    }
#if WEFT_BODIES
namespace detail {

[[gnu::cold]] WEFT_INLINE Ref<ServerState> state_of(const Server& server) {
    return ServerMaker::state(server);
}

[[gnu::cold]] WEFT_INLINE Coro<void> end_serving(Ref<ServerState> server, bool in_order,
                                                 bool has_error) {
    if (in_order) {
        server->begin_stop();
    } else {
        server->close();
        server->cancel_handlers();
    }
    std::optional<HandlersEnd> end;
    end.emplace(server, in_order ? server->grace : 0);
    std::exception_ptr cancelled;
    while (!server->all_ended.done()) {
        try {
            co_await server->all_ended.wait();
        } catch (const CancelledError&) {
            cancelled = std::current_exception();
        }
        if (!cancelled || server->cancels) continue;
        server->cancel_handlers();
        end.emplace(server, 0);
    }
    if (!cancelled) co_return;
    // (The error goes on instead, and the cancel strikes at the next suspension.)
    if (!has_error) std::rethrow_exception(cancelled);
    get_running_loop().current_task()->must_cancel = true;
}

}  // namespace detail
#endif

}  // namespace weft
