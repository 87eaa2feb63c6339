// SPDX-License-Identifier: MIT
// MutableBuffer, ConstBuffer: a stretch of somebody else's memory, to read into or write from.
#pragma once

#include <cstddef>
#include <string_view>
#include <type_traits>
#include <utility>

namespace weft {
namespace detail {

// Anything contiguous with data() and size() whose elements are plain bytes or values: string,
// vector, array, span, string_view.
template <class R>
concept Contiguous = requires(R& range) {
    *range.data();
    range.size();
}
&&std::is_trivially_copyable_v<std::remove_reference_t<decltype(*std::declval<R&>().data())>>;

}  // namespace detail

/// Where received bytes go.
class MutableBuffer {
public:
    MutableBuffer(void* data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <class T, std::size_t N>
        requires(std::is_trivially_copyable_v<T> && !std::is_const_v<T>)
    MutableBuffer(T (&array)[N])
    noexcept : data_(array), size_(sizeof array) {}
    template <detail::Contiguous R>
        requires(!std::is_const_v<std::remove_reference_t<decltype(*std::declval<R&>().data())>>)
    MutableBuffer(R&& range)
    noexcept : data_(range.data()), size_(range.size() * sizeof(*range.data())) {}

    void* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

private:
    void* data_;
    std::size_t size_;
};

/// What is sent. A string literal is sent without its terminating zero.
class ConstBuffer {
public:
    ConstBuffer(const void* data, std::size_t size) noexcept : data_(data), size_(size) {}
    ConstBuffer(const char* text) noexcept : ConstBuffer(std::string_view(text)) {}
    /// What was read into can be written from.
    ConstBuffer(const MutableBuffer& buffer) noexcept
        : data_(buffer.data()), size_(buffer.size()) {}
    template <detail::Contiguous R>
    ConstBuffer(const R& range) noexcept
        : data_(range.data()), size_(range.size() * sizeof(*range.data())) {}

    const void* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

private:
    const void* data_;
    std::size_t size_;
};

}  // namespace weft
