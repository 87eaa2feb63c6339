// SPDX-License-Identifier: MIT
// PromiseBase: the part of a coroutine's promise that does not depend on its result.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>

#include "frame_allocator.hpp"
#include "outcome.hpp"
#include "ready_queue.hpp"

namespace weft::detail {

/// Two pointers: what comes after the end, and where to put the outcome (Promise<T> knows that it
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
            const std::uintptr_t next = self.promise().after_;
            return next ? std::coroutine_handle<>::from_address(reinterpret_cast<void*>(next))
                        : std::noop_coroutine();
        }
        void await_resume() noexcept {}
    };
    Final final_suspend() noexcept {
        const bool is_root = after_ & 1;
        // Whoever is destroyed with the frame, and whatever he runs, comes after this.
        if (is_root) reinterpret_cast<ReadyNode*>(after_ ^ 1)->coroutine = nullptr;
        return {is_root};
    }

    void set_continuation(std::coroutine_handle<> parent) noexcept {
        after_ = reinterpret_cast<std::uintptr_t>(parent.address());
    }
    void set_outcome(OutcomeBase& outcome) noexcept { outcome_ = &outcome; }
    /// A task begins with this frame: it is destroyed as soon as it has left its outcome, and the
    /// task has no coroutine then.
    void set_root(ReadyNode& task) noexcept {
        after_ = reinterpret_cast<std::uintptr_t>(&task) | 1;
    }

protected:
    template <class T>
    Outcome<T>& outcome() const noexcept {
        return static_cast<Outcome<T>&>(*outcome_);
    }

private:
    std::uintptr_t after_ = 0;  // even: the frame to resume at the end; odd: the task, plus 1
    OutcomeBase* outcome_ = nullptr;
};

}  // namespace weft::detail
