// SPDX-License-Identifier: MIT
// PromiseBase: the part of a coroutine's promise that does not depend on its result.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>

#include "../../base/frame_allocator.hpp"
#include "../../base/outcome.hpp"
#include "../../runtime/go_on.hpp"

namespace weft::detail {

/// Two pointers: what comes after the end, and where to put the outcome (Promise<T> knows that it
/// is an Outcome<T>). The outcome lives with whoever waits for it (the awaiting frame, or the
/// task), and is final when the coroutine has ended.
class PromiseBase : public PromiseCore, public RunsInSteps {
public:
    PromiseBase() noexcept {}
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        release_frame(memory, size);
    }

    std::suspend_always initial_suspend() noexcept { return {}; }

    /// The frame goes by itself, before anybody looks at the outcome.
    std::suspend_never final_suspend() noexcept {
        outcome_->set_final();
        goes_on = after;  // (destructors are still to come)
        return {};
    }

    void set_continuation(std::coroutine_handle<> parent) noexcept { after = address_of(parent); }
    void set_continuation(Continuation& then) noexcept { after = address_of(then); }
    // One of these two comes before the first step.
    /// The one that awaits it runs it, and goes on itself if it ends at once.
    void set_in_place(OutcomeBase& outcome) noexcept {
        outcome_ = &outcome;
        after = was_in_place;
    }
    /// A task begins with this frame.
    void set_root(OutcomeBase& outcome) noexcept {
        outcome_ = &outcome;
        after = task_is_over;
    }

protected:
    template <class T>
    Outcome<T>& outcome() const noexcept {
        return static_cast<Outcome<T>&>(*outcome_);
    }

private:
    OutcomeBase* outcome_;
};

}  // namespace weft::detail
