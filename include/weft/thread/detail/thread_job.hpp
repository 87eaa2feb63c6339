// SPDX-License-Identifier: MIT
// ThreadJob: one call that a pool's thread makes, and the task of a loop that waits for its end.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>

#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../base/outcome.hpp"
#include "../../base/ref.hpp"
#include "../../runtime/context.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"

namespace weft {

class StopToken;

namespace detail {

class ThreadPoolState;
class ThreadWait;

/// Held by the pool until the call has ended and by whoever awaits it, so that either may go first:
/// what the thread uses is never freed under it.
class ThreadJob : public CountedByThreads<ThreadJob>, public ListNode<> {
public:
    enum class Place : std::uint8_t { outside, queued, running, ended };

    explicit ThreadJob(EventLoop& loop)
        : home_(loop.remote()), context_(copy_of_context(loop.context_here())) {
        end_.reserve();
    }
    virtual ~ThreadJob() = default;

    /// The call itself, on the pool's thread, in the context of whoever awaits it.
    void run_here() noexcept;
    /// Told on the loop's thread, if there still is one.
    static void tell_end(Ref<ThreadJob> job) noexcept;

    void request_stop() noexcept { stop_.store(true, std::memory_order_relaxed); }
    bool stop_requested() const noexcept { return stop_.load(std::memory_order_relaxed); }
    StopToken stop_token() const noexcept;
    /// Of the job that this thread works on; null on other threads.
    static const ThreadJob* current() noexcept { return current_job; }

    ThreadWait* waiter = nullptr;  // the loop's alone
    Place place = Place::outside;  // guarded by the pool's mutex

protected:
    virtual void run() noexcept = 0;

private:
    static inline constinit thread_local const ThreadJob* current_job = nullptr;

    const Remote home_;
    ReservedPost end_;
    ContextRef context_;
    std::atomic<bool> stop_{false};
};

}  // namespace detail

/// For work on a thread: does whoever awaits it want it to end? Cheap enough for inner loops.
/// Thread:   any; a copy may outlive the work.
class StopToken {
public:
    /// Nobody can ask.
    StopToken() noexcept = default;
    bool stop_requested() const noexcept { return job_ && job_->stop_requested(); }

private:
    friend class detail::ThreadJob;
    explicit StopToken(detail::Ref<const detail::ThreadJob> job) noexcept : job_(std::move(job)) {}
    detail::Ref<const detail::ThreadJob> job_;
};

namespace detail {

inline StopToken ThreadJob::stop_token() const noexcept {
    return StopToken(Ref<const ThreadJob>::to(*this));
}

/// A job whose result has a type. The callable and its arguments live as long as the job.
template <class R, class Fn, class... Args>
class TypedThreadJob;

template <class R>
class ResultOfThread : public ThreadJob {
public:
    using ThreadJob::ThreadJob;
    Outcome<R> outcome;
};

template <class R, class Fn, class... Args>
class TypedThreadJob final : public ResultOfThread<R> {
public:
    template <class F, class... A>
    TypedThreadJob(EventLoop& loop, F&& fn, A&&... args)
        : ResultOfThread<R>(loop), fn_(std::forward<F>(fn)), args_(std::forward<A>(args)...) {}

private:
    void run() noexcept override {
        try {
            if constexpr (std::is_void_v<R>) {
                call();
                this->outcome.set_value();
            } else {
                this->outcome.set_value(call());
            }
        } catch (...) {
            this->outcome.set_current_exception();
        }
    }
    decltype(auto) call() {
        return std::apply(
            [this](Args&... args) -> decltype(auto) {
                if constexpr (std::is_invocable_v<Fn&&, StopToken, Args&&...>) {
                    return std::move(fn_)(this->stop_token(), std::move(args)...);
                } else {
                    return std::move(fn_)(std::move(args)...);
                }
            },
            args_);
    }

    Fn fn_;
    std::tuple<Args...> args_;
};

/// What `fn(args...)`, or `fn(stop, args...)` where it takes one, returns.
template <class Fn, class... Args>
struct ThreadResult {
    static auto type() {
        if constexpr (std::is_invocable_v<Fn&&, StopToken, Args&&...>) {
            return std::type_identity<std::invoke_result_t<Fn&&, StopToken, Args&&...>>();
        } else {
            return std::type_identity<std::invoke_result_t<Fn&&, Args&&...>>();
        }
    }
};
template <class Fn, class... Args>
using ThreadResultOf = typename decltype(ThreadResult<Fn, Args...>::type())::type;

template <class Fn, class... Args>
concept ThreadWork =
    std::is_invocable_v<Fn&&, Args&&...> || std::is_invocable_v<Fn&&, StopToken, Args&&...>;

}  // namespace detail
}  // namespace weft
