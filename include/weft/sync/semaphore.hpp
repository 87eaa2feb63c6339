// SPDX-License-Identifier: MIT
// Semaphore, BoundedSemaphore: a number of permits, given out in the order of arrival.
#pragma once

#include <coroutine>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <type_traits>

#include "detail/guard.hpp"
#include "reserving_queue.hpp"

namespace weft {

class Semaphore;

struct SemaphoreStatistics {
    SemaphoreStatistics(std::size_t permits, std::size_t waiting) noexcept
        : available(permits), waiters(waiting) {}
    std::size_t available;
    std::size_t waiters;
};

namespace detail {

class SemaphoreWait;
template <class Guard>
class SemaphoreAwaiter;

}  // namespace detail

/// A number of permits. An acquire takes one, and waits while there is none; a release gives one
/// back.
///
/// FIFO with direct hand-off: a release gives its permit to the longest waiting task at once, so
/// `locked()` stays true and nobody who comes later can get in first. A task that finds a free
/// permit while another was granted one and has not run yet goes on behind that one, so acquires
/// return in the order of arrival. (`try_acquire` does not wait, and takes what is free.)
///
/// Destroyed, it wakes the tasks that wait, and those that were granted a permit and have not run
/// yet, with a RuntimeError.
/// Thread:   loop thread only.
class Semaphore : detail::ReservingQueue {
public:
    using Guard = detail::Guard<Semaphore>;

    /// Throws:   std::invalid_argument for a negative number.
    explicit Semaphore(std::ptrdiff_t permits = 1)
        : Semaphore(permits, std::numeric_limits<std::size_t>::max()) {}

    /// Waits for a permit.
    /// Throws:   RuntimeError when the semaphore is destroyed meanwhile; CancelledError.
    /// Cancel:   lossless: leaves the queue, or returns with the permit (and the cancel strikes at
    ///           the next suspension: hold it in a guard).
    detail::SemaphoreAwaiter<void> acquire() noexcept;
    /// `auto permit = co_await semaphore.scoped();` releases at the end of the scope.
    /// Cancel:   like `acquire`.
    detail::SemaphoreAwaiter<Guard> scoped() noexcept;
    /// Takes a permit if one is free, and does not wait.
    [[nodiscard]] bool try_acquire() noexcept;

    /// Any task may release; of a plain semaphore this is also how permits are added.
    /// Throws:   RuntimeError on a BoundedSemaphore that has all its permits.
    void release();

    /// An acquire would wait.
    bool locked() const noexcept { return available_ == 0; }
    SemaphoreStatistics statistics() const noexcept {
        return SemaphoreStatistics(available_, count());
    }

protected:
    Semaphore(std::ptrdiff_t permits, std::size_t most);

private:
    friend class detail::SemaphoreWait;
    template <class>
    friend class detail::SemaphoreAwaiter;
    void give_back() noexcept;

    std::size_t available_;  // 0 while anybody waits
    std::size_t most_;
};

/// A semaphore that never has more permits than it began with: a release too many throws.
class BoundedSemaphore : public Semaphore {
public:
    /// Throws:   std::invalid_argument for a negative number.
    explicit BoundedSemaphore(std::ptrdiff_t permits = 1)
        : Semaphore(permits, static_cast<std::size_t>(permits)) {}
};

namespace detail {

/// The node of a task that waits for a permit.
class SemaphoreWait final : public ReservedWait {
public:
    explicit SemaphoreWait(Semaphore& semaphore) noexcept;
    ~SemaphoreWait() {
        if (granted_and_not_taken()) [[unlikely]]
            give_back();
    }
    const char* what() const noexcept override { return "semaphore"; }
    using ReservedWait::wait_in_queue;
    void finish() { finish_wait(); }

private:
    void give_back() noexcept;
};

/// What `acquire` and `scoped` return; `Guard` is void for `acquire`. It holds a SemaphoreWait,
/// which is made only when the task has to wait.
template <class Guard>
class [[nodiscard]] [[gnu::warn_unused]] SemaphoreAwaiter final : public LazyWait<SemaphoreWait> {
public:
    explicit SemaphoreAwaiter(Semaphore& semaphore) noexcept : semaphore_(semaphore) {}
    bool await_ready() noexcept { return may_go_on() && !is_behind_granted() && try_take(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    void begin_wait(std::coroutine_handle<> handle) { begin(semaphore_).wait_in_queue(handle); }
    void grant_here(std::coroutine_handle<> handle) noexcept {
        begin(semaphore_).grant_here(handle);
    }
    bool try_take() noexcept;
    bool is_behind_granted() const noexcept;
    void give_back() noexcept;
    Guard await_resume() {
        finish();
        if constexpr (!std::is_void_v<Guard>) return Guard(semaphore_);
    }

private:
    Semaphore& semaphore_;
};

}  // namespace detail

inline Semaphore::Semaphore(std::ptrdiff_t permits, std::size_t most)
    : available_(static_cast<std::size_t>(permits)), most_(most) {
    if (permits < 0) throw std::invalid_argument("Semaphore: a negative number of permits");
}

inline detail::SemaphoreAwaiter<void> Semaphore::acquire() noexcept {
    return detail::SemaphoreAwaiter<void>(*this);
}

inline detail::SemaphoreAwaiter<Semaphore::Guard> Semaphore::scoped() noexcept {
    return detail::SemaphoreAwaiter<Guard>(*this);
}

inline bool Semaphore::try_acquire() noexcept {
    if (available_ == 0) return false;
    --available_;
    return true;
}

inline void Semaphore::release() {
    if (available_ >= most_) [[unlikely]]
        detail::throw_runtime_error("BoundedSemaphore::release: released too many times");
    if (empty()) {
        ++available_;
    } else {
        grant_first();
    }
}

/// A permit that a task was granted and could not use. (A release too many may have taken its
/// place.)
inline void Semaphore::give_back() noexcept {
    if (available_ < most_) release();
}

inline detail::SemaphoreWait::SemaphoreWait(Semaphore& semaphore) noexcept
    : ReservedWait(semaphore) {}

/// The waiting coroutine is destroyed after it was granted a permit and before it could run.
[[gnu::cold]] inline void detail::SemaphoreWait::give_back() noexcept {
    static_cast<Semaphore&>(queue()).give_back();
}

template <class Guard>
bool detail::SemaphoreAwaiter<Guard>::try_take() noexcept {
    return semaphore_.try_acquire();
}

template <class Guard>
bool detail::SemaphoreAwaiter<Guard>::is_behind_granted() const noexcept {
    return !semaphore_.settled();
}

template <class Guard>
void detail::SemaphoreAwaiter<Guard>::give_back() noexcept {
    if (!end_wait()) semaphore_.give_back();
}

}  // namespace weft
