// SPDX-License-Identifier: MIT
// Threads, a mutex and a condition straight from pthread: <thread>, <mutex> and
// <condition_variable> cost every user's compile 0.2 seconds.
#pragma once

#include <pthread.h>

#include "error.hpp"

namespace weft::detail {

/// Throws:   std::system_error (pthread_create).
[[gnu::cold, gnu::noinline]] inline pthread_t start_thread(void* (*body)(void*), void* argument) {
    pthread_t thread;
    if (const int error = ::pthread_create(&thread, nullptr, body, argument); error != 0) {
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

}  // namespace weft::detail
