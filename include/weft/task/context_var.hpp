// SPDX-License-Identifier: MIT
// ContextVar<T>: a variable of which every task has its own value, handed on to what it starts.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "../base/error.hpp"
#include "../base/owned.hpp"
#include "../runtime/loop.hpp"
#include "detail/context_values.hpp"

namespace weft {
class ContextToken;

/// A context variable has no value here, and no default.
class LookupError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
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
    T get() const;
    /// A copy of the value, or `fallback`.
    T get(T fallback) const;

    /// Changes it for this task, and for what it starts from now on.
    /// Returns:  a token that `reset` takes to put things back; dropping it changes nothing.
    ContextToken set(T value) const;

    /// Makes it what it was before the `set` that gave the token.
    /// Throws:   RuntimeError when the token was used, or is of another variable or task.
    void reset(ContextToken& token) const;
    void reset(ContextToken&& token) const;

    const std::string& name() const noexcept { return name_; }

private:
    using Value = detail::TypedContextValue<T>;

    const T* find() const noexcept;

    std::string name_;
    detail::Owned<Value> default_;
    std::uint64_t id_ = detail::next_context_variable();
};

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

template <class T>
T ContextVar<T>::get() const {
    if (const T* const value = find()) return *value;
    if (!default_) throw LookupError("the context variable '" + name_ + "' has no value");
    return default_->value;
}

template <class T>
T ContextVar<T>::get(T fallback) const {
    if (const T* const value = find()) return *value;
    return fallback;
}

template <class T>
ContextToken ContextVar<T>::set(T value) const {
    detail::ValueRef fresh(new Value(std::move(value)));
    return ContextToken(id_, detail::context_place(),
                        detail::exchange_in_context(id_, std::move(fresh)));
}

template <class T>
void ContextVar<T>::reset(ContextToken& token) const {
    if (token.variable_ != id_ || token.place_ != detail::context_place()) [[unlikely]] {
        detail::throw_runtime_error({"weft: reset of '", name_, "': the context token ",
                                     token.variable_ == 0     ? "was used already"
                                     : token.variable_ != id_ ? "is of another variable"
                                                              : "was made in another task"});
    }
    detail::exchange_in_context(id_, std::move(token.before_));
    token.variable_ = 0;
}

template <class T>
void ContextVar<T>::reset(ContextToken&& token) const {
    reset(token);
}

template <class T>
const T* ContextVar<T>::find() const noexcept {
    const auto* const context =
        static_cast<const detail::ContextValues*>(EventLoop::current_context());
    const detail::ContextValue* const value = context ? context->find(id_) : nullptr;
    return value ? std::addressof(static_cast<const Value*>(value)->value) : nullptr;
}

}  // namespace weft
