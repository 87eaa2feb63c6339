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
/// that is on the way.
class CircleSearch {
public:
    using Circle = std::vector<const TaskCore*>;

    /// Those of whom each awaits the next, and the last one the first; none when `from` leads to no
    /// circle that was not seen before.
    Circle from(const TaskCore& start) {
        way_.clear();
        if (!seen_.contains(&start)) step_to(start);
        while (!way_.empty()) {
            Link& last = way_.back();
            if (last.looked_at == last.awaited.size()) {
                on_way_.erase(last.task);
                way_.pop_back();
                continue;
            }
            const TaskCore& next = *last.awaited[last.looked_at++];
            if (on_way_.contains(&next)) return circle_to(next);
            if (!seen_.contains(&next)) step_to(next);
        }
        return {};
    }

private:
    struct Link {
        const TaskCore* task;
        std::vector<const TaskCore*> awaited{};
        std::size_t looked_at = 0;
    };

    void step_to(const TaskCore& task) {
        seen_.insert(&task);
        on_way_.insert(&task);
        Link& link = way_.emplace_back(Link{&task});
        if (!task.waiting_on) return;
        const WaitInfo info = task.waiting_on->describe();
        auto add = [&link](const FutureCore& on) {
            if (on.is_task && !on.done()) link.awaited.push_back(static_cast<const TaskCore*>(&on));
        };
        if (info.on) add(*info.on);
        if (info.each) info.each(*task.waiting_on, add);
    }
    Circle circle_to(const TaskCore& task) const {
        std::size_t at = way_.size() - 1;
        while (way_[at].task != &task) --at;
        Circle circle;
        for (; at < way_.size(); ++at) circle.push_back(way_[at].task);
        return circle;
    }

    std::vector<Link> way_;
    PointerSet on_way_;
    PointerSet seen_;
};

}  // namespace weft::detail

namespace weft {

/// "task 'a' awaits task 'b', which awaits task 'a'"; empty where no tasks do.
[[gnu::cold]] WEFT_INLINE std::string EventLoop::circle_of_tasks() {
    detail::CircleSearch search;
    std::vector<const detail::TaskCore*> circle;
    for_each_task([&](detail::TaskCore& task) {
        if (circle.empty()) circle = search.from(task);
    });
    std::string text;
    if (circle.empty()) return text;
    text.append("task '").append(circle.front()->name()).append("' awaits task '");
    for (std::size_t at = 1; at < circle.size(); ++at)
        text.append(circle[at]->name()).append("', which awaits task '");
    text.append(circle.front()->name()).append("'");
    return text;
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
