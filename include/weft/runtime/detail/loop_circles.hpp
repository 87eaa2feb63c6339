// SPDX-License-Identifier: MIT
// EventLoop: tasks that await each other in a circle, which nobody inside can break.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <vector>

#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/pointer_set.hpp"
#include "../report.hpp"
#include "event_loop.hpp"

namespace weft::detail {

/// A search through who awaits whom, in depth: a circle is found where it leads back to a task
/// that is on the way. (Its two lists are of one type, whose code every program has.)
class CircleSearch {
public:
    /// Whether `start` leads to a circle that was not seen before.
    [[gnu::cold]] bool finds_from(const TaskCore& start) {
        way_.clear();
        ahead_.clear();
        if (!seen_.contains(&start)) step_to(start);
        while (!ahead_.empty()) {
            const TaskCore* const next = ahead_.back();
            ahead_.pop_back();
            if (!next) {
                on_way_.erase(way_.back());
                way_.pop_back();
            } else if (on_way_.contains(next)) {
                while (way_[begin_] != next) ++begin_;
                return true;
            } else if (!seen_.contains(next)) {
                step_to(*next);
            }
        }
        return false;
    }
    /// "task 'a' awaits task 'b', which awaits task 'a'".
    [[gnu::cold]] std::string text() const {
        std::string text = concat({"task '", way_[begin_]->name(), "'"});
        for (std::size_t at = begin_ + 1; at <= way_.size(); ++at) {
            const TaskCore& next = *way_[at < way_.size() ? at : begin_];
            const char* const verb = at == begin_ + 1 ? " awaits" : ", which awaits";
            const std::string more = concat({verb, " task '", next.name(), "'"});
            text.append(more.data(), more.size());
        }
        return text;
    }

private:
    using Tasks = std::vector<const TaskCore*>;

    [[gnu::cold]] void step_to(const TaskCore& task) {
        seen_.insert(&task);
        on_way_.insert(&task);
        add(way_, &task);
        add(ahead_, nullptr);
        if (!task.waiting_on) return;
        const WaitInfo info = task.waiting_on->describe();
        auto look_at = [this](const FutureCore& on) {
            if (on.is_task && !on.done()) add(ahead_, static_cast<const TaskCore*>(&on));
        };
        if (info.each) info.each(*task.waiting_on, look_at);
        if (info.on) look_at(*info.on);
    }
    [[gnu::cold, gnu::noinline]] static void add(Tasks& tasks, const TaskCore* task) {
        tasks.push_back(task);
    }

    Tasks way_;    // each awaits the next
    Tasks ahead_;  // whom else they await, those of the last one at the end, behind a null each
    std::size_t begin_ = 0;  // of the circle that was found, on the way
    PointerSet on_way_;
    PointerSet seen_;
};

}  // namespace weft::detail

namespace weft {

/// "task 'a' awaits task 'b', which awaits task 'a'"; empty where no tasks do.
[[gnu::cold]] WEFT_INLINE std::string EventLoop::circle_of_tasks() {
    detail::CircleSearch search;
    bool found = false;
    for_each_task([&](const detail::TaskCore& task) { found = found || search.finds_from(task); });
    return found ? search.text() : std::string();
}

/// Nothing is under way, and nothing has come for a while. Who waits for another thread may wait
/// for long; who waits for himself is told of, once.
[[gnu::cold]] WEFT_INLINE void EventLoop::report_circle() noexcept {
    circles_step_ = step_;
    try {
        const std::string circle = circle_of_tasks();
        if (circle.empty() || circle == told_circle_) return;
        told_circle_ = circle;
        const std::string text = detail::concat({"deadlock: ", circle});
        call_exception_handler({text, nullptr, {}});
    } catch (const std::bad_alloc&) {
        // It could not be looked for, or not be told.
    }
}

}  // namespace weft
