// SPDX-License-Identifier: MIT
// sleep, sleep_until, sleep_forever, yield: waiting for time, for nothing, for one's next turn.
#pragma once

#include <coroutine>
#include <type_traits>
#include <utility>

#include "../base/clock.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"
#include "../runtime/timer_heap.hpp"

namespace weft {
namespace detail {
class SleepAwaiter;
template <class T>
class SleepWithResult;
class YieldAwaiter;
class ForeverAwaiter;
}  // namespace detail

/// Suspends for at least `delay`; a delay <= 0 lets everything else that is ready run once. Where
/// nothing else runs it ends some 15 to 60 us after its time, which is how long a sleeping core
/// takes to be woken; below 2 us the loop does not fall asleep and it ends within a microsecond.
/// Throws:   std::invalid_argument for a duration that is NaN or longer than 146 years;
///           CancelledError.
/// Cancel:   at once; the timer is removed.
template <class Rep, class Period>
detail::SleepAwaiter sleep(std::chrono::duration<Rep, Period> delay);

/// The same, and then `result`: a stand-in for what takes that long.
template <class Rep, class Period, class T>
detail::SleepWithResult<std::decay_t<T>> sleep(std::chrono::duration<Rep, Period> delay,
                                               T&& result);

/// Suspends until the loop's clock (`EventLoop::time`) shows `when`.
/// Cancel:   at once; the timer is removed.
detail::SleepAwaiter sleep_until(TimePoint when) noexcept;

/// Suspends until it is cancelled.
/// Throws:   CancelledError.
/// Cancel:   at once.
detail::ForeverAwaiter sleep_forever() noexcept;

/// Lets everything else that is ready run once.
/// Cancel:   delivered when the task runs again.
detail::YieldAwaiter yield() noexcept;

namespace detail {

/// Until the next turn.
class [[nodiscard]] [[gnu::warn_unused]] YieldAwaiter {
public:
    YieldAwaiter() noexcept {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
        loop_ = &get_running_loop();
        TaskCore& task = loop_->require_task();
        task.coroutine = handle;
        loop_->push(task);
    }
    bool await_cancelled() const noexcept { return loop_->current_task()->must_cancel; }
    void await_resume() const {
        if (await_cancelled()) [[unlikely]]
            loop_->throw_cancelled();
    }

private:
    EventLoop* loop_ = nullptr;
};

/// Until a deadline. A sleep that is over delivers a cancel that came since: nothing is lost by it.
class SleepWait : public Suspension, private Timer {
public:
    enum class Kind : bool { delay, deadline };

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        task_ = &loop.require_task();
        // Its own look at the clock: a step that computed for long still sleeps its full time.
        if (kind_ == Kind::delay && deadline > 0) {
            deadline = deadline_after(loop.read_clock(), deadline);
        }
        if (task_->must_cancel || deadline <= 0) {
            cancelled_ = task_->must_cancel;
            loop.suspend(handle, *this);
            loop.wake(*task_);
        } else {
            loop.arm(*this, deadline);  // first: without memory the task waits on nothing
            loop.suspend(handle, *this);
        }
    }
    bool await_cancelled() const noexcept { return cancelled_ || task_->must_cancel; }

    TaskCore* cancel() noexcept override {
        if (armed()) {
            cancelled_ = true;
            task_->loop->disarm(*this);
            task_->loop->wake(*task_);
        }
        return nullptr;
    }
    WaitInfo describe() const noexcept override { return {"sleep"}; }

protected:
    // An awaiter for somebody else's deadline, who knows what its end means.
    TaskCore& task() const noexcept { return *task_; }
    SleepWait(Nanoseconds time, Kind kind) noexcept : Timer(&over), kind_(kind) { deadline = time; }
    ~SleepWait() {
        if (armed()) task_->loop->disarm(*this);
    }
    void finish() const {
        if (await_cancelled()) [[unlikely]]
            task_->loop->throw_cancelled();
    }

private:
    static void over(Timer& timer) noexcept {
        auto& self = static_cast<SleepWait&>(timer);
        self.task_->loop->wake(*self.task_);
    }

    Kind kind_;
    bool cancelled_ = false;
    TaskCore* task_ = nullptr;
};

/// (Without a timer: virtual time would jump to its deadline.)
class [[nodiscard]] [[gnu::warn_unused]] ForeverAwaiter final : public Suspension {
public:
    ForeverAwaiter() noexcept = default;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
        task_ = &get_running_loop().suspend(handle, *this);
        if (task_->must_cancel) task_->loop->wake(*task_);
    }
    bool await_cancelled() const noexcept { return true; }
    void await_resume() const { task_->loop->throw_cancelled(); }

    TaskCore* cancel() noexcept override {
        task_->loop->wake(*task_);
        return nullptr;
    }
    WaitInfo describe() const noexcept override { return {"a cancel"}; }

private:
    TaskCore* task_ = nullptr;
};

class [[nodiscard]] [[gnu::warn_unused]] SleepAwaiter final : public SleepWait {
public:
    SleepAwaiter(Nanoseconds time, Kind kind) noexcept : SleepWait(time, kind) {}
    void await_resume() const { finish(); }
};

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] SleepWithResult final : public SleepWait {
public:
    template <class U>
    SleepWithResult(Nanoseconds delay, U&& result)
        : SleepWait(delay, Kind::delay), result_(std::forward<U>(result)) {}
    T await_resume() {
        finish();
        return std::move(result_);
    }

private:
    T result_;
};

}  // namespace detail

template <class Rep, class Period>
detail::SleepAwaiter sleep(std::chrono::duration<Rep, Period> delay) {
    return detail::SleepAwaiter(detail::to_nanoseconds(delay), detail::SleepAwaiter::Kind::delay);
}

template <class Rep, class Period, class T>
detail::SleepWithResult<std::decay_t<T>> sleep(std::chrono::duration<Rep, Period> delay,
                                               T&& result) {
    return detail::SleepWithResult<std::decay_t<T>>(detail::to_nanoseconds(delay),
                                                    std::forward<T>(result));
}

inline detail::SleepAwaiter sleep_until(TimePoint when) noexcept {
    return detail::SleepAwaiter(detail::to_deadline(when), detail::SleepAwaiter::Kind::deadline);
}

inline detail::ForeverAwaiter sleep_forever() noexcept { return detail::ForeverAwaiter(); }

inline detail::YieldAwaiter yield() noexcept { return detail::YieldAwaiter(); }

/// Refuses numbers.
template <class Number>
    requires(std::is_arithmetic_v<Number>)
detail::YieldAwaiter sleep(Number) {
    static_assert(!std::is_arithmetic_v<Number>,
                  "weft: a duration has a unit: sleep(1s), sleep(100ms), with "
                  "using namespace std::chrono_literals");
    return detail::YieldAwaiter();
}

}  // namespace weft
