// SPDX-License-Identifier: MIT
// ContextVar<T>: a variable of which every task has its own value, handed on to what it starts.
#pragma once

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/error.hpp"
#include "../base/frame_allocator.hpp"
#include "../base/owned.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/context.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"

namespace weft {

/// A context variable has no value here, and no default.
class LookupError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

namespace detail {

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

}  // namespace detail

/// Of what an earlier `ContextVar::set` replaced, for `ContextVar::reset`.
class ContextToken {
public:
    ContextToken(ContextToken&& other) noexcept
        : variable_(std::exchange(other.variable_, 0)),
          place_(other.place_),
          before_(std::move(other.before_)) {}
    ContextToken& operator=(ContextToken&&) = delete;

private:
    template <class T>
    friend class ContextVar;
    ContextToken(std::uint64_t variable, std::uint32_t place, detail::ValueRef before) noexcept
        : variable_(variable), place_(place), before_(std::move(before)) {}

    std::uint64_t variable_;  // 0: used
    std::uint32_t place_;
    detail::ValueRef before_;
};

/// Something that belongs to a task and all it calls, without being passed through every call: a
/// request's number, a deadline, who is logged in. Python's contextvars:
///
///     const weft::ContextVar<std::string> request("request", "-");
///
/// A task begins with the values that its creator had, and so does a callback (`call_soon`,
/// `call_later`, `add_done_callback`) with those of whoever scheduled it. Neither can change its
/// parent's. A program that sets no variable pays nothing for them.
///
/// Make it a global or static: each object is a variable of its own, whatever its name.
/// Thread:   each thread has its own values; posts from other threads bring none along.
template <class T>
class ContextVar {
public:
    explicit ContextVar(std::string name) : name_(std::move(name)) {}
    ContextVar(std::string name, T fallback)
        : name_(std::move(name)), default_(new Value(std::move(fallback))) {}
    ContextVar(const ContextVar&) = delete;
    ContextVar& operator=(const ContextVar&) = delete;

    /// A copy of the value, or of the default.
    /// Throws:   LookupError when there is neither.
    T get() const {
        if (const T* const value = find()) return *value;
        if (!default_) throw LookupError("the context variable '" + name_ + "' has no value");
        return default_->value;
    }
    /// A copy of the value, or `fallback`.
    T get(T fallback) const {
        if (const T* const value = find()) return *value;
        return fallback;
    }

    /// Changes it for this task, and for what it starts from now on.
    /// Returns:  a token that `reset` takes to put things back; dropping it changes nothing.
    ContextToken set(T value) const {
        detail::ValueRef fresh(new Value(std::move(value)));
        return ContextToken(id_, detail::context_place(),
                            detail::exchange_in_context(id_, std::move(fresh)));
    }

    /// Makes it what it was before the `set` that gave the token.
    /// Throws:   RuntimeError when the token was used, or is of another variable or task.
    void reset(ContextToken& token) const {
        if (token.variable_ == 0) throw RuntimeError("weft: the context token was used already");
        if (token.variable_ != id_)
            throw RuntimeError("weft: the context token is of another variable than '" + name_ +
                               "'");
        if (token.place_ != detail::context_place())
            throw RuntimeError("weft: the context token was made in another task");
        detail::exchange_in_context(id_, std::move(token.before_));
        token.variable_ = 0;
    }
    void reset(ContextToken&& token) const { reset(token); }

    const std::string& name() const noexcept { return name_; }

private:
    using Value = detail::TypedContextValue<T>;

    const T* find() const noexcept {
        const auto* const context =
            static_cast<const detail::ContextValues*>(EventLoop::current_context());
        const detail::ContextValue* const value = context ? context->find(id_) : nullptr;
        return value ? &static_cast<const Value*>(value)->value : nullptr;
    }

    std::string name_;
    detail::Owned<Value> default_;
    std::uint64_t id_ = detail::next_context_variable();
};

}  // namespace weft
