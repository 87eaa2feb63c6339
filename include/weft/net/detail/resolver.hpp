// SPDX-License-Identifier: MIT
// Resolver: the threads of this process that look names up, and the queue before them.
#pragma once

#include <netdb.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../base/ref.hpp"
#include "../../base/thread.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"
#include "../../runtime/timer_heap.hpp"

namespace weft::detail {

#if WEFT_BODIES

class LookupWait;
class Resolver;

/// A question to the C library, and those of one loop who wait for its answer. Held by each of
/// them, and by the resolver until it has posted the answer, so that either may end first.
class Lookup : public CountedByThreads<Lookup>, private ListNode<> {
public:
    /// Two lookups of a loop with the same key ask the same.
    Lookup(std::string key, Remote remote) : key_(std::move(key)), remote_(std::move(remote)) {
        answer_.reserve();
    }
    virtual ~Lookup() = default;

    /// Asks the C library, which takes its time. On a thread of the resolver's.
    virtual void run() noexcept = 0;
    /// Call and object, for errors: "getaddrinfo \"localhost\"".
    virtual std::string text() const = 0;

    /// The loop's alone: who waits for the answer.
    IntrusiveList<LookupWait> waiting;

private:
    friend class Resolver;
    friend class IntrusiveList<Lookup>;

    bool asks_the_same(const Lookup& other) const noexcept {
        return key_ == other.key_ && remote_ == other.remote_;
    }

    const std::string key_;
    const Remote remote_;
    ReservedPost answer_;

    // The rest is the resolver's, and guarded by its mutex.
    Lookup* next_known_ = nullptr;
    bool is_queued_ = false;
};

/// One for the process, made when it is first needed, and never destroyed: a thread may be in the
/// C library when the process ends.
///
/// No resolver of libc can be interrupted, and a name server that does not answer holds a thread
/// for as long as resolv.conf allows. So:
/// - There are `usual_threads`, started as they are needed, which go when they were idle for long.
/// - While none of them has got on for a moment (`patience`) and somebody waits, one more may work,
///   up to `most_threads`. One that waits beside the others sees to that. So quick names pass slow
///   ones, as long as fewer than `most_threads` names are slow at a time; then they wait until libc
///   gives one of those up.
/// - Loops have their lookups begun in turn, those of one loop in the order in which they came.
/// - Where the system refuses one more thread, the loop of the lookup that waits for it asks again
///   after each `patience`.
/// - A name that is being looked up for a loop is not looked up once more for it: the answer goes
/// to
///   everybody who waits for it. However often a name is asked for that is slow, it takes one
///   thread.
/// - A lookup that nobody waits for any more is never begun. One that runs is left alone.
class Resolver {
public:
    /// This process's. (A forked child has none of the threads, and perhaps a locked mutex: what is
    /// its parent's is not touched there.)
    static Resolver& of_process() {
        Resolver* resolver = instance.load(std::memory_order_acquire);
        return resolver ? *resolver : make();
    }

    /// Returns:  `fresh`, which is queued now, or the lookup that asks the same for the same loop.
    /// Throws:   std::bad_alloc; std::system_error when there is no thread and none can be started.
    Ref<Lookup> ask(Ref<Lookup> fresh);
    /// The system has refused a thread, and nobody knows whether those there are get on.
    [[gnu::cold, gnu::noinline]] bool is_short(const Lookup& lookup) noexcept {
        const Locked lock(mutex_);
        return is_short_ && lookup.is_queued_;
    }
    /// Again, for a lookup that may wait for nothing else.
    [[gnu::cold, gnu::noinline]] void try_again(const Lookup& lookup) noexcept {
        const Locked lock(mutex_);
        if (lookup.is_queued_) call_thread();
    }
    static constexpr Nanoseconds patience = 100'000'000;
    /// Nobody waits for it any more.
    static void give_up(Lookup& lookup) noexcept;

private:
    static constexpr unsigned usual_threads = 4;
    static constexpr unsigned most_threads = 32;
    static constexpr Nanoseconds longest_idle = 10'000'000'000;

    /// The lookups of one loop that wait for a thread.
    struct Line : ListNode<> {
        explicit Line(const Remote& of) : loop(of) {}
        const Remote loop;
        IntrusiveList<Lookup> lookups;
    };

    Resolver() noexcept = default;
    static Resolver& make();

    Lookup*& bucket_of(const Lookup& lookup) noexcept {
        return known_[std::hash<std::string_view>()(lookup.key_) % buckets];
    }
    Line* line_of(const Lookup& lookup) noexcept {
        Line* found = nullptr;
        lines_.for_each([&](Line& line) {
            if (line.loop == lookup.remote_) found = &line;
        });
        return found;
    }
    void enqueue(Lookup& lookup);
    void leave_line(Lookup& lookup, Line& line) noexcept;
    void forget(Lookup& lookup) noexcept;

    /// The next to be looked up; null when there is none, or too many are.
    Lookup* take() noexcept;
    int call_thread() noexcept;
    void work() noexcept;
    static void* work_on(void* resolver) noexcept;

    inline static constinit std::atomic<Resolver*> instance{nullptr};
    inline static constinit std::atomic<bool> watches_forks{false};
    static constexpr std::size_t buckets = 256;

    Mutex mutex_;
    ThreadCondition changed_;  // there is something for an idle thread to do
    IntrusiveList<Line> lines_;
    Lookup* known_[buckets] = {};  // queued or being looked up
    unsigned threads_ = 0;
    unsigned idle_ = 0;
    unsigned watching_ = 0;  // of the idle ones: those that wait for the others to get on
    unsigned busy_ = 0;
    unsigned may_be_busy_ = usual_threads;
    Nanoseconds last_progress_ = 0;  // when a lookup last began or ended
    bool is_short_ = false;          // the last thread that was wanted could not be had
};

/// Waits for the answer to a lookup.
class [[nodiscard]] LookupWait final : public Suspension, public ListNode<>, Timer {
public:
    [[gnu::cold]] explicit LookupWait(Ref<Lookup> fresh) noexcept
        : Timer(&due), lookup_(std::move(fresh)) {}
    [[gnu::cold]] ~LookupWait() { leave(); }

    bool await_ready() const noexcept { return false; }
    [[gnu::cold, gnu::noinline]] void await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        task_ = &loop.require_task();
        if (!task_->must_cancel) {
            lookup_ = Resolver::of_process().ask(std::move(lookup_));
            lookup_->waiting.push_back(*this);
            loop.count_thread_job();
            look_again_later();
        }
        loop.suspend(handle, *this);
        if (!linked()) loop.wake(*task_);
    }
    bool await_cancelled() const noexcept { return !answered_; }
    std::string await_object() const { return lookup_->text(); }
    /// Returns:  the answered lookup.
    [[gnu::cold, gnu::noinline]] Ref<Lookup> await_resume() const {
        check_leftover();
        if (!answered_) task_->loop->throw_cancelled();
        return lookup_;
    }

    TaskCore* cancel() noexcept override {
        if (!linked()) return nullptr;
        leave();
        task_->loop->wake(*task_);
        return nullptr;
    }
    WaitInfo describe() const noexcept override {
        return {"getaddrinfo", -1, nullptr, [](const Suspension& wait) {
                    return static_cast<const LookupWait&>(wait).await_object();
                }};
    }
    void answer() noexcept {
        end();
        answered_ = true;
        task_->loop->wake(*task_);
    }

private:
    [[gnu::cold, gnu::noinline]] void end() noexcept {
        unlink();
        task_->loop->discount_thread_job();
        if (armed()) task_->loop->disarm(*this);
    }
    void leave() noexcept {
        if (!linked()) return;
        end();
        if (lookup_->waiting.empty()) Resolver::give_up(*lookup_);
    }
    [[gnu::cold, gnu::noinline]] void look_again_later() noexcept {
        if (!Resolver::of_process().is_short(*lookup_)) return;
        EventLoop& loop = *task_->loop;
        try {
            loop.arm(*this, deadline_after(loop.read_clock(), Resolver::patience));
        } catch (const std::bad_alloc&) {
            // The next question asks for a thread again.
        }
    }
    static void due(Timer& timer) noexcept {
        auto& self = static_cast<LookupWait&>(timer);
        Resolver::of_process().try_again(*self.lookup_);
        self.look_again_later();
    }

    Ref<Lookup> lookup_;
    TaskCore* task_ = nullptr;
    bool answered_ = false;
};

[[gnu::cold]] WEFT_INLINE Resolver& Resolver::make() {
    Resolver* const fresh = new Resolver;
    Resolver* first = nullptr;
    if (!instance.compare_exchange_strong(first, fresh)) {
        delete fresh;  // another thread was faster
        return *first;
    }
    if (!watches_forks.exchange(true)) {
        ::pthread_atfork(nullptr, nullptr, [] { instance.store(nullptr); });
    }
    return *fresh;
}

[[gnu::cold]] WEFT_INLINE Ref<Lookup> Resolver::ask(Ref<Lookup> fresh) {
    const Locked lock(mutex_);
    Lookup*& bucket = bucket_of(*fresh);
    for (Lookup* known = bucket; known; known = known->next_known_) {
        if (known->asks_the_same(*fresh)) return Ref<Lookup>::to(*known);
    }
    enqueue(*fresh);
    fresh->next_known_ = std::exchange(bucket, &*fresh);
    if (const int error = call_thread(); error != 0 && threads_ == 0) {
        leave_line(*fresh, *line_of(*fresh));
        forget(*fresh);
        throw_system_error(error, concat({"pthread_create for ", fresh->text()}));
    }
    fresh->add_ref();  // ours, until it is answered or given up
    return fresh;
}

[[gnu::cold]] WEFT_INLINE void Resolver::give_up(Lookup& lookup) noexcept {
    Resolver* const resolver = instance.load(std::memory_order_acquire);
    if (!resolver) return;  // a forked child, and the lookup its parent's
    {
        const Locked lock(resolver->mutex_);
        Line* const line = resolver->line_of(lookup);
        if (!line || !lookup.is_queued_) return;
        resolver->leave_line(lookup, *line);
        resolver->forget(lookup);
    }
    lookup.release();
}

[[gnu::cold]] WEFT_INLINE void Resolver::enqueue(Lookup& lookup) {
    Line* line = line_of(lookup);
    if (!line) {
        line = new Line(lookup.remote_);
        lines_.push_back(*line);
    }
    line->lookups.push_back(lookup);
    lookup.is_queued_ = true;
}

[[gnu::cold]] WEFT_INLINE void Resolver::leave_line(Lookup& lookup, Line& line) noexcept {
    line.lookups.erase(lookup);
    lookup.is_queued_ = false;
    if (!line.lookups.empty()) return;
    lines_.erase(line);
    delete &line;
}

[[gnu::cold]] WEFT_INLINE void Resolver::forget(Lookup& lookup) noexcept {
    Lookup** place = &bucket_of(lookup);
    while (*place != &lookup) place = &(*place)->next_known_;
    *place = lookup.next_known_;
}

[[gnu::cold]] WEFT_INLINE Lookup* Resolver::take() noexcept {
    if (lines_.empty()) return nullptr;
    const Nanoseconds now = monotonic_now();
    if (busy_ >= may_be_busy_) {
        if (may_be_busy_ >= most_threads || now - last_progress_ < patience) return nullptr;
        ++may_be_busy_;
    }
    Line& line = lines_.front();
    Lookup& lookup = line.lookups.front();
    // The next one is another loop's.
    lines_.erase(line);
    lines_.push_back(line);
    leave_line(lookup, line);
    ++busy_;
    last_progress_ = now;
    return &lookup;
}

/// One that is idle, or else a fresh one: it takes what waits, or sees to it that the others do not
/// get stuck.
/// Returns:  the error of pthread_create, or 0.
[[gnu::cold, gnu::noinline]] WEFT_INLINE int Resolver::call_thread() noexcept {
    if (idle_ > 0) {
        changed_.notify_one();
        return 0;
    }
    if (threads_ >= most_threads || threads_ > may_be_busy_) return 0;
    pthread_t thread;
    const int error = try_start_thread(thread, &work_on, this);
    is_short_ = error != 0;
    if (error != 0) return error;
    ::pthread_detach(thread);
    ++threads_;
    return 0;
}

[[gnu::cold]] WEFT_INLINE void* Resolver::work_on(void* resolver) noexcept {
    ::pthread_setname_np(::pthread_self(), "weft resolver");
    static_cast<Resolver*>(resolver)->work();
    return nullptr;
}

[[gnu::cold]] WEFT_INLINE void Resolver::work() noexcept {
    mutex_.lock();
    Nanoseconds idle_since = monotonic_now();
    for (;;) {
        Lookup* const taken = take();
        if (!taken) {
            const bool nothing = lines_.empty();
            const Nanoseconds until =
                nothing ? idle_since + longest_idle : last_progress_ + patience;
            if (nothing && monotonic_now() >= until) break;
            ++idle_;
            watching_ += !nothing;
            changed_.wait_until(mutex_, until);
            watching_ -= !nothing;
            --idle_;
            continue;
        }
        // (If no thread can be started, whoever comes next tries again: to ask, or from a lookup.)
        if (!lines_.empty() && watching_ == 0) call_thread();
        mutex_.unlock();
        const Nanoseconds began = monotonic_now();
        taken->run();
        mutex_.lock();
        idle_since = last_progress_ = monotonic_now();
        --busy_;
        if (idle_since - began >= patience && may_be_busy_ > usual_threads) --may_be_busy_;
        forget(*taken);
        mutex_.unlock();
        {
            // (Its loop may have closed: then nobody waits for this answer any more.)
            const Ref<Lookup> answered(taken);
            static_cast<void>(taken->remote_.answer(std::move(taken->answer_), [answered] {
                answered->waiting.for_each([](LookupWait& wait) { wait.answer(); });
            }));
        }
        mutex_.lock();
    }
    --threads_;
    mutex_.unlock();
}

#endif

}  // namespace weft::detail
