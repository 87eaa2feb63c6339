// SPDX-License-Identifier: MIT
// SignalHub's bodies, and the loop's signal handlers.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <new>
#include <utility>

#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/thread.hpp"
#include "../context.hpp"
#include "../graceful_stop.hpp"
#include "../signal_hub.hpp"
#include "event_loop.hpp"
#include "loop_callbacks.hpp"

namespace weft {
namespace detail {

// --- the handler: async-signal-safe ---

[[gnu::cold]] WEFT_INLINE void SignalHub::handle(int signal) noexcept {
    const int saved = errno;
    Process& all = *process_.load(std::memory_order_acquire);
    all.in_handler.fetch_add(1, std::memory_order_seq_cst);
    for (std::atomic<SignalHub*>& slot : all.hubs) {
        SignalHub* const hub = slot.load(std::memory_order_seq_cst);
        if (hub) hub->note(signal);
    }
    all.in_handler.fetch_sub(1, std::memory_order_seq_cst);
    errno = saved;
}

[[gnu::cold]] WEFT_INLINE void SignalHub::note(int signal) noexcept {
    if ((wanted_.load(std::memory_order_seq_cst) >> (signal - 1) & 1) == 0) return;
    if (is_immediate(signal)) {
        // Blocked while this runs; it strikes when the handler returns.
        struct sigaction usual {};
        usual.sa_handler = SIG_DFL;
        ::sigaction(signal, &usual, nullptr);
        ::raise(signal);
        return;
    }
    counts_[signal].fetch_add(1, std::memory_order_relaxed);
    if (!posted_.exchange(true, std::memory_order_acq_rel)) inbox_->post_again(slab_->posts[0]);
}

/// Also takes note of it.
[[gnu::cold]] WEFT_INLINE bool SignalHub::is_immediate(int signal) noexcept {
    if ((taken_.load(std::memory_order_relaxed) >> (signal - 1) & 1) != 0) return false;
    for (Patience& one : patience_) {
        if (one.signal.load(std::memory_order_acquire) == signal)
            return one.left.fetch_sub(1, std::memory_order_relaxed) <= 0;
    }
    return false;
}

// --- on the loop's thread ---

[[gnu::cold]] WEFT_INLINE void SignalHub::immediate_after(int times, int signal) noexcept {
    for (Patience& one : patience_) {
        const int of = one.signal.load(std::memory_order_relaxed);
        if (of != 0 && of != signal) continue;
        one.left.store(times, std::memory_order_relaxed);
        return one.signal.store(signal, std::memory_order_release);
    }
}
[[gnu::cold]] WEFT_INLINE void SignalHub::never_immediate() noexcept {
    for (Patience& one : patience_) one.signal.store(0, std::memory_order_relaxed);
}

WEFT_INLINE void SignalHub::act(Post& post, Post::Verb verb) {
    SignalHub* hub = nullptr;
    std::memcpy(&hub, post.storage, sizeof hub);
    hub->slab_->left.store(endless, std::memory_order_relaxed);
    hub->posted_.exchange(false, std::memory_order_acq_rel);  // (reads: to see what was counted)
    // When the loop closes, what it was not told of is raised again, see `uninstall`.
    if (verb == Post::Verb::run && !hub->inbox_->is_closed()) hub->tell();
}

WEFT_INLINE void SignalHub::tell() noexcept {
    for (int signal = 1; signal <= SignalSet::largest; ++signal) {
        std::uint32_t count = counts_[signal].load(std::memory_order_relaxed);
        if (count == 0) [[likely]]
            continue;
        count = counts_[signal].exchange(0, std::memory_order_acq_rel);
        for (; count > 0; --count) tell_all(signal);
    }
}

/// Whoever is told may make any other watch leave: a cancel ends the wait for a signal.
[[gnu::cold]] WEFT_INLINE void SignalHub::tell_all(int signal) noexcept {
    const bool has_taker = this->has_taker(signal);
    SignalWatch told(nullptr);  // stands behind those that were told
    SignalWatch end(nullptr);   // who comes meanwhile is not told of this one
    // (Inlined, g++ 12 warns that a link to `end` would outlive it.)
    const auto enclose = [&]() __attribute__((noinline)) {
        watches_.push_front(told);
        watches_.push_back(end);
    };
    enclose();
    while (told.next != static_cast<ListNode<>*>(&end)) {
        auto& watch = static_cast<SignalWatch&>(*told.next);
        watch.unlink();
        watch.link_before(told);
        if (!watch.signals.has(signal)) continue;
        if (!has_taker || !watch.gives_way.has(signal)) watch.arrived(watch, signal);
    }
    told.unlink();
    end.unlink();
}

[[gnu::cold]] WEFT_INLINE SignalHub::SignalHub(Ref<Inbox> inbox)
    : inbox_(std::move(inbox)), slab_(new PostSlab) {
    watch_forks();
    slab_->left.store(endless, std::memory_order_relaxed);
    Post& post = slab_->posts[0];
    SignalHub* const self = this;
    std::memcpy(post.storage, &self, sizeof self);
    post.act = &act;
    Process& all = process();
    generation_ = all.generation.load(std::memory_order_relaxed);
    for (std::atomic<SignalHub*>& slot : all.hubs) {
        SignalHub* none = nullptr;
        if (slot.compare_exchange_strong(none, this, std::memory_order_seq_cst)) return;
    }
    throw_runtime_error("weft: too many event loops that handle signals");
}

[[gnu::cold]] WEFT_INLINE SignalHub::~SignalHub() {
    Process& all = process();
    while (!watches_.empty()) remove(watches_.front());
    if (generation_ != all.generation.load(std::memory_order_relaxed)) return;  // the parent's
    for (std::atomic<SignalHub*>& slot : all.hubs) {
        SignalHub* self = this;
        slot.compare_exchange_strong(self, nullptr, std::memory_order_seq_cst);
    }
    // A handler that runs on another thread may have seen us.
    while (all.in_handler.load(std::memory_order_seq_cst) > 0) ::sched_yield();
}

[[gnu::cold]] WEFT_INLINE void SignalHub::add(SignalWatch& watch, SignalSet signals) {
    // (Who waits for none would wait for ever.)
    if (signals.empty()) throw_system_error(EINVAL, "signal: none is named");
    int signal = 1;
    try {
        for (; signal <= SignalSet::largest; ++signal) {
            if (!signals.has(signal)) continue;
            install(signal);
            watch.signals.add(signal);
        }
    } catch (...) {
        for (int begun = 1; begun < signal; ++begun) {
            if (signals.has(begun)) uninstall(begun);
        }
        watch.signals = {};
        throw;
    }
    watch.hub = this;
    watches_.push_back(watch);
    note_takers();
}

[[gnu::cold]] WEFT_INLINE void SignalHub::remove(SignalWatch& watch) noexcept {
    watch.unlink();
    watch.hub = nullptr;
    const SignalSet signals = std::exchange(watch.signals, {});
    note_takers();
    if (generation_ != process().generation.load(std::memory_order_relaxed))
        return;  // the parent's
    for (int signal = 1; signal <= SignalSet::largest; ++signal) {
        if (signals.has(signal)) uninstall(signal);
    }
}

[[gnu::cold]] WEFT_INLINE bool SignalHub::is_wanted(int signal) noexcept {
    bool wanted = false;
    watches_.for_each(
        [&](const SignalWatch& watch) { wanted = wanted || watch.signals.has(signal); });
    return wanted;
}

[[gnu::cold]] WEFT_INLINE bool SignalHub::has_taker(int signal) noexcept {
    return watches_.any_of([signal](const SignalWatch& watch) {
        return !watch.is_the_runs && watch.signals.has(signal);
    });
}

[[gnu::cold]] WEFT_INLINE void SignalHub::note_takers() noexcept {
    std::uint64_t taken = 0;
    watches_.for_each([&](const SignalWatch& watch) {
        if (!watch.is_the_runs) taken |= watch.signals.bits();
    });
    taken_.store(taken, std::memory_order_relaxed);
}

[[gnu::cold]] WEFT_INLINE void SignalHub::install(int signal) {
    Process& all = process();
    const Locked lock(all.mutex);
    Disposition& disposition = all.dispositions[signal];
    if (disposition.users == 0) {
        struct sigaction ours {};
        ours.sa_handler = &handle;
        ours.sa_flags = SA_RESTART | SA_ONSTACK;
        ::sigfillset(&ours.sa_mask);
        if (::sigaction(signal, &ours, &disposition.before) != 0)
            throw_system_error(errno, concat({"sigaction signal ", decimal(signal)}));
    }
    ++disposition.users;
    wanted_.fetch_or(std::uint64_t{1} << (signal - 1), std::memory_order_seq_cst);
}

[[gnu::cold]] WEFT_INLINE void SignalHub::uninstall(int signal) noexcept {
    Process& all = process();
    {
        const Locked lock(all.mutex);
        Disposition& disposition = all.dispositions[signal];
        if (--disposition.users == 0) {
            struct sigaction now {};
            if (::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == &handle)
                ::sigaction(signal, &disposition.before, nullptr);
        }
    }
    if (is_wanted(signal)) return;
    wanted_.fetch_and(~(std::uint64_t{1} << (signal - 1)), std::memory_order_seq_cst);
    while (all.in_handler.load(std::memory_order_seq_cst) > 0) ::sched_yield();
    for (std::uint32_t count = counts_[signal].exchange(0); count > 0; --count) ::raise(signal);
}

// --- the process ---

[[gnu::cold]] WEFT_INLINE SignalHub::Process& SignalHub::process() {
    Process* all = process_.load(std::memory_order_acquire);
    if (all) return *all;
    Owned<Process> fresh(new Process);
    if (process_.compare_exchange_strong(all, fresh.get(), std::memory_order_acq_rel))
        return *fresh.release();
    return *all;
}

/// A forked child has none of its parent's loops: the handlers of before are put back, before any
/// signal can meet ours.
[[gnu::cold]] WEFT_INLINE void SignalHub::watch_forks() {
    static const int forks = ::pthread_atfork(
        [] {
            Process& all = process();
            sigset_t everything;
            ::sigfillset(&everything);
            sigset_t before;
            ::pthread_sigmask(SIG_SETMASK, &everything, &before);
            all.mutex.lock();
            all.mask_at_fork = before;
        },
        [] {
            Process& all = process();
            const sigset_t before = all.mask_at_fork;
            all.mutex.unlock();
            ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        },
        [] {
            Process& all = process();
            for (std::atomic<SignalHub*>& slot : all.hubs) slot.store(nullptr);
            for (int signal = 1; signal <= SignalSet::largest; ++signal) {
                Disposition& disposition = all.dispositions[signal];
                if (std::exchange(disposition.users, 0U) > 0)
                    ::sigaction(signal, &disposition.before, nullptr);
            }
            all.in_handler.store(0);
            all.generation.fetch_add(1);
            const sigset_t before = all.mask_at_fork;
            all.mutex.unlock();
            ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        });
    if (forks != 0) throw_system_error(forks, "pthread_atfork");
}

// --- handlers of asyncio's kind ---

/// Lives while it is set and while a call of it is scheduled.
struct SignalHandler : SignalWatch, Counted<SignalHandler>, ListNode<SignalHandler> {
    SignalHandler(EventLoop& on, int of, Callback<void()> call)
        : SignalWatch(&scheduled),
          loop(&on),
          signal(of),
          context(on.context_here()),
          fn(std::move(call)) {}

    static void scheduled(SignalWatch& watch, int) noexcept {
        auto& self = static_cast<SignalHandler&>(watch);
        try {
            self.loop->call_soon([held = Ref<SignalHandler>::to(self)] { held->call(); });
        } catch (...) {
            self.loop->call_exception_handler(
                {"a signal handler could not be scheduled", std::current_exception(), {}});
        }
    }
    void call() {
        if (!set) return;
        ContextRef own(context.get());
        const AmbientScope scope(own);
        fn();
    }

    EventLoop* loop;
    const int signal;
    bool set = true;
    ContextRef context;
    Callback<void()> fn;
};

/// What few loops have.
struct LoopExtras {
    explicit LoopExtras(const Ref<Inbox>& inbox) : hub(inbox) {}
    LoopExtras(const LoopExtras&) = delete;
    LoopExtras& operator=(const LoopExtras&) = delete;
    ~LoopExtras() {
        handlers.for_each([this](SignalHandler& handler) { end(handler); });
    }
    void end(SignalHandler& handler) noexcept {
        handler.set = false;
        handler.leave();
        static_cast<ListNode<SignalHandler>&>(handler).unlink();
        handler.release();
    }

    SignalHub hub;
    IntrusiveList<SignalHandler, SignalHandler> handlers;
    GracefulStop stop;
};

}  // namespace detail

[[gnu::cold]] WEFT_INLINE detail::LoopExtras& EventLoop::extras() {
    check_open("signals");
    if (!extras_) extras_.reset(new detail::LoopExtras(inbox_));
    return *extras_;
}
WEFT_INLINE detail::SignalHub& EventLoop::signal_hub() { return extras().hub; }
WEFT_INLINE detail::GracefulStop& EventLoop::graceful_stop() { return extras().stop; }

[[gnu::cold]] WEFT_INLINE void EventLoop::set_signal_handler(int signal,
                                                             detail::Callback<void()> call) {
    const SignalSet one(signal);
    detail::LoopExtras& extras = this->extras();
    detail::Ref<detail::SignalHandler> handler(
        new detail::SignalHandler(*this, signal, std::move(call)));
    extras.hub.add(*handler, one);
    remove_signal_handler(signal);
    extras.handlers.push_back(*handler.leak());
}

[[gnu::cold]] WEFT_INLINE bool EventLoop::remove_signal_handler(int signal) noexcept {
    bool found = false;
    if (!extras_) return found;
    extras_->handlers.for_each([&](detail::SignalHandler& handler) {
        if (handler.signal != signal) return;
        found = true;
        extras_->end(handler);
    });
    return found;
}

}  // namespace weft
