// SPDX-License-Identifier: MIT
// ThreadPool, to_thread: blocking calls and long computations on threads, awaited by tasks.
#pragma once

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

#include "../base/clock.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/owned.hpp"
#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../base/thread.hpp"
#include "../queue/queue.hpp"
#include "../runtime/loop.hpp"
#include "detail/pool_state.hpp"
#include "detail/thread_job.hpp"
#include "detail/thread_wait.hpp"

namespace weft {

/// Says of a call on a thread that it refers to nothing of the task that awaits it: a cancel does
/// not wait for it, it goes on alone, and its result is dropped. (Trio's abandon_on_cancel.)
struct AbandonOnCancel {
    explicit constexpr AbandonOnCancel() noexcept = default;
};
inline constexpr AbandonOnCancel abandon_on_cancel{};

/// A bounded set of threads that run blocking calls for tasks. Threads start as they are needed,
/// and go when they were idle for long; they have all signals blocked, which are for the program's
/// own threads.
///
/// When the pool goes, jobs that wait for a thread are dropped (their awaits end with a
/// RuntimeError), and those that run go on to their end: nothing that they use is freed before.
/// Thread:   any, but `run` is awaited on a loop's thread. In a forked child `run` is refused: make
///           another one there.
class ThreadPool {
public:
    explicit ThreadPool(ThreadPoolOptions options = {})
        : state_(new detail::ThreadPoolState(std::move(options))) {}
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;
    ~ThreadPool() { state_->close(); }

    /// Calls `fn(args...)` on a thread of the pool, or `fn(stop, args...)` where it takes a
    /// StopToken first, and returns what it returns. The callable and its arguments are moved
    /// there, and context variables have the values there that they have here (those whose type can
    /// be copied).
    /// Throws:   what the call throws; QueueFull; RuntimeError when the pool is closed;
    ///           std::system_error (pthread_create) when there is no thread; CancelledError.
    /// Cancel:   a call that has not begun does not happen. One that runs is asked to stop (its
    ///           StopToken, `thread_stop_token()`) and waited for: it may be using what this task
    ///           owns. Its result is then returned, and the cancel strikes at the next suspension.
    ///           With `abandon_on_cancel` before `fn` it is not waited for.
    /// Lifetime: the callable and its arguments live until the call has ended, whatever becomes of
    ///           the await. What they refer to is yours: a task that is destroyed because its
    ///           clean-up took too long does not wait.
    template <class Fn, class... Args>
        requires detail::ThreadWork<std::decay_t<Fn>, std::decay_t<Args>...>
    auto run(Fn&& fn, Args&&... args) {
        return make(false, std::forward<Fn>(fn), std::forward<Args>(args)...);
    }
    template <class Fn, class... Args>
        requires detail::ThreadWork<std::decay_t<Fn>, std::decay_t<Args>...>
    auto run(AbandonOnCancel, Fn&& fn, Args&&... args) {
        return make(true, std::forward<Fn>(fn), std::forward<Args>(args)...);
    }

    /// Takes no more jobs, and drops those that wait. Idempotent.
    void close() noexcept { state_->close(); }
    /// Closes, and blocks the calling thread until all threads have ended, `limit` at most.
    /// Returns:  false: some job still runs.
    bool join(Duration limit) {
        state_->close();
        return state_->join(limit);
    }
    /// How many threads there are now, idle ones among them.
    std::size_t threads() const noexcept { return state_->threads(); }
    /// How many jobs wait for one.
    std::size_t queued() const noexcept { return state_->queued(); }

private:
    template <class Fn, class... Args>
    auto make(bool abandons, Fn&& fn, Args&&... args) {
        using R = detail::ThreadResultOf<std::decay_t<Fn>, std::decay_t<Args>...>;
        static_assert(!detail::is_coro<R>,
                      "weft: a thread calls an ordinary function: a coroutine is awaited, or given "
                      "to another loop (Remote::spawn)");
        static_assert(!std::is_reference_v<R>,
                      "the work of a thread returns a value: a reference may not outlive it");
        using Job = detail::TypedThreadJob<R, std::decay_t<Fn>, std::decay_t<Args>...>;
        detail::Ref<detail::ResultOfThread<R>> job(
            new Job(get_running_loop(), std::forward<Fn>(fn), std::forward<Args>(args)...));
        return detail::ThreadAwaiter<R>(state_, std::move(job), abandons);
    }

    detail::Ref<detail::ThreadPoolState> state_;
};

/// The pool that `to_thread` uses: one for the process, made when it is first needed and never
/// destroyed. (A forked child gets one of its own.)
ThreadPool& default_thread_pool();

/// Calls a blocking function on a thread, and returns what it returns; the loop goes on meanwhile.
/// `ThreadPool::run` on the process's own pool; see there for everything else.
///
///     const std::string text = co_await weft::to_thread(&read_slowly, path);
template <class Fn, class... Args>
    requires detail::ThreadWork<std::decay_t<Fn>, std::decay_t<Args>...>
auto to_thread(Fn&& fn, Args&&... args) {
    return default_thread_pool().run(std::forward<Fn>(fn), std::forward<Args>(args)...);
}

template <class Fn, class... Args>
    requires detail::ThreadWork<std::decay_t<Fn>, std::decay_t<Args>...>
auto to_thread(AbandonOnCancel, Fn&& fn, Args&&... args) {
    return default_thread_pool().run(abandon_on_cancel, std::forward<Fn>(fn),
                                     std::forward<Args>(args)...);
}

/// asyncio's name for both: `pool.run(fn, args...)`, or `to_thread(fn, args...)` with nullptr.
template <class... Work>
auto run_in_executor(ThreadPool& pool, Work&&... work) {
    return pool.run(std::forward<Work>(work)...);
}
template <class... Work>
auto run_in_executor(std::nullptr_t, Work&&... work) {
    return to_thread(std::forward<Work>(work)...);
}

/// On a pool's thread: that of the job which runs here, for functions that are called deep below
/// it. Elsewhere one that nobody asks.
inline StopToken thread_stop_token() noexcept {
    const detail::ThreadJob* const job = detail::ThreadJob::current();
    return job ? job->stop_token() : StopToken();
}

#if WEFT_BODIES
namespace detail {

// --- a job ---

[[gnu::cold]] WEFT_INLINE void ThreadJob::run_here() noexcept {
    current_job = this;
    {
        const AmbientScope scope(context_);
        run();
    }
    current_job = nullptr;
}

[[gnu::cold]] WEFT_INLINE void ThreadJob::tell_end(Ref<ThreadJob> job) noexcept {
    const Remote home = job->home_;
    ReservedPost end = std::move(job->end_);
    // (The reference goes along: what belongs to the job is destroyed on the loop's thread. Once
    // that is closed nobody waits for the result, which goes with the job.)
    static_cast<void>(home.answer(std::move(end), [job = std::move(job)] {
        if (job->waiter) job->waiter->job_ended();
    }));
}

// --- the wait ---

WEFT_INLINE void ThreadWait::await_suspend(std::coroutine_handle<> handle) {
    EventLoop& loop = get_running_loop();
    task_ = &loop.require_task();
    if (task_->must_cancel) [[unlikely]] {
        cancelled_ = true;  // not begun, so it certainly did not happen
        loop.suspend(handle, *this);
        return loop.wake(*task_);
    }
    job_->waiter = this;
    loop.count_thread_job();
    pool_->submit(job_);
    loop.suspend(handle, *this);
}

WEFT_INLINE void ThreadWait::job_ended() noexcept {
    forget_job();
    task_->loop->wake(*task_);
}

WEFT_INLINE void ThreadWait::check() {
    check_leftover();
    if (cancelled_) task_->loop->throw_cancelled();
    if (job_->place == ThreadJob::Place::outside)
        throw_runtime_error(
            {"ThreadPool '", pool_->options().name, "': closed before the call began"});
}

WEFT_INLINE ThreadWait::~ThreadWait() {
    if (!job_->waiter) return;
    forget_job();
    job_->request_stop();
    pool_->take_back(*job_);
}

// --- the pool ---

[[gnu::cold]] inline std::size_t usual_thread_count() noexcept {
    const long cores = ::sysconf(_SC_NPROCESSORS_ONLN);
    return std::min<std::size_t>(32, static_cast<std::size_t>(std::max(cores, 1L)) + 4);
}

[[gnu::cold]] inline ThreadPoolOptions completed(ThreadPoolOptions options) {
    if (options.threads == 0) options.threads = usual_thread_count();
    return options;
}

[[gnu::cold]] WEFT_INLINE ThreadPoolState::ThreadPoolState(ThreadPoolOptions options)
    : options_(completed(std::move(options))) {
    static const int error = ::pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });
    if (error != 0) throw_system_error(error, "pthread_atfork");
    forks_ = forks.load(std::memory_order_relaxed);
}

WEFT_INLINE void ThreadPoolState::submit(const Ref<ThreadJob>& job) {
    if (is_parents()) [[unlikely]] {
        throw_runtime_error(
            {"ThreadPool '", options_.name, "': it belongs to the parent of this forked process"});
    }
    const Locked lock(mutex_);
    if (closed_) throw_runtime_error({"ThreadPool '", options_.name, "': it is closed"});
    // (One for which a thread is on its way does not wait.)
    const bool is_full = queued_ >= options_.queue_limit + (threads_ - busy_);
    if (options_.queue_limit > 0 && is_full && threads_ >= options_.threads) throw QueueFull();
    // First the thread: the job is not queued if nobody will ever run it.
    if (queued_ >= idle_ && threads_ < options_.threads) {
        const int error = start_thread_if_short();
        if (error != 0 && threads_ == 0) {
            throw_system_error(error,
                               concat({"pthread_create (thread pool '", options_.name, "')"}));
        }
    }
    job->place = ThreadJob::Place::queued;
    queue_.push_back(*Ref<ThreadJob>(job).leak());
    ++queued_;
    if (idle_ > 0) work_arrived_.notify_one();
}

[[gnu::cold]] WEFT_INLINE int ThreadPoolState::start_thread_if_short() noexcept {
    pthread_t thread;
    add_ref();  // the thread's
    if (const int error = try_start_thread(thread, &work_on, this); error != 0) {
        release();
        return error;
    }
    ::pthread_detach(thread);
    ++threads_;
    return 0;
}

WEFT_INLINE bool ThreadPoolState::take_back(ThreadJob& job) noexcept {
    if (is_parents()) [[unlikely]]
        return false;
    {
        const Locked lock(mutex_);
        if (job.place != ThreadJob::Place::queued) return false;
        job.unlink();
        --queued_;
        job.place = ThreadJob::Place::outside;
    }
    job.release();
    return true;
}

[[gnu::cold]] WEFT_INLINE void ThreadPoolState::close() noexcept {
    if (is_parents()) return;
    IntrusiveList<ThreadJob> dropped;
    {
        const Locked lock(mutex_);
        closed_ = true;
        while (!queue_.empty()) {
            ThreadJob& job = queue_.pop_front();
            job.place = ThreadJob::Place::outside;
            dropped.push_back(job);
        }
        queued_ = 0;
        work_arrived_.notify_all();
    }
    while (!dropped.empty()) ThreadJob::tell_end(Ref<ThreadJob>(&dropped.pop_front()));
}

[[gnu::cold]] WEFT_INLINE bool ThreadPoolState::join(Duration limit) noexcept {
    if (is_parents()) return true;
    const Nanoseconds deadline = deadline_after(monotonic_now(), limit.count());
    const Locked lock(mutex_);
    while (threads_ > 0 && monotonic_now() < deadline) thread_ended_.wait_until(mutex_, deadline);
    return threads_ == 0;
}

WEFT_INLINE std::size_t ThreadPoolState::threads() noexcept {
    if (is_parents()) return 0;
    const Locked lock(mutex_);
    return threads_;
}
WEFT_INLINE std::size_t ThreadPoolState::queued() noexcept {
    if (is_parents()) return 0;
    const Locked lock(mutex_);
    return queued_;
}

[[gnu::cold]] WEFT_INLINE void* ThreadPoolState::work_on(void* self) noexcept {
    const Ref<ThreadPoolState> state(static_cast<ThreadPoolState*>(self));
    // (The system shows 15 bytes; a longer name is refused.)
    ::pthread_setname_np(::pthread_self(), state->options_.name.substr(0, 15).c_str());
    state->work();
    return nullptr;
}

/// False: this thread was idle for long, or the pool is closed.
WEFT_INLINE bool ThreadPoolState::wait_for_work() noexcept {
    const Nanoseconds deadline = deadline_after(monotonic_now(), options_.idle_time.count());
    ++idle_;
    while (queue_.empty() && !closed_ && monotonic_now() < deadline)
        work_arrived_.wait_until(mutex_, deadline);
    --idle_;
    return !queue_.empty();
}

WEFT_INLINE void ThreadPoolState::work() noexcept {
    const Locked lock(mutex_);
    while (!queue_.empty() || wait_for_work()) {
        Ref<ThreadJob> job(&queue_.pop_front());
        --queued_;
        ++busy_;
        job->place = ThreadJob::Place::running;
        mutex_.unlock();
        job->run_here();
        mutex_.lock();
        --busy_;
        job->place = ThreadJob::Place::ended;
        mutex_.unlock();
        ThreadJob::tell_end(std::move(job));
        mutex_.lock();
    }
    --threads_;
    thread_ended_.notify_all();
}

// Null in a forked child: it has none of the threads, and perhaps a locked mutex.
inline constinit std::atomic<ThreadPool*> process_pool{nullptr};

}  // namespace detail

[[gnu::cold]] WEFT_INLINE ThreadPool& default_thread_pool() {
    ThreadPool* pool = detail::process_pool.load(std::memory_order_acquire);
    if (pool) return *pool;
    static const int forks = ::pthread_atfork(
        nullptr, nullptr, [] { detail::process_pool.store(nullptr, std::memory_order_relaxed); });
    if (forks != 0) detail::throw_system_error(forks, "pthread_atfork");
    detail::Owned<ThreadPool> fresh(new ThreadPool());
    if (!detail::process_pool.compare_exchange_strong(pool, fresh.get(), std::memory_order_acq_rel))
        return *pool;
    return *fresh.release();
}
#endif

}  // namespace weft
