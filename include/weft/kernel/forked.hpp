// SPDX-License-Identifier: MIT
// ForkedBackend: what a loop has in a forked child, where its ring or epoll is the parent's.
#pragma once

#include <cerrno>
#include <cstddef>
#include <new>

#include "../base/error.hpp"
#include "../base/std_parts.hpp"
#include "backend.hpp"

namespace weft::detail {

/// Begins nothing, and ends the run at the end of the step that has forked. What the parent has
/// with the kernel ends here without the kernel.
/// (All of it cold: g++ guesses which backend a call goes to while only two are likely.)
class ForkedBackend final : public Backend {
public:
    // No turn goes without it, whoever stops waiting in the rest of the step.
    [[gnu::cold]] ForkedBackend() noexcept { counts_[0] = 1U << 31; }
    [[gnu::cold]] ~ForkedBackend() override = default;
    /// One for all loops, which never goes: the child of a fork may have no memory.
    [[gnu::cold]] static ForkedBackend* shared() noexcept { return ::new (place_) ForkedBackend(); }
    [[gnu::cold]] static void operator delete(ForkedBackend*, std::destroying_delete_t) noexcept {}

    [[gnu::cold]] bool start(Operation& op) noexcept override {
        op.result = -ECANCELED;
        return true;
    }
    [[gnu::cold]] void postpone(Operation&) noexcept override {}
    [[gnu::cold]] void cancel(Operation& op) noexcept override {
        if (op.state != Operation::State::idle) op.complete(-ECANCELED);
    }
    [[gnu::cold]] void forget(int) noexcept override {}
    [[gnu::cold]] bool is_sending(int) noexcept override { return false; }
    [[gnu::cold]] void end_standing() noexcept override {}
    [[gnu::cold]] void turn(Nanoseconds) override {
        throw_runtime_error("weft: a forked child cannot go on with the event loop of its parent");
    }
    [[gnu::cold]] int pollable() override { return -1; }  // (its loop is closed)
    [[gnu::cold]] Nanoseconds begin_wait(Nanoseconds) override { return 0; }
    [[gnu::cold]] void end_wait() noexcept override {}
    [[gnu::cold]] bool has_work() const noexcept override { return true; }

private:
    alignas(Backend) static inline std::byte place_[sizeof(Backend)];
};
static_assert(sizeof(ForkedBackend) == sizeof(Backend));

}  // namespace weft::detail
