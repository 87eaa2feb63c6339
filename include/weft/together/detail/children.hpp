// SPDX-License-Identifier: MIT
// Children: the futures that one task waits for together, and when their ends end the wait.
// Long because: nodes, rules and the wait are one piece of state.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <string_view>
#include <utility>

#include "../../base/frame_allocator.hpp"
#include "../../base/std_parts.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"
#include "../../runtime/timer_heap.hpp"
#include "../../task/future_state.hpp"

namespace weft::detail {

class Children;
struct ChildBlock;

/// In a child's list of waiters until the child ends, then in the ready queue, then done with.
struct ChildNode final : CallbackNode, FutureWaiter {
    using State = FutureCore::State;

    explicit ChildNode(ChildBlock& in) noexcept
        : CallbackNode(&run_or_drop), FutureWaiter(this), block(&in) {}
    static void run_or_drop(CallbackNode& node, Verb verb) noexcept;

    /// How the child ended. An operation that was cancelled ends its driver task with a value.
    State end() const noexcept { return said != State::pending ? said : child->state; }
    std::exception_ptr error() const noexcept { return child->typed->exception(*child); }

    ChildBlock* block;
    FutureCore* child = nullptr;  // with a reference
    State said = State::pending;  // by the driver of an operation
    bool borrowed = false;        // the child uses the frame that waits: it must end first
    bool counted = false;         // its end is awaited and did not come yet
};

/// The nodes of one wait, in one recycled block. It outlives the waiting frame while a node is in
/// the ready queue, which nothing can be taken out of.
struct ChildBlock {
    static ChildBlock* make(Children& owner, std::size_t capacity) {
        void* const memory = allocate_frame(size_for(capacity));
        return ::new (memory) ChildBlock(owner, capacity);
    }
    void release() noexcept {
        if (--refs > 0) return;
        const std::size_t size = size_for(capacity);
        std::destroy_n(nodes(), count);
        this->~ChildBlock();
        release_frame(this, size);
    }
    ChildNode* nodes() noexcept { return reinterpret_cast<ChildNode*>(this + 1); }
    ChildNode& add() noexcept { return *std::construct_at(nodes() + count++, *this); }

    Children* owner;       // null: the wait is over
    std::size_t refs = 1;  // the owner's, and one for each node that waits or is queued
    std::size_t count = 0;
    std::size_t capacity;

private:
    ChildBlock(Children& of, std::size_t room) noexcept : owner(&of), capacity(room) {}
    static std::size_t size_for(std::size_t capacity) noexcept {
        return sizeof(ChildBlock) + capacity * sizeof(ChildNode);
    }
};
static_assert(sizeof(ChildBlock) % alignof(ChildNode) == 0);

enum class ChildRule : std::uint8_t {
    all_end,                // gather(return_exceptions, ...)
    first_error,            // gather: the others go on
    first_error_cancels,    // all: the others are cancelled and awaited
    first_success_cancels,  // race: the same
    watch_all,              // wait: the children are not ours to cancel
    watch_first,
    watch_error,
    watch_next,  // as_completed: one after the other
    first_end,   // select: operations are cancelled and awaited, others left alone
};

/// Lives in the frame of the coroutine that waits: add the children, `begin`, `co_await wait()`,
/// then look at the nodes.
class Children final : private Timer {
    using State = FutureCore::State;

public:
    Children(EventLoop& loop, std::size_t capacity, ChildRule rule)
        : Timer(&time_is_up),
          loop_(&loop),
          block_(ChildBlock::make(*this, capacity)),
          deciding_(deciding(rule)),
          rule_(rule) {}
    Children(const Children&) = delete;
    Children& operator=(const Children&) = delete;
    ~Children() { leave(); }

    /// Takes over a reference to `child`.
    ChildNode& add(FutureCore* child) noexcept {
        ChildNode& node = block_->add();
        watch(node, child);
        return node;
    }
    /// For a child that refers to its node: `watch` comes later, or never.
    ChildNode& reserve() noexcept { return block_->add(); }
    void watch(ChildNode& node, FutureCore* child) noexcept {
        node.child = child;
        if (child->done() || watched(*child)) return;
        node.counted = true;
        child->waiters.push_back(node);
        ++block_->refs;
        ++pending_;
        borrowed_ += node.borrowed ? 1u : 0u;
    }
    /// A child could not be started: the others are cancelled and awaited, whatever the rule.
    void fail_to_start(std::exception_ptr why) noexcept { start_failure_ = std::move(why); }
    bool failed_to_start() const noexcept { return start_failure_ != nullptr; }

    /// Looks at the children that had ended before the wait, in their order.
    void begin() noexcept {
        if (start_failure_) return cancel_rest(Which::all);
        for (std::size_t i = 0; i < block_->count && !decisive_; ++i) {
            ChildNode& node = block_->nodes()[i];
            if (!node.counted && node.child->done()) judge(node);
        }
    }
    /// The wait ends then, whatever the rule.
    void arm(Nanoseconds when) {
        timed_out_ = false;
        loop_->arm(*this, when);
    }
    void disarm() noexcept {
        if (armed()) loop_->disarm(*this);
        timed_out_ = false;
    }
    /// The next wait ends with this child at the latest.
    void stop_at(const ChildNode& node) noexcept { stop_ = &node; }

    class [[nodiscard]] Wait;
    Wait wait() noexcept;

    std::size_t size() const noexcept { return block_->count; }
    ChildNode& node(std::size_t index) noexcept { return block_->nodes()[index]; }
    /// The child that decided: the first error, the first success, the first end; null: none did.
    ChildNode* decisive() noexcept { return decisive_; }
    /// `watch_next`: the next one that has ended, or null.
    ChildNode* pop_ended() noexcept { return static_cast<ChildNode*>(ended_.pop_front()); }
    bool all_ended() const noexcept { return pending_ == 0 && ended_.empty(); }
    /// Throws why a child could not be started.
    void check_started() const {
        if (start_failure_) [[unlikely]]
            std::rethrow_exception(start_failure_);
    }
    /// (Which is to be told, whatever else happens.) A race has, when all its children have.
    bool has_failed() const noexcept {
        if (decisive_) return decisive_->end() == State::exception;
        return rule_ == ChildRule::first_success_cancels && pending_ == 0 && !saw_cancelled_;
    }
    /// Our task was cancelled while it waited.
    bool asked() const noexcept { return asked_; }
    /// Our task was cancelled, and that ended a child: the cancel is to be thrown.
    bool struck() const noexcept { return asked_ && saw_cancelled_; }
    EventLoop& loop() const noexcept { return *loop_; }

private:
    friend struct ChildNode;
    enum class Which : bool { all, borrowed };

    bool only_watches() const noexcept { return rule_ >= ChildRule::watch_all; }

    // A future that was passed twice is awaited, and cancelled, once.
    bool watched(const FutureCore& child) const noexcept {
        FutureWaiter* const first = child.waiters.front();
        if (!first) return false;
        const FutureWaiter* at = first;
        do {
            if (at->target->is_callback()) {
                const auto& callback = static_cast<const CallbackNode&>(*at->target);
                if (callback.act == &ChildNode::run_or_drop &&
                    static_cast<const ChildNode&>(callback).block == block_)
                    return true;
            }
            at = at->next;
        } while (at != first);
        return false;
    }

    void ended(ChildNode& node) noexcept {
        node.counted = false;
        --pending_;
        borrowed_ -= node.borrowed ? 1u : 0u;
        judge(node);
        if (over()) wake();
    }
    /// Nothing comes of this end but that there is one child less.
    bool is_quiet(const ChildNode& node) const noexcept {
        return rule_ != ChildRule::watch_next && (deciding_ & bit(node.end())) == 0;
    }

    void judge(ChildNode& node) noexcept {
        if (rule_ == ChildRule::watch_next) return ended_.push_back(node);
        const State end = node.end();
        saw_cancelled_ |= end == State::cancelled;
        if ((deciding_ & bit(end)) == 0 || decisive_ || start_failure_) [[likely]]
            return;
        decisive_ = &node;
        if (rule_ == ChildRule::first_error_cancels || rule_ == ChildRule::first_success_cancels) {
            cancel_rest(Which::all);
        } else if (borrowed_ > 0) {
            // What is written into the await itself cannot outlive it.
            cancel_rest(Which::borrowed);
        }
    }
    static constexpr unsigned bit(State end) noexcept { return 1u << static_cast<unsigned>(end); }
    /// The ends that decide under a rule, one bit each.
    static constexpr unsigned deciding(ChildRule rule) noexcept {
        switch (rule) {
            case ChildRule::first_error:
            case ChildRule::first_error_cancels:
                return bit(State::exception) | bit(State::cancelled);
            case ChildRule::first_success_cancels:
                return bit(State::value);
            case ChildRule::watch_first:
            case ChildRule::first_end:
                return bit(State::value) | bit(State::exception) | bit(State::cancelled);
            case ChildRule::watch_error:
                return bit(State::exception);
            case ChildRule::all_end:
            case ChildRule::watch_all:
            case ChildRule::watch_next:
                break;
        }
        return 0;
    }
    /// What a child could do beside this, an error or an end by a cancel, is no end to count on.
    bool waits_for_each() const noexcept {
        return rule_ <= ChildRule::first_error_cancels || rule_ == ChildRule::watch_all ||
               rule_ == ChildRule::watch_error;
    }
    bool over() const noexcept { return leaving_ || fulfilled(); }
    bool fulfilled() const noexcept {
        if (pending_ == 0 || (stop_ && !stop_->counted)) return true;
        if (rule_ == ChildRule::watch_next) return !ended_.empty();
        if (rule_ == ChildRule::first_end && asked_) return borrowed_ == 0;
        if (!decisive_ || borrowed_ > 0 || asked_) return false;
        return rule_ == ChildRule::first_error || only_watches();
    }
    void wake() noexcept {
        if (waiter_) loop_->wake(*std::exchange(waiter_, nullptr));
    }

    void cancel_rest(Which which) noexcept {
        cancelling_ = cancelling_ || which == Which::all;
        for_each_pending([&](ChildNode& node) {
            if (which == Which::all || node.borrowed) cancel_child(*node.child, {});
        });
    }
    static void cancel_child(FutureCore& child, std::string_view message) noexcept {
        try {
            cancel_future(child, message);
        } catch (const std::bad_alloc&) {
            // The message is a courtesy; the cancel itself needs no memory.
            if (!message.empty()) cancel_child(child, {});
        }
    }
    template <class Visit>
    void for_each_pending(Visit&& visit) noexcept {
        for (std::size_t i = 0; i < block_->count; ++i) {
            ChildNode& node = block_->nodes()[i];
            if (node.counted && !node.child->done()) visit(node);
        }
    }

    /// Our task is asked to end (see Suspension::cancel).
    TaskCore* cancel(TaskCore& task) noexcept {
        if (rule_ == ChildRule::first_end && borrowed_ > 0) {
            asked_ = true;
            deciding_ &= ~bit(State::cancelled);
            cancel_rest(Which::borrowed);
            return nullptr;
        }
        if (only_watches() || passing_on_) {  // passing on: a child waits for us, in a circle
            let_go();
            return nullptr;
        }
        saw_cancelled_ = saw_cancelled_ && asked_;  // those of before are not its doing
        asked_ = true;
        // A child that ends as it was told to has not failed.
        if (rule_ != ChildRule::first_success_cancels) deciding_ &= ~bit(State::cancelled);
        if (cancelling_) {  // they are on their way already
            return loop_->strike_each([this](auto&& visit) {
                for_each_pending([&](ChildNode& node) {
                    if (node.child->is_task) visit(*static_cast<TaskCore*>(node.child));
                });
            });
        }
        passing_on_ = true;
        const TaskExtras* const extras = task.extras();
        const std::string_view message = extras ? extras->cancel_message : std::string_view();
        TaskCore* last = nullptr;
        for_each_pending([&](ChildNode& node) {
            if (last) cancel_child(*std::exchange(last, nullptr), message);
            if (!node.child->is_task) return cancel_child(*node.child, message);
            last = static_cast<TaskCore*>(node.child);
        });
        passing_on_ = false;
        // The loop goes on with it, so that a chain of waits in each other needs no stack.
        return last;
    }
    void let_go() noexcept {
        if (borrowed_ > 0) return;
        leaving_ = true;
        wake();
    }

    static void time_is_up(Timer& timer) noexcept {
        auto& self = static_cast<Children&>(timer);
        self.leaving_ = self.timed_out_ = true;
        self.wake();
    }

    /// The nodes stop waiting; the errors of gathered children count as seen.
    void leave() noexcept {
        disarm();
        for (std::size_t i = 0; i < block_->count; ++i) {
            ChildNode& node = block_->nodes()[i];
            FutureCore* const child = node.child;
            if (!child) continue;
            if (node.counted && static_cast<FutureWaiter&>(node).next) {
                child->waiters.erase(node);
                --block_->refs;
            }
            if (!only_watches()) child->retrieved = true;
            child->release();
        }
        block_->owner = nullptr;
        block_->release();
    }

    EventLoop* loop_;
    ChildBlock* block_;
    TaskCore* waiter_ = nullptr;  // while it is suspended
    ChildNode* decisive_ = nullptr;
    const ChildNode* stop_ = nullptr;
    std::size_t pending_ = 0;
    std::size_t borrowed_ = 0;  // of the pending ones
    WaiterList ended_;          // `watch_next`: those that nobody has seen yet
    std::exception_ptr start_failure_;
    unsigned deciding_;
    ChildRule rule_;
    bool asked_ = false;       // our task was cancelled
    bool cancelling_ = false;  // we have cancelled every child
    bool passing_on_ = false;
    bool saw_cancelled_ = false;
    bool leaving_ = false;  // the wait ends although its children have not
    bool timed_out_ = false;
};

/// Until the rule is fulfilled.
class [[nodiscard]] Children::Wait final : public Suspension {
public:
    explicit Wait(Children& children) noexcept : children_(children) {}

    bool await_ready() const noexcept { return children_.over(); }
    void await_suspend(std::coroutine_handle<> handle) {
        TaskCore& task = children_.loop_->suspend(handle, *this);
        task_ = children_.waiter_ = &task;
        if (task.must_cancel) [[unlikely]]
            children_.loop_->pass_on_cancel(task);
    }
    TaskCore* cancel() noexcept override { return children_.cancel(*task_); }
    void let_go() noexcept override { children_.let_go(); }
    WaitInfo describe() const noexcept override {
        return {"several children", -1, nullptr, nullptr, &visit_children};
    }
    bool await_cancelled() const noexcept {
        return children_.leaving_ && !children_.timed_out_ && !children_.fulfilled();
    }
    void await_resume() {
        const bool cancelled = await_cancelled();
        children_.leaving_ = false;
        children_.stop_ = nullptr;
        if (!children_.has_failed()) check_leftover();
        if (cancelled) children_.loop_->throw_cancelled();
    }

private:
    /// Where any one of them is enough, none is named.
    [[gnu::cold]] static void visit_children(const Suspension& wait,
                                             Visitor<const FutureCore> visit) {
        Children& children = static_cast<const Wait&>(wait).children_;
        if (!children.waits_for_each()) return;
        children.for_each_pending([&](const ChildNode& node) { visit(*node.child); });
    }

    Children& children_;
    TaskCore* task_ = nullptr;
};

/// Takes the timer back at the end of a block.
class TimerOff {
public:
    explicit TimerOff(Children& children) noexcept : children_(children) {}
    TimerOff(const TimerOff&) = delete;
    TimerOff& operator=(const TimerOff&) = delete;
    ~TimerOff() { children_.disarm(); }

private:
    Children& children_;
};

inline Children::Wait Children::wait() noexcept { return Wait(*this); }

inline void ChildNode::run_or_drop(CallbackNode& node, Verb verb) noexcept {
    auto& self = static_cast<ChildNode&>(node);
    FutureCore& core = *self.child;
    ChildBlock& in = *self.block;
    if (verb == Verb::ended) {
        if (!in.owner || !in.owner->is_quiet(self)) {
            core.add_ref();  // the queue's
            return core.loop->push(self);
        }
        in.owner->ended(self);
        return in.release();
    }
    if (verb == Verb::run && in.owner) in.owner->ended(self);
    core.release();
    in.release();
}

}  // namespace weft::detail
