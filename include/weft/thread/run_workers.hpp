// SPDX-License-Identifier: MIT
// run_workers: a loop for each core, each on a thread of its own; one stop and one signal for all.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "../base/config.hpp"
#include "../base/options.hpp"
#include "../task/coro.hpp"
#include "detail/worker.hpp"
#if WEFT_BODIES
#include "../task/run.hpp"
#include "detail/workers.hpp"
#endif

namespace weft {

namespace detail {
void run_workers(std::size_t count, MakeWorkerMain make, WorkersOptions options);
}  // namespace detail

/// Runs `main(worker)`, or `main()`, on `count` loops at the same time, each on a thread of its own
/// (0: one for each core that the process may use), and returns when all have ended. Each has a
/// copy of `main`. The calling thread waits, and sees to signals. It is `weft::run` for servers:
///
///     weft::WorkersOptions options;
///     options.run.stop_signal = SIGTERM;
///     weft::run_workers(0, [](weft::Worker) -> weft::Coro<void> {
///         weft::ServerOptions shared;
///         shared.reuse_port = true;  // the kernel spreads connections over the workers
///         weft::Server server = co_await weft::start_server(&handle, "", 8080, shared);
///         co_await weft::wait_for_stop();
///         co_await server.shutdown(5s);
///     }, options);
///
/// Loops share nothing: a task, a future, a primitive or a stream stays with the worker that made
/// it. What passes between them is a ThreadChannel, `Remote::spawn`, and what is made for threads.
///
/// - A graceful stop is one for all: `RunOptions::stop_signal`, and `request_stop()` in any of
/// them.
/// - Ctrl-C, a second stop signal and the end of the grace cancel the main of each.
/// - The first one that fails cancels the others; when all have cleaned up, its exception is
/// thrown.
///   Failures that come after it go to the exception handler.
/// - One that returns leaves the others alone.
/// Throws:   what a worker's main throws; KeyboardInterrupt, StoppedBySignal; RuntimeError when a
///           loop runs on this thread; std::system_error (pthread_create; no backend).
template <class Main>
void run_workers(std::size_t count, Main main, WorkersOptions options = {}) {
    static_assert(std::is_copy_constructible_v<Main>, "weft: each worker has a copy of its main");
    static_assert(
        std::is_invocable_r_v<Coro<void>, Main&, Worker> ||
            std::is_invocable_r_v<Coro<void>, Main&>,
        "weft: the main of a worker takes a weft::Worker, or nothing, and returns a Coro<void>");
    auto make = [main = std::move(main)]() -> detail::WorkerMain {
        return detail::WorkerMain([main](Worker worker) mutable -> Coro<void> {
            if constexpr (std::is_invocable_r_v<Coro<void>, Main&, Worker>) {
                return main(worker);
            } else {
                static_cast<void>(worker);
                return main();
            }
        });
    };
    detail::run_workers(count, std::move(make), std::move(options));
}

#if WEFT_BODIES
namespace detail {
[[gnu::cold]] WEFT_INLINE void run_workers(std::size_t count, MakeWorkerMain make,
                                           WorkersOptions options) {
    RunOptions own = options.run;
    own.name = options.name;
    // It only sleeps and is told: a small ring is enough, and no progress is no hang.
    own.ring_entries = 8;
    own.hang_limit = Duration(0);
    Workers workers(count, make, std::move(options));
    weft::run(workers.supervise(), std::move(own));
}
}  // namespace detail
#endif

}  // namespace weft
