// SPDX-License-Identifier: MIT
// CancelToken: a word that it is over, told to a whole tree of work at once.
#pragma once

#include <type_traits>
#include <utility>

#include "../base/callback.hpp"
#include "../base/intrusive_list.hpp"
#include "../base/ref.hpp"
#include "../sync/event.hpp"
#include "../task/coro.hpp"
#include "cancel_scope.hpp"

namespace weft {
namespace detail {
struct CancelNode;

/// Somebody who is told of a cancel, at once and on the loop's thread.
struct CancelListener : ListNode<> {
    using Told = void (*)(CancelListener&) noexcept;
    explicit CancelListener(Told fn) noexcept : told(fn) {}
    ~CancelListener() {
        if (linked()) unlink();
    }
    Told told;
};

struct CancelNode final : Counted<CancelNode>, CancelListener {
    explicit CancelNode(CancelNode* over) noexcept;
    void cancel() noexcept;
    static void parent_told(CancelListener& listener) noexcept {
        static_cast<CancelNode&>(listener).cancel();
    }
    Ref<CancelNode> parent;
    IntrusiveList<CancelListener> listeners;
    Event event;
};
}  // namespace detail

/// Copies are the same token. Cancelling it cancels its children, and theirs; not its parent. (For
/// work that is one block there is CancelScope, and a task has its `cancel()`: a token is for what
/// is spread over a program. `weft/deadline/std_stop_token.hpp` links it with std::stop_token.)
/// Thread:   loop thread only.
class CancelToken {
public:
    /// A root.
    CancelToken() : node_(new detail::CancelNode(nullptr)) {}
    /// One that is cancelled with this one, also where that has happened already.
    CancelToken child() const { return CancelToken(new detail::CancelNode(&*node_)); }

    /// Whoever waits for it is woken; what runs in `run` is cancelled. Idempotent.
    void cancel() const noexcept { node_->cancel(); }
    bool is_cancelled() const noexcept { return node_->event.is_set(); }
    /// Waits until it is cancelled.
    /// Throws:   CancelledError.
    /// Lifetime: the token, or a copy of it, outlives the await.
    detail::EventAwaiter cancelled() const noexcept { return node_->event.wait(); }

    /// Runs `fn(args...)`, which returns a Coro (or something else to await), in a CancelScope that
    /// is cancelled with the token.
    /// Returns:  as `CancelScope::run` does: empty (for void: false) when that has ended it.
    /// Throws:   what the body throws; CancelledError for a cancel from outside.
    template <class Fn, class... Args>
    auto run(Fn&& fn, Args&&... args) const {
        auto body = detail::call_copies(std::forward<Fn>(fn), std::forward<Args>(args)...);
        return run_in_scope(*this, std::move(body));
    }
    template <class T>
    auto run(Coro<T> body) const {
        return run_in_scope(*this, std::move(body));
    }

    friend bool operator==(const CancelToken&, const CancelToken&) noexcept = default;

private:
    friend class CancelLink;
    struct ScopeListener : detail::CancelListener {
        explicit ScopeListener(CancelScope& of) noexcept : CancelListener(&strike), scope(of) {}
        static void strike(CancelListener& listener) noexcept {
            static_cast<ScopeListener&>(listener).scope.cancel();
        }
        CancelScope& scope;
    };

    explicit CancelToken(detail::CancelNode* node) noexcept : node_(node) {}

    template <class T>
    using Result = decltype(std::declval<detail::ScopeAwaiter<T>&>().await_resume());
    template <class T>
    static Coro<Result<T>> run_in_scope(CancelToken token, Coro<T> body) {
        CancelScope scope;
        ScopeListener listener(scope);
        token.listen(listener);
        co_return co_await scope.run(std::move(body));
    }
    void listen(detail::CancelListener& listener) const noexcept {
        if (is_cancelled()) return listener.told(listener);
        node_->listeners.push_back(listener);
    }

    detail::Ref<detail::CancelNode> node_;
};

/// Calls `fn()` when the token is cancelled (at once where it is), for as long as this lives.
/// `fn` throws nothing.
class CancelLink {
public:
    template <class F>
    CancelLink(const CancelToken& token, F&& fn) : listener_(std::forward<F>(fn)), token_(token) {
        token.listen(listener_);
    }
    CancelLink(const CancelLink&) = delete;
    CancelLink& operator=(const CancelLink&) = delete;

private:
    struct Listener : detail::CancelListener {
        template <class F>
        explicit Listener(F&& call) : CancelListener(&told_so), fn(std::forward<F>(call)) {}
        static void told_so(CancelListener& listener) noexcept {
            static_cast<Listener&>(listener).fn();
        }
        detail::Callback<void()> fn;
    };
    Listener listener_;
    CancelToken token_;  // so that what it waits for is there
};

namespace detail {

inline CancelNode::CancelNode(CancelNode* over) noexcept : CancelListener(&parent_told) {
    if (!over) return;
    if (over->event.is_set()) {
        event.set();
        return;
    }
    parent = Ref<CancelNode>::to(*over);
    over->listeners.push_back(*this);
}

inline void CancelNode::cancel() noexcept {
    if (event.is_set()) return;
    const auto held = Ref<CancelNode>::to(*this);
    event.set();
    // Each leaves the list first: what it is told may end others, or take them out.
    while (!listeners.empty()) {
        CancelListener& listener = listeners.pop_front();
        listener.told(listener);
    }
}

}  // namespace detail
}  // namespace weft
