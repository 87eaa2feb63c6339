// SPDX-License-Identifier: MIT
// ThreadWait: a task of a loop waits for a job of a pool.
#pragma once

#include <coroutine>
#include <utility>

#include "../../base/outcome.hpp"
#include "../../base/ref.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"
#include "pool_state.hpp"
#include "thread_job.hpp"

namespace weft::detail {

/// The untyped half of the wait for a job.
class ThreadWait : public Suspension {
public:
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle);
    bool await_cancelled() const noexcept { return cancelled_; }
    inline TaskCore* cancel() noexcept override;
    WaitInfo describe() const noexcept override { return {"a thread"}; }
    /// On the loop's thread: the job has ended.
    void job_ended() noexcept;

protected:
    ThreadWait(Ref<ThreadPoolState> pool, Ref<ThreadJob> job, bool abandons) noexcept
        : pool_(std::move(pool)), job_(std::move(job)), abandons_(abandons) {}
    ~ThreadWait();

    /// Throws what a cancel leads to; returns for a result.
    void check();
    /// Its end is waited for no more, neither here nor by virtual time.
    void forget_job() noexcept {
        job_->waiter = nullptr;
        task_->loop->discount_thread_job();
    }

    Ref<ThreadPoolState> pool_;
    Ref<ThreadJob> job_;
    TaskCore* task_ = nullptr;
    bool cancelled_ = false;
    const bool abandons_;  // a cancel does not wait for a call that runs
};

/// What `to_thread` and `ThreadPool::run` return.
template <class R>
class [[nodiscard]] [[gnu::warn_unused]] ThreadAwaiter final : public ThreadWait {
public:
    ThreadAwaiter(Ref<ThreadPoolState> pool, Ref<ResultOfThread<R>> job, bool abandons) noexcept
        : ThreadWait(std::move(pool), Ref<ThreadJob>::to(*job), abandons), result_(*job) {}
    R await_resume() {
        check();
        return result_.outcome.take();
    }

private:
    ResultOfThread<R>& result_;
};

inline TaskCore* ThreadWait::cancel() noexcept {
    job_->request_stop();
    // (Without a waiter the end was told already: it is the answer.)
    if (pool_->take_back(*job_) || (abandons_ && job_->waiter)) {
        cancelled_ = true;
        if (job_->waiter) forget_job();
        task_->loop->wake(*task_);
    }
    return nullptr;
}

}  // namespace weft::detail
