// SPDX-License-Identifier: MIT
// RemoteRun: a coroutine that another thread has started on a loop, and who waits for its end.
#pragma once

#include <coroutine>
#include <exception>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../base/outcome.hpp"
#include "../../base/ref.hpp"
#include "../../base/thread.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/remote.hpp"
#include "../../runtime/task_core.hpp"
#include "../../task/coro.hpp"
#include "../../task/task.hpp"

namespace weft::detail {

class RemoteWait;

/// Shared by the threads that wait and the loop on which the coroutine runs; either may go first.
class RemoteRun : public CountedByThreads<RemoteRun> {
public:
    explicit RemoteRun(Remote home) : home_(std::move(home)) { cancel_.reserve(); }
    virtual ~RemoteRun() = default;

    // Any thread.
    bool done() noexcept;
    /// False: it is not done.
    bool wait_until(Nanoseconds deadline);
    /// Throws:   RuntimeError on the thread that is to give the result.
    void wait();
    bool cancel() noexcept;
    /// Throws:   InvalidStateError the second time.
    void take_once();
    /// False: it is done. Otherwise `wait` is told on its own loop's thread, unless it is forgotten
    /// before.
    bool tell_at_end(RemoteWait& wait) noexcept;
    /// True: it was to be told.
    bool forget(RemoteWait& wait) noexcept;

    // The loop's thread alone.
    void begins(TaskCore& task) noexcept {
        task_ = &task;
        has_begun_ = true;
    }
    bool has_begun() const noexcept { return has_begun_; }
    /// The outcome is set. Whoever waits is told.
    void ends() noexcept;
    virtual void set_not_run(std::exception_ptr why) noexcept = 0;

private:
    void refuse_own_thread() const;
    void post_to_waits() noexcept;
    void tell_here() noexcept;

    const Remote home_;
    Mutex mutex_;
    ReservedPost cancel_;  // guarded by the mutex; of the first cancel that finds no memory
    ThreadCondition ended_;
    bool done_ = false;   // guarded by the mutex; the outcome is written before
    bool taken_ = false;  // guarded by the mutex
    // Tasks of any loop, guarded by the mutex. They are in frames that may go at any moment.
    IntrusiveList<RemoteWait> waits_;
    TaskCore* task_ = nullptr;  // the loop's: set while the task lives
    bool has_begun_ = false;    // the loop's
};

template <class T>
class TypedRemoteRun final : public RemoteRun {
public:
    using RemoteRun::RemoteRun;
    void set_not_run(std::exception_ptr why) noexcept override {
        if (!outcome.empty()) return;
        if (why) {
            outcome.set_exception(std::move(why));
        } else {
            outcome.set_cancelled();
        }
    }
    Outcome<T> outcome;
};

/// Ends a run whichever way its coroutine goes: one that is cancelled before its first step never
/// gets that far, and its arguments are destroyed. (Of one for which there was no task says why who
/// was to make it.)
class RemoteRunEnd {
public:
    explicit RemoteRunEnd(Ref<RemoteRun> run) noexcept : run_(std::move(run)) {}
    RemoteRunEnd(RemoteRunEnd&&) noexcept = default;
    ~RemoteRunEnd() {
        if (!run_ || !run_->has_begun()) return;
        run_->set_not_run(nullptr);
        run_->ends();
    }

private:
    Ref<RemoteRun> run_;
};

/// What runs on the loop. The result is taken where it lies: nobody awaits the task.
template <class T>
Coro<void> run_for_others([[maybe_unused]] RemoteRunEnd end, Ref<TypedRemoteRun<T>> run,
                          Coro<T> body) {
    try {
        if constexpr (std::is_void_v<T>) {
            co_await std::move(body);
            run->outcome.set_value();
        } else {
            run->outcome.set_value(co_await std::move(body));
        }
    } catch (...) {
        run->outcome.set_current_exception();
        // A cancelled task is one, also for debug mode, which would take it for a swallowed cancel.
        if (run->outcome.kind() == OutcomeKind::cancelled) throw;
    }
}

/// On the loop's thread.
template <class T>
void begin_for_others(const Ref<TypedRemoteRun<T>>& run, Coro<T> body) noexcept {
    try {
        RemoteRunEnd end(Ref<RemoteRun>::to(*run));
        const Task<void> task = create_task(run_for_others<T>(std::move(end), run, std::move(body)),
                                            TaskOptions().eager(false));
        run->begins(static_cast<TaskCore&>(*task.core()));
    } catch (...) {
        run->set_not_run(std::current_exception());
        run->ends();
    }
}

/// The untyped half of a task's wait for a coroutine on another loop.
class RemoteWait : public Suspension, public ListNode<> {
public:
    bool await_ready() const noexcept { return run_->done(); }
    void await_suspend(std::coroutine_handle<> handle);
    /// Passed on to the coroutine. Its end, cancelled or not, is the answer.
    TaskCore* cancel() noexcept override {
        run_->cancel();
        return nullptr;
    }
    WaitInfo describe() const noexcept override { return {"a coroutine of another thread"}; }

    // For the run.
    EventLoop& loop() const noexcept { return *task_->loop; }
    void wake() noexcept {
        task_->loop->discount_thread_job();
        task_->loop->wake(*task_);
    }
    ReservedPost end;  // guarded by the run's mutex; taken by who posts

protected:
    explicit RemoteWait(Ref<RemoteRun> run) noexcept : run_(std::move(run)) {}
    ~RemoteWait() {
        if (task_ && run_->forget(*this)) task_->loop->discount_thread_job();
    }
    /// A CancelledError that comes back is that of our own request, if there is one.
    void check_cancelled() const {
        if (task_ && task_->must_cancel) task_->loop->throw_cancelled();
    }

    Ref<RemoteRun> run_;

private:
    TaskCore* task_ = nullptr;
};

template <class T>
T take_result(TypedRemoteRun<T>& run) {
    run.take_once();
    if (std::exception_ptr exception = run.outcome.release_exception())
        std::rethrow_exception(std::move(exception));
    return run.outcome.take();
}

/// What awaits a ConcurrentFuture.
template <class T>
class [[nodiscard]] [[gnu::warn_unused]] RemoteAwaiter final : public RemoteWait {
public:
    explicit RemoteAwaiter(const Ref<TypedRemoteRun<T>>& run) noexcept
        : RemoteWait(Ref<RemoteRun>::to(*run)) {}
    bool await_cancelled() const noexcept { return run().outcome.kind() == OutcomeKind::cancelled; }
    T await_resume() {
        check_leftover();
        if (await_cancelled()) check_cancelled();
        return take_result(run());
    }

private:
    TypedRemoteRun<T>& run() const noexcept { return static_cast<TypedRemoteRun<T>&>(*run_); }
};

#if WEFT_BODIES

WEFT_INLINE bool RemoteRun::done() noexcept {
    const Locked lock(mutex_);
    return done_;
}

[[gnu::cold]] WEFT_INLINE void RemoteRun::refuse_own_thread() const {
    const EventLoop* const here = EventLoop::running();
    if (here && here->remote() == home_)
        throw_runtime_error(
            "ConcurrentFuture: waited for on the thread of the loop that is to give the result");
}

WEFT_INLINE bool RemoteRun::wait_until(Nanoseconds deadline) {
    if (!done()) refuse_own_thread();
    const Locked lock(mutex_);
    while (!done_ && monotonic_now() < deadline) ended_.wait_until(mutex_, deadline);
    return done_;
}

WEFT_INLINE void RemoteRun::wait() {
    constexpr Nanoseconds an_hour = 3'600'000'000'000;
    while (!wait_until(monotonic_now() + an_hour)) {
    }
}

WEFT_INLINE void RemoteRun::take_once() {
    const Locked lock(mutex_);
    if (std::exchange(taken_, true))
        throw_invalid_state("ConcurrentFuture: the result was taken already");
}

WEFT_INLINE bool RemoteRun::cancel() noexcept {
    if (done()) return false;
    auto cancel_there = [run = Ref<RemoteRun>::to(*this)] {
        if (run->task_) run->task_->loop->cancel(*run->task_, {});
    };
    try {
        home_.call_soon_threadsafe(cancel_there);
        return true;
    } catch (const RuntimeError&) {
        return false;  // the loop is closed, and so is the task
    } catch (const std::bad_alloc&) {
    }
    ReservedPost by;
    {
        const Locked lock(mutex_);
        by = std::move(cancel_);
    }
    // (Where it was used, a cancel is on its way. It needs no message, and so no memory there.)
    return !by || home_.answer(std::move(by), std::move(cancel_there));
}

WEFT_INLINE void RemoteRun::ends() noexcept {
    task_ = nullptr;
    {
        const Locked lock(mutex_);
        done_ = true;
        ended_.notify_all();
        if (waits_.empty()) return;
    }
    post_to_waits();
}

// --- tasks that wait ---

WEFT_INLINE bool RemoteRun::tell_at_end(RemoteWait& wait) noexcept {
    const Locked lock(mutex_);
    if (done_) return false;
    waits_.push_back(wait);
    return true;
}

WEFT_INLINE bool RemoteRun::forget(RemoteWait& wait) noexcept {
    const Locked lock(mutex_);
    if (!wait.linked()) return false;
    wait.unlink();
    return true;
}

/// One after the other: to post is done without the lock, and who waits may go meanwhile.
[[gnu::cold]] WEFT_INLINE void RemoteRun::post_to_waits() noexcept {
    for (;;) {
        std::optional<Remote> next;
        ReservedPost end;
        {
            const Locked lock(mutex_);
            waits_.for_each([&](RemoteWait& wait) {
                if (next || !wait.end) return;
                next = wait.loop().remote();
                end = std::move(wait.end);
            });
        }
        if (!next) return;
        // (A loop that is closed destroys the frames of its tasks.)
        static_cast<void>(
            next->answer(std::move(end), [run = Ref<RemoteRun>::to(*this)] { run->tell_here(); }));
    }
}

[[gnu::cold]] WEFT_INLINE void RemoteRun::tell_here() noexcept {
    const EventLoop& loop = get_running_loop();
    const Locked lock(mutex_);
    waits_.for_each([&](RemoteWait& wait) {
        if (&wait.loop() != &loop) return;
        wait.unlink();
        wait.wake();
    });
}

WEFT_INLINE void RemoteWait::await_suspend(std::coroutine_handle<> handle) {
    EventLoop& loop = get_running_loop();
    end.reserve();
    task_ = &loop.suspend(handle, *this);
    if (!run_->tell_at_end(*this)) return loop.wake(*task_);
    loop.count_thread_job();
    if (task_->must_cancel) [[unlikely]]
        run_->cancel();
}
#endif

}  // namespace weft::detail
