// SPDX-License-Identifier: MIT
// Pool<T>: resources that are costly to make (connections), lent to one task at a time.
// Long because: a pool, its leases and their shared state are templates that know each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/callback.hpp"
#include "../base/clock.hpp"
#include "../base/error.hpp"
#include "../base/owned.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/handle.hpp"
#include "../runtime/loop.hpp"
#include "../sync/event.hpp"
#include "../sync/semaphore.hpp"
#include "../task/coro.hpp"
#include "../task/task.hpp"
#include "detail/cancel_watch.hpp"

namespace weft {

/// `acquire` from a pool that is closed.
class PoolClosed : public RuntimeError {
public:
    PoolClosed() : RuntimeError("the pool is closed") {}
};

template <class T = void>
struct PoolOptions;

/// What needs no type of resource: `weft::Pool<Connection> pool(connect, weft::PoolOptions(4));`
/// Not an aggregate: see TaskOptions.
template <>
struct PoolOptions<void> {
    explicit PoolOptions(std::size_t most = 10, Duration unused = Duration(0)) noexcept
        : max_size(most), idle_timeout(unused) {}

    /// Resources that are lent or kept. One that is being closed does not count any more.
    std::size_t max_size;
    /// A resource that nobody has used for that long is closed; 0: they are kept.
    Duration idle_timeout;
};

/// With what is done to a resource: `weft::Pool<Connection>::Options options(4);`
template <class T>
struct PoolOptions : PoolOptions<void> {
    explicit PoolOptions(std::size_t most = 10, Duration unused = Duration(0)) noexcept
        : PoolOptions<void>(most, unused) {}
    // NOLINTNEXTLINE(google-explicit-constructor): so that T need not be named.
    PoolOptions(const PoolOptions<void>& untyped) noexcept : PoolOptions<void>(untyped) {}

    /// Asked before a resource is lent again. False or an exception: it is closed, and the next
    /// one is tried, or a new one made.
    detail::Callback<Coro<bool>(T&)> check;
    /// Ends a resource; runs in a task of its own, and its failure is reported like that of any
    /// task. Empty: the destructor is enough.
    detail::Callback<Coro<void>(T&)> close;
};

template <class T>
class PoolLease;

namespace detail {
template <class T>
struct PoolCore;
}  // namespace detail

/// Makes resources when they are needed, lends each to one task at a time, and keeps those that
/// were given back for the next one.
///
///     weft::Pool<Connection> pool(connect, options);
///     auto lease = co_await pool.acquire();
///     co_await lease->query("...");
///
/// The task that waits longest is served first. A resource is moved once, to where it is kept; from
/// then on its address does not change.
/// Thread:   loop thread only. Leases may outlive the pool; what they give back then is closed.
template <class T>
class Pool {
    using Core = detail::PoolCore<T>;

public:
    using Lease = PoolLease<T>;
    using Options = PoolOptions<T>;

    /// `make()` returns a Coro<T>.
    /// Throws:   std::invalid_argument for options that make no sense.
    template <class Make>
    explicit Pool(Make make, std::type_identity_t<Options> options = Options());
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    /// Closes it without waiting (`close()` waits). Acquires that wait throw PoolClosed, which is a
    /// RuntimeError.
    ~Pool() { core_->shut(); }

    /// Lends a resource that was given back; makes one if there is none; waits first while
    /// `max_size` resources are lent.
    /// Throws:   PoolClosed; CancelledError; what `make` throws (then the next waiter is served).
    /// Cancel:   lossless: a resource is lent, or stays in the pool. A resource whose `check` is
    ///           interrupted is closed, because its state is not known then.
    Coro<Lease> acquire() { return lend(core_); }
    /// Lends a resource that was given back, without waiting. The lease is empty when there is none
    /// (to make one takes a wait), when the pool is closed, and always when the options have a
    /// `check`, which has to be awaited.
    [[nodiscard]] Lease try_acquire();

    /// No more acquires: those that wait throw PoolClosed. Closes what is idle, and waits until
    /// all leases are given back and all resources closed. Idempotent.
    /// Cancel:   ends the wait alone; the pool stays closed.
    Coro<void> close();
    bool closed() const noexcept { return core_->closed; }

    std::size_t idle() const noexcept { return core_->idle.size(); }
    std::size_t lent() const noexcept { return core_->lent; }
    std::size_t waiting() const noexcept { return core_->permits.statistics().waiters; }
    /// Nothing is lent, kept or being made, and nobody is about to have one.
    bool is_unused() const noexcept {
        return idle() == 0 && core_->permits.statistics().available == core_->options.max_size;
    }

private:
    static Coro<Lease> lend(typename Core::Shared core);
    static Coro<void> wait_until_quiet(typename Core::Shared core);

    typename Core::Shared core_;
};

// `weft::Pool pool(connect);` lends what `connect()` makes.
template <class Make>
Pool(Make) -> Pool<typename std::invoke_result_t<Make&>::value_type>;
template <class Make, class Options>
Pool(Make, Options) -> Pool<typename std::invoke_result_t<Make&>::value_type>;

/// A resource that was lent by a pool, and is given back when the lease is destroyed. Movable;
/// empty when moved from.
template <class T>
class [[nodiscard]] PoolLease {
    using Core = detail::PoolCore<T>;

public:
    PoolLease() noexcept {}
    /// For the pool.
    PoolLease(typename Core::Busy busy, Semaphore::Guard permit,
              typename Core::Resource resource) noexcept
        : core_(busy.core),
          busy_(std::move(busy)),
          permit_(std::move(permit)),
          resource_(std::move(resource)) {
        ++core_->lent;
    }
    PoolLease(PoolLease&& other) noexcept = default;
    PoolLease& operator=(PoolLease&& other) noexcept {
        PoolLease(std::move(other)).swap(*this);
        return *this;
    }
    ~PoolLease() { release(); }

    /// Throws:   RuntimeError when it is empty: moved from, given back, or from a failed
    ///           `try_acquire`.
    T& operator*() const {
        if (!resource_) [[unlikely]]
            detail::throw_runtime_error("weft: the lease is empty");
        return *resource_;
    }
    T* operator->() const { return std::addressof(**this); }
    explicit operator bool() const noexcept { return static_cast<bool>(resource_); }

    /// Gives the resource back before the lease goes. Does nothing when it is empty.
    void release() noexcept {
        if (!resource_) return;
        core_->give_back(std::move(resource_));
        let_go();
    }
    /// The resource is broken: it is closed and not lent again. Does nothing when it is empty.
    void discard() noexcept {
        if (!resource_) return;
        core_->end(std::move(resource_));
        let_go();
    }
    void swap(PoolLease& other) noexcept {
        std::swap(core_, other.core_);
        std::swap(busy_, other.busy_);
        permit_.swap(other.permit_);
        std::swap(resource_, other.resource_);
    }

private:
    void let_go() noexcept {
        resource_.reset();
        --core_->lent;
        // Only now, when the resource is back in the pool, the next task is woken to look for one.
        permit_ = Semaphore::Guard();
        busy_ = typename Core::Busy();
    }

    typename Core::Shared core_;
    typename Core::Busy busy_;
    Semaphore::Guard permit_;  // of the core's semaphore
    typename Core::Resource resource_;
};

namespace detail {

/// The state of a pool. The pool, its leases and the tasks that close resources share it: they may
/// be destroyed in any order (leases may outlive the pool, and so do tasks of a loop that is closed
/// before they have ended).
template <class T>
struct PoolCore : Counted<PoolCore<T>> {
    using Resource = Owned<T>;
    using Shared = Ref<PoolCore>;

    struct Idle {
        Idle(Resource&& of, TimePoint when) noexcept : resource(std::move(of)), since(when) {}
        Resource resource;
        TimePoint since;
    };

    /// Counts what `Pool::close` waits for: leases, acquires that have their permit, resources that
    /// are being closed.
    class Busy {
    public:
        Busy() noexcept {}
        explicit Busy(Shared of) noexcept : core(std::move(of)) { ++core->busy; }
        Busy(Busy&&) noexcept = default;
        Busy& operator=(Busy&& other) noexcept {
            std::swap(core, other.core);
            return *this;
        }
        ~Busy() {
            if (core && --core->busy == 0) core->quiet.set();
        }
        Shared core;
    };

    PoolCore(Callback<Coro<T>()> make_one, PoolOptions<T> with)
        : make(std::move(make_one)),
          options(std::move(with)),
          permits(static_cast<std::ptrdiff_t>(options.max_size)) {}

    void require_open() const {
        if (closed) throw PoolClosed();
    }

    /// The resource that was used last, so that those not needed reach `idle_timeout`. Null when
    /// there is none.
    Resource take_idle() noexcept {
        if (idle.empty()) return {};
        Resource resource = std::move(idle.back().resource);
        idle.pop_back();
        if (idle.empty()) stop_watching();
        return resource;
    }

    /// Called before a resource is made, so that `give_back` needs no memory.
    void make_room() {
        const std::size_t needed = busy + idle.size();
        if (idle.capacity() < needed) idle.reserve(needed * 2);
    }
    void give_back(Resource&& resource) noexcept {
        if (closed) return end(std::move(resource));
        try {
            EventLoop& loop = get_running_loop();
            idle.emplace_back(std::move(resource), loop.time());
            if (!watching) watch(loop);
        } catch (...) {
            // Without a loop it is destroyed; without memory for the timer it is kept for longer.
        }
    }

    /// What the timer calls. Where its loop goes before it is due, the next loop sets another.
    class Watch {
    public:
        Watch(Shared of, std::uint32_t own) noexcept : core_(std::move(of)), number_(own) {}
        Watch(Watch&& other) noexcept : core_(std::move(other.core_)), number_(other.number_) {}
        Watch& operator=(Watch&&) = delete;
        ~Watch() {
            if (core_ && core_->watch_number == number_) core_->watching = false;
        }
        void operator()() { core_->expire(); }

    private:
        Shared core_;
        std::uint32_t number_;
    };

    /// Arms the timer for what is idle longest, in front: resources are lent from the list's end.
    void watch(EventLoop& loop) {
        if (options.idle_timeout <= Duration(0) || idle.empty()) return;
        timer = loop.call_at(end_of_limit(idle.front().since, options.idle_timeout),
                             Watch(Shared::to(*this), ++watch_number));
        watching = true;
    }
    void stop_watching() noexcept {
        timer.cancel();
        watching = false;
    }
    void expire() {
        const Shared alive = Shared::to(*this);
        watching = false;
        EventLoop& loop = get_running_loop();
        const TimePoint now = loop.time();
        std::size_t old = 0;
        while (old < idle.size() && end_of_limit(idle[old].since, options.idle_timeout) <= now)
            end(std::move(idle[old++].resource));
        idle.erase(idle.begin(), idle.begin() + static_cast<std::ptrdiff_t>(old));
        watch(loop);
    }

    static Coro<void> close_one(Busy busy, Resource resource) {
        co_await busy.core->options.close(*resource);
    }
    /// The resource is destroyed, or given to a new task that closes it.
    void end(Resource resource) noexcept {
        if (!resource || !options.close) return;
        try {
            (void)create_task(close_one(Busy(Shared::to(*this)), std::move(resource)),
                              TaskOptions().eager(false));
        } catch (...) {
            // The loop is closed, so nothing can be awaited any more: the resource is destroyed.
        }
    }
    /// Closes the pool. One permit is enough for all acquires that wait: each wakes up with it,
    /// finds the pool closed, and passes the permit on.
    void shut() noexcept {
        if (closed) return;
        closed = true;
        permits.release();
        stop_watching();
        std::vector<Idle> all;
        all.swap(idle);
        for (Idle& one : all) end(std::move(one.resource));
    }

    Callback<Coro<T>()> make;
    PoolOptions<T> options;
    Semaphore permits;  // to hold a resource, or to make one
    std::vector<Idle> idle;
    TimerHandle timer;
    Event quiet;
    std::size_t busy = 0;
    std::size_t lent = 0;
    std::uint32_t watch_number = 0;
    bool watching = false;  // the timer is armed
    bool closed = false;
};

}  // namespace detail

template <class T>
template <class Make>
Pool<T>::Pool(Make make, std::type_identity_t<Options> options) {
    if (options.max_size == 0) throw std::invalid_argument("weft: Pool: max_size is 0");
    if (options.idle_timeout < Duration(0))
        throw std::invalid_argument("weft: Pool: a negative idle_timeout");
    core_ = typename Core::Shared(new Core(std::move(make), std::move(options)));
}

template <class T>
Coro<PoolLease<T>> Pool<T>::lend(typename Core::Shared core) {
    core->require_open();
    Semaphore::Guard permit = co_await core->permits.scoped();
    core->require_open();
    typename Core::Busy busy(core);
    while (typename Core::Resource kept = core->take_idle()) {
        bool usable = !core->options.check;
        if (!usable) {
            const detail::CancelWatch cancel;
            try {
                usable = co_await core->options.check(*kept);
            } catch (const CancelledError&) {
                core->end(std::move(kept));
                throw;
            } catch (...) {
                if (cancel.has_struck()) {
                    core->end(std::move(kept));
                    throw;
                }
                // as if it had returned false
            }
        }
        if (usable) co_return Lease(std::move(busy), std::move(permit), std::move(kept));
        core->end(std::move(kept));
    }
    core->make_room();
    T made = co_await core->make();
    detail::Owned<T> resource(new T(std::move(made)));
    co_return Lease(std::move(busy), std::move(permit), std::move(resource));
}

template <class T>
PoolLease<T> Pool<T>::try_acquire() {
    Core& core = *core_;
    if (core.idle.empty() || core.options.check || !core.permits.try_acquire()) return Lease();
    Semaphore::Guard permit(core.permits);
    return Lease(typename Core::Busy(core_), std::move(permit), core.take_idle());
}

template <class T>
Coro<void> Pool<T>::close() {
    core_->shut();
    return wait_until_quiet(core_);
}

template <class T>
Coro<void> Pool<T>::wait_until_quiet(typename Core::Shared core) {
    while (core->busy > 0) {
        core->quiet.clear();
        co_await core->quiet.wait();
    }
}

}  // namespace weft
