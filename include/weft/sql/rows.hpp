// SPDX-License-Identifier: MIT
// sql::Rows, sql::Row: the result of a statement.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <tuple>
#include <utility>

#include "../base/error.hpp"
#include "../base/ref.hpp"
#include "cell.hpp"
#include "error.hpp"

namespace weft::sql {

/// What a database's client has of a result; each room derives one.
class Result : public weft::detail::Counted<Result> {
public:
    virtual ~Result() = default;
    virtual std::size_t rows() const noexcept = 0;
    virtual std::size_t columns() const noexcept = 0;
    virtual std::string_view name(std::size_t column) const noexcept = 0;
    virtual Cell cell(std::size_t row, std::size_t column) const noexcept = 0;

    /// How many rows the statement has changed (or, where it changes none, given).
    std::uint64_t affected = 0;
    /// MySQL and SQLite: the key that an INSERT made. PostgreSQL: use RETURNING.
    std::int64_t last_insert_id = 0;

    [[gnu::cold]] std::size_t column(std::string_view wanted) const {
        const std::size_t count = columns();
        for (std::size_t index = 0; index < count; ++index) {
            if (name(index) == wanted) return index;
        }
        throw ConversionError(weft::detail::concat({"the result has no column \"", wanted, "\""}));
    }
    [[noreturn, gnu::cold]] void refuse_column(std::size_t column) const {
        throw ConversionError(weft::detail::concat(
            {"the result has no column ", weft::detail::decimal(static_cast<long long>(column)),
             ", only ", weft::detail::decimal(static_cast<long long>(columns()))}));
    }

protected:
    Result() noexcept = default;
};

namespace detail {
using ResultRef = weft::detail::Ref<const Result>;
}  // namespace detail

/// One row. Keeps its result alive.
class Row {
public:
    Row(detail::ResultRef result, std::size_t index) noexcept
        : result_(std::move(result)), index_(index) {}

    std::size_t columns() const noexcept { return result_ ? result_->columns() : 0; }
    /// Throws:   ConversionError when there is no such column.
    Cell operator[](std::size_t column) const {
        const Result& from = result();
        if (column >= from.columns()) from.refuse_column(column);
        return from.cell(index_, column).named(from.name(column));
    }
    Cell operator[](int column) const { return (*this)[static_cast<std::size_t>(column)]; }
    Cell operator[](std::string_view column) const { return (*this)[result().column(column)]; }
    Cell operator[](const char* column) const { return (*this)[std::string_view(column)]; }

    /// `row.get<int>("id")`, `row.get<std::optional<std::string>>(2)`
    /// Throws:   ConversionError.
    template <class T, class Column>
    T get(const Column& column) const {
        return (*this)[column].template as<T>();
    }
    /// The first columns: `auto [id, name] = row.as<int, std::string>();`; of one type the value
    /// itself.
    template <class... Ts>
    auto as() const {
        return as_each<Ts...>(std::index_sequence_for<Ts...>());
    }

private:
    const Result& result() const {
        if (!result_) [[unlikely]]
            weft::detail::throw_runtime_error("weft: an empty sql::Row: it was moved from");
        return *result_;
    }
    template <class... Ts, std::size_t... Is>
    auto as_each(std::index_sequence<Is...>) const {
        if constexpr (sizeof...(Ts) == 1) {
            return (get<Ts>(Is), ...);
        } else {
            return std::tuple<Ts...>(get<Ts>(Is)...);
        }
    }

    detail::ResultRef result_;
    std::size_t index_;
};

namespace detail {

/// Rows one after the other, as what `Read` makes of them.
template <class Read>
class RowIterator {
public:
    using iterator_category = std::input_iterator_tag;
    using value_type = decltype(Read::from(std::declval<const Row&>()));
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = value_type;

    RowIterator() noexcept {}
    RowIterator(ResultRef result, std::size_t index) noexcept
        : result_(std::move(result)), index_(index) {}
    value_type operator*() const { return Read::from(Row(result_, index_)); }
    RowIterator& operator++() noexcept {
        ++index_;
        return *this;
    }
    void operator++(int) noexcept { ++index_; }
    bool operator==(const RowIterator& other) const noexcept { return index_ == other.index_; }

private:
    ResultRef result_;
    std::size_t index_ = 0;
};

struct ReadRow {
    static Row from(const Row& row) { return row; }
};
template <class... Ts>
struct ReadAs {
    static auto from(const Row& row) { return row.as<Ts...>(); }
};

template <class Read>
class RowRange {
public:
    explicit RowRange(ResultRef result) noexcept : result_(std::move(result)) {}
    RowIterator<Read> begin() const noexcept { return {result_, 0}; }
    RowIterator<Read> end() const noexcept { return {result_, result_ ? result_->rows() : 0}; }

private:
    ResultRef result_;
};

}  // namespace detail

/// The rows of a result, in memory as a whole. Cheap to copy.
///
///     auto rows = co_await db.query("SELECT id, name FROM users WHERE age > $1", 30);
///     for (auto [id, name] : rows.as<int, std::string>()) ...
///     for (const weft::sql::Row& row : rows) use(row.get<std::optional<std::string>>("name"));
class Rows {
public:
    using iterator = detail::RowIterator<detail::ReadRow>;

    Rows() noexcept {}
    explicit Rows(detail::ResultRef result) noexcept : result_(std::move(result)) {}

    std::size_t size() const noexcept { return result_ ? result_->rows() : 0; }
    bool empty() const noexcept { return size() == 0; }
    std::size_t columns() const noexcept { return result_ ? result_->columns() : 0; }
    /// Empty where there is no such column.
    std::string_view name(std::size_t column) const noexcept {
        return column < columns() ? result_->name(column) : std::string_view();
    }
    std::uint64_t affected() const noexcept { return result_ ? result_->affected : 0; }
    std::int64_t last_insert_id() const noexcept { return result_ ? result_->last_insert_id : 0; }

    /// Throws:   ConversionError when there is none of that number.
    Row operator[](std::size_t index) const {
        if (index >= size()) refuse(index);
        return Row(result_, index);
    }
    /// The only row.
    /// Throws:   ConversionError when there is none, or more than one.
    Row one() const {
        if (size() != 1) refuse_number();
        return Row(result_, 0);
    }
    /// `rows.one<std::int64_t>()`: of the only row.
    template <class T, class... Ts>
    auto one() const {
        return one().as<T, Ts...>();
    }
    iterator begin() const noexcept { return {result_, 0}; }
    iterator end() const noexcept { return {result_, size()}; }
    template <class... Ts>
    detail::RowRange<detail::ReadAs<Ts...>> as() const noexcept {
        return detail::RowRange<detail::ReadAs<Ts...>>(result_);
    }

private:
    [[noreturn, gnu::cold]] void refuse(std::size_t index) const {
        throw ConversionError(weft::detail::concat(
            {"the result has no row ", weft::detail::decimal(static_cast<long long>(index)),
             ", only ", weft::detail::decimal(static_cast<long long>(size()))}));
    }
    [[noreturn, gnu::cold]] void refuse_number() const {
        throw ConversionError(weft::detail::concat(
            {"one row was expected, not ", weft::detail::decimal(static_cast<long long>(size()))}));
    }

    detail::ResultRef result_;
};

}  // namespace weft::sql
