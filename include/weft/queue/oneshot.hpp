// SPDX-License-Identifier: MIT
// Oneshot<T>: one value from one sender to one receiver; the reply to a request.
#pragma once

#include <coroutine>
#include <cstdint>
#include <optional>
#include <utility>

#include "../base/frame_allocator.hpp"
#include "../base/std_parts.hpp"
#include "../sync/wait_queue.hpp"
#include "channel_closed.hpp"
#include "detail/element.hpp"

namespace weft {
namespace detail {

template <class T>
struct OneshotCore : Recycled {
    void release() noexcept {
        if (--ends == 0) delete this;
    }
    /// The receiver is told, whether there is a value or there will never be one.
    void finish() noexcept {
        finished = true;
        while (!waiting.empty()) waiting.grant_first();
    }

    std::optional<Element<T>> value;
    WaitQueue waiting;      // more than one is a mistake, and all but the first get nothing
    std::uint8_t ends = 2;  // that still refer to this
    bool finished = false;  // a value was sent, or the sender is gone
    bool wanted = true;     // the receiver is there
};

/// The value stays in the core until it is looked at: a frame that is destroyed loses nothing.
template <class T>
class [[nodiscard]] [[gnu::warn_unused]] OneshotAwaiter final : public QueueWait {
public:
    explicit OneshotAwaiter(OneshotCore<T>& core) noexcept : core_(&core) {}
    const char* what() const noexcept override { return "oneshot recv"; }
    bool await_ready() const noexcept { return core_->finished; }
    void await_suspend(std::coroutine_handle<> handle) { wait_in(core_->waiting, handle); }
    bool holds_result() const noexcept { return QueueWait::holds_result() && core_->value; }
    void give_back() const noexcept {}  // it is in the core still
    T await_resume() {
        finish_wait();
        if (!core_->value) [[unlikely]]
            throw_channel_closed("recv: the sender of the oneshot is gone without a value");
        T value(std::move(**core_->value));
        core_->value.reset();
        return value;
    }

private:
    OneshotCore<T>* core_;
};

}  // namespace detail

/// A value that is sent once.
///
///     weft::Oneshot<int> reply;
///     co_await requests.put(Request(question, std::move(reply.sender)));
///     int answer = co_await reply.receiver.recv();    // ChannelClosed: nobody will answer
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
        /// Throws:   ChannelClosed when the receiver is gone or a value was sent; what moving T
        ///           throws. Then `value` was not moved from by us.
        void send(T&& value) {
            if (!try_send(std::move(value))) throw_cannot_send();
        }
        void send(const T& value) {
            if (!try_send(value)) throw_cannot_send();
        }
        /// False: the receiver is gone or a value was sent, and `value` was not moved from.
        bool try_send(T&& value) { return !closed() && put(std::move(value)); }
        bool try_send(const T& value) { return !closed() && put(value); }

        /// True: the receiver is gone, or a value was sent already.
        bool closed() const noexcept { return !core_ || !core_->wanted; }
        /// Lets go without a value, as the destructor does.
        void close() noexcept {
            if (!core_) return;
            Core* const core = std::exchange(core_, nullptr);
            core->finish();
            core->release();
        }

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
        Receiver(Receiver&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
        Receiver& operator=(Receiver&& other) noexcept {
            if (this != &other) {
                close();
                core_ = std::exchange(other.core_, nullptr);
            }
            return *this;
        }
        ~Receiver() { close(); }

        /// Waits for the value.
        /// Throws:   ChannelClosed when the sender went without one, or the value was received
        ///           already; CancelledError.
        /// Cancel:   lossless: the value is returned, or it can still be received.
        auto recv() noexcept { return detail::OneshotAwaiter<T>(*core_); }
        /// The value if it is there now.
        std::optional<T> try_recv() {
            if (!core_->value) return std::nullopt;
            std::optional<T> value(std::move(**core_->value));
            core_->value.reset();
            return value;
        }
        /// Lets go: a send fails from now on, and a value that nobody took is destroyed.
        void close() noexcept {
            if (!core_) return;
            Core* const core = std::exchange(core_, nullptr);
            core->wanted = false;
            core->value.reset();
            core->release();
        }

    private:
        friend Oneshot;
        explicit Receiver(Core* core) noexcept : core_(core) {}
        Core* core_;
    };

    Oneshot() : Oneshot(new Core) {}

    Sender sender;
    Receiver receiver;

private:
    explicit Oneshot(Core* core) noexcept : sender(core), receiver(core) {}
};

}  // namespace weft
