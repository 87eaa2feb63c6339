// SPDX-License-Identifier: MIT
// Watch<T>: a value that changes, and receivers that wait for the next change.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "../base/frame_allocator.hpp"
#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../sync/gate.hpp"
#include "detail/element.hpp"

namespace weft {

struct WatchStatistics {
    WatchStatistics(std::size_t subscribed, std::size_t waiting) noexcept
        : receivers(subscribed), waiters(waiting) {}
    std::size_t receivers;
    std::size_t waiters;  ///< those of them that wait for a change
};

namespace detail {

template <class T>
struct WatchCore : Recycled {
    template <class U>
    explicit WatchCore(U&& initial) : value(std::forward<U>(initial)) {}

    /// The old value goes when the new one is in place: its destructor may look.
    void replace(Element<T>&& fresh) noexcept {
        [[maybe_unused]] const Element<T> old(std::move(value));
        std::destroy_at(&value);
        std::construct_at(&value, std::move(fresh));
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
    void add_ref() noexcept { ++refs; }
    void release() noexcept {
        if (--refs == 0) delete this;
    }

    Element<T> value;
    std::uint64_t version = 0;  // counts the changes
    Gate waiting;
    std::size_t refs = 1;
    bool closed = false;
};

template <class T>
class WatchWait : public GateWait {
public:
    const char* what() const noexcept override { return "watch change"; }
    bool await_ready() const noexcept { return try_take() && may_go_on(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_or_go_round(*this, handle); }
    bool try_take() const noexcept { return core_->closed || core_->version != *seen_; }
    void begin_wait(std::coroutine_handle<> handle) { wait(handle); }
    void give_back() const noexcept {}  // it counts as seen only once it was taken

protected:
    WatchWait(WatchCore<T>& core, std::uint64_t& seen) noexcept
        : GateWait(core.waiting), core_(&core), seen_(&seen) {}
    ~WatchWait() = default;

    WatchCore<T>* core_;
    std::uint64_t* seen_;
};

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] WatchChangedAwaiter final : public WatchWait<T> {
public:
    WatchChangedAwaiter(WatchCore<T>& core, std::uint64_t& seen) noexcept
        : WatchWait<T>(core, seen) {}
    bool await_resume() {
        this->finish_wait();
        return std::exchange(*this->seen_, this->core_->version) != this->core_->version;
    }
};

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] WatchNextAwaiter final : public WatchWait<T> {
public:
    WatchNextAwaiter(WatchCore<T>& core, std::uint64_t& seen) noexcept : WatchWait<T>(core, seen) {}
    std::optional<T> await_resume() {
        this->finish_wait();
        if (*this->seen_ == this->core_->version) return std::nullopt;
        std::optional<T> value(std::as_const(*this->core_->value));
        *this->seen_ = this->core_->version;
        return value;
    }
};

}  // namespace detail

/// Holds the latest value of something. Receivers see that it changed and what it is now; values in
/// between are not kept for those who are slow.
///
///     weft::Watch<Config> config(load());
///     auto updates = config.subscribe();
///     while (auto latest = co_await updates.next()) apply(*latest);   // ends with `config`
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
        /// Throws:   CancelledError; what copying T throws.
        /// Cancel:   lossless: a change that was not reported is reported by the next call.
        auto next() noexcept { return detail::WatchNextAwaiter<T>(*core_, seen_); }
        /// The same for a T that cannot be copied or need not be: look with `get`. False when no
        /// value will come any more. (g++ 12 miscompiles `while (co_await x.changed())` in a
        /// coroutine that declares no variable; `const bool news = co_await x.changed();` is safe.)
        auto changed() noexcept { return detail::WatchChangedAwaiter<T>(*core_, seen_); }
        /// Is there a value that this receiver has not seen?
        bool has_changed() const noexcept { return core_->version != seen_; }
        /// The latest value.
        const T& get() const noexcept { return *core_->value; }
        /// The latest value, which counts as seen.
        const T& get_and_mark() noexcept {
            seen_ = core_->version;
            return *core_->value;
        }
        /// True: the Watch is gone; the last value stays.
        bool closed() const noexcept { return core_->closed; }

    private:
        friend Watch;
        explicit Receiver(detail::Ref<Core> core) noexcept
            : core_(std::move(core)), seen_(core_->version) {}
        detail::Ref<Core> core_;
        std::uint64_t seen_;
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
    void set(T&& value) { core_->replace(detail::Element<T>(std::move(value))); }
    void set(const T& value) { core_->replace(detail::Element<T>(value)); }
    /// Changes the value in place with `change(value)`; when that throws, nobody is told.
    template <class Change>
    void update(Change&& change) {
        std::forward<Change>(change)(*core_->value);
        core_->changed();
    }
    const T& get() const noexcept { return *core_->value; }
    Receiver subscribe() const noexcept { return Receiver(core_); }
    /// How many receivers there are.
    std::size_t receivers() const noexcept { return core_->refs - 1; }
    WatchStatistics statistics() const noexcept {
        return WatchStatistics(receivers(), core_->waiting.count());
    }

private:
    detail::Ref<Core> core_;
};

}  // namespace weft
