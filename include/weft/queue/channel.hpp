// SPDX-License-Identifier: MIT
// Channel<T>: a bounded queue with two kinds of ends, which tell each other when they are gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>

#include "../base/element.hpp"
#include "../base/frame_allocator.hpp"
#include "../base/std_parts.hpp"
#include "channel_closed.hpp"
#include "detail/end.hpp"
#include "detail/item_queue.hpp"

namespace weft {

struct ChannelStatistics {
    ChannelStatistics(std::size_t size, std::size_t sending_ends, std::size_t receiving_ends,
                      std::size_t sends, std::size_t recvs) noexcept
        : items(size),
          senders(sending_ends),
          receivers(receiving_ends),
          waiting_sends(sends),
          waiting_recvs(recvs) {}
    std::size_t items;
    std::size_t senders;
    std::size_t receivers;
    std::size_t waiting_sends;
    std::size_t waiting_recvs;
};

namespace detail {

template <class T>
struct ChannelCore;
template <class T>
class ChannelSendAwaiter;
template <class T>
class ChannelReceiveAwaiter;
template <class T>
struct Sending {
    static void join(ChannelCore<T>& core) noexcept;
    static void leave(ChannelCore<T>& core) noexcept;
    static void end_gone(EndWait<ChannelCore<T>, Sending>& wait) noexcept;
};
template <class T>
struct Receiving {
    static void join(ChannelCore<T>& core) noexcept;
    static void leave(ChannelCore<T>& core) noexcept;
    static void end_gone(EndWait<ChannelCore<T>, Receiving>& wait) noexcept;
};

}  // namespace detail

/// Carries items from senders to receivers; each item goes to one of them. Ends are copied to have
/// more of them, and given to the tasks that use them: a channel ends when the last sender goes
/// (what is in it is still received) or when the last receiver goes (what is in it is dropped).
///
///     weft::Channel<std::string> channel(16);
///     auto reader = weft::create_task(read_lines(std::move(channel.sender)));
///     while (auto line = co_await channel.receiver.recv()) use(*line);
///
/// Tasks that wait are served in the order in which they came, by direct hand-off, as in Queue.
///
/// An end may be moved, assigned to, closed or destroyed at any time, also while a task waits in a
/// call of it.
/// Thread:   loop thread only.
template <class T>
class Channel {
    using Core = detail::ChannelCore<T>;

public:
    /// Throws:   std::invalid_argument when `capacity` is 0.
    explicit Channel(std::size_t capacity) : Channel(make_core(capacity)) {}

    class Sender {
    public:
        /// Sends an item; suspends while the channel is full.
        /// Throws:   ChannelClosed when the last receiver is gone, or this end is closed meanwhile;
        ///           RuntimeError when this end is empty; CancelledError.
        /// Cancel:   lossless: the item was sent, or it is still in the awaiter; see Queue::put.
        auto send(T&& item) { return detail::ChannelSendAwaiter<T>(end_, std::move(item)); }
        auto send(const T& item) { return detail::ChannelSendAwaiter<T>(end_, item); }
        /// False: the channel is full or has no receiver, and `item` was not moved from.
        /// Throws:   RuntimeError when this end is empty; what moving T throws.
        bool try_send(T&& item) { return end_.require("try_send").try_send(std::move(item)); }
        bool try_send(const T& item) { return end_.require("try_send").try_send(item); }

        /// Of the whole channel. Walks those who wait.
        /// Throws:   RuntimeError when this end is empty.
        ChannelStatistics statistics() const { return end_.require("statistics").statistics(); }
        /// True: nobody will ever receive what is sent, or this end is empty.
        bool closed() const noexcept { return !end_ || end_->receivers == 0; }
        /// Lets go of the channel, as the destructor does.
        void close() noexcept { end_.close(); }

    private:
        friend Channel;
        explicit Sender(Core* core) noexcept : end_(core) {}
        detail::End<Core, detail::Sending<T>> end_;
    };

    class Receiver {
    public:
        /// Receives the next item; suspends while there is none.
        /// Returns:  empty once the last sender is gone and everything was received, or when this
        ///           end is closed meanwhile.
        /// Throws:   RuntimeError when this end is empty; CancelledError.
        /// Cancel:   lossless: either an item is returned or none was taken.
        auto recv() { return detail::ChannelReceiveAwaiter<T>(end_); }
        /// Empty when nothing is there now.
        /// Throws:   RuntimeError when this end is empty.
        std::optional<T> try_recv() {
            Core& core = end_.require("try_recv");
            if (core.items.empty()) return std::nullopt;
            return core.items.template pop_value<std::optional<T>>();
        }

        /// Of the whole channel. Walks those who wait.
        /// Throws:   RuntimeError when this end is empty.
        ChannelStatistics statistics() const { return end_.require("statistics").statistics(); }
        /// Items that can be received at once.
        /// Throws:   RuntimeError when this end is empty.
        std::size_t size() const { return end_.require("size").items.size(); }
        /// True: nothing is there and nothing will come, or this end is empty.
        bool closed() const noexcept {
            return !end_ || (end_->senders == 0 && end_->items.empty());
        }
        /// Lets go of the channel, as the destructor does.
        void close() noexcept { end_.close(); }

    private:
        friend Channel;
        explicit Receiver(Core* core) noexcept : end_(core) {}
        detail::End<Core, detail::Receiving<T>> end_;
    };

    /// The first two ends. Move them to where they are used, or the channel does not end.
    Sender sender;
    Receiver receiver;

private:
    // By reference: a pointer would make `Channel(0)` ambiguous.
    explicit Channel(Core& core) noexcept : sender(&core), receiver(&core) {}
    static Core& make_core(std::size_t capacity) {
        if (capacity == 0) throw std::invalid_argument("Channel: the capacity must not be 0");
        return *new Core(capacity);
    }
};

namespace detail {

template <class T>
struct ChannelCore : Recycled {
    explicit ChannelCore(std::size_t capacity) noexcept : items(capacity) {}

    template <class U>
    bool try_send(U&& item) {
        if (!items.can_put()) return false;
        Element<T> element(std::forward<U>(item));
        return items.try_put(element);
    }
    ChannelStatistics statistics() const noexcept {
        return ChannelStatistics(items.size(), senders, receivers, items.waiting_puts(),
                                 items.waiting_gets());
    }
    void add_ref() noexcept { ++refs; }
    void release() noexcept {
        if (--refs == 0) delete this;
    }

    ItemQueue<T, FifoStore<T>> items;
    std::uint32_t senders = 1;
    std::uint32_t receivers = 1;
    std::uint32_t refs = 2;  // the ends, and awaits that have outlived theirs
};

template <class T>
void Sending<T>::join(ChannelCore<T>& core) noexcept {
    ++core.senders;
    core.add_ref();
}
template <class T>
void Receiving<T>::join(ChannelCore<T>& core) noexcept {
    ++core.receivers;
    core.add_ref();
}
// Both may destroy items, and an item may hold the last other end: the count goes down last.
template <class T>
void Sending<T>::leave(ChannelCore<T>& core) noexcept {
    if (--core.senders == 0) core.items.close();
    core.release();
}
template <class T>
void Receiving<T>::leave(ChannelCore<T>& core) noexcept {
    if (--core.receivers == 0) {
        core.items.close();
        (void)core.items.drain();
    }
    core.release();
}

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] ChannelSendAwaiter final
    : EndWait<ChannelCore<T>, Sending<T>>,
      public PutWait<T, FifoStore<T>> {
    using Base = EndWait<ChannelCore<T>, Sending<T>>;
    using Put = PutWait<T, FifoStore<T>>;

public:
    template <class U>
    ChannelSendAwaiter(End<ChannelCore<T>, Sending<T>>& end, U&& item)
        : Base(end, "send"), Put(Base::core().items, std::forward<U>(item)) {}
    const char* what() const noexcept override { return "channel send"; }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    void begin_wait(std::coroutine_handle<> handle) {
        if (!this->has_end()) [[unlikely]]
            return this->turn_away_at_once(handle);
        Put::begin_wait(handle);
    }
    void await_resume() {
        if (!this->was_put()) [[unlikely]]
            throw_channel_closed("send: every receiver of the channel is gone");
    }

private:
    friend Sending<T>;
    void throw_abandoned() const override {
        throw_channel_closed("send: this end of the channel was closed while a task waited");
    }
};

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] ChannelReceiveAwaiter final
    : EndWait<ChannelCore<T>, Receiving<T>>,
      public GetWait<T, FifoStore<T>> {
    using Base = EndWait<ChannelCore<T>, Receiving<T>>;
    using Get = GetWait<T, FifoStore<T>>;

public:
    explicit ChannelReceiveAwaiter(End<ChannelCore<T>, Receiving<T>>& end)
        : Base(end, "recv"), Get(Base::core().items) {}
    const char* what() const noexcept override { return "channel recv"; }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    void begin_wait(std::coroutine_handle<> handle) {
        if (!this->has_end()) [[unlikely]]
            return this->turn_away_at_once(handle);
        Get::begin_wait(handle);
    }
    std::optional<T> await_resume() {
        check_leftover();
        if (!this->holds_result()) [[unlikely]] {
            if (!this->was_turned_away()) this->finish_wait();
            return std::nullopt;
        }
        return this->template take<std::optional<T>>();
    }

private:
    friend Receiving<T>;
};

template <class T>
void Sending<T>::end_gone(EndWait<ChannelCore<T>, Sending>& wait) noexcept {
    static_cast<ChannelSendAwaiter<T>&>(wait).turn_away();
}
template <class T>
void Receiving<T>::end_gone(EndWait<ChannelCore<T>, Receiving>& wait) noexcept {
    static_cast<ChannelReceiveAwaiter<T>&>(wait).turn_away();
}

}  // namespace detail
}  // namespace weft
