// SPDX-License-Identifier: MIT
// What Future and Task handles point to: the typed state, its done-callbacks, its end.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "../base/callback.hpp"
#include "../base/config.hpp"
#include "../base/frame_allocator.hpp"
#include "../base/outcome.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"

namespace weft::detail {

/// A done-callback: in the future's list until the future is done, then in the ready queue.
struct DoneCallback final : CallbackNode, FutureWaiter, Recycled {
    DoneCallback(FutureCore& of, Callback<void(FutureCore&)> f) noexcept
        : CallbackNode(&run_or_drop), FutureWaiter(this), future(&of), fn(std::move(f)) {}

    void release() noexcept {
        if (--refs == 0) delete this;
    }
    static void run_or_drop(CallbackNode& node, Verb verb) noexcept;

    FutureCore* future;
    std::uint32_t refs = 1;
    bool removed = false;
    bool of_the_end = false;  // runs also while the loop ends, see EventLoop::is_ending
    ContextRef context;
    Callback<void(FutureCore&)> fn;
};

/// The rest of `Future::add_done_callback`, without its types.
DoneCallback& add_done_callback(FutureCore& core, Callback<void(FutureCore&)> fn);

// The errors of whoever asks a future for what cannot be; they say which one it is.

/// It is of another loop than this one, which runs, or it is the task that runs.
[[noreturn, gnu::cold]] void refuse_await(const FutureCore& core, const EventLoop& here);
[[noreturn, gnu::cold]] void throw_not_done(const FutureCore& core);
/// It is a task, or it has ended.
[[noreturn, gnu::cold]] void throw_not_open(const FutureCore& core, const char* call);

/// Of a future that tasks cannot wait on any more (one that waits holds a reference); or whose loop
/// has closed without them: it is about to destroy them, or leaves them to the parent of this
/// forked process.
[[gnu::cold, gnu::noinline]] inline void drop_callbacks(FutureCore& core) noexcept {
    while (FutureWaiter* const waiter = core.waiters.pop_front()) {
        if (!waiter->target->is_callback()) continue;
        auto& callback = static_cast<CallbackNode&>(*waiter->target);
        core.add_ref();  // the callback gives it back
        callback.act(callback, ReadyNode::Verb::drop);
    }
}

#if WEFT_BODIES
[[gnu::noinline]] WEFT_INLINE void refuse_await(const FutureCore& core, const EventLoop& here) {
    if (core.loop == &here) {
        throw_runtime_error({"weft: ", text_of(core), " cannot await itself"});
    }
    throw_runtime_error({"weft: awaited ", text_of(core),
                         " of another event loop (Remote::spawn gives one that can be)"});
}
[[gnu::noinline]] WEFT_INLINE void throw_not_done(const FutureCore& core) {
    throw InvalidStateError(
        concat({"weft: the result of ", text_of(core), " is not there yet; await it"}));
}
[[gnu::noinline]] WEFT_INLINE void throw_not_open(const FutureCore& core, const char* call) {
    if (core.is_task) {
        throw_runtime_error(
            {"weft: ", call, ": ", text_of(core), " gets its result from its coroutine alone"});
    }
    using State = FutureCore::State;
    throw InvalidStateError(concat({"weft: ", call, ": the future is done already: it ",
                                    core.state == State::cancelled   ? "was cancelled"
                                    : core.state == State::exception ? "has an exception"
                                                                     : "has a result"}));
}

WEFT_INLINE void DoneCallback::run_or_drop(CallbackNode& node, Verb verb) noexcept {
    auto& self = static_cast<DoneCallback&>(node);
    FutureCore& core = *self.future;
    if (verb == Verb::ended) {
        core.add_ref();  // the queue's
        return core.loop->push(self);
    }
    const bool comes_too_late = verb == Verb::run && core.loop->is_ending() && !self.of_the_end;
    if (verb == Verb::run && !self.removed && !comes_too_late) {
        self.removed = true;
        const AmbientScope scope(self.context);
        try {
            self.fn(core);
        } catch (...) {
            core.loop->report_callback("exception in a done-callback", core);
        }
    }
    self.removed = true;
    self.fn.reset();
    self.release();
    core.release();
}

[[gnu::noinline]] WEFT_INLINE DoneCallback& add_done_callback(FutureCore& core,
                                                              Callback<void(FutureCore&)> fn) {
    EventLoop::check_thread(core, "add_done_callback");
    auto* const callback = new DoneCallback(core, std::move(fn));
    const EventLoop* const here = EventLoop::running();
    callback->of_the_end = here && here->is_ending();
    callback->context = ContextRef(EventLoop::current_context());
    ++callback->refs;  // the handle's
    if (!core.done()) {
        core.waiters.push_back(*callback);
    } else {
        core.add_ref();
        if (EventLoop::accepts(core.loop)) {
            core.loop->push(*callback);
        } else {
            callback->act(*callback, ReadyNode::Verb::drop);
        }
    }
    return *callback;
}
#endif

template <class State>
[[gnu::cold, gnu::noinline]] void destroy_with_last_words(FutureCore& core) noexcept {
    if (core.state == FutureCore::State::exception && !core.retrieved)
        EventLoop::report_unretrieved(core);
    if (!core.waiters.empty()) {
        core.refs = 1;  // so that no callback's reference is the last one again
        drop_callbacks(core);
    }
    delete &static_cast<State&>(core);
}

template <class State>
inline constexpr FutureCore::Typed typed_half{
    [](FutureCore& core) noexcept {
        auto& state = static_cast<State&>(core);
        // Out of line as a whole, so that the way of most needs no register saved.
        if (!state.has_plain_value() || !core.waiters.empty()) [[unlikely]]
            return destroy_with_last_words<State>(core);
        if constexpr (State::plain_size() > 0) {
            release_frame(&state, State::plain_size());
        } else {
            delete &state;
        }
    },
    [](const FutureCore& core) noexcept {
        return static_cast<const State&>(core).outcome.exception();
    },
    [](FutureCore& core, std::exception_ptr error) noexcept {
        static_cast<State&>(core).outcome.set_cancelled(std::move(error));
    },
    State::plain_size(), State::core_offset()};

template <class T>
struct FutureState final : FutureCore, Recycled {
    explicit FutureState(EventLoop& on) noexcept : FutureCore(on, typed_half<FutureState>) {}
    bool has_plain_value() const noexcept { return outcome.kind() == OutcomeKind::value; }
    // What tasks have.
    static constexpr std::uint32_t core_offset() noexcept { return 0; }
    static constexpr std::uint32_t plain_size() noexcept { return 0; }
    Outcome<T> outcome;
};

template <std::size_t bytes>
struct Padding {
    char unused[bytes];
};
template <>
struct Padding<0> {};

/// What stands before a task's core so that its outcome, however aligned, follows it immediately.
template <class T>
inline constexpr std::size_t padding_of_task = (alignof(Outcome<T>) -
                                                sizeof(TaskCore) % alignof(Outcome<T>)) %
                                               alignof(Outcome<T>);

template <class T>
struct TaskState final : Padding<padding_of_task<T>>, TaskCore, Recycled {
    TaskState(EventLoop& on, std::uint32_t number, std::coroutine_handle<> frame) noexcept
        : TaskCore(on, typed_half<TaskState>, number, frame) {
        static_assert(plain_size() == 0 || plain_size() == sizeof(TaskState));
        assert(static_cast<void*>(static_cast<OutcomeBase*>(&outcome)) ==
               static_cast<void*>(static_cast<TaskCore*>(this) + 1));
    }
    bool has_plain_value() const noexcept { return ended_plainly(); }
    /// `FutureCore::release` for who knows the type.
    [[gnu::always_inline]] static void release(TaskState& state) noexcept {
        if (--state.refs > 0 || state.is_held_and_watched()) return;
        // (Its loop has a reference until it is done, and then nobody waits.)
        if (!state.ended_plainly()) [[unlikely]]
            return destroy_with_last_words<TaskState>(state);
        if constexpr (plain_size() > 0) {
            release_frame(&state, plain_size());
        } else {
            delete &state;
        }
    }

    /// Its size, if nothing of it has a destructor that does anything once it has ended plainly,
    /// and so it can be given back without knowing its type; else 0.
    static constexpr std::uint32_t plain_size() noexcept {
        constexpr bool trivial =
            std::is_void_v<T> || std::is_reference_v<T> || std::is_trivially_destructible_v<T>;
        if (!trivial || alignof(TaskState) > __STDCPP_DEFAULT_NEW_ALIGNMENT__) return 0;
        return core_offset() + sizeof(TaskCore) + sizeof(Outcome<T>);
    }
    static constexpr std::uint32_t core_offset() noexcept { return padding_of_task<T>; }
    Outcome<T> outcome;
};

template <class T>
Outcome<T>& outcome_of(FutureCore& core) noexcept {
    return core.is_task ? static_cast<TaskState<T>&>(core).outcome
                        : static_cast<FutureState<T>&>(core).outcome;
}

/// Ends a future that is not a task. Its handles may outlive its loop; then nobody can wait, and
/// callbacks are dropped unrun.
inline void end_future(FutureCore& core, FutureCore::State state) noexcept {
    if (!core.waiters.empty() && !EventLoop::accepts(core.loop)) drop_callbacks(core);
    if (core.waiters.empty()) {
        core.state = state;
    } else {
        core.loop->complete(core, state);
    }
}

/// A future that is not a task ends as cancelled; whoever awaits it sees the message.
[[gnu::cold]] void end_cancelled(FutureCore& core, std::string_view message) noexcept;
#if WEFT_BODIES
[[gnu::noinline]] WEFT_INLINE void end_cancelled(FutureCore& core,
                                                 std::string_view message) noexcept {
    if (!message.empty()) {
        try {
            core.typed->set_cancelled(
                core, std::make_exception_ptr(CancelledError(std::string(message))));
        } catch (const std::bad_alloc&) {
            // The message is a courtesy; the cancel itself needs no memory.
        }
    }
    end_future(core, FutureCore::State::cancelled);
}
#endif

/// asyncio's rule: cancelling whoever awaits a future cancels the future.
inline bool cancel_future(FutureCore& core, std::string_view message) {
    if (core.done()) {
        core.retrieved = true;  // whoever cancels it does not want to hear of it
        return false;
    }
    if (core.is_task) return core.loop->cancel(static_cast<TaskCore&>(core), message);
    EventLoop::check_thread(core, "cancel");
    end_cancelled(core, message);
    return true;
}

}  // namespace weft::detail
