// SPDX-License-Identifier: MIT
// OnceState: the half of OnceCell that does not depend on T: whose turn it is to make the value.
#pragma once

#include <coroutine>
#include <source_location>
#include <utility>

#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"
#include "../reserving_queue.hpp"
#include "holder.hpp"

namespace weft::detail {

class OnceTurn;
class OnceAttempt;

class OnceState : public ReservingQueue {
public:
    OnceState() noexcept = default;
    inline ~OnceState();

    Holder maker;
    OnceAttempt* attempt = nullptr;  // the one that is under way
    bool set = false;

    /// The maker has failed: the next one tries.
    void pass_on() noexcept {
        TaskCore* const named = maker.forget();
        if (!empty()) {
            const auto& next = static_cast<const HeldWait&>(front());
            take(next.task(), next.place());
            grant_first();
        }
        if (named) named->release();
    }
    /// The value is there.
    void open() noexcept {
        set = true;
        TaskCore* const named = maker.forget();
        while (!empty()) grant_first();
        if (named) named->release();
    }
    void take(TaskCore& task, const std::source_location& place) noexcept {
        if (task.loop->debug()) [[unlikely]]
            return maker.set(&task, place);
        maker.set_nameless();
    }
    OnceTurn turn(const std::source_location& place) noexcept;
};

/// Until the value is set (then it gives false) or it is our turn to make it (true).
class [[nodiscard]] OnceTurn final : public HeldWait {
public:
    OnceTurn(OnceState& state, const std::source_location& place) noexcept
        : HeldWait(state, place) {}
    ~OnceTurn() {
        if (granted_and_not_taken() && !once().set) [[unlikely]]
            once().pass_on();
    }
    const char* what() const noexcept override { return "value"; }
    const Holder* awaited_holder(std::size_t index) const noexcept override {
        return index == 0 ? &once().maker : nullptr;
    }

    bool await_ready() const noexcept { return once().set; }
    bool await_suspend(std::coroutine_handle<> handle) {
        if (once().maker.nobody()) {
            once().take(get_running_loop().require_task(), place());
            return false;
        }
        wait_for_holders(handle);
        return true;
    }
    bool await_resume() {
        if (state() != State::idle) finish_wait();
        return !once().set;
    }

private:
    OnceState& once() const noexcept { return static_cast<OnceState&>(queue()); }
};

inline OnceTurn OnceState::turn(const std::source_location& place) noexcept {
    return OnceTurn(*this, place);
}

/// While the value is made: however that ends without one, the next task has its turn.
class OnceAttempt {
public:
    explicit OnceAttempt(OnceState& state) noexcept : state_(&state) { state.attempt = this; }
    OnceAttempt(const OnceAttempt&) = delete;
    OnceAttempt& operator=(const OnceAttempt&) = delete;
    ~OnceAttempt() {
        if (state_) end().pass_on();
    }
    /// Throws:   RuntimeError when the cell is gone.
    void require_cell() const {
        if (!state_) [[unlikely]]
            throw_runtime_error("weft: the cell was destroyed while a task made its value");
    }
    void succeeded() noexcept { end().open(); }
    void cell_gone() noexcept { state_ = nullptr; }

private:
    OnceState& end() noexcept {
        state_->attempt = nullptr;
        return *std::exchange(state_, nullptr);
    }
    OnceState* state_;
};

inline OnceState::~OnceState() {
    if (attempt) attempt->cell_gone();
}

}  // namespace weft::detail
