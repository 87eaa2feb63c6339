// SPDX-License-Identifier: MIT
// Ref<T>: a counted reference to an object that counts itself (`add_ref`, `release`).
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace weft::detail {

/// Base of `Self`, which begins with one reference and is deleted with the last. `Count` is atomic
/// where references are held by several threads.
template <class Self, class Count = std::uint32_t>
class Counted {
public:
    void add_ref() const noexcept { ++refs_; }
    void release() const noexcept {
        if (--refs_ == 0) delete static_cast<const Self*>(this);
    }
    /// Does anybody else hold it? (To be asked by who holds it.)
    bool is_shared() const noexcept { return refs_ > 1; }

protected:
    Counted() noexcept = default;
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    ~Counted() = default;

private:
    mutable Count refs_{1};
};

template <class Self>
using CountedByThreads = Counted<Self, std::atomic<std::uint32_t>>;

/// std::shared_ptr for objects of one kind: whether the count is atomic is the object's affair, and
/// letting go is one call instead of a page of inlined code.
template <class T>
class Ref {
public:
    Ref() noexcept = default;
    /// Takes over the reference that a new object starts with.
    explicit Ref(T* object) noexcept : object_(object) {}
    /// One more reference to an object that somebody holds.
    static Ref to(T& object) noexcept {
        object.add_ref();
        return Ref(&object);
    }
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
    friend bool operator==(const Ref&, const Ref&) noexcept = default;

private:
    T* object_ = nullptr;
};

}  // namespace weft::detail
