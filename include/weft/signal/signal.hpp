// SPDX-License-Identifier: MIT
// signal, SignalStream: tasks wait for signals of the process.
#pragma once

#include <signal.h>

#include <coroutine>
#include <cstdint>
#include <initializer_list>
#include <utility>

#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/signal_hub.hpp"
#include "../runtime/task_core.hpp"

namespace weft {
namespace detail {
class SignalWait;
class NextSignal;
}  // namespace detail

/// Waits until one of the signals of `wanted` arrives, and returns which one. While a task waits
/// so, the signal does nothing else (who else waits for it, in any loop, is told too, and a stop
/// that `RunOptions::stop_signal` has asked for comes all the same); before and afterwards it does
/// what it did. So for more than one signal of a kind use a SignalStream, which misses none.
/// Throws:   std::system_error (EINVAL: no signal, or one that cannot be handled); CancelledError.
/// Cancel:   lossless: a signal that has arrived is returned.
detail::SignalWait signal(SignalSet wanted);

/// Takes all signals of some kinds, from its construction to its destruction.
///
///     weft::SignalStream reload({SIGHUP});
///     while (true) {
///         co_await reload.next();
///         read_configuration();
///     }
///
/// The kernel merges signals of a kind that come while one is pending; what it delivers is counted,
/// also while nobody waits. One task at a time may wait in `next`.
/// Thread:   the loop's, where it is made; the signals may be raised anywhere.
class SignalStream : detail::SignalWatch {
public:
    /// Throws:   std::system_error (EINVAL); RuntimeError outside of a loop.
    explicit SignalStream(SignalSet wanted);
    /// (Without it `({SIGHUP})` could mean a copy, too.)
    explicit SignalStream(std::initializer_list<int> wanted) : SignalStream(set_of(wanted)) {}
    SignalStream(const SignalStream&) = delete;
    SignalStream& operator=(const SignalStream&) = delete;
    /// A wait in `next` ends with a RuntimeError. Signals that nobody has taken are raised again,
    /// for whom they were meant before.
    ~SignalStream();

    /// The next signal: the lowest number first where several kinds wait.
    /// Throws:   CancelledError; RuntimeError when another task waits, or the stream goes.
    /// Cancel:   lossless: a signal that has arrived is returned, or is there for the next call.
    detail::NextSignal next() noexcept;
    /// 0: there is none.
    int try_next() noexcept;

private:
    friend class detail::NextSignal;
    static SignalSet set_of(std::initializer_list<int> signals) {
        SignalSet set;
        for (const int signal : signals) set.add(signal);
        return set;
    }
    static void count(detail::SignalWatch& watch, int signal) noexcept;

    std::uint32_t counts_[SignalSet::largest + 1] = {};
    detail::NextSignal* waiting_ = nullptr;
};

namespace detail {

class [[nodiscard]] [[gnu::warn_unused]] SignalWait final : public Suspension, SignalWatch {
public:
    explicit SignalWait(SignalSet wanted) noexcept : SignalWatch(&arrived), wanted_(wanted) {}
    ~SignalWait() { leave(); }
    bool await_ready() const noexcept { return false; }
    [[gnu::cold]] void await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        task_ = &loop.require_task();
        if (task_->must_cancel) {
            loop.suspend(handle, *this);
            return loop.wake(*task_);
        }
        loop.signal_hub().add(*this, wanted_);
        loop.suspend(handle, *this);
    }
    bool await_cancelled() const noexcept { return result_ == 0; }
    [[gnu::cold]] int await_resume() {
        leave();
        check_leftover();
        if (result_ == 0) task_->loop->throw_cancelled();
        return result_;
    }
    TaskCore* cancel() noexcept override {
        if (result_ == 0 && hub) {
            leave();
            task_->loop->wake(*task_);
        }
        return nullptr;
    }
    WaitInfo describe() const noexcept override { return {"a signal"}; }

private:
    static void arrived(SignalWatch& watch, int signal) noexcept {
        auto& self = static_cast<SignalWait&>(watch);
        if (self.result_ != 0) return;
        self.result_ = signal;
        self.task_->loop->wake(*self.task_);
    }

    const SignalSet wanted_;
    TaskCore* task_ = nullptr;
    int result_ = 0;
};

class [[nodiscard]] [[gnu::warn_unused]] NextSignal final : public Suspension {
public:
    explicit NextSignal(SignalStream& stream) noexcept : stream_(&stream) {}
    ~NextSignal() {
        if (stream_ && stream_->waiting_ == this) stream_->waiting_ = nullptr;
    }
    bool await_ready() noexcept { return (result_ = stream_->try_next()) != 0; }
    [[gnu::cold]] void await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        if (stream_->waiting_)
            throw_runtime_error("SignalStream: another task waits for the next signal");
        task_ = &loop.suspend(handle, *this);
        if (task_->must_cancel) return loop.wake(*task_);
        stream_->waiting_ = this;
    }
    bool await_cancelled() const noexcept { return result_ == 0 && stream_; }
    [[gnu::cold]] int await_resume() {
        check_leftover();
        if (result_ != 0) return result_;
        if (!stream_)
            throw_runtime_error("SignalStream: it was destroyed while a task waited in next()");
        task_->loop->throw_cancelled();
    }
    TaskCore* cancel() noexcept override {
        if (stream_ && stream_->waiting_ == this) {
            stream_->waiting_ = nullptr;
            task_->loop->wake(*task_);
        }
        return nullptr;
    }
    WaitInfo describe() const noexcept override { return {"SignalStream.next"}; }
    /// There is one, or the stream goes.
    void end(int signal) noexcept {
        result_ = signal;
        stream_->waiting_ = nullptr;
        if (signal == 0) stream_ = nullptr;
        task_->loop->wake(*task_);
    }

private:
    SignalStream* stream_;
    TaskCore* task_ = nullptr;
    int result_ = 0;
};

}  // namespace detail

inline detail::SignalWait signal(SignalSet wanted) { return detail::SignalWait(wanted); }

inline detail::NextSignal SignalStream::next() noexcept { return detail::NextSignal(*this); }

#if WEFT_BODIES
[[gnu::cold]] WEFT_INLINE SignalStream::SignalStream(SignalSet wanted) : SignalWatch(&count) {
    get_running_loop().signal_hub().add(*this, wanted);
}

[[gnu::cold]] WEFT_INLINE SignalStream::~SignalStream() {
    if (waiting_) waiting_->end(0);
    leave();
    while (const int left = try_next()) ::raise(left);
}

WEFT_INLINE void SignalStream::count(detail::SignalWatch& watch, int signal) noexcept {
    auto& self = static_cast<SignalStream&>(watch);
    if (self.waiting_) return self.waiting_->end(signal);
    ++self.counts_[signal];
}

WEFT_INLINE int SignalStream::try_next() noexcept {
    for (int signal = 1; signal <= SignalSet::largest; ++signal) {
        if (counts_[signal] == 0) continue;
        --counts_[signal];
        return signal;
    }
    return 0;
}
#endif

}  // namespace weft
