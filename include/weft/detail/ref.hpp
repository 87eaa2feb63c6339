// SPDX-License-Identifier: MIT
// Ref<T>: a counted reference to an object that counts itself (`add_ref`, `release`).
#pragma once

#include <utility>

namespace weft::detail {

/// std::shared_ptr for objects of one kind: whether the count is atomic is the object's affair, and
/// letting go is one call instead of a page of inlined code.
template <class T>
class Ref {
public:
    Ref() noexcept = default;
    /// Takes over the reference that a new object starts with.
    explicit Ref(T* object) noexcept : object_(object) {}
    Ref(const Ref& other) noexcept : object_(other.object_) {
        if (object_) object_->add_ref();
    }
    Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    Ref& operator=(Ref other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }
    ~Ref() {
        if (object_) object_->release();
    }

    /// Gives the reference away without letting go of it.
    T* leak() noexcept { return std::exchange(object_, nullptr); }

    T* operator->() const noexcept { return object_; }
    T& operator*() const noexcept { return *object_; }
    explicit operator bool() const noexcept { return object_ != nullptr; }

private:
    T* object_ = nullptr;
};

}  // namespace weft::detail
