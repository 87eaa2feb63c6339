// SPDX-License-Identifier: MIT
// Channel<T>: a bounded queue with two kinds of ends, which tell each other when they are gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>

#include "../base/frame_allocator.hpp"
#include "../base/std_parts.hpp"
#include "channel_closed.hpp"
#include "detail/element.hpp"
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
struct ChannelCore : Recycled {
    explicit ChannelCore(std::size_t capacity) noexcept : items(capacity) {}

    // Both may destroy items, and an item may hold the last other end: the count goes down last.
    void sender_left() noexcept {
        if (--senders == 0) items.close();
        release();
    }
    void receiver_left() noexcept {
        if (--receivers == 0) {
            items.close();
            (void)items.drain();
        }
        release();
    }
    void release() noexcept {
        if (--ends == 0) delete this;
    }

    ChannelStatistics statistics() const noexcept {
        return ChannelStatistics(items.size(), senders, receivers, items.waiting_puts(),
                                 items.waiting_gets());
    }

    ItemQueue<T, FifoStore<T>> items;
    std::uint32_t senders = 1;
    std::uint32_t receivers = 1;
    std::uint32_t ends = 2;
};

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] ChannelSendAwaiter final
    : public PutWait<T, FifoStore<T>> {
public:
    template <class U>
    ChannelSendAwaiter(ItemQueue<T, FifoStore<T>>& items, U&& item)
        : PutWait<T, FifoStore<T>>(items, std::forward<U>(item)) {}
    const char* what() const noexcept override { return "channel send"; }
    void await_resume() {
        if (!this->was_put()) [[unlikely]]
            throw_channel_closed("send: every receiver of the channel is gone");
    }
};

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] ChannelReceiveAwaiter final
    : public GetWait<T, FifoStore<T>> {
public:
    explicit ChannelReceiveAwaiter(ItemQueue<T, FifoStore<T>>& items) noexcept
        : GetWait<T, FifoStore<T>>(items) {}
    const char* what() const noexcept override { return "channel recv"; }
    std::optional<T> await_resume() {
        if (!this->has_item()) [[unlikely]]
            return std::nullopt;
        return this->template take<std::optional<T>>();
    }
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
template <class T>
class Channel {
    using Core = detail::ChannelCore<T>;

public:
    class Sender;
    class Receiver;

    /// Throws:   std::invalid_argument when `capacity` is 0.
    explicit Channel(std::size_t capacity) : Channel(make_core(capacity)) {}

    class Sender {
    public:
        Sender(const Sender& other) noexcept : core_(other.core_) {
            if (!core_) return;
            ++core_->senders;
            ++core_->ends;
        }
        Sender(Sender&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
        Sender& operator=(Sender other) noexcept {
            std::swap(core_, other.core_);
            return *this;
        }
        ~Sender() { close(); }

        /// Sends an item; suspends while the channel is full.
        /// Throws:   ChannelClosed when the last receiver is gone; CancelledError.
        /// Cancel:   lossless: the item was sent, or it is still in the awaiter; see Queue::put.
        auto send(T&& item) { return detail::ChannelSendAwaiter<T>(core_->items, std::move(item)); }
        auto send(const T& item) { return detail::ChannelSendAwaiter<T>(core_->items, item); }
        /// False: the channel is full or has no receiver, and `item` was not moved from.
        bool try_send(T&& item) {
            return core_->items.can_put() && put(detail::Element<T>(std::move(item)));
        }
        bool try_send(const T& item) {
            return core_->items.can_put() && put(detail::Element<T>(item));
        }

        /// Of the whole channel, for an end that has not let go of it. Walks those who wait.
        ChannelStatistics statistics() const noexcept { return core_->statistics(); }
        /// True: nobody will ever receive what is sent.
        bool closed() const noexcept { return !core_ || core_->receivers == 0; }
        /// Lets go of the channel, as the destructor does.
        void close() noexcept {
            if (core_) std::exchange(core_, nullptr)->sender_left();
        }

    private:
        friend Channel;
        explicit Sender(Core* core) noexcept : core_(core) {}
        bool put(detail::Element<T> item) { return core_->items.try_put(item); }
        Core* core_;
    };

    class Receiver {
    public:
        Receiver(const Receiver& other) noexcept : core_(other.core_) {
            if (!core_) return;
            ++core_->receivers;
            ++core_->ends;
        }
        Receiver(Receiver&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
        Receiver& operator=(Receiver other) noexcept {
            std::swap(core_, other.core_);
            return *this;
        }
        ~Receiver() { close(); }

        /// Receives the next item; suspends while there is none.
        /// Returns:  empty once the last sender is gone and everything was received.
        /// Throws:   CancelledError.
        /// Cancel:   lossless: either an item is returned or none was taken.
        auto recv() noexcept { return detail::ChannelReceiveAwaiter<T>(core_->items); }
        /// Empty when nothing is there now.
        std::optional<T> try_recv() {
            if (core_->items.empty()) return std::nullopt;
            return core_->items.template pop_value<std::optional<T>>();
        }

        /// Of the whole channel, for an end that has not let go of it. Walks those who wait.
        ChannelStatistics statistics() const noexcept { return core_->statistics(); }
        /// Items that can be received at once.
        std::size_t size() const noexcept { return core_->items.size(); }
        /// True: nothing is there, and nothing will come.
        bool closed() const noexcept {
            return !core_ || (core_->senders == 0 && core_->items.empty());
        }
        /// Lets go of the channel, as the destructor does.
        void close() noexcept {
            if (core_) std::exchange(core_, nullptr)->receiver_left();
        }

    private:
        friend Channel;
        explicit Receiver(Core* core) noexcept : core_(core) {}
        Core* core_;
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

}  // namespace weft
