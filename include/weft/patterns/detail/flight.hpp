// SPDX-License-Identifier: MIT
// Flight: a call of a Singleflight without its type; who waits for it, and whether that is anybody
// from outside.
#pragma once

#include <coroutine>
#include <type_traits>
#include <utility>

#include "../../base/intrusive_list.hpp"
#include "../../base/ref.hpp"
#include "../../task/context_var.hpp"
#include "../../task/coro.hpp"
#include "../../task/future.hpp"
#include "../../task/task.hpp"

namespace weft::detail {

class Flight;
class FlightWait;

/// What the tasks of a call know it by. It stays as long as their contexts, the call does not.
struct FlightMark : Counted<FlightMark> {
    explicit FlightMark(Flight& of) noexcept : flight(&of) {}
    Flight* flight;  // null: it is gone
};

/// The call that the current task is a part of: set by its first task, and inherited by those that
/// this one starts.
inline const ContextVar<Ref<FlightMark>>& enclosing_flight() {
    static const ContextVar<Ref<FlightMark>> variable("weft.singleflight");
    return variable;
}

/// Waits for the end of a call.
class [[nodiscard]] [[gnu::warn_unused]] FlightWait final : public FutureWait, public ListNode<> {
public:
    // Takes over a reference to the call's task.
    FlightWait(Flight& flight, FutureCore* task);
    /// The frame is destroyed: a call that nobody wants any more is cancelled.
    ~FlightWait();

    /// The last one who wants the call passes the cancel on to it, and waits for its end as if it
    /// had awaited the task. Others leave.
    inline TaskCore* cancel() noexcept override;
    void let_go() noexcept override { leave(); }
    void await_resume();

private:
    friend Flight;
    Flight& flight_;
    const Ref<FlightMark> part_of_;  // of which call the task that waits is a part, if it is
};

class Flight {
public:
    Flight() : mark_(new FlightMark(*this)) {}
    Flight(const Flight&) = delete;
    Flight& operator=(const Flight&) = delete;

    const Ref<FlightMark>& mark() const noexcept { return mark_; }
    void begin(FutureCore& task) noexcept { task_ = &task; }
    FlightWait wait() {
        task_->add_ref();
        return FlightWait(*this, task_);
    }

    /// Nobody joins it any more.
    bool is_over() const noexcept { return given_up_ || task_->done(); }
    /// The call is cancelled. Those who wait for it still do.
    void give_up() noexcept {
        given_up_ = true;
        if (!task_->done()) cancel_future(*task_, {});
    }
    /// By anybody but `without`. Calls may wait for each other: those of their tasks that wait for
    /// a call count as long as somebody from outside wants the call that they are a part of.
    bool is_wanted(const FlightWait* without) noexcept;

protected:
    ~Flight() { mark_->flight = nullptr; }

private:
    friend FlightWait;
    IntrusiveList<FlightWait> waiting_;
    Ref<FlightMark> mark_;
    FutureCore* task_ = nullptr;  // the derived class has the handle
    Flight* next_ = nullptr;      // in the list of those that `is_wanted` looks at
    bool listed_ = false;
    bool given_up_ = false;
};

/// The first frame of a call: keeps the function and its arguments.
template <class T, class Fn, class... Args>
Coro<T> fly(Ref<FlightMark> mark, Fn fn, Args... args) {
    (void)enclosing_flight().set(std::move(mark));
    if constexpr (std::is_member_pointer_v<Fn>) {
        co_return co_await call_member(fn, args...);
    } else {
        co_return co_await fn(std::move(args)...);
    }
}

inline FlightWait::FlightWait(Flight& flight, FutureCore* task)
    : FutureWait(task), flight_(flight), part_of_(enclosing_flight().get(Ref<FlightMark>())) {
    flight.waiting_.push_back(*this);
}

inline FlightWait::~FlightWait() {
    const bool waits = FutureWaiter::next != nullptr;
    leave_list();
    if (linked()) {
        unlink();
        if (waits && !flight_.given_up_ && !flight_.is_wanted(nullptr)) flight_.give_up();
    }
    core_->release();
}

inline TaskCore* FlightWait::cancel() noexcept {
    if (!linked()) return nullptr;
    if (flight_.is_wanted(this)) {
        unlink();
        leave();
        return nullptr;
    }
    flight_.given_up_ = true;
    return static_cast<TaskCore*>(core_);
}

inline void FlightWait::await_resume() {
    check_leftover();
    if (!core_->done()) core_->loop->throw_cancelled();
    // Our own request went down to the call and comes back as the call's end.
    const TaskCore* const waiter = task();
    if (waiter && waiter->must_cancel && core_->state == FutureCore::State::cancelled)
        core_->loop->throw_cancelled();
}

inline bool Flight::is_wanted(const FlightWait* without) noexcept {
    bool wanted = false;
    Flight* last = this;
    listed_ = true;
    for (Flight* flight = this; flight && !wanted; flight = flight->next_) {
        flight->waiting_.for_each([&](FlightWait& wait) {
            if (&wait == without) return;
            Flight* const around = wait.part_of_ ? wait.part_of_->flight : nullptr;
            if (!around || around->is_over()) {
                wanted = true;
            } else if (!around->listed_) {
                around->listed_ = true;
                last->next_ = around;
                last = around;
            }
        });
    }
    for (Flight* flight = this; flight;) {
        flight->listed_ = false;
        flight = std::exchange(flight->next_, nullptr);
    }
    return wanted;
}

}  // namespace weft::detail
