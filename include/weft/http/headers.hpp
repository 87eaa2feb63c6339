// SPDX-License-Identifier: MIT
// Headers: the fields of an HTTP message, in order, by names whose case does not count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/config.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <stdexcept>

#include "../base/error.hpp"
#include "../base/std_parts.hpp"
#include "detail/text.hpp"
#endif

namespace weft::http {

namespace detail {
class Parser;
struct MessageHead;
struct ParserState;
}  // namespace detail

/// The header fields of a message: an ordered multimap. Names are compared without their case and
/// keep the one in which they came.
///
/// All text stands in one string, so that a message costs two blocks of memory, and a connection
/// that goes on with the next message none. What a function returns is a view into that string:
/// valid until the Headers are changed or go.
class Headers {
public:
    struct Field {
        std::string_view name;
        std::string_view value;
    };

    Headers() noexcept {}
    /// `Headers{{"Accept", "text/html"}, {"X-Trace", id}}`
    Headers(std::initializer_list<Field> fields);

    /// Appends a field; others of this name stay.
    /// Throws:   std::invalid_argument for a name that is no token and for a value with a line
    ///           break, a zero byte or another control character: it would end the field, and what
    ///           follows would be one of the sender's choice.
    Headers& add(std::string_view name, std::string_view value);
    /// The only field of this name from now on, in the place of the first one.
    /// Throws:   as `add`.
    Headers& set(std::string_view name, std::string_view value);
    /// Returns:  how many there were.
    std::size_t remove(std::string_view name) noexcept;
    void clear() noexcept {
        text_.clear();
        fields_.clear();
    }

    /// The value of the first field of this name.
    std::optional<std::string_view> get(std::string_view name) const noexcept;
    /// The same, empty where there is none: for comparing.
    std::string_view value(std::string_view name) const noexcept;
    std::vector<std::string_view> get_all(std::string_view name) const;
    bool contains(std::string_view name) const noexcept { return get(name).has_value(); }
    /// One of the fields of this name, which are lists with commas (`Connection: close, upgrade`),
    /// has this token, its case not counting.
    bool has_token(std::string_view name, std::string_view token) const noexcept;

    std::size_t size() const noexcept { return fields_.size(); }
    bool empty() const noexcept { return fields_.empty(); }
    Field operator[](std::size_t index) const noexcept { return field(fields_[index]); }

    class Iterator {
    public:
        Iterator(const Headers& headers, std::size_t index) noexcept
            : headers_(&headers), index_(index) {}
        Field operator*() const noexcept { return (*headers_)[index_]; }
        Iterator& operator++() noexcept {
            ++index_;
            return *this;
        }
        bool operator==(const Iterator& other) const noexcept { return index_ == other.index_; }

    private:
        const Headers* headers_;
        std::size_t index_;
    };
    Iterator begin() const noexcept { return {*this, 0}; }
    Iterator end() const noexcept { return {*this, size()}; }

private:
    friend class Response;
    friend struct detail::MessageHead;
    friend struct detail::ParserState;

    struct Place {
        std::uint32_t name;
        std::uint32_t name_size;
        std::uint32_t value;
        std::uint32_t value_size;
    };

    Field field(const Place& place) const noexcept {
        return {{text_.data() + place.name, place.name_size},
                {text_.data() + place.value, place.value_size}};
    }
    std::uint32_t keep(std::string_view text);
    /// As `add`, of what is known to be good.
    void append(std::string_view name, std::string_view value);

    std::string text_;
    std::vector<Place> fields_;
};

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
namespace detail {

[[gnu::cold]] WEFT_INLINE void check_field(std::string_view name, std::string_view value) {
    if (!is_token(name))
        throw std::invalid_argument(
            weft::detail::concat({"weft: not the name of a header field: \"", name, "\""}));
    if (!is_field_value(value))
        throw std::invalid_argument(weft::detail::concat(
            {"weft: the value of the header field ", name, " has a control character"}));
}

}  // namespace detail

WEFT_INLINE Headers::Headers(std::initializer_list<Field> fields) {
    for (const Field& each : fields) add(each.name, each.value);
}

WEFT_INLINE std::uint32_t Headers::keep(std::string_view text) {
    const std::size_t at = text_.size();
    if (at + text.size() > 0xffff'ffff) throw std::length_error("weft: headers of 4 GiB");
    text_.append(text);
    return static_cast<std::uint32_t>(at);
}

WEFT_INLINE Headers& Headers::add(std::string_view name, std::string_view value) {
    detail::check_field(name, value);
    append(name, value);
    return *this;
}

WEFT_INLINE void Headers::append(std::string_view name, std::string_view value) {
    // (Both may be views into the text that has to move: a field made of another one.)
    const std::size_t at = text_.size();
    const std::size_t end = at + name.size() + value.size();
    if (end > 0xffff'ffff) throw std::length_error("weft: headers of 4 GiB");
    if (end > text_.capacity()) {
        std::string grown;
        grown.reserve(at == 0 ? end : std::max(end, 2 * at));
        grown.append(text_).append(name).append(value);
        text_.swap(grown);
    } else {
        text_.append(name).append(value);
    }
    fields_.push_back({static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(name.size()),
                       static_cast<std::uint32_t>(at + name.size()),
                       static_cast<std::uint32_t>(value.size())});
}

WEFT_INLINE Headers& Headers::set(std::string_view name, std::string_view value) {
    detail::check_field(name, value);
    for (std::size_t index = 0; index < fields_.size(); ++index) {
        if (!detail::same_name(field(fields_[index]).name, name)) continue;
        for (std::size_t other = fields_.size(); --other > index;) {
            if (detail::same_name(field(fields_[other]).name, name))
                fields_.erase(fields_.begin() + static_cast<std::ptrdiff_t>(other));
        }
        const std::uint32_t at = keep(value);  // (`name` may be gone with the text it is of)
        fields_[index].value = at;
        fields_[index].value_size = static_cast<std::uint32_t>(value.size());
        return *this;
    }
    return add(name, value);
}

WEFT_INLINE std::size_t Headers::remove(std::string_view name) noexcept {
    std::size_t kept = 0;
    for (const Place& each : fields_) {
        if (!detail::same_name(field(each).name, name)) fields_[kept++] = each;
    }
    const std::size_t removed = fields_.size() - kept;
    fields_.resize(kept);
    return removed;
}

WEFT_INLINE std::optional<std::string_view> Headers::get(std::string_view name) const noexcept {
    for (const Place& each : fields_) {
        const Field one = field(each);
        if (detail::same_name(one.name, name)) return one.value;
    }
    return std::nullopt;
}
WEFT_INLINE std::string_view Headers::value(std::string_view name) const noexcept {
    return get(name).value_or(std::string_view());
}
WEFT_INLINE std::vector<std::string_view> Headers::get_all(std::string_view name) const {
    std::vector<std::string_view> values;
    for (const Place& each : fields_) {
        const Field one = field(each);
        if (detail::same_name(one.name, name)) values.push_back(one.value);
    }
    return values;
}
WEFT_INLINE bool Headers::has_token(std::string_view name, std::string_view token) const noexcept {
    for (const Place& each : fields_) {
        const Field one = field(each);
        if (detail::same_name(one.name, name) && detail::list_has(one.value, token)) return true;
    }
    return false;
}
#endif

}  // namespace weft::http
