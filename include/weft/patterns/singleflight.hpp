// SPDX-License-Identifier: MIT
// Singleflight<Key, T>: callers who want the same thing at the same time share one call.
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "../base/ref.hpp"
#include "../task/coro.hpp"
#include "../task/task.hpp"
#include "detail/flight.hpp"
#include "detail/key_table.hpp"

namespace weft {

/// In front of a cache, a resolver, a slow query: while a call for a key is under way, whoever asks
/// for the same key waits for that one. Nothing is kept: the next one to ask after its end makes a
/// new call.
///
/// Destroyed while tasks wait for calls, it cancels the calls; those tasks go on when the clean-up
/// is over, with a RuntimeError (or with what the call gives if that ends otherwise).
/// Thread:   loop thread only.
template <class Key, class T, class Hash = std::hash<Key>>
class Singleflight {
public:
    Singleflight() : state_(new State) {}
    Singleflight(const Singleflight&) = delete;
    Singleflight& operator=(const Singleflight&) = delete;
    ~Singleflight() { state_->end(); }

    /// Awaits the call for `key`; if there is none, `fn(args...)` is started as a task.
    /// Returns:  a copy of what the call returns.
    /// Throws:   what the call throws, to each who waits for it; RuntimeError when this object is
    ///           destroyed meanwhile.
    /// Cancel:   while others wait for the call, ends the waiting of this caller alone. The last one
    ///           cancels the call with it and waits until its clean-up is over, as if it had
    ///           awaited `fn` directly; who asks after that makes a new call. Calls that wait for
    ///           each other do not keep each other alive: only those who wait from outside count.
    /// Lifetime: the call may outlive the caller that began it, for others who wait. `fn` and `args`
    ///           are kept as long as it runs; what they refer to has to stay as long: give them
    ///           values, not references to locals of the caller.
    template <class Fn, class... Args>
    Coro<T> run(Key key, Fn fn, Args... args) {
        return join(state_, std::move(key), std::move(fn), std::move(args)...);
    }

    /// Calls that are under way.
    std::size_t size() const noexcept { return state_->calls.size(); }

private:
    struct Call final : detail::Flight, detail::Counted<Call> {
        Task<T> task;
    };
    using SharedCall = detail::Ref<Call>;

    /// Shared with those who wait, who may outlive the Singleflight.
    struct State final : detail::Counted<State> {
        /// The call to join; null when a new one has to be made.
        SharedCall find(const Key& key) {
            const SharedCall* const found = calls.find(key);
            if (!found) return SharedCall();
            if (!(*found)->is_over()) return *found;
            calls.erase(key);  // its callers have not run yet
            return SharedCall();
        }
        template <class... Args>
        SharedCall make(const Key& key, Args&&... args) {
            SharedCall call(new Call);
            calls.add(key, call);
            try {
                call->task = create_task(&detail::fly<T, std::decay_t<Args>...>, call->mark(),
                                         std::forward<Args>(args)..., TaskOptions().eager(false));
            } catch (...) {
                calls.erase(key);
                throw;
            }
            call->begin(*call->task.core());
            return call;
        }
        void forget(const Key& key, const SharedCall& call) noexcept {
            const SharedCall* const found = calls.find(key);
            if (found && *found == call) calls.erase(key);
        }
        /// Whoever waits goes on when the calls have ended.
        void end() noexcept {
            gone = true;
            // Out of the table first: a cancel may end callers, which look for their calls.
            while (calls.size() > 0) calls.take_one()->give_up();
        }

        detail::KeyTable<Key, SharedCall, Hash> calls;
        bool gone = false;
    };
    using Shared = detail::Ref<State>;

    /// The first one that sees the end takes the call out; there may be a new one by now.
    struct Part {
        Part(const Shared& of, Key&& name) : state(of), key(std::move(name)) {}
        Part(const Part&) = delete;
        Part& operator=(const Part&) = delete;
        ~Part() {
            if (call && call->is_over()) state->forget(key, call);
        }
        Shared state;
        Key key;
        SharedCall call;
    };

    template <class Fn, class... Args>
    static Coro<T> join(Shared state, Key key, Fn fn, Args... args) {
        Part part(state, std::move(key));
        if (!state->gone) part.call = state->find(part.key);
        if (!state->gone && !part.call)
            part.call = state->make(part.key, std::move(fn), std::move(args)...);
        if (part.call) co_await part.call->wait();
        if (state->gone && (!part.call || part.call->task.cancelled()))
            detail::throw_runtime_error(
                "weft: the singleflight was destroyed while a task waited for its call");
        co_return part.call->task.result();
    }

    Shared state_;
};

}  // namespace weft
