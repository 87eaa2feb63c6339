// SPDX-License-Identifier: MIT
// Inbox: where other threads put work for a loop, and how they wake it.
#pragma once

#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#include "../error.hpp"
#include "../fd.hpp"

namespace weft::detail {

/// One posted callable. Nodes circulate: the loop hands the used ones back through `returned`, and
/// a posting thread that has run out takes all of them at once (which has no ABA problem). A
/// malloc here and a free there would cost more than the post itself.
struct Post {
    static constexpr std::size_t inline_bytes = 40;
    enum class Verb : bool { run, drop };

    Post* next = nullptr;
    void (*act)(Post&, Verb) = nullptr;
    alignas(std::max_align_t) std::byte storage[inline_bytes];
};

class PostPool {
public:
    constexpr PostPool() noexcept = default;
    PostPool(const PostPool&) = delete;
    PostPool& operator=(const PostPool&) = delete;
    ~PostPool() { release_chain(std::exchange(mine_, nullptr)); }

    Post* take() {
        if (!mine_) mine_ = returned.exchange(nullptr, std::memory_order_acquire);
        if (Post* const post = mine_) {
            mine_ = post->next;
            return post;
        }
        return new Post;
    }
    void put(Post* post) noexcept {
        post->next = mine_;
        mine_ = post;
    }

    /// From the loop: a chain of used nodes, for whichever thread posts next.
    static void give_back(Post* first, Post* last) noexcept {
        Post* head = returned.load(std::memory_order_relaxed);
        do {
            last->next = head;
        } while (!returned.compare_exchange_weak(head, first, std::memory_order_release,
                                                 std::memory_order_relaxed));
    }

private:
    static void release_chain(Post* post) noexcept {
        while (post) delete std::exchange(post, post->next);
    }

    // Never destroyed: a thread may still post while the process's statics go.
    static inline constinit std::atomic<Post*> returned{nullptr};

    Post* mine_ = nullptr;
};

inline constinit thread_local PostPool post_pool;

/// Many producers, one consumer. Outlives its loop (shared), so that a post which comes after the
/// loop has gone is an error and never a crash.
class Inbox {
public:
    Inbox() : event_(::eventfd(0, EFD_CLOEXEC)) {
        if (!event_) throw_system_error(errno, "eventfd");
    }
    Inbox(const Inbox&) = delete;
    Inbox& operator=(const Inbox&) = delete;

    // Remotes in other threads count too; the last one's thread sees what the others did before.
    void add_ref() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
    [[gnu::cold, gnu::noinline]] void release() noexcept {
        if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

    int event_fd() const noexcept { return event_.get(); }

    /// Any thread. Throws RuntimeError when the loop is closed; `fn` is then destroyed unrun.
    template <class F>
    void post(F&& fn) {
        using Fn = std::decay_t<F>;
        Post* const post = post_pool.take();
        try {
            fill<Fn>(*post, std::forward<F>(fn));
        } catch (...) {
            post_pool.put(post);
            throw;
        }
        Post* head = head_.load(std::memory_order_relaxed);
        do {
            if (head == closed_mark()) {
                post->act(*post, Post::Verb::drop);
                post_pool.put(post);
                throw_runtime_error("call_soon_threadsafe: the event loop is closed");
            }
            post->next = head;
            // seq_cst pairs with `prepare_to_sleep`: either the loop sees this post before it
            // sleeps, or this thread sees that it sleeps.
        } while (!head_.compare_exchange_weak(head, post, std::memory_order_seq_cst,
                                              std::memory_order_relaxed));
        if (state_.load(std::memory_order_seq_cst) == State::sleeping) wake();
    }

    bool empty() const noexcept { return head_.load(std::memory_order_relaxed) == nullptr; }

    /// Loop: about to sleep. False when there is something to do first.
    bool prepare_to_sleep() noexcept {
        wait_for_waker();
        state_.store(State::sleeping, std::memory_order_seq_cst);
        if (head_.load(std::memory_order_seq_cst) == nullptr) return true;
        woke_up();
        return false;
    }
    void woke_up() noexcept {
        State expected = State::sleeping;
        state_.compare_exchange_strong(expected, State::awake, std::memory_order_relaxed);
    }

    /// Loop: everything posted so far, oldest first.
    Post* take_all() noexcept {
        Post* newest = head_.load(std::memory_order_relaxed);
        if (newest == nullptr || newest == closed_mark()) return nullptr;
        newest = head_.exchange(nullptr, std::memory_order_acquire);
        Post* oldest = nullptr;
        while (newest) {
            Post* const next = newest->next;
            newest->next = oldest;
            oldest = newest;
            newest = next;
        }
        return oldest;
    }

    /// Loop: no post gets in from now on; those that did are dropped.
    void close() noexcept {
        Post* post = head_.exchange(closed_mark(), std::memory_order_acq_rel);
        if (post == closed_mark()) return;
        while (post) {
            Post* const next = post->next;
            post->act(*post, Post::Verb::drop);
            delete post;
            post = next;
        }
        // Remotes may live on in other threads; the descriptor must not. (A loop that the kernel
        // has failed may still be marked as sleeping.)
        woke_up();
        wait_for_waker();
        event_.reset();
    }

    /// In a forked child, whose parent the loop belongs to: as if closed, but without waiting (a
    /// thread that was about to wake the loop is not here), and what was posted is the parent's.
    [[gnu::cold]] void leave_to_parent() noexcept {
        head_.store(closed_mark(), std::memory_order_relaxed);
        state_.store(State::awake, std::memory_order_relaxed);
    }

private:
    ~Inbox() { close(); }

    enum class State : std::uint8_t {
        awake,
        sleeping,  // a post has to wake the loop
        waking,    // a thread is about to write to the eventfd, which must stay open for it
    };

    // The address of the inbox itself: no post can have it.
    Post* closed_mark() noexcept { return reinterpret_cast<Post*>(this); }

    void wake() noexcept {
        // One write per sleep is enough.
        State expected = State::sleeping;
        if (!state_.compare_exchange_strong(expected, State::waking, std::memory_order_acquire)) {
            return;
        }
        const std::uint64_t one = 1;
        // A full counter (EAGAIN cannot happen on a blocking one, EINTR is retried) means awake.
        while (::write(event_.get(), &one, sizeof one) < 0 && errno == EINTR) {
        }
        state_.store(State::awake, std::memory_order_release);
    }

    // As long as one write(2).
    void wait_for_waker() const noexcept {
        while (state_.load(std::memory_order_acquire) == State::waking) ::sched_yield();
    }

    template <class Fn, class F>
    static void fill(Post& post, F&& fn) {
        if constexpr (sizeof(Fn) <= Post::inline_bytes &&
                      alignof(Fn) <= alignof(std::max_align_t)) {
            ::new (static_cast<void*>(post.storage)) Fn(std::forward<F>(fn));
            post.act = [](Post& self, Post::Verb verb) {
                Fn& stored = *std::launder(reinterpret_cast<Fn*>(self.storage));
                struct Destroy {
                    Fn& target;
                    ~Destroy() { target.~Fn(); }
                } destroy{stored};
                if (verb == Post::Verb::run) stored();
            };
        } else {
            ::new (static_cast<void*>(post.storage)) Fn*(new Fn(std::forward<F>(fn)));
            post.act = [](Post& self, Post::Verb verb) {
                Fn* const stored = *std::launder(reinterpret_cast<Fn**>(self.storage));
                struct Destroy {
                    Fn* target;
                    ~Destroy() { delete target; }
                } destroy{stored};
                if (verb == Post::Verb::run) (*stored)();
            };
        }
    }

    std::atomic<Post*> head_{nullptr};
    std::atomic<State> state_{State::awake};
    std::atomic<std::uint32_t> refs_{1};
    Fd event_;
};

}  // namespace weft::detail
