// SPDX-License-Identifier: MIT
// parallel_map: an ordinary function for every item of a range, on the threads of a pool.
#pragma once

#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/cores.hpp"
#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../task/coro.hpp"
#include "../thread/thread_pool.hpp"
#include "map_limit.hpp"

namespace weft {

struct ParallelOptions {
    /// Null: the process's own, which `to_thread` uses. Outlives the await.
    ThreadPool* pool = nullptr;
    /// So many of its threads are used at the same time, at most; 0: one for each core.
    std::size_t threads = 0;
    /// Items that a thread works on without asking for more; 0: so that each thread asks eight
    /// times. Larger for calls that take less than 10 us, smaller where they differ much.
    std::size_t chunk = 0;
};

namespace detail {

template <class R, class Fn>
class ParallelWork;

}  // namespace detail

/// Calls `fn(item)`, or `fn(stop, item)` where it takes a StopToken first, for each item of
/// `range`, on several threads: for what keeps a processor busy. (For calls that wait, use
/// `map_limit` with `to_thread`.)
///
///     std::vector<Hash> hashes = co_await weft::parallel_map(blocks, &hash);
///
/// The first failure stops the others: no further call begins, those that run are asked to stop by
/// their StopToken (and `thread_stop_token()`) and are waited for.
/// Returns:  a std::vector of the results in the order of the range; nothing if `fn` returns void.
/// Throws:   the failure as it is, or an ExceptionGroup when several calls failed; what
///           `ThreadPool::run` throws; CancelledError.
/// Cancel:   no further call begins, and those that run are asked to stop and waited for.
/// Lifetime: `range` and `fn` are moved or copied, and kept until the last call has ended; give a
///           std::span for what is too large to copy. Both are used by several threads at once:
///           `fn` must be fit for that, and gets the item as the iterator gives it.
template <class R, class Fn>
auto parallel_map(R range, Fn fn, ParallelOptions options = {})
    -> Coro<typename detail::ParallelWork<R, Fn>::All>;

namespace detail {

/// Shared by the coroutine and the jobs: a task that is destroyed because its clean-up took too
/// long does not wait for them.
template <class R, class Fn>
class ParallelWork : public CountedByThreads<ParallelWork<R, Fn>> {
    using Iterator = decltype(std::declval<R&>().begin());
    using Item = decltype(*std::declval<Iterator&>());
    static_assert(std::random_access_iterator<Iterator>,
                  "weft: parallel_map takes a range with random access, such as a std::vector");
    static_assert(
        std::is_invocable_v<Fn&, Item> || std::is_invocable_v<Fn&, StopToken, Item>,
        "weft: the function given to parallel_map cannot be called with an item of the range");

    static constexpr bool asks = std::is_invocable_v<Fn&, StopToken, Item>;
    static decltype(auto) call(Fn& fn, const StopToken& stop, Item item) {
        if constexpr (asks) {
            return fn(stop, static_cast<Item>(item));
        } else {
            return fn(static_cast<Item>(item));
        }
    }
    using Result = decltype(call(std::declval<Fn&>(), StopToken(), std::declval<Item>()));
    static_assert(!std::is_reference_v<Result>,
                  "weft: the function given to parallel_map returns a value");
    static_assert(!is_coro<Result>, "weft: parallel_map calls ordinary functions; see map_limit");

public:
    using All = typename MapResult<Result>::All;

    ParallelWork(R&& range, Fn&& fn)
        : range_(std::move(range)),
          fn_(std::move(fn)),
          begin_(range_.begin()),
          size_(static_cast<std::size_t>(range_.end() - begin_)) {
        if constexpr (!std::is_void_v<Result>) results_.resize(size_);
    }
    std::size_t size() const noexcept { return size_; }

    /// On a thread.
    void run(const StopToken& stop, std::size_t from, std::size_t to) {
        for (std::size_t index = from; index < to && !stop.stop_requested(); ++index) {
            Item item = begin_[static_cast<std::ptrdiff_t>(index)];
            if constexpr (std::is_void_v<Result>) {
                call(fn_, stop, static_cast<Item>(item));
            } else {
                results_[index].emplace(call(fn_, stop, static_cast<Item>(item)));
            }
        }
    }
    All take() {
        if constexpr (!std::is_void_v<Result>) {
            All all;
            all.reserve(size_);
            for (auto& result : results_) all.push_back(std::move(*result));
            return all;
        }
    }

private:
    R range_;
    Fn fn_;
    const Iterator begin_;
    const std::size_t size_;
    typename MapResult<Result>::Slots results_;  // each job writes its own
};

/// The numbers from 0 on, as a range for `map_limit`.
class Numbers {
public:
    class iterator {
    public:
        using value_type = std::size_t;
        using difference_type = std::ptrdiff_t;
        using reference = std::size_t;
        using pointer = const std::size_t*;
        using iterator_category = std::input_iterator_tag;
        iterator() noexcept = default;
        explicit iterator(std::size_t at) noexcept : at_(at) {}
        std::size_t operator*() const noexcept { return at_; }
        iterator& operator++() noexcept {
            ++at_;
            return *this;
        }
        iterator operator++(int) noexcept { return iterator(at_++); }
        friend bool operator==(const iterator&, const iterator&) noexcept = default;

    private:
        std::size_t at_ = 0;
    };

    explicit Numbers(std::size_t count) noexcept : count_(count) {}
    iterator begin() const noexcept { return iterator(0); }
    iterator end() const noexcept { return iterator(count_); }

private:
    std::size_t count_;
};

}  // namespace detail

template <class R, class Fn>
auto parallel_map(R range, Fn fn, ParallelOptions options)
    -> Coro<typename detail::ParallelWork<R, Fn>::All> {
    using Work = detail::ParallelWork<R, Fn>;
    const detail::Ref<Work> work(new Work(std::move(range), std::move(fn)));
    ThreadPool& pool = options.pool ? *options.pool : default_thread_pool();
    const std::size_t threads = options.threads > 0 ? options.threads : detail::Cores().count();
    const std::size_t chunk =
        options.chunk > 0 ? options.chunk : std::max<std::size_t>(1, work->size() / (threads * 8));
    auto job = [work](const StopToken& stop, std::size_t from, std::size_t to) {
        work->run(stop, from, to);
    };
    auto one = [&](std::size_t number) -> Coro<void> {
        const std::size_t from = number * chunk;
        co_await pool.run(job, from, std::min(from + chunk, work->size()));
    };
    const std::size_t chunks = (work->size() + chunk - 1) / chunk;
    co_await map_limit(detail::Numbers(chunks), threads, one);
    co_return work->take();
}

}  // namespace weft
