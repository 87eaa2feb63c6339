// SPDX-License-Identifier: MIT
// Oneshot<T>: one value from one sender to one receiver; the reply to a request.
#pragma once

#include <coroutine>
#include <cstdint>
#include <optional>
#include <utility>

#include "../base/element.hpp"
#include "../base/frame_allocator.hpp"
#include "../base/std_parts.hpp"
#include "../sync/wait_queue.hpp"
#include "channel_closed.hpp"
#include "detail/end.hpp"

namespace weft {
namespace detail {

template <class T>
struct OneshotCore;
template <class T>
class OneshotAwaiter;
/// One receiver: it is moved and not copied.
template <class T>
struct OneshotReceiving {
    static void leave(OneshotCore<T>& core) noexcept;
    static void end_gone(EndWait<OneshotCore<T>, OneshotReceiving>& wait) noexcept;
};

}  // namespace detail

/// A value that is sent once.
///
///     weft::Oneshot<int> reply;
///     co_await requests.put(Request(question, std::move(reply.sender)));
///     int answer = co_await reply.receiver.recv();    // ChannelClosed: nobody will answer
///
/// Each end may be moved, closed or destroyed at any time, also while a task waits in `recv`.
/// Thread:   loop thread only.
template <class T>
class Oneshot {
    using Core = detail::OneshotCore<T>;

public:
    class Sender {
    public:
        Sender(Sender&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
        Sender& operator=(Sender&& other) noexcept {
            if (this != &other) {
                close();
                core_ = std::exchange(other.core_, nullptr);
            }
            return *this;
        }
        ~Sender() { close(); }

        /// Sends the value, and with it the sender is used up.
        /// Throws:   ChannelClosed when the receiver is gone, or the sender is used up, closed or
        ///           moved from; what moving T throws. Then `value` was not moved from by us.
        void send(T&& value) {
            if (!try_send(std::move(value))) throw_cannot_send();
        }
        void send(const T& value) {
            if (!try_send(value)) throw_cannot_send();
        }
        /// False where `send` throws ChannelClosed; then `value` was not moved from.
        bool try_send(T&& value) { return !closed() && put(std::move(value)); }
        bool try_send(const T& value) { return !closed() && put(value); }

        /// True: the receiver is gone, or this sender cannot send any more.
        bool closed() const noexcept { return !core_ || !core_->wanted; }
        /// Lets go without a value, as the destructor does: the receiver gets a ChannelClosed.
        void close() noexcept;

    private:
        friend Oneshot;
        explicit Sender(Core* core) noexcept : core_(core) {}
        template <class U>
        bool put(U&& value) {
            core_->value.emplace(std::forward<U>(value));
            close();
            return true;
        }
        [[noreturn, gnu::cold, gnu::noinline]] void throw_cannot_send() const {
            detail::throw_channel_closed(core_ ? "send: the receiver of the oneshot is gone"
                                               : "send: the oneshot was used already");
        }
        Core* core_;
    };

    class Receiver {
    public:
        Receiver(Receiver&& other) noexcept = default;
        Receiver& operator=(Receiver&& other) noexcept = default;

        /// Waits for the value.
        /// Throws:   ChannelClosed when the sender went without one, the value was received
        ///           already, or this receiver is closed meanwhile; RuntimeError when it is empty;
        ///           CancelledError.
        /// Cancel:   lossless: the value is returned, or it can still be received.
        auto recv() { return detail::OneshotAwaiter<T>(end_); }
        /// The value if it is there now.
        /// Throws:   RuntimeError when this receiver is empty.
        std::optional<T> try_recv() {
            Core& core = end_.require("try_recv");
            if (!core.value) return std::nullopt;
            std::optional<T> value(std::move(**core.value));
            core.value.reset();
            return value;
        }
        /// Lets go, as the destructor does: a send fails from now on, and a value that no task was
        /// woken for is destroyed.
        void close() noexcept { end_.close(); }

    private:
        friend Oneshot;
        explicit Receiver(Core* core) noexcept : end_(core) {}
        detail::End<Core, detail::OneshotReceiving<T>> end_;
    };

    Oneshot() : Oneshot(new Core) {}

    Sender sender;
    Receiver receiver;

private:
    explicit Oneshot(Core* core) noexcept : sender(core), receiver(core) {}
};

namespace detail {

template <class T>
struct OneshotCore : Recycled {
    void add_ref() noexcept { ++refs; }
    void release() noexcept {
        if (--refs == 0) delete this;
    }
    /// The receiver is told, whether there is a value or there will never be one.
    void finish() noexcept {
        finished = true;
        while (!waiting.empty()) waiting.grant_first();
    }

    std::optional<Element<T>> value;
    WaitQueue waiting;       // more than one is a mistake, and all but the first get nothing
    std::uint32_t refs = 2;  // the ends, and awaits that have outlived theirs
    bool finished = false;   // a value was sent, or the sender is gone
    bool wanted = true;      // the receiver is there
    bool promised =
        false;  // a task was woken for the value, and has not run: it stays for that one
};

/// The value stays in the core until it is looked at: a frame that is destroyed loses nothing.
template <class T>
class [[nodiscard]] [[gnu::warn_unused]] OneshotAwaiter final
    : EndWait<OneshotCore<T>, OneshotReceiving<T>>,
      public QueueWait {
    using End = detail::End<OneshotCore<T>, OneshotReceiving<T>>;
    using Base = EndWait<OneshotCore<T>, OneshotReceiving<T>>;

public:
    explicit OneshotAwaiter(End& end) : Base(end, "recv") {}
    const char* what() const noexcept override { return "oneshot recv"; }
    bool await_ready() const noexcept { return core().finished; }
    void await_suspend(std::coroutine_handle<> handle) {
        if (!this->has_end()) [[unlikely]]
            return turn_away_at_once(handle);
        wait_in(core().waiting, handle);
    }
    bool holds_result() const noexcept { return QueueWait::holds_result() && core().value; }
    void give_back() const noexcept {}  // it is in the core still
    T await_resume() {
        finish_wait();
        if (!core().value) [[unlikely]]
            throw_channel_closed("recv: the sender of the oneshot is gone without a value");
        T value(std::move(**core().value));
        core().value.reset();
        return value;
    }

private:
    OneshotCore<T>& core() const noexcept { return Base::core(); }
    friend OneshotReceiving<T>;
    void receiver_gone() noexcept {
        if (granted_and_not_taken()) core().promised = true;
        turn_away();
    }
    void throw_abandoned() const override {
        throw_channel_closed("recv: the receiver of the oneshot was closed while a task waited");
    }
};

template <class T>
void OneshotReceiving<T>::end_gone(EndWait<OneshotCore<T>, OneshotReceiving>& wait) noexcept {
    static_cast<OneshotAwaiter<T>&>(wait).receiver_gone();
}
template <class T>
void OneshotReceiving<T>::leave(OneshotCore<T>& core) noexcept {
    core.wanted = false;
    if (!core.promised) core.value.reset();
    core.release();
}

}  // namespace detail

template <class T>
void Oneshot<T>::Sender::close() noexcept {
    if (!core_) return;
    Core* const core = std::exchange(core_, nullptr);
    core->finish();
    core->release();
}

}  // namespace weft
