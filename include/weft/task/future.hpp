// SPDX-License-Identifier: MIT
// Future<T>: a shared handle to a result that comes later.
// Long because: the awaiters of a future and its handle are one protocol.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <string_view>
#include <type_traits>
#include <utility>

#include "../base/callback.hpp"
#include "../base/error.hpp"
#include "../base/frame_allocator.hpp"
#include "../base/outcome.hpp"
#include "../fwd.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"
#include "future_state.hpp"

namespace weft {

namespace detail {

/// The part of awaiting a future that does not depend on its type. Holds a reference to it.
class FutureWait : public Suspension, protected FutureWaiter {
public:
    bool await_ready() const noexcept { return core_->done(); }
    void await_suspend(std::coroutine_handle<> handle) {
        EventLoop* const loop = EventLoop::running();
        if (core_->loop != loop) [[unlikely]]
            refuse(*core_);
        TaskCore* const task = loop->current_task();
        // (A cast of a pointer would look for null first.)
        if (!task || &static_cast<FutureCore&>(*task) == core_) [[unlikely]]
            refuse(*core_);
        task->coroutine = handle;
        task->waiting_on = this;
        target = task;
        core_->waiters.push_back(*this);
        if (task->must_cancel) [[unlikely]]
            loop->pass_on_cancel(*task);
    }
    WaitInfo describe() const noexcept override {
        return {core_->is_task ? "task" : "future", -1, core_};
    }
    [[gnu::cold]] std::string await_object() const { return text_of_wait(*this); }

protected:
    // Takes over a reference.
    explicit FutureWait(FutureCore* core) noexcept : FutureWaiter(nullptr), core_(core) {}
    /// What is derived, and final, calls `leave_list` in its destructor and releases the future. A
    /// destructor here that did so would first write this class's table into an object that goes.
    ~FutureWait() = default;
    void leave_list() noexcept {
        if (next) [[unlikely]]  // the frame is destroyed while it waits
            core_->waiters.erase(*this);
    }

    TaskCore* task() const noexcept { return static_cast<TaskCore*>(target); }
    /// Wakes our task although the future is not done.
    void leave() noexcept {
        if (!next) return;
        core_->waiters.erase(*this);
        core_->loop->wake(*task());
    }

    FutureCore* core_;

private:
    [[noreturn, gnu::cold, gnu::noinline]] static void refuse(const FutureCore& core) {
        const EventLoop& loop = get_running_loop();
        loop.require_task();
        refuse_await(core, loop);
    }
};

/// `Task<T>` knows that its future is a task's; a `Future<T>` may be either.
enum class FutureIs : bool { unknown, task };

template <class T, bool Take, FutureIs Is = FutureIs::unknown>
class [[nodiscard]] FutureAwaiter final : public FutureWait {
public:
    explicit FutureAwaiter(FutureCore* core) noexcept : FutureWait(core) {}
    [[gnu::always_inline]] ~FutureAwaiter() {
        leave_list();
        if constexpr (Is == FutureIs::task) {
            TaskState<T>::release(static_cast<TaskState<T>&>(*core_));
        } else {
            core_->release();
        }
    }

    TaskCore* cancel() noexcept override {
        if (core_->is_task) return static_cast<TaskCore*>(core_);
        const TaskExtras* const extras = task()->extras();
        end_cancelled(*core_, extras ? extras->cancel_message : std::string_view());
        return nullptr;
    }
    void let_go() noexcept override {
        if (core_->is_task) leave();
    }
    bool await_cancelled() const noexcept {
        return core_->state == FutureCore::State::cancelled || !core_->done();
    }

    decltype(auto) await_resume() {
        check_leftover();
        Outcome<T>& outcome = this->outcome();
        if (core_->state != FutureCore::State::value) [[unlikely]]
            throw_end(outcome);
        if constexpr (!Take || std::is_void_v<T> || std::is_reference_v<T>) {
            return outcome.value();
        } else {
            return taken(outcome);
        }
    }

private:
    Outcome<T>& outcome() const noexcept {
        if constexpr (Is == FutureIs::task) {
            return static_cast<TaskState<T>&>(*core_).outcome;
        } else {
            return outcome_of<T>(*core_);
        }
    }
    [[noreturn, gnu::cold, gnu::noinline]] void throw_end(const Outcome<T>& outcome) const {
        const FutureCore::State state = core_->state;
        if (state == FutureCore::State::pending) core_->loop->throw_cancelled();  // let go
        TaskCore* const waiter = task();
        if (state == FutureCore::State::cancelled && waiter && waiter->must_cancel) {
            // Our own request went down through this future and comes back as its CancelledError;
            // of a second one that came meanwhile the message is newer than the future's.
            const TaskExtras* const extras = waiter->extras();
            const bool newer = !core_->is_task && extras && !extras->cancel_message.empty();
            if (!outcome.exception() || newer) core_->loop->throw_cancelled();
            waiter->must_cancel = waiter->keeps_cancel;
            waiter->delivered = true;
        }
        core_->retrieved = true;
        rethrow(outcome.exception());
    }
    // Moved out when nobody else can look at it any more; a type that cannot be copied goes to
    // the first who takes it.
    T taken(Outcome<T>& outcome) {
        if constexpr (std::is_copy_constructible_v<T>) {
            if (core_->is_shared()) return outcome.get();
        }
        return outcome.take();
    }
};

/// Waits for the end and looks at no result; a cancel ends the wait and leaves the future alone.
class [[nodiscard]] [[gnu::warn_unused]] DoneAwaiter final : public FutureWait {
public:
    explicit DoneAwaiter(FutureCore* core) noexcept : FutureWait(core) {}
    ~DoneAwaiter() {
        leave_list();
        core_->release();
    }

    TaskCore* cancel() noexcept override {
        leave();
        return nullptr;
    }
    bool await_cancelled() const noexcept { return !core_->done(); }
    void await_resume() const {
        check_leftover();
        if (!core_->done()) core_->loop->throw_cancelled();
    }
};

}  // namespace detail

/// Keeps a done-callback identifiable, for `remove_done_callback`.
class DoneHandle {
public:
    /// Of no callback.
    DoneHandle() noexcept = default;
    DoneHandle(DoneHandle&& other) noexcept : callback_(std::exchange(other.callback_, nullptr)) {}
    DoneHandle& operator=(DoneHandle&& other) noexcept {
        std::swap(callback_, other.callback_);
        return *this;
    }
    ~DoneHandle() {
        if (callback_) callback_->release();
    }

    /// For the library's own layers: it runs also when the loop has begun to end before.
    void run_in_the_end() const noexcept { callback_->of_the_end = true; }

private:
    friend class AnyFuture;
    template <class T>
    friend class Future;
    /// Takes over a reference.
    explicit DoneHandle(detail::DoneCallback& callback) noexcept : callback_(&callback) {}
    detail::DoneCallback* callback_ = nullptr;
};

/// What a handle can do without knowing the result's type.
/// Throws:   RuntimeError when the handle is empty (default-constructed, moved from, or awaited as
///           an rvalue), from everything but `operator bool`, comparisons and hashes.
class AnyFuture {
public:
    AnyFuture() noexcept = default;
    AnyFuture(const AnyFuture& other) noexcept : core_(other.core_) {
        if (core_) core_->add_ref();
    }
    AnyFuture(AnyFuture&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
    AnyFuture& operator=(AnyFuture other) noexcept {
        std::swap(core_, other.core_);
        return *this;
    }
    ~AnyFuture() {
        if (core_) core_->release();
    }

    explicit operator bool() const noexcept { return core_ != nullptr; }
    friend bool operator==(const AnyFuture& a, const AnyFuture& b) noexcept {
        return a.core_ == b.core_;
    }

    bool done() const { return state().done(); }
    bool cancelled() const { return state().state == detail::FutureCore::State::cancelled; }

    /// The exception it failed with, or null.
    /// Throws:   InvalidStateError while it is not done; CancelledError when it was cancelled.
    std::exception_ptr exception() const {
        require_done();
        if (cancelled()) detail::rethrow(core_->typed->exception(*core_));
        core_->retrieved = true;
        return core_->typed->exception(*core_);
    }

    /// Waits until it is done, whatever the outcome; looks at no result and throws none.
    /// Cancel:   ends the wait; the future is left alone.
    auto wait() const { return detail::DoneAwaiter(shared()); }

    /// Takes a callback out before it has run, also while others run. Returns how many (0 or 1).
    std::size_t remove_done_callback(const DoneHandle& handle) noexcept {
        detail::DoneCallback* const callback = handle.callback_;
        if (!callback || callback->future != core_ || callback->removed) return 0;
        callback->removed = true;
        callback->fn.reset();
        if (callback->next) {
            core_->waiters.erase(*callback);
            callback->release();
        }
        return 1;
    }

    EventLoop& get_loop() const { return *state().loop; }
    /// For the library's own layers.
    detail::FutureCore* core() const noexcept { return core_; }

protected:
    // Takes over a reference.
    explicit AnyFuture(detail::FutureCore* core) noexcept : core_(core) {}

    detail::FutureCore& state() const {
        if (!core_) [[unlikely]]
            detail::throw_empty_handle();
        return *core_;
    }
    detail::FutureCore* shared() const {
        state().add_ref();
        return core_;
    }
    /// The handle is empty afterwards.
    detail::FutureCore* given_up() {
        state();
        return std::exchange(core_, nullptr);
    }
    void require_done() const {
        if (!state().done()) [[unlikely]]
            detail::throw_not_done(state());
    }

    detail::FutureCore* core_ = nullptr;
};

/// A result that somebody will set. Copies refer to the same one; any number of tasks may await it.
///
/// `co_await future` gives a const reference to the value (into the shared state, which the handle
/// keeps alive); `co_await std::move(future)` gives the value itself.
/// Cancel:   cancelling a task that awaits a future cancels the future.
/// Thread:   loop thread only, copying and dropping handles included (the count is not atomic; in
///           debug mode one that is dropped on another thread ends the program, by name). From
///           another thread, post a callback that sets it (`Remote::call_soon_threadsafe`). The
///           handle that any thread may hold is a ConcurrentFuture (`Remote::spawn`).
template <class T>
class [[nodiscard]] Future : public AnyFuture {
public:
    using value_type = T;
    Future() noexcept = default;

    /// Throws:   InvalidStateError when it is done already; RuntimeError on a task.
    template <class... Args>
    void set_result(Args&&... args) {
        require_open("set_result");
        detail::outcome_of<T>(*core_).set_value(std::forward<Args>(args)...);
        detail::end_future(*core_, detail::FutureCore::State::value);
    }
    void set_exception(std::exception_ptr exception) {
        require_open("set_exception");
        if (!exception) detail::throw_invalid_state("weft: set_exception needs an exception");
        detail::outcome_of<T>(*core_).set_exception(std::move(exception));
        detail::end_future(*core_, detail::FutureCore::State::exception);
    }

    /// Ends it as cancelled; a task is asked to end instead. False when it was done.
    bool cancel(std::string_view message = {}) { return detail::cancel_future(state(), message); }

    /// The value.
    /// Throws:   what it failed with; CancelledError; InvalidStateError while it is not done.
    decltype(auto) result() const& {
        require_done();
        core_->retrieved = true;
        return detail::outcome_of<T>(*core_).get();
    }
    T result() && {
        require_done();
        core_->retrieved = true;
        if constexpr (std::is_copy_constructible_v<T>) {
            if (core_->is_shared()) return detail::outcome_of<T>(*core_).get();
        }
        return detail::outcome_of<T>(*core_).take();
    }

    /// Calls `fn(future)` through the loop once it is done, callbacks in the order of registration.
    /// Lifetime: `fn` is kept until then. One that holds a handle of this very future keeps it alive
    ///           until it is done; one that never is, is never freed.
    template <class F>
    DoneHandle add_done_callback(F&& fn) {
        detail::refuse_coroutine<std::invoke_result_t<std::decay_t<F>&, Future>>();
        return DoneHandle(detail::add_done_callback(
            state(), [fn = std::forward<F>(fn)](detail::FutureCore& core) mutable {
                core.add_ref();
                static_cast<void>(fn(Future(&core)));
            }));
    }

    auto operator co_await() const& { return detail::FutureAwaiter<T, false>(shared()); }
    auto operator co_await() && {
        // The handle's own reference goes along: it must not count as somebody else who looks.
        return detail::FutureAwaiter<T, true>(given_up());
    }

    /// For the library's own layers: takes over a reference.
    explicit Future(detail::FutureCore* core) noexcept : AnyFuture(core) {}

private:
    void require_open(const char* call) const {
        EventLoop::check_thread(state(), call);
        if (core_->is_task || core_->done()) [[unlikely]]
            detail::throw_not_open(*core_, call);
    }
};

template <class T>
Future<T> EventLoop::create_future() {
    check_thread("create_future");
    auto* const state = new detail::FutureState<T>(*this);
    if (debug()) [[unlikely]] {
        state->debug = true;
        state->watch_handles();
    }
    return Future<T>(state);
}

/// A future of the running loop, to be ended by `set_result`, `set_exception` or `cancel`.
/// Throws:   RuntimeError when no loop runs.
template <class T = void>
Future<T> create_future() {
    return get_running_loop().create_future<T>();
}

template <class T>
T EventLoop::run_until_complete(Future<T> future) {
    if (!future) detail::throw_empty_handle();
    run_until_done(*future.core());
    return std::move(future).result();
}

}  // namespace weft

/// Handles of one future are one key.
template <>
struct std::hash<weft::AnyFuture> {
    std::size_t operator()(const weft::AnyFuture& future) const noexcept {
        return std::hash<const void*>()(future.core());
    }
};
template <class T>
struct std::hash<weft::Future<T>> : std::hash<weft::AnyFuture> {};
