// SPDX-License-Identifier: MIT
// TaskOptions: a task's name, and where its first step is taken.
#pragma once

#include <string>
#include <utility>

#include "../runtime/task_core.hpp"

namespace weft {

/// How a task is started: `TaskOptions().name("fetch").eager()`, or `TaskOptions("fetch")`.
/// (No aggregate: g++ 12 destroys an aggregate temporary twice when it stands in the same
/// expression as a co_await.)
struct TaskOptions {
public:
    // (Where the options are made is where the task is said to be created.)
    TaskOptions(detail::File in = detail::file(__builtin_FILE()),
                detail::Line line = detail::Line(__builtin_LINE())) noexcept
        : at_(in, line) {}
    explicit TaskOptions(std::string task_name, detail::File in = detail::file(__builtin_FILE()),
                         detail::Line line = detail::Line(__builtin_LINE())) noexcept
        : name_(std::move(task_name)), at_(in, line) {}
    explicit TaskOptions(std::string task_name, bool start_eagerly,
                         detail::File in = detail::file(__builtin_FILE()),
                         detail::Line line = detail::Line(__builtin_LINE())) noexcept
        : name_(std::move(task_name)), at_(in, line) {
        set(start_eagerly);
    }

    /// Shown in dumps and reports; empty: "Task-N".
    TaskOptions& name(std::string task_name) & noexcept { return set(std::move(task_name)); }
    TaskOptions&& name(std::string task_name) && noexcept {
        return std::move(set(std::move(task_name)));
    }
    const std::string& name() const noexcept { return name_; }

    /// Run the first step inside create_task, or not; if it is not said, the group
    /// (`task_group(eager,
    /// ...)`) or the run (`RunOptions::eager_tasks`) decides.
    TaskOptions& eager(bool start_eagerly = true) & noexcept { return set(start_eagerly); }
    TaskOptions&& eager(bool start_eagerly = true) && noexcept {
        return std::move(set(start_eagerly));
    }
    bool is_eager() const noexcept { return start_ == Start::eager; }
    bool is_eager_or(bool unless_said) const noexcept {
        return start_ == Start::unsaid ? unless_said : is_eager();
    }
    detail::CreatedAt created_at() const noexcept { return at_; }

private:
    TaskOptions& set(std::string task_name) noexcept {
        name_ = std::move(task_name);
        return *this;
    }
    TaskOptions& set(bool start_eagerly) noexcept {
        start_ = start_eagerly ? Start::eager : Start::queued;
        return *this;
    }

    enum class Start : unsigned char { unsaid, queued, eager };

    std::string name_;
    detail::CreatedAt at_;
    Start start_ = Start::unsaid;
};

}  // namespace weft
