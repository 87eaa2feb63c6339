// SPDX-License-Identifier: MIT
// EventLoop, the class: what a loop can do and what it keeps. What it does stands in loop_*.hpp
// beside this, a header for each part; include ../loop.hpp, which has them all.
// Long because: it is the declaration of one class; no body of more than a few lines stands here.
#pragma once

#include <pthread.h>

#include <coroutine>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/callback.hpp"
#include "../../base/clock.hpp"
#include "../../base/error.hpp"
#include "../../base/options.hpp"
#include "../../base/owned.hpp"
#include "../../base/ref.hpp"
#include "../../base/std_parts.hpp"
#include "../../base/thread.hpp"
#include "../../kernel/backend.hpp"
#include "../go_on.hpp"
#include "../handle.hpp"
#include "../remote.hpp"
#include "../report.hpp"
#include "../task_core.hpp"
#include "../timer_heap.hpp"
#include "cancel_way.hpp"
#include "inbox.hpp"
#include "leftover.hpp"
#include "ready_queue.hpp"

namespace weft {

template <class T>
class Coro;
template <class T>
class Future;
template <class T>
class Task;
struct TaskOptions;

namespace detail {
class SignalHub;
class GracefulStop;
struct LoopExtras;
/// The table of add_reader and add_writer. They alone make one and know its type: a program without
/// them has nothing of it.
struct FdWatchTable {
    void (*forget)(FdWatchTable&, int fd) noexcept;
    void (*destroy)(FdWatchTable&) noexcept;
};
struct EndsWithLoop : ListNode<> {
    explicit EndsWithLoop(void (*at_close)(EndsWithLoop&) noexcept) noexcept : end(at_close) {}
    void (*end)(EndsWithLoop&) noexcept;
};
inline constinit thread_local EventLoop* running_loop = nullptr;
inline constinit thread_local EventLoop* live_loops = nullptr;
/// The loops of all threads that are, or have been, in debug mode.
struct DebuggedLoops {
    Mutex mutex;
    EventLoop* first = nullptr;
};
inline DebuggedLoops debugged_loops;
/// How many more awaits of this step may go on without waiting, see ready_await.hpp.
inline constinit thread_local int ready_awaits_left = 0;
}  // namespace detail

/// A single-threaded event loop. Most programs never name one: `weft::run` makes it.
/// Thread:   belongs to the thread that constructed it; only `call_soon_threadsafe` and `remote()`
///           copies may be used from others. It belongs to the process too: see `weft::run`.
class EventLoop {
public:
    /// Throws:   std::system_error when the backend asked for by name is refused (io_uring_setup,
    ///           epoll_create1, eventfd).
    explicit EventLoop(const RunOptions& options = {});
    /// Closes the loop. Everything pending is cancelled and unwound first.
    /// Thread:   its own, or any once that has ended. While that still runs, the program is ended,
    ///           with a message: what the thread closes and awaits would lead to a loop that is not
    ///           there.
    ~EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    // --- running ---

    /// Runs until `future` is done and returns its result. What is ready then waits for the next
    /// run: nothing comes between the end of a coroutine and the return from here.
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
    void stop() noexcept { special_.stopping = true; }
    bool is_running() const noexcept { return running_; }
    bool is_closed() const noexcept { return closed_; }
    /// This process is a child that was forked while the loop existed.
    bool is_parents() const noexcept { return is_parents_; }
    /// Cancels every task and waits for its clean-up (a task that refuses to end is destroyed where
    /// it stands), drains the kernel, runs what was posted, drops callbacks. Idempotent.
    /// Throws:   RuntimeError while the loop runs.
    void close();

    // --- as a guest, where another loop (GLib's, Asio's, ...) sleeps ---
    //
    // The other one calls `run_once` when `fd()` can be read from, or when `next_deadline()` has
    // come, which it asks for before each wait. All on one thread.

    /// A descriptor that polls as readable as soon as `run_once` has something to do. It is the
    /// loop's own, stays the same, and is neither read from nor closed by others.
    /// On the ring it takes one of another kind than loops have that sleep themselves: so it is
    /// asked for before anything was started, or while nothing is under way.
    /// Throws:   std::system_error (io_uring_setup, epoll_create1); RuntimeError when the loop is
    ///           closed, or has operations under way.
    int fd();
    /// When `run_once` is to be called although `fd()` does not tell: now or earlier when something
    /// is ready; TimePoint::max(): `fd()` will tell. Hands over to the kernel what was started, so
    /// it is asked after everything that was done with the loop from outside, and right before the
    /// wait.
    /// Throws:   RuntimeError while the loop runs, or when it is closed.
    TimePoint next_deadline();

    // --- scheduling ---

    /// Runs `fn()` in the next turn, after what is ready already.
    template <class F>
    Handle call_soon(F&& fn);
    /// Runs `fn()` once `delay` has passed; delays <= 0 mean the next turn. The delay counts from
    /// the first timer that the current step has set: the clock is read once a step (`sleep` reads
    /// it anew).
    /// Throws:   std::invalid_argument for a duration that is NaN or too long.
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
    Task<T> create_task(Coro<T> coro, detail::File in = detail::file(__builtin_FILE()),
                        detail::Line line = detail::Line(__builtin_LINE()));
    /// `weft::create_task(fn, args...)` on this loop.
    template <class Fn>
    auto create_task(Fn&& fn, detail::File in = detail::file(__builtin_FILE()),
                     detail::Line line = detail::Line(__builtin_LINE()));
    template <class Fn, class First, class... Args>
    auto create_task(Fn&& fn, First&& first, Args&&... args);

    /// The loop's clock: monotonic, or virtual under test.
    TimePoint time() const noexcept { return detail::to_time_point(peek_clock()); }

    // --- descriptors of others ---

    /// Calls `fn()` in the loop, once a turn for as long as `fd` can be read from without blocking
    /// (or is at its end, or broken): for libraries that give a descriptor and want to be called.
    /// One a descriptor: a second one takes the place of the first. It is called no more when the
    /// number was closed, by whomever, even where another file has the number by then, and not
    /// while `run` ends. Remove it before a number is closed that the loop is not told of (see
    /// `io::forget`): the ring keeps the file open until then, and the peer sees no end. For a task
    /// there is `wait_readable`. A file that cannot be waited for (on a disk) is always ready.
    /// Throws:   std::system_error (EBADF); RuntimeError when the loop is closed.
    template <class F>
    void add_reader(int fd, F&& fn) {
        watch_descriptor(fd, false, detail::Callback<void()>(std::forward<F>(fn)));
    }
    /// The same for as long as it can be written to.
    template <class F>
    void add_writer(int fd, F&& fn) {
        watch_descriptor(fd, true, detail::Callback<void()>(std::forward<F>(fn)));
    }
    /// It is not called any more, also where its turn has come. False: there was none.
    bool remove_reader(int fd) noexcept { return unwatch_descriptor(fd, false); }
    bool remove_writer(int fd) noexcept { return unwatch_descriptor(fd, true); }

    // --- signals ---

    /// Calls `fn()` in the loop whenever `signal` arrives, in place of what it did before. One
    /// handler a loop and signal: a second one replaces the first.
    /// Throws:   std::system_error (EINVAL: no signal, or one that cannot be handled).
    template <class F>
    void add_signal_handler(int signal, F&& fn) {
        set_signal_handler(signal, detail::Callback<void()>(std::forward<F>(fn)));
    }
    /// What the signal did before is back. False: there was no handler.
    bool remove_signal_handler(int signal) noexcept;
    detail::SignalHub& signal_hub();
    detail::GracefulStop& graceful_stop();

    // --- reporting ---

    using ExceptionHandler = detail::Callback<void(const ExceptionContext&)>;
    /// Gets the failures that nobody awaits. The default writes to stderr.
    void set_exception_handler(ExceptionHandler handler) {
        handler_ = std::move(handler);
        handler_replaced_ = true;
    }
    void call_exception_handler(const ExceptionContext& context) noexcept;
    void set_debug(bool on);
    bool debug() const noexcept { return special_.debug; }
    /// In debug mode a step longer than this is reported.
    Duration slow_callback_duration{std::chrono::milliseconds(100)};
    const BackendInfo& backend_info() const noexcept { return backend_->info(); }
    /// System calls the backend has made.
    std::uint64_t kernel_entries() const noexcept { return backend_->kernel_entries(); }
    /// A line for each live task: its name and what it waits on.
    std::string dump() const;

    /// The loop has begun to end: callbacks that were scheduled before do not run any more.
    bool is_ending() const noexcept { return ending_; }

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
    void for_each_task(detail::Visitor<detail::TaskCore> visit);

    /// The running task, or a RuntimeError that says what was awaited outside of one.
    detail::TaskCore& require_task() const {
        if (!current_) [[unlikely]]
            refuse_outside();
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
    /// For a task that mostly is of the running loop: what comes then need not wait for the task to
    /// tell its loop (2 of 14 ns of a lock that is handed on).
    static void wake_from_here(detail::TaskCore& task) noexcept {
        EventLoop* const here = detail::running_loop;
        if (here != task.loop) [[unlikely]]
            return wake_elsewhere(task);
        here->wake(task);
    }
    void push(detail::ReadyNode& node) noexcept { ready_.push(node); }
    inline void push_due(detail::ReadyNode& callback) noexcept;
    /// The last act of a callback from the ready queue: `task` runs in its place.
    void run_instead(detail::TaskCore& task) noexcept;
    /// Tasks that are linked by `next_ready`; what they wait on is told by `resumed`.
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
    detail::CancelWays& cancel_ways() noexcept { return cancel_ways_; }
    /// While it is there: what was to be run for the tasks that a cancel reaches may refer to
    /// locals that have gone, so they take no ordinary step more (see `check_leftover`).
    class Strike;
    bool strikes() const noexcept { return strikes_ != Strikes::no; }
    /// The same for a task that was cancelled before and does not know of it yet, and for all that
    /// the cancel was passed on to. Others are left alone: they are cleaning up.
    void strike_again(detail::TaskCore& task) noexcept;
    /// For a Suspension that has passed its cancel on to several and is asked again. `for_each`
    /// visits them; what comes out is what `cancel` is to return.
    template <class ForEach>
    detail::TaskCore* strike_each(ForEach&& for_each) noexcept;
    /// A task that is struck inside a group's body takes the group's children along, who may run
    /// before it does.
    void strike_groups() noexcept;
    /// Cancels every task, each once; those in a `clean_up` only when told to. Whoever awaits
    /// another task is told by that one's end.
    void cancel_all(bool in_clean_up_too) noexcept;
    /// From now on the loop runs only so that its tasks can end. Cancels them like `cancel_all`,
    /// and before any of them runs again: see `check_leftover`. Does nothing the second time.
    void begin_end(bool in_clean_up_too) noexcept;
    /// The ready queue has it until its first step; see `tasks_`.
    void add(detail::TaskCore& task) noexcept { ready_.push(task); }
    /// As the run's options say: the same, or `add_eager`.
    void begin(detail::TaskCore& task);
    /// Tasks that are made are to be looked at one by one: where they were created is to be kept
    /// (debug mode), or they start in place (`RunOptions::eager_tasks`). Each task of such a loop
    /// carries a mark, so that this is asked only where a task is made that is special anyway.
    bool marks_tasks() const noexcept { return special_.debug || eager_tasks_; }
    bool starts_in_place() const noexcept { return eager_tasks_ && running_; }
    /// The first step inside the caller's.
    void add_eager(detail::TaskCore& task);
    /// The same for an awaiter: in the middle of a coroutine there is no Interlude to make.
    inline void run_in_place(detail::TaskCore& task);
    /// From here on the group's list has it. (An eager one may be done, or in ours.)
    void adopt(detail::GroupCore& group, detail::TaskCore& task) noexcept;
    /// The group goes before its child. (Its parent's frame was destroyed where it stood.)
    void disown(detail::TaskCore& task) noexcept;
    /// By the group, of a child that has ended: it is told in that child's turn.
    void tell_group_later(detail::TaskCore& task, detail::GroupCore& group) noexcept;
    std::uint32_t next_task_id() noexcept { return ++last_task_id_; }
    void complete(detail::FutureCore& future, detail::FutureCore::State state) noexcept;
    static void report_unretrieved(detail::FutureCore& future) noexcept;
    [[noreturn]] void refuse_outside() const;
    /// With the exception that is being handled.
    void report_callback(const char* message, const detail::FutureCore& of) noexcept;
    /// Debug mode. Of a loop that lives, and on another thread: the program ends, with a name.
    static void refuse_foreign_handle(const detail::FutureCore& future) noexcept;

    /// Hands an operation to the backend. True: complete at once, do not suspend. The budget keeps
    /// a socket that always has data from starving everybody else.
    bool start(detail::Operation& op) noexcept {
        special_.world = true;
        if (!backend_->start(op)) return false;
        if (budget_step_ != step_) {
            budget_step_ = step_;
            inline_budget_ = inline_budget_per_step;
        }
        if (inline_budget_-- > 0 || op.sent_in_part()) return true;
        backend_->postpone(op);
        return false;
    }
    void cancel(detail::Operation& op) noexcept { backend_->cancel(op); }
    /// For memory that is used again and again: see Backend.
    std::uint8_t pin(void* memory, std::size_t size) noexcept {
        return backend_->pin(memory, size);
    }
    void unpin(std::uint8_t number) noexcept { backend_->unpin(number); }
    bool lends_buffers() const noexcept { return backend_->lends_buffers(); }
    std::uint64_t backend_serial() const noexcept { return backend_->serial(); }
    void forget(int fd) noexcept;
    /// An operation of this loop is about to close a number that others of this thread may know.
    void tell_others_of_close(int fd) noexcept {
        if (next_live_ || detail::live_loops != this) [[unlikely]]
            make_others_forget(fd);
    }
    /// For who has operations under way that no task waits for: `what.end` is called when the loop
    /// closes, unless it was unlinked before.
    void tell_at_close(detail::EndsWithLoop& what) noexcept { end_with_us_.push_back(what); }
    /// See Backend.
    bool is_sending(int fd) noexcept { return backend_->is_sending(fd); }
    /// Somebody waits for an operation that is counted as a background one.
    void count_waiter() noexcept {
        special_.world = true;
        backend_->count_waiter();
    }
    void discount_waiter() noexcept { backend_->discount_waiter(); }

    /// Somebody who does not wait wants to know what a background operation has brought: the kernel
    /// is asked at the end of this turn, although nobody waits for anything.
    void look_soon() noexcept { special_.world = looks_ = true; }

    /// Counts steps of tasks and callbacks: the number of the one that runs.
    std::uint64_t step() const noexcept { return step_; }
    /// On virtual time: as if the step that runs had taken that long.
    void pass_virtual_time(detail::Nanoseconds time) noexcept {
        if (virtual_time_) virtual_now_ += time;
    }
    /// Now, read at most once a step: for deadlines that a step sets.
    detail::Nanoseconds now() noexcept {
        if (time_step_ != step_ || !running_) {
            time_step_ = step_;
            step_time_ = read_clock();
        }
        return step_time_;
    }
    /// Now. The turn's newest reading is also what its due timers are found with, see fire_timers.
    detail::Nanoseconds read_clock() noexcept { return newest_reading_ = peek_clock(); }
    detail::Nanoseconds peek_clock() const noexcept {
        return virtual_time_ ? virtual_now() : detail::monotonic_now();
    }
    /// A task waits for what a thread does for it and ends by itself: virtual time must not jump
    /// over that, as little as over what is `busy` (see Backend).
    void count_thread_job() noexcept { ++thread_jobs_; }
    void discount_thread_job() noexcept { --thread_jobs_; }
    /// A task waits for what other threads may do or not.
    void count_thread_wait() noexcept { ++thread_waits_; }
    void discount_thread_wait() noexcept { --thread_waits_; }
    void arm(detail::Timer& timer, detail::Nanoseconds deadline) {
        special_.world = true;
        timers_.insert(timer, deadline);
    }
    void disarm(detail::Timer& timer) noexcept { timers_.remove(timer); }
    std::size_t armed_timers() const noexcept { return timers_.size(); }

    void check_thread(const char* call) const {
        if (debug()) [[unlikely]]
            refuse_other_thread(call);
    }
    void check_open(const char* call) const {
        check_thread(call);
        if (closed_) [[unlikely]]
            refuse_closed(call);
    }
    /// The same for a future, which may outlive its loop.
    static void check_thread(const detail::FutureCore& future, const char* call) {
        if (future.debug && lives_elsewhere(future.loop)) [[unlikely]]
            detail::throw_runtime_error({call, ": the event loop of ", detail::text_of(future),
                                         " belongs to another thread (use call_soon_threadsafe)"});
    }
    void run_until_done(detail::FutureCore& future);
    /// Runs turns until no task is left, at most `limit`. False: some are.
    bool run_until_no_tasks(Duration limit);

private:
    template <class F>
    TimerHandle call_at_deadline(detail::Nanoseconds deadline, F&& fn);

    static void wake_elsewhere(detail::TaskCore& task) noexcept;
    void run_turns();
    void turn(bool hurry);
    void meet_the_world(bool hurry);
    /// Neither the kernel, nor a timer, nor another thread has anything for this turn.
    bool nothing_else() const noexcept { return !special_.world && inbox_->empty(); }
    /// This turn must not sleep.
    bool in_a_hurry() const noexcept {
        return special_.stopping || !ready_.empty() || !inbox_->empty();
    }
    void run_ready();
    inline void run_chain(detail::ReadyNode* node);
    /// Whether a step is a part of the turn's code, or one of the rare ones beside it, which call
    /// what the turn has in itself.
    enum class Place : bool { turn, apart };
    template <Place place>
    [[nodiscard]] inline detail::TaskCore* run_node(detail::ReadyNode& node);
    detail::TaskCore* run_struck(detail::TaskCore& task);
    void run_watched(detail::ReadyNode* node);
    template <Place place>
    [[nodiscard]] inline detail::TaskCore* run_task(detail::TaskCore& task,
                                                    std::coroutine_handle<> at);
    template <Place place>
    [[nodiscard]] inline detail::TaskCore* run_first_step(detail::TaskCore& task);
    inline void list(detail::TaskCore& task) noexcept;
    static void tell_group_now(detail::TaskCore& task, detail::ReadyNode::Verb verb) noexcept;
    [[nodiscard]] inline detail::TaskCore* leave_group(detail::TaskCore& task,
                                                       detail::GroupCore& group) noexcept;
    [[nodiscard]] inline detail::TaskCore* finish(detail::TaskCore& task,
                                                  detail::FutureCore::State state,
                                                  detail::GroupCore* owner) noexcept;
    template <Place place>
    [[nodiscard]] inline detail::TaskCore* finish_step(detail::TaskCore& task,
                                                       std::uintptr_t over) noexcept;
    [[nodiscard]] detail::TaskCore* finish_apart(detail::TaskCore& task,
                                                 detail::FutureCore::State state,
                                                 detail::GroupCore* owner) noexcept;
    void end_unfinished(detail::TaskCore& task) noexcept;
    void end_first_step(detail::TaskCore& task, std::uintptr_t over) noexcept;
    void queue(detail::TaskCore* heir) noexcept {
        if (heir) ready_.push(*heir);
    }
    void for_each_unlisted(detail::Visitor<detail::TaskCore> visit);
    bool has_tasks() noexcept;
    void tell_all(detail::FutureCore& future) noexcept;
    void tell(detail::FutureWaiter& waiter) noexcept;
    void report_task(const char* message, const detail::TaskCore& task) noexcept;
    void report_swallowed(const detail::TaskCore& task) noexcept;
    void enter_kernel(detail::Nanoseconds timeout);
    void spin(detail::Nanoseconds limit);
    void advance_virtual_time();
    detail::Nanoseconds virtual_now() const noexcept;
    bool works_elsewhere() const noexcept { return thread_jobs_ + backend_->busy() > 0; }
    void queue_posts() noexcept;
    void run_posts(detail::TakenPosts posts) noexcept;
    void run_last_posts() noexcept;
    void fire_timers(bool hurry);
    void fire_due(detail::Nanoseconds now);
    void fire_after_callbacks(detail::Nanoseconds now) noexcept;
    void fire_late() noexcept;
    void run_apart(detail::ReadyNode& node);
    void check_progress();
    std::string circle_of_tasks();
    void report_circle() noexcept;
    void request_cancel(detail::TaskCore& task) noexcept;
    bool strike(detail::TaskCore& task) noexcept;
    static void let_go(detail::TaskCore& task) noexcept;
    static void copy_cancel_message(const detail::TaskCore& from, detail::TaskCore& to) noexcept;
    bool let_go_of_tasks() noexcept;
    void drain_cancels();
    void drop_callbacks() noexcept;
    void cancel_latecomers(std::uint32_t newest_before, std::uint32_t newest_started) noexcept;
    void stop_chain() noexcept;
    void end_operations();
    void drop_everything() noexcept;
    void arm_wake_up() noexcept;
    void make_pollable();
    bool hand_over(detail::Nanoseconds& timeout);
    void end_wait() noexcept;
    static void wake_up_arrived(detail::Operation& op) noexcept;
    void refuse_other_thread(const char* call) const;
    [[noreturn]] void refuse_closed(const char* call) const;
    static bool is_live(const EventLoop* loop) noexcept;
    static bool lives_elsewhere(const EventLoop* loop) noexcept;
    static void descriptor_closing(int fd) noexcept;
    static void forked() noexcept;
    struct AtThreadEnd;
    void check_end_here() noexcept;
    void make_others_forget(int fd) noexcept;
    void watch_descriptor(int fd, bool writes, detail::Callback<void()> call);
    bool unwatch_descriptor(int fd, bool writes) noexcept;
    void end_watches() noexcept {
        detail::FdWatchTable* const ended = std::exchange(watches_, nullptr);
        if (ended) ended->destroy(*ended);
    }
    void set_signal_handler(int signal, detail::Callback<void()> call);
    detail::LoopExtras& extras();
    void leave_to_parent() noexcept;
    void let_go_of_all() noexcept;
    void drop_posts() noexcept;
    explicit EventLoop(const detail::Ref<detail::Inbox>& closed) noexcept;
    void list_debugged() noexcept;
    void unlist_debugged() noexcept;
    void report_slow(detail::Nanoseconds began, const std::string& who) noexcept;

    /// While a step is interrupted by the first one of an eager task: whose it is.
    struct Interrupted {
        explicit Interrupted(EventLoop& on) noexcept
            : loop(on), task(on.current_), outer(std::exchange(on.interrupted_, this)) {}
        Interrupted(const Interrupted&) = delete;
        Interrupted& operator=(const Interrupted&) = delete;
        ~Interrupted() {
            loop.interrupted_ = outer;
            loop.current_ = task;
        }
        EventLoop& loop;
        detail::TaskCore* task;
        const Interrupted* outer;
    };
    struct RunScope;
    struct EndOfRun;
    struct WakeUp : detail::Operation {
        using Operation::Operation;
        std::uint64_t count = 0;
    };
    struct PostBatch : detail::CallbackNode {
        explicit PostBatch(EventLoop& on) noexcept : CallbackNode(&run), loop(&on) {}
        static void run(detail::CallbackNode& node, Verb verb) noexcept;
        EventLoop* loop;
    };
    /// Timers whose turn comes after that of a callback.
    struct LateTimers : detail::CallbackNode {
        explicit LateTimers(EventLoop& on) noexcept : CallbackNode(&run), loop(&on) {}
        static void run(detail::CallbackNode& node, Verb verb) noexcept;
        EventLoop* loop;
        bool queued = false;  // what is due waits for it
        bool running = false;
        detail::Nanoseconds now = 0;
        std::uint64_t set_before = 0;
    };

    static constexpr int inline_budget_per_step = 64;
    static constexpr int ready_awaits_per_step = 128;
    /// So long a loop with nothing under way has slept when it looks for tasks that await each
    /// other: one that other threads keep busy never does.
    static constexpr detail::Nanoseconds silence_before_look = 1'000'000'000;

    /// What makes a turn more than a walk through the ready queue. A quiet turn looks at all of it
    /// as one word.
    struct Special {
        bool any() const noexcept { return __builtin_bit_cast(std::uint32_t, *this) != 0; }
        bool debug = false;
        bool stopping = false;
        bool over = false;  // the run ends with this turn
        /// Operations are outstanding, or timers armed. Set by whoever begins one, and cleared only
        /// at the end of a turn that has found none: so false means none, and true is looked into.
        bool world = false;
    };

    detail::ReadyQueue ready_;
    detail::ReadyNode* rest_ = nullptr;  // of the chain that is being run
    const Interrupted* interrupted_ = nullptr;
    detail::ReadyNode* before_woken_ = nullptr;  // while timers fire, see fire_timers
    detail::TaskCore* current_ = nullptr;
    Special special_;
    std::uint64_t step_ = 1;  // counts steps; what is cached for a step carries its number
    std::uint64_t budget_step_ = 0;
    std::uint64_t time_step_ = 0;
    int inline_budget_ = 0;
    bool virtual_time_ = false;
    bool running_ = false;
    bool ending_ = false;
    bool looks_ = false;  // see `look_soon`
    bool closed_ = false;
    bool eager_tasks_ = false;
    bool is_parents_ = false;
    bool posts_queued_ = false;
    unsigned ring_entries_;
    bool others_wait_ = false;  // since `next_deadline`, until the next run
    enum class Strikes : std::uint8_t { no, with_cancel, again };
    Strikes strikes_ = Strikes::no;
    bool struck_more_ = false;
    detail::Nanoseconds step_time_ = 0;
    detail::Nanoseconds newest_reading_ = 0;  // 0: none since timers were last looked at
    detail::TimerHeap timers_;
    detail::Owned<detail::Backend> backend_;
    detail::Ref<detail::Inbox> inbox_;
    WakeUp wake_up_{detail::OpCode::read, &wake_up_arrived};
    PostBatch posts_{*this};
    LateTimers late_timers_{*this};
    /// A task that is not done is found in one place: the ready queue or the chain that is being
    /// run, from its making to its first step; `current_` in that step, or one of `interrupted_`;
    /// this list, from then on, or its group's, if it is a group's child. (Most tasks end in their
    /// first step and are never listed. A child is linked in its group's list from the beginning,
    /// but looked for there only when it is `listed`.)
    detail::IntrusiveList<detail::TaskCore, detail::AllTasksTag> tasks_;
    detail::IntrusiveList<detail::GroupCore> groups_;  // those that have had a listed child
    std::uint32_t last_task_id_ = 0;
    detail::CancelWays cancel_ways_;
    // (Mutable: who looks at the clock sets it, see `virtual_now`.)
    mutable detail::Nanoseconds virtual_now_ = 0;
    mutable detail::Nanoseconds waited_ = 0;  // in real time, and not part of `virtual_now_` yet
    detail::Nanoseconds virtual_grace_ = 0;
    std::uint32_t thread_jobs_ = 0;
    std::uint32_t thread_waits_ = 0;
    detail::Nanoseconds busy_poll_ = 0;
    detail::Nanoseconds hang_limit_ = 0;
    detail::Nanoseconds last_progress_ = 0;  // real time, kept only with a hang limit
    std::uint64_t progress_step_ = 0;
    std::uint64_t circles_step_ = 0;  // when circles were last looked for
    std::string told_circle_;
    ExceptionHandler handler_;
    bool handler_replaced_ = false;
    detail::FdWatchTable* watches_ = nullptr;
    detail::Owned<detail::LoopExtras> extras_;  // what few loops have, made when first needed
    detail::IntrusiveList<detail::EndsWithLoop> end_with_us_;
    pthread_t thread_ = ::pthread_self();
    pid_t process_;
    bool outlives_thread_ = false;  // nobody has it in his list any more
    EventLoop* next_live_ = nullptr;
    EventLoop* next_debugged_ = nullptr;  // in the list of all threads, see DebuggedLoops
    bool is_debugged_ = false;
};

[[gnu::always_inline]] inline void EventLoop::run_in_place(detail::TaskCore& task) {
    const Interrupted interrupted(*this);
    current_ = &task;
    const std::uintptr_t over = detail::run_step(task.root);
    // Most end here and have nobody to tell; the caller has a handle.
    if (over == detail::task_is_over && task.waiters.empty() && !debug() && task.refs > 1)
        [[likely]] {
        task.state = static_cast<detail::FutureCore::State>(task.outcome_kind());
        --task.refs;
        return;
    }
    end_first_step(task, over);
}

class EventLoop::Strike {
public:
    explicit Strike(EventLoop& loop) noexcept
        : loop_(loop), before_(std::exchange(loop.strikes_, Strikes::with_cancel)) {}
    Strike(const Strike&) = delete;
    Strike& operator=(const Strike&) = delete;
    ~Strike() { loop_.strikes_ = before_; }

private:
    EventLoop& loop_;
    Strikes before_;
};

// (The last one is returned while there is somebody to go on with it: a chain of groups in groups
// may be longer than the stack is deep.)
template <class ForEach>
detail::TaskCore* EventLoop::strike_each(ForEach&& for_each) noexcept {
    if (!strikes()) return nullptr;
    detail::TaskCore* last = nullptr;
    for_each([&](detail::TaskCore& task) {
        if (last) strike_again(*last);
        last = &task;
    });
    if (strikes_ == Strikes::again) return last;
    if (last) strike_again(*last);
    return nullptr;
}

// (Here, to become part of whoever throws: a frame more to unwind costs 0.4 us.)
inline void EventLoop::throw_cancelled() {
    detail::TaskCore* const task = current_;
    detail::resumes_leftover = false;
    if (!task) throw CancelledError();
    task->must_cancel = task->keeps_cancel;
    task->delivered = true;
    if (const detail::TaskExtras* const extras = task->extras())
        throw CancelledError(extras->cancel_message);
    throw CancelledError();
}

}  // namespace weft
