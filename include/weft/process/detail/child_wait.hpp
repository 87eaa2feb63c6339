// SPDX-License-Identifier: MIT
// ChildWait: a task waits until the handle of a child tells of its end.
#pragma once

#include "../../base/config.hpp"
#include "process_state.hpp"

#if WEFT_BODIES
#include <poll.h>

#include <cerrno>
#include <coroutine>
#include <string>

#include "../../base/error.hpp"
#include "../../kernel/operation.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"
#endif

namespace weft::detail {

#if WEFT_BODIES
/// A poll that says in reports and in errors of deadlines whom it waits for. `child` outlives it.
class [[nodiscard]] [[gnu::warn_unused]] ChildWait final : public Suspension, Operation {
public:
    explicit ChildWait(const ProcessState& child) noexcept
        : Operation(OpCode::poll, &completed), child_(child) {
        fd = child.pidfd.get();
        flags = POLLIN;
    }
    bool await_ready() const noexcept { return false; }
    [[gnu::cold]] bool await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        task_ = &loop.suspend(handle, *this);
        if (task_->must_cancel) {
            asked_ = true;
            result = -ECANCELED;
            loop.wake(*task_);
            return true;
        }
        if (!loop.start(*this)) return true;
        task_->waiting_on = nullptr;
        return false;
    }
    bool await_cancelled() const noexcept { return result == -ECANCELED && asked_; }
    [[gnu::cold]] void await_resume() const {
        check_leftover();
        if (result >= 0) return;
        if (await_cancelled()) task_->loop->throw_cancelled();
        throw_system_error(-result, await_object());
    }
    TaskCore* cancel() noexcept override {
        asked_ = true;
        task_->loop->cancel(static_cast<Operation&>(*this));
        return nullptr;
    }
    WaitInfo describe() const noexcept override {
        return {"wait for a child", fd, nullptr, [](const Suspension& wait) {
                    return static_cast<const ChildWait&>(wait).await_object();
                }};
    }
    [[gnu::cold]] std::string await_object() const { return child_.text("wait for"); }

private:
    static void completed(Operation& op) noexcept {
        auto& self = static_cast<ChildWait&>(op);
        self.task_->loop->wake(*self.task_);
    }

    const ProcessState& child_;
    TaskCore* task_ = nullptr;
    bool asked_ = false;
};
#endif

}  // namespace weft::detail
