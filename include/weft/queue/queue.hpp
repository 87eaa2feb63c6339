// SPDX-License-Identifier: MIT
// Queue<T>: hands items from tasks that put to tasks that get, in order; and what the other kinds
// share.
#pragma once

#include <coroutine>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <utility>

#include "../base/element.hpp"
#include "../base/error.hpp"
#include "../sync/gate.hpp"
#include "../sync/wait_queue.hpp"
#include "detail/item_queue.hpp"

namespace weft {

struct QueueStatistics {
    QueueStatistics(std::size_t size, std::size_t not_done, std::size_t gets, std::size_t puts,
                    std::size_t joins) noexcept
        : items(size),
          unfinished(not_done),
          waiting_gets(gets),
          waiting_puts(puts),
          waiting_joins(joins) {}
    std::size_t items;
    std::size_t unfinished;  ///< items of which `task_done` was not said
    std::size_t waiting_gets;
    std::size_t waiting_puts;
    std::size_t waiting_joins;
};

/// `get_nowait` found nothing.
class QueueEmpty : public std::runtime_error {
public:
    QueueEmpty() : std::runtime_error("the queue is empty") {}
};

/// `put_nowait` found no room.
class QueueFull : public std::runtime_error {
public:
    QueueFull() : std::runtime_error("the queue is full") {}
};

/// A put after `shutdown()`, or a get when nothing is left after it; either, when the queue is
/// destroyed while a task waits.
class QueueShutDown : public RuntimeError {
public:
    explicit QueueShutDown(const char* what = "the queue is shut down") : RuntimeError(what) {}
};

namespace detail {

template <class T, class Store>
class QueueGetAwaiter;
template <class T, class Store>
class QueuePutAwaiter;
class QueueJoinAwaiter;

}  // namespace detail

/// What Queue, LifoQueue and PriorityQueue do alike; `Store` decides which item is next.
///
/// Tasks that wait are served in the order in which they came, by direct hand-off: an item that is
/// put while a task waits for one belongs to that task from then on, room that a get makes belongs
/// to the put that waited longest, and nobody who comes later can take either.
///
/// A task in a loop that never has to wait lets other tasks run all the same: after 128 awaits in
/// one go that found what they wanted, of any primitive, the next one suspends, and the task is
/// resumed behind those that are ready. So every await may suspend, and if a cancel is pending it
/// strikes there, before anything is taken. `try_put` and `try_get` do not suspend.
///
/// T is moved and may be neither copied nor assigned nor default-constructed. An exception of its
/// move or comparison comes out of the put or get of that item, and no other item is lost by it.
///
/// No put or get allocates, except that the store doubles when it is full (never beyond what
/// `maxsize` needs), and that an item whose move may throw is given a recycled block of memory.
///
/// Destroyed with tasks that wait, it wakes them with a QueueShutDown, which is a RuntimeError.
template <class T, class Store>
class BasicQueue {
    using Items = detail::ItemQueue<T, Store>;

public:
    using value_type = T;

    /// Holds `maxsize` items at most; 0: as many as there is memory for.
    explicit BasicQueue(std::size_t maxsize = 0) noexcept : items_(maxsize) {}
    BasicQueue(const BasicQueue&) = delete;
    BasicQueue& operator=(const BasicQueue&) = delete;

    /// Puts an item; suspends while the queue is full.
    /// Throws:   QueueShutDown; CancelledError; what moving T throws.
    /// Cancel:   lossless: the item was put, or it is still in the awaiter. There it is destroyed
    ///           with the await, unless the awaiter has a name:
    ///           `auto putting = queue.put(std::move(x));`, `co_await putting;`, and after a
    ///           failure `putting.item()`.
    detail::QueuePutAwaiter<T, Store> put(T&& item);
    detail::QueuePutAwaiter<T, Store> put(const T& item);

    /// Takes the next item; suspends while there is none.
    /// Throws:   QueueShutDown when the queue is shut down and empty; CancelledError.
    /// Cancel:   lossless: either an item is returned or none was taken.
    detail::QueueGetAwaiter<T, Store> get() noexcept;

    /// Puts an item without waiting, and throws where `try_put` returns false.
    /// Throws:   QueueFull, QueueShutDown; then `item` was not moved from.
    void put_nowait(T&& item);
    void put_nowait(const T& item);
    /// Takes the next item without waiting, and throws where there is none.
    /// Throws:   QueueEmpty; QueueShutDown when the queue is shut down and empty.
    T get_nowait();
    /// Puts an item without waiting. False: the queue is full or shut down, and `item` was not
    /// moved from.
    bool try_put(T&& item);
    bool try_put(const T& item);
    /// Takes the next item without waiting; empty when there is none.
    std::optional<T> try_get();

    std::size_t size() const noexcept { return items_.size(); }
    std::size_t qsize() const noexcept { return items_.size(); }
    std::size_t maxsize() const noexcept { return items_.maxsize(); }
    bool empty() const noexcept { return items_.empty(); }
    bool full() const noexcept { return items_.full(); }
    /// Walks those who wait.
    QueueStatistics statistics() const noexcept;

    /// Says that the work on an item that was taken is done; see `join`.
    /// Throws:   RuntimeError when it is said more often than items were put.
    void task_done();
    /// Waits until `task_done` was called for every item that was put.
    /// Throws:   QueueShutDown when the queue is destroyed meanwhile; CancelledError.
    /// Cancel:   at once.
    detail::QueueJoinAwaiter join() noexcept;

    /// No more puts: those that wait and those that come throw QueueShutDown. What is in the queue
    /// can still be taken, then gets throw it too. `immediate`: what is in the queue is dropped and
    /// counts as done for `join`; so is an item that was given to a get which does not return it
    /// (it lost a race, or its coroutine was destroyed). Idempotent.
    void shutdown(bool immediate = false) noexcept;
    bool is_shutdown() const noexcept { return items_.closed(); }

private:
    bool put_now(detail::Element<T> item) { return items_.try_put(item); }
    [[noreturn]] void throw_cannot_put() const;
    [[noreturn]] void throw_cannot_get() const;

    Items items_;
};

/// First in, first out. What it does is said at BasicQueue, above.
///
///     weft::Queue<std::string> lines(100);
///     co_await lines.put(line);                       // waits while 100 lines are in it
///     std::string next = co_await lines.get();
template <class T>
class Queue : public BasicQueue<T, detail::FifoStore<T>> {
public:
    using BasicQueue<T, detail::FifoStore<T>>::BasicQueue;
};

namespace detail {

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_queue_shut_down() {
    throw QueueShutDown();
}
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_queue_destroyed() {
    throw QueueShutDown("weft: the queue was destroyed while a task waited for it");
}

template <class T, class Store>
class [[nodiscard]] [[gnu::warn_unused]] QueueGetAwaiter final : public GetWait<T, Store> {
public:
    explicit QueueGetAwaiter(ItemQueue<T, Store>& queue) noexcept : GetWait<T, Store>(queue) {}
    const char* what() const noexcept override { return "queue get"; }
    T await_resume() {
        if (!this->has_item()) [[unlikely]]
            throw_queue_shut_down();
        return this->take();
    }

private:
    void throw_abandoned() const override { throw_queue_destroyed(); }
};

template <class T, class Store>
class [[nodiscard]] [[gnu::warn_unused]] QueuePutAwaiter final : public PutWait<T, Store> {
public:
    template <class U>
    QueuePutAwaiter(ItemQueue<T, Store>& queue, U&& item)
        : PutWait<T, Store>(queue, std::forward<U>(item)) {}
    const char* what() const noexcept override { return "queue put"; }
    void await_resume() {
        if (!this->was_put()) [[unlikely]]
            throw_queue_shut_down();
    }

private:
    void throw_abandoned() const override { throw_queue_destroyed(); }
};

class [[nodiscard]] [[gnu::warn_unused]] QueueJoinAwaiter final : public GateWait {
public:
    QueueJoinAwaiter(Gate& joiners, bool ready) noexcept : GateWait(joiners), ready_(ready) {}
    const char* what() const noexcept override { return "queue join"; }
    bool await_ready() const noexcept { return ready_ && may_go_on(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    bool try_take() const noexcept { return ready_; }
    void begin_wait(std::coroutine_handle<> handle) { wait(handle); }
    void await_resume() { finish_wait(); }

private:
    void throw_abandoned() const override { throw_queue_destroyed(); }
    bool ready_;
};

}  // namespace detail

template <class T, class Store>
detail::QueuePutAwaiter<T, Store> BasicQueue<T, Store>::put(T&& item) {
    return detail::QueuePutAwaiter<T, Store>(items_, std::move(item));
}

template <class T, class Store>
detail::QueuePutAwaiter<T, Store> BasicQueue<T, Store>::put(const T& item) {
    return detail::QueuePutAwaiter<T, Store>(items_, item);
}

template <class T, class Store>
detail::QueueGetAwaiter<T, Store> BasicQueue<T, Store>::get() noexcept {
    return detail::QueueGetAwaiter<T, Store>(items_);
}

template <class T, class Store>
detail::QueueJoinAwaiter BasicQueue<T, Store>::join() noexcept {
    return detail::QueueJoinAwaiter(items_.joiners(), items_.unfinished() == 0);
}

template <class T, class Store>
bool BasicQueue<T, Store>::try_put(T&& item) {
    return items_.can_put() && put_now(detail::Element<T>(std::move(item)));
}

template <class T, class Store>
bool BasicQueue<T, Store>::try_put(const T& item) {
    return items_.can_put() && put_now(detail::Element<T>(item));
}

template <class T, class Store>
std::optional<T> BasicQueue<T, Store>::try_get() {
    if (items_.empty()) return std::nullopt;
    return items_.template pop_value<std::optional<T>>();
}

template <class T, class Store>
void BasicQueue<T, Store>::put_nowait(T&& item) {
    if (!try_put(std::move(item))) throw_cannot_put();
}

template <class T, class Store>
void BasicQueue<T, Store>::put_nowait(const T& item) {
    if (!try_put(item)) throw_cannot_put();
}

template <class T, class Store>
T BasicQueue<T, Store>::get_nowait() {
    if (items_.empty()) throw_cannot_get();
    return items_.pop_value();
}

template <class T, class Store>
[[gnu::cold, gnu::noinline]] void BasicQueue<T, Store>::throw_cannot_put() const {
    if (is_shutdown()) throw QueueShutDown();
    throw QueueFull();
}

template <class T, class Store>
[[gnu::cold, gnu::noinline]] void BasicQueue<T, Store>::throw_cannot_get() const {
    if (is_shutdown()) throw QueueShutDown();
    throw QueueEmpty();
}

template <class T, class Store>
void BasicQueue<T, Store>::task_done() {
    if (items_.unfinished() == 0)
        detail::throw_runtime_error("task_done: called more often than items were put");
    items_.task_done();
}

template <class T, class Store>
void BasicQueue<T, Store>::shutdown(bool immediate) noexcept {
    items_.close();
    if (immediate) const Store dropped = items_.drain();
}

template <class T, class Store>
QueueStatistics BasicQueue<T, Store>::statistics() const noexcept {
    return QueueStatistics(items_.size(), items_.unfinished(), items_.waiting_gets(),
                           items_.waiting_puts(), items_.joiners().count());
}

}  // namespace weft
