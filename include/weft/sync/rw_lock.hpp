// SPDX-License-Identifier: MIT
// RwLock: many readers or one writer, in the order of arrival, so that neither kind starves.
#pragma once

#include <coroutine>
#include <cstddef>
#include <source_location>
#include <type_traits>
#include <utility>
#include <vector>

#include "../task/task.hpp"
#include "detail/guard.hpp"
#include "detail/holder.hpp"
#include "reserving_queue.hpp"

namespace weft {

class RwLock;

struct RwLockStatistics {
    RwLockStatistics(std::size_t reading, bool is_written, std::size_t waiting,
                     AnyTask holder) noexcept
        : readers(reading), written(is_written), waiters(waiting), owner(std::move(holder)) {}
    std::size_t readers;
    bool written;
    std::size_t waiters;
    AnyTask owner;  ///< the writer, where it is known: in debug mode
};

namespace detail {

enum class Access : bool { read, write };
class RwLockWait;
template <Access access, class Guard>
class RwLockAwaiter;
struct ReleaseRead;
struct ReleaseWrite;

}  // namespace detail

/// Many tasks may read at a time, or one may write.
///
/// There is one queue for both kinds: a reader that comes after a waiting writer waits behind it,
/// and once the writer is done all readers up to the next waiting writer go on together. So a task
/// that reads must not ask to read again: with a writer between the two, it would wait for itself.
///
/// Debug mode keeps who writes and who reads since where, and reports tasks that wait for each
/// other in a circle. (Where a task releases what another one acquired for reading, it no longer
/// knows which of the readers are left, and forgets all of them.) Destroyed with tasks that wait,
/// it wakes them with a RuntimeError.
/// Thread:   loop thread only.
class RwLock : detail::ReservingQueue {
public:
    using ReadGuard = detail::Guard<RwLock, detail::ReleaseRead>;
    using WriteGuard = detail::Guard<RwLock, detail::ReleaseWrite>;

    RwLock() noexcept = default;

    /// `auto guard = co_await lock.read();` Waits until no writer has it or waits for it.
    /// Throws:   RuntimeError when the lock is destroyed meanwhile; CancelledError.
    /// Cancel:   lossless: leaves the queue, or returns with the lock.
    detail::RwLockAwaiter<detail::Access::read, ReadGuard> read(
        std::source_location place = std::source_location::current()) noexcept;
    /// `auto guard = co_await lock.write();` Waits until nobody else has it.
    /// Throws:   RuntimeError when the lock is destroyed meanwhile; CancelledError.
    /// Cancel:   lossless: leaves the queue, or returns with the lock.
    detail::RwLockAwaiter<detail::Access::write, WriteGuard> write(
        std::source_location place = std::source_location::current()) noexcept;
    /// Without a guard.
    /// Cancel:   like `read`.
    detail::RwLockAwaiter<detail::Access::read, void> acquire_read(
        std::source_location place = std::source_location::current()) noexcept;
    /// Without a guard.
    /// Cancel:   like `write`.
    detail::RwLockAwaiter<detail::Access::write, void> acquire_write(
        std::source_location place = std::source_location::current()) noexcept;
    /// Without waiting. False: a task writes, or waits.
    [[nodiscard]] bool try_acquire_read(
        const std::source_location& place = std::source_location::current()) noexcept;
    /// Without waiting. False: a task has it.
    [[nodiscard]] bool try_acquire_write(
        const std::source_location& place = std::source_location::current()) noexcept;

    /// Throws:   RuntimeError when nobody reads.
    void release_read();
    /// Throws:   RuntimeError when nobody writes.
    void release_write();

    bool locked() const noexcept { return readers_ > 0 || !writer_.nobody(); }
    std::size_t readers() const noexcept { return readers_; }
    bool written() const noexcept { return !writer_.nobody(); }
    RwLockStatistics statistics() const noexcept;

private:
    friend class detail::RwLockWait;
    template <detail::Access, class>
    friend class detail::RwLockAwaiter;

    void serve() noexcept;
    void name_reader(detail::TaskCore* task, const std::source_location& place) noexcept;
    void release_named_read();

    std::size_t readers_ = 0;
    detail::Holder writer_;
    std::vector<detail::Holder> named_readers_;  // in debug mode: those of which it is known
};

namespace detail {

/// The node of a task that waits to read or to write.
class RwLockWait final : public HeldWait {
public:
    RwLockWait(RwLock& lock, Access access, const std::source_location& place) noexcept;
    ~RwLockWait() {
        if (state() != State::idle) [[unlikely]]
            leave();
    }
    const char* what() const noexcept override {
        return access_ == Access::read ? "lock for reading" : "lock for writing";
    }
    inline const Holder* awaited_holder(std::size_t index) const noexcept override;
    inline TaskCore* cancel() noexcept override;
    void begin(std::coroutine_handle<> handle) { wait_for_holders(handle); }
    void finish() { finish_wait(); }

private:
    friend class weft::RwLock;
    RwLock& lock() const noexcept;
    void leave() noexcept;
    Access access_;
};

/// What the four calls that wait return; `Guard` is void for those without a guard. It holds an
/// RwLockWait, which is made only when the task has to wait.
template <Access access, class Guard>
class [[nodiscard]] [[gnu::warn_unused]] RwLockAwaiter final : public LazyWait<RwLockWait> {
public:
    RwLockAwaiter(RwLock& lock, const std::source_location& place) noexcept
        : lock_(lock), place_(place) {}
    bool await_ready() noexcept { return may_go_on() && !is_behind_granted() && try_take(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    void begin_wait(std::coroutine_handle<> handle) { begin(lock_, access, place_).begin(handle); }
    void grant_here(std::coroutine_handle<> handle) noexcept {
        begin(lock_, access, place_).grant_here(handle);
    }
    bool try_take() noexcept;
    bool is_behind_granted() const noexcept;
    void give_back() noexcept;
    Guard await_resume() {
        finish();
        if constexpr (!std::is_void_v<Guard>) return Guard(lock_);
    }

private:
    RwLock& lock_;
    std::source_location place_;
};

struct ReleaseRead {
    template <class T>
    static void release(T& held) {
        held.release_read();
    }
};
struct ReleaseWrite {
    template <class T>
    static void release(T& held) {
        held.release_write();
    }
};

}  // namespace detail

inline detail::RwLockAwaiter<detail::Access::read, RwLock::ReadGuard> RwLock::read(
    std::source_location place) noexcept {
    return detail::RwLockAwaiter<detail::Access::read, ReadGuard>(*this, place);
}

inline detail::RwLockAwaiter<detail::Access::write, RwLock::WriteGuard> RwLock::write(
    std::source_location place) noexcept {
    return detail::RwLockAwaiter<detail::Access::write, WriteGuard>(*this, place);
}

inline detail::RwLockAwaiter<detail::Access::read, void> RwLock::acquire_read(
    std::source_location place) noexcept {
    return detail::RwLockAwaiter<detail::Access::read, void>(*this, place);
}

inline detail::RwLockAwaiter<detail::Access::write, void> RwLock::acquire_write(
    std::source_location place) noexcept {
    return detail::RwLockAwaiter<detail::Access::write, void>(*this, place);
}

inline bool RwLock::try_acquire_read(const std::source_location& place) noexcept {
    if (!writer_.nobody() || !empty()) return false;
    ++readers_;
    const EventLoop* const loop = EventLoop::running();
    if (loop && loop->debug()) [[unlikely]]
        name_reader(loop->current_task(), place);
    return true;
}

inline bool RwLock::try_acquire_write(const std::source_location& place) noexcept {
    if (!writer_.nobody() || readers_ > 0) return false;
    const EventLoop* const loop = EventLoop::running();
    if (loop && loop->debug()) [[unlikely]] {
        writer_.set(loop->current_task(), place);
    } else {
        writer_.set_nameless();
    }
    return true;
}

inline void RwLock::release_read() {
    if (readers_ == 0) [[unlikely]]
        detail::throw_runtime_error("RwLock::release_read: it is not locked for reading");
    --readers_;
    if (!named_readers_.empty()) [[unlikely]]
        return release_named_read();
    if (readers_ == 0) serve();
}

inline void RwLock::release_write() {
    if (writer_.nobody()) [[unlikely]]
        detail::throw_runtime_error("RwLock::release_write: it is not locked for writing");
    detail::TaskCore* const named = writer_.forget();
    serve();
    if (named) [[unlikely]]
        named->release();
}

inline RwLockStatistics RwLock::statistics() const noexcept {
    detail::TaskCore* const owner = writer_.task();
    return RwLockStatistics(readers_, written(), count(), owner ? AnyTask(*owner) : AnyTask());
}

/// Whoever may go on now: a writer, or readers up to the next writer.
inline void RwLock::serve() noexcept {
    while (!empty() && writer_.nobody()) {
        auto& next = static_cast<detail::RwLockWait&>(front());
        if (next.access_ == detail::Access::read) {
            ++readers_;
            if (next.task().loop->debug()) [[unlikely]]
                name_reader(&next.task(), next.place());
        } else if (readers_ > 0) {
            return;
        } else if (next.task().loop->debug()) [[unlikely]] {
            writer_.set(&next.task(), next.place());
        } else {
            writer_.set_nameless();
        }
        grant_first();
    }
}

[[gnu::cold, gnu::noinline]] inline void RwLock::name_reader(
    detail::TaskCore* task, const std::source_location& place) noexcept {
    try {
        named_readers_.emplace_back().set(task, place);
    } catch (const std::bad_alloc&) {
        // One reader less in a report.
    }
}

/// Debug mode. The name that is forgotten is released at the very end, see Holder::forget.
[[gnu::cold, gnu::noinline]] inline void RwLock::release_named_read() {
    const EventLoop* const loop = EventLoop::running();
    const detail::TaskCore* const task = loop ? loop->current_task() : nullptr;
    std::vector<detail::Holder> forgotten;
    detail::Holder one;
    auto at = named_readers_.end();
    while (at != named_readers_.begin() && (at - 1)->task() != task) --at;
    if (task && at != named_readers_.begin()) {
        one = std::move(*(at - 1));
        named_readers_.erase(at - 1);
    } else {
        forgotten.swap(named_readers_);  // of a task that does not read: whose is unknown
    }
    if (readers_ == 0) serve();
}

namespace detail {

inline RwLockWait::RwLockWait(RwLock& lock, Access access,
                              const std::source_location& place) noexcept
    : HeldWait(lock, place), access_(access) {}

inline RwLock& RwLockWait::lock() const noexcept { return static_cast<RwLock&>(queue()); }

inline const Holder* RwLockWait::awaited_holder(std::size_t index) const noexcept {
    const RwLock& held = lock();
    if (held.written()) return index == 0 ? &held.writer_ : nullptr;
    return index < held.named_readers_.size() ? &held.named_readers_[index] : nullptr;
}

/// A writer that leaves may have been all that the readers behind it waited for.
inline TaskCore* RwLockWait::cancel() noexcept {
    const bool waited = state() == State::queued;
    ReservedWait::cancel();
    if (waited) lock().serve();
    return nullptr;
}

/// The waiting coroutine is destroyed while it waits, or after the grant and before it could run.
[[gnu::cold]] inline void RwLockWait::leave() noexcept {
    if (state() == State::queued) {
        queue().erase(*this);
        set_state(State::idle);
        lock().serve();
    } else if (state() == State::granted && access_ == Access::read) {
        if (lock().readers() > 0) lock().release_read();
    } else if (state() == State::granted) {
        if (lock().written()) lock().release_write();
    }
}

template <Access access, class Guard>
bool RwLockAwaiter<access, Guard>::try_take() noexcept {
    if constexpr (access == Access::read) {
        return lock_.try_acquire_read(place_);
    } else {
        return lock_.try_acquire_write(place_);
    }
}

template <Access access, class Guard>
bool RwLockAwaiter<access, Guard>::is_behind_granted() const noexcept {
    return !lock_.settled();
}

template <Access access, class Guard>
void RwLockAwaiter<access, Guard>::give_back() noexcept {
    if (end_wait()) return;
    if constexpr (access == Access::read) {
        if (lock_.readers() > 0) lock_.release_read();
    } else {
        if (lock_.written()) lock_.release_write();
    }
}

}  // namespace detail
}  // namespace weft
