// SPDX-License-Identifier: MIT
// Outcome<T>: nothing yet, a value, an exception, or "cancelled"; where a coroutine leaves its end.
#pragma once

#include <cxxabi.h>

#include <cstdint>
#include <exception>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "config.hpp"
#include "error.hpp"
#include "std_parts.hpp"

namespace weft::detail {

enum class OutcomeKind : std::uint8_t {
    empty,
    value,
    exception,
    cancelled,  // the exception is a CancelledError, or null when nobody threw one yet
};

/// Is the exception being handled a CancelledError? Asks the runtime for its type: rethrowing it
/// to find out would cost as much as the cancellation itself.
[[gnu::cold]] bool handling_cancelled_error() noexcept;

/// What a coroutine ends with that has flowed off its end where a value is due: g++ says nothing,
/// and the language says that it must not happen.
[[gnu::cold]] std::exception_ptr no_value() noexcept;

/// The exception, or, when there is none, a CancelledError.
[[noreturn, gnu::cold]] void rethrow(const std::exception_ptr& exception);

struct Void {};

/// The untyped part, so that the end of a coroutine can be told without knowing its result's type.
class OutcomeBase {
public:
    OutcomeKind kind() const noexcept { return kind_; }
    bool empty() const noexcept { return kind_ == OutcomeKind::empty; }

    /// The coroutine has ended, and its frame is gone or about to go. (An outcome alone does not
    /// say that: a destructor may throw after `co_return x`, be caught, and the coroutine go on.)
    void set_final() noexcept { is_final_ = true; }
    bool is_final() const noexcept { return is_final_; }

protected:
    OutcomeBase() noexcept = default;
    ~OutcomeBase() = default;
    OutcomeKind kind_ = OutcomeKind::empty;  // first: TaskCore::outcome_kind counts on it
    bool is_final_ = false;
};

template <class T>
class Outcome : public OutcomeBase {
    // References are kept as pointers, void as an empty struct; `T` itself needs neither a default
    // constructor nor an assignment.
    using Stored = std::conditional_t<
        std::is_void_v<T>, Void,
        std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, T>>;

public:
    Outcome() noexcept {}
    Outcome(const Outcome&) = delete;
    Outcome& operator=(const Outcome&) = delete;
    ~Outcome() { clear(); }

    template <class... Args>
    void set_value(Args&&... args) {
        // There is a value before if a destructor threw after `co_return x`, and that was caught.
        if constexpr (!std::is_trivially_destructible_v<Stored>) clear();
        if constexpr (std::is_reference_v<T>) {
            std::construct_at(std::addressof(value_), (std::addressof(args), ...));
        } else {
            std::construct_at(std::addressof(value_), std::forward<Args>(args)...);
        }
        kind_ = OutcomeKind::value;
    }
    void set_exception(std::exception_ptr exception) noexcept {
        // A local's destructor may throw after `co_return x` was evaluated: the value is then dead.
        clear();
        std::construct_at(&exception_, std::move(exception));
        kind_ = OutcomeKind::exception;
    }
    void set_cancelled(std::exception_ptr exception = nullptr) noexcept {
        set_exception(std::move(exception));
        kind_ = OutcomeKind::cancelled;
    }
    /// From inside a catch block.
    void set_current_exception() noexcept {
        const bool cancelled = handling_cancelled_error();
        set_exception(std::current_exception());
        if (cancelled) kind_ = OutcomeKind::cancelled;
    }

    /// Null unless this holds an exception (a cancellation counts once its error exists).
    std::exception_ptr exception() const noexcept {
        return kind_ == OutcomeKind::exception || kind_ == OutcomeKind::cancelled ? exception_
                                                                                  : nullptr;
    }

    /// The exception goes along with the caller, for one on another thread: two that share it would
    /// free it by a count that ThreadSanitizer does not see. Null unless this holds one.
    std::exception_ptr release_exception() noexcept {
        if (kind_ == OutcomeKind::value || kind_ == OutcomeKind::empty) return nullptr;
        return std::exchange(exception_, nullptr);
    }

    /// The value moved out, or the exception thrown.
    T take() {
        if (kind_ != OutcomeKind::value) [[unlikely]]
            rethrow(exception());
        if constexpr (std::is_reference_v<T>) {
            return static_cast<T>(*value_);
        } else if constexpr (!std::is_void_v<T>) {
            return std::move(value_);
        }
    }

    decltype(auto) get() const {
        if (kind_ != OutcomeKind::value) [[unlikely]]
            rethrow(exception());
        return value();
    }
    /// Only for an outcome that is a value.
    decltype(auto) value() const noexcept {
        if constexpr (std::is_reference_v<T>) {
            return static_cast<T>(*value_);
        } else if constexpr (!std::is_void_v<T>) {
            return static_cast<const T&>(value_);
        }
    }

private:
    void clear() noexcept {
        if (kind_ == OutcomeKind::value) {
            std::destroy_at(std::addressof(value_));
        } else if (kind_ != OutcomeKind::empty) {
            std::destroy_at(&exception_);
        }
        kind_ = OutcomeKind::empty;
    }

    union {
        Stored value_;
        std::exception_ptr exception_;
    };
};

#if WEFT_BODIES
[[gnu::noinline]] WEFT_INLINE bool handling_cancelled_error() noexcept {
    const std::type_info* type = abi::__cxa_current_exception_type();
    return type != nullptr && *type == typeid(CancelledError);
}

[[gnu::noinline]] WEFT_INLINE std::exception_ptr no_value() noexcept {
    return thrown_by([] { throw_runtime_error("weft: a coroutine ended without co_return"); });
}

[[gnu::noinline]] WEFT_INLINE void rethrow(const std::exception_ptr& exception) {
    if (exception) std::rethrow_exception(exception);
    throw CancelledError();
}
#endif

}  // namespace weft::detail
