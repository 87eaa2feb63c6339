// SPDX-License-Identifier: MIT
// sql::Parameters: the values that go with a statement, copied out of the call's arguments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../task/coro.hpp"

namespace weft::sql {

using Bytes = std::vector<std::byte>;

/// How a type of yours travels: specialise with
///     static std::string to_text(const T&);
///     static T from_text(std::string_view);
template <class T>
struct Convert;

namespace detail {

template <class T>
concept Converted = requires(const T& value, std::string_view text) {
    Convert<T>::to_text(value);
    Convert<T>::from_text(text);
};
template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

}  // namespace detail

/// One value. Text and bytes refer to the memory of their Parameters.
struct Parameter {
    enum class Kind : std::uint8_t { null, boolean, integer, unsigned_integer, real, text, bytes };

    Kind kind = Kind::null;
    union {
        std::int64_t integer = 0;
        std::uint64_t unsigned_integer;
        double real;
        std::size_t offset;  // of text and bytes
    };
    std::size_t size = 0;
};

/// What a statement's `$1`, `$2` (PostgreSQL) or `?` (SQLite, MySQL) stand for: booleans, numbers,
/// text, bytes (`sql::Bytes`, `std::span<const std::byte>`), optionals of these, a null pointer or
/// std::nullopt for NULL, and what has a `sql::Convert`. Values are copied.
class Parameters {
public:
    Parameters() noexcept {}
    template <class... Args>
        requires(sizeof...(Args) > 0)
    explicit Parameters(std::in_place_t, const Args&... values) {
        list_.reserve(sizeof...(Args));
        (add(values), ...);
    }

    template <class T>
    void add(const T& value) {
        using V = std::decay_t<T>;
        if constexpr (std::is_same_v<V, std::nullptr_t> || std::is_same_v<V, std::nullopt_t>) {
            list_.emplace_back();
        } else if constexpr (detail::is_optional<V>) {
            if (value) {
                add(*value);
            } else {
                list_.emplace_back();
            }
        } else if constexpr (detail::Converted<V>) {
            add_text(Parameter::Kind::text, Convert<V>::to_text(value));
        } else if constexpr (std::is_same_v<V, bool>) {
            list_.emplace_back();
            list_.back().kind = Parameter::Kind::boolean;
            list_.back().integer = value;
        } else if constexpr (std::is_integral_v<V> && std::is_unsigned_v<V>) {
            list_.emplace_back();
            list_.back().kind = Parameter::Kind::unsigned_integer;
            list_.back().unsigned_integer = value;
        } else if constexpr (std::is_integral_v<V>) {
            list_.emplace_back();
            list_.back().kind = Parameter::Kind::integer;
            list_.back().integer = value;
        } else if constexpr (std::is_floating_point_v<V>) {
            list_.emplace_back();
            list_.back().kind = Parameter::Kind::real;
            list_.back().real = static_cast<double>(value);
        } else if constexpr (std::is_same_v<V, const char*> || std::is_same_v<V, char*>) {
            const char* const text = value;
            if (text) {
                add_text(Parameter::Kind::text, text);
            } else {
                list_.emplace_back();
            }
        } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
            add_text(Parameter::Kind::text, value);
        } else if constexpr (std::is_convertible_v<const T&, std::span<const std::byte>>) {
            const std::span<const std::byte> bytes = value;
            add_text(Parameter::Kind::bytes,
                     {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
        } else {
            static_assert(
                weft::detail::always_false<T>,
                "no parameter of a statement: specialise weft::sql::Convert for the type");
        }
    }

    std::size_t size() const noexcept { return list_.size(); }
    bool empty() const noexcept { return list_.empty(); }
    const Parameter& operator[](std::size_t index) const noexcept { return list_[index]; }
    Parameter& operator[](std::size_t index) noexcept { return list_[index]; }
    /// Of a text or of bytes; a zero follows.
    std::string_view text(const Parameter& of) const noexcept {
        return {memory_.data() + of.offset, of.size};
    }

private:
    void add_text(Parameter::Kind kind, std::string_view text) {
        list_.emplace_back();
        Parameter& made = list_.back();
        made.kind = kind;
        made.offset = memory_.size();
        made.size = text.size();
        memory_.append(text.data(), text.size());
        memory_.push_back('\0');
    }

    std::vector<Parameter> list_;
    std::string memory_;
};

}  // namespace weft::sql
