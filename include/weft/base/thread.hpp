// SPDX-License-Identifier: MIT
// Threads, a mutex and a condition straight from pthread: <thread>, <mutex> and
// <condition_variable> cost every user's compile 0.2 seconds.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <time.h>

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
    friend class ConditionVariable;
    friend class TimedCondition;
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

class ConditionVariable {
public:
    ConditionVariable() noexcept = default;
    ConditionVariable(const ConditionVariable&) = delete;
    ConditionVariable& operator=(const ConditionVariable&) = delete;

    /// May come back for no reason: to be called in a loop.
    void wait(Mutex& mutex) noexcept { ::pthread_cond_wait(&condition_, &mutex.mutex_); }
    void notify_one() noexcept { ::pthread_cond_signal(&condition_); }
    void notify_all() noexcept { ::pthread_cond_broadcast(&condition_); }

private:
    pthread_cond_t condition_ = PTHREAD_COND_INITIALIZER;
};

/// One that can be waited for with a limit.
class TimedCondition {
public:
    // The clock is not the default one, so it takes a call. Destroyed: never, see above.
    [[gnu::cold]] TimedCondition() noexcept {
        pthread_condattr_t attributes;
        ::pthread_condattr_init(&attributes);
        ::pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        ::pthread_cond_init(&condition_, &attributes);
        ::pthread_condattr_destroy(&attributes);
    }
    TimedCondition(const TimedCondition&) = delete;
    TimedCondition& operator=(const TimedCondition&) = delete;

    /// Until it is notified, or `deadline` (CLOCK_MONOTONIC) has passed, or for no reason.
    [[gnu::cold]] void wait_until(Mutex& mutex, Nanoseconds deadline) noexcept {
        const timespec until{static_cast<time_t>(deadline / 1'000'000'000),
                             static_cast<long>(deadline % 1'000'000'000)};
        ::pthread_cond_timedwait(&condition_, &mutex.mutex_, &until);
    }
    void notify_one() noexcept { ::pthread_cond_signal(&condition_); }
    void notify_all() noexcept { ::pthread_cond_broadcast(&condition_); }

private:
    pthread_cond_t condition_;
};

}  // namespace weft::detail
