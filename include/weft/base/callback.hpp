// SPDX-License-Identifier: MIT
// Callback<R(Args...)>: a move-only callable of any type; small ones live inside it.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include "../fwd.hpp"
#include "std_parts.hpp"

namespace weft::detail {

template <class A>
inline constexpr bool is_coro = false;
template <class T>
inline constexpr bool is_coro<Coro<T>> = true;

/// Of what a callback returns, which nobody looks at.
template <class Result>
constexpr void refuse_coroutine() noexcept {
    static_assert(!is_coro<std::remove_cvref_t<Result>>,
                  "weft: a callback is an ordinary function: nobody would run the coroutine that "
                  "it returns; it may start one with create_task");
}

template <class Signature>
class Callback;

/// std::function without the copy requirement and without <functional>, which costs every user's
/// compile 60 ms. An empty Callback must not be called.
template <class R, class... Args>
class Callback<R(Args...)> {
    static constexpr std::size_t inline_bytes = 32;

    struct Table {
        R (*call)(void*, Args...);
        void (*relocate)(void* from, void* to) noexcept;
        void (*destroy)(void*) noexcept;
    };

    template <class F>
    static constexpr bool fits =
        sizeof(F) <= inline_bytes &&
        alignof(F) <= alignof(void*) && std::is_nothrow_move_constructible_v<F>;

    template <class F>
    static constexpr Table inline_table{
        [](void* self, Args... args) -> R {
            return static_cast<R>((*static_cast<F*>(self))(std::forward<Args>(args)...));
        },
        [](void* from, void* to) noexcept {
            std::construct_at(static_cast<F*>(to), std::move(*static_cast<F*>(from)));
            std::destroy_at(static_cast<F*>(from));
        },
        [](void* self) noexcept { std::destroy_at(static_cast<F*>(self)); }};

    template <class F>
    static constexpr Table heap_table{
        [](void* self, Args... args) -> R {
            return static_cast<R>((**static_cast<F**>(self))(std::forward<Args>(args)...));
        },
        [](void* from, void* to) noexcept { ::new (to) F*(*static_cast<F**>(from)); },
        [](void* self) noexcept { delete *static_cast<F**>(self); }};

public:
    Callback() noexcept = default;
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, Callback> &&
                 std::is_invocable_r_v<R, std::decay_t<F>&, Args...>)
    // NOLINTNEXTLINE(google-explicit-constructor): a callable is a Callback.
    Callback(F&& f) {
        using Fn = std::decay_t<F>;
        if constexpr (std::is_void_v<R>) refuse_coroutine<std::invoke_result_t<Fn&, Args...>>();
        if constexpr (fits<Fn>) {
            ::new (static_cast<void*>(storage_)) Fn(std::forward<F>(f));
            table_ = &inline_table<Fn>;
        } else {
            ::new (static_cast<void*>(storage_)) Fn*(new Fn(std::forward<F>(f)));
            table_ = &heap_table<Fn>;
        }
    }
    Callback(Callback&& other) noexcept { take(other); }
    Callback& operator=(Callback&& other) noexcept {
        if (this != &other) {
            reset();
            take(other);
        }
        return *this;
    }
    ~Callback() { reset(); }

    explicit operator bool() const noexcept { return table_ != nullptr; }
    R operator()(Args... args) { return table_->call(storage_, std::forward<Args>(args)...); }

    void reset() noexcept {
        if (table_) std::exchange(table_, nullptr)->destroy(storage_);
    }

private:
    void take(Callback& other) noexcept {
        if (other.table_) {
            other.table_->relocate(other.storage_, storage_);
            table_ = std::exchange(other.table_, nullptr);
        }
    }

    const Table* table_ = nullptr;
    alignas(void*) std::byte storage_[inline_bytes];
};

/// A callable that stays its caller's: two pointers, for as long as the call that it is given to.
/// A walk that takes one is no template, and so compiled once and not for each of its visitors.
template <class T>
class Visitor {
public:
    template <class F>
        requires(std::is_invocable_v<F&, T&>)
    // NOLINTNEXTLINE(google-explicit-constructor): a callable is a Visitor.
    Visitor(F&& visit)
    noexcept : self_(&visit), call_(&call<std::remove_reference_t<F>>) {}
    void operator()(T& item) const { call_(self_, item); }

private:
    // (Cold: the walks are for what is rare, such as the end of a loop.)
    template <class F>
    [[gnu::cold]] static void call(void* self, T& item) {
        (*static_cast<F*>(self))(item);
    }
    void* self_;
    void (*call_)(void* self, T& item);
};

}  // namespace weft::detail
