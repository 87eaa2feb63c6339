// SPDX-License-Identifier: MIT
// ReservingQueue: a WaitQueue that still knows whom it granted until they run.
#pragma once

#include <coroutine>
#include <cstddef>

#include "../base/intrusive_list.hpp"
#include "wait_queue.hpp"

namespace weft::detail {

class ReservingQueue;

/// The awaiter of a primitive whose grants are worth something: a lock, a permit.
class ReservedWait : public QueueWait {
public:
    inline TaskCore* cancel() noexcept override;
    inline void grant_here(std::coroutine_handle<> handle) noexcept;

protected:
    explicit ReservedWait(ReservingQueue& queue) noexcept : queue_(&queue) {}
    /// A derived destructor has given back by now what was granted and not taken.
    ~ReservedWait() {
        if (state() != State::idle) [[unlikely]]
            leave_queue();
    }

    void wait_in_queue(std::coroutine_handle<> handle);
    void finish_wait() {
        QueueWait::finish_wait();
        unlink();
    }
    /// Where grants outlive the primitive, which then has unlinked them.
    void finish_detachable() {
        QueueWait::finish_wait();
        if (linked()) unlink();
    }
    void leave_queue() noexcept;
    ReservingQueue& queue() const noexcept { return *queue_; }

private:
    void wait_in_queue_checked(std::coroutine_handle<> handle);

    ReservingQueue* queue_;
};

/// One list: those who were granted and have not run yet, in front, then those who wait. So a grant
/// moves one pointer, and a primitive that is destroyed can tell both kinds. Who was granted
/// something that is gone now gets a RuntimeError like those who still waited.
class ReservingQueue {
public:
    ReservingQueue() noexcept { root_.prev = root_.next = &root_; }
    ReservingQueue(const ReservingQueue&) = delete;
    ReservingQueue& operator=(const ReservingQueue&) = delete;
    ~ReservingQueue() {
        if (root_.next != &root_) [[unlikely]]
            abandon();
    }

    /// Nobody waits.
    bool empty() const noexcept { return first_waiting_ == &root_; }
    /// Whoever was granted has run.
    bool settled() const noexcept { return root_.next == first_waiting_; }
    ReservedWait& front() noexcept { return static_cast<ReservedWait&>(*first_waiting_); }
    /// Walks the queue.
    std::size_t count() const noexcept {
        std::size_t waiters = 0;
        for (const ListNode<>* node = first_waiting_; node != &root_; node = node->next) ++waiters;
        return waiters;
    }

    void push_back(ReservedWait& waiter) noexcept {
        ListNode<>& node = waiter;
        node.link_before(root_);
        if (first_waiting_ == &root_) first_waiting_ = &node;
    }
    /// One that was granted without having waited.
    void push_granted(ReservedWait& waiter) noexcept {
        static_cast<ListNode<>&>(waiter).link_before(*root_.next);
    }
    void erase(ReservedWait& waiter) noexcept {
        if (first_waiting_ == &waiter) first_waiting_ = waiter.next;
        waiter.unlink();
    }
    /// The task of the first one becomes ready; the caller has given it, or gives it now, what it
    /// waited for.
    ReservedWait& grant_first() noexcept {
        ReservedWait& waiter = front();
        first_waiting_ = first_waiting_->next;
        waiter.grant();
        return waiter;
    }
    /// The same for one that is perhaps not the first.
    void grant_out_of_turn(ReservedWait& waiter) noexcept {
        erase(waiter);
        static_cast<ListNode<>&>(waiter).link_before(*first_waiting_);
        waiter.grant();
    }
    /// `visit` may grant or erase the one that it is given.
    template <class Visit>
    void for_each_waiting(Visit&& visit) noexcept {
        for (ListNode<>* node = first_waiting_; node != &root_;) {
            ListNode<>* const next = node->next;
            visit(static_cast<ReservedWait&>(*node));
            node = next;
        }
    }
    /// For a primitive whose grants outlive it. Calls `visit` for each.
    template <class Visit>
    void forget_granted(Visit&& visit) noexcept {
        while (!settled()) {
            auto& waiter = static_cast<ReservedWait&>(*root_.next);
            waiter.unlink();
            visit(waiter);
        }
    }

    /// Everybody is told that the primitive is gone.
    [[gnu::cold]] void abandon() noexcept {
        Abandoned told;
        while (root_.next != &root_) {
            auto& waiter = static_cast<ReservedWait&>(*root_.next);
            waiter.unlink();
            waiter.abandon(told);
        }
        told.report();
    }

private:
    ListNode<> root_;
    ListNode<>* first_waiting_ = &root_;
};

[[gnu::cold]] inline void ReservedWait::leave_queue() noexcept {
    if (state() == State::queued) {
        queue_->erase(*this);
    } else if (state() == State::granted) {
        if (linked()) unlink();
    }
    set_state(State::idle);
}

inline TaskCore* ReservedWait::cancel() noexcept {
    if (state() == State::queued) {
        queue_->erase(*this);
        set_state(State::cancelled);
        task_->loop->wake(*task_);
    }
    return nullptr;
}

[[gnu::cold]] inline void ReservedWait::grant_here(std::coroutine_handle<> handle) noexcept {
    QueueWait::grant_here(handle);
    queue_->push_granted(*this);
}

inline void ReservedWait::wait_in_queue(std::coroutine_handle<> handle) {
    if (get_running_loop().debug()) [[unlikely]]
        return wait_in_queue_checked(handle);
    if (stop_here(handle)) queue_->push_back(*this);
}

[[gnu::cold, gnu::noinline]] inline void ReservedWait::wait_in_queue_checked(
    std::coroutine_handle<> handle) {
    check_same_loop(*queue_);
    if (stop_here(handle)) queue_->push_back(*this);
}

}  // namespace weft::detail
