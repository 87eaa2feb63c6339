// SPDX-License-Identifier: MIT
// RunOptions: what a loop can be told before it starts.
#pragma once

#include <string>
#include <type_traits>
#include <utility>

#include "callback.hpp"
#include "clock.hpp"
#include "ref.hpp"

namespace weft {

struct ExceptionContext;

enum class BackendKind : unsigned char {
    automatic,  ///< what WEFT_BACKEND says; else io_uring where the kernel allows it, else epoll
    uring,
    epoll,
};

/// A function that is told of the failures that nobody awaits; options that are copied share it.
class ExceptionHandlerOption {
public:
    ExceptionHandlerOption() noexcept = default;
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, ExceptionHandlerOption> &&
                 std::is_invocable_v<std::decay_t<F>&, const ExceptionContext&>)
    // NOLINTNEXTLINE(google-explicit-constructor): a callable is a handler.
    ExceptionHandlerOption(F&& handler) : shared_(new Shared(std::forward<F>(handler))) {}

    explicit operator bool() const noexcept { return static_cast<bool>(shared_); }
    void operator()(const ExceptionContext& context) const { shared_->handler(context); }

private:
    struct Shared : detail::CountedByThreads<Shared> {
        template <class F>
        explicit Shared(F&& f) : handler(std::forward<F>(f)) {}
        detail::Callback<void(const ExceptionContext&)> handler;
    };
    detail::Ref<Shared> shared_;
};

/// Every field has a default that suits a server.
struct RunOptions {
    BackendKind backend = BackendKind::automatic;
    /// asyncio's debug mode (also WEFT_DEBUG=1): slow steps, swallowed cancels, wrong threads.
    bool debug = false;
    /// Tasks take their first step where they are created, like asyncio's with its
    /// eager_task_factory: those of `create_task` and of task groups, unless their TaskOptions say
    /// otherwise. (A `gather` is told by `gather(eager, ...)`.)
    bool eager_tasks = false;
    /// Name of the main task.
    std::string name;
    /// Spin up to this long before sleeping in the kernel. Trades a core for latency; 0 is off.
    Duration busy_poll{0};
    /// io_uring submission entries (also WEFT_URING_ENTRIES); a power of two, 2 is enough to work.
    unsigned ring_entries = 256;
    /// Writing to a closed pipe or socket is an error and must not kill the process. Operations of
    /// weft never raise SIGPIPE; for everybody else's writes (printf into a pipe, a C library) it
    /// is ignored, unless the program has set a handler of its own.
    bool ignore_sigpipe = true;
    /// Ctrl-C cancels the main coroutine, and `run` ends with KeyboardInterrupt after its clean-up;
    /// a second one ends the process at once. Only on the process's main thread, and only where
    /// nothing else has been decided about SIGINT: a handler of the program's, nohup, or, as long
    /// as it is there, a `signal`, a SignalStream or a handler in this loop.
    bool handle_sigint = true;
    /// A signal that asks for a graceful stop, such as SIGTERM; 0: none. The first one is told to
    /// whoever has asked for it (`wait_for_stop`, `until_stop`, servers, which stop accepting);
    /// after `grace`, or with the second one, the main coroutine is cancelled, and `run` ends with
    /// StoppedBySignal. The next one after that ends the process at once, as a second Ctrl-C does.
    /// (Whoever else waits for the signal in this loop is told too; then none is immediate.)
    int stop_signal = 0;
    Duration grace = std::chrono::seconds(10);
    /// How long the clean-up of cancelled tasks may take when `run` ends; then they are destroyed.
    Duration shutdown_timeout = std::chrono::seconds(10);
    /// Time stands still while anything runs and jumps to the next deadline when nothing in this
    /// loop can (`weft::testing`). While a task waits for a thread's work (`to_thread`, a pool, a
    /// lookup, a coroutine of another loop) or for a file, it passes as it really does.
    bool virtual_time = false;
    /// What else may come from outside, through sockets, pipes and thread channels or from
    /// children, must have been silent for so long, in real time, before virtual time jumps over
    /// it. More where the other side is a program that takes its time (Trio's autojump_threshold).
    Duration virtual_grace = std::chrono::milliseconds(2);
    /// Give up with a dump of all tasks when nothing at all happens for this long; 0 is off.
    Duration hang_limit{0};
    /// Gets the failures that nobody awaits, like `EventLoop::set_exception_handler`; the default
    /// writes them to stderr.
    ExceptionHandlerOption exception_handler{};
};

}  // namespace weft
