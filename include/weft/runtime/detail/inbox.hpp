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

#include "../../base/callback.hpp"
#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "mailbox.hpp"

namespace weft::detail {

/// One posted callable.
struct Post {
    static constexpr std::size_t inline_bytes = 40;
    enum class Verb : bool { run, drop };

    Post() noexcept {}  // what is in it is set by whoever fills it

    Post* next;
    void (*act)(Post&, Verb);
    alignas(std::max_align_t) std::byte storage[inline_bytes];
};

/// Posts of one thread, one after the other in memory. Both threads walk them, and each line comes
/// out of the other core's cache: in a row the processor fetches the next ones ahead, where a list
/// of single nodes makes every step wait for the one before. A slab goes round as a whole, when the
/// last of its posts was used up.
struct PostSlab {
    static constexpr std::size_t size = 4096;
    static constexpr std::uint32_t count = size / sizeof(Post) - 1;

    /// Aligned to its size, so a post's slab is found without a pointer to it.
    static PostSlab& of(Post& post) noexcept {
        return *reinterpret_cast<PostSlab*>(reinterpret_cast<std::uintptr_t>(&post) & ~(size - 1));
    }

    alignas(size) std::atomic<std::uint32_t> left{count};  // posts that are not used up
    PostSlab* next = nullptr;                              // in the pool
    Post posts[count];
};
static_assert(sizeof(Post) == 64 && sizeof(PostSlab) == PostSlab::size);

/// Where a thread takes its posts from. Slabs that are used up are for whichever thread needs one
/// next: it takes all there are at once (which has no ABA problem).
class PostPool {
public:
    constexpr PostPool() noexcept = default;
    PostPool(const PostPool&) = delete;
    PostPool& operator=(const PostPool&) = delete;

    /// Throws:   std::bad_alloc.
    Post& take() {
        if (next_ == end_) [[unlikely]]
            begin_slab();
        return *next_++;
    }
    /// One that was taken, by whichever thread, and not posted.
    void put_back(Post& post) noexcept {
        if (&post + 1 != next_) return use_up(PostSlab::of(post), 1);
        --next_;
    }

    /// So many posts of a slab will not be looked at again. Any thread.
    [[gnu::noinline]] static void use_up(PostSlab& slab, std::uint32_t posts) noexcept {
        if (slab.left.fetch_sub(posts, std::memory_order_acq_rel) != posts) return;
        slab.left.store(PostSlab::count, std::memory_order_relaxed);
        slab.next = returned.load(std::memory_order_relaxed);
        while (!returned.compare_exchange_weak(slab.next, &slab, std::memory_order_release,
                                               std::memory_order_relaxed)) {
        }
    }

private:
    // Not the destructor of the pool itself: what a thread destroys after it may still post, and on
    // the main thread so may all that is static.
    struct AtThreadEnd {
        explicit AtThreadEnd(PostPool& of) noexcept : pool(of) {}
        AtThreadEnd(const AtThreadEnd&) = delete;
        AtThreadEnd& operator=(const AtThreadEnd&) = delete;
        ~AtThreadEnd() { pool.retire(); }
        PostPool& pool;
    };

    [[gnu::cold, gnu::noinline]] void begin_slab() {
        if (is_retired_) return begin_last_slab();
        static thread_local const AtThreadEnd at_thread_end(*this);
        if (!mine_) mine_ = returned.exchange(nullptr, std::memory_order_acquire);
        PostSlab* const slab = mine_ ? std::exchange(mine_, mine_->next) : new PostSlab;
        next_ = slab->posts;
        end_ = slab->posts + PostSlab::count;
    }
    /// For one post: nobody would give the others back.
    [[gnu::cold]] void begin_last_slab() {
        auto* const slab = new PostSlab;
        slab->left.store(1, std::memory_order_relaxed);
        next_ = slab->posts;
        end_ = slab->posts + 1;
    }
    [[gnu::cold]] void retire() noexcept {
        is_retired_ = true;
        if (next_ != end_) use_up(PostSlab::of(*next_), static_cast<std::uint32_t>(end_ - next_));
        next_ = end_ = nullptr;
        while (mine_) delete std::exchange(mine_, mine_->next);
    }

    // Never destroyed: a thread may still post while the process's statics go.
    static inline constinit std::atomic<PostSlab*> returned{nullptr};

    Post* next_ = nullptr;
    Post* end_ = nullptr;
    PostSlab* mine_ = nullptr;
    bool is_retired_ = false;
};

/// What a loop has taken from its inbox, where the newest comes first: the oldest comes first here.
/// To turn the list round touches each post once more. That is no loss where posts come in a flood:
/// meanwhile more come, and a loop that took them as fast as they are made would take them one by
/// one, each with a round trip between the cores (80 ns instead of 6 to 40).
class TakenPosts {
public:
    explicit TakenPosts(Post* newest) noexcept {
        while (newest) {
            Post* const next = newest->next;
            newest->next = oldest_;
            oldest_ = newest;
            newest = next;
        }
    }
    template <class Visit>
    void for_each(Visit&& visit) noexcept {
        for (Post* post = oldest_; post;) {
            Post* const next = post->next;
            visit(*post);
            post = next;
        }
    }

private:
    Post* oldest_ = nullptr;
};

/// Counts posts that were used up, one atomic operation for those of a slab.
class UsedPosts {
public:
    UsedPosts() noexcept = default;
    UsedPosts(const UsedPosts&) = delete;
    UsedPosts& operator=(const UsedPosts&) = delete;
    ~UsedPosts() { tell(); }

    void add(Post& post) noexcept {
        PostSlab& slab = PostSlab::of(post);
        if (&slab != slab_) tell();
        slab_ = &slab;
        ++count_;
    }

private:
    void tell() noexcept {
        if (count_ > 0) PostPool::use_up(*slab_, std::exchange(count_, 0U));
    }

    PostSlab* slab_ = nullptr;
    std::uint32_t count_ = 0;
};

inline constinit thread_local PostPool post_pool;

/// The memory of a post, taken before there is anything to post: where the work begins that is to
/// be answered, and which may still fail. So the answer needs none.
class ReservedPost {
public:
    ReservedPost() noexcept = default;
    ReservedPost(ReservedPost&& other) noexcept : post_(std::exchange(other.post_, nullptr)) {}
    ReservedPost& operator=(ReservedPost&& other) noexcept {
        std::swap(post_, other.post_);
        return *this;
    }
    ~ReservedPost() {
        if (post_) post_pool.put_back(*post_);
    }

    /// Throws:   std::bad_alloc.
    void reserve() { post_ = &post_pool.take(); }
    /// There is one. (Moved from, or posted: there is none.)
    explicit operator bool() const noexcept { return post_ != nullptr; }
    Post& use() noexcept { return *std::exchange(post_, nullptr); }

private:
    Post* post_ = nullptr;
};

/// Many producers, one consumer. Outlives its loop (shared), so that a post which comes after the
/// loop has gone is an error and never a crash.
class Inbox : public Mailbox<Inbox, Post> {
public:
    Inbox() : event_(not_standard(Fd(::eventfd(0, EFD_CLOEXEC)))) {
        if (!event_) throw_system_error(errno, "eventfd");
    }

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
        refuse_coroutine<std::invoke_result_t<Fn&>>();
        Post* const post = &post_pool.take();
        try {
            fill<Fn>(*post, std::forward<F>(fn));
        } catch (...) {
            UsedPosts().add(*post);
            throw;
        }
        if (!push(*post)) [[unlikely]]
            refuse(*post);
    }

    /// The same with memory that was reserved. False: the loop is closed, and `fn` was destroyed.
    template <class F>
    bool post(ReservedPost&& reserved, F&& fn) noexcept {
        using Fn = std::decay_t<F>;
        static_assert(is_inline<Fn> && std::is_nothrow_constructible_v<Fn, F>);
        Post& post = reserved.use();
        fill<Fn>(post, std::forward<F>(fn));
        if (push(post)) return true;
        drop(post);
        return false;
    }

    /// For a post of the caller's, which is in no list, in a slab that never counts as used up.
    /// Does nothing when the loop is closed. Async-signal-safe (it may change errno).
    void post_again(Post& post) noexcept { push(post); }

    /// Loop: everything posted so far.
    TakenPosts take_all() noexcept { return TakenPosts(take()); }

    /// Loop: no post gets in from now on; those that did are for the caller.
    [[nodiscard]] TakenPosts close() noexcept {
        Post* const newest = shut();
        // Remotes may live on in other threads; the descriptor must not.
        event_.reset();
        return TakenPosts(newest);
    }

    /// In a forked child, whose parent the loop belongs to: as if closed, and what was posted is
    /// the parent's.
    [[gnu::cold]] void leave_to_parent() noexcept { abandon(); }

private:
    friend Mailbox;

    ~Inbox() {
        UsedPosts used;
        close().for_each([&](Post& post) {
            post.act(post, Post::Verb::drop);
            used.add(post);
        });
    }

    void ring() noexcept {
        const std::uint64_t one = 1;
        // A full counter (EAGAIN cannot happen on a blocking one, EINTR is retried) means awake.
        while (::write(event_.get(), &one, sizeof one) < 0 && errno == EINTR) {
        }
    }
    static void give_way() noexcept { ::sched_yield(); }

    [[gnu::cold, gnu::noinline]] static void drop(Post& post) noexcept {
        post.act(post, Post::Verb::drop);
        UsedPosts().add(post);
    }
    [[noreturn, gnu::cold, gnu::noinline]] static void refuse(Post& post) {
        drop(post);
        throw_runtime_error("call_soon_threadsafe: the event loop is closed");
    }

    template <class Fn>
    static constexpr bool is_inline = sizeof(Fn) <= Post::inline_bytes &&
                                      alignof(Fn) <= alignof(std::max_align_t);

    template <class Fn, class F>
    static void fill(Post& post, F&& fn) {
        if constexpr (is_inline<Fn>) {
            ::new (static_cast<void*>(post.storage)) Fn(std::forward<F>(fn));
            post.act = [](Post& self, Post::Verb verb) {
                Fn& stored = *std::launder(reinterpret_cast<Fn*>(self.storage));
                struct Destroy {
                    Fn& target;
                    ~Destroy() { target.~Fn(); }
                } destroy{stored};
                if (verb == Post::Verb::run) static_cast<void>(stored());
            };
        } else {
            ::new (static_cast<void*>(post.storage)) Fn*(new Fn(std::forward<F>(fn)));
            post.act = [](Post& self, Post::Verb verb) {
                Fn* const stored = *std::launder(reinterpret_cast<Fn**>(self.storage));
                struct Destroy {
                    Fn* target;
                    ~Destroy() { delete target; }
                } destroy{stored};
                if (verb == Post::Verb::run) static_cast<void>((*stored)());
            };
        }
    }

    std::atomic<std::uint32_t> refs_{1};
    Fd event_;
};

}  // namespace weft::detail
