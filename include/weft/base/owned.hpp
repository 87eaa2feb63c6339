// SPDX-License-Identifier: MIT
// Owned<T>: what has one owner, as std::unique_ptr, at a tenth of its compile time.
#pragma once

#include <cstddef>
#include <type_traits>

namespace weft::detail {

/// std::unique_ptr brings <ostream>, with it locales and stream buffers, <tuple>, and some forty
/// functions for each type, all of which every file of every user would parse and compile.
template <class T>
class Owned {
    using Element = std::remove_extent_t<T>;

public:
    constexpr Owned() noexcept = default;
    explicit Owned(Element* made) noexcept : it_(made) {}
    Owned(Owned&& other) noexcept : it_(other.release()) {}
    template <class U>
        requires(std::is_convertible_v<U*, T*>)
    Owned(Owned<U>&& other)
    noexcept : it_(other.release()) {}
    Owned& operator=(Owned&& other) noexcept {
        reset(other.release());
        return *this;
    }
    ~Owned() { end(it_); }

    explicit operator bool() const noexcept { return it_ != nullptr; }
    Element& operator*() const noexcept { return *it_; }
    Element* operator->() const noexcept { return it_; }
    Element* get() const noexcept { return it_; }
    [[nodiscard]] Element* release() noexcept {
        Element* const out = it_;
        it_ = nullptr;
        return out;
    }
    /// (The old one goes last: its destructor may look here.)
    void reset(Element* made = nullptr) noexcept {
        Element* const old = it_;
        it_ = made;
        end(old);
    }

private:
    static void end(Element* old) noexcept {
        if constexpr (std::is_array_v<T>) {
            delete[] old;
        } else {
            delete old;
        }
    }
    Element* it_ = nullptr;
};

}  // namespace weft::detail
