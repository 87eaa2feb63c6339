// SPDX-License-Identifier: MIT
// Singleflight<Key, T>: callers who want the same thing at the same time share one call.
#pragma once

#include <cstddef>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include "../task/coro.hpp"
#include "../task/task.hpp"

namespace weft {

/// In front of a cache, a resolver, a slow query: while a call for a key is under way, whoever asks
/// for the same key waits for that one. Nothing is kept: the next one to ask after its end makes a
/// new call.
/// Thread:   loop thread only. Outlives the calls.
template <class Key, class T, class Hash = std::hash<Key>>
class Singleflight {
public:
    Singleflight() = default;
    Singleflight(const Singleflight&) = delete;
    Singleflight& operator=(const Singleflight&) = delete;

    /// Awaits the call for `key`; if there is none, `fn(args...)` is started as a task.
    /// Returns:  a copy of what the call returns.
    /// Throws:   what the call throws, to each who waits for it.
    /// Cancel:   ends the waiting of this caller alone. When the last one has gone, the call is
    ///           cancelled, and who asks after that makes a new one.
    template <class Fn, class... Args>
    Coro<T> run(Key key, Fn fn, Args... args) {
        auto at = calls_.find(key);
        if (at != calls_.end() && at->second.task.done()) {  // its callers have not run yet
            calls_.erase(at);
            at = calls_.end();
        }
        if (at == calls_.end()) {
            Task<T> task = create_task(std::move(fn), std::move(args)...);
            at = calls_.emplace(key, Call(std::move(task))).first;
        }
        const Caller caller(*this, std::move(key), at->second);
        co_await caller.task.wait();
        co_return caller.task.result();
    }

    /// Calls that are under way.
    std::size_t size() const noexcept { return calls_.size(); }

private:
    struct Call {
        explicit Call(Task<T>&& of) noexcept : task(std::move(of)) {}
        Task<T> task;
        std::size_t callers = 0;
    };
    using Calls = std::unordered_map<Key, Call, Hash>;

    /// From when one begins to wait until it has a result, or has gone.
    struct Caller {
        Caller(Singleflight& in, Key&& of, Call& call)
            : flights(&in), key(std::move(of)), task(call.task) {
            ++call.callers;
        }
        Caller(const Caller&) = delete;
        Caller& operator=(const Caller&) = delete;
        ~Caller() {
            // The first one to see the end takes the call out; there may be a new one by now.
            const auto at = flights->calls_.find(key);
            if (at == flights->calls_.end() || !(at->second.task == task)) return;
            if (--at->second.callers > 0 && !task.done()) return;
            flights->calls_.erase(at);
            if (!task.done()) task.cancel();
        }
        Singleflight* flights;
        Key key;
        Task<T> task;
    };

    Calls calls_;
};

}  // namespace weft
