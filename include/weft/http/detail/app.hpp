// SPDX-License-Identifier: MIT
// App: what the connections of an HTTP server share.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../base/ref.hpp"
#include "../../net/stream.hpp"
#include "../../runtime/graceful_stop.hpp"
#include "../../task/coro.hpp"
#include "../router.hpp"
#include "../server_options.hpp"
#include "message_head.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include "../../runtime/loop.hpp"
#endif

namespace weft::http::detail {

class Connection;

struct App : weft::detail::Counted<App> {
    App(Router routes, ServerOptions told)
        : router(std::move(routes)), options(std::move(told)), loop_stops(*this) {
        check_options();
    }

    /// Of the loop that runs: a graceful stop is told to us.
    void listen_to_stop();
    /// Connections that wait for a request end; the others with the one that they have.
    void stop() noexcept;
    ParserLimits parser_limits() const noexcept {
        ParserLimits limits;
        limits.head = options.max_head;
        limits.target = options.max_target;
        limits.fields = options.max_fields;
        return limits;
    }
    /// Throws:   std::invalid_argument for one that is negative.
    void check_options() const;
    void report(const std::string& what, std::exception_ptr why) const;

    struct LoopStops final : weft::detail::StopWatch {
        explicit LoopStops(App& of) noexcept : StopWatch(&told), app(of) {}
        static void told(StopWatch& watch) noexcept { static_cast<LoopStops&>(watch).app.stop(); }
        App& app;
    };

    Router router;
    ServerOptions options;
    weft::detail::IntrusiveList<weft::detail::ListNode<>> connections;
    bool stopping = false;
    LoopStops loop_stops;
};

Coro<void> serve_stream(weft::detail::Ref<App> app, Stream stream);

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
WEFT_INLINE void App::listen_to_stop() {
    weft::detail::GracefulStop& stop = get_running_loop().graceful_stop();
    if (stop.requested()) {
        stopping = true;
    } else if (!loop_stops.linked()) {
        stop.add(loop_stops);
    }
}

WEFT_INLINE void App::check_options() const {
    using weft::detail::refuse_negative;
    refuse_negative(options.head_timeout, "weft: http::ServerOptions: a negative head_timeout");
    refuse_negative(options.idle_timeout, "weft: http::ServerOptions: a negative idle_timeout");
    refuse_negative(options.body_timeout, "weft: http::ServerOptions: a negative body_timeout");
    refuse_negative(options.write_timeout, "weft: http::ServerOptions: a negative write_timeout");
    refuse_negative(options.handler_timeout,
                    "weft: http::ServerOptions: a negative handler_timeout");
}

WEFT_INLINE void App::report(const std::string& what, std::exception_ptr why) const {
    ExceptionContext context;
    context.message = what;
    context.exception = std::move(why);
    if (options.on_error) {
        options.on_error(context);
    } else {
        get_running_loop().call_exception_handler(context);
    }
}
#endif

}  // namespace weft::http::detail
