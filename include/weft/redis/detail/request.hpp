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
#include "../../base/intrusive_list.hpp"
#include "../../base/ref.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"
#include "../reply.hpp"
#include "wire.hpp"

namespace weft::redis::detail {

using weft::detail::Ref;

class Core;

/// Why requests have ended without an answer; shared by those that the same thing has struck.
struct Failure : weft::detail::Counted<Failure> {
    enum class Kind : unsigned char { connection, refused, timeout };
    Failure(Kind of, std::string why, std::string code_of = {})
        : kind(of), reason(std::move(why)), code(std::move(code_of)) {}
    Kind kind;
    std::string reason;
    std::string code;
};

/// One command or several, and as many replies. It is in the core's list until it is written: until
/// then a cancel takes it back. From then on a cancel leaves its place in the row of those who wait
/// for replies, so that what comes for it is read and dropped, and goes to nobody else.
struct Pending : weft::detail::ListNode<> {
    enum class State : unsigned char { idle, unsent, sent, done, cancelled, failed };
    /// Throws:   std::bad_alloc.
    using Take = void (*)(Pending&, Reply&&);

    Pending(std::string commands, std::uint32_t count, Take takes) noexcept
        : wire(std::move(commands)), replies(count), take(takes) {}
    bool waits() const noexcept { return state == State::unsent || state == State::sent; }
    void end(State how) noexcept {
        state = how;
        task->loop->wake(*task);
    }

    std::string wire;
    const std::uint32_t replies;
    std::uint32_t only_on = 0;  // it is sent on this connection or not at all; 0: on any
    State state = State::idle;
    bool was_sent = false;
    std::uint64_t place = 0;  // in the row of those who wait for replies
    weft::detail::Nanoseconds deadline = 0;
    const Take take;  // a reply of its own
    weft::detail::TaskCore* task = nullptr;
    Ref<Failure> failure;
};

/// Its awaiter.
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

/// Awaits the answer to one command as a T.
template <class T>
class [[nodiscard]] [[gnu::warn_unused]] Command final : public Request {
public:
    Command(Ref<Core> core, std::string one) noexcept
        : Request(std::move(core), std::move(one), 1, &take_reply) {}
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
             std::uint32_t connection = 0)
        : Request(std::move(core), std::move(commands), count, &take_reply) {
        replies_.reserve(count);
        only_on = connection;
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
