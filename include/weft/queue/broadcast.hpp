// SPDX-License-Identifier: MIT
// Broadcast<T>: every receiver gets every item, out of one ring; a slow one is told what it missed.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>

#include "../base/element.hpp"
#include "../base/frame_allocator.hpp"
#include "../base/ref.hpp"
#include "../base/ring_buffer.hpp"
#include "../base/std_parts.hpp"
#include "../sync/gate.hpp"
#include "channel_closed.hpp"
#include "detail/end.hpp"

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
    T* operator->() noexcept { return std::addressof(*item_); }
    const T* operator->() const noexcept { return std::addressof(*item_); }
    /// Items that were sent between the one received before and this one, and are lost for this
    /// receiver because it was slower than the ring is long.
    std::uint64_t missed() const noexcept { return missed_; }

private:
    std::optional<T> item_;
    std::uint64_t missed_ = 0;
};

namespace detail {

template <class T>
struct BroadcastCore;
template <class T>
class BroadcastAwaiter;
template <class T>
struct Listening {
    static void join(BroadcastCore<T>& core) noexcept;
    static void leave(BroadcastCore<T>& core) noexcept;
    static void end_gone(EndWait<BroadcastCore<T>, Listening>& wait) noexcept;
    std::uint64_t position;  // how many items were sent before the one that comes next
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
///
/// Both may be moved or destroyed at any time, also while a task waits for an item.
/// Throws:   RuntimeError from what needs a Broadcast or receiver when it was moved from.
/// Thread:   loop thread only.
template <class T>
class Broadcast {
    using Core = detail::BroadcastCore<T>;

public:
    /// A copy is at the same item as the original.
    class Receiver {
    public:
        /// Waits for the next item.
        /// Returns:  nothing once the Broadcast is closed or gone and everything kept was received.
        /// Throws:   ChannelClosed when this receiver is destroyed or assigned to meanwhile;
        ///           CancelledError; what copying T throws (the item can be received again).
        /// Cancel:   lossless: either an item is returned or it is the next one still.
        auto recv() { return detail::BroadcastAwaiter<T>(end_); }
        /// The same without waiting; nothing when there is nothing now.
        Received<T> try_recv() { return end_.require("try_recv").take(end_.position); }
        /// Items that were sent and not received, the missed ones included.
        std::uint64_t behind() const { return end_.require("behind").sent - end_.position; }
        /// True: everything was received and nothing will come, or this receiver was moved from.
        bool closed() const noexcept {
            return !end_ || (end_->closed && end_->sent == end_.position);
        }

    private:
        friend Broadcast;
        explicit Receiver(Core& core) noexcept : end_(core.join(), {core.sent}) {}
        detail::End<Core, detail::Listening<T>> end_;
    };

    /// Throws:   std::invalid_argument when `capacity` is 0.
    explicit Broadcast(std::size_t capacity) : core_(make_core(capacity)) {}
    Broadcast(Broadcast&& other) noexcept = default;
    Broadcast& operator=(Broadcast&& other) noexcept {
        Broadcast taken(std::move(other));
        std::swap(core_, taken.core_);
        return *this;
    }
    /// As `close`.
    ~Broadcast() { close(); }

    /// Sends to everyone who is subscribed now; without receivers the item is destroyed.
    /// Returns:  how many receivers there are.
    /// Throws:   ChannelClosed after `close`; what moving T throws. Then `item` was not moved from.
    std::size_t send(T&& item) { return require_open().send(std::move(item)); }
    std::size_t send(const T& item) { return require_open().send(item); }

    /// Nothing will be sent any more: receivers still get what is kept, and are then told that it
    /// is over. Idempotent.
    void close() noexcept {
        if (core_) core_->close();
    }
    /// True after `close`, and of one that was moved from.
    bool closed() const noexcept { return !core_ || core_->closed; }

    /// Receives what is sent from now on.
    Receiver subscribe() const { return Receiver(core("subscribe")); }
    std::size_t receivers() const { return core("receivers").receivers; }
    BroadcastStatistics statistics() const {
        const Core& of = core("statistics");
        return BroadcastStatistics(of.items.size(), of.receivers, of.waiting.count());
    }

private:
    static Core* make_core(std::size_t capacity) {
        if (capacity == 0) throw std::invalid_argument("Broadcast: the capacity must not be 0");
        return new Core(capacity);
    }
    Core& core(const char* call) const {
        if (!core_) [[unlikely]]
            detail::throw_empty_end(call);
        return *core_;
    }
    Core& require_open() const {
        Core& open = core("send");
        if (open.closed) [[unlikely]]
            detail::throw_channel_closed("send: the broadcast is closed");
        return open;
    }
    detail::Ref<Core> core_;
};

namespace detail {

template <class T>
struct BroadcastCore : Recycled {
    explicit BroadcastCore(std::size_t size) noexcept : capacity(size) {}

    template <class U>
    std::size_t send(U&& item) {
        Element<T> element(std::forward<U>(item));
        const std::size_t count = receivers;
        if (count > 0) keep(std::move(element));
        return count;
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
    BroadcastCore* join() noexcept {
        ++receivers;
        add_ref();
        return this;
    }
    void leave() noexcept {
        --receivers;
        release();
    }
    void add_ref() noexcept { ++refs; }
    void release() noexcept {
        if (--refs == 0) delete this;
    }

    RingBuffer<Element<T>> items;
    std::size_t capacity;
    std::uint64_t sent = 0;
    Gate waiting;
    std::size_t receivers = 0;
    std::size_t refs = 1;  // the Broadcast, its receivers, and awaits that have outlived theirs
    bool closed = false;

private:
    void keep(Element<T>&& item) {
        // The oldest goes last: its destructor may send or look.
        std::optional<Element<T>> oldest;
        if (items.size() == capacity) oldest.emplace(items.pop_front());
        items.push_back(std::move(item));
        ++sent;
        waiting.let_through();
    }
};

template <class T>
void Listening<T>::join(BroadcastCore<T>& core) noexcept {
    core.join();
}
template <class T>
void Listening<T>::leave(BroadcastCore<T>& core) noexcept {
    core.leave();
}

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] BroadcastAwaiter final
    : EndWait<BroadcastCore<T>, Listening<T>>,
      public GateWait {
    using Base = EndWait<BroadcastCore<T>, Listening<T>>;

public:
    explicit BroadcastAwaiter(End<BroadcastCore<T>, Listening<T>>& end)
        : Base(end, "recv"), GateWait(Base::core().waiting) {}
    const char* what() const noexcept override { return "broadcast recv"; }
    bool await_ready() const noexcept { return try_take() && may_go_on(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    bool try_take() const noexcept {
        return Base::core().has_item(Base::role().position) || Base::core().closed;
    }
    void begin_wait(std::coroutine_handle<> handle) {
        if (!this->has_end()) [[unlikely]]
            return turn_away_at_once(handle);
        wait(handle);
    }
    void give_back() const noexcept {}  // the position moves on only once it was taken
    /// The position moves on only once the item is copied: an exception or a frame that is
    /// destroyed loses nothing.
    Received<T> await_resume() {
        finish_wait();
        return Base::core().take(Base::role().position);
    }

private:
    friend Listening<T>;
    void throw_abandoned() const override {
        throw_channel_closed("the receiver of the broadcast was destroyed while a task waited");
    }
};

template <class T>
void Listening<T>::end_gone(EndWait<BroadcastCore<T>, Listening>& wait) noexcept {
    static_cast<BroadcastAwaiter<T>&>(wait).turn_away();
}

}  // namespace detail
}  // namespace weft
