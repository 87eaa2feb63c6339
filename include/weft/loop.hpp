// SPDX-License-Identifier: MIT
// EventLoop: one thread's scheduler; the turn of the loop is `turn()` at the end of this file.
// Long because: the ready queue, timers, cancellation and the kernel meet in it, and a reader wants
// to see that meeting in one piece.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <coroutine>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/backend.hpp"
#include "backend/choose.hpp"
#include "clock.hpp"
#include "detail/inbox.hpp"
#include "detail/ready_queue.hpp"
#include "detail/ref.hpp"
#include "detail/report.hpp"
#include "detail/std_parts.hpp"
#include "detail/task_core.hpp"
#include "detail/timer_heap.hpp"
#include "error.hpp"
#include "handle.hpp"
#include "options.hpp"

namespace weft {

template <class T>
class Coro;
template <class T>
class Future;
template <class T>
class Task;
struct TaskOptions;

namespace detail {
inline constinit thread_local EventLoop* running_loop = nullptr;
inline constinit thread_local EventLoop* live_loops = nullptr;
}  // namespace detail

/// Thread-safe way to a loop that may be gone: copy it into the threads that post.
class Remote {
public:
    /// Runs `fn` in the loop's next turn; wakes the loop when it sleeps.
    /// Throws:   RuntimeError when the loop is closed (`fn` is destroyed unrun).
    /// Thread:   any.
    template <class F>
    void call_soon_threadsafe(F&& fn) const {
        inbox_->post(std::forward<F>(fn));
    }

private:
    friend class EventLoop;
    explicit Remote(detail::Ref<detail::Inbox> inbox) noexcept : inbox_(std::move(inbox)) {}
    detail::Ref<detail::Inbox> inbox_;
};

/// A single-threaded event loop. Most programs never name one: `weft::run` makes it.
/// Thread:   belongs to the thread that constructed it; only `call_soon_threadsafe` and `remote()`
///           copies may be used from others.
class EventLoop {
public:
    /// Throws:   std::system_error when the backend asked for by name is refused (io_uring_setup,
    ///           epoll_create1, eventfd).
    explicit EventLoop(RunOptions options = {});
    /// Closes the loop. Everything pending is cancelled and unwound first.
    ~EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    // --- running ---

    /// Runs until `future` is done and returns its result.
    /// Throws:   what the future holds; RuntimeError when `stop()` came first (the task lives on),
    ///           when a loop already runs on this thread, or when this one is closed.
    template <class T>
    T run_until_complete(Future<T> future);
    template <class T>
    T run_until_complete(Coro<T> coro);
    /// Runs until `stop()`.
    void run_forever();
    /// One turn that does not sleep.
    void run_once();
    /// One turn that sleeps unless `future` is done by then: a step of `run_until_complete`.
    void run_once(const detail::FutureCore& future);
    /// Ends the run after the current turn.
    void stop() noexcept { stopping_ = true; }
    bool is_running() const noexcept { return running_; }
    bool is_closed() const noexcept { return closed_; }
    /// Cancels every task and waits for its clean-up (a task that refuses to end is destroyed where
    /// it stands), drains the kernel, drops callbacks. Idempotent.
    /// Throws:   RuntimeError while the loop runs.
    void close();

    // --- scheduling ---

    /// Runs `fn()` in the next turn, after what is ready already.
    template <class F>
    Handle call_soon(F&& fn);
    /// Runs `fn()` once `delay` has passed; delays <= 0 mean the next turn. The delay counts from
    /// the first timer that the current step has set: the clock is read once a step (`sleep` reads
    /// it anew). Throws:   std::invalid_argument for a duration that is NaN or too long.
    template <class Rep, class Period, class F>
    TimerHandle call_later(std::chrono::duration<Rep, Period> delay, F&& fn) {
        return call_at_deadline(detail::deadline_after(now(), detail::to_nanoseconds(delay)),
                                std::forward<F>(fn));
    }
    template <class F>
    TimerHandle call_at(TimePoint when, F&& fn) {
        return call_at_deadline(detail::to_deadline(when), std::forward<F>(fn));
    }
    /// Thread:   any. See Remote for a caller that may outlive the loop.
    template <class F>
    void call_soon_threadsafe(F&& fn) {
        inbox_->post(std::forward<F>(fn));
    }
    Remote remote() const noexcept { return Remote(inbox_); }

    template <class T>
    Future<T> create_future();
    template <class T>
    Task<T> create_task(Coro<T> coro, TaskOptions options);
    template <class T>
    Task<T> create_task(Coro<T> coro);

    /// The loop's clock: monotonic, or virtual under test.
    TimePoint time() const noexcept { return detail::to_time_point(read_clock()); }

    // --- reporting ---

    using ExceptionHandler = detail::Callback<void(const ExceptionContext&)>;
    /// Gets the failures that nobody awaits. The default writes to stderr.
    void set_exception_handler(ExceptionHandler handler) {
        handler_ = std::move(handler);
        handler_replaced_ = true;
    }
    void call_exception_handler(const ExceptionContext& context) noexcept;
    void set_debug(bool on) noexcept { debug_ = on; }
    bool debug() const noexcept { return debug_; }
    /// In debug mode a step longer than this is reported.
    Duration slow_callback_duration{std::chrono::milliseconds(100)};
    const BackendInfo& backend_info() const noexcept { return backend_->info(); }
    /// System calls the backend has made.
    std::uint64_t kernel_entries() const noexcept { return backend_->kernel_entries(); }
    /// A line for each live task: its name and what it waits on.
    std::string dump() const;

    // --- for awaiters (see detail::Suspension) ---

    static EventLoop* running() noexcept { return detail::running_loop; }
    detail::TaskCore* current_task() const noexcept { return current_; }
    /// The values of context variables that hold here, for what is started here; mostly null.
    static detail::ContextCore* current_context() noexcept {
        const EventLoop* const loop = detail::running_loop;
        return loop ? loop->context_here() : detail::ambient_context;
    }
    /// The same for whoever has the loop at hand: a loop with a current task runs, on this thread.
    detail::ContextCore* context_here() const noexcept {
        if (!current_) return detail::ambient_context;
        const detail::TaskExtras* const extras = current_->extras();
        return extras ? extras->context.get() : nullptr;
    }
    template <class Visit>
    void for_each_task(Visit&& visit) {
        tasks_.for_each(std::forward<Visit>(visit));
    }

    /// The running task, or a RuntimeError that says what was awaited outside of one.
    detail::TaskCore& require_task() const {
        if (!current_) [[unlikely]]
            detail::throw_runtime_error("weft: awaited outside of a task");
        return *current_;
    }
    /// The current task stops at `handle` and waits on `what`.
    detail::TaskCore& suspend(std::coroutine_handle<> handle, detail::Suspension& what) {
        detail::TaskCore& task = require_task();
        task.coroutine = handle;
        task.waiting_on = &what;
        return task;
    }
    void wake(detail::TaskCore& task) noexcept {
        task.waiting_on = nullptr;
        ready_.push(task);
    }
    void push(detail::ReadyNode& node) noexcept { ready_.push(node); }
    /// Tasks that are linked by `next_ready`, and wait on nothing any more.
    void wake_chain(detail::TaskCore& first, detail::TaskCore& last) noexcept {
        ready_.push_chain(first, last);
    }
    /// Handles outlive loops: is there still somebody to run what would be queued?
    static bool accepts(const EventLoop* loop) noexcept { return is_live(loop) && !loop->closed_; }
    /// Delivers the current task's cancel request.
    [[noreturn]] void throw_cancelled();
    bool cancel(detail::TaskCore& task, std::string_view message);
    /// The task's pending request strikes what it waits on.
    void pass_on_cancel(detail::TaskCore& task) noexcept;
    /// Cancels every task, each once; those in a `clean_up` only when told to. Whoever awaits
    /// another task is told by that one's end.
    void cancel_all(bool in_clean_up_too) noexcept;
    void add(detail::TaskCore& task) noexcept {
        tasks_.push_back(task);
        ready_.push(task);
    }
    /// The first step inside the caller's.
    void add_eager(detail::TaskCore& task) {
        tasks_.push_back(task);
        detail::TaskCore* const outer = current_;
        run_task(task);
        current_ = outer;
    }
    std::uint32_t next_task_id() noexcept { return ++last_task_id_; }
    void complete(detail::FutureCore& future, detail::FutureCore::State state) noexcept;
    static void report_unretrieved(detail::FutureCore& future) noexcept;

    /// Hands an operation to the backend. True: complete at once, do not suspend. A step may only
    /// go on so often without a turn: the budget is what keeps one socket that always has data
    /// from starving everybody else.
    bool start(detail::Operation& op) noexcept {
        if (!backend_->start(op)) return false;
        if (budget_step_ != step_) {
            budget_step_ = step_;
            inline_budget_ = inline_budget_per_step;
        }
        if (inline_budget_-- > 0) return true;
        backend_->postpone(op);
        return false;
    }
    void cancel(detail::Operation& op) noexcept { backend_->cancel(op); }
    void forget(int fd) noexcept { backend_->forget(fd); }
    /// Somebody waits for an operation that is counted as a background one.
    void count_waiter() noexcept { backend_->count_waiter(); }
    void discount_waiter() noexcept { backend_->discount_waiter(); }

    /// Now, read at most once a step: for deadlines that a step sets.
    detail::Nanoseconds now() noexcept {
        if (time_step_ != step_ || !running_) {
            time_step_ = step_;
            step_time_ = read_clock();
        }
        return step_time_;
    }
    detail::Nanoseconds read_clock() const noexcept {
        return virtual_time_ ? virtual_now_ : detail::monotonic_now();
    }
    void arm(detail::Timer& timer, detail::Nanoseconds deadline) {
        timers_.insert(timer, deadline);
    }
    void disarm(detail::Timer& timer) noexcept { timers_.remove(timer); }
    std::size_t armed_timers() const noexcept { return timers_.size(); }

    void check_thread(const char* call) const {
        if (debug_) [[unlikely]]
            refuse_other_thread(call);
    }
    void check_open(const char* call) const {
        check_thread(call);
        if (closed_) [[unlikely]]
            refuse_closed(call);
    }
    /// The same for a future, which may outlive its loop.
    static void check_thread(const detail::FutureCore& future, const char* call) {
        if (future.debug && !is_live(future.loop)) [[unlikely]]
            detail::throw_runtime_error(
                {call, ": the future's event loop is gone or belongs to another thread"});
    }
    /// Runs turns until the future is done.
    void run_until_done(detail::FutureCore& future);
    /// Runs turns until no task is left, at most `limit`. False: some are.
    bool run_until_no_tasks(Duration limit);

private:
    template <class F>
    TimerHandle call_at_deadline(detail::Nanoseconds deadline, F&& fn);

    void run_turns(const detail::FutureCore::State& end);
    void turn(bool hurry);
    void meet_the_world(bool hurry);
    /// Neither the kernel, nor a timer, nor another thread has anything for this turn.
    bool nothing_else() const noexcept {
        return backend_->outstanding() == 0 && timers_.empty() && inbox_->empty();
    }
    /// This turn must not sleep.
    bool in_a_hurry() const noexcept { return stopping_ || !ready_.empty() || !inbox_->empty(); }
    void run_ready();
    void run_chain(detail::ReadyNode* node);
    void run_node(detail::ReadyNode& node);
    void run_watched(detail::ReadyNode* node);
    void run_task(detail::TaskCore& task);
    void finish(detail::TaskCore& task) noexcept;
    void tell(detail::FutureCore& future, detail::FutureWaiter& waiter) noexcept;
    void report_swallowed(const detail::TaskCore& task) noexcept;
    void enter_kernel(detail::Nanoseconds timeout);
    void spin(detail::Nanoseconds limit);
    void advance_virtual_time();
    void run_posts();
    void fire_timers();
    void check_progress();
    static void request_cancel(detail::TaskCore& task) noexcept;
    static void copy_cancel_message(const detail::TaskCore& from, detail::TaskCore& to) noexcept;
    bool let_go_of_tasks() noexcept;
    void drain_cancels();
    void end_operations();
    void drop_everything() noexcept;
    void arm_wake_up() noexcept;
    static void wake_up_arrived(detail::Operation& op) noexcept;
    void refuse_other_thread(const char* call) const;
    [[noreturn]] static void refuse_closed(const char* call);
    static bool is_live(const EventLoop* loop) noexcept;
    static void descriptor_closing(int fd) noexcept;
    void report_slow(detail::Nanoseconds began, const std::string& who) noexcept;

    struct RunScope;
    struct WakeUp : detail::Operation {
        using Operation::Operation;
        std::uint64_t count = 0;
    };
    struct PostBatch : detail::CallbackNode {
        explicit PostBatch(EventLoop& on) noexcept : CallbackNode(&run), loop(&on) {}
        static void run(detail::CallbackNode& node, Verb verb) noexcept;
        EventLoop* loop;
    };

    static constexpr int inline_budget_per_step = 64;

    detail::ReadyQueue ready_;
    detail::TaskCore* current_ = nullptr;
    std::uint64_t step_ = 1;  // counts steps; what is cached for a step carries its number
    std::uint64_t budget_step_ = 0;
    std::uint64_t time_step_ = 0;
    int inline_budget_ = 0;
    bool debug_ = false;
    bool virtual_time_ = false;
    bool stopping_ = false;
    bool running_ = false;
    bool closed_ = false;
    bool posts_queued_ = false;
    detail::Nanoseconds step_time_ = 0;
    detail::TimerHeap timers_;
    std::unique_ptr<detail::Backend> backend_;
    detail::Ref<detail::Inbox> inbox_;
    WakeUp wake_up_{detail::OpCode::read, &wake_up_arrived};
    PostBatch posts_{*this};
    detail::IntrusiveList<detail::TaskCore, detail::AllTasksTag> tasks_;
    std::uint32_t last_task_id_ = 0;
    detail::Nanoseconds virtual_now_ = 0;
    detail::Nanoseconds busy_poll_ = 0;
    detail::Nanoseconds hang_limit_ = 0;
    detail::Nanoseconds last_progress_ = 0;  // real time, kept only with a hang limit
    ExceptionHandler handler_;
    bool handler_replaced_ = false;
    pthread_t thread_ = ::pthread_self();
    EventLoop* next_live_ = nullptr;
};

/// The loop that runs on this thread.
/// Throws:   RuntimeError when none does.
inline EventLoop& get_running_loop() {
    if (!detail::running_loop) [[unlikely]]
        detail::throw_runtime_error("weft: no running event loop");
    return *detail::running_loop;
}

// --- callbacks ---

template <class F>
Handle EventLoop::call_soon(F&& fn) {
    check_open("call_soon");
    auto* const call = new detail::ScheduledCall(*this, std::forward<F>(fn));
    if (detail::ContextCore* const context = context_here()) [[unlikely]]
        call->context = detail::ContextRef(context);
    ready_.push(*call);
    return Handle(*call);
}

template <class F>
TimerHandle EventLoop::call_at_deadline(detail::Nanoseconds deadline, F&& fn) {
    check_open("call_at");
    auto call = std::make_unique<detail::ScheduledCall>(*this, std::forward<F>(fn));
    if (detail::ContextCore* const context = context_here()) [[unlikely]]
        call->context = detail::ContextRef(context);
    timers_.insert(*call, deadline);
    return TimerHandle(*call.release());
}

inline void detail::ScheduledCall::run_or_drop(CallbackNode& node, Verb verb) noexcept {
    auto& call = static_cast<ScheduledCall&>(node);
    if (verb == Verb::run && !call.cancelled) {
        call.finished = true;
        const AmbientScope scope(call.context);
        try {
            call.fn();
        } catch (...) {
            call.loop->call_exception_handler(
                {"exception in a callback", std::current_exception(), {}});
        }
    }
    call.fn.reset();
    call.release();
}

inline void detail::ScheduledCall::due(Timer& timer) noexcept {
    auto& call = static_cast<ScheduledCall&>(timer);
    call.loop->push(call);
}

inline void Handle::cancel() noexcept {
    if (!call_ || call_->cancelled || call_->finished) return;
    call_->cancelled = true;
    call_->fn.reset();
    if (call_->armed()) {
        call_->loop->disarm(*call_);
        call_->release();
    }
}

// --- reporting ---

[[gnu::cold]] inline void EventLoop::call_exception_handler(
    const ExceptionContext& context) noexcept {
    if (!handler_) return detail::print_report(context);
    // Out of its place while it runs: a handler may install another one, itself included.
    ExceptionHandler handler = std::move(handler_);
    handler_.reset();
    handler_replaced_ = false;
    try {
        handler(context);
    } catch (...) {
        detail::print_report(context);
        detail::print_report({"exception in the exception handler", std::current_exception(), {}});
    }
    if (!handler_replaced_) handler_ = std::move(handler);
}

inline bool EventLoop::is_live(const EventLoop* loop) noexcept {
    const EventLoop* other = detail::live_loops;
    while (other && other != loop) other = other->next_live_;
    return other != nullptr;
}

[[gnu::cold]] inline void EventLoop::report_unretrieved(detail::FutureCore& future) noexcept {
    ExceptionContext context{future.is_task ? "a task failed and nobody retrieved its exception"
                                            : "a future's exception was never retrieved",
                             future.typed->exception(future),
                             {}};
    try {
        if (future.is_task) context.task_name = static_cast<detail::TaskCore&>(future).name();
    } catch (const std::bad_alloc&) {
        // The name is a courtesy; the report itself must not be lost for it.
    }
    // A handle may outlive its loop.
    if (is_live(future.loop)) return future.loop->call_exception_handler(context);
    detail::print_report(context);
}

[[gnu::cold]] inline void EventLoop::refuse_other_thread(const char* call) const {
    if (::pthread_equal(thread_, ::pthread_self())) return;
    detail::throw_runtime_error(
        {call, ": this event loop belongs to another thread (use call_soon_threadsafe)"});
}

[[gnu::cold, gnu::noinline]] inline void EventLoop::refuse_closed(const char* call) {
    detail::throw_runtime_error({call, ": the event loop is closed"});
}

[[gnu::cold]] inline void EventLoop::report_slow(detail::Nanoseconds began,
                                                 const std::string& who) noexcept {
    const detail::Nanoseconds took = detail::monotonic_now() - began;
    if (took < slow_callback_duration.count()) return;
    try {
        const std::string text =
            detail::concat({"a step took ", detail::decimal(took / 1'000'000), " ms"});
        call_exception_handler({text, nullptr, who});
    } catch (const std::bad_alloc&) {
        call_exception_handler({"a step was slow", nullptr, {}});
    }
}

[[gnu::cold]] inline std::string EventLoop::dump() const {
    std::string text;
    auto& tasks = const_cast<EventLoop*>(this)->tasks_;  // for_each visits without changing
    tasks.for_each([&](detail::TaskCore& task) {
        detail::WaitInfo info;
        const char* state = "";
        if (&task == current_) {
            state = "running";
        } else if (!task.started) {
            state = "not started";
        } else if (!task.waiting_on) {
            state = "ready";
        } else {
            info = task.waiting_on->describe();
            state = "waits on ";
        }
        const bool on_file = info.fd >= 0;
        const bool on_task = info.on && info.on->is_task;
        text.append(detail::concat(
            {"  ", task.name(), ": ", state, info.what, on_file ? " (descriptor " : "",
             on_file ? detail::decimal(info.fd) : std::string(), on_file ? ")" : "",
             on_task ? " " : "",
             on_task ? static_cast<const detail::TaskCore*>(info.on)->name() : std::string(),
             task.must_cancel ? ", cancel requested" : "", "\n"}));
    });
    return text;
}

// --- cancellation ---

inline void EventLoop::throw_cancelled() {
    detail::TaskCore* const task = current_;
    if (!task) throw CancelledError();
    task->must_cancel = false;
    task->delivered = true;
    if (const detail::TaskExtras* const extras = task->extras()) {
        throw CancelledError(extras->cancel_message);
    }
    throw CancelledError();
}

inline bool EventLoop::cancel(detail::TaskCore& task, std::string_view message) {
    check_thread("cancel");
    if (task.done()) return false;
    if (!message.empty() || task.extras()) task.make_extras().cancel_message = message;
    request_cancel(task);
    pass_on_cancel(task);
    return true;
}

inline void EventLoop::request_cancel(detail::TaskCore& task) noexcept {
    if (task.cancel_requests < UINT16_MAX) ++task.cancel_requests;
    task.must_cancel = true;
}

[[gnu::noinline]] inline void EventLoop::pass_on_cancel(detail::TaskCore& task) noexcept {
    // Brent's cycle detection: tasks may await each other in a circle, which nobody can leave
    // unless one of them is let go.
    detail::TaskCore* at = &task;
    detail::TaskCore* landmark = at;
    std::size_t steps = 0;
    std::size_t stretch = 1;
    while (at->waiting_on) {
        detail::TaskCore* const next = at->waiting_on->cancel();
        if (!next) return;
        if (next == landmark) return at->waiting_on->let_go();
        request_cancel(*next);
        copy_cancel_message(*at, *next);
        at = next;
        if (++steps == stretch) {
            landmark = at;
            steps = 0;
            stretch *= 2;
        }
    }
}

[[gnu::cold]] inline void EventLoop::copy_cancel_message(const detail::TaskCore& from,
                                                         detail::TaskCore& to) noexcept {
    const detail::TaskExtras* const extras = from.extras();
    if (!extras || extras->cancel_message.empty()) return;
    try {
        to.make_extras().cancel_message = extras->cancel_message;
    } catch (const std::bad_alloc&) {
        // The message is a courtesy; the cancel itself needs no memory.
    }
}

[[gnu::cold]] inline void EventLoop::cancel_all(bool in_clean_up_too) noexcept {
    // To follow every chain of tasks from each of its members would take quadratic time.
    tasks_.for_each([in_clean_up_too](detail::TaskCore& task) {
        if (task.in_clean_up && !in_clean_up_too) return;
        request_cancel(task);
        if (task.waiting_on) task.waiting_on->cancel();
    });
}

/// Ends every wait of one task for another. True: there were some.
[[gnu::cold]] inline bool EventLoop::let_go_of_tasks() noexcept {
    tasks_.for_each([](detail::TaskCore& task) {
        if (task.waiting_on) task.waiting_on->let_go();
    });
    return !ready_.empty();
}

inline void EventLoop::tell(detail::FutureCore& future, detail::FutureWaiter& waiter) noexcept {
    if (waiter.target->coroutine) {
        wake(static_cast<detail::TaskCore&>(*waiter.target));
    } else {
        future.add_ref();  // the callback gives it back
        ready_.push(*waiter.target);
    }
}

inline void EventLoop::complete(detail::FutureCore& future,
                                detail::FutureCore::State state) noexcept {
    future.state = state;
    if (detail::FutureWaiter* const only = future.waiters.pop_only()) [[likely]]
        return tell(future, *only);
    while (detail::FutureWaiter* const waiter = future.waiters.pop_front()) tell(future, *waiter);
}

// --- life ---

[[gnu::cold]] inline EventLoop::EventLoop(RunOptions options)
    : debug_(options.debug),
      virtual_time_(options.virtual_time),
      backend_(detail::choose_backend(options.backend, options.ring_entries)),
      inbox_(new detail::Inbox),
      // Virtual time starts at a round number, for readable failures.
      virtual_now_(1'000'000'000'000),
      busy_poll_(detail::to_nanoseconds(options.busy_poll)),
      hang_limit_(detail::to_nanoseconds(options.hang_limit)) {
    if (const char* const debug = std::getenv("WEFT_DEBUG"); debug && *debug && *debug != '0') {
        debug_ = true;
    }
    if (options.ignore_sigpipe) {
        struct sigaction action {};
        if (::sigaction(SIGPIPE, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) {
            action.sa_handler = SIG_IGN;
            ::sigaction(SIGPIPE, &action, nullptr);
        }
    }
    next_live_ = detail::live_loops;
    detail::live_loops = this;
    detail::descriptor_closing = &descriptor_closing;
}

[[gnu::cold]] inline EventLoop::~EventLoop() {
    try {
        close();
    } catch (...) {
        // The kernel refuses to go on with what it has of ours; nobody is left to hear it.
        call_exception_handler({"an event loop could not be closed", std::current_exception(), {}});
    }
    EventLoop** link = &detail::live_loops;
    while (*link && *link != this) link = &(*link)->next_live_;
    if (*link) *link = next_live_;
    if (!detail::live_loops) detail::descriptor_closing = nullptr;
}

inline void EventLoop::descriptor_closing(int fd) noexcept {
    for (EventLoop* loop = detail::live_loops; loop; loop = loop->next_live_) {
        if (loop->backend_) loop->backend_->forget(fd);
    }
}

/// Marks the loop as this thread's running one, and puts things right however the run ends.
struct EventLoop::RunScope {
    explicit RunScope(EventLoop& on) : loop(on) {
        if (loop.closed_) detail::throw_runtime_error("run: the event loop is closed");
        if (detail::running_loop)
            detail::throw_runtime_error("run: an event loop is already running on this thread");
        if (!::pthread_equal(loop.thread_, ::pthread_self()))
            detail::throw_runtime_error("run: this event loop was made on another thread");
        loop.running_ = true;
        loop.last_progress_ = detail::monotonic_now();
        detail::running_loop = &loop;
    }
    RunScope(const RunScope&) = delete;
    RunScope& operator=(const RunScope&) = delete;
    ~RunScope() {
        loop.running_ = false;
        loop.stopping_ = false;
        detail::running_loop = nullptr;
    }
    EventLoop& loop;
};

inline void EventLoop::run_forever() {
    RunScope scope(*this);
    constexpr auto never = detail::FutureCore::State::pending;
    run_turns(never);
}

inline void EventLoop::run_once() {
    RunScope scope(*this);
    turn(true);
}

inline void EventLoop::run_once(const detail::FutureCore& future) {
    RunScope scope(*this);
    run_ready();
    meet_the_world(future.done() || in_a_hurry());
}

inline void EventLoop::run_until_done(detail::FutureCore& future) {
    if (future.loop != this) detail::throw_runtime_error("run: the future is of another loop");
    RunScope scope(*this);
    if (future.done()) return;
    run_turns(future.state);
    if (!future.done())
        detail::throw_runtime_error("run: the event loop was stopped before the future was done");
}

[[gnu::cold]] inline bool EventLoop::run_until_no_tasks(Duration limit) {
    RunScope scope(*this);
    // When nothing could wake any of them, tasks that await each other in a circle are left.
    // (The one timer is the patience below.)
    const auto over = [this] {
        const bool stuck = backend_->outstanding() == 0 && timers_.size() == 1 && inbox_->empty();
        return tasks_.empty() || (stuck && let_go_of_tasks());
    };
    // A timer, so that a sleeping loop notices the end of its patience too.
    detail::Timer patience([](detail::Timer&) noexcept {});
    arm(patience, detail::deadline_after(read_clock(), limit.count()));
    // Virtual time stands still while anything runs.
    constexpr int most_virtual_turns = 100'000;
    for (int turns = 0; !tasks_.empty() && !stopping_ && patience.armed(); ++turns) {
        if (virtual_time_ && turns == most_virtual_turns) break;
        run_ready();
        meet_the_world(in_a_hurry() || over());
    }
    if (patience.armed()) disarm(patience);
    return tasks_.empty();
}

[[gnu::cold]] inline void EventLoop::close() {
    if (closed_) return;
    if (running_) detail::throw_runtime_error("close: the event loop is running");
    struct Restore {
        EventLoop* const outer;
        ~Restore() { detail::running_loop = outer; }
    } restore{std::exchange(detail::running_loop, this)};
    // Each round cancels whatever still lives and lets it clean up; a task that is still there
    // after so many cancels swallows them all.
    constexpr int rounds = 64;
    for (int round = 0; round < rounds && !tasks_.empty(); ++round) {
        cancel_all(true);
        if (round > 0) let_go_of_tasks();
        drain_cancels();
    }
    end_operations();
    inbox_->close();
    drop_everything();
    closed_ = true;
}

/// Runs whatever is ready, and waits for operations that were asked to end, until neither is left.
[[gnu::cold]] inline void EventLoop::drain_cancels() {
    // A task that is always ready would never let a round end.
    constexpr int most_turns = 1'000;
    for (int turns = 0; turns < most_turns; ++turns) {
        run_ready();
        if (ready_.empty() && backend_->ending() > 0) {
            backend_->turn(detail::no_deadline);
        } else if (backend_->has_work()) {
            backend_->turn(0);
        }
        if (ready_.empty() && backend_->ending() == 0) return;
    }
}

/// The kernel lets go of all memory that is not its own.
[[gnu::cold]] inline void EventLoop::end_operations() {
    tasks_.for_each([](detail::TaskCore& task) {
        if (task.waiting_on) task.waiting_on->cancel();
    });
    if (wake_up_.state != detail::Operation::State::idle) backend_->cancel(wake_up_);
    backend_->end_standing();
    while (backend_->outstanding() + backend_->background() > 0) {
        backend_->turn(detail::no_deadline);
    }
}

/// The end of whatever has not ended: frames are destroyed where they stand, callbacks are dropped
/// unrun. Destructors may schedule more; it goes the same way.
[[gnu::cold]] inline void EventLoop::drop_everything() noexcept {
    while (!tasks_.empty() || !ready_.empty() || !timers_.empty()) {
        // Kept until the ready queue is empty: a task's end wakes others that are to end too.
        detail::IntrusiveList<detail::TaskCore, detail::AllTasksTag> ended;
        while (!tasks_.empty()) {
            detail::TaskCore& task = tasks_.front();
            if (task.started) {
                call_exception_handler(
                    {"a task refused to end and was destroyed", nullptr, task.name()});
            }
            task.add_ref();
            finish(task);
            ended.push_back(task);
        }
        while (!timers_.empty()) {
            detail::Timer& timer = timers_.pop();
            timer.on_due(timer);
        }
        for (detail::ReadyNode* node = ready_.take_all(); node;) {
            detail::ReadyNode* const next = node->next_ready;
            if (!node->coroutine) {
                auto& callback = static_cast<detail::CallbackNode&>(*node);
                callback.act(callback, detail::ReadyNode::Verb::drop);
            }
            node = next;
        }
        while (!ended.empty()) ended.pop_front().release();
    }
}

// --- the turn ---

inline void EventLoop::finish(detail::TaskCore& task) noexcept {
    using State = detail::FutureCore::State;
    current_ = nullptr;  // destructors and handlers run outside of tasks
    auto state = static_cast<State>(task.outcome_kind());
    if (state == State::pending) [[unlikely]] {  // never ran, or is destroyed where it stands
        state = State::cancelled;
        task.waiting_on = nullptr;
        task.root.destroy();
    }
    if (debug_ && state == State::value && task.delivered && task.cancel_requests > 0) [[unlikely]]
        report_swallowed(task);
    detail::IntrusiveList<detail::TaskCore, detail::AllTasksTag>::erase_for_good(task);
    complete(task, state);
    task.release();
}

[[gnu::cold, gnu::noinline]] inline void EventLoop::report_swallowed(
    const detail::TaskCore& task) noexcept {
    call_exception_handler({"a task swallowed its cancellation", nullptr, task.name()});
}

/// Leaves `current_` to its caller, which knows what comes next.
[[gnu::always_inline]] inline void EventLoop::run_task(detail::TaskCore& task) {
    current_ = &task;
    if (!task.started) {
        task.started = true;
        if (task.must_cancel) [[unlikely]] {
            task.must_cancel = false;
            return finish(task);
        }
    }
    task.coroutine.resume();
    if (task.outcome_kind() != detail::OutcomeKind::empty) finish(task);
}

[[gnu::always_inline]] inline void EventLoop::run_node(detail::ReadyNode& node) {
    ++step_;
    if (node.coroutine) [[likely]] {
        run_task(static_cast<detail::TaskCore&>(node));
    } else {
        current_ = nullptr;
        auto& callback = static_cast<detail::CallbackNode&>(node);
        callback.act(callback, detail::ReadyNode::Verb::run);
    }
}

[[gnu::always_inline]] inline void EventLoop::run_chain(detail::ReadyNode* node) {
    if (debug_) [[unlikely]]
        return run_watched(node);
    while (node) {
        detail::ReadyNode* const next = node->next_ready;
        run_node(*node);
        node = next;
    }
    current_ = nullptr;
}

[[gnu::noinline]] inline void EventLoop::run_ready() { run_chain(ready_.take_all()); }

/// Debug mode: the same, with a look at the clock around each step.
[[gnu::cold, gnu::noinline]] inline void EventLoop::run_watched(detail::ReadyNode* node) {
    while (node) {
        detail::ReadyNode* const next = node->next_ready;
        const std::string who =
            node->coroutine ? static_cast<detail::TaskCore&>(*node).name() : std::string();
        const detail::Nanoseconds began = detail::monotonic_now();
        run_node(*node);
        current_ = nullptr;
        report_slow(began, who);
        node = next;
    }
}

/// Turns until `end` is not pending any more, or the loop is stopped; at least one.
[[gnu::noinline]] inline void EventLoop::run_turns(const detail::FutureCore::State& end) {
    for (;;) {
        // 1. What was ready when the turn began, in order. What it makes ready waits for the next.
        run_chain(ready_.take_all());
        const bool over = stopping_ || end != detail::FutureCore::State::pending;
        if (!ready_.empty() && nothing_else()) [[likely]] {
            if (over) return;
            continue;
        }
        meet_the_world(over || in_a_hurry());
        if (over) return;
    }
}

/// One turn, the same.
inline void EventLoop::turn(bool hurry) {
    run_ready();
    meet_the_world(hurry || in_a_hurry());
}

/// The rest of a turn.
inline void EventLoop::meet_the_world(bool hurry) {
    // 2. and 3. New operations go to the kernel in one batch, in the same entry that collects
    //    completions and, when nothing else is to do, sleeps until the next deadline.
    if (hurry) {
        if (backend_->outstanding() > 0 && backend_->has_work()) backend_->turn(0);
    } else if (virtual_time_) {
        advance_virtual_time();
    } else {
        detail::Nanoseconds timeout = detail::no_deadline;
        if (!timers_.empty()) {
            timeout = std::max<detail::Nanoseconds>(
                timers_.first_deadline() - detail::monotonic_now(), 0);
        }
        enter_kernel(timeout);
    }

    // 4. Completions are queued by now; then what other threads posted, then due timers.
    if (!inbox_->empty()) run_posts();
    if (!timers_.empty()) fire_timers();
    if (hang_limit_ > 0) [[unlikely]]
        check_progress();
}

inline void EventLoop::fire_timers() {
    const detail::Nanoseconds now = read_clock();
    while (!timers_.empty() && timers_.first_deadline() <= now) {
        detail::Timer& timer = timers_.pop();
        timer.on_due(timer);
    }
}

/// Time jumps only when nothing can happen without it: no task is ready, and what the kernel still
/// has stayed silent for a moment of real time (loopback traffic arrives at once, a file does not).
[[gnu::cold]] inline void EventLoop::advance_virtual_time() {
    constexpr detail::Nanoseconds grace = 2'000'000;
    if (backend_->has_work()) backend_->turn(0);
    if (!ready_.empty()) return;
    if (timers_.empty()) return enter_kernel(detail::no_deadline);
    if (backend_->outstanding() > 0) {
        enter_kernel(grace);
        if (!ready_.empty() || !inbox_->empty() || backend_->busy() > 0) return;
    }
    virtual_now_ = std::max(virtual_now_, timers_.first_deadline());
}

inline void EventLoop::enter_kernel(detail::Nanoseconds timeout) {
    arm_wake_up();
    if (timeout == 0) return backend_->turn(0);
    if (busy_poll_ > 0) {
        spin(std::min(timeout, busy_poll_));
        if (!ready_.empty() || !inbox_->empty()) return;
    }
    if (hang_limit_ > 0) timeout = std::min(timeout, hang_limit_);
    // A post that arrives from here on writes to the eventfd, which the backend watches.
    if (!inbox_->prepare_to_sleep()) return;
    backend_->turn(timeout);
    inbox_->woke_up();
}

inline void EventLoop::spin(detail::Nanoseconds limit) {
    const detail::Nanoseconds end = detail::monotonic_now() + limit;
    backend_->turn(0);
    while (ready_.empty() && inbox_->empty() && detail::monotonic_now() < end) {
        if (backend_->has_work()) backend_->turn(0);
    }
}

/// At the end of a turn, in loops with a hang limit.
[[gnu::cold]] inline void EventLoop::check_progress() {
    const detail::Nanoseconds now = detail::monotonic_now();
    if (!ready_.empty() || !inbox_->empty()) {
        last_progress_ = now;
    } else if (now - last_progress_ >= hang_limit_) {
        detail::throw_runtime_error({"nothing happened for ",
                                     detail::decimal(hang_limit_ / 1'000'000),
                                     " ms; the tasks are:\n", dump()});
    }
}

inline void EventLoop::arm_wake_up() noexcept {
    if (wake_up_.state != detail::Operation::State::idle) return;
    wake_up_.fd = inbox_->event_fd();
    wake_up_.address = &wake_up_.count;
    wake_up_.length = sizeof wake_up_.count;
    wake_up_.background = true;
    if (backend_->start(wake_up_)) wake_up_.complete(wake_up_.result);
}

// The posts themselves are found in the inbox; reading the eventfd was all that mattered.
inline void EventLoop::wake_up_arrived(detail::Operation&) noexcept {}

/// Posts run as one callback of the turn, in the order in which they came.
inline void EventLoop::run_posts() {
    if (posts_queued_) return;
    posts_queued_ = true;
    ready_.push(posts_);
}

inline void EventLoop::PostBatch::run(detail::CallbackNode& node, Verb verb) noexcept {
    EventLoop& loop = *static_cast<PostBatch&>(node).loop;
    loop.posts_queued_ = false;
    if (verb == Verb::drop) return;  // close() empties the inbox
    detail::Post* const first = loop.inbox_->take_all();
    detail::Post* last = nullptr;
    for (detail::Post* post = first; post; post = post->next) {
        detail::ContextRef none;
        const detail::AmbientScope scope(none);
        try {
            post->act(*post, detail::Post::Verb::run);
        } catch (...) {
            loop.call_exception_handler(
                {"exception in a callback posted by another thread", std::current_exception(), {}});
        }
        last = post;
    }
    if (first) detail::PostPool::give_back(first, last);
}

}  // namespace weft
