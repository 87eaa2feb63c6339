// SPDX-License-Identifier: MIT
// The untyped halves of Future and Task: state, who waits, and how a cancel travels.
#pragma once

#include <concepts>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>

#include "../base/intrusive_list.hpp"
#include "../base/outcome.hpp"
#include "context.hpp"
#include "detail/ready_queue.hpp"
#include "detail/waiter_list.hpp"

namespace weft {
class EventLoop;

namespace detail {

struct FutureCore;
struct TaskCore;
class Suspension;
template <class T>
class Visitor;

/// What a dump shows of a waiting task: "recv on descriptor 7", "task 'fetch'".
struct WaitInfo {
    const char* what = "";
    int fd = -1;
    const FutureCore* on = nullptr;
    /// Says more than these: "connect 127.0.0.1:80". Null where nothing more is known.
    std::string (*text)(const Suspension&) = nullptr;
    /// Visits those that all must end first, where there are several.
    void (*each)(const Suspension&, Visitor<const FutureCore>) = nullptr;
};

/// What a suspended task waits on; lives in the awaiting frame. This is the awaiter protocol:
///
/// 1. `await_suspend` calls `EventLoop::suspend(handle, *this)` and starts the operation.
/// 2. When the operation ends, whoever ended it calls `EventLoop::wake(task)`; from then on the
///    task waits on nothing and its resumption is certain. (Or it links the task into the ready
///    queue and leaves the rest to `resumed()`, having marked its handle: see Gate.)
/// 3. `cancel()` may come any time between 1 and 2, any number of times, and asks for an end. It
///    leads to 2 exactly like a completion does, now or later. It must not resume anything. When
///    what is awaited is a task it only returns that one, and the loop goes on with it: a chain of
///    tasks may be longer than the stack is deep. To return its own task means: the cancel came
///    back here (see CancelWay); whoever led it here is let go, if he can be.
/// 4. `await_resume` looks at the answer: cancelled (then it calls `EventLoop::throw_cancelled`)
///    or completed anyway (then it returns the result, and the request, which is still pending in
///    the task, strikes at the next suspension). That is the lossless rule.
///
/// An awaiter may also have `bool await_cancelled() const noexcept`, see `LooksAtCancel`: whoever
/// wraps it (a timeout, a race) then looks at the answer instead of catching an exception, and may
/// call `cancel()` without a request in the task.
class Suspension {
public:
    virtual TaskCore* cancel() noexcept = 0;
    virtual WaitInfo describe() const noexcept = 0;
    /// The task runs, and was put into the ready queue without `wake`: see Gate.
    virtual void resumed() noexcept {}
    /// Ends the wait for a task without the task's consent: for tasks that await each other in a
    /// circle, where nobody could ever begin.
    virtual void let_go() noexcept {}

protected:
    Suspension() noexcept = default;
    Suspension(const Suspension&) = delete;
    Suspension& operator=(const Suspension&) = delete;
    ~Suspension() = default;
};

/// What a task waits on, in words: "recv fd 7", "task 'fetch' (connect 127.0.0.1:80)", "lock".
std::string text_of_wait(const Suspension& wait);

/// "the task 'fetch'"; a future that is none has no name.
std::string text_of(const FutureCore& future);

/// An awaiter that can say this after its wait has ended, when what it waited for may be gone.
template <class Awaiter>
concept NamesItsObject = requires(const Awaiter& awaiter) {
    { awaiter.await_object() } -> std::same_as<std::string>;
};

/// Asked once, after the resumption and in place of `await_resume`: did the wait end because of a
/// cancel, with nothing done? Then `await_resume` would throw CancelledError. False means that
/// `await_resume` gives the result (or another error), which must then be taken.
template <class Awaiter>
concept LooksAtCancel = requires(const Awaiter& awaiter) {
    { awaiter.await_cancelled() }
    noexcept->std::same_as<bool>;
};

/// An await that has succeeded and whose `await_resume` was not called yet can be undone: another
/// child of a race has won. `holds_result` is asked like `await_cancelled`, after a wait or after
/// `await_ready` said true: would `await_resume` give a result? Then that, or `give_back` (which
/// hands an item, a permit or a lock to whoever is next), is called, once.
template <class Awaiter>
concept GivesBack = requires(Awaiter& awaiter) {
    { awaiter.holds_result() }
    noexcept->std::same_as<bool>;
    { awaiter.give_back() }
    noexcept;
};

struct FutureCore {
    // The values are those of OutcomeKind.
    enum class State : std::uint8_t { pending, value, exception, cancelled };

    /// The typed half, one table for each T.
    struct Typed {
        void (*destroy)(FutureCore&) noexcept;
        std::exception_ptr (*exception)(const FutureCore&) noexcept;
        void (*set_cancelled)(FutureCore&, std::exception_ptr) noexcept;
        // Of a task whose value needs no destructor: the size of its block, and where in it the
        // core begins. Else 0.
        std::uint32_t plain_size = 0;
        std::uint32_t core_offset = 0;
    };

    FutureCore(EventLoop& on, const Typed& table) noexcept : loop(&on), typed(&table) {}
    FutureCore(const FutureCore&) = delete;
    FutureCore& operator=(const FutureCore&) = delete;

    bool done() const noexcept { return state != State::pending; }
    void add_ref() noexcept { ++refs; }
    void release() noexcept {
        if (--refs <= 0 && !is_held_and_watched()) typed->destroy(*this);
    }
    /// Does anybody else hold it? (To be asked by who holds it.)
    bool is_shared() const noexcept { return ref_count() > 1; }
    std::uint32_t ref_count() const noexcept { return static_cast<std::uint32_t>(refs) & ~watched; }
    /// Debug mode: each handle that goes is looked at. A mark that makes the count negative, so
    /// that without it the look at the count is all there is.
    void watch_handles() noexcept {
        refs = static_cast<std::int32_t>(static_cast<std::uint32_t>(refs) | watched);
    }
    /// After `--refs` has found that it is not above zero. The program ends here when a handle goes
    /// on another thread than that of its loop.
    bool is_held_and_watched() const noexcept { return refs < 0 && still_held(); }

    // Not atomic; see watch_handles.
    static constexpr std::uint32_t watched = 1U << 31;
    std::int32_t refs = 1;
    State state = State::pending;
    bool is_task : 1 = false;
    bool debug : 1 = false;      // its loop was in debug mode when it was made
    bool retrieved : 1 = false;  // somebody has seen the exception: it is not reported
    // Tasks only, here because there is room.
    bool must_cancel : 1 = false;  // a cancel was requested and not delivered yet
    // What it starts may have to begin with something of its, a context, a clean-up, or in a way
    // that the loop was told (EventLoop::marks_tasks).
    bool hands_on : 1 = false;
    bool in_clean_up : 1 = false;  // spared when `run` cancels the tasks that are left
    bool has_extras : 1 = false;
    bool listed : 1 = false;  // has suspended once, and is in its list: see EventLoop::tasks_
    std::uint16_t cancel_requests : 13 = 0;
    std::uint16_t keeps_cancel : 1 = false;  // in a cancelled CancelScope: each await is struck
    std::uint16_t delivered : 1 = false;     // CancelledError was thrown into the body
    std::uint16_t is_left : 1 =
        false;  // the end of the loop has found it, and it has not run since
    static constexpr std::uint16_t most_cancel_requests = 0x1fff;
    EventLoop* loop;
    const Typed* typed;
    WaiterList waiters;

protected:
    ~FutureCore() = default;

private:
    bool still_held() const noexcept;
};

/// Where in the program a task was created: two default arguments. They are numbers, because an
/// object would be put into the frame of the coroutine that calls (ten instructions), and of types
/// of their own, because whatever else stands there is an argument of what is called in the task.
enum class File : std::uintptr_t {};
enum class Line : std::uint32_t {};
inline File file(const char* name) noexcept { return File(reinterpret_cast<std::uintptr_t>(name)); }
struct CreatedAt {
    CreatedAt() noexcept {}
    CreatedAt(File in, Line at) noexcept : file_name(in), line(at) {}
    explicit operator bool() const noexcept { return line != Line(); }
    File file_name{};
    Line line{};
};
/// "file:line", or nothing.
std::string text_of(const CreatedAt& at);

/// What most tasks do not have.
struct TaskExtras {
    std::uint32_t id = 0;
    std::string name;
    std::string cancel_message;
    ContextRef context{};
    /// In debug mode, of a task that drives an operation (of a race, a gather): the one that awaits
    /// it, and outlives it.
    TaskCore* on_behalf_of = nullptr;
    /// Of a child that was started with `TaskGroup::start`, with a reference: what says so.
    FutureCore* ready = nullptr;
    CreatedAt created_at{};  // debug mode keeps it
    /// Nobody awaits it, and it comes to its end by itself: `run` waits for that.
    bool ends_by_itself = false;

    ~TaskExtras() {
        if (ready) ready->release();
    }
};

/// What a task is inside of, innermost first: a deadline or a cancel scope, in the frame that has
/// entered it. The task's label leads to the first, and the last one to what the label was before.
/// (What it is, the room of deadlines knows.)
struct EnteredScope {
    enum class Kind : bool { timeout, cancel_scope };
    explicit EnteredScope(Kind what) noexcept : scope_kind(what) {}
    std::uintptr_t outer = 0;
    Kind scope_kind;
};

struct AllTasksTag {};
struct GroupCore;

/// What a wake-up and a step touch stands together, here and at the beginning of FutureCore: with a
/// thousand tasks each line of memory more costs as much as the step.
struct TaskNode : ReadyNode {
    using ReadyNode::ReadyNode;
    Suspension* waiting_on = nullptr;  // null while running or, as a rule (see Gate), ready
};

struct TaskCore : TaskNode, FutureCore, ListNode<AllTasksTag> {
    TaskCore(EventLoop& on, const Typed& table, std::uint32_t number,
             std::coroutine_handle<> frame) noexcept
        : TaskNode(frame),
          FutureCore(on, table),
          ListNode<AllTasksTag>(Unset()),  // the loop takes it at once
          root(frame),
          label_(number) {
        is_task = true;
        refs = 2;  // the loop's, until the task is done, and the first handle's
    }

    /// Done, with a value, and nothing else is to be destroyed.
    bool ended_plainly() const noexcept { return state == State::value && !has_extras; }

    /// Null for most tasks.
    TaskExtras* extras() const noexcept {
        return has_extras ? reinterpret_cast<TaskExtras*>(label()) : nullptr;
    }
    [[gnu::cold]] TaskExtras& make_extras() {
        if (!has_extras) {
            auto* const extras = new TaskExtras{id(), {}, {}};
            std::uintptr_t* at = &label_;
            while (EnteredScope* const scope = scope_of(*at)) at = &scope->outer;
            *at = reinterpret_cast<std::uintptr_t>(extras);
            has_extras = hands_on = true;
        }
        return *extras();
    }
    std::uint32_t id() const noexcept {
        return has_extras ? extras()->id : static_cast<std::uint32_t>(label());
    }
    [[gnu::cold]] std::string name() const {
        const TaskExtras* const extra = extras();
        return extra && !extra->name.empty() ? extra->name : concat({"Task-", decimal(id())});
    }
    /// Known in debug mode, where the call that made it could tell.
    CreatedAt created_at() const noexcept {
        const TaskExtras* const extra = extras();
        return extra ? extra->created_at : CreatedAt();
    }

    void enter(EnteredScope& scope) noexcept {
        scope.outer = label_;
        label_ = ~reinterpret_cast<std::uintptr_t>(&scope);
    }
    /// (As a rule it is the innermost.)
    void leave(EnteredScope& scope) noexcept {
        std::uintptr_t* at = &label_;
        for (EnteredScope* one; (one = scope_of(*at)) != &scope; at = &one->outer) {
            if (!one) return;
        }
        *at = scope.outer;
    }
    /// The innermost, or null.
    const EnteredScope* innermost_scope() const noexcept { return scope_of(label_); }
    static const EnteredScope* outside_of(const EnteredScope& scope) noexcept {
        return scope_of(scope.outer);
    }

    /// It has suspended once.
    bool started() const noexcept { return !is_unstarted(); }
    /// Where it was left standing, for one that a gate has let through (or was to).
    void pass_gate() noexcept {
        coroutine = frame_at(address_of(coroutine) & ~gate_mark);
        if (waiting_on) std::exchange(waiting_on, nullptr)->resumed();
    }

    /// How its coroutine ended; empty until then. The outcome follows this object immediately
    /// (TaskState sees to that), since its type is not known here and a table would cost a call.
    OutcomeKind outcome_kind() const noexcept {
        return *reinterpret_cast<const OutcomeKind*>(reinterpret_cast<const char*>(this) +
                                                     sizeof(TaskCore));
    }

    /// Null: it is no group's child. Kept in the promise of its first frame, where its end finds
    /// it.
    GroupCore* owner() const noexcept {
        return reinterpret_cast<GroupCore*>(after_end(root) & ~task_is_over);
    }
    void set_owner(GroupCore* group) noexcept {
        after_end(root) = reinterpret_cast<std::uintptr_t>(group) | task_is_over;
    }

    /// It has ended and goes through the ready queue once more: its group, if that is still there.
    void set_ended(GroupCore* group) noexcept {
        coroutine = frame_at(reinterpret_cast<std::uintptr_t>(group) | marks);
    }
    GroupCore* group_to_tell() const noexcept {
        return reinterpret_cast<GroupCore*>(address_of(coroutine) & ~marks);
    }

    std::coroutine_handle<> root;  // its first frame, which goes when the coroutine ends

protected:
    ~TaskCore() {
        if (has_extras) [[unlikely]]
            delete_extras();
    }

private:
    [[gnu::cold, gnu::noinline]] void delete_extras() noexcept { delete extras(); }
    /// A scope's address stands inverted, as no other's does.
    static EnteredScope* scope_of(std::uintptr_t label) noexcept {
        if (static_cast<std::intptr_t>(label) >= 0) [[likely]]
            return nullptr;
        return reinterpret_cast<EnteredScope*>(~label);
    }
    std::uintptr_t label() const noexcept {
        std::uintptr_t at = label_;
        while (const EnteredScope* const scope = scope_of(at)) at = scope->outer;
        return at;
    }

    std::uintptr_t label_;  // its innermost scope, its extras, or else the task's number
};

/// The part of a task group, or of a gather, that the end of a child needs. A child is in its list
/// by the node with which other tasks are in the loop's, from its making to its end, or until the
/// group was told of it.
struct GroupCore : ListNode<> {
    using Tell = void (*)(GroupCore& group, TaskCore& child, ReadyNode::Verb) noexcept;
    explicit GroupCore(Tell tell_end) noexcept : tell(tell_end) {}
    /// Whose parent goes on.
    GroupCore(Tell tell_end, TaskCore& parent) noexcept
        : parent_(&parent),
          scopes(parent.innermost_scope()),
          parent_goes_on(true),
          tell(tell_end) {}

    IntrusiveList<TaskCore, AllTasksTag> members;
    TaskCore* joiner = nullptr;  // the parent, while it waits for the children
    TaskCore* parent_ = nullptr;
    /// What the parent was inside of when the group began, where it may be inside of more by now.
    const EnteredScope* scopes;
    bool parent_goes_on = false;  // it runs on beside the children, as the body of a group does
    /// `ended`: a child has, with something else than a plain value. `run` and `drop`: the turn of
    /// such a child has come, see `EventLoop::tell_group_later`.
    Tell tell;
};

}  // namespace detail
}  // namespace weft
