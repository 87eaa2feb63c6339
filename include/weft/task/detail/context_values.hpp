// SPDX-License-Identifier: MIT
// ContextValues: what a context holds, and how it is changed without changing those who share it.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "../../base/frame_allocator.hpp"
#include "../../base/owned.hpp"
#include "../../runtime/context.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"

namespace weft::detail {

struct ContextValue : Recycled {
    ContextValue() noexcept = default;
    ContextValue(const ContextValue&) = delete;
    ContextValue& operator=(const ContextValue&) = delete;
    virtual ~ContextValue() = default;
    /// For another thread; null where the type cannot be copied.
    virtual ContextValue* copy() const = 0;
    std::uint32_t refs = 0;
};

template <class T>
struct TypedContextValue final : ContextValue {
    explicit TypedContextValue(T&& of) : value(std::move(of)) {}
    ContextValue* copy() const override {
        if constexpr (std::is_copy_constructible_v<T>) {
            return new TypedContextValue(T(value));
        } else {
            return nullptr;
        }
    }
    T value;
};

class ValueRef {
public:
    ValueRef() noexcept = default;
    explicit ValueRef(ContextValue* value) noexcept : value_(value) {
        if (value) ++value->refs;
    }
    ValueRef(const ValueRef& other) noexcept : ValueRef(other.value_) {}
    ValueRef(ValueRef&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
    ValueRef& operator=(ValueRef other) noexcept {
        std::swap(value_, other.value_);
        return *this;
    }
    ~ValueRef() {
        if (value_ && --value_->refs == 0) delete value_;
    }
    ContextValue* get() const noexcept { return value_; }

private:
    ContextValue* value_ = nullptr;
};

/// Programs have a handful of variables: they are searched one after the other.
struct ContextValues final : ContextCore, Recycled {
    struct Entry {
        std::uint64_t variable;
        ValueRef value;
    };

    ContextValues() noexcept : ContextCore(&free, &copy_all) {}
    explicit ContextValues(const ContextValues& other)
        : ContextCore(&free, &copy_all), Recycled(), entries(other.entries) {}

    static void free(ContextCore& core) noexcept { delete static_cast<ContextValues*>(&core); }
    static ContextCore* copy_all(const ContextCore& core) {
        Owned<ContextValues> copy(new ContextValues());
        for (const Entry& entry : static_cast<const ContextValues&>(core).entries) {
            if (ValueRef value(entry.value.get()->copy()); value.get())
                copy->entries.push_back(Entry{entry.variable, std::move(value)});
        }
        return copy.release();
    }

    ContextValue* find(std::uint64_t variable) const noexcept {
        for (const Entry& entry : entries) {
            if (entry.variable == variable) return entry.value.get();
        }
        return nullptr;
    }
    /// Puts a value in place, an empty one out of it, and returns what was there.
    ValueRef exchange(std::uint64_t variable, ValueRef value) {
        for (Entry& entry : entries) {
            if (entry.variable != variable) continue;
            std::swap(entry.value, value);
            if (!entry.value.get()) {
                entry = std::move(entries.back());
                entries.pop_back();
            }
            return value;
        }
        if (value.get()) entries.push_back(Entry{variable, std::move(value)});
        return ValueRef();
    }

    std::vector<Entry> entries;
};

/// The thread's own context goes with the thread.
struct AmbientCloser {
    AmbientCloser() noexcept {}
    AmbientCloser(const AmbientCloser&) = delete;
    AmbientCloser& operator=(const AmbientCloser&) = delete;
    ~AmbientCloser() {
        if (ambient_context) std::exchange(ambient_context, nullptr)->release();
    }
};
/// In a function, so that threads which set nothing, and files which call nothing, have no part in
/// it.
[[gnu::noinline]] inline void close_ambient_context_with_thread() {
    static const thread_local AmbientCloser closer;
}

/// Changes the context that holds here, which becomes one that nobody shares. One that has become
/// empty goes: what is started then is as cheap as if there had been none.
inline ValueRef exchange_in_context(std::uint64_t variable, ValueRef value) {
    EventLoop* const loop = EventLoop::running();
    TaskCore* const task = loop ? loop->current_task() : nullptr;
    if (!task) close_ambient_context_with_thread();
    ContextCore*& slot = task ? task->make_extras().context.slot() : ambient_context;
    if (!slot) {
        slot = new ContextValues();
    } else if (slot->refs > 1) {
        auto* const copy = new ContextValues(static_cast<const ContextValues&>(*slot));
        std::exchange(slot, copy)->release();
    }
    auto& own = static_cast<ContextValues&>(*slot);
    ValueRef before = own.exchange(variable, std::move(value));
    if (own.entries.empty()) std::exchange(slot, nullptr)->release();
    return before;
}

/// Tells apart where a token was made: 0 outside of tasks.
inline std::uint32_t context_place() noexcept {
    const EventLoop* const loop = EventLoop::running();
    return loop && loop->current_task() ? loop->current_task()->id() : 0;
}

inline std::uint64_t next_context_variable() noexcept {
    static constinit std::atomic<std::uint64_t> last{0};
    return ++last;
}

}  // namespace weft::detail
