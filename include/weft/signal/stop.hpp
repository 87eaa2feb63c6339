// SPDX-License-Identifier: MIT
// wait_for_stop, request_stop: a program is asked to come to its end, and does so in its own way.
#pragma once

#include <coroutine>

#include "../runtime/graceful_stop.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"

namespace weft {
namespace detail {
class StopWait;
}  // namespace detail

/// Was this loop asked to stop gracefully: by RunOptions::stop_signal, or by `request_stop`?
inline bool stop_requested() { return get_running_loop().graceful_stop().requested(); }
/// Asks it to. Nothing is cancelled: whoever waits for it is told. Idempotent.
inline void request_stop() { get_running_loop().graceful_stop().request(); }
/// Waits until this loop is asked to stop.
/// Throws:   CancelledError.
/// Cancel:   at once.
detail::StopWait wait_for_stop();

namespace detail {

class [[nodiscard]] [[gnu::warn_unused]] StopWait final : public Suspension, StopWatch {
public:
    StopWait() noexcept : StopWatch(&stopped) {}
    bool await_ready() const { return stop_requested(); }
    void await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        task_ = &loop.suspend(handle, *this);
        if (task_->must_cancel) return cancelled();
        loop.graceful_stop().add(*this);
    }
    bool await_cancelled() const noexcept { return cancelled_; }
    void await_resume() const {
        check_leftover();
        if (cancelled_) task_->loop->throw_cancelled();
    }
    TaskCore* cancel() noexcept override {
        if (linked()) {
            unlink();
            cancelled();
        }
        return nullptr;
    }
    WaitInfo describe() const noexcept override { return {"wait_for_stop"}; }

private:
    static void stopped(StopWatch& watch) noexcept {
        auto& self = static_cast<StopWait&>(watch);
        self.task_->loop->wake(*self.task_);
    }
    void cancelled() noexcept {
        cancelled_ = true;
        task_->loop->wake(*task_);
    }

    TaskCore* task_ = nullptr;
    bool cancelled_ = false;
};

}  // namespace detail

inline detail::StopWait wait_for_stop() { return detail::StopWait(); }

}  // namespace weft
