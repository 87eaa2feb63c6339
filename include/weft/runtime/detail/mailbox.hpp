// SPDX-License-Identifier: MIT
// Mailbox: the protocol between threads that post and a loop that may be asleep.
#pragma once

#include <atomic>
#include <cstdint>

namespace weft::detail {

/// A stack of nodes (`Node* next`) that many threads push onto and one takes as a whole, and the
/// question who wakes that one. No lock; push is async-signal-safe.
///
/// The whole of it rests on two pairs. The loop says that it sleeps and then looks once more; who
/// posts pushes and then asks whether the loop sleeps. Both are sequentially consistent, so at
/// least one of the two sees the other. And whoever is about to ring says so first (`waking`), so
/// that the bell is not taken away under his hand.
///
/// `Self` derives from this and has `ring()`, which ends the sleep of the loop or its next one, and
/// `give_way()`. `Atomic` is std::atomic: tests put in one that tries every interleaving, and every
/// reordering that the memory orders written here allow (tests/runtime/mailbox.cpp). Whoever
/// changes an order finds out there.
template <class Self, class Node, template <class> class Atomic = std::atomic>
class Mailbox {
public:
    /// Any thread. False: it is closed, and the node is the caller's as before.
    bool push(Node& node) noexcept {
        Node* head = head_.load(std::memory_order_relaxed);
        do {
            if (head == closed_mark()) return false;
            node.next = head;
        } while (!head_.compare_exchange_weak(head, &node, std::memory_order_seq_cst,
                                              std::memory_order_relaxed));
        if (state_.load(std::memory_order_seq_cst) == State::sleeping) wake();
        return true;
    }

    // The rest is the loop's, but for the first.

    bool is_closed() noexcept { return head_.load(std::memory_order_relaxed) == closed_mark(); }
    bool empty() const noexcept { return head_.load(std::memory_order_relaxed) == nullptr; }

    /// About to sleep. False when there is something to do first.
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

    /// Everything that was pushed so far, the newest first.
    Node* take() noexcept {
        Node* const newest = head_.load(std::memory_order_relaxed);
        if (newest == nullptr || newest == closed_mark()) return nullptr;
        return head_.exchange(nullptr, std::memory_order_acquire);
    }

    /// Nothing gets in from now on; what did is for the caller. Afterwards nobody rings any more.
    /// (A loop that the kernel has failed may still be marked as sleeping.)
    [[nodiscard]] Node* shut() noexcept {
        Node* const newest = head_.exchange(closed_mark(), std::memory_order_acq_rel);
        if (newest == closed_mark()) return nullptr;
        woke_up();
        wait_for_waker();
        return newest;
    }

    /// In a forked child: as if shut, without waiting for a thread that is not here.
    [[gnu::cold]] void abandon() noexcept {
        head_.store(closed_mark(), std::memory_order_relaxed);
        state_.store(State::awake, std::memory_order_relaxed);
    }

protected:
    Mailbox() noexcept = default;
    ~Mailbox() = default;
    Mailbox(const Mailbox&) = delete;
    Mailbox& operator=(const Mailbox&) = delete;

private:
    enum class State : std::uint8_t {
        awake,
        sleeping,  // a post has to wake the loop
        waking,    // a thread is about to ring, and the bell must stay there for it
    };

    // The address of the mailbox itself: no node can have it.
    Node* closed_mark() noexcept { return reinterpret_cast<Node*>(this); }

    void wake() noexcept {
        // Once a sleep is enough.
        State expected = State::sleeping;
        if (!state_.compare_exchange_strong(expected, State::waking, std::memory_order_acquire)) {
            return;
        }
        static_cast<Self*>(this)->ring();
        state_.store(State::awake, std::memory_order_release);
    }

    // As long as one `ring`.
    void wait_for_waker() const noexcept {
        while (state_.load(std::memory_order_acquire) == State::waking) Self::give_way();
    }

    Atomic<Node*> head_{nullptr};
    Atomic<State> state_{State::awake};
};

}  // namespace weft::detail
