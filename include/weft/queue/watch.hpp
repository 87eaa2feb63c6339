// SPDX-License-Identifier: MIT
// Watch<T>: a value that changes, and receivers that wait for the next change.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "../base/element.hpp"
#include "../base/frame_allocator.hpp"
#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../sync/gate.hpp"
#include "channel_closed.hpp"
#include "detail/end.hpp"

namespace weft {

struct WatchStatistics {
    WatchStatistics(std::size_t subscribed, std::size_t waiting) noexcept
        : receivers(subscribed), waiters(waiting) {}
    std::size_t receivers;
    std::size_t waiters;  ///< those of them that wait for a change
};

namespace detail {

template <class T>
struct WatchCore;
template <class T>
class WatchNextAwaiter;
template <class T>
class WatchChangedAwaiter;
template <class T>
struct Watching {
    static void join(WatchCore<T>& core) noexcept;
    static void leave(WatchCore<T>& core) noexcept;
    static void end_gone(EndWait<WatchCore<T>, Watching>& wait) noexcept;
    std::uint64_t seen;  // the version that the receiver has seen
};

}  // namespace detail

/// Holds the latest value of something. Receivers see that it changed and what it is now; values in
/// between are not kept for those who are slow.
///
///     weft::Watch<Config> config(load());
///     auto updates = config.subscribe();
///     while (auto latest = co_await updates.next()) apply(*latest);   // ends with `config`
///
/// Both may be moved or destroyed at any time, also while a task waits for a change.
/// Throws:   RuntimeError from what needs a Watch or receiver when it was moved from.
/// Thread:   loop thread only.
template <class T>
class Watch {
    using Core = detail::WatchCore<T>;

public:
    /// Its references are to the shared value: they are valid until the next change, so not beyond
    /// a co_await.
    class Receiver {
    public:
        /// Waits for a value that this receiver has not seen, and copies it. (A receiver has seen
        /// the value that was there when it subscribed.)
        /// Returns:  empty when no value will come any more: the Watch is gone.
        /// Throws:   ChannelClosed when this receiver is destroyed or assigned to meanwhile;
        ///           CancelledError; what copying T throws.
        /// Cancel:   lossless: a change that was not reported is reported by the next call.
        auto next() { return detail::WatchNextAwaiter<T>(end_); }
        /// The same for a T that cannot be copied or need not be: look with `get`. False when no
        /// value will come any more. (g++ 12 miscompiles `while (co_await x.changed())` in a
        /// coroutine that declares no variable; `const bool news = co_await x.changed();` is safe.)
        auto changed() { return detail::WatchChangedAwaiter<T>(end_); }
        /// Is there a value that this receiver has not seen?
        bool has_changed() const { return end_.require("has_changed").version != end_.seen; }
        /// The latest value.
        const T& get() const { return *end_.require("get").value; }
        /// The latest value, which counts as seen.
        const T& get_and_mark() {
            end_.seen = end_.require("get_and_mark").version;
            return *end_->value;
        }
        /// True: the Watch is gone (the last value stays), or this receiver was moved from.
        bool closed() const noexcept { return !end_ || end_->closed; }

    private:
        friend Watch;
        explicit Receiver(Core& core) noexcept : end_(core.join(), {core.version}) {}
        detail::End<Core, detail::Watching<T>> end_;
    };

    explicit Watch(T&& initial) : core_(new Core(std::move(initial))) {}
    explicit Watch(const T& initial) : core_(new Core(initial)) {}
    Watch(Watch&& other) noexcept = default;
    Watch& operator=(Watch&& other) noexcept {
        Watch taken(std::move(other));
        std::swap(core_, taken.core_);
        return *this;
    }
    /// Receivers that wait are told that it is gone.
    ~Watch() {
        if (core_) core_->close();
    }

    /// Replaces the value and wakes who waits for a change.
    void set(T&& value) { core("set").replace(detail::Element<T>(std::move(value))); }
    void set(const T& value) { core("set").replace(detail::Element<T>(value)); }
    /// Changes the value in place with `change(value)`; when that throws, nobody is told.
    template <class Change>
    void update(Change&& change) {
        Core& changed = core("update");
        std::forward<Change>(change)(*changed.value);
        changed.changed();
    }
    const T& get() const { return *core("get").value; }
    Receiver subscribe() const { return Receiver(core("subscribe")); }
    /// How many receivers there are.
    std::size_t receivers() const { return core("receivers").receivers; }
    WatchStatistics statistics() const {
        return WatchStatistics(receivers(), core_->waiting.count());
    }

private:
    Core& core(const char* call) const {
        if (!core_) [[unlikely]]
            detail::throw_empty_end(call);
        return *core_;
    }
    detail::Ref<Core> core_;
};

namespace detail {

template <class T>
struct WatchCore : Recycled {
    template <class U>
    explicit WatchCore(U&& initial) : value(std::forward<U>(initial)) {}

    /// The old value goes when the new one is in place: its destructor may look. (Out of line:
    /// where it is inlined g++ 12 warns of strings that it takes for longer than they are.)
    [[gnu::noinline]] void replace(Element<T>&& fresh) noexcept {
        [[maybe_unused]] const Element<T> old(std::move(value));
        std::destroy_at(std::addressof(value));
        std::construct_at(std::addressof(value), std::move(fresh));
        changed();
    }
    void changed() noexcept {
        ++version;
        waiting.let_through();
    }
    void close() noexcept {
        closed = true;
        waiting.let_through();
    }
    WatchCore* join() noexcept {
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

    Element<T> value;
    std::uint64_t version = 0;  // counts the changes
    Gate waiting;
    std::size_t receivers = 0;
    std::size_t refs = 1;  // the Watch, its receivers, and awaits that have outlived theirs
    bool closed = false;
};

template <class T>
void Watching<T>::join(WatchCore<T>& core) noexcept {
    core.join();
}
template <class T>
void Watching<T>::leave(WatchCore<T>& core) noexcept {
    core.leave();
}

template <class T>
class WatchWait : EndWait<WatchCore<T>, Watching<T>>, public GateWait {
    using Base = EndWait<WatchCore<T>, Watching<T>>;

public:
    const char* what() const noexcept override { return "watch change"; }
    bool await_ready() const noexcept { return try_take() && may_go_on(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    bool try_take() const noexcept { return core().closed || core().version != seen(); }
    void begin_wait(std::coroutine_handle<> handle) {
        if (!this->has_end()) [[unlikely]]
            return turn_away_at_once(handle);
        wait(handle);
    }
    void give_back() const noexcept {}  // it counts as seen only once it was taken
    static void end_gone(EndWait<WatchCore<T>, Watching<T>>& wait) noexcept {
        static_cast<WatchWait&>(wait).turn_away();
    }

protected:
    WatchWait(End<WatchCore<T>, Watching<T>>& end, const char* call)
        : Base(end, call), GateWait(Base::core().waiting) {}
    ~WatchWait() = default;

    WatchCore<T>& core() const noexcept { return Base::core(); }
    std::uint64_t seen() const noexcept { return Base::role().seen; }
    void mark_seen() noexcept { Base::role().seen = core().version; }

private:
    void throw_abandoned() const override {
        throw_channel_closed("the receiver of the watch was destroyed while a task waited");
    }
};

template <class T>
void Watching<T>::end_gone(EndWait<WatchCore<T>, Watching>& wait) noexcept {
    WatchWait<T>::end_gone(wait);
}

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] WatchChangedAwaiter final : public WatchWait<T> {
public:
    explicit WatchChangedAwaiter(End<WatchCore<T>, Watching<T>>& end)
        : WatchWait<T>(end, "changed") {}
    bool await_resume() {
        this->finish_wait();
        const bool news = this->seen() != this->core().version;
        this->mark_seen();
        return news;
    }
};

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] WatchNextAwaiter final : public WatchWait<T> {
public:
    explicit WatchNextAwaiter(End<WatchCore<T>, Watching<T>>& end) : WatchWait<T>(end, "next") {}
    std::optional<T> await_resume() {
        this->finish_wait();
        if (this->seen() == this->core().version) return std::nullopt;
        std::optional<T> value(std::as_const(*this->core().value));
        this->mark_seen();
        return value;
    }
};

}  // namespace detail
}  // namespace weft
