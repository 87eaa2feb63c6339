// SPDX-License-Identifier: MIT
// retry: calls again what failed, after a pause that grows.
#pragma once

#include <cstdint>
#include <exception>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "../base/callback.hpp"
#include "../base/clock.hpp"
#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/task_core.hpp"
#include "../task/coro.hpp"
#include "../task/sleep.hpp"
#include "detail/cancel_watch.hpp"

namespace weft {

/// Which failures are worth another call: any callable, given the exception and how many calls were
/// made. Empty: every std::exception.
/// Thread:   copies share the callable; those on several threads call it side by side.
class RetryCondition {
public:
    RetryCondition() noexcept = default;
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, RetryCondition> &&
                 std::is_invocable_r_v<bool, std::decay_t<F>&, const std::exception_ptr&, int>)
    // NOLINTNEXTLINE(google-explicit-constructor): a callable is a condition.
    RetryCondition(F&& fn) : shared_(new Shared(std::forward<F>(fn))) {}

    explicit operator bool() const noexcept { return static_cast<bool>(shared_); }
    /// Not of an empty one.
    bool operator()(const std::exception_ptr& failure, int calls) const {
        return shared_->fn(failure, calls);
    }

private:
    struct Shared : detail::CountedByThreads<Shared> {
        template <class F>
        explicit Shared(F&& f) : fn(std::forward<F>(f)) {}
        detail::Callback<bool(const std::exception_ptr&, int)> fn;
    };
    detail::Ref<Shared> shared_;
};

/// How often, how long in between, and after which failures. Not an aggregate: see TaskOptions.
struct RetryOptions {
    RetryOptions() noexcept {}
    explicit RetryOptions(int most_attempts, Duration first_pause = std::chrono::milliseconds(100))
        : attempts(most_attempts), first(first_pause) {}

    int attempts = 5;                                 ///< calls in all; the last failure is thrown
    Duration first = std::chrono::milliseconds(100);  ///< the first pause
    Duration longest = std::chrono::seconds(30);      ///< no pause is longer
    double factor = 2;                                ///< each pause is that much longer
    /// The share of a pause that is left to chance: 0.5 means between half of it and all of it.
    /// With 0, clients that failed together would all try again at the same time.
    double jitter = 0.5;
    RetryCondition when;  ///< which failures are worth another call
    /// Of the random numbers. Not 0: the pauses are the same in every run.
    std::uint64_t seed = 0;
};

/// Awaits `fn(args...)`, and again while it fails, with pauses in between. `fn` gets the arguments
/// anew each time, as lvalues.
/// Returns:  what the call that succeeds returns.
/// Throws:   what the last call has thrown; at once, what is not worth another call;
///           std::invalid_argument for options that make no sense.
/// Cancel:   ends the call or the pause. There is no further call after a cancel, also when the
///           cancelled call fails with another error in its clean-up.
template <class Fn, class... Args>
auto retry(RetryOptions options, Fn fn, Args... args) -> detail::CoroOfCall<Fn&, Args&...>;

namespace detail {

/// The lengths of the pauses, one after the other.
class Backoff {
public:
    explicit Backoff(const RetryOptions& options)
        : next_(static_cast<double>(options.first.count())),
          longest_(
              static_cast<double>(std::min(options.longest, Duration(longest_delay / 2)).count())),
          factor_(options.factor),
          jitter_(options.jitter),
          random_(options.seed) {
        if (const char* const wrong = options.attempts < 1              ? "attempts is less than 1"
                                      : !(factor_ >= 1)                 ? "factor is less than 1"
                                      : !(jitter_ >= 0 && jitter_ <= 1) ? "jitter is not in 0 to 1"
                                      : next_ < 0                       ? "first is negative"
                                      : longest_ < 0                    ? "longest is negative"
                                                                        : nullptr) {
            throw std::invalid_argument(concat({"weft: retry: ", wrong}));
        }
        // The address makes a difference between two that begin in the same nanosecond.
        if (!random_) {
            random_ = static_cast<std::uint64_t>(monotonic_now()) ^
                      reinterpret_cast<std::uintptr_t>(this);
        }
    }

    Duration next() noexcept {
        const double whole = next_ < longest_ ? next_ : longest_;
        next_ = whole * factor_;
        return Duration(static_cast<Nanoseconds>(whole * (1 - jitter_ * below_one())));
    }

private:
    // splitmix64: any seed will do.
    double below_one() noexcept {
        std::uint64_t bits = random_ += 0x9e3779b97f4a7c15U;
        bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9U;
        bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebU;
        bits ^= bits >> 31;
        return static_cast<double>(bits >> 11) * 0x1p-53;
    }

    double next_;
    double longest_;
    double factor_;
    double jitter_;
    std::uint64_t random_;
};

}  // namespace detail

template <class Fn, class... Args>
auto retry(RetryOptions options, Fn fn, Args... args) -> detail::CoroOfCall<Fn&, Args&...> {
    detail::Backoff pauses(options);
    for (int calls = 1;; ++calls) {
        std::exception_ptr failure;
        const detail::CancelWatch cancel;
        try {
            co_return co_await fn(args...);
        } catch (const CancelledError&) {
            throw;
        } catch (const std::exception&) {
            failure = std::current_exception();
            if (calls >= options.attempts || cancel.has_struck()) throw;
            if (options.when && !options.when(failure, calls)) throw;
        } catch (...) {
            failure = std::current_exception();
            if (calls >= options.attempts || cancel.has_struck()) throw;
            if (!options.when || !options.when(failure, calls)) throw;
        }
        failure = nullptr;  // not kept through the pause
        co_await sleep(pauses.next());
    }
}

}  // namespace weft
