// SPDX-License-Identifier: MIT
// ThreadPoolState: the queue of a pool and its threads, which may outlive the pool.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <string>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../base/ref.hpp"
#include "../../base/thread.hpp"
#include "thread_job.hpp"

namespace weft {

/// How many threads a pool has, and how long they stay.
struct ThreadPoolOptions {
    /// At most so many at once; 0: four more than the machine has cores, 32 at most (asyncio's).
    std::size_t threads = 0;
    /// Jobs that may wait for a thread; one more is a QueueFull. 0: any number.
    std::size_t queue_limit = 0;
    /// A thread that has had nothing to do for this long goes.
    Duration idle_time = std::chrono::seconds(10);
    /// What the threads are called (15 bytes are shown by the system).
    std::string name = "weft-pool";
};

namespace detail {

/// Invariants, all under the mutex: a job is `queued` exactly while it is in `queue_`, which then
/// holds a reference to it; `running` while a thread has it, which holds that reference then;
/// `idle_ + busy_ <= threads_ <= options.threads`. Threads are detached and hold a reference to
/// this.
class ThreadPoolState : public CountedByThreads<ThreadPoolState> {
public:
    explicit ThreadPoolState(ThreadPoolOptions options);

    /// Throws:   QueueFull; RuntimeError after `close`, and in a forked child; std::system_error
    ///           when there is no thread and none can be started (pthread_create).
    void submit(const Ref<ThreadJob>& job);
    /// True: it never ran, and will not.
    bool take_back(ThreadJob& job) noexcept;
    /// No job is taken any more; those that wait are dropped, and whoever awaits them is told.
    void close() noexcept;
    /// Waits until no thread is left, `limit` at most. For `ThreadPool::join`.
    bool join(Duration limit) noexcept;

    std::size_t threads() noexcept;
    std::size_t queued() noexcept;
    const ThreadPoolOptions& options() const noexcept { return options_; }

private:
    static void* work_on(void* self) noexcept;
    void work() noexcept;
    bool wait_for_work() noexcept;
    int start_thread_if_short() noexcept;
    /// This process is a child that was forked since: none of the threads is here, and the mutex is
    /// perhaps locked for ever.
    bool is_parents() const noexcept { return forks_ != forks.load(std::memory_order_relaxed); }

    static inline constinit std::atomic<unsigned> forks{0};  // one more in each forked child

    const ThreadPoolOptions options_;
    unsigned forks_;
    Mutex mutex_;
    ThreadCondition work_arrived_;
    ThreadCondition thread_ended_;
    IntrusiveList<ThreadJob> queue_;
    std::size_t queued_ = 0;
    std::size_t threads_ = 0;
    std::size_t idle_ = 0;
    std::size_t busy_ = 0;  // have a job; the others are idle, or about to begin
    bool closed_ = false;
};

}  // namespace detail
}  // namespace weft
