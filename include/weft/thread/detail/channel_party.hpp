// SPDX-License-Identifier: MIT
// ChannelParty: somebody who waits at a ThreadChannel, a task of some loop or a thread; and who
// tells them.
#pragma once

#include <coroutine>
#include <new>
#include <optional>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../base/ref.hpp"
#include "../../base/thread.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/ready_await.hpp"
#include "../../runtime/task_core.hpp"

namespace weft::detail {

/// All of it is guarded by the channel's mutex while it is in a list. A task that was served is in
/// the list of those who are to be told, until its own loop has seen to it: its frame may be
/// destroyed at any moment before, so nobody else touches it, and what is posted to its loop refers
/// to the channel alone.
struct ChannelParty : ListNode<> {
    enum class State : unsigned char {
        idle,       // did not wait
        waiting,    //
        served,     // an item came, or was taken
        closed,     // the channel was closed meanwhile
        cancelled,  // the wait was ended, and nothing happened
    };
    State state = State::idle;
    TaskCore* task = nullptr;          // of a task
    ReservedPost tells;                // of a task that waits: what its loop is told with
    ThreadCondition* woken = nullptr;  // of a thread

    // Of a task, on its loop's thread: in a list, and out of it.
    void wait_begins() const noexcept { task->loop->count_thread_wait(); }
    void wait_ends() const noexcept { task->loop->discount_thread_wait(); }
};

/// The untyped half of a channel's state.
class ThreadChannelBase : public CountedByThreads<ThreadChannelBase> {
public:
    virtual ~ThreadChannelBase() = default;

    bool closed() noexcept {
        const Locked lock(mutex_);
        return closed_;
    }
    void close() noexcept;

    /// Holds the lock. What it serves, one party at most, is told when it goes: the lock is free by
    /// then, since to wake a loop is a system call.
    class Visit {
    public:
        explicit Visit(ThreadChannelBase& channel) noexcept : channel_(channel) {
            channel_.mutex_.lock();
        }
        Visit(const Visit&) = delete;
        Visit& operator=(const Visit&) = delete;
        ~Visit() {
            channel_.mutex_.unlock();
            if (to_tell_) [[unlikely]]
                tell();
        }
        /// It leaves its list.
        void serve(ChannelParty& party, ChannelParty::State state) noexcept;

    private:
        void tell() noexcept;
        ThreadChannelBase& channel_;
        std::optional<Remote> to_tell_;
        ReservedPost by_;
    };

    /// On the loop's thread. False: it was served before; otherwise it did not happen, and will
    /// not. (A task that was served and not told yet is told here.)
    bool withdraw(ChannelParty& party) noexcept;
    /// The frame goes.
    void forget(ChannelParty& party) noexcept;
    /// On a thread; a Visit holds the lock. False: `limit` has passed, and it did not happen.
    bool block(ChannelParty& party, Nanoseconds deadline) noexcept;
    static void refuse_loop_thread(const char* call);

protected:
    IntrusiveList<ChannelParty> receivers_;
    IntrusiveList<ChannelParty> senders_;
    bool closed_ = false;

private:
    void tell_here() noexcept;

    IntrusiveList<ChannelParty> told_;
    Mutex mutex_;
};

/// What both awaits of a task share.
template <class Party>
class ChannelWait : public Suspension, protected Party {
    using State = ChannelParty::State;

public:
    bool await_cancelled() const noexcept { return this->state == State::cancelled; }
    TaskCore* cancel() noexcept override {
        if (channel_->withdraw(*this)) this->task->loop->wake(*this->task);
        return nullptr;
    }
    void grant_here(std::coroutine_handle<> handle) noexcept {
        this->state = State::served;
        this->task = &go_round(handle);
    }

protected:
    explicit ChannelWait(Ref<ThreadChannelBase> channel) noexcept : channel_(std::move(channel)) {}
    ~ChannelWait() = default;

    /// For `begin_wait`. False: a cancel was pending, and strikes at once.
    bool stop_here(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        if (!this->tells) this->tells.reserve();
        this->task = &loop.suspend(handle, *this);
        if (!this->task->must_cancel) return true;
        this->state = State::cancelled;
        loop.wake(*this->task);
        return false;
    }
    void check() {
        check_leftover();
        if (this->state == State::cancelled) [[unlikely]]
            this->task->loop->throw_cancelled();
    }

    Ref<ThreadChannelBase> channel_;
};

#if WEFT_BODIES
WEFT_INLINE void ThreadChannelBase::close() noexcept {
    for (;;) {
        Visit visit(*this);
        closed_ = true;
        if (!receivers_.empty()) {
            visit.serve(receivers_.front(), ChannelParty::State::closed);
        } else if (!senders_.empty()) {
            visit.serve(senders_.front(), ChannelParty::State::closed);
        } else {
            return;
        }
    }
}

// (Out of line: g++ would warn that what an empty std::optional holds is not set.)
[[gnu::noinline]] WEFT_INLINE void ThreadChannelBase::Visit::serve(
    ChannelParty& party, ChannelParty::State state) noexcept {
    party.unlink();
    party.state = state;
    if (party.woken) return party.woken->notify_one();
    // (Its frame is there while it is in a list, and so is its loop.)
    EventLoop& loop = *party.task->loop;
    if (&loop == EventLoop::running()) {
        party.wait_ends();
        return loop.wake(*party.task);
    }
    const bool on_its_way =
        channel_.told_.any_of([&](const ChannelParty& other) { return other.task->loop == &loop; });
    channel_.told_.push_back(party);
    if (on_its_way) return;
    to_tell_.emplace(loop.remote());
    by_ = std::move(party.tells);
}

WEFT_INLINE void ThreadChannelBase::Visit::tell() noexcept {
    // (A loop that is closed destroys the frames of its tasks, which give back what they have.)
    static_cast<void>(to_tell_->answer(std::move(by_), [channel = Ref<ThreadChannelBase>::to(
                                                            channel_)] { channel->tell_here(); }));
}

WEFT_INLINE void ThreadChannelBase::tell_here() noexcept {
    EventLoop& loop = get_running_loop();
    const Locked lock(mutex_);
    told_.for_each([&](ChannelParty& party) {
        if (party.task->loop != &loop) return;
        party.unlink();
        party.wait_ends();
        loop.wake(*party.task);
    });
}

WEFT_INLINE bool ThreadChannelBase::withdraw(ChannelParty& party) noexcept {
    const Locked lock(mutex_);
    // Neither waiting nor to be told: its task is ready.
    if (!party.linked()) return false;
    party.unlink();
    party.wait_ends();
    if (party.state == ChannelParty::State::waiting) party.state = ChannelParty::State::cancelled;
    return true;
}

WEFT_INLINE void ThreadChannelBase::forget(ChannelParty& party) noexcept {
    const Locked lock(mutex_);
    if (!party.linked()) return;
    party.unlink();
    party.wait_ends();
}

WEFT_INLINE bool ThreadChannelBase::block(ChannelParty& party, Nanoseconds deadline) noexcept {
    constexpr Nanoseconds an_hour = 3'600'000'000'000;
    while (party.state == ChannelParty::State::waiting) {
        const Nanoseconds now = monotonic_now();
        if (now >= deadline) {
            party.unlink();
            party.state = ChannelParty::State::cancelled;
            return false;
        }
        party.woken->wait_until(mutex_, deadline - now > an_hour ? now + an_hour : deadline);
    }
    return true;
}

[[gnu::cold]] WEFT_INLINE void ThreadChannelBase::refuse_loop_thread(const char* call) {
    if (EventLoop::running())
        throw_runtime_error({"ThreadChannel: ", call,
                             " would block the event loop that runs on this thread; await it"});
}
#endif

}  // namespace weft::detail
