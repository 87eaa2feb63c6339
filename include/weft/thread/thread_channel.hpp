// SPDX-License-Identifier: MIT
// ThreadChannel<T>: a bounded queue between threads, with tasks of any loop or blocking calls at
// either end.
#pragma once

#include <coroutine>
#include <cstddef>
#include <new>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "../base/clock.hpp"
#include "../base/element.hpp"
#include "../base/error.hpp"
#include "../base/ref.hpp"
#include "../base/ring_buffer.hpp"
#include "../queue/channel_closed.hpp"
#include "../runtime/ready_await.hpp"
#include "detail/channel_party.hpp"

namespace weft {
namespace detail {
template <class T>
class ThreadChannelCore;
template <class T>
class ThreadSendAwaiter;
template <class T>
class ThreadReceiveAwaiter;
}  // namespace detail

/// Carries items between threads; each item goes to one receiver. A handle: copies refer to the
/// same channel, and may be used on any thread (of this process: a forked child makes another one,
/// as a thread that is not there may have locked this one). Whoever has a loop awaits `send` and
/// `recv`, a plain thread calls `blocking_send` and `blocking_recv`.
///
///     weft::ThreadChannel<Job> jobs(64);
///     std::jthread worker([jobs] {
///         while (auto job = jobs.blocking_recv()) work(*job);
///     });
///     co_await jobs.send(Job(1));
///     jobs.close();
///
/// Those who wait, tasks and threads alike, are served in the order in which they came, by direct
/// hand-off. Nobody is told when the last handle on one side goes: somebody calls `close`.
/// Thread:   any.
template <class T>
class ThreadChannel {
public:
    /// Throws:   std::invalid_argument when `capacity` is 0.
    explicit ThreadChannel(std::size_t capacity) : core_(make_core(capacity)) {}

    /// Sends an item; suspends while the channel is full.
    /// Throws:   ChannelClosed when it is closed; CancelledError.
    /// Cancel:   lossless: the item was sent, or it is still in the awaiter (`item()`).
    auto send(T&& item) const { return detail::ThreadSendAwaiter<T>(core_, std::move(item)); }
    auto send(const T& item) const { return detail::ThreadSendAwaiter<T>(core_, item); }
    /// Receives the next item; suspends while there is none.
    /// Returns:  empty once the channel is closed and everything was received.
    /// Throws:   CancelledError.
    /// Cancel:   lossless: either an item is returned or none was taken.
    auto recv() const { return detail::ThreadReceiveAwaiter<T>(core_); }

    /// The same for threads: they block.
    /// Throws:   ChannelClosed; RuntimeError on the thread of a running loop.
    void blocking_send(T item) const {
        static_cast<void>(core_->blocking_send(std::move(item), detail::no_deadline));
    }
    /// Returns:  false: `limit` has passed, and the item (which is gone) was not sent.
    template <class Rep, class Period>
    bool blocking_send_for(std::chrono::duration<Rep, Period> limit, T item) const {
        return core_->blocking_send(std::move(item), deadline_of(limit));
    }
    /// Returns:  empty once the channel is closed and everything was received.
    /// Throws:   RuntimeError on the thread of a running loop.
    std::optional<T> blocking_recv() const { return core_->blocking_recv(detail::no_deadline); }
    /// Returns:  empty also when `limit` has passed.
    template <class Rep, class Period>
    std::optional<T> blocking_recv_for(std::chrono::duration<Rep, Period> limit) const {
        return core_->blocking_recv(deadline_of(limit));
    }

    /// False: the channel is full or closed, and `item` was not moved from.
    bool try_send(T&& item) const { return core_->try_send(std::move(item)); }
    bool try_send(const T& item) const { return core_->try_send(item); }
    /// Empty when nothing is there now.
    std::optional<T> try_recv() const { return core_->try_recv(); }

    /// From now on nothing is sent. What is in the channel can still be received; those who wait
    /// are told. Idempotent.
    void close() const noexcept { core_->close(); }
    bool closed() const noexcept { return core_->closed(); }
    /// Items that can be received at once, as of now.
    std::size_t size() const noexcept { return core_->size(); }
    std::size_t capacity() const noexcept { return core_->capacity(); }

    friend bool operator==(const ThreadChannel&, const ThreadChannel&) noexcept = default;

private:
    using Core = detail::ThreadChannelCore<T>;
    static Core* make_core(std::size_t capacity) {
        if (capacity == 0) throw std::invalid_argument("weft: a ThreadChannel without capacity");
        return new Core(capacity);
    }
    template <class Rep, class Period>
    static detail::Nanoseconds deadline_of(std::chrono::duration<Rep, Period> limit) {
        return detail::deadline_after(detail::monotonic_now(), detail::to_limit(limit));
    }

    detail::Ref<Core> core_;
};

namespace detail {

/// A party with what it sends, or has received.
template <class T>
struct ItemParty : ChannelParty {
    std::optional<Element<T>> item;
};

/// Invariants, under the mutex: while somebody waits to receive, nothing is in the channel; while
/// somebody waits to send, it is full (or has one item more, which came back from a receiver).
template <class T>
class ThreadChannelCore final : public ThreadChannelBase {
    using State = ChannelParty::State;

public:
    using Party = ItemParty<T>;
    enum class Sent { yes, full, closed };

    explicit ThreadChannelCore(std::size_t capacity) noexcept : capacity_(capacity) {}

    std::size_t capacity() const noexcept { return capacity_; }
    std::size_t size() noexcept {
        const Visit visit(*this);
        return items_.size();
    }

    // For who holds the lock.
    Sent push(Visit& visit, Element<T>& item) {
        if (closed_) return Sent::closed;
        if (!receivers_.empty()) {
            hand_over(visit, std::move(item));
        } else if (items_.size() < capacity_) {
            items_.push_back(std::move(item));
        } else {
            return Sent::full;
        }
        return Sent::yes;
    }
    std::optional<Element<T>> pop(Visit& visit) {
        if (items_.empty()) return std::nullopt;
        std::optional<Element<T>> item(items_.pop_front());
        if (!senders_.empty() && items_.size() < capacity_) {
            auto& sender = static_cast<Party&>(senders_.front());
            items_.push_back(std::move(*sender.item));  // there is room: it cannot fail
            sender.item.reset();
            visit.serve(sender, State::served);
        }
        return item;
    }
    void wait_to_send(Party& party) noexcept { wait_in(senders_, party); }
    void wait_to_receive(Party& party) noexcept { wait_in(receivers_, party); }
    bool is_closed() const noexcept { return closed_; }

    /// From a receiver that could not use it: it is the next one. (Lost where there is no memory.)
    void give_back(Element<T>&& item) noexcept {
        Visit visit(*this);
        if (!receivers_.empty()) return hand_over(visit, std::move(item));
        try {
            items_.push_front(std::move(item));
        } catch (const std::bad_alloc&) {
        }
    }

    bool try_send(T&& item) {
        Visit visit(*this);
        if (!can_send()) return false;
        Element<T> element(std::move(item));
        return push(visit, element) == Sent::yes;
    }
    bool try_send(const T& item) {
        Element<T> element(item);
        Visit visit(*this);
        return push(visit, element) == Sent::yes;
    }
    std::optional<T> try_recv() {
        return taken([this] {
            Visit visit(*this);
            return pop(visit);
        }());
    }

    bool blocking_send(T&& item, Nanoseconds deadline) {
        refuse_loop_thread("blocking_send");
        ThreadCondition woken;
        Party party;
        party.item.emplace(std::move(item));
        party.woken = &woken;
        Visit visit(*this);
        const Sent sent = push(visit, *party.item);
        if (sent == Sent::yes) return true;
        if (sent == Sent::full) {
            wait_to_send(party);
            if (!block(party, deadline)) return false;
            if (party.state == State::served) return true;
        }
        throw_channel_closed("blocking_send: the channel is closed");
    }
    std::optional<T> blocking_recv(Nanoseconds deadline) {
        refuse_loop_thread("blocking_recv");
        ThreadCondition woken;
        Party party;
        party.woken = &woken;
        {
            Visit visit(*this);
            if (auto taken = pop(visit)) party.item.emplace(std::move(*taken));
            if (!party.item && !closed_) {
                wait_to_receive(party);
                block(party, deadline);
            }
        }
        return taken(std::move(party.item));
    }

private:
    static void wait_in(IntrusiveList<ChannelParty>& list, Party& party) noexcept {
        party.state = State::waiting;
        list.push_back(party);
    }
    bool can_send() noexcept {
        return !closed_ && (!receivers_.empty() || items_.size() < capacity_);
    }
    void hand_over(Visit& visit, Element<T>&& item) noexcept {
        auto& receiver = static_cast<Party&>(receivers_.front());
        receiver.item.emplace(std::move(item));
        visit.serve(receiver, State::served);
    }
    /// If T's move throws, the item is the next one again.
    std::optional<T> taken(std::optional<Element<T>> item) {
        if (!item) return std::nullopt;
        if constexpr (std::is_nothrow_move_constructible_v<T>) {
            return std::optional<T>(std::move(**item));
        } else {
            try {
                return std::optional<T>(std::move(**item));
            } catch (...) {
                give_back(std::move(*item));
                throw;
            }
        }
    }

    RingBuffer<Element<T>> items_;
    const std::size_t capacity_;
};

/// What both awaits share: the party is a base of the wait, and has an item.
template <class T>
class ThreadItemWait : public ChannelWait<ItemParty<T>> {
    using Base = ChannelWait<ItemParty<T>>;

protected:
    using Core = ThreadChannelCore<T>;
    explicit ThreadItemWait(const Ref<Core>& core) noexcept
        : Base(Ref<ThreadChannelBase>::to(*core)) {}
    ~ThreadItemWait() = default;
    Core& core() const noexcept { return static_cast<Core&>(*this->channel_); }
};

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] ThreadSendAwaiter final : public ThreadItemWait<T> {
    using State = ChannelParty::State;
    using Core = ThreadChannelCore<T>;

public:
    template <class U>
    ThreadSendAwaiter(const Ref<Core>& core, U&& item) : ThreadItemWait<T>(core) {
        this->Party::item.emplace(std::forward<U>(item));
    }
    ~ThreadSendAwaiter() {
        if (this->state != State::idle) this->core().forget(*this);
    }

    bool await_ready() { return may_go_on() && try_take(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    bool try_take() {
        typename Core::Visit visit(this->core());
        return note(this->core().push(visit, *this->Party::item));
    }
    void begin_wait(std::coroutine_handle<> handle) {
        if (!this->stop_here(handle)) return;
        typename Core::Visit visit(this->core());
        if (note(this->core().push(visit, *this->Party::item))) {
            this->state = State::served;
            return this->task->loop->wake(*this->task);
        }
        this->core().wait_to_send(*this);
        this->wait_begins();
    }
    void await_resume() {
        this->check();
        if (refused_ || this->state == State::closed) [[unlikely]]
            throw_channel_closed("send: the channel is closed");
    }
    WaitInfo describe() const noexcept override { return {"thread channel send"}; }

    /// What was to be sent, until it is.
    T& item() noexcept { return **this->Party::item; }

private:
    using Party = ItemParty<T>;
    bool note(typename Core::Sent sent) {
        refused_ = sent == Core::Sent::closed;
        return sent != Core::Sent::full;
    }
    bool refused_ = false;
};

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] ThreadReceiveAwaiter final : public ThreadItemWait<T> {
    using State = ChannelParty::State;
    using Core = ThreadChannelCore<T>;

public:
    explicit ThreadReceiveAwaiter(const Ref<Core>& core) noexcept : ThreadItemWait<T>(core) {}
    ~ThreadReceiveAwaiter() {
        if (this->state != State::idle) this->core().forget(*this);
        give_back();
    }

    bool await_ready() { return may_go_on() && try_take(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    bool try_take() {
        typename Core::Visit visit(this->core());
        return look(visit);
    }
    void begin_wait(std::coroutine_handle<> handle) {
        if (!this->stop_here(handle)) return;
        typename Core::Visit visit(this->core());
        if (look(visit)) {
            this->state = State::served;
            return this->task->loop->wake(*this->task);
        }
        this->core().wait_to_receive(*this);
        this->wait_begins();
    }
    std::optional<T> await_resume() {
        this->check();
        if (!this->item) return std::nullopt;
        std::optional<T> result(std::move(**this->item));
        this->item.reset();
        return result;
    }
    bool holds_result() const noexcept { return this->item.has_value(); }
    void give_back() noexcept {
        if (!this->item) return;
        this->core().give_back(std::move(*this->item));
        this->item.reset();
    }
    WaitInfo describe() const noexcept override { return {"thread channel recv"}; }

private:
    bool look(typename Core::Visit& visit) {
        if (auto taken = this->core().pop(visit)) this->item.emplace(std::move(*taken));
        return this->item || this->core().is_closed();
    }
};

}  // namespace detail
}  // namespace weft
