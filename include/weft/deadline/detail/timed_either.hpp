// SPDX-License-Identifier: MIT
// TimedEither: a deadline around what is a single operation, as a rule.
#pragma once

#include <coroutine>
#include <cstdint>
#include <string>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/owned.hpp"
#include "../timeout.hpp"
#include "timed_awaiter.hpp"

namespace weft::detail {

/// A read of a socket is one operation; one of a TLS session may be several, and the deadline must
/// strike the next when it has lost against the first. So there it is a request of the task, as
/// around any coroutine. Which of the two it is, is known when the wait begins.
template <class Awaiter>
class TimedEither : public TimedOperation<Awaiter> {
    using AsOperation = TimedOperation<Awaiter>;

public:
    template <class A>
    TimedEither(A&& awaitable, Nanoseconds delay)
        : AsOperation(std::forward<A>(awaitable), delay), delay_(delay) {}

    bool await_suspend(std::coroutine_handle<> handle) {
        if (delay_ <= 0 || !this->inner().is_call()) [[likely]]
            return AsOperation::await_suspend(handle);
        return suspend_call(handle);
    }

    bool timed_out() const noexcept {
        return scope_ ? end() == End::timed_out : AsOperation::timed_out();
    }
    bool lacks_memory() const noexcept {
        return scope_ ? scope_->lacks_memory_ : AsOperation::lacks_memory();
    }
    [[gnu::cold]] std::string object() const {
        return scope_ ? std::string(scope_->object()) : AsOperation::object();
    }
    bool await_cancelled() const noexcept {
        return scope_ ? end() == End::cancelled : AsOperation::await_cancelled();
    }

private:
    enum class End : std::uint8_t { unknown, completed, cancelled, timed_out };

    [[gnu::cold, gnu::noinline]] bool suspend_call(std::coroutine_handle<> handle) {
        scope_.reset(new Timeout(delay_, Timeout::Kind::delay));
        scope_->enter();
        if (!this->inner().await_suspend(handle)) return false;
        scope_->suspended();
        return true;
    }
    /// Found out once, after the resumption: the request goes with the first look.
    [[gnu::cold, gnu::noinline]] End end() const noexcept {
        if (end_ != End::unknown) return end_;
        const bool cancelled = this->inner().await_cancelled();
        const bool ours = scope_->leave();
        return end_ = !cancelled ? End::completed : ours ? End::timed_out : End::cancelled;
    }

    Nanoseconds delay_;
    Owned<Timeout> scope_;  // of a call
    mutable End end_ = End::unknown;
};

}  // namespace weft::detail
