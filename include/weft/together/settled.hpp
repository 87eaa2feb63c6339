// SPDX-License-Identifier: MIT
// Settled<T>: how a child ended, with its value or its exception; a slot of gather's result.
#pragma once

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "../base/error.hpp"
#include "../base/outcome.hpp"

namespace weft {

/// A value, an exception, or "cancelled": what `gather(return_exceptions, ...)` has for each child.
/// `T` is Void for children without a result.
template <class T>
class Settled {
public:
    explicit Settled(T value) : value_(std::move(value)) {}
    /// Null: cancelled, and nobody has thrown a CancelledError yet.
    Settled(std::exception_ptr exception, bool was_cancelled) noexcept
        : exception_(std::move(exception)), cancelled_(was_cancelled) {}

    bool has_value() const noexcept { return value_.has_value(); }
    explicit operator bool() const noexcept { return has_value(); }
    bool cancelled() const noexcept { return cancelled_; }

    /// Throws:   what the child threw; CancelledError when it was cancelled.
    T& value() & { return check(), *value_; }
    const T& value() const& { return check(), *value_; }
    T&& value() && { return check(), std::move(*value_); }

    /// Undefined when there is no value.
    T& operator*() & noexcept { return *value_; }
    const T& operator*() const& noexcept { return *value_; }
    T&& operator*() && noexcept { return std::move(*value_); }
    T* operator->() noexcept { return std::addressof(*value_); }
    const T* operator->() const noexcept { return std::addressof(*value_); }

    /// Null when there is a value; a CancelledError when the child was cancelled.
    std::exception_ptr exception() const {
        if (cancelled_ && !exception_) return std::make_exception_ptr(CancelledError());
        return exception_;
    }

private:
    void check() const {
        if (!value_) [[unlikely]]
            detail::rethrow(exception_);
    }

    std::optional<T> value_;
    std::exception_ptr exception_;
    bool cancelled_ = false;
};

}  // namespace weft
