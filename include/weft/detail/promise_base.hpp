// SPDX-License-Identifier: MIT
// PromiseBase: the part of a coroutine's promise that does not depend on its result.
#pragma once

#include <coroutine>
#include <cstddef>

#include "frame_allocator.hpp"
#include "outcome.hpp"

namespace weft::detail {

/// Two pointers: who to resume at the end, and where to put the outcome (Promise<T> knows that it
/// is an Outcome<T>). The outcome lives with whoever waits for it (the awaiting frame, or the
/// task), so the finished frame can be freed before it is looked at.
class PromiseBase {
public:
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        release_frame(memory, size);
    }

    std::suspend_always initial_suspend() noexcept { return {}; }

    struct Final {
        bool await_ready() noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) noexcept {
            // No continuation: whoever resumed us is waiting for the return (an awaiter that ran
            // us in place, or the loop).
            const std::coroutine_handle<> next = self.promise().continuation_;
            return next ? next : std::noop_coroutine();
        }
        void await_resume() noexcept {}
    };
    Final final_suspend() noexcept { return {}; }

    void set_continuation(std::coroutine_handle<> parent) noexcept { continuation_ = parent; }
    void set_outcome(OutcomeBase& outcome) noexcept { outcome_ = &outcome; }

    /// Of any coroutine's frame: every promise begins with this class and is aligned like it.
    static OutcomeKind ended_as(std::coroutine_handle<> frame) noexcept {
        return std::coroutine_handle<PromiseBase>::from_address(frame.address())
            .promise()
            .outcome_->kind();
    }

protected:
    template <class T>
    Outcome<T>& outcome() const noexcept {
        return static_cast<Outcome<T>&>(*outcome_);
    }

private:
    std::coroutine_handle<> continuation_;
    OutcomeBase* outcome_ = nullptr;
};

}  // namespace weft::detail
