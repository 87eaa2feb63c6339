// SPDX-License-Identifier: MIT
// AwaitBlock: an await that has not begun, and that is a Coro wherever one is asked for.
#pragma once

#include <tuple>
#include <utility>

#include "../../base/error.hpp"
#include "../../task/coro.hpp"

namespace weft::detail {

/// What `task_group` and `gather` return. It keeps the parts of which the awaiter is made, which
/// then lives in the frame that awaits it: no coroutine is made around it.
///
/// It is like a `Coro<T>`: moved, and awaited once, and nothing runs before; and it becomes one,
/// with a frame, wherever one is asked for (`create_task`, `run`, a function that returns one). It
/// derives from it so that `template <class T> f(Coro<T>)` takes it.
template <class T, class Awaiter, class... Parts>
class [[nodiscard]] [[gnu::warn_unused]] AwaitBlock final : public Coro<T> {
public:
    using coro_type = Coro<T>;

    explicit AwaitBlock(Parts&&... parts) : Coro<T>(nullptr), parts_(std::move(parts)...) {}
    AwaitBlock(AwaitBlock&& other)
        : Coro<T>(nullptr),
          parts_(std::move(other.parts_)),
          used_(std::exchange(other.used_, true)) {}
    AwaitBlock& operator=(AwaitBlock&&) = delete;
    ~AwaitBlock() = default;

    /// Throws:   RuntimeError when it was awaited or moved from before.
    Awaiter operator co_await() && {
        use();
        return Awaiter(std::move(parts_));
    }
    /// One that has a name is awaited in place, once like any other: it makes no frame that would
    /// have to be given away.
    Awaiter operator co_await() & { return std::move(*this).operator co_await(); }
    /// False once it was awaited or moved from.
    explicit operator bool() const& noexcept { return !used_; }
    /// Refused: see Coro.
    explicit operator bool() && {
        static_assert(always_false<T>, "weft: a coroutine is not its result: co_await it first");
        return false;
    }
    Coro<T> to_coro() && {
        use();
        used_ = false;
        return await_block(std::move(*this));
    }

private:
    void use() {
        if (std::exchange(used_, true)) [[unlikely]]
            throw_used_coro();
    }
    static Coro<T> await_block(AwaitBlock block) { co_return co_await std::move(block); }

    [[no_unique_address]] std::tuple<Parts...> parts_;
    bool used_ = false;
};

}  // namespace weft::detail
