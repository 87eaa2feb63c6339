// SPDX-License-Identifier: MIT
// Who has which context: the untyped part of context variables that the engine hands on.
#pragma once

#include <cstdint>
#include <utility>

namespace weft::detail {

/// A set of values of context variables (what is in it, context_var.hpp knows). Copied by sharing:
/// whoever wants to change one that others have too makes a copy first.
struct ContextCore {
    using Destroy = void (*)(ContextCore&) noexcept;
    using Copy = ContextCore* (*)(const ContextCore&);
    ContextCore(Destroy how_destroyed, Copy how_copied) noexcept
        : destroy(how_destroyed), copy_values(how_copied) {}
    ContextCore(const ContextCore&) = delete;
    ContextCore& operator=(const ContextCore&) = delete;

    [[gnu::noinline]] void release() noexcept {
        if (--refs == 0) destroy(*this);
    }

    Destroy destroy;
    Copy copy_values;  // for another thread: nothing in it is shared
    std::uint32_t refs = 1;

protected:
    ~ContextCore() = default;
};

/// A share of one; empty where no variable was ever set, which is nearly everywhere.
class ContextRef {
public:
    ContextRef() noexcept = default;
    explicit ContextRef(ContextCore* context) noexcept : context_(context) {
        if (context) ++context->refs;
    }
    ContextRef(ContextRef&& other) noexcept : context_(std::exchange(other.context_, nullptr)) {}
    ContextRef& operator=(ContextRef&& other) noexcept {
        std::swap(context_, other.context_);
        return *this;
    }
    ~ContextRef() {
        if (context_) [[unlikely]]
            context_->release();
    }

    ContextCore* get() const noexcept { return context_; }
    /// The owning pointer itself.
    ContextCore*& slot() noexcept { return context_; }

private:
    ContextCore* context_ = nullptr;
};

/// For another thread, which shares nothing with this one: the counts are not atomic.
inline ContextRef copy_of_context(const ContextCore* context) {
    ContextRef copy;
    if (context) [[unlikely]]
        copy.slot() = context->copy_values(*context);
    return copy;
}

/// What holds outside of tasks: the context of the callback that runs, or the thread's own. A
/// plain pointer, though it owns: a destructor would make every access ask whether it is alive.
inline constinit thread_local ContextCore* ambient_context = nullptr;

/// A callback runs in a share of the context that it was scheduled in, and what it sets goes with
/// it.
class AmbientScope {
public:
    explicit AmbientScope(ContextRef& context) noexcept
        : outer_(std::exchange(ambient_context, std::exchange(context.slot(), nullptr))) {}
    AmbientScope(const AmbientScope&) = delete;
    AmbientScope& operator=(const AmbientScope&) = delete;
    ~AmbientScope() {
        if (ContextCore* const own = std::exchange(ambient_context, outer_)) [[unlikely]]
            own->release();
    }

private:
    ContextCore* const outer_;
};

}  // namespace weft::detail
