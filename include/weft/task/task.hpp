// SPDX-License-Identifier: MIT
// Task<T>: a coroutine scheduled on the loop, and the future of its result; create_task.
#pragma once

#include <coroutine>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/std_parts.hpp"
#include "../runtime/loop.hpp"
#include "coro.hpp"
#include "future.hpp"

namespace weft {

/// Constructors and not an aggregate: g++ 12 destroys an aggregate temporary twice when it stands
/// in the same expression as a co_await.
struct TaskOptions {
    TaskOptions() noexcept {}
    explicit TaskOptions(std::string task_name, bool start_eagerly = false) noexcept
        : name(std::move(task_name)), eager(start_eagerly) {}

    std::string name;    ///< shown in dumps and reports; empty: "Task-N"
    bool eager = false;  ///< run the first step inside create_task
};

namespace detail {

/// What a handle to a task has beyond one to a future.
template <class Handle>
class TaskMethods {
public:
    std::string name() const { return task().name(); }
    void set_name(std::string_view name) { task().make_extras().name = name; }
    /// Cancel requests that were made and not taken back.
    int cancelling() const { return static_cast<int>(task().cancel_requests); }
    /// Takes one request back and returns how many are left. At 0 a request that was not passed on
    /// yet is withdrawn; one that has already struck the awaited operation still arrives.
    int uncancel() {
        TaskCore& core = task();
        if (core.cancel_requests > 0 && --core.cancel_requests == 0)
            core.must_cancel = core.delivered = false;
        return static_cast<int>(core.cancel_requests);
    }
    /// Asks the task to end: what it awaits is cancelled, and the task sees CancelledError there in
    /// its next step. A result that won the race is still delivered; the request then strikes at
    /// the next suspension. False when the task is done.
    bool cancel(std::string_view message = {}) const {
        TaskCore& core = task();
        if (core.done()) {
            core.retrieved = true;  // its loop may be gone
            return false;
        }
        return core.loop->cancel(core, message);
    }

private:
    TaskCore& task() const {
        FutureCore* const core = static_cast<const Handle*>(this)->core();
        if (!core) [[unlikely]]
            throw_empty_handle();
        return static_cast<TaskCore&>(*core);
    }
};

}  // namespace detail

/// A task of any type: what `current_task` and `all_tasks` give.
class AnyTask : public AnyFuture, public detail::TaskMethods<AnyTask> {
public:
    AnyTask() noexcept = default;
    explicit AnyTask(detail::TaskCore& core) noexcept : AnyFuture(&core) { core.add_ref(); }
};

/// A running coroutine. Dropping the handle does not stop it: it runs to its end, and a failure
/// that nobody retrieves is reported. So a task must not refer to locals of the function that
/// started it, unless that function awaits it on every way out, the cancelled one included: pass
/// by value, or share with std::shared_ptr.
/// Cancel:   cancelling a task that awaits this one cancels this one.
template <class T>
class [[nodiscard]] Task : public Future<T>, public detail::TaskMethods<Task<T>> {
public:
    using detail::TaskMethods<Task>::cancel;
    Task() noexcept = default;
    /// For the library's own layers: takes over a reference.
    explicit Task(detail::TaskState<T>* state) noexcept : Future<T>(state) {}

    void set_result() = delete;  // a task's result is its coroutine's
    void set_exception() = delete;

    auto operator co_await() const& {
        return detail::FutureAwaiter<T, false, detail::FutureIs::task>(this->shared());
    }
    auto operator co_await() && {
        return detail::FutureAwaiter<T, true, detail::FutureIs::task>(this->given_up());
    }
};

namespace detail {

/// Takes `name` along, where there is one.
template <class T>
[[gnu::cold, gnu::noinline]] void give_extras(TaskState<T>* state, ContextCore* context,
                                              std::string* name) {
    try {
        TaskExtras& extras = state->make_extras();
        extras.context = ContextRef(context);
        if (name) extras.name = std::move(*name);
    } catch (...) {
        state->root.destroy();
        delete state;
        throw;
    }
}

template <class T>
[[gnu::always_inline]] inline TaskState<T>* make_task(EventLoop& loop, Coro<T>& coro,
                                                      std::string* name = nullptr) {
    const auto frame = coro.frame();
    if (!frame) [[unlikely]]
        throw_runtime_error("create_task: the coroutine was used already");
    auto* const state = new TaskState<T>(loop, loop.next_task_id(), frame);
    coro.release();
    ContextCore* const context = loop.context_here();
    if (context || name) [[unlikely]]
        give_extras(state, context, name);
    // What a clean-up starts belongs to it.
    const TaskCore* const maker = loop.current_task();
    if (maker && maker->in_clean_up) [[unlikely]]
        state->in_clean_up = true;
    frame.promise().set_outcome(state->outcome);
    frame.promise().set_root();
    return state;
}

/// std::invoke for member functions, without <functional>.
template <class Member, class Object, class... Args>
decltype(auto) call_member(Member member, Object& object, Args&&... args) {
    if constexpr (requires { (object.*member)(std::forward<Args>(args)...); }) {
        return (object.*member)(std::forward<Args>(args)...);
    } else if constexpr (requires { (object.get().*member)(std::forward<Args>(args)...); }) {
        return (object.get().*member)(std::forward<Args>(args)...);
    } else {
        return ((*object).*member)(std::forward<Args>(args)...);
    }
}

template <class A>
inline constexpr bool is_coro = false;
template <class T>
inline constexpr bool is_coro<Coro<T>> = true;

/// For a static_assert in a branch that is taken by mistake.
template <class...>
inline constexpr bool always_false = false;

/// What a call gives that a static_assert has refused: it can be awaited and becomes anything, so
/// that the message stands alone.
struct Refused {
    bool await_ready() const noexcept;
    void await_suspend(std::coroutine_handle<> handle) const noexcept;
    bool await_cancelled() const noexcept;
    Refused await_resume() const;
    Refused operator*() const;
    template <class T>
    operator T() const;
};

template <class Fn, class... Args>
concept MakesCoroOf = is_coro<std::invoke_result_t<Fn, Args...>>;

/// Keeps a callable and its arguments as long as the coroutine that came out of them.
template <class Fn, class... Args>
auto keep_and_call(Fn fn, Args... args) -> std::invoke_result_t<Fn&, Args...> {
    if constexpr (std::is_member_pointer_v<Fn>) {
        co_return co_await call_member(fn, args...);
    } else {
        co_return co_await fn(std::move(args)...);
    }
}

/// The same for copies of what it is given. What is no such call is refused here and not by a
/// constraint: the message is then the only one.
template <class Fn, class... Args>
auto call_copies(Fn&& fn, Args&&... args) {
    using Kept = std::decay_t<Fn>;
    if constexpr (MakesCoroOf<Kept&, std::decay_t<Args>...>) {
        return keep_and_call<Kept, std::decay_t<Args>...>(std::forward<Fn>(fn),
                                                          std::forward<Args>(args)...);
    } else {
        if constexpr (is_coro<Kept>) {
            static_assert(always_false<Fn>,
                          "weft: after a coroutine, create_task takes TaskOptions alone: "
                          "create_task(coro(), TaskOptions(name))");
        } else if constexpr (std::is_invocable_v<Kept&, std::decay_t<Args>...>) {
            static_assert(always_false<Fn>,
                          "weft: the function given to create_task does not return a Coro");
        } else {
            static_assert(always_false<Fn>,
                          "weft: what create_task is given first is neither a coroutine nor a "
                          "function that can be called with copies of the arguments after it "
                          "(std::ref passes a reference)");
        }
        return Coro<Refused>(nullptr);
    }
}

template <class... Args>
inline constexpr bool ends_with_options = false;
template <class First, class... Rest>
inline constexpr bool ends_with_options<First, Rest...> =
    sizeof...(Rest) == 0 ? std::is_same_v<std::decay_t<First>, TaskOptions>
                         : ends_with_options<Rest...>;

}  // namespace detail

template <class T>
Task<T> EventLoop::create_task(Coro<T> coro) {
    check_open("create_task");
    auto* const state = detail::make_task(*this, coro);
    add(*state);
    return Task<T>(state);
}

template <class T>
Task<T> EventLoop::create_task(Coro<T> coro, TaskOptions options) {
    check_open("create_task");
    auto* const state =
        detail::make_task(*this, coro, options.name.empty() ? nullptr : &options.name);
    Task<T> task(state);
    if (options.eager && is_running()) {
        add_eager(*state);
    } else {
        add(*state);
    }
    return task;
}

/// Schedules a coroutine on the running loop; its first step is in the next turn, or, with
/// `TaskOptions::eager`, now.
/// Throws:   RuntimeError when no loop runs or it is closed (the coroutine is then destroyed).
template <class T>
Task<T> create_task(Coro<T> coro) {
    // A loop that runs is this thread's and open.
    EventLoop& loop = get_running_loop();
    auto* const state = detail::make_task(loop, coro);
    loop.add(*state);
    return Task<T>(state);
}
template <class T>
Task<T> create_task(Coro<T> coro, TaskOptions options) {
    return get_running_loop().create_task(std::move(coro), std::move(options));
}

/// Schedules `fn(args...)`, a function that returns a Coro, and keeps copies of `fn` and `args`
/// until the coroutine has ended: the way to start a lambda with captures. TaskOptions may come
/// last. To pass a reference use std::ref.
template <class Fn, class... Args>
    requires(!detail::ends_with_options<Args...> ||
             std::is_invocable_v<std::decay_t<Fn>&, std::decay_t<Args>...>)
auto create_task(Fn&& fn, Args&&... args) {
    return create_task(detail::call_copies(std::forward<Fn>(fn), std::forward<Args>(args)...));
}
template <class Fn, class... Args>
    requires(detail::ends_with_options<Args...> &&
             !std::is_invocable_v<std::decay_t<Fn>&, std::decay_t<Args>...>)
auto create_task(Fn&& fn, Args&&... args) {
    auto all = std::forward_as_tuple(std::forward<Args>(args)...);
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
        return create_task(detail::call_copies(std::forward<Fn>(fn),
                                               std::forward<std::tuple_element_t<I, decltype(all)>>(
                                                   std::get<I>(all))...),
                           TaskOptions(std::get<sizeof...(Args) - 1>(all)));
    }
    (std::make_index_sequence<sizeof...(Args) - 1>());
}

/// The task that runs now; empty outside of tasks.
inline AnyTask current_task() noexcept {
    const EventLoop* const loop = EventLoop::running();
    return loop && loop->current_task() ? AnyTask(*loop->current_task()) : AnyTask();
}

/// Every task of the loop that is not done.
inline std::vector<AnyTask> all_tasks(EventLoop& loop) {
    std::vector<AnyTask> tasks;
    loop.for_each_task([&](detail::TaskCore& task) { tasks.emplace_back(task); });
    return tasks;
}
inline std::vector<AnyTask> all_tasks() { return all_tasks(get_running_loop()); }

template <class T>
T EventLoop::run_until_complete(Coro<T> coro) {
    Task<T> task = create_task(std::move(coro));
    run_until_done(*task.core());
    return std::move(task).result();
}

}  // namespace weft

template <>
struct std::hash<weft::AnyTask> : std::hash<weft::AnyFuture> {};
template <class T>
struct std::hash<weft::Task<T>> : std::hash<weft::AnyFuture> {};
