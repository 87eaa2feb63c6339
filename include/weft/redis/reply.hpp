// SPDX-License-Identifier: MIT
// redis::Reply: what a Redis server answers, and how it becomes a type of C++.
#pragma once

#include <cerrno>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/config.hpp"
#include "../base/error.hpp"
#include "error.hpp"

namespace weft::redis {

class Reply;

namespace detail {
class Parser;
template <class T>
bool convert(Reply&& reply, T& value);
/// "a list", for errors.
std::string_view name_of(const Reply& reply) noexcept;
}  // namespace detail

/// A value, or a tree of them.
class Reply {
public:
    enum class Kind : unsigned char { nil, text, status, number, list, error };

    Reply() noexcept {}
    explicit Reply(long long number) noexcept : kind_(Kind::number), number_(number) {}
    Reply(Kind kind, std::string text) noexcept : kind_(kind), text_(std::move(text)) {}
    explicit Reply(std::vector<Reply> items) noexcept
        : kind_(Kind::list), items_(std::move(items)) {}

    Kind kind() const noexcept { return kind_; }
    bool is_nil() const noexcept { return kind_ == Kind::nil; }
    bool is_error() const noexcept { return kind_ == Kind::error; }
    bool is_list() const noexcept { return kind_ == Kind::list; }

    /// Of a text, a status ("OK") or an error; else empty.
    const std::string& text() const& noexcept { return text_; }
    std::string text() && noexcept { return std::move(text_); }
    /// Of a number; else 0.
    long long number() const noexcept { return number_; }
    /// Of a list; else empty.
    const std::vector<Reply>& items() const& noexcept { return items_; }
    std::vector<Reply> items() && noexcept { return std::move(items_); }
    std::size_t size() const noexcept { return items_.size(); }
    /// Throws:   Error when there is no such item.
    const Reply& operator[](std::size_t index) const {
        if (index >= items_.size()) throw Error("redis: the reply has no such item");
        return items_[index];
    }

    /// As a std::string, a number, a bool (1 or 0, OK or nil), a std::optional (empty: nil), a
    /// std::vector, a std::pair, or a map of these (`std::map<std::string, int>` of keys and values
    /// in turn). Texts become numbers where they are some.
    /// Throws:   Error when it is something else, ServerError when it is an error.
    template <class T>
    T as() && {
        T value{};
        if (is_error()) throw_server_error(*this, "redis: ");
        if (!detail::convert(std::move(*this), value)) throw_mismatch(*this, "redis: ");
        return value;
    }
    template <class T>
    T as() const& {
        return Reply(*this).as<T>();
    }

    /// For commands, which know who has answered and what was asked.
    [[noreturn]] static void throw_server_error(const Reply& reply, std::string_view whence);
    [[noreturn]] static void throw_mismatch(const Reply& reply, std::string_view whence);

private:
    friend class detail::Parser;

    Kind kind_ = Kind::nil;
    long long number_ = 0;
    std::string text_;
    std::vector<Reply> items_;
};

namespace detail {

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsPair : std::false_type {};
template <class A, class B>
struct IsPair<std::pair<A, B>> : std::true_type {};

inline bool is_text(const Reply& reply) noexcept {
    return reply.kind() == Reply::Kind::text || reply.kind() == Reply::Kind::status;
}

bool convert_integer(const Reply& reply, long long& value) noexcept;
bool convert_unsigned(const Reply& reply, unsigned long long& value) noexcept;
bool convert_double(const Reply& reply, double& value) noexcept;
bool convert_text(Reply&& reply, std::string& value);

template <class T>
bool convert_vector(Reply&& reply, T& value) {
    if (!reply.is_list()) return false;
    std::vector<Reply> items = std::move(reply).items();
    value.reserve(items.size());
    for (Reply& item : items) {
        typename T::value_type one{};
        if (!convert(std::move(item), one)) return false;
        value.push_back(std::move(one));
    }
    return true;
}

template <class T>
bool convert_map(Reply&& reply, T& value) {
    if (!reply.is_list() || reply.size() % 2 != 0) return false;
    std::vector<Reply> items = std::move(reply).items();
    for (std::size_t index = 0; index < items.size(); index += 2) {
        typename T::key_type key{};
        typename T::mapped_type one{};
        if (!convert(std::move(items[index]), key) || !convert(std::move(items[index + 1]), one))
            return false;
        value.insert_or_assign(std::move(key), std::move(one));
    }
    return true;
}

/// False: it is something else.
template <class T>
bool convert(Reply&& reply, T& value) {
    if constexpr (std::is_same_v<T, Reply>) {
        value = std::move(reply);
        return true;
    } else if constexpr (std::is_same_v<T, bool>) {
        value = reply.kind() == Reply::Kind::number ? reply.number() != 0 : is_text(reply);
        return !reply.is_list();
    } else if constexpr (std::is_same_v<T, std::string>) {
        return convert_text(std::move(reply), value);
    } else if constexpr (std::is_integral_v<T>) {
        std::conditional_t<std::is_signed_v<T>, long long, unsigned long long> wide{};
        if constexpr (std::is_signed_v<T>) {
            if (!convert_integer(reply, wide)) return false;
        } else {
            if (!convert_unsigned(reply, wide)) return false;
        }
        value = static_cast<T>(wide);
        return std::in_range<T>(wide);
    } else if constexpr (std::is_floating_point_v<T>) {
        double wide = 0;
        if (!convert_double(reply, wide)) return false;
        value = static_cast<T>(wide);
        return true;
    } else if constexpr (IsOptional<T>::value) {
        if (reply.is_nil()) return true;
        return convert(std::move(reply), value.emplace());
    } else if constexpr (IsVector<T>::value) {
        return convert_vector(std::move(reply), value);
    } else if constexpr (IsPair<T>::value) {
        if (reply.size() != 2) return false;
        std::vector<Reply> items = std::move(reply).items();
        return convert(std::move(items[0]), value.first) &&
               convert(std::move(items[1]), value.second);
    } else if constexpr (requires { typename T::mapped_type; }) {
        return convert_map(std::move(reply), value);
    } else {
        static_assert(std::is_same_v<T, Reply>,
                      "weft: a reply becomes text, a number, a bool, an optional, a vector, a pair "
                      "or a map");
        return false;
    }
}

}  // namespace detail

#if WEFT_BODIES || defined(WEFT_REDIS_SOURCE)
[[gnu::cold]] WEFT_INLINE std::string_view detail::name_of(const Reply& reply) noexcept {
    constexpr std::string_view names[] = {"nil",      "text",   "a status",
                                          "a number", "a list", "an error"};
    return names[static_cast<unsigned>(reply.kind())];
}

[[gnu::cold]] WEFT_INLINE void Reply::throw_server_error(const Reply& reply,
                                                         std::string_view whence) {
    const std::string& text = reply.text();
    throw ServerError(weft::detail::concat({whence, text}), text.substr(0, text.find(' ')));
}
[[gnu::cold]] WEFT_INLINE void Reply::throw_mismatch(const Reply& reply, std::string_view whence) {
    throw Error(weft::detail::concat(
        {whence, "the reply is ", detail::name_of(reply), ", which is not what it was taken for"}));
}

WEFT_INLINE bool detail::convert_integer(const Reply& reply, long long& value) noexcept {
    if (reply.kind() == Reply::Kind::number) {
        value = reply.number();
        return true;
    }
    if (!is_text(reply) || reply.text().empty() || reply.text()[0] == ' ') return false;
    char* end = nullptr;
    errno = 0;
    value = std::strtoll(reply.text().c_str(), &end, 10);
    return errno == 0 && end == reply.text().data() + reply.text().size();
}
WEFT_INLINE bool detail::convert_unsigned(const Reply& reply, unsigned long long& value) noexcept {
    if (reply.kind() == Reply::Kind::number) {
        value = static_cast<unsigned long long>(reply.number());
        return reply.number() >= 0;
    }
    if (!is_text(reply) || reply.text().empty()) return false;
    const char first = reply.text()[0];
    if (first < '0' || first > '9') return false;
    char* end = nullptr;
    errno = 0;
    value = std::strtoull(reply.text().c_str(), &end, 10);
    return errno == 0 && end == reply.text().data() + reply.text().size();
}
WEFT_INLINE bool detail::convert_double(const Reply& reply, double& value) noexcept {
    if (reply.kind() == Reply::Kind::number) {
        value = static_cast<double>(reply.number());
        return true;
    }
    if (!is_text(reply) || reply.text().empty()) return false;
    const char* const end = reply.text().data() + reply.text().size();
    // (Not strtod, which reads the decimal sign of the user's language.)
    const auto [at, error] = std::from_chars(reply.text().data(), end, value);
    return error == std::errc() && at == end;
}
WEFT_INLINE bool detail::convert_text(Reply&& reply, std::string& value) {
    if (reply.kind() == Reply::Kind::number) {
        value = weft::detail::decimal(reply.number());
        return true;
    }
    if (!is_text(reply)) return false;
    value = std::move(reply).text();
    return true;
}
#endif

}  // namespace weft::redis
