// SPDX-License-Identifier: MIT
// PromiseBase: the part of a coroutine's promise that does not depend on its result.
#pragma once

#include <coroutine>
#include <cstddef>

#include "frame_allocator.hpp"
#include "outcome.hpp"

namespace weft::detail {

/// A root frame has left its outcome since this was last looked at. For the loop, which after each
/// step would otherwise have to look at the task's outcome: one line of memory more.
inline constinit thread_local bool root_ended = false;

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
        bool is_root;
        // A task's own frame goes by itself: that saves the task one jump into it.
        bool await_ready() const noexcept { return is_root; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) noexcept {
            // No continuation: whoever resumed us is waiting for the return (an awaiter that ran
            // us in place, or the loop).
            const std::coroutine_handle<> next = self.promise().continuation_;
            return next ? next : std::noop_coroutine();
        }
        void await_resume() noexcept { root_ended = true; }  // of a root
    };
    Final final_suspend() noexcept { return {continuation_.address() == &root_mark}; }

    void set_continuation(std::coroutine_handle<> parent) noexcept { continuation_ = parent; }
    void set_outcome(OutcomeBase& outcome) noexcept { outcome_ = &outcome; }
    /// A task begins with this frame: it is destroyed as soon as it has left its outcome.
    void set_root() noexcept { continuation_ = std::coroutine_handle<>::from_address(&root_mark); }

protected:
    template <class T>
    Outcome<T>& outcome() const noexcept {
        return static_cast<Outcome<T>&>(*outcome_);
    }

private:
    static inline char root_mark = 0;  // an address that no frame has

    std::coroutine_handle<> continuation_;
    OutcomeBase* outcome_ = nullptr;
};

}  // namespace weft::detail
