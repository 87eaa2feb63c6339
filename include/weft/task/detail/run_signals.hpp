// SPDX-License-Identifier: MIT
// RunSignals: what signals do to a run: Ctrl-C cancels main, another one asks it to stop.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <string>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../runtime/graceful_stop.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/signal_hub.hpp"
#include "../../runtime/task_core.hpp"
#include "../../runtime/timer_heap.hpp"

namespace weft::detail {

/// Lives as long as the main coroutine runs; then signals do again what they did before.
///
/// The signal that comes after the one that has cancelled main ends the process: the second SIGINT;
/// of a stop signal, of which the first one is a request, the third, or the next after the grace.
/// They are counted apart: who runs a program in a terminal often passes Ctrl-C on to it as a
/// SIGTERM, which finds it cleaning up.
class RunSignals : SignalWatch, Timer {
public:
    RunSignals(EventLoop& loop, TaskCore& main, Duration grace) noexcept
        : SignalWatch(&arrived), Timer(&grace_is_over), loop_(loop), main_(main), grace_(grace) {
        is_the_runs = true;
    }
    ~RunSignals();

    void watch(bool sigint, int stop_signal);
    /// The end of a cancel of ours, which nobody else has asked for, is that of the run.
    void throw_if_stopped() const;

private:
    static void arrived(SignalWatch& watch, int signal) noexcept;
    static void grace_is_over(Timer& timer) noexcept;
    void stop_hard(int signal) noexcept;

    EventLoop& loop_;
    TaskCore& main_;
    const Duration grace_;
    int stop_signal_ = 0;
    int stopped_by_ = 0;
    bool asked_to_stop_ = false;
};

#if WEFT_BODIES

/// Ctrl-C is for the one run of the main thread, unless somebody has decided about it.
[[gnu::cold]] inline bool sigint_is_free() noexcept {
    struct sigaction now {};
    return ::getpid() == ::gettid() && ::sigaction(SIGINT, nullptr, &now) == 0 &&
           now.sa_handler == SIG_DFL;
}

[[gnu::cold]] WEFT_INLINE RunSignals::~RunSignals() {
    if (armed()) loop_.disarm(*this);
    if (hub) hub->never_immediate();
    leave();
    if (asked_to_stop_) loop_.graceful_stop().withdraw();
}

[[gnu::cold]] WEFT_INLINE void RunSignals::watch(bool sigint, int stop_signal) {
    SignalSet wanted;
    sigint = sigint && stop_signal != SIGINT && sigint_is_free();
    if (sigint) wanted.add(SIGINT);
    gives_way = wanted;
    if (stop_signal != 0) wanted.add(stop_signal);
    if (wanted.empty()) return;
    stop_signal_ = stop_signal;
    loop_.signal_hub().add(*this, wanted);
    if (sigint) hub->immediate_after(1, SIGINT);
    if (stop_signal != 0) hub->immediate_after(2, stop_signal);
}

[[gnu::cold]] WEFT_INLINE void RunSignals::arrived(SignalWatch& watch, int signal) noexcept {
    auto& self = static_cast<RunSignals&>(watch);
    if (signal != self.stop_signal_ || self.asked_to_stop_) return self.stop_hard(signal);
    self.asked_to_stop_ = true;
    try {
        self.loop_.arm(self, deadline_after(self.loop_.read_clock(), to_limit(self.grace_)));
    } catch (...) {
        return self.stop_hard(signal);  // no memory for a timer, or a grace that is none
    }
    self.loop_.graceful_stop().request();
}

[[gnu::cold]] WEFT_INLINE void RunSignals::grace_is_over(Timer& timer) noexcept {
    auto& self = static_cast<RunSignals&>(timer);
    self.hub->immediate_after(0, self.stop_signal_);
    self.stop_hard(self.stop_signal_);
}

[[gnu::cold]] WEFT_INLINE void RunSignals::stop_hard(int signal) noexcept {
    if (stopped_by_ != 0 || main_.done()) return;
    stopped_by_ = signal;
    try {
        loop_.cancel(main_, signal == SIGINT ? "interrupted" : "stopped by a signal");
    } catch (...) {
        loop_.cancel(main_, {});  // without a message, which takes memory
    }
}

/// Nobody has caught it: the process ends as by the signal, not by an abort.
[[gnu::cold]] inline void end_by_signal(int signal) noexcept {
    ::signal(signal, SIG_DFL);
    ::raise(signal);
}

/// In the place of std::terminate's handler from the first such exception on.
[[gnu::cold]] inline std::terminate_handler& terminate_before() noexcept {
    static std::terminate_handler before = nullptr;
    return before;
}
[[noreturn, gnu::cold]] inline void terminate_by_signal() noexcept {
    try {
        if (const std::exception_ptr current = std::current_exception())
            std::rethrow_exception(current);
    } catch (const StoppedBySignal& stopped) {
        end_by_signal(stopped.signal());
    } catch (...) {
        // Somebody else's: the handler of before knows what to do.
    }
    if (terminate_before()) terminate_before()();
    std::abort();
}

[[gnu::cold]] WEFT_INLINE void RunSignals::throw_if_stopped() const {
    const bool ours_alone =
        main_.state == FutureCore::State::cancelled && main_.cancel_requests <= 1;
    if (stopped_by_ == 0 || !ours_alone) return;
    if (const std::terminate_handler before = std::get_terminate();
        before != &terminate_by_signal) {
        terminate_before() = before;
        std::set_terminate(&terminate_by_signal);
    }
    if (stopped_by_ == SIGINT) throw KeyboardInterrupt(SIGINT);
    throw StoppedBySignal(stopped_by_, concat({"stopped by signal ", decimal(stopped_by_)}));
}

#endif

}  // namespace weft::detail
