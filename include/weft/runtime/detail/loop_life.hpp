// SPDX-License-Identifier: MIT
// EventLoop: how it begins, and how it ends with everything that has not ended.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <coroutine>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <new>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../kernel/choose.hpp"
#include "../../kernel/forked.hpp"
#include "../go_on.hpp"
#include "event_loop.hpp"
#include "loop_signals.hpp"
#include "loop_turn.hpp"
#include "loop_watches.hpp"

namespace weft {

/// The list of a thread's loops goes with the thread. (On the main thread that stays: what is
/// static is destroyed after this.)
struct EventLoop::AtThreadEnd {
    AtThreadEnd() noexcept = default;
    AtThreadEnd(const AtThreadEnd&) = delete;
    AtThreadEnd& operator=(const AtThreadEnd&) = delete;
    ~AtThreadEnd() {
        for (EventLoop* loop = detail::live_loops; loop; loop = loop->next_live_)
            loop->outlives_thread_ = true;
    }
};

[[gnu::cold]] WEFT_INLINE void EventLoop::check_end_here() noexcept {
    if (::pthread_equal(thread_, ::pthread_self()) || outlives_thread_ || is_parents_) return;
    // (That thread of the parent's does not run here, and has not ended either.)
    if (process_ != ::getpid()) return leave_to_parent();
    detail::throw_runtime_error(
        "weft: an event loop was destroyed on another thread, and its own still runs");
}

[[gnu::cold]] WEFT_INLINE EventLoop::EventLoop(const RunOptions& options)
    : virtual_time_(options.virtual_time),
      ring_entries_(options.ring_entries),
      backend_(detail::choose_backend(options.backend, options.ring_entries)),
      inbox_(new detail::Inbox),
      // Virtual time starts at a round number, for readable failures.
      virtual_now_(1'000'000'000'000),
      virtual_grace_(detail::to_limit(options.virtual_grace)),
      busy_poll_(detail::to_limit(options.busy_poll)),
      hang_limit_(detail::to_limit(options.hang_limit)),
      process_(::getpid()) {
    static thread_local const AtThreadEnd at_thread_end;
    special_.debug = options.debug;
    eager_tasks_ = options.eager_tasks;
    if (const char* const debug = std::getenv("WEFT_DEBUG"); debug && *debug && *debug != '0') {
        special_.debug = true;
    }
    if (options.exception_handler) set_exception_handler(options.exception_handler);
    if (options.ignore_sigpipe) {
        struct sigaction action {};
        if (::sigaction(SIGPIPE, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) {
            action.sa_handler = SIG_IGN;
            ::sigaction(SIGPIPE, &action, nullptr);
        }
    }
    static const int forks = ::pthread_atfork(nullptr, nullptr, &forked);
    if (forks != 0) detail::throw_system_error(forks, "pthread_atfork");
    next_live_ = detail::live_loops;
    detail::live_loops = this;
    detail::descriptor_closing = &descriptor_closing;
    if (special_.debug) list_debugged();
}

/// In the child of a fork(2). The ring would take its submissions for the parent's, and the epoll
/// instance forget what the child closes. So no loop runs here, and those of this thread, which is
/// the only one left, are as good as closed.
[[gnu::cold]] WEFT_INLINE void EventLoop::forked() noexcept {
    for (EventLoop* loop = detail::live_loops; loop; loop = loop->next_live_)
        loop->leave_to_parent();
    detail::live_loops = nullptr;
    detail::running_loop = nullptr;
    // (Another thread may have held the mutex, and is not here.)
    std::construct_at(&detail::debugged_loops);
    detail::descriptor_closing = nullptr;
}

[[gnu::cold]] WEFT_INLINE void EventLoop::leave_to_parent() noexcept {
    closed_ = is_parents_ = true;
    // Not destroyed: it would wait for its helper thread, and ends with the process.
    static_cast<void>(backend_.release());
    backend_.reset(detail::ForkedBackend::shared());
    special_.world = true;  // no turn goes without that backend
    inbox_->leave_to_parent();
    // The step that has forked goes on in the child too; what else the turn has made ready does
    // not.
    for_each_task([this](detail::TaskCore& task) {
        if (&task == current_) return;
        task.coroutine = std::noop_coroutine();
        task.waiting_on = nullptr;
    });
}

/// Where their loop can run no more. (One of them may be that of the signals, which go now.)
[[gnu::cold]] WEFT_INLINE void EventLoop::drop_posts() noexcept {
    detail::UsedPosts used;
    inbox_->close().for_each([&](detail::Post& post) {
        post.act(post, detail::Post::Verb::drop);
        used.add(post);
    });
}

/// In a forked child no frame ends with its parent's loop. What lives beside the frames must not
/// look for the loop any more; and a primitive that wakes a task, or is destroyed while one waits
/// for it, finds another loop with that task, which runs nothing.
[[gnu::cold]] WEFT_INLINE void EventLoop::let_go_of_all() noexcept {
    while (!end_with_us_.empty()) {
        detail::EndsWithLoop& one = end_with_us_.pop_front();
        one.end(one);
    }
    timers_.forget_all();
    // (Not on the heap: there may be no memory. Never destroyed, as the frames are not.)
    alignas(EventLoop) static std::byte place[sizeof(EventLoop)];
    static EventLoop* const only = ::new (static_cast<void*>(place)) EventLoop(inbox_);
    for_each_task([](detail::TaskCore& task) { task.loop = only; });
}

/// For the tasks that a loop has left behind.
[[gnu::cold]] WEFT_INLINE EventLoop::EventLoop(const detail::Ref<detail::Inbox>& closed) noexcept
    : closed_(true),
      is_parents_(true),
      ring_entries_(0),
      backend_(detail::ForkedBackend::shared()),
      inbox_(closed),
      process_(0) {}

[[gnu::cold]] WEFT_INLINE EventLoop::~EventLoop() {
    check_end_here();
    try {
        close();
    } catch (...) {
        // The kernel refuses to go on with what it has of ours; nobody is left to hear it.
        call_exception_handler({"an event loop could not be closed", std::current_exception(), {}});
        drop_posts();
        let_go_of_all();  // what the kernel may still write to stays
    }
    if (is_parents_) let_go_of_all();
    end_watches();
    EventLoop** link = &detail::live_loops;
    while (*link && *link != this) link = &(*link)->next_live_;
    if (*link) *link = next_live_;
    if (!detail::live_loops) detail::descriptor_closing = nullptr;
    if (is_debugged_) unlist_debugged();
}

WEFT_INLINE void EventLoop::descriptor_closing(int fd) noexcept {
    for (EventLoop* loop = detail::live_loops; loop; loop = loop->next_live_) {
        if (loop->backend_) loop->forget(fd);
    }
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void EventLoop::make_others_forget(int fd) noexcept {
    for (EventLoop* loop = detail::live_loops; loop; loop = loop->next_live_) {
        if (loop != this && loop->backend_) loop->forget(fd);
    }
}

WEFT_INLINE bool EventLoop::is_live(const EventLoop* loop) noexcept {
    const EventLoop* other = detail::live_loops;
    while (other && other != loop) other = other->next_live_;
    return other != nullptr;
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void EventLoop::for_each_task(
    detail::Visitor<detail::TaskCore> visit) {
    tasks_.for_each(visit);
    groups_.for_each([&](detail::GroupCore& group) {
        group.members.for_each([&](detail::TaskCore& child) {
            if (child.listed && !child.done()) visit(child);
        });
    });
    for_each_unlisted(visit);
}

/// The tasks that `tasks_` does not have: see there.
[[gnu::cold, gnu::noinline]] WEFT_INLINE void EventLoop::for_each_unlisted(
    detail::Visitor<detail::TaskCore> visit) {
    if (current_ && !current_->listed) visit(*current_);
    for (const Interrupted* at = interrupted_; at; at = at->outer) {
        if (at->task && !at->task->listed) visit(*at->task);
    }
    for (detail::ReadyNode* node : {rest_, ready_.first()}) {
        for (; node; node = node->next_ready) {
            if (node->is_unstarted()) visit(static_cast<detail::TaskCore&>(*node));
        }
    }
}

[[gnu::cold]] WEFT_INLINE bool EventLoop::has_tasks() noexcept {
    bool found = !tasks_.empty() || !groups_.empty();  // (a group's parent is a task)
    if (!found) for_each_unlisted([&](detail::TaskCore&) { found = true; });
    return found;
}

[[gnu::cold]] WEFT_INLINE bool EventLoop::run_until_no_tasks(Duration limit) {
    RunScope scope(*this);
    // When nothing could wake any of them, tasks that await each other in a circle are left.
    // (The one timer is the patience below.)
    const auto over = [this] {
        const bool stuck = backend_->outstanding() + thread_jobs_ + thread_waits_ == 0 &&
                           timers_.size() == 1 && inbox_->empty();
        return !has_tasks() || (stuck && let_go_of_tasks());
    };
    // A timer, so that a sleeping loop notices the end of its patience too. (A turn may throw.)
    struct Patience : detail::Timer {
        explicit Patience(EventLoop& of) noexcept : Timer([](Timer&) noexcept {}), loop(of) {}
        ~Patience() {
            if (armed()) loop.disarm(*this);
        }
        EventLoop& loop;
    } patience(*this);
    arm(patience, detail::deadline_after(read_clock(), limit.count()));
    // Virtual time stands still while anything runs.
    constexpr int most_virtual_turns = 100'000;
    std::uint32_t newest = last_task_id_;
    for (int turns = 0; has_tasks() && !special_.stopping && patience.armed(); ++turns) {
        if (virtual_time_ && turns == most_virtual_turns) break;
        const std::uint32_t newest_to_start = last_task_id_;
        run_watched(ready_.take_all());
        cancel_latecomers(newest, newest_to_start);
        newest = newest_to_start;
        meet_the_world(in_a_hurry() || over());
    }
    return !has_tasks();
}

[[gnu::cold]] WEFT_INLINE void EventLoop::close() {
    if (closed_) return;
    if (running_) detail::throw_runtime_error("close: the event loop is running");
    struct Restore {
        EventLoop* const outer;
        ~Restore() { detail::running_loop = outer; }
    } restore{std::exchange(detail::running_loop, this)};
    const detail::Interlude interlude;  // perhaps at the end of another loop's coroutine
    // Each round cancels whatever still lives and lets it clean up; a task that is still there
    // after so many cancels swallows them all.
    constexpr int rounds = 64;
    begin_end(true);
    for (int round = 0; round < rounds && has_tasks(); ++round) {
        cancel_all(true);
        // A circle of tasks: nobody was woken, and none of them ever will be. (Whoever waits for
        // one that is cleaning up goes on when that has ended, and not before.)
        if (round > 0 && ready_.empty() && backend_->ending() == 0) let_go_of_tasks();
        drain_cancels();
    }
    end_watches();
    while (!end_with_us_.empty()) {
        detail::EndsWithLoop& one = end_with_us_.pop_front();
        one.end(one);
    }
    end_operations();
    run_last_posts();
    drop_everything();
    extras_.reset();
    closed_ = true;
}

/// Whoever posted was not refused. What the posts schedule is.
[[gnu::cold]] WEFT_INLINE void EventLoop::run_last_posts() noexcept {
    closed_ = true;
    run_posts(inbox_->close());
    closed_ = false;  // destructors may still schedule, see drop_everything
}

/// Runs whatever is ready, and waits for operations that were asked to end, until neither is left.
[[gnu::cold]] WEFT_INLINE void EventLoop::drain_cancels() {
    // A task that is always ready would never let a round end.
    constexpr int most_turns = 1'000;
    for (int turns = 0; turns < most_turns; ++turns) {
        run_watched(ready_.take_all());
        if (ready_.empty() && backend_->ending() > 0) {
            backend_->turn(detail::no_deadline);
        } else if (backend_->has_work()) {
            backend_->turn(0);
        }
        if (ready_.empty() && backend_->ending() == 0) return;
    }
}

/// The kernel lets go of all memory that is not its own.
[[gnu::cold]] WEFT_INLINE void EventLoop::end_operations() {
    for_each_task([](detail::TaskCore& task) {
        if (task.waiting_on) task.waiting_on->cancel();
    });
    if (wake_up_.state != detail::Operation::State::idle) backend_->cancel(wake_up_);
    backend_->end_standing();
    while (backend_->outstanding() + backend_->background() > 0) {
        backend_->turn(detail::no_deadline);
    }
}

/// The end of whatever has not ended: frames are destroyed where they stand, callbacks are dropped
/// unrun. Destructors may schedule more; it goes the same way.
[[gnu::cold]] WEFT_INLINE void EventLoop::drop_everything() noexcept {
    while (has_tasks() || !ready_.empty() || !timers_.empty()) {
        // Parents and children go as they come: each stands alone from here on.
        while (!groups_.empty()) {
            groups_.pop_front().members.for_each([this](detail::TaskCore& child) {
                if (child.listed && !child.done()) disown(child);
            });
        }
        // Kept until the ready queue is empty: a task's end wakes others that are to end too.
        detail::IntrusiveList<detail::TaskCore, detail::AllTasksTag> ended;
        const auto end_and_keep = [&](detail::TaskCore& task) {
            task.add_ref();
            end_unfinished(task);
            ended.push_back(task);
        };
        // The youngest first: what a task refers to is, as a rule, its makers'.
        while (!tasks_.empty()) {
            detail::TaskCore& task = tasks_.back();
            report_task("a task refused to end and was destroyed", task);
            end_and_keep(task);
        }
        before_woken_ = ready_.last();
        while (!timers_.empty()) {
            detail::Timer& timer = timers_.pop();
            timer.on_due(timer);
        }
        for (detail::ReadyNode* node = ready_.take_all(); node;) {
            detail::ReadyNode* const next = node->next_ready;
            if (node->is_callback()) {
                auto& callback = static_cast<detail::CallbackNode&>(*node);
                callback.act(callback, detail::ReadyNode::Verb::drop);
            } else if (node->is_unstarted()) {
                end_and_keep(static_cast<detail::TaskCore&>(*node));
            } else if (node->is_ended()) {
                tell_group_now(static_cast<detail::TaskCore&>(*node),
                               detail::ReadyNode::Verb::drop);
            }
            node = next;
        }
        while (!ended.empty()) ended.pop_front().release();
    }
}

}  // namespace weft
