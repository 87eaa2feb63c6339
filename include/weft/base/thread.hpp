// SPDX-License-Identifier: MIT
// Threads and a mutex straight from pthread, and a condition: <thread>, <mutex> and
// <condition_variable> cost every user's compile 0.2 seconds.
#pragma once

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "clock.hpp"
#include "error.hpp"

namespace weft::detail {

/// Signals of the process go to the program's own threads: this one has them blocked, but for those
/// that its own instructions may cause, and that of profilers.
/// Returns:  the error of pthread_create, or 0.
[[gnu::cold, gnu::noinline]] inline int try_start_thread(pthread_t& thread, void* (*body)(void*),
                                                         void* argument) noexcept {
    sigset_t blocked;
    sigset_t before;
    ::sigfillset(&blocked);
    for (const int kept : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF}) {
        ::sigdelset(&blocked, kept);
    }
    ::pthread_sigmask(SIG_SETMASK, &blocked, &before);
    const int error = ::pthread_create(&thread, nullptr, body, argument);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return error;
}

/// Throws:   std::system_error (pthread_create).
[[gnu::cold, gnu::noinline]] inline pthread_t start_thread(void* (*body)(void*), void* argument) {
    pthread_t thread;
    if (const int error = try_start_thread(thread, body, argument); error != 0) {
        throw_system_error(error, "pthread_create");
    }
    return thread;
}

// Neither destroys anything: with glibc's static initialisers there is nothing to be destroyed.
// The results are not looked at: these calls fail only on misuse.

class Mutex {
public:
    Mutex() noexcept = default;
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;

    void lock() noexcept { ::pthread_mutex_lock(&mutex_); }
    void unlock() noexcept { ::pthread_mutex_unlock(&mutex_); }

private:
    pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
};

class [[nodiscard]] Locked {
public:
    explicit Locked(Mutex& mutex) noexcept : mutex_(mutex) { mutex_.lock(); }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;
    ~Locked() { mutex_.unlock(); }

private:
    Mutex& mutex_;
};

/// What threads wait for beside a mutex, which they hold for each call here, and for each change of
/// what they wait for. Straight from futex(2): glibc's own may lose a signal, before 2.41, where
/// several threads wait (its bug 25847), and the wait then has no end.
///
/// A wait takes the `turn_` for its own while it still has the mutex, so it does not begin to sleep
/// once that has gone on. (But for 2^32 turns in one moment.)
class ThreadCondition {
public:
    ThreadCondition() noexcept = default;
    ThreadCondition(const ThreadCondition&) = delete;
    ThreadCondition& operator=(const ThreadCondition&) = delete;

    /// Until it is notified, or `deadline` (CLOCK_MONOTONIC) has passed, or for no reason: to be
    /// called in a loop.
    void wait_until(Mutex& mutex, Nanoseconds deadline) noexcept {
        const timespec until{static_cast<time_t>(deadline / 1'000'000'000),
                             static_cast<long>(deadline % 1'000'000'000)};
        wait(mutex, &until);
    }
    void wait(Mutex& mutex) noexcept { wait(mutex, nullptr); }
    void notify_one() noexcept {
        if (waiting_ > 0) wake(1);
    }
    void notify_all() noexcept {
        if (waiting_ > 0) wake(waiting_);
    }

private:
    [[gnu::cold, gnu::noinline]] void wait(Mutex& mutex, const timespec* until) noexcept {
        const std::uint32_t turn = turn_.load(std::memory_order_relaxed);
        ++waiting_;
        mutex.unlock();
        ::syscall(SYS_futex, &turn_, FUTEX_WAIT_BITSET_PRIVATE, turn, until, nullptr,
                  FUTEX_BITSET_MATCH_ANY);
        mutex.lock();
        // (If this one was not meant, whoever was has woken as well, and finds what this one
        // leaves.)
        --(woken_ > 0 ? woken_ : waiting_);
    }
    [[gnu::noinline]] void wake(int count) noexcept {
        waiting_ -= count;
        woken_ += count;
        turn_.fetch_add(1, std::memory_order_relaxed);
        ::syscall(SYS_futex, &turn_, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
    }

    std::atomic<std::uint32_t> turn_{0};  // one more with each notification
    int waiting_ = 0;                     // and not woken yet
    int woken_ = 0;                       // and not on their way yet
};

}  // namespace weft::detail
