// SPDX-License-Identifier: MIT
// GracefulStop: a loop is asked to come to its end by itself; who wants to know is told.
#pragma once

#include "../base/intrusive_list.hpp"

namespace weft::detail {

/// Somebody who is told once, on the loop's thread, and is in no list then.
struct StopWatch : ListNode<StopWatch> {
    using Stop = void (*)(StopWatch&) noexcept;
    explicit StopWatch(Stop tell) noexcept : stop(tell) {}
    StopWatch(const StopWatch&) = delete;
    StopWatch& operator=(const StopWatch&) = delete;
    ~StopWatch() { leave(); }
    void leave() noexcept {
        if (linked()) unlink();
    }
    Stop stop;
};

/// The state of one loop.
class GracefulStop {
public:
    GracefulStop() noexcept = default;
    GracefulStop(const GracefulStop&) = delete;
    GracefulStop& operator=(const GracefulStop&) = delete;
    ~GracefulStop() {
        while (!watches_.empty()) watches_.pop_front();
    }

    bool requested() const noexcept { return requested_; }
    /// Only before it is requested.
    void add(StopWatch& watch) noexcept { watches_.push_back(watch); }
    /// Idempotent. A watch may leave, and destroy others, when it is told.
    void request() noexcept {
        requested_ = true;
        while (!watches_.empty()) {
            StopWatch& watch = watches_.pop_front();
            watch.stop(watch);
        }
    }
    /// For the next run of the same loop.
    void withdraw() noexcept { requested_ = false; }

private:
    bool requested_ = false;
    IntrusiveList<StopWatch, StopWatch> watches_;
};

}  // namespace weft::detail
