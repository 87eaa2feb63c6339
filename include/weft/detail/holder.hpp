// SPDX-License-Identifier: MIT
// Holder: which task holds an exclusive primitive, and the report of tasks that wait in a circle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <source_location>
#include <string>

#include "../loop.hpp"
#include "reserving_queue.hpp"
#include "task_core.hpp"

namespace weft::detail {

/// Held or not, and in debug mode also by whom and since where. The name costs a look at the
/// running loop and a reference (the task may end, and its holding of a lock outlive it), which is
/// why it is not kept otherwise.
class Holder {
public:
    Holder() noexcept = default;
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;
    ~Holder() {
        if (who_ > nameless) [[unlikely]]
            task()->release();
    }

    bool nobody() const noexcept { return who_ == none; }
    bool is_nameless() const noexcept { return who_ == nameless; }
    /// Null when nobody holds it, or it is not known who does.
    TaskCore* task() const noexcept {
        return who_ > nameless ? reinterpret_cast<TaskCore*>(who_) : nullptr;
    }
    const std::source_location& place() const noexcept { return place_; }

    /// From nobody, or from somebody nameless.
    void set_nameless() noexcept { who_ = nameless; }
    void set_nobody() noexcept { who_ = none; }
    [[gnu::cold]] void set(TaskCore* task, const std::source_location& place) noexcept {
        if (!task) return set_nameless();
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
    std::uintptr_t who_ = none;     // one of the above, or a TaskCore that we have a reference to
    std::source_location place_{};  // meaningless without a name
};

/// The node of a wait for something that has a Holder.
class HeldWait : public ReservedWait {
public:
    WaitInfo describe() const noexcept override {
        const Holder* const holder = awaited_holder();
        return {what(), -1, holder ? holder->task() : nullptr};
    }
    /// Null while it waits for something else (a notification).
    virtual const Holder* awaited_holder() const noexcept = 0;
    const std::source_location& place() const noexcept { return place_; }

protected:
    HeldWait(ReservingQueue& queue, const char* what, const std::source_location& place) noexcept
        : ReservedWait(queue, what), place_(place) {}
    ~HeldWait() = default;

private:
    std::source_location place_;
};

/// Whom `task` waits for: the holder of a lock, or a task that it awaits.
[[gnu::cold]] inline TaskCore* waits_for(const TaskCore& task) noexcept {
    if (!task.waiting_on) return nullptr;
    const FutureCore* const on = task.waiting_on->describe().on;
    if (!on || !on->is_task) return nullptr;
    return const_cast<TaskCore*>(static_cast<const TaskCore*>(on));
}

/// Empty for a place that was not given.
[[gnu::cold]] inline std::string at_place(const std::source_location& place) {
    if (place.line() == 0) return {};
    return concat({" at ", place.file_name(), ":", decimal(place.line())});
}

[[gnu::cold]] inline std::string text_of_wait(const TaskCore& task, const TaskCore& other) {
    const auto* const wait = dynamic_cast<const HeldWait*>(task.waiting_on);
    if (!wait) return concat({task.name(), " awaits ", other.name()});
    return concat({task.name(), " waits", at_place(wait->place()), " for a ", wait->describe().what,
                   " that ", other.name(), " has taken",
                   at_place(wait->awaited_holder()->place())});
}

/// Debug mode, when `task` begins to wait: does the chain of who waits for whom lead back to it?
/// Every circle is closed by the last wait in it, so it is reported once. Brent's algorithm: the
/// chain may lead into an older circle that does not contain `task`.
[[gnu::cold]] inline void report_deadlock(const TaskCore& task) noexcept {
    const TaskCore* landmark = &task;
    std::size_t steps = 0;
    std::size_t stretch = 1;
    for (const TaskCore* at = waits_for(task); at != &task; at = waits_for(*at)) {
        if (!at || at == landmark) return;
        if (++steps == stretch) {
            landmark = at;
            steps = 0;
            stretch *= 2;
        }
    }
    try {
        std::string text = "deadlock: ";
        const TaskCore* at = &task;
        do {
            const TaskCore* const next = waits_for(*at);
            if (at != &task) text += "; ";
            text += text_of_wait(*at, *next);
            at = next;
        } while (at != &task);
        task.loop->call_exception_handler({text, nullptr, task.name()});
    } catch (const std::bad_alloc&) {
        task.loop->call_exception_handler({"deadlock", nullptr, {}});
    }
}

}  // namespace weft::detail
