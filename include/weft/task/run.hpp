// SPDX-License-Identifier: MIT
// run, Runner: from an ordinary function into a loop, and out again with everything cleaned up.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#include "../base/config.hpp"
#include "../base/options.hpp"
#include "../base/owned.hpp"
#include "../runtime/context.hpp"
#include "../runtime/loop.hpp"
#include "detail/run_signals.hpp"
#include "task.hpp"

namespace weft {

/// A loop for several `run` calls in a row, that ends like `weft::run` does. What one of them has
/// set of context variables holds for the next. (It also gives a loop that is another one's guest a
/// proper end: see `EventLoop::fd`.)
class Runner {
public:
    explicit Runner(const RunOptions& options = {});
    ~Runner();
    Runner(const Runner&) = delete;
    Runner& operator=(const Runner&) = delete;

    /// Runs the coroutine to its end and returns its result. Other tasks stay as they are: none of
    /// them, and no callback, runs between the end of the coroutine and the next `run` or `close`.
    /// Throws:   what it throws; KeyboardInterrupt and StoppedBySignal, see RunOptions; RuntimeError
    ///           when a loop already runs on this thread, and after `close`.
    template <class T>
    T run(Coro<T> main) {
        refuse_nested();
        loop_->check_open("run");
        Task<T> task = begin(std::move(main));
        finish(*task.core());
        return std::move(task).result();
    }
    template <class Fn, class... Args>
        requires(std::is_invocable_v<std::decay_t<Fn>&, std::decay_t<Args>...>)
    decltype(auto) run(Fn&& fn, Args&&... args) {
        return run(detail::keep_and_call<std::decay_t<Fn>, std::decay_t<Args>...>(
            std::forward<Fn>(fn), std::forward<Args>(args)...));
    }

    EventLoop& get_loop() noexcept { return *loop_; }

    /// Cancels the tasks that are left, waits for their clean-up (`RunOptions::shutdown_timeout` at
    /// most), reports their failures, and closes the loop. Idempotent.
    void close();

private:
    template <class T>
    Task<T> begin(Coro<T> main) {
        detail::ContextRef context = context_for_main();
        const detail::AmbientScope scope(context);
        return detail::begin_queued(*loop_, std::move(main));
    }
    // What `run` does without knowing the type.
    static EventLoop* make_loop(const RunOptions& options);
    static void refuse_nested();
    detail::ContextRef context_for_main();
    void finish(detail::FutureCore& task);

    std::string name_;
    Duration patience_;
    bool handles_sigint_;
    int stop_signal_;
    Duration grace_;
    bool has_run_ = false;
    detail::ContextRef context_;
    detail::Owned<EventLoop> loop_;
};

/// Runs a coroutine on a loop of its own and returns its result: what `main` calls.
/// When it ends, nothing else runs any more but for its own end: tasks that are left are cancelled
/// before any of them runs again, see CancelledError at their await, whatever that has brought, and
/// are awaited. Callbacks that were scheduled and have not run do not run; what other threads have
/// posted does. (So what a leftover task does on its way out, destructors included, must not touch
/// what was the main coroutine's: it is gone. Tasks in a `task_group` are not left over.)
/// A loop belongs to the process that made it. In the child of a fork(2) none runs, and one that
/// the parent had is refused: the step that has forked may `exec`, `_exit` or `weft::run` something
/// of its own, and if it goes on to its next suspension or to its end, the run throws RuntimeError
/// there, in the child alone. Other tasks do not run there, nor do their frames end. (vfork and
/// posix_spawn do not share any of this.)
/// Ctrl-C cancels it, see RunOptions::handle_sigint.
/// Throws:   what the coroutine throws; KeyboardInterrupt; RuntimeError when a loop already runs on
///           this thread; std::system_error when no backend can be had.
template <class T>
T run(Coro<T> main, RunOptions options = {}) {
    Runner runner(options);
    // (Caught, so that clean-up comes first even where nobody else catches: then nothing is
    // unwound.)
    try {
        return runner.run(std::move(main));
    } catch (...) {
        runner.close();
        throw;
    }
}

/// The same for a function that returns a Coro; `fn` is kept until its coroutine has ended.
template <class Fn>
    requires(std::is_invocable_v<std::decay_t<Fn>&>)
decltype(auto) run(Fn&& fn, RunOptions options = {}) {
    Runner runner(options);
    try {
        return runner.run(std::forward<Fn>(fn));
    } catch (...) {
        runner.close();
        throw;
    }
}

/// The same for a function with arguments, of which copies are kept as long (a reference is passed
/// by std::ref). RunOptions may come last.
template <class Fn, class First, class... Args>
    requires(std::is_invocable_v<std::decay_t<Fn>&, std::decay_t<First>, std::decay_t<Args>...>)
decltype(auto) run(Fn&& fn, First&& first, Args&&... args) {
    return run(detail::keep_and_call<std::decay_t<Fn>, std::decay_t<First>, std::decay_t<Args>...>(
        std::forward<Fn>(fn), std::forward<First>(first), std::forward<Args>(args)...));
}
template <class Fn, class First, class... Args>
    requires(detail::ends_with<RunOptions, Args...> &&
             !std::is_invocable_v<std::decay_t<Fn>&, std::decay_t<First>, std::decay_t<Args>...>)
decltype(auto) run(Fn&& fn, First&& first, Args&&... args) {
    auto all = std::forward_as_tuple(std::forward<First>(first), std::forward<Args>(args)...);
    const auto start = [&]<std::size_t... I>(std::index_sequence<I...>)->decltype(auto) {
        return run(detail::keep_and_call<std::decay_t<Fn>,
                                         std::decay_t<std::tuple_element_t<I, decltype(all)>>...>(
                       std::forward<Fn>(fn), std::get<I>(std::move(all))...),
                   RunOptions(std::get<sizeof...(Args)>(std::move(all))));
    };
    return start(std::make_index_sequence<sizeof...(Args)>());
}

#if WEFT_BODIES
[[gnu::cold]] WEFT_INLINE Runner::Runner(const RunOptions& options)
    : name_(options.name.empty() ? "main" : options.name),
      patience_(options.shutdown_timeout),
      handles_sigint_(options.handle_sigint),
      stop_signal_(options.stop_signal),
      grace_(options.grace),
      loop_(make_loop(options)) {}

/// (g++ 12 loses the attributes of a constructor, and would put this one into each `run`.)
[[gnu::cold, gnu::noinline]] WEFT_INLINE EventLoop* Runner::make_loop(const RunOptions& options) {
    return new EventLoop(options);
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE Runner::~Runner() {
    try {
        close();
    } catch (...) {
        loop_->call_exception_handler(
            {"a loop did not come to its end", std::current_exception(), {}});
    }
    // In a forked child the frames stay as they are, and whatever outlives the run may still wake
    // them: so the parent's loop stays too.
    if (loop_->is_parents()) static_cast<void>(loop_.release());
}

[[gnu::cold]] WEFT_INLINE void Runner::close() {
    if (loop_->is_closed() || EventLoop::running()) return loop_->close();
    // (Each type of std::vector is three functions more in every program.)
    std::size_t count = 0;
    loop_->for_each_task([&](detail::TaskCore&) { ++count; });
    detail::Owned<AnyTask[]> left(new AnyTask[count]);
    AnyTask* next = left.get();
    loop_->for_each_task([&](detail::TaskCore& task) { *next++ = AnyTask(task); });
    loop_->begin_end(false);
    if (count > 0) loop_->run_until_no_tasks(patience_);
    for (AnyTask* at = left.get(); at != next; ++at) {
        if (!at->done() || at->cancelled() || !at->exception()) continue;
        loop_->call_exception_handler(
            {"a task failed while the loop was closing", at->exception(), at->name()});
    }
    left.reset();
    loop_->close();
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void Runner::refuse_nested() {
    if (EventLoop::running()) detail::throw_loop_runs();
}

/// The first one begins with what the thread has.
[[gnu::cold, gnu::noinline]] WEFT_INLINE detail::ContextRef Runner::context_for_main() {
    const bool first = !std::exchange(has_run_, true);
    return detail::ContextRef(first ? detail::ambient_context : context_.get());
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void Runner::finish(detail::FutureCore& task) {
    auto& main = static_cast<detail::TaskCore&>(task);
    main.make_extras().name = name_;
    detail::RunSignals signals(*loop_, main, grace_);
    signals.watch(handles_sigint_, stop_signal_);
    loop_->run_until_done(task);
    context_ = detail::ContextRef(main.make_extras().context.get());
    signals.throw_if_stopped();
}
#endif

}  // namespace weft
