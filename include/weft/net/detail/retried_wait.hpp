// SPDX-License-Identifier: MIT
// RetriedWait: an operation that is tried again after a pause, because nothing tells when it is
// worth it.
#pragma once

#include <cerrno>
#include <coroutine>
#include <new>

#include "../../base/std_parts.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/timer_heap.hpp"
#include "../operation_wait.hpp"

namespace weft::detail {

/// Pauses of 1, 2, 4, 8, 10, 10, ... ms, until the cancel. A `Self` says with `comes_too_early()`
/// which results are no answer yet, with `is_still_meant()` whether another try would be for what
/// the first one was for, and with `answers_in_place` whether the kernel is asked within `start`:
/// where it is not, what `start` answers is the backend's refusal, which another try does not mend.
template <class Self, class Base = OperationWait>
class RetriedWait : public Base, private Timer {
public:
    explicit RetriedWait(OpCode op) noexcept : Base(op), Timer(&try_again) {
        this->on_complete = &answered;
    }

    bool await_suspend(std::coroutine_handle<> handle) {
        if (Base::await_suspend(handle)) return true;
        if (!Self::answers_in_place || !self().comes_too_early() || !wait_a_little()) return false;
        this->task_->waiting_on = this;
        return true;
    }

    TaskCore* cancel() noexcept override {
        if (!armed()) return Base::cancel();
        this->task_->loop->disarm(*this);
        this->asked_ = true;
        this->result = -ECANCELED;
        this->task_->loop->wake(*this->task_);
        return nullptr;
    }

protected:
    ~RetriedWait() {
        if (armed()) this->task_->loop->disarm(*this);
    }

private:
    Self& self() noexcept { return static_cast<Self&>(*this); }

    static void answered(Operation& op) noexcept {
        auto& self = static_cast<RetriedWait&>(op);
        if (self.self().comes_too_early()) {
            if (!self.asked_ && self.wait_a_little()) return;
            // Nothing was begun: the cancel is the answer.
            if (self.asked_) self.result = -ECANCELED;
        }
        self.task_->loop->wake(*self.task_);
    }
    static void try_again(Timer& timer) noexcept {
        auto& self = static_cast<RetriedWait&>(timer);
        if (!self.self().is_still_meant()) {
            self.result = -ECANCELED;
            self.task_->loop->wake(*self.task_);
        } else if (self.task_->loop->start(self)) {
            if (Self::answers_in_place) return answered(self);
            self.task_->loop->wake(*self.task_);
        }
    }
    bool wait_a_little() noexcept {
        pause_ = std::min<Nanoseconds>(2 * pause_, 10'000'000);
        try {
            this->task_->loop->arm(*this, deadline_after(this->task_->loop->read_clock(), pause_));
        } catch (const std::bad_alloc&) {
            this->result = -ENOMEM;
            return false;
        }
        return true;
    }

    Nanoseconds pause_ = 500'000;
};

}  // namespace weft::detail
