// SPDX-License-Identifier: MIT
// ExactSleep: how epoll wakes a thread at the deadline, and not when it suits the kernel.
#pragma once

#include <sys/prctl.h>

#include "../../base/clock.hpp"

namespace weft::detail {

/// The kernel lets a sleep in epoll_wait (not one on a ring) last longer than was asked for, so
/// that several threads can be woken together: by the timer slack of the thread, 50 us unless
/// somebody has changed it, or by a thousandth of its time if that is more.
///
/// The slack is set to 1 us with the first sleep that has a limit, and set back at the end of the
/// loop; until then it is that of all sleeps of this thread. Against the thousandth less is asked
/// for; if the kernel is on time, what is left is asked for once more.
class ExactSleep {
public:
    ExactSleep() noexcept = default;
    ExactSleep(const ExactSleep&) = delete;
    ExactSleep& operator=(const ExactSleep&) = delete;
    [[gnu::cold]] ~ExactSleep() {
        if (before_ > 0 && ::prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) == slack)
            ::prctl(PR_SET_TIMERSLACK, static_cast<unsigned long>(before_), 0, 0, 0);
    }

    Nanoseconds to_ask_for(Nanoseconds timeout) noexcept {
        if (!begun_) [[unlikely]]
            begin();
        return timeout < worth_it ? timeout : timeout - timeout / 1000;
    }

private:
    static constexpr long slack = 1'000;
    static constexpr Nanoseconds worth_it = 10'000'000;

    // (Refused by a filter: sleeps are as exact as they were.)
    [[gnu::cold, gnu::noinline]] void begin() noexcept {
        begun_ = true;
        const long now = ::prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
        if (now > slack && ::prctl(PR_SET_TIMERSLACK, slack, 0, 0, 0) == 0) before_ = now;
    }

    bool begun_ = false;
    long before_ = 0;  // 0: nothing to be set back
};

}  // namespace weft::detail
