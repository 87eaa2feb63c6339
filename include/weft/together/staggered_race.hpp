// SPDX-License-Identifier: MIT
// staggered_race: attempts that start one after the other until one succeeds ("happy eyeballs").
#pragma once

#include <cstddef>
#include <exception>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "../base/clock.hpp"
#include "../base/std_parts.hpp"
#include "../task/coro.hpp"
#include "detail/child_arguments.hpp"
#include "detail/child_range.hpp"
#include "detail/children.hpp"
#include "race.hpp"

namespace weft {
namespace detail {
template <class R, class T = typename Child<KeptElement<R>>::Result>
Coro<Winner<Stored<T>>> race_staggered(R attempts, std::optional<Nanoseconds> delay);
}  // namespace detail

/// Starts the attempts of a range (coroutines, or callables that return one) one by one: the next
/// one when the latest has failed, or when `delay` has passed since its start. The first success
/// wins; attempts that run are then cancelled and awaited, the others never start.
/// Returns:  a `Winner<T>`: result and place of the first success.
/// Throws:   when all fail, an ExceptionGroup of their errors, in their order;
///           std::invalid_argument when there are none, or for a duration that is NaN.
/// Cancel:   cancels the attempts that run and waits for them, like `race`.
/// Source:   RFC 8305, section 5; asyncio's staggered_race.
template <detail::ChildRange R, class Rep, class Period>
auto staggered_race(R&& attempts, std::chrono::duration<Rep, Period> delay) {
    return detail::race_staggered(detail::keep_range(std::forward<R>(attempts)),
                                  std::optional(detail::to_limit(delay)));
}
/// The same without a delay: an attempt starts when the one before it has failed.
template <detail::ChildRange R>
auto staggered_race(R&& attempts) {
    return detail::race_staggered(detail::keep_range(std::forward<R>(attempts)), std::nullopt);
}

namespace detail {

/// Until the next attempt is to start. Where a leftover is told here, it still has to wait for the
/// attempts that run, which may refer to what is its own: it is told when they have ended.
class [[nodiscard]] StaggeredWait {
public:
    StaggeredWait(Children& children, bool& is_left) noexcept
        : wait_(children), is_left_(is_left) {}
    bool await_ready() const noexcept { return wait_.await_ready(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_.await_suspend(handle); }
    void await_resume() {
        is_left_ = take_leftover();
        wait_.await_resume();
    }

private:
    Children::Wait wait_;
    bool& is_left_;
};

template <class R, class T>
Coro<Winner<Stored<T>>> race_staggered(R attempts, std::optional<Nanoseconds> delay) {
    using Attempt = KeptElement<R>;
    const std::size_t count = count_of(attempts);
    if (count == 0) throw std::invalid_argument("weft: a race of nobody");
    EventLoop& loop = get_running_loop();
    Children children(loop, count, ChildRule::first_success_cancels);
    Child<Attempt> starter;
    bool is_left = false;
    for (auto& attempt : attempts) {
        try {
            Attempt kept = keep(std::move(attempt));
            start_child(children, starter, kept);
            if (children.size() < count) {
                // The next one starts when this one has failed, or is slow.
                children.stop_at(children.node(children.size() - 1));
                if (delay) children.arm(deadline_after(loop.read_clock(), *delay));
            }
        } catch (...) {
            children.fail_to_start(std::current_exception());
        }
        children.begin();
        if (children.size() == count || children.failed_to_start()) break;
        {
            const TimerOff off(children);
            co_await StaggeredWait(children, is_left);
        }
        if (children.decisive() || children.asked() || is_left) break;
    }
    co_await children.wait();  // (A cancel that is pending is passed on to them.)
    if (is_left) loop.throw_cancelled();
    const std::size_t won = winner_of(children, "every attempt of a staggered race failed");
    co_return Winner<Stored<T>>(won, Child<Attempt>::take(children.node(won)));
}

}  // namespace detail
}  // namespace weft
