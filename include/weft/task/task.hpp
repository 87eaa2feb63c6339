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
#include "awaitable.hpp"
#include "coro.hpp"
#include "future.hpp"
#include "task_options.hpp"

namespace weft {

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
        if (core.cancel_requests > 0 && --core.cancel_requests == 0) {
            core.must_cancel = core.keeps_cancel;
            core.delivered = false;
        }
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

/// What a new task takes over from its maker, and what it is given; the coroutine goes with it when
/// there is no memory for that.
void mark_task(EventLoop& loop, TaskCore& task, CreatedAt at, const std::string* name);
#if WEFT_BODIES
[[gnu::noinline]] WEFT_INLINE void mark_task(EventLoop& loop, TaskCore& task, CreatedAt at,
                                             const std::string* name) {
    ContextCore* const context = loop.context_here();
    if (!loop.debug()) at = CreatedAt();
    if (context || name || at) {
        try {
            TaskExtras& extras = task.make_extras();
            extras.context = ContextRef(context);
            extras.created_at = at;
            if (name) extras.name = *name;
        } catch (...) {
            task.root.destroy();
            task.typed->destroy(task);
            throw;
        }
    }
    if (loop.marks_tasks()) task.hands_on = true;
    if (loop.debug()) task.watch_handles();
    // `run` spares a `clean_up` when it cancels what is left, and the tasks that its body starts.
    const TaskCore* const maker = loop.current_task();
    if (maker && maker->in_clean_up) task.in_clean_up = task.hands_on = true;
}
#endif

[[noreturn, gnu::cold]] void refuse_used_coro(const std::string* name);
#if WEFT_BODIES
[[gnu::noinline]] WEFT_INLINE void refuse_used_coro(const std::string* name) {
    throw_runtime_error({"weft: the coroutine of ", name ? "task '" : "a task",
                         name ? *name : std::string_view(), name ? "'" : "",
                         " was used already: it was awaited, or moved from"});
}
#endif

template <class T>
[[gnu::always_inline]] inline TaskState<T>* make_task(EventLoop& loop, Coro<T>& coro, CreatedAt at,
                                                      const std::string* name = nullptr) {
    const auto frame = coro.frame();
    if (!frame) [[unlikely]]
        refuse_used_coro(name);
    auto* const state = new TaskState<T>(loop, loop.next_task_id(), frame);
    coro.release();
    const TaskCore* const maker = loop.current_task();
    if (!maker || maker->hands_on || name) [[unlikely]]
        mark_task(loop, *state, at, name);
    frame.promise().set_root(state->outcome);
    return state;
}

/// The task, if it takes nothing over from its maker and an idle block is there for it. Else null,
/// and nothing has happened. Most tasks are made here: no call is made on the way, so that no
/// register need be saved.
template <class T>
[[gnu::always_inline]] inline TaskState<T>* make_plainly(EventLoop* loop, Coro<T>& coro) noexcept {
    if constexpr (alignof(TaskState<T>) > __STDCPP_DEFAULT_NEW_ALIGNMENT__) {
        return nullptr;
    } else {
        if (!loop || !coro) return nullptr;
        const TaskCore* const maker = loop->current_task();
        if (!maker || maker->hands_on) return nullptr;
        void* const room = take_idle_frame(sizeof(TaskState<T>));
        if (!room) return nullptr;
        const auto frame = coro.release();
        auto* const state = ::new (room) TaskState<T>(*loop, loop->next_task_id(), frame);
        frame.promise().set_root(state->outcome);
        return state;
    }
}
/// The same, and it is scheduled.
template <class T>
[[gnu::always_inline]] inline TaskState<T>* begin_plainly(EventLoop* loop, Coro<T>& coro) noexcept {
    auto* const state = make_plainly(loop, coro);
    if (state) loop->add(*state);
    return state;
}
template <class T>
[[gnu::noinline]] TaskState<T>* begin_task(Coro<T>& coro, File in, Line line) {
    // A loop that runs is this thread's and open.
    EventLoop& loop = get_running_loop();
    auto* const state = make_task(loop, coro, CreatedAt(in, line));
    loop.begin(*state);
    return state;
}
/// Whatever the run's options say.
template <class T>
Task<T> begin_queued(EventLoop& loop, Coro<T> coro, const std::string* name = nullptr) {
    auto* const state = make_task(loop, coro, CreatedAt(), name);
    loop.add(*state);
    return Task<T>(state);
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

template <class Fn, class... Args>
concept MakesCoroOf = is_coro<CoroOfCall<Fn, Args...>>;
/// A function that returns something else to await: an operation, a task.
template <class Fn, class... Args>
concept MakesAwaitable = Awaitable<std::invoke_result_t<Fn, Args...>>;

/// Keeps a callable and its arguments as long as the coroutine (or what else it awaits) that came
/// out of them.
template <class T, class Fn, class... Args>
Coro<T> keep_and_await(Fn fn, Args... args) {
    if constexpr (std::is_member_pointer_v<Fn>) {
        co_return co_await call_member(fn, args...);
    } else {
        co_return co_await fn(std::move(args)...);
    }
}
template <class Fn, class... Args, class... Given>
auto keep_and_call(Given&&... given) {
    if constexpr (MakesAwaitable<Fn&, Args...>) {
        static_assert(!refers_to_operation<std::invoke_result_t<Fn&, Args...>>,
                      "weft: the function returns an await of an operation that is gone by then; "
                      "write wait_for([&] { return lock.acquire(); }, 5s), or a coroutine");
        using T = AwaitResult<std::invoke_result_t<Fn&, Args...>>;
        return keep_and_await<T, Fn, Args...>(std::forward<Given>(given)...);
    } else {
        static_assert(always_false<Fn>, "weft: the function does not return a Coro");
        return Coro<Refused>(nullptr);
    }
}

/// The same for copies of what it is given; and what can be awaited and moved, as a coroutine. What
/// is neither is refused here and not by a constraint: the message is then the only one.
template <class Fn, class... Args>
auto call_copies(Fn&& fn, Args&&... args) {
    using Kept = std::decay_t<Fn>;
    if constexpr (MakesAwaitable<Kept&, std::decay_t<Args>...>) {
        return keep_and_call<Kept, std::decay_t<Args>...>(std::forward<Fn>(fn),
                                                          std::forward<Args>(args)...);
    } else if constexpr (BecomesCoro<Kept> && std::is_same_v<Fn, Kept> && sizeof...(Args) == 0) {
        return std::move(fn).to_coro();
    } else if constexpr (is_coro<Kept> || BecomesCoro<Kept>) {
        static_assert(always_false<Fn>,
                      "weft: after a coroutine, create_task takes TaskOptions alone: "
                      "create_task(coro(), TaskOptions(name))");
        return Coro<Refused>(nullptr);
    } else if constexpr (sizeof...(Args) == 0 && Awaitable<Fn>) {
        if constexpr (std::is_move_constructible_v<Kept>) {
            return await_owned<Kept>(std::forward<Fn>(fn));
        } else {
            static_assert(
                always_false<Fn>,
                "weft: an operation lives as long as the co_await it is written in; await "
                "it in a coroutine: create_task([&]() -> weft::Coro<void> { co_await "
                "lock.acquire(); })");
            return Coro<Refused>(nullptr);
        }
    } else {
        if constexpr (std::is_invocable_v<Kept&, std::decay_t<Args>...>) {
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

template <class Options, class... Args>
inline constexpr bool ends_with = false;
template <class Options, class First, class... Rest>
inline constexpr bool ends_with<Options, First, Rest...> =
    sizeof...(Rest) == 0 ? std::is_same_v<std::decay_t<First>, Options>
                         : ends_with<Options, Rest...>;

/// The one way of `create_task(fn, args...)`: `start` is given the coroutine, and TaskOptions if
/// they come last, or else some that say nothing.
template <class Start, class Fn, class... Args>
auto start_call(Start start, Fn&& fn, Args&&... args) {
    if constexpr (!ends_with<TaskOptions, Args...> ||
                  std::is_invocable_v<std::decay_t<Fn>&, std::decay_t<Args>...>) {
        return start(call_copies(std::forward<Fn>(fn), std::forward<Args>(args)...),
                     TaskOptions(File(), Line()));
    } else {
        auto all = std::forward_as_tuple(std::forward<Args>(args)...);
        const auto pick = [&]<std::size_t... I>(std::index_sequence<I...>) {
            return start(call_copies(std::forward<Fn>(fn),
                                     std::forward<std::tuple_element_t<I, decltype(all)>>(
                                         std::get<I>(all))...),
                         TaskOptions(std::get<sizeof...(Args) - 1>(std::move(all))));
        };
        return pick(std::make_index_sequence<sizeof...(Args) - 1>());
    }
}

}  // namespace detail

template <class T>
Task<T> EventLoop::create_task(Coro<T> coro, detail::File in, detail::Line line) {
    check_open("create_task");
    auto* const state = detail::make_task(*this, coro, detail::CreatedAt(in, line));
    begin(*state);
    return Task<T>(state);
}

template <class T>
Task<T> EventLoop::create_task(Coro<T> coro, TaskOptions options) {
    check_open("create_task");
    const std::string& name = options.name();
    auto* const state =
        detail::make_task(*this, coro, options.created_at(), name.empty() ? nullptr : &name);
    Task<T> task(state);
    if (options.is_eager_or(eager_tasks_) && is_running()) {
        add_eager(*state);
    } else {
        add(*state);
    }
    return task;
}

/// Schedules a coroutine on the running loop; its first step is in the next turn, or, with
/// `TaskOptions::eager`, now. Debug mode shows where: in the report of a failure that nobody has
/// retrieved, and in dumps.
/// Throws:   RuntimeError when no loop runs or it is closed (the coroutine is then destroyed).
template <class T>
[[gnu::always_inline]] inline Task<T> create_task(
    Coro<T> coro, detail::File in = detail::file(__builtin_FILE()),
    detail::Line line = detail::Line(__builtin_LINE())) {
    if (auto* const state = detail::begin_plainly(EventLoop::running(), coro)) [[likely]]
        return Task<T>(state);
    return Task<T>(detail::begin_task(coro, in, line));
}
template <class T>
Task<T> create_task(Coro<T> coro, TaskOptions options) {
    return get_running_loop().create_task(std::move(coro), std::move(options));
}

/// Schedules `fn(args...)`, a function that returns a Coro (or something else to await), and keeps
/// copies of `fn` and `args` until the coroutine has ended: the way to start a lambda with
/// captures. TaskOptions may come last. To pass a reference use std::ref. Also schedules the await
/// of anything that can be moved: `create_task(generator.next())`. An operation cannot:
/// `create_task([&] { return lock.acquire(); })`.
/// (Where a task was created is known if there are no arguments, or TaskOptions.)
template <class Fn>
auto create_task(Fn&& fn, detail::File in = detail::file(__builtin_FILE()),
                 detail::Line line = detail::Line(__builtin_LINE())) {
    return create_task(detail::call_copies(std::forward<Fn>(fn)), in, line);
}
template <class Fn, class First, class... Args>
auto create_task(Fn&& fn, First&& first, Args&&... args) {
    return detail::start_call(
        [](auto coro, auto options) { return create_task(std::move(coro), std::move(options)); },
        std::forward<Fn>(fn), std::forward<First>(first), std::forward<Args>(args)...);
}
template <class Fn>
auto EventLoop::create_task(Fn&& fn, detail::File in, detail::Line line) {
    return create_task(detail::call_copies(std::forward<Fn>(fn)), in, line);
}
template <class Fn, class First, class... Args>
auto EventLoop::create_task(Fn&& fn, First&& first, Args&&... args) {
    return detail::start_call(
        [this](auto coro, auto options) {
            return this->create_task(std::move(coro), std::move(options));
        },
        std::forward<Fn>(fn), std::forward<First>(first), std::forward<Args>(args)...);
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
    Task<T> task = create_task(std::move(coro), detail::File(), detail::Line());
    run_until_done(*task.core());
    return std::move(task).result();
}

}  // namespace weft

template <>
struct std::hash<weft::AnyTask> : std::hash<weft::AnyFuture> {};
template <class T>
struct std::hash<weft::Task<T>> : std::hash<weft::AnyFuture> {};
