// SPDX-License-Identifier: MIT
// ItemQueue: items that wait for tasks and tasks that wait for items; what Queue and Channel share.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <type_traits>
#include <utility>

#include "../../base/element.hpp"
#include "../../base/ring_buffer.hpp"
#include "../../base/std_parts.hpp"
#include "../../sync/gate.hpp"
#include "../../sync/wait_queue.hpp"

namespace weft::detail {

/// Store of an ItemQueue: first in, first out.
///
/// A store has `push` (an exception leaves it and the item as they were), `pop` (the same), and
/// `give_back`, for an item that was popped and not used: it is the next one out.
template <class T>
class FifoStore {
public:
    static constexpr bool push_is_safe = true;  // once there is room: nothing can throw
    bool empty() const noexcept { return items_.empty(); }
    std::size_t size() const noexcept { return items_.size(); }
    void push(Element<T>&& item) { items_.push_back(std::move(item)); }
    Element<T> pop() noexcept { return items_.pop_front(); }
    void give_back(Element<T>&& item) { items_.push_front(std::move(item)); }

private:
    RingBuffer<Element<T>> items_;
};

template <class T, class Store>
class ItemQueue;

/// Waits for an item, which is moved into this awaiter. Says nothing about what the await returns:
/// see Queue::get and Channel::Receiver::recv.
template <class T, class Store>
class GetWait : public QueueWait {
public:
    bool await_ready();
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    bool try_take();
    bool is_behind_granted() const noexcept { return !queue_->given_.empty(); }
    void begin_wait(std::coroutine_handle<> handle) { wait_in(queue_->getters_, handle); }
    void grant_here(std::coroutine_handle<> handle) noexcept {
        QueueWait::grant_here(handle);
        if (has_item_) queue_->given_.push_back(*this);
    }

    // For the queue. From a function, so that the item is made in its place and not moved there.
    template <class Make>
    void fill(Make&& make) {
        ::new (static_cast<void*>(std::addressof(item_))) Element<T>(make());
        has_item_ = true;
    }
    void forget_queue() noexcept { queue_ = nullptr; }

    bool holds_result() const noexcept { return has_item_; }
    /// The item is the next one again, or goes to the getter that waits longest.
    void give_back() noexcept {
        if (has_item_) return_item();
    }

protected:
    explicit GetWait(ItemQueue<T, Store>& queue) noexcept : queue_(&queue) {}
    ~GetWait() {
        if (has_item_) [[unlikely]]
            return_item();
    }

    /// For `await_resume`. False: the queue is shut down and empty.
    bool has_item() {
        check_leftover();
        if (!has_item_) [[unlikely]]
            finish_wait();
        return has_item_;
    }
    /// The item as a T or as what is made of one. If T's move throws, the item is still here, and
    /// goes back into the queue.
    template <class Result = T>
    Result take() {
        if (granted_and_not_taken()) leave_given();
        Result item(std::move(*item_));
        drop_item();
        return item;
    }

private:
    void leave_given() noexcept {
        if (queue_) unlink();
        finish_wait();
    }
    void drop_item() noexcept {
        has_item_ = false;
        std::destroy_at(std::addressof(item_));
    }
    [[gnu::cold, gnu::noinline]] void return_item() noexcept;

    ItemQueue<T, Store>* queue_;  // null when it was destroyed since it gave us an item
    union {
        Element<T> item_;
    };
    bool has_item_ = false;
};

/// Waits for room, with its item. A put that ended without success still has it: `item()`.
template <class T, class Store>
class PutWait : public QueueWait {
    struct Nothing {};
    using Failure = std::conditional_t<Store::push_is_safe, Nothing, std::exception_ptr>;

public:
    bool await_ready() { return may_go_on() && !is_behind_granted() && try_take(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    bool try_take();
    bool is_behind_granted() const noexcept { return !queue_->admitted_.empty(); }
    void begin_wait(std::coroutine_handle<> handle) { wait_in(queue_->putters_, handle); }
    void grant_here(std::coroutine_handle<> handle) noexcept {
        QueueWait::grant_here(handle);
        if (put_) queue_->admitted_.push_back(*this);
    }

    /// What was to be put, until it is put: `auto putting = queue.put(std::move(file));` keeps a
    /// name for an item that must survive a cancelled `co_await putting`.
    T& item() noexcept { return *item_; }

    // For the queue.
    Element<T>& element() noexcept { return item_; }
    void mark_put() noexcept { put_ = true; }
    bool is_put() const noexcept { return put_; }
    void forget_queue() noexcept { queue_ = nullptr; }
    void fail(std::exception_ptr failure) noexcept { failure_ = std::move(failure); }

protected:
    template <class U>
    PutWait(ItemQueue<T, Store>& queue, U&& item) : queue_(&queue), item_(std::forward<U>(item)) {}
    ~PutWait() {
        if (!is_over()) [[unlikely]]
            leave_early();
    }

    /// For `await_resume`. False: the queue is shut down.
    bool was_put() {
        check_leftover();
        if (put_) [[likely]] {
            if (granted_and_not_taken()) leave_admitted();
            return true;
        }
        finish_wait();
        if constexpr (!Store::push_is_safe) {
            if (failure_) std::rethrow_exception(std::move(failure_));
        }
        return false;
    }

private:
    /// The frame is destroyed while it waits, or before it has seen what it was granted.
    [[gnu::cold, gnu::noinline]] void leave_early() noexcept {
        if (put_ && queue_ && granted_and_not_taken()) unlink();
    }
    void leave_admitted() noexcept {
        if (queue_) unlink();
        finish_wait();
    }

    ItemQueue<T, Store>* queue_;  // null when it was destroyed since it took the item
    Element<T> item_;
    bool put_ = false;
    [[no_unique_address]] Failure failure_{};
};

/// An item and a task meet in one of three ways: the item is put while somebody waits for it and
/// goes straight into that awaiter; or it lies in the store; or it waits in its putter's awaiter
/// until the store has room. Nobody can come between: where tasks wait, a newcomer stands behind
/// them. Always true:
///
///   a getter waits  =>  the store is empty, and nothing is shut down
///   a putter waits  =>  the store is full, and nothing is shut down
template <class T, class Store>
class ItemQueue {
    static_assert(std::is_object_v<T> && std::is_move_constructible_v<T>, "items are moved");
    using Get = GetWait<T, Store>;
    using Put = PutWait<T, Store>;

public:
    /// 0: no bound.
    explicit ItemQueue(std::size_t maxsize) noexcept
        : limit_(maxsize ? maxsize : SIZE_MAX), maxsize_(maxsize) {}
    ItemQueue(const ItemQueue&) = delete;
    ItemQueue& operator=(const ItemQueue&) = delete;
    /// Whoever still waits is told that it is gone. An item that was given to a getter which has
    /// not run yet is that getter's.
    ~ItemQueue() {
        given_.for_each([](QueueWait& getter) { static_cast<Get&>(getter).forget_queue(); });
        given_.forget_all();
        admitted_.for_each([](QueueWait& putter) { static_cast<Put&>(putter).forget_queue(); });
        admitted_.forget_all();
        if (!getters_.empty() || !putters_.empty()) [[unlikely]]
            abandon();
    }

    bool empty() const noexcept { return store_.empty(); }
    std::size_t size() const noexcept { return store_.size(); }
    std::size_t maxsize() const noexcept { return maxsize_; }
    bool full() const noexcept { return maxsize_ != 0 && size() >= maxsize_; }
    bool closed() const noexcept { return limit_ == 0; }

    /// Of the items that were ever put, those of which `task_done` was not said.
    std::size_t unfinished() const noexcept { return unfinished_; }
    void task_done() noexcept {
        if (--unfinished_ == 0) joiners_.let_through();
    }
    Gate& joiners() noexcept { return joiners_; }
    const Gate& joiners() const noexcept { return joiners_; }

    std::size_t waiting_gets() const noexcept { return getters_.count(); }
    std::size_t waiting_puts() const noexcept { return putters_.count(); }

    bool can_put() const noexcept { return !getters_.empty() || store_.size() < limit_; }
    /// False: there is no room, or it is shut down; the item is untouched.
    bool try_put(Element<T>& item) {
        if (!getters_.empty()) {
            give(std::move(item));
        } else if (store_.size() < limit_) [[likely]] {
            store_.push(std::move(item));
        } else {
            return false;
        }
        ++unfinished_;
        return true;
    }
    /// The next item; there must be one.
    Element<T> pop() {
        Element<T> item = store_.pop();
        if (!putters_.empty()) admit_putters();
        return item;
    }
    /// The same as a T or as what is made of one. If T's move throws, it is the next item again.
    template <class Result = T>
    Result pop_value() {
        Element<T> item = pop();
        if constexpr (std::is_nothrow_move_constructible_v<T>) {
            return Result(std::move(*item));
        } else {
            try {
                return Result(std::move(*item));
            } catch (...) {
                give_back(std::move(item));
                throw;
            }
        }
    }

    /// No more puts; what is in the store can still be had.
    [[gnu::cold, gnu::noinline]] void close() noexcept {
        limit_ = 0;
        while (!getters_.empty()) getters_.grant_first();
        while (!putters_.empty()) putters_.grant_first();
    }
    /// Takes everything out of the store; it counts as done, and so does what a getter gives back
    /// from now on. The caller destroys it when it is done with the queue: destructors of items may
    /// do anything.
    Store drain() noexcept {
        dropping_ = true;
        Store items(std::move(store_));
        std::destroy_at(&store_);
        std::construct_at(&store_);
        const std::size_t dropped = items.size();
        unfinished_ -= dropped < unfinished_ ? dropped : unfinished_;
        if (unfinished_ == 0) joiners_.let_through();
        return items;
    }

private:
    friend Get;
    friend Put;

    // Out of line, like all that deals with tasks that wait: the ways that do not are then short
    // enough to become part of whoever awaits.
    [[gnu::noinline]] void give(Element<T>&& item) noexcept {
        auto& getter = static_cast<Get&>(getters_.front());
        getter.fill([&] { return Element<T>(std::move(item)); });
        getters_.grant_first();
        given_.push_back(getter);
    }

    [[gnu::noinline]] void admit_putters() noexcept {
        do {
            if (store_.size() >= limit_) return;  // an item that came back took the place
            auto& putter = static_cast<Put&>(putters_.front());
            if constexpr (Store::push_is_safe) {
                admit(putter);
            } else {
                try {
                    admit(putter);
                } catch (...) {
                    putter.fail(std::current_exception());
                }
            }
            QueueWait& admitted = putters_.grant_first();
            if (putter.is_put()) admitted_.push_back(admitted);
        } while (!putters_.empty());
    }

    void admit(Put& putter) {
        store_.push(std::move(putter.element()));
        putter.mark_put();
        ++unfinished_;
    }

    /// From a getter that could not use it. An item whose comparison throws, or for which no memory
    /// is left, is lost here, for want of somebody to tell.
    void give_back(Element<T>&& item) noexcept {
        if (!getters_.empty()) return give(std::move(item));
        if (dropping_) {
            if (unfinished_ > 0) task_done();
            return;  // who has it destroys it
        }
        try {
            store_.give_back(std::move(item));
        } catch (...) {
        }
    }

    [[gnu::cold, gnu::noinline]] void abandon() noexcept {
        Abandoned told{"queue"};
        getters_.abandon(told);
        putters_.abandon(told);
        told.report();
    }

    Store store_;
    std::size_t limit_;  // of the store; 0 once it is shut down
    std::size_t unfinished_ = 0;
    Gate joiners_;
    WaitQueue getters_;
    WaitQueue putters_;
    WaitQueue given_;     // getters that have an item and did not run yet
    WaitQueue admitted_;  // putters whose item was taken and that did not run yet
    std::size_t maxsize_;
    bool dropping_ = false;
};

template <class T, class Store>
[[gnu::always_inline]] inline bool GetWait<T, Store>::await_ready() {
    if (queue_->empty()) return queue_->closed();
    if (!may_go_on() || is_behind_granted()) return false;
    fill([this] { return queue_->pop(); });
    return true;
}

template <class T, class Store>
bool GetWait<T, Store>::try_take() {
    if (queue_->empty()) return queue_->closed();
    fill([this] { return queue_->pop(); });
    return true;
}

template <class T, class Store>
void GetWait<T, Store>::return_item() noexcept {
    if (granted_and_not_taken()) leave_given();
    if (queue_) queue_->give_back(std::move(*std::addressof(item_)));
    drop_item();
}

template <class T, class Store>
[[gnu::always_inline]] inline bool PutWait<T, Store>::try_take() {
    put_ = queue_->try_put(item_);
    return put_ || queue_->closed();
}

}  // namespace weft::detail
