// SPDX-License-Identifier: MIT
// sql::Cell: one value of a result, as whatever type is asked for.
#pragma once

#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "../base/error.hpp"
#include "error.hpp"
#include "parameters.hpp"

namespace weft::sql {

/// A value of a row. Refers to the memory of its Rows.
class Cell {
public:
    enum class Kind : std::uint8_t {
        null,
        text,  // of any type, as the database writes it
        hex,   // bytes, as PostgreSQL writes them: \x00ff
        bytes,
        integer,  // SQLite's
        real,
    };

    Cell() noexcept {}
    Cell(Kind kind, std::string_view text) noexcept : kind_(kind), text_(text) {}
    explicit Cell(std::int64_t integer) noexcept : kind_(Kind::integer), integer_(integer) {}
    explicit Cell(double real) noexcept : kind_(Kind::real), real_(real) {}
    /// For errors. Set by the row.
    Cell named(std::string_view column) const noexcept {
        Cell copy = *this;
        copy.column_ = column;
        return copy;
    }

    bool is_null() const noexcept { return kind_ == Kind::null; }
    Kind kind() const noexcept { return kind_; }
    /// As the database gave it; empty for NULL and for SQLite's numbers.
    std::string_view text() const noexcept { return text_; }

    /// bool, numbers, std::string, std::string_view (as long as the Rows), sql::Bytes,
    /// std::optional of these (empty for NULL), and what has a `sql::Convert`.
    /// Throws:   ConversionError, which names the column, for NULL where no optional is asked for,
    ///           for text that is no number, and for a number that does not fit.
    template <class T>
    T as() const {
        if constexpr (detail::is_optional<T>) {
            if (is_null()) return std::nullopt;
            return as<typename T::value_type>();
        } else {
            if (is_null()) fail("is NULL");
            return value<T>();
        }
    }

private:
    template <class T>
    T value() const {
        if constexpr (detail::Converted<T>) {
            return Convert<T>::from_text(to_text());
        } else if constexpr (std::is_same_v<T, bool>) {
            return to_bool();
        } else if constexpr (std::is_integral_v<T>) {
            return to_integer<T>();
        } else if constexpr (std::is_floating_point_v<T>) {
            return static_cast<T>(to_real());
        } else if constexpr (std::is_same_v<T, std::string>) {
            return to_text();
        } else if constexpr (std::is_same_v<T, std::string_view>) {
            if (kind_ == Kind::integer || kind_ == Kind::real) fail("is a number, not text");
            return text_;
        } else if constexpr (std::is_same_v<T, Bytes>) {
            return to_bytes();
        } else {
            static_assert(weft::detail::always_false<T>,
                          "no type for a cell: specialise weft::sql::Convert for it");
        }
    }

    template <class T>
    T to_integer() const {
        if (kind_ == Kind::integer) {
            if (!std::in_range<T>(integer_)) fail("does not fit");
            return static_cast<T>(integer_);
        }
        if (kind_ == Kind::real) fail("is no integer");
        T number{};
        const char* const end = text_.data() + text_.size();
        const auto [at, error] = std::from_chars(text_.data(), end, number);
        if (error == std::errc::result_out_of_range) fail("does not fit");
        if (error != std::errc() || at != end) fail("is no integer");
        return number;
    }
    double to_real() const {
        if (kind_ == Kind::real) return real_;
        if (kind_ == Kind::integer) return static_cast<double>(integer_);
        double number = 0;
        const char* const end = text_.data() + text_.size();
        const auto [at, error] = std::from_chars(text_.data(), end, number);
        if (error != std::errc() || at != end) fail("is no number");
        return number;
    }
    bool to_bool() const {
        if (kind_ == Kind::integer) return integer_ != 0;
        if (text_ == "t" || text_ == "true" || text_ == "1") return true;
        if (text_ == "f" || text_ == "false" || text_ == "0") return false;
        fail("is neither true nor false");
    }
    std::string to_text() const {
        char digits[32];
        if (kind_ == Kind::integer) return weft::detail::decimal(integer_);
        if (kind_ == Kind::real) {
            const auto end = std::to_chars(digits, digits + sizeof digits, real_).ptr;
            return std::string(digits, end);
        }
        return std::string(text_);
    }
    Bytes to_bytes() const {
        if (kind_ != Kind::hex) {
            const auto* const data = reinterpret_cast<const std::byte*>(text_.data());
            return Bytes(data, data + text_.size());
        }
        if (text_.substr(0, 2) != "\\x") return unescaped();
        const std::string_view digits = text_.substr(2);
        Bytes bytes(digits.size() / 2);
        for (std::size_t index = 0; index < bytes.size(); ++index) {
            unsigned value = 0;
            std::from_chars(digits.data() + 2 * index, digits.data() + 2 * index + 2, value, 16);
            bytes[index] = static_cast<std::byte>(value);
        }
        return bytes;
    }

    /// As PostgreSQL writes bytes where bytea_output is "escape": \\ and \ooo, all else as it is.
    [[gnu::cold]] Bytes unescaped() const {
        Bytes bytes;
        for (std::size_t at = 0; at < text_.size(); ++at) {
            unsigned value = static_cast<unsigned char>(text_[at]);
            if (value == '\\' && at + 1 < text_.size()) {
                const std::string_view digits = text_.substr(at + 1, 3);
                const bool is_octal = digits[0] != '\\';
                if (is_octal)
                    std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
                at += is_octal ? digits.size() : 1;
            }
            bytes.push_back(static_cast<std::byte>(value));
        }
        return bytes;
    }

    [[noreturn, gnu::cold]] void fail(std::string_view why) const {
        throw ConversionError(
            weft::detail::concat({"column \"", column_, "\" ", why, text_.empty() ? "" : ": \"",
                                  text_.substr(0, 60), text_.empty() ? "" : "\""}));
    }

    Kind kind_ = Kind::null;
    std::string_view text_;
    union {
        std::int64_t integer_ = 0;
        double real_;
    };
    std::string_view column_;
};

}  // namespace weft::sql
