// SPDX-License-Identifier: MIT
// WaiterList: who waits for a future.
#pragma once

#include "ready_queue.hpp"

namespace weft::detail {

/// In a future's list: a task that awaits it, or a done-callback.
/// In the second case `target` is a callback, whose `act` is told of the end, and which keeps a
/// reference to the future while it is in the ready queue.
struct FutureWaiter {
    explicit FutureWaiter(ReadyNode* node) noexcept : target(node) {}
    FutureWaiter* next = nullptr;  // null: in no list
    ReadyNode* target;
};

/// In order of arrival. Circular, singly linked, one pointer to the last: every suspended task pays
/// for what a future and its waiter weigh. Taking one out of the middle walks the list, which only
/// a waiter does that gives up while others stay.
class WaiterList {
public:
    bool empty() const noexcept { return last_ == nullptr; }
    FutureWaiter* front() const noexcept { return last_ ? last_->next : nullptr; }
    /// The one that waits, if exactly one does; it is out of the list then.
    FutureWaiter* pop_only() noexcept {
        FutureWaiter* const only = last_;
        if (!only || only->next != only) return nullptr;
        last_ = nullptr;
        only->next = nullptr;
        return only;
    }

    void push_back(FutureWaiter& waiter) noexcept {
        if (last_) {
            waiter.next = last_->next;
            last_->next = &waiter;
        } else {
            waiter.next = &waiter;
        }
        last_ = &waiter;
    }
    FutureWaiter* pop_front() noexcept {
        if (!last_) return nullptr;
        FutureWaiter* const first = last_->next;
        unlink_after(*last_);
        return first;
    }
    void erase(FutureWaiter& waiter) noexcept {
        FutureWaiter* before = last_;
        while (before->next != &waiter) before = before->next;
        unlink_after(*before);
    }

private:
    void unlink_after(FutureWaiter& before) noexcept {
        FutureWaiter& waiter = *before.next;
        before.next = waiter.next;
        if (last_ == &waiter) last_ = &before == &waiter ? nullptr : &before;
        waiter.next = nullptr;
    }

    FutureWaiter* last_ = nullptr;
};

}  // namespace weft::detail
