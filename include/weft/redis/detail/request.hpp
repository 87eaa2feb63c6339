// SPDX-License-Identifier: MIT
// Request: a task waits for the answer of a Redis server.
#pragma once

#include <coroutine>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/ref.hpp"
#include "../../runtime/task_core.hpp"
#include "../reply.hpp"
#include "core.hpp"
#include "pending.hpp"
#include "wire.hpp"

namespace weft::redis::detail {

/// Awaits what is pending.
class Request : public weft::detail::Suspension, protected Pending {
public:
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle);
    bool await_cancelled() const noexcept { return state == State::cancelled; }
    inline weft::detail::TaskCore* cancel() noexcept override;
    weft::detail::WaitInfo describe() const noexcept override {
        return {"redis command", -1, nullptr, [](const Suspension& wait) {
                    return static_cast<const Request&>(wait).await_object();
                }};
    }
    [[gnu::cold]] std::string await_object() const;

protected:
    Request(Ref<Core> core, std::string commands, std::uint32_t count, Take takes) noexcept
        : Pending(std::move(commands), count, takes), core_(std::move(core)) {}
    /// The frame may be destroyed while it waits.
    ~Request() {
        if (waits()) [[unlikely]]
            leave();
    }

    /// For `await_resume`: returns when the replies are there.
    void finish() const {
        weft::detail::check_leftover();
        if (state != State::done) [[unlikely]]
            throw_unanswered();
    }
    /// "redis 127.0.0.1:6379: GET name: "
    [[gnu::cold]] std::string whence() const { return await_object() + ": "; }

private:
    [[noreturn, gnu::cold]] void throw_unanswered() const;
    inline void leave() noexcept;

    Ref<Core> core_;
};

[[gnu::cold]] inline weft::detail::TaskCore* Request::cancel() noexcept {
    if (waits()) {
        leave();
        end(State::cancelled);
    }
    return nullptr;
}
[[gnu::cold]] inline void Request::leave() noexcept { core_->cancel(*this); }

/// Awaits the answer to one command as a T.
template <class T>
class [[nodiscard]] [[gnu::warn_unused]] Command final : public Request {
public:
    Command(Ref<Core> core, std::string one, Mark what = Mark::none) noexcept
        : Request(std::move(core), std::move(one), 1, &take_reply) {
        mark = what;
    }
    T await_resume() {
        finish();
        if (reply_.is_error()) [[unlikely]]
            Reply::throw_server_error(reply_, whence());
        if constexpr (!std::is_void_v<T>) {
            T value{};
            if (!convert(std::move(reply_), value)) [[unlikely]]
                Reply::throw_mismatch(reply_, whence());
            return value;
        }
    }

private:
    static void take_reply(Pending& self, Reply&& reply) noexcept {
        static_cast<Command&>(self).reply_ = std::move(reply);
    }
    Reply reply_;
};

/// Awaits the answers to several.
class [[nodiscard]] [[gnu::warn_unused]] Commands final : public Request {
public:
    Commands(Ref<Core> core, std::string commands, std::uint32_t count,
             std::uint32_t connection = 0, Mark what = Mark::none)
        : Request(std::move(core), std::move(commands), count, &take_reply) {
        replies_.reserve(count);
        only_on = connection;
        mark = what;
    }
    /// None at all are answered by nobody.
    bool await_ready() noexcept {
        if (replies == 0) state = State::done;
        return replies == 0;
    }
    std::vector<Reply> await_resume() {
        finish();
        return std::move(replies_);
    }

private:
    static void take_reply(Pending& self, Reply&& reply) {
        static_cast<Commands&>(self).replies_.push_back(std::move(reply));
    }
    std::vector<Reply> replies_;
};

}  // namespace weft::redis::detail
