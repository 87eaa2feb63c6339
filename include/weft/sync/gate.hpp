// SPDX-License-Identifier: MIT
// Gate: where tasks wait that are let through all at once, however many they are.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>

#include "../runtime/loop.hpp"
#include "../runtime/ready_await.hpp"
#include "../runtime/task_core.hpp"
#include "detail/grant_wait.hpp"

namespace weft::detail {

class Gate;

/// The awaiter of a primitive that wakes everyone. Nobody looks at it when the gate lets it
/// through: until its task runs, `queued` stands for granted as well, and the gate knows which of
/// the two it is.
class GateWait : public GrantWait {
public:
    inline TaskCore* cancel() noexcept override;
    inline void resumed() noexcept override;
    inline WaitInfo describe() const noexcept override;

    // For the gate.

    void grant_late() noexcept {
        set_state(State::granted);
        task_->waiting_on = nullptr;
    }
    std::uint32_t round;  // the one in which it is let through
    GateWait* before;     // who came before; perhaps gone, if that one was let through

protected:
    explicit GateWait(Gate& gate) noexcept : gate_(&gate) {}
    /// The frame may be destroyed where it stands.
    ~GateWait() {
        if (state() == State::queued) [[unlikely]]
            leave();
    }

    /// For `await_suspend`.
    void wait(std::coroutine_handle<> handle);
    /// If it waits still.
    inline void turn_away() noexcept;
    Gate& gate() const noexcept { return *gate_; }

private:
    void wait_checked(std::coroutine_handle<> handle);
    void leave() noexcept;

    Gate* gate_;
};

/// The tasks of those who wait are linked as in the ready queue already, so that to let them
/// through is to append a chain: it takes the same time for one as for a thousand. From then on
/// they are only counted. They run in order, so those who have not are the last ones; where that
/// matters, or would not be so any more, each of them is told.
///
/// Destroyed with tasks that wait still, it wakes each of them with a RuntimeError (a task that is
/// being cancelled gets its CancelledError), and says so in debug mode.
class Gate {
public:
    Gate() noexcept = default;
    Gate(const Gate&) = delete;
    Gate& operator=(const Gate&) = delete;
    ~Gate() {
        if (first_ || on_their_way_ > 0) [[unlikely]]
            send_away();
    }

    /// Nobody need wait.
    bool is_open() const noexcept { return open_; }
    void open() noexcept {
        open_ = true;
        let_through();
    }
    void close() noexcept { open_ = false; }
    /// Those who wait now.
    void let_through() noexcept {
        if (first_) let_waiting_through();
    }

    bool empty() const noexcept { return first_ == nullptr; }
    GrantWait& front() noexcept { return *first_; }
    std::size_t count() const noexcept { return waiting_; }

private:
    friend class GateWait;

    bool waits(const GateWait& waiter) const noexcept { return waiter.round == round_; }
    /// Of one who waits. What the tasks in the chain wait on is this gate.
    GateWait* after(const GateWait& waiter) const noexcept {
        if (last_ == &waiter) return nullptr;
        const auto& next = static_cast<const TaskCore&>(*waiter.task().next_ready);
        return static_cast<GateWait*>(next.waiting_on);
    }
    void push_back(GateWait& waiter) noexcept {
        waiter.round = round_;
        waiter.before = last_;
        if (first_) {
            TaskCore& before = last_->task();
            before.next_ready = &waiter.task();
            if (before.loop != waiter.task().loop) [[unlikely]]
                of_two_loops_ = true;
        } else {
            first_ = &waiter;
            if (on_their_way_ > 0) [[unlikely]]
                keep_order(waiter);
        }
        last_ = &waiter;
        ++waiting_;
    }
    void let_waiting_through() noexcept {
        EventLoop& loop = *first_->task().loop;
        if (loop.debug()) [[unlikely]]
            loop.check_thread(first_->what());
        if (of_two_loops_) [[unlikely]]
            return let_through_one_by_one();
        loop.wake_chain(first_->task(), last_->task());
        first_ = nullptr;
        on_their_way_ += waiting_;
        waiting_ = 0;
        ++round_;
    }
    void remove(const GateWait& waiter) noexcept;
    void let_through_one_by_one() noexcept;
    void keep_order(const GateWait& next) noexcept;
    void tell_those_on_their_way() noexcept;
    void send_away() noexcept;

    GateWait* first_ = nullptr;  // of those who wait
    GateWait* last_ = nullptr;   // of those who wait; if nobody does, of all who ever did
    std::uint32_t round_ = 0;
    std::uint32_t waiting_ = 0;
    std::uint32_t on_their_way_ = 0;  // let through, and have not run
    bool of_two_loops_ = false;       // of one thread, which debug mode refuses
    bool open_ = false;
};

/// Waits until the gate is open.
class OpenWait : public GateWait {
public:
    bool await_ready() const noexcept { return try_take() && may_go_on(); }
    void await_suspend(std::coroutine_handle<> handle) {
        if (try_take()) [[unlikely]]
            return look_and_go_round(*this, handle);
        wait(handle);
    }
    bool try_take() const noexcept { return gate().is_open(); }
    void begin_wait(std::coroutine_handle<> handle) { wait(handle); }
    void await_resume() { finish_wait(); }

protected:
    explicit OpenWait(Gate& gate) noexcept : GateWait(gate) {}
    ~OpenWait() = default;
};

inline void GateWait::wait(std::coroutine_handle<> handle) {
    if (get_running_loop().debug()) [[unlikely]]
        return wait_checked(handle);
    if (stop_here(ReadyNode::at_gate(handle))) gate_->push_back(*this);
}

// Out of line as a whole, see QueueWait.
[[gnu::cold, gnu::noinline]] inline void GateWait::wait_checked(std::coroutine_handle<> handle) {
    check_same_loop(*gate_);
    if (stop_here(ReadyNode::at_gate(handle))) gate_->push_back(*this);
}

inline void GateWait::resumed() noexcept {
    set_state(State::granted);
    --gate_->on_their_way_;
}

inline TaskCore* GateWait::cancel() noexcept {
    if (state() != State::queued) return nullptr;
    if (gate_->waits(*this)) {
        gate_->remove(*this);
        set_state(State::cancelled);
        task_->loop->wake(*task_);
    } else {
        // Perhaps for the last time: its loop ends, and it never runs.
        gate_->tell_those_on_their_way();
    }
    return nullptr;
}

[[gnu::cold]] inline void GateWait::turn_away() noexcept {
    if (state() != State::queued || !gate_->waits(*this)) return;
    gate_->remove(*this);
    GrantWait::turn_away();
}

inline WaitInfo GateWait::describe() const noexcept {
    if (state() == State::queued && !gate_->waits(*this)) return {"its turn"};
    return GrantWait::describe();
}

[[gnu::cold, gnu::noinline]] inline void GateWait::leave() noexcept {
    if (gate_->waits(*this)) {
        gate_->remove(*this);
    } else {
        gate_->tell_those_on_their_way();
    }
}

[[gnu::noinline]] inline void Gate::remove(const GateWait& waiter) noexcept {
    GateWait* const next = after(waiter);
    if (first_ == &waiter) {
        first_ = next;
    } else {
        waiter.before->task().next_ready = next ? &next->task() : nullptr;
    }
    (next ? next->before : last_) = waiter.before;
    --waiting_;
}

[[gnu::cold, gnu::noinline]] inline void Gate::let_through_one_by_one() noexcept {
    while (first_) {
        GateWait& waiter = *first_;
        remove(waiter);
        waiter.grant();
    }
    of_two_loops_ = false;
}

/// Another loop of the thread (which debug mode refuses while both wait) may run its tasks before.
[[gnu::cold, gnu::noinline]] inline void Gate::keep_order(const GateWait& next) noexcept {
    if (last_->task().loop != next.task().loop) tell_those_on_their_way();
}

[[gnu::cold, gnu::noinline]] inline void Gate::tell_those_on_their_way() noexcept {
    GateWait* waiter = first_ ? first_->before : last_;
    for (; on_their_way_ > 0; --on_their_way_) {
        waiter->grant_late();
        waiter = waiter->before;
    }
}

[[gnu::cold, gnu::noinline]] inline void Gate::send_away() noexcept {
    tell_those_on_their_way();
    Abandoned told;
    while (first_) {
        GateWait& waiter = *first_;
        remove(waiter);
        waiter.abandon(told);
    }
    told.report();
}

}  // namespace weft::detail
