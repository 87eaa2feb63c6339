// SPDX-License-Identifier: MIT
// Holder: which task holds an exclusive primitive, and the report of tasks that wait in a circle.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <new>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

#include "../../base/config.hpp"
#include "../../base/pointer_set.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"
#include "../reserving_queue.hpp"

namespace weft::detail {

/// Held or not, and in debug mode also by whom and since where. The name costs a look at the
/// running loop and a reference (the task may end, and its holding of a lock outlive it), which is
/// why it is not kept otherwise.
class Holder {
public:
    Holder() noexcept = default;
    Holder(Holder&& other) noexcept : who_(std::exchange(other.who_, none)), place_(other.place_) {}
    Holder& operator=(Holder&& other) noexcept {
        std::swap(who_, other.who_);
        std::swap(place_, other.place_);
        return *this;
    }
    ~Holder() {
        if (who_ > ownerless) [[unlikely]]
            task()->release();
    }

    bool nobody() const noexcept { return who_ == none; }
    bool is_nameless() const noexcept { return who_ == nameless; }
    /// Null when nobody holds it, or it is not known who does.
    TaskCore* task() const noexcept {
        return who_ > ownerless ? reinterpret_cast<TaskCore*>(who_) : nullptr;
    }
    const std::source_location& place() const noexcept { return place_; }

    /// From nobody, or from somebody nameless.
    void set_nameless() noexcept { who_ = nameless; }
    void set_nobody() noexcept { who_ = none; }
    /// What it was held of is gone: there is nothing to hold, to release or to take.
    void set_ownerless() noexcept { who_ = ownerless; }
    bool is_ownerless() const noexcept { return who_ == ownerless; }
    [[gnu::cold]] void set(TaskCore* task, const std::source_location& place) noexcept {
        if (!task) return set_nameless();
        if (const TaskExtras* const extras = task->extras(); extras && extras->on_behalf_of)
            task = extras->on_behalf_of;
        task->add_ref();
        who_ = reinterpret_cast<std::uintptr_t>(task);
        place_ = place;
    }
    /// Nobody is left. Returns the task that was named: the caller releases it at its very end,
    /// for with a task its result may be destroyed, which is a user's code.
    [[nodiscard, gnu::cold]] TaskCore* forget() noexcept {
        TaskCore* const named = task();
        who_ = none;
        return named;
    }

private:
    static constexpr std::uintptr_t none = 0;
    static constexpr std::uintptr_t nameless = 1;
    static constexpr std::uintptr_t ownerless = 2;
    std::uintptr_t who_ = none;     // one of the above, or a TaskCore that we have a reference to
    std::source_location place_{};  // meaningless without a name
};

/// Debug mode, when `task` begins to wait: does a chain of who waits for whom lead back to it?
/// Every circle is closed by the last wait in it, so it is reported once.
void report_deadlock(const TaskCore& task) noexcept;

/// The node of a wait for something that has Holders.
class HeldWait : public ReservedWait {
public:
    WaitInfo describe() const noexcept override {
        const Holder* const holder = awaited_holder(0);
        return {what(), -1, holder ? holder->task() : nullptr};
    }
    /// Those who must let go before the wait ends, from 0; null where there are no more, and while
    /// it waits for something else (a notification).
    virtual const Holder* awaited_holder(std::size_t index) const noexcept = 0;
    const std::source_location& place() const noexcept { return place_; }

protected:
    HeldWait(ReservingQueue& queue, const std::source_location& place) noexcept
        : ReservedWait(queue), place_(place) {}
    ~HeldWait() = default;
    /// `wait_in_queue`, and in debug mode a look at who waits for whom.
    void wait_for_holders(std::coroutine_handle<> handle) {
        if (get_running_loop().debug()) [[unlikely]]
            return wait_and_look(handle);
        wait_in_queue(handle);
    }

private:
    [[gnu::cold, gnu::noinline]] void wait_and_look(std::coroutine_handle<> handle) {
        wait_in_queue(handle);
        report_deadlock(*task_);
    }

    std::source_location place_;
};

#if WEFT_BODIES

/// Empty for a place that was not given.
[[gnu::cold]] inline std::string at_place(const std::source_location& place) {
    if (place.line() == 0) return {};
    return concat({" at ", place.file_name(), ":", decimal(place.line())});
}

/// One of those that a waiting task waits for, and what they hold.
struct AwaitedTask {
    const TaskCore* task = nullptr;   // null: not known
    const Holder* holding = nullptr;  // null: the task itself is awaited
    bool there_are_more = true;
};

/// Whom `task` waits for: those who hold what it wants, or a task that it awaits.
[[gnu::cold]] inline AwaitedTask awaited_task(const TaskCore& task, std::size_t index) noexcept {
    if (!task.waiting_on) return {nullptr, nullptr, false};
    if (const auto* const wait = dynamic_cast<const HeldWait*>(task.waiting_on)) {
        const Holder* const holder = wait->awaited_holder(index);
        if (!holder) return {nullptr, nullptr, false};
        return {holder->task(), holder};
    }
    const FutureCore* const on = task.waiting_on->describe().on;
    if (index > 0 || !on || !on->is_task) return {nullptr, nullptr, false};
    return {static_cast<const TaskCore*>(on)};
}

/// A task in a chain of tasks of which each waits for the next, and which of its next ones that is.
struct ChainLink {
    const TaskCore* task;
    std::size_t looked_at;
    AwaitedTask next{};
};

/// The chain from `task` back to itself; empty when there is none. A writer waits for several
/// readers at once, and for all of them: a circle over any one of them is a deadlock.
[[gnu::cold]] inline std::vector<ChainLink> find_circle(const TaskCore& task) {
    std::vector<ChainLink> chain{{&task, 0}};
    PointerSet seen;
    while (!chain.empty()) {
        ChainLink& last = chain.back();
        last.next = awaited_task(*last.task, last.looked_at++);
        const TaskCore* const next = last.next.task;
        if (next == &task) break;
        if (!last.next.there_are_more) {
            chain.pop_back();
        } else if (next && !seen.contains(next)) {
            seen.insert(next);
            chain.push_back({next, 0});
        }
    }
    return chain;
}

[[gnu::cold]] inline std::string text_of_link(const ChainLink& link) {
    const std::string next = link.next.task->name();
    if (!link.next.holding) return concat({link.task->name(), " awaits ", next});
    const auto& wait = dynamic_cast<const HeldWait&>(*link.task->waiting_on);
    return concat({link.task->name(), " waits", at_place(wait.place()), " for a ",
                   wait.describe().what, " that ", next, " has taken",
                   at_place(link.next.holding->place())});
}

[[gnu::cold]] WEFT_INLINE void report_deadlock(const TaskCore& task) noexcept {
    try {
        const std::vector<ChainLink> circle = find_circle(task);
        if (circle.empty()) return;
        std::string text = "deadlock: ";
        for (const ChainLink& link : circle) {
            if (&link != &circle.front()) text += "; ";
            text += text_of_link(link);
        }
        task.loop->call_exception_handler({text, nullptr, task.name()});
    } catch (const std::bad_alloc&) {
        // It could not be looked for, or not be told.
    }
}
#endif

}  // namespace weft::detail
