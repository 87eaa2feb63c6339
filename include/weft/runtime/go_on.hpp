// SPDX-License-Identifier: MIT
// From a coroutine's end back to the one that awaits it, over whoever resumed the first.
#pragma once

#include <coroutine>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace weft::detail {

/// A coroutine that has ended, or has an item to give, leaves here who goes on, and returns. So a
/// chain of ends needs no stack, and no frame has to outlive its coroutine (docs/decisions/0001).
/// Null: it has neither.
inline constinit thread_local std::uintptr_t goes_on = 0;

// In place of a frame's address:
inline constexpr std::uintptr_t task_is_over = 1;  // it was the task's own coroutine; and with
                                                   // this bit the group whose child the task is
inline constexpr std::uintptr_t was_in_place =
    2;  // who awaits it has run it: see `answers_at_once`

/// Or the address of one of these, with this bit: it says who goes on after all; 0: nobody yet.
inline constexpr std::uintptr_t asks_first = 4;
struct Continuation {
    std::uintptr_t (*next)(Continuation&) noexcept;
};
inline std::uintptr_t address_of(Continuation& continuation) noexcept {
    return reinterpret_cast<std::uintptr_t>(&continuation) | asks_first;
}

inline std::uintptr_t address_of(std::coroutine_handle<> frame) noexcept {
    return reinterpret_cast<std::uintptr_t>(frame.address());
}
inline std::coroutine_handle<> frame_at(std::uintptr_t address) noexcept {
    return std::coroutine_handle<>::from_address(reinterpret_cast<void*>(address));
}

/// What is resumed in its lifetime comes in between: a destructor may run another loop, or start an
/// eager task, while its coroutine is on the way from its end to the one that goes on.
class Interlude {
public:
    Interlude() noexcept : outer_(std::exchange(goes_on, 0)) {}
    Interlude(const Interlude&) = delete;
    Interlude& operator=(const Interlude&) = delete;
    ~Interlude() { goes_on = outer_; }

private:
    std::uintptr_t outer_;
};

/// The beginning of each promise whose coroutine can be a task's own: the loop, which does not know
/// its type, gets at it through the frame.
struct PromiseCore {
    std::uintptr_t after;  // what `goes_on` becomes at the end
};
inline std::uintptr_t& after_end(std::coroutine_handle<> frame) noexcept {
    return std::coroutine_handle<PromiseCore>::from_address(frame.address()).promise().after;
}

/// Base of the promises whose coroutines run in steps of a loop, or in an Interlude, and so never
/// between the end of another one and whoever goes on.
struct RunsInSteps {};

/// By the one that awaits it, in the middle of a step. (Destructors of parameters may throw.)
template <class Promise>
bool answers_at_once(std::coroutine_handle<> frame, std::coroutine_handle<Promise>) {
    if constexpr (std::is_base_of_v<RunsInSteps, Promise>) {
        try {
            frame.resume();
        } catch (...) {
            goes_on = 0;
            throw;
        }
        return std::exchange(goes_on, 0) != 0;
    } else {
        const Interlude interlude;
        frame.resume();
        return goes_on != 0;
    }
}

/// A step of a task. Returns 0, or, if it was the last, `task_is_over` with the task's group.
[[gnu::always_inline]] inline std::uintptr_t run_step(std::coroutine_handle<> frame) {
    frame.resume();
    for (;;) {
        std::uintptr_t next = goes_on;
        if (next == 0) return 0;
        goes_on = 0;
        if (next & task_is_over) [[likely]]
            return next;
        if (next & asks_first) [[unlikely]] {
            auto& continuation = *reinterpret_cast<Continuation*>(next & ~asks_first);
            next = continuation.next(continuation);
            if (next == 0) return 0;
        }
        if (next == was_in_place) return 0;  // who has awaited it is gone
        frame_at(next).resume();
    }
}

}  // namespace weft::detail
