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
inline constexpr std::uintptr_t task_is_over = 1;  // it was the task's own coroutine
inline constexpr std::uintptr_t was_in_place =
    2;  // who awaits it has run it: see `answers_at_once`

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

/// Until nobody goes on at once. True: the task is over.
[[gnu::always_inline]] inline bool go_on() {
    do {
        const std::uintptr_t next = std::exchange(goes_on, 0);
        if (next <= was_in_place) return next == task_is_over;  // (or who has awaited it is gone)
        frame_at(next).resume();
    } while (goes_on);
    return false;
}

/// A step of a task. True: it was the last.
[[gnu::always_inline]] inline bool run_step(std::coroutine_handle<> frame) {
    frame.resume();
    if (goes_on == 0) [[likely]]
        return false;
    return go_on();
}

}  // namespace weft::detail
