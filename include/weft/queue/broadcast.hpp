// SPDX-License-Identifier: MIT
// Broadcast<T>: every receiver gets every item, out of one ring; a slow one is told what it missed.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>

#include "../base/frame_allocator.hpp"
#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../sync/gate.hpp"
#include "detail/element.hpp"
#include "detail/ring_buffer.hpp"

namespace weft {

struct BroadcastStatistics {
    BroadcastStatistics(std::size_t size, std::size_t subscribed, std::size_t waiting) noexcept
        : items(size), receivers(subscribed), waiters(waiting) {}
    std::size_t items;  ///< that are kept for the receivers
    std::size_t receivers;
    std::size_t waiters;  ///< those of them that wait for an item
};

/// What a receiver of a Broadcast gets: an item and how many it missed before that one, or, when
/// the Broadcast is gone, nothing.
template <class T>
class Received {
public:
    Received() noexcept {}
    Received(const T& item, std::uint64_t missed) : item_(item), missed_(missed) {}

    explicit operator bool() const noexcept { return item_.has_value(); }
    T& operator*() noexcept { return *item_; }
    const T& operator*() const noexcept { return *item_; }
    T* operator->() noexcept { return &*item_; }
    const T* operator->() const noexcept { return &*item_; }
    /// Items that were sent between the one received before and this one, and are lost for this
    /// receiver because it was slower than the ring is long.
    std::uint64_t missed() const noexcept { return missed_; }

private:
    std::optional<T> item_;
    std::uint64_t missed_ = 0;
};

namespace detail {

template <class T>
struct BroadcastCore : Recycled {
    explicit BroadcastCore(std::size_t size) noexcept : capacity(size) {}

    void send(Element<T>&& item) {
        // The oldest goes last: its destructor may send or look.
        std::optional<Element<T>> oldest;
        if (items.size() == capacity) oldest.emplace(items.pop_front());
        items.push_back(std::move(item));
        ++sent;
        waiting.let_through();
    }
    bool has_item(std::uint64_t position) const noexcept { return position != sent; }
    Received<T> take(std::uint64_t& position) {
        if (position == sent) return {};  // closed
        const std::uint64_t oldest = sent - items.size();
        const std::uint64_t missed = position < oldest ? oldest - position : 0;
        Received<T> received(*items[position + missed - oldest], missed);
        position += missed + 1;
        return received;
    }
    void close() noexcept {
        closed = true;
        waiting.let_through();
    }
    void add_ref() noexcept { ++refs; }
    void release() noexcept {
        if (--refs == 0) delete this;
    }

    RingBuffer<Element<T>> items;
    std::size_t capacity;
    std::uint64_t sent = 0;
    Gate waiting;
    std::size_t refs = 1;
    bool closed = false;
};

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] BroadcastAwaiter final : public GateWait {
public:
    BroadcastAwaiter(BroadcastCore<T>& core, std::uint64_t& position) noexcept
        : GateWait(core.waiting), core_(&core), position_(&position) {}
    const char* what() const noexcept override { return "broadcast recv"; }
    bool await_ready() const noexcept { return try_take() && may_go_on(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    bool try_take() const noexcept { return core_->has_item(*position_) || core_->closed; }
    void begin_wait(std::coroutine_handle<> handle) { wait(handle); }
    void give_back() const noexcept {}  // the position moves on only once it was taken
    /// The position moves on only once the item is copied: an exception or a frame that is
    /// destroyed loses nothing.
    Received<T> await_resume() {
        finish_wait();
        return core_->take(*position_);
    }

private:
    BroadcastCore<T>* core_;
    std::uint64_t* position_;
};

}  // namespace detail

/// Sends each item to every receiver, and never waits for one: the last `capacity` items are kept,
/// a receiver that is further behind goes on with the oldest of them and is told how many it
/// missed. Each receiver gets a copy; share what is large (`std::shared_ptr<const X>`).
///
///     weft::Broadcast<std::string> chat(64);
///     auto messages = chat.subscribe();
///     while (auto message = co_await messages.recv()) {        // ends when `chat` is gone
///         if (message.missed() > 0) warn(message.missed());
///         show(*message);
///     }
template <class T>
class Broadcast {
    using Core = detail::BroadcastCore<T>;

public:
    /// A copy is at the same item as the original.
    class Receiver {
    public:
        /// Waits for the next item.
        /// Returns:  nothing once the Broadcast is gone and everything kept was received.
        /// Throws:   CancelledError; what copying T throws (the item can be received again).
        /// Cancel:   lossless: either an item is returned or it is the next one still.
        auto recv() noexcept { return detail::BroadcastAwaiter<T>(*core_, position_); }
        /// The same without waiting; nothing when there is nothing now.
        Received<T> try_recv() { return core_->take(position_); }
        /// Items that were sent and not received, the missed ones included.
        std::uint64_t behind() const noexcept { return core_->sent - position_; }
        /// True: everything was received, and nothing will come.
        bool closed() const noexcept { return core_->closed && behind() == 0; }

    private:
        friend Broadcast;
        explicit Receiver(detail::Ref<Core> core) noexcept
            : core_(std::move(core)), position_(core_->sent) {}
        detail::Ref<Core> core_;
        std::uint64_t position_;
    };

    /// Throws:   std::invalid_argument when `capacity` is 0.
    explicit Broadcast(std::size_t capacity) : core_(make_core(capacity)) {}
    Broadcast(Broadcast&& other) noexcept = default;
    Broadcast& operator=(Broadcast&& other) noexcept {
        Broadcast taken(std::move(other));
        std::swap(core_, taken.core_);
        return *this;
    }
    /// Receivers still get what is kept, and are then told that it is gone.
    ~Broadcast() {
        if (core_) core_->close();
    }

    /// Sends to everyone who is subscribed now; without receivers the item is destroyed.
    /// Returns:  how many receivers there are.
    std::size_t send(T&& item) { return send_element(detail::Element<T>(std::move(item))); }
    std::size_t send(const T& item) { return send_element(detail::Element<T>(item)); }

    /// Receives what is sent from now on.
    Receiver subscribe() const noexcept { return Receiver(core_); }
    std::size_t receivers() const noexcept { return core_->refs - 1; }
    BroadcastStatistics statistics() const noexcept {
        return BroadcastStatistics(core_->items.size(), receivers(), core_->waiting.count());
    }

private:
    static Core* make_core(std::size_t capacity) {
        if (capacity == 0) throw std::invalid_argument("Broadcast: the capacity must not be 0");
        return new Core(capacity);
    }
    std::size_t send_element(detail::Element<T> item) {
        const std::size_t count = receivers();
        if (count > 0) core_->send(std::move(item));
        return count;
    }
    detail::Ref<Core> core_;
};

}  // namespace weft
