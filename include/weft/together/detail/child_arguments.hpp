// SPDX-License-Identifier: MIT
// What gather, race and the like take as a child, and how each kind is started and asked for its
// result.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <type_traits>
#include <utility>

#include "../../base/outcome.hpp"
#include "../../base/std_parts.hpp"
#include "../../task/awaitable.hpp"
#include "../../task/coro.hpp"
#include "../../task/future.hpp"
#include "../../task/task.hpp"
#include "children.hpp"

namespace weft {

/// The result of a child that has none.
using Void = detail::Void;

namespace detail {

// --- kinds of children ---

/// `Owned`: a callable, or an awaitable that can be moved, as a coroutine that keeps it.
/// `Borrowed`: an operation (sleep, recv, ...) that stays where it was written, in the frame that
/// awaits: it cannot be moved, for the kernel or a list of waiters knows its address.
template <class A>
struct Borrowed {
    A* operation;
};

template <class A>
concept FutureHandle = std::derived_from<A, AnyFuture> && requires {
    typename A::value_type;
};
template <class A>
concept MakesCoro = Awaitable<std::invoke_result_t<A&>>;
template <class A>
concept Operation_ = Awaitable<A> && !std::is_move_constructible_v<std::remove_cvref_t<A>>;

/// Decayed or not: what a child may be.
template <class A>
concept ChildArgument = is_coro<std::remove_cvref_t<A>> || FutureHandle<std::remove_cvref_t<A>> ||
    MakesCoro<std::decay_t<A>> || Awaitable<A>;
template <class A>
inline constexpr bool is_operation =
    !is_coro<std::remove_cvref_t<A>> && !FutureHandle<std::remove_cvref_t<A>> &&
    !MakesCoro<std::decay_t<A>> && Operation_<A>;

/// A child in a form that a coroutine can keep: Coro<T>, Future<T> or Borrowed<A>. What is none is
/// refused here and not by a constraint, and taken for a coroutine: the message is then the only
/// one.
template <class A>
auto keep(A&& child) {
    using Child = std::remove_cvref_t<A>;
    if constexpr (is_coro<Child>) {
        if constexpr (std::is_same_v<A, Child>) {
            return Child(std::move(child));
        } else {
            static_assert(always_false<A>, "weft: give the coroutine away: std::move(coro)");
            return Child(nullptr);
        }
    } else if constexpr (BecomesCoro<Child> && std::is_same_v<A, Child>) {
        return std::move(child).to_coro();
    } else if constexpr (FutureHandle<Child>) {
        return Future<typename Child::value_type>(std::forward<A>(child));
    } else if constexpr (MakesCoro<std::decay_t<A>>) {
        return keep_and_call<std::decay_t<A>>(std::forward<A>(child));
    } else if constexpr (is_operation<A>) {
        return Borrowed<std::remove_reference_t<A>>{std::addressof(child)};
    } else if constexpr (Awaitable<A>) {
        return await_owned<Child>(std::forward<A>(child));
    } else {
        static_assert(always_false<A>,
                      "weft: not awaitable: neither a coroutine, a task, a future, an operation "
                      "nor a function without parameters that returns one");
        return Coro<Refused>(nullptr);
    }
}
template <class A>
using Kept = decltype(keep(std::declval<A>()));

/// Like Kept, without operations: for what outlives the expression that it is written in.
template <class A>
auto keep_for_long(A&& child) {
    if constexpr (is_operation<A>) {
        static_assert(always_false<A>,
                      "weft: an operation lives as long as the co_await it is written in; put it "
                      "into a coroutine");
        return Coro<AwaitResult<A>>(nullptr);
    } else {
        return keep(std::forward<A>(child));
    }
}

// --- what becomes of a result ---

/// Nothing becomes a Void, and a reference a pointer: results are kept in tuples and vectors.
template <class T>
using Stored = std::conditional_t<
    std::is_void_v<T>, Void,
    std::conditional_t<std::is_reference_v<T>, std::add_pointer_t<std::remove_reference_t<T>>, T>>;

/// Moved out when nobody else can look at it any more, like a future's (FutureAwaiter).
template <class T>
[[gnu::always_inline]] inline Stored<T> take_stored(Outcome<T>& outcome, bool shared) {
    if constexpr (std::is_void_v<T>) {
        return Void();
    } else if constexpr (std::is_reference_v<T>) {
        return std::addressof(outcome.get());
    } else {
        if constexpr (std::is_copy_constructible_v<T>) {
            if (shared) return outcome.get();
        }
        return outcome.take();
    }
}

// --- starting a child ---

/// An operation whose result can stay in it until it is clear who gets it: it must be the awaiter
/// itself, for one that `operator co_await` makes goes with the driver.
template <class A>
inline constexpr bool keeps_its_result =
    GivesBack<A>&& std::is_same_v<decltype(awaiter_of(std::declval<A>())), A&>;

/// Awaits an operation and keeps the answer, or leaves it in the operation. A cancelled one is
/// looked at and not resumed: an exception that nobody will see would cost more than most
/// operations.
template <class Awaiter, class T>
class [[nodiscard]] Look {
public:
    Look(Awaiter& awaiter, Outcome<T>& outcome, Awaiter** holding) noexcept
        : awaiter_(awaiter), outcome_(outcome), holding_(holding) {}

    bool await_ready() { return awaiter_.await_ready(); }
    auto await_suspend(std::coroutine_handle<> handle) {
        suspended_ = true;
        return awaiter_.await_suspend(handle);
    }
    void await_resume() {
        // What it has goes back with the operation.
        if (take_leftover()) [[unlikely]]
            return;
        if constexpr (LooksAtCancel<Awaiter>) {
            if (suspended_ && awaiter_.await_cancelled()) return;
        }
        if constexpr (GivesBack<Awaiter>) {
            if (holding_ && awaiter_.holds_result()) {
                *holding_ = &awaiter_;
                return;
            }
        }
        if constexpr (std::is_void_v<T>) {
            awaiter_.await_resume();
            outcome_.set_value();
        } else {
            outcome_.set_value(awaiter_.await_resume());
        }
    }

private:
    Awaiter& awaiter_;
    Outcome<T>& outcome_;
    Awaiter** holding_;  // null: results are taken at once
    bool suspended_ = false;
};

/// The task of an operation. It fails as the operation does, and returns when it was cancelled.
template <class A, class T>
Coro<void> drive(A& operation, Outcome<T>& outcome, A*& holding, ChildNode& node) {
    auto&& awaiter = awaiter_of(static_cast<A&&>(operation));
    using Awaiter = std::remove_reference_t<decltype(awaiter)>;
    if constexpr (keeps_its_result<A>) {
        co_await Look<Awaiter, T>(awaiter, outcome, &holding);
    } else {
        co_await Look<Awaiter, T>(awaiter, outcome, nullptr);
    }
    if (outcome.empty() && !holding) node.said = FutureCore::State::cancelled;
}

/// Debug mode: what the operation is granted is held by the task that awaits it. The driver ends
/// with the grant.
[[gnu::cold]] inline void drives_for(TaskCore& driver, TaskCore& awaiting) {
    const TaskExtras* const extras = awaiting.extras();
    TaskCore* const answers = extras ? extras->on_behalf_of : nullptr;
    driver.make_extras().on_behalf_of = answers ? answers : &awaiting;
}

/// Throws:   RuntimeError when `child` cannot be waited for here.
inline void check_child(const AnyFuture& child, const EventLoop& loop) {
    const FutureCore* const core = child.core();
    if (!core) throw_empty_handle();
    if (core->loop != &loop || core == loop.current_task()) [[unlikely]]
        refuse_await(*core, loop);
}

/// One child of a wait: started with what `keep` made of the argument.
template <class Kept>
class Child;

template <class T>
class Child<Coro<T>> {
public:
    using Result = T;
    static void start(Children& children, Coro<T>& coro) {
        const Task<T> task = begin_queued(children.loop(), std::move(coro));
        task.core()->add_ref();
        children.add(task.core());
    }
    static Stored<T> take(ChildNode& node) {
        return take_stored<T>(outcome_of<T>(*node.child), node.child->is_shared());
    }
};

template <class T>
class Child<Future<T>> {
public:
    using Result = T;
    static void start(Children& children, const Future<T>& future) {
        check_child(future, children.loop());
        future.core()->add_ref();
        children.add(future.core());
    }
    static Stored<T> take(ChildNode& node) { return Child<Coro<T>>::take(node); }
};

template <class A>
class Child<Borrowed<A>> {
public:
    using Result = AwaitResult<A>;

    Child() noexcept = default;
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    /// What nobody took goes back to where it came from.
    ~Child() {
        if constexpr (keeps_its_result<A>) {
            if (holding_) holding_->give_back();
        }
    }

    void start(Children& children, Borrowed<A> child) {
        ChildNode& node = children.reserve();
        node.borrowed = true;
        EventLoop& loop = children.loop();
        const Task<void> task =
            begin_queued(loop, drive<A, Result>(*child.operation, outcome_, holding_, node));
        task.core()->add_ref();
        children.watch(node, task.core());
        if (loop.debug()) [[unlikely]]
            drives_for(*static_cast<TaskCore*>(task.core()), loop.require_task());
    }
    Stored<Result> take(ChildNode&) {
        if constexpr (keeps_its_result<A>) {
            if (holding_) {
                A& operation = *std::exchange(holding_, nullptr);
                if constexpr (std::is_void_v<Result>) {
                    operation.await_resume();
                    return Void();
                } else if constexpr (std::is_reference_v<Result>) {
                    return std::addressof(operation.await_resume());
                } else {
                    return operation.await_resume();
                }
            }
        }
        return take_stored<Result>(outcome_, false);
    }

private:
    Outcome<Result> outcome_;
    A* holding_ = nullptr;  // it has its result still
};

/// Starts it unless one before could not be started.
template <class Child, class Kept>
void start_child(Children& children, Child& child, Kept& kept) noexcept {
    if (children.failed_to_start()) return;
    try {
        child.start(children, kept);
    } catch (...) {
        children.fail_to_start(std::current_exception());
    }
}

template <class... A>
inline constexpr bool any_operation = (is_operation<A> || ...);

}  // namespace detail

/// Awaits several children of which one at least is an operation (`sleep`, `io::recv`, ...) that
/// is written into the call. It can only be awaited, and where it was written: the operations are
/// gone at the end of that expression.
template <class T>
class [[nodiscard]] InPlace {
public:
    explicit InPlace(Coro<T> coro) noexcept : coro_(std::move(coro)) {}
    InPlace(const InPlace&) = delete;
    InPlace& operator=(const InPlace&) = delete;

    auto operator co_await() && { return std::move(coro_).operator co_await(); }

private:
    Coro<T> coro_;
};

namespace detail {

template <class... A, class C>
auto in_place_if_borrowing(C coro) {
    if constexpr (any_operation<A...>) {
        return InPlace<typename C::value_type>(std::move(coro));
    } else {
        return coro;
    }
}

}  // namespace detail
}  // namespace weft
