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
class PromiseBase : public RunsInSteps {
public:
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        release_frame(memory, size);
    }

    std::suspend_always initial_suspend() noexcept { return {}; }

    /// The frame goes by itself, before anybody looks at the outcome.
    std::suspend_never final_suspend() noexcept {
        outcome_->set_final();
        goes_on = after_;  // (destructors are still to come)
        return {};
    }

    void set_continuation(std::coroutine_handle<> parent) noexcept { after_ = address_of(parent); }
    void set_outcome(OutcomeBase& outcome) noexcept { outcome_ = &outcome; }
    /// A task begins with this frame.
    void set_root() noexcept { after_ = task_is_over; }

protected:
    template <class T>
    Outcome<T>& outcome() const noexcept {
        return static_cast<Outcome<T>&>(*outcome_);
    }

private:
    std::uintptr_t after_ = was_in_place;  // see goes_on
    OutcomeBase* outcome_ = nullptr;
};

}  // namespace weft::detail
