// SPDX-License-Identifier: MIT
// Guard: what `co_await lock.scoped()` returns; releases once, at the end of its scope or before.
#pragma once

#include <exception>
#include <utility>

#include "../../runtime/loop.hpp"

namespace weft::detail {

struct CallRelease {
    template <class Primitive>
    static void release(Primitive& held) {
        held.release();
    }
};

[[gnu::cold]] inline void report_guard_failure(std::exception_ptr error) noexcept {
    const ExceptionContext context{"a guard could not release", std::move(error), {}};
    if (EventLoop* const loop = EventLoop::running()) return loop->call_exception_handler(context);
    print_report(context);
}

/// Movable; empty when default-constructed, moved from or released.
/// Lifetime: the primitive outlives it.
template <class Primitive, class Release = CallRelease>
class [[nodiscard]] Guard {
public:
    Guard() noexcept {}
    explicit Guard(Primitive& held) noexcept : held_(&held) {}
    Guard(Guard&& other) noexcept : held_(std::exchange(other.held_, nullptr)) {}
    Guard& operator=(Guard&& other) noexcept {
        Guard(std::move(other)).swap(*this);
        return *this;
    }
    ~Guard() {
        if (held_) give_back();
    }

    explicit operator bool() const noexcept { return held_ != nullptr; }
    /// Does nothing when it is empty.
    /// Throws:   RuntimeError when somebody else has released what it holds.
    void release() {
        if (held_) Release::release(*std::exchange(held_, nullptr));
    }
    void swap(Guard& other) noexcept { std::swap(held_, other.held_); }

private:
    void give_back() noexcept {
        try {
            Release::release(*held_);
        } catch (...) {
            report_guard_failure(std::current_exception());
        }
    }

    Primitive* held_ = nullptr;
};

}  // namespace weft::detail
