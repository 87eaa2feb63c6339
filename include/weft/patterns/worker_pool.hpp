// SPDX-License-Identifier: MIT
// worker_pool, WorkerPool<Job>: a fixed number of tasks that work on a bounded queue of jobs.
#pragma once

#include <cstddef>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/error.hpp"
#include "../base/outcome.hpp"
#include "../base/std_parts.hpp"
#include "../queue/queue.hpp"
#include "../runtime/loop.hpp"
#include "../task/coro.hpp"
#include "../task/task.hpp"
#include "../together/exception_group.hpp"
#include "../together/task_group.hpp"
#include "detail/own_context.hpp"

namespace weft {

/// What becomes of a pool when its handler fails.
enum class OnFailure : unsigned char {
    stop,     ///< like a task group: the other jobs and the body are cancelled, and it is thrown
    report,   ///< to the loop's exception handler, like a server's handler; the next job is begun
    collect,  ///< the next job is begun; all failures are thrown at the end
};

/// Not an aggregate: see TaskOptions.
struct WorkerPoolOptions {
    // NOLINTNEXTLINE(google-explicit-constructor): a number of workers is what most pools need.
    WorkerPoolOptions(std::size_t worker_count, std::size_t waiting_jobs = 0,
                      OnFailure what_then = OnFailure::stop) noexcept
        : workers(worker_count), queued(waiting_jobs), on_failure(what_then) {}

    std::size_t workers;   ///< at least 1
    std::size_t queued;    ///< jobs that wait for a worker; 0: as many as there are workers
    OnFailure on_failure;  ///< see there
};

template <class Job>
class WorkerPool;

/// Runs `body(pool, args...)` with a pool of workers, each of which takes jobs from a queue and
/// awaits `handler(job)`, one after the other.
///
///     co_await weft::worker_pool<Request>(8, handle, [&](weft::WorkerPool<Request>& pool)
///                                                        -> weft::Coro<void> {
///         while (auto request = co_await requests.next()) co_await pool.submit(*request);
///     });
///
/// Each job has its own context, a copy of the one in which `worker_pool` was called.
///
/// When the body returns, the pool is closed, and the block ends when all jobs are done. When the
/// body throws or is cancelled, jobs in the queue are dropped and those being done are cancelled
/// and awaited.
/// Returns:  what the body returns.
/// Throws:   a failure of a job (see OnFailure) or of the body as it is, or an ExceptionGroup of
///           several; CancelledError; std::invalid_argument for a pool without workers.
/// Cancel:   cancels the body and the jobs and waits for them. If any of them fails, that is thrown
///           and the cancel strikes again at the next suspension.
/// Lifetime: `handler`, `body` and `args` are kept; with g++ 12 name a lambda that captures by
///           value first.
template <class Job, class Handler, class Body, class... Args>
auto worker_pool(WorkerPoolOptions options, Handler handler, Body body, Args... args)
    -> std::invoke_result_t<Body&, WorkerPool<Job>&, Args...>;

/// What `worker_pool` gives to its body. Pass it by reference to whatever is to submit jobs.
/// Lifetime: until the `worker_pool` that made it ends.
/// Thread:   loop thread only.
template <class Job>
class WorkerPool {
public:
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;

    /// Puts the job into the queue; waits while the queue is full. The task that waits longest is
    /// served first.
    /// Throws:   QueueShutDown when the pool takes no jobs any more; CancelledError.
    /// Cancel:   lossless: the job was put, or it is still in the awaiter (see Queue::put).
    auto submit(Job job) { return jobs_.put(std::move(job)); }
    /// False: no room, or the pool takes no jobs any more; then `job` was not moved from.
    bool try_submit(Job&& job) { return jobs_.try_put(std::move(job)); }

    /// No more jobs are taken; those in the queue are still done. A submit that waits for room
    /// throws QueueShutDown. Idempotent.
    void close() noexcept { jobs_.shutdown(); }
    /// Waits until every job that was submitted is done; more may be submitted meanwhile.
    /// Cancel:   ends the wait alone.
    auto join() noexcept { return jobs_.join(); }
    /// `close`, and waits until every job is done.
    /// Cancel:   ends the wait alone; the pool stays closed.
    auto drain() noexcept {
        close();
        return jobs_.join();
    }
    /// Takes no more jobs, drops those in the queue and cancels those that are being done (the end
    /// of the block, and `join`, wait for their clean-up). The body goes on. Idempotent.
    void cancel() noexcept;

    bool closed() const noexcept { return jobs_.is_shutdown(); }
    /// Jobs that wait for a worker.
    std::size_t queued() const noexcept { return jobs_.size(); }
    /// Jobs that are being done.
    std::size_t running() const noexcept { return running_; }
    std::size_t workers() const noexcept { return workers_.size(); }

protected:
    explicit WorkerPool(const WorkerPoolOptions& options);
    ~WorkerPool() = default;

    class Running;
    class ClosedAtExit;
    void fail(std::exception_ptr failure);

    Queue<Job> jobs_;
    std::vector<Task<void>> workers_;
    std::vector<std::exception_ptr> failures_;
    std::size_t running_ = 0;
    OnFailure on_failure_;
    bool failed_ = false;  // so no job is begun, also before the group cancels the workers
};

template <class Job>
WorkerPool<Job>::WorkerPool(const WorkerPoolOptions& options)
    : jobs_(options.queued ? options.queued : options.workers), on_failure_(options.on_failure) {
    if (options.workers == 0) throw std::invalid_argument("weft: worker_pool: no workers");
    workers_.reserve(options.workers);
}

template <class Job>
void WorkerPool<Job>::cancel() noexcept {
    jobs_.shutdown(true);
    for (const Task<void>& worker : workers_) worker.cancel();
}

/// From when a job was taken until it is done, dropped or its frame destroyed.
template <class Job>
class WorkerPool<Job>::Running {
public:
    explicit Running(WorkerPool& pool) noexcept : pool_(pool) { ++pool_.running_; }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() {
        --pool_.running_;
        pool_.jobs_.task_done();  // of a job that was put: cannot throw
    }

private:
    WorkerPool& pool_;
};

/// Closes the pool on every way out of the body.
template <class Job>
class WorkerPool<Job>::ClosedAtExit {
public:
    explicit ClosedAtExit(WorkerPool& pool) noexcept : pool_(pool) {}
    ClosedAtExit(const ClosedAtExit&) = delete;
    ClosedAtExit& operator=(const ClosedAtExit&) = delete;
    ~ClosedAtExit() { pool_.close(); }

private:
    WorkerPool& pool_;
};

template <class Job>
void WorkerPool<Job>::fail(std::exception_ptr failure) {
    if (on_failure_ == OnFailure::report) {
        get_running_loop().call_exception_handler(
            {"a job of a worker pool failed", std::move(failure), current_task().name()});
    } else if (on_failure_ == OnFailure::collect) {
        failures_.push_back(std::move(failure));
    } else {
        failed_ = true;
        std::rethrow_exception(failure);
    }
}

namespace detail {

/// The pool, its handler and its workers. `worker_pool` and the workers share it: when a loop is
/// closed before they have ended, a worker may be destroyed later than the call of `worker_pool`.
template <class Job, class Handler>
class WorkerPoolRun final : public WorkerPool<Job>, public Counted<WorkerPoolRun<Job, Handler>> {
    using Pool = WorkerPool<Job>;
    using Shared = Ref<WorkerPoolRun>;

public:
    WorkerPoolRun(const WorkerPoolOptions& options, Handler&& handler)
        : Pool(options), handler_(std::move(handler)) {}

    template <class T, class Body>
    static Coro<T> run_body(Shared self, TaskGroup& group, std::size_t workers, Body& body) {
        const typename Pool::ClosedAtExit closed(*self);
        for (std::size_t i = 0; i < workers; ++i) {
            self->workers_.push_back(group.create_task(work(self), TaskOptions().eager(false)));
        }
        co_return co_await body(static_cast<Pool&>(*self));
    }

    std::vector<std::exception_ptr>& failures() noexcept { return this->failures_; }

private:
    static Coro<void> work(Shared self) {
        const OwnContext context;
        for (;;) {
            std::optional<Job> job;
            try {
                job.emplace(co_await self->jobs_.get());
            } catch (const QueueShutDown&) {
            }
            if (!job) co_return;  // closed, and nothing is left
            const typename Pool::Running running(*self);
            if (self->failed_) co_return;
            context.renew();
            co_await self->handle(*job);
            // The job has ended although it was cancelled. The worker ends here: otherwise the next
            // job would run without knowing of the cancel.
            if (current_task().cancelling() > 0) throw CancelledError();
        }
    }
    Coro<void> handle(Job& job) {
        std::exception_ptr failure;
        try {
            co_await handler_(std::move(job));
        } catch (const CancelledError&) {
            // A job that ends with CancelledError while nobody has cancelled the worker is like a
            // cancelled child of a group: the others go on.
            if (current_task().cancelling() > 0) throw;
        } catch (...) {
            failure = std::current_exception();
        }
        if (failure) this->fail(std::move(failure));
    }

    Handler handler_;
};

}  // namespace detail

template <class Job, class Handler, class Body, class... Args>
auto worker_pool(WorkerPoolOptions options, Handler handler, Body body, Args... args)
    -> std::invoke_result_t<Body&, WorkerPool<Job>&, Args...> {
    using T = typename std::invoke_result_t<Body&, WorkerPool<Job>&, Args...>::value_type;
    using Run = detail::WorkerPoolRun<Job, Handler>;
    const detail::Ref<Run> pool(new Run(options, std::move(handler)));
    auto call = [&](WorkerPool<Job>& given) { return body(given, std::move(args)...); };
    auto run = [&](TaskGroup& group) {
        return Run::template run_body<T>(pool, group, options.workers, call);
    };
    detail::Outcome<T> outcome;
    std::vector<std::exception_ptr> failures;
    try {
        if constexpr (std::is_void_v<T>) {
            co_await task_group(run);
            outcome.set_value();
        } else {
            T value = co_await task_group(run);
            outcome.set_value(std::forward<T>(value));
        }
    } catch (const ExceptionGroup& errors) {
        failures = errors.exceptions();
    }
    auto& collected = pool->failures();
    failures.insert(failures.begin(), collected.begin(), collected.end());
    if (failures.size() == 1) std::rethrow_exception(failures.front());
    if (!failures.empty())
        throw ExceptionGroup("unhandled errors in a worker pool", std::move(failures));
    if constexpr (std::is_void_v<T>) {
        co_return;
    } else {
        co_return outcome.take();
    }
}

}  // namespace weft
