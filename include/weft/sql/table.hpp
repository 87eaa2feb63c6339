// SPDX-License-Identifier: MIT
// sql::Table: a result that was copied out of a client library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cell.hpp"
#include "rows.hpp"

namespace weft::sql {

/// Filled row by row. (A thread may fill it; from then on it is the loop's.)
class Table final : public Result {
public:
    void add_column(std::string_view name) {
        names_.push_back(Text(memory_.size(), name.size()));
        memory_.append(name);
    }
    void add_null() { cells_.emplace_back(); }
    void add(std::int64_t integer) {
        cells_.emplace_back();
        cells_.back().kind = Cell::Kind::integer;
        cells_.back().integer = integer;
    }
    void add(double real) {
        cells_.emplace_back();
        cells_.back().kind = Cell::Kind::real;
        cells_.back().real = real;
    }
    void add(Cell::Kind kind, std::string_view text) {
        cells_.emplace_back();
        cells_.back().kind = kind;
        cells_.back().text = Text(memory_.size(), text.size());
        memory_.append(text);
    }

    std::size_t rows() const noexcept override {
        return names_.empty() ? 0 : cells_.size() / names_.size();
    }
    std::size_t columns() const noexcept override { return names_.size(); }
    std::string_view name(std::size_t column) const noexcept override {
        return view(names_[column]);
    }
    sql::Cell cell(std::size_t row, std::size_t column) const noexcept override {
        const Value& value = cells_[row * names_.size() + column];
        switch (value.kind) {
            case Cell::Kind::null:
                return sql::Cell();
            case Cell::Kind::integer:
                return sql::Cell(value.integer);
            case Cell::Kind::real:
                return sql::Cell(value.real);
            default:
                return sql::Cell(value.kind, view(value.text));
        }
    }

private:
    struct Text {
        Text(std::size_t at, std::size_t length) noexcept : offset(at), size(length) {}
        std::size_t offset;
        std::size_t size;
    };
    struct Value {
        Value() noexcept {}
        Cell::Kind kind = Cell::Kind::null;
        union {
            std::int64_t integer = 0;
            double real;
            Text text;
        };
    };

    std::string_view view(const Text& text) const noexcept {
        return {memory_.data() + text.offset, text.size};
    }

    std::vector<Text> names_;
    std::vector<Value> cells_;
    std::string memory_;
};

}  // namespace weft::sql
