// SPDX-License-Identifier: MIT
// map_limit: a call for every item of a range, a limited number of them at the same time.
#pragma once

#include <cstddef>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/error.hpp"
#include "../base/std_parts.hpp"
#include "../task/coro.hpp"
#include "../task/task.hpp"
#include "../together/exception_group.hpp"
#include "../together/task_group.hpp"
#include "detail/own_context.hpp"

namespace weft {
namespace detail {

template <class T>
struct MapResult;

/// What `fn` is given of an item: what the iterator gives. Of a range whose next step overwrites
/// the item (one that is a std::input_iterator alone) it is a copy, because another task takes that
/// step while the call runs.
template <class R, class Iterator = decltype(std::declval<R&>().begin())>
using MapItem =
    std::conditional_t<std::forward_iterator<Iterator>, decltype(*std::declval<Iterator&>()),
                       std::iter_value_t<Iterator>>;

}  // namespace detail

/// Awaits `fn(item, args...)` for each item of `range`, at most `most` at a time. Items are taken
/// out of the range one by one, each when a call can begin, so the range may be long, or made as it
/// is read (`std::views`). `most` tasks make the calls, or fewer if there are fewer items.
///
///     std::vector<Page> pages = co_await weft::map_limit(urls, 8, &fetch);
///
/// Each call has its own context, a copy of the caller's: a context variable that one sets, others
/// do not see.
///
/// The first failure cancels the calls under way and is thrown when they have ended; no further
/// item is taken.
/// Returns:  a std::vector of the results in the order of the range (pointers where they are
///           references); nothing if `fn` returns Coro<void>.
/// Throws:   the failure as it is, or an ExceptionGroup when several calls failed; what the range
///           throws; CancelledError also when a call ended with that; std::invalid_argument when
///           `most` is 0.
/// Cancel:   cancels the calls under way and waits for them. If any of them fails, that is thrown
///           and the cancel strikes again at the next suspension.
/// Lifetime: `range`, `fn` and `args` are moved or copied, and kept; give a std::span or another
///           view for a container that is too large to copy. `fn` gets the item as the iterator
///           gives it (a reference into the range, mostly), and `args` as lvalues.
template <class R, class Fn, class... Args>
auto map_limit(R range, std::size_t most, Fn fn, Args... args) -> Coro<typename detail::MapResult<
    typename std::invoke_result_t<Fn&, detail::MapItem<R>, Args&...>::value_type>::All>;

namespace detail {

template <class T>
struct MapResult {
    using Kept = std::conditional_t<std::is_reference_v<T>,
                                    std::add_pointer_t<std::remove_reference_t<T>>, T>;
    using Slots = std::vector<std::optional<Kept>>;
    using All = std::vector<Kept>;
};
template <>
struct MapResult<void> {
    struct Slots {};
    using All = void;
};

/// What the workers share. A worker refers to it only while it runs: when a loop is closed before
/// they have ended, a worker may be destroyed later than this.
template <class R, class Call>
struct MapWork {
    using Item = MapItem<R>;
    using Result = typename std::invoke_result_t<Call&, Item>::value_type;

    MapWork(R& range, Call& function) : call(function), at(range.begin()), end(range.end()) {}

    bool has_more() { return !stop && at != end; }

    Call& call;
    decltype(std::declval<R&>().begin()) at;
    decltype(std::declval<R&>().end()) end;
    std::size_t taken = 0;
    typename MapResult<Result>::Slots results;
    bool stop = false;             // no further item is taken
    std::exception_ptr cancelled;  // the CancelledError of a call that nobody had cancelled
};

template <class Work>
Coro<void> map_items(Work& work) {
    using Item = typename Work::Item;
    const OwnContext context;
    while (work.has_more()) {
        context.renew();
        Item item = *work.at;
        ++work.at;
        [[maybe_unused]] const std::size_t index = work.taken++;
        if constexpr (std::is_void_v<typename Work::Result>) {
            co_await work.call(static_cast<Item&&>(item));
        } else {
            work.results.emplace_back();
            if constexpr (std::is_reference_v<typename Work::Result>) {
                work.results[index] = std::addressof(co_await work.call(static_cast<Item&&>(item)));
            } else {
                typename Work::Result result = co_await work.call(static_cast<Item&&>(item));
                work.results[index].emplace(std::move(result));
            }
        }
        // The call has ended although it was cancelled. The worker ends here: otherwise the next
        // call would run without knowing of the cancel.
        if (current_task().cancelling() > 0) throw CancelledError();
    }
}

template <class Work>
Coro<void> map_worker(Work& work, TaskGroup& group) {
    try {
        co_await map_items(work);
    } catch (const CancelledError&) {
        // A group goes on when one of its children ends with CancelledError, but here the result of
        // an item would be missing: the others are cancelled too.
        if (!std::exchange(work.stop, true)) work.cancelled = std::current_exception();
        group.cancel();
        throw;
    } catch (...) {
        work.stop = true;  // at once: the group cancels the other workers only in the next turn
        throw;
    }
}

}  // namespace detail

template <class R, class Fn, class... Args>
auto map_limit(R range, std::size_t most, Fn fn, Args... args) -> Coro<typename detail::MapResult<
    typename std::invoke_result_t<Fn&, detail::MapItem<R>, Args&...>::value_type>::All> {
    using Item = detail::MapItem<R>;
    if (most == 0) throw std::invalid_argument("weft: map_limit: 0 at a time");
    auto call = [&](Item&& item) { return fn(static_cast<Item&&>(item), args...); };
    using Work = detail::MapWork<R, decltype(call)>;
    Work work(range, call);
    auto body = [&](TaskGroup& group) -> Coro<void> {
        // Eager: each takes its first item before the next one is started.
        for (std::size_t i = 0; i < most && work.has_more(); ++i) {
            group.create_task(detail::map_worker<Work>(work, group),
                              TaskOptions(std::string(), true));
        }
        co_return;
    };
    std::exception_ptr failure;
    try {
        co_await task_group(body);
        failure = work.cancelled;
    } catch (const ExceptionGroup& errors) {
        if (errors.exceptions().size() != 1) throw;
        failure = errors.exceptions().front();
    }
    if (failure) std::rethrow_exception(failure);
    if constexpr (!std::is_void_v<typename Work::Result>) {
        typename detail::MapResult<typename Work::Result>::All results;
        results.reserve(work.results.size());
        for (auto& result : work.results) results.push_back(std::move(*result));
        co_return results;
    }
}

}  // namespace weft
