// SPDX-License-Identifier: MIT
// EventLoop: tasks that are children of a group, see detail::GroupCore.
#pragma once

#include <utility>

#include "../../base/config.hpp"
#include "../../base/intrusive_list.hpp"
#include "../task_core.hpp"
#include "event_loop.hpp"

namespace weft {

/// A child less. Returns the parent if it waits for no other.
[[gnu::always_inline]] inline detail::TaskCore* EventLoop::leave_group(
    detail::TaskCore& task, detail::GroupCore& group) noexcept {
    if (!task.ended_plainly()) [[unlikely]] {
        group.tell(group, task, detail::ReadyNode::Verb::ended);
        return nullptr;
    }
    detail::IntrusiveList<detail::TaskCore, detail::AllTasksTag>::erase_for_good(task);
    if (!group.joiner || !group.members.empty()) return nullptr;
    detail::TaskCore* const joiner = std::exchange(group.joiner, nullptr);
    joiner->waiting_on = nullptr;
    return joiner;
}

[[gnu::cold]] WEFT_INLINE void EventLoop::tell_group_later(detail::TaskCore& task,
                                                           detail::GroupCore& group) noexcept {
    task.add_ref();  // the queue's
    task.set_ended(&group);
    ready_.push(task);
}

WEFT_INLINE void EventLoop::adopt(detail::GroupCore& group, detail::TaskCore& task) noexcept {
    if (task.listed && !task.done()) {
        detail::IntrusiveList<detail::TaskCore, detail::AllTasksTag>::erase_for_good(task);
        if (!group.linked()) groups_.push_back(group);
    }
    if (!task.done()) task.set_owner(&group);
    group.members.push_back(task);
}

[[gnu::cold]] WEFT_INLINE void EventLoop::disown(detail::TaskCore& task) noexcept {
    detail::IntrusiveList<detail::TaskCore, detail::AllTasksTag>::erase_for_good(task);
    if (task.done()) return task.set_ended(nullptr);
    task.set_owner(nullptr);
    if (task.listed) tasks_.push_back(task);
}

/// The ready queue's reference goes with it.
[[gnu::cold, gnu::noinline]] WEFT_INLINE void EventLoop::tell_group_now(
    detail::TaskCore& task, detail::ReadyNode::Verb verb) noexcept {
    if (detail::GroupCore* const group = task.group_to_tell())
        return group->tell(*group, task, verb);
    task.release();
}

}  // namespace weft
